//! Names of things and the evaluator's trait.

use karri_ring_types::{Digest, NodeId, RangeId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{EvaluateError, View};

/// Most bytes of one row's value.
pub const ROW_BYTES_MAX: usize = 1 << 20;
/// Most bytes of one row's key, without the table.
pub const KEY_BYTES_MAX: usize = 8 << 10;
/// Most bytes of a transaction: its checks, keys and values.
pub const TRANSACTION_BYTES_MAX: usize = 4 << 20;
/// Most bytes of a command or query.
pub const COMMAND_BYTES_MAX: usize = 8 << 20;

/// The system range: the directory of ranges, the members and the layout of the cluster.
pub const SYSTEM_RANGE: RangeId = RangeId(0);

/// Number of a table. 0 is this crate's own; 1..=15 belong to the cluster (1: directory of ranges), 16..=63 to
/// objects, 64 and up to other services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Table(pub u8);

/// A row's key within its table, which is its routing key too: a range owns `[start, end)` of the keys of all
/// tables, so that a range can be split without moving rows.
pub type Key = Vec<u8>;

/// Which range carries out a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The system range. Its rows are apart from those of all other ranges.
    System,
    /// The range that owns this key.
    Key(Key),
}

/// Number of an evaluator, the same in every version of Karri. 0 is the directory of ranges, 1 the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EvaluatorId(pub u16);

/// What a command must hold while it is evaluated and until its outcome is applied: commands of one range with
/// a common name of which one is exclusive run one after the other. A name in both lists counts as exclusive.
/// Rows read by [`View::get`] need no latch, their versions are checked; it spares retries where a conflict
/// is likely, and is needed where a decision rests on a scan or on [`View::peek`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latches {
    /// Names that others may hold at the same time.
    pub shared: Vec<Vec<u8>>,
    /// Names that nobody else may hold.
    pub exclusive: Vec<Vec<u8>>,
}

/// The business logic over a range. It runs on the range's leader only; what is replicated is its outcome.
pub trait Evaluator: Send + Sync + 'static {
    /// What to hold while `command` is evaluated and until its outcome is applied.
    fn latches(&self, command: &[u8]) -> Latches;

    /// Decides on `command`: reads through `view`, writes through [`View::put`] and [`View::delete`], and
    /// returns the reply that is sent when the writes are committed. It may be called several times for one
    /// command, so it must have no other effects. A reply without writes is sent after leadership is proved.
    fn evaluate(&self, view: &mut View<'_>, command: &[u8], now: Timestamp) -> Result<Vec<u8>, EvaluateError>;

    /// Answers `query` from a linearizable view; it may not write.
    fn query(&self, view: &mut View<'_>, query: &[u8]) -> Result<Vec<u8>, EvaluateError>;
}

/// A range that is led by this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeInfo {
    /// Its id.
    pub id: RangeId,
    /// First key.
    pub start: Key,
    /// First key that is not in it; `None`: it has no end.
    pub end: Option<Key>,
    /// Term of the leadership.
    pub term: u64,
}

/// State of one range as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeStatus {
    /// Its id.
    pub id: RangeId,
    /// First key.
    pub start: Key,
    /// First key that is not in it; `None`: it has no end.
    pub end: Option<Key>,
    /// The leader, when known.
    pub leader: Option<NodeId>,
    /// Voters of its Raft group.
    pub voters: Vec<NodeId>,
    /// Index of the last log entry that this node has applied.
    pub applied_index: u64,
}

/// What a node has applied of a range, to be compared with other members: where `applied` is equal, so is `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Digest of the id of the last applied entry and of the members at it.
    pub applied: Digest,
    /// Digest of all that the range knows about itself and of all its rows.
    pub state: Digest,
}
