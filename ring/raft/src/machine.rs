//! The state that a group replicates, by trait.

use bytes::Bytes;

use crate::MachineError;

/// Most bytes that [`SnapshotReader::next_chunk`] may return at once.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 1 << 20;

/// A committed entry to apply.
#[derive(Clone, Debug)]
pub struct EntryData {
    /// Its place in the log; each is one more than the last.
    pub index: u64,
    /// What was proposed; `None` for Raft's own entries, which change nothing but must be answered too.
    pub payload: Option<Bytes>,
}

/// A replicated state. Every call is made off the runtime and may block; `apply`, `begin_install` and a
/// writer's `finish` are never made at the same time for one group.
pub trait StateMachine: Send + Sync + 'static {
    /// The blob that the last `apply` or install stored; empty at first.
    fn applied(&self) -> Result<Vec<u8>, MachineError>;

    /// Applies committed entries in order and gives one reply for each. The changes and `state_blob` must
    /// survive or vanish together; they need not be durable before [`StateMachine::flush`].
    fn apply(&self, entries: Vec<EntryData>, state_blob: Vec<u8>) -> Result<Vec<Bytes>, MachineError>;

    /// Makes all that was applied before the call durable.
    fn flush(&self) -> Result<(), MachineError>;

    /// A consistent view of the whole state, to be copied to another node.
    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, MachineError>;

    /// Begins to receive a state that will replace this one. Dropping the writer unfinished must leave the
    /// present state as it is; entries may be applied while chunks arrive.
    fn begin_install(&self) -> Result<Box<dyn SnapshotWriter>, MachineError>;
}

/// A consistent view of a state machine.
pub trait SnapshotReader: Send + 'static {
    /// The blob that belongs to this view.
    fn state_blob(&self) -> Vec<u8>;

    /// The next part, at most [`SNAPSHOT_CHUNK_BYTES_MAX`]; `None` at the end.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, MachineError>;
}

/// Receives the state of another node.
pub trait SnapshotWriter: Send + 'static {
    /// Takes the next part, in order.
    fn write(&mut self, chunk: Bytes) -> Result<(), MachineError>;

    /// Replaces the group's data and blob atomically.
    fn finish(self: Box<Self>, state_blob: Vec<u8>) -> Result<(), MachineError>;
}
