//! openraft's view of a [`StateMachine`].

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

use crate::codec::{AppliedState, corrupt};
use crate::log::FlushGate;
use crate::machine::{EntryData, StateMachine};
use crate::snapshots::SnapshotBody;
use crate::types::{Entry, LogId, Reply, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};

/// Most entries, and about the most bytes, that one call of the machine gets.
const APPLY_ENTRIES_MAX: usize = 1024;
const APPLY_BYTES_MAX: usize = 8 << 20;

pub(crate) struct Adapter {
    machine: Arc<dyn StateMachine>,
    gate: Arc<FlushGate>,
    applied: AppliedState,
}

/// Entries collected for one call of the machine.
#[derive(Default)]
struct Batch {
    entries: Vec<EntryData>,
    responders: Vec<Option<ApplyResponder<TypeConfig>>>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.entries.len() >= APPLY_ENTRIES_MAX || self.bytes >= APPLY_BYTES_MAX
    }
}

/// Runs blocking work off the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    karri_ring_types::blocking(work).await.map_err(io::Error::other)?
}

impl Adapter {
    /// Reads the machine's blob; blocking.
    pub(crate) fn open(machine: Arc<dyn StateMachine>, gate: Arc<FlushGate>) -> io::Result<Self> {
        let applied = AppliedState::decode(&machine.applied().map_err(io::Error::other)?)?;
        gate.set_applied(applied.last);
        Ok(Self { machine, gate, applied })
    }

    fn collect(
        state: &mut AppliedState,
        batch: &mut Batch,
        entry: Entry,
        responder: Option<ApplyResponder<TypeConfig>>,
    ) {
        state.last = Some(entry.log_id);
        let payload = match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(proposal) => Some(proposal.0),
            EntryPayload::Membership(membership) => {
                state.membership = StoredMembership::new(Some(entry.log_id), membership);
                None
            }
        };
        batch.bytes += payload.as_ref().map_or(0, Bytes::len);
        batch.entries.push(EntryData { index: entry.log_id.index, payload });
        batch.responders.push(responder);
    }

    async fn apply_batch(&mut self, state: AppliedState, batch: Batch) -> io::Result<()> {
        let (machine, blob, count) = (self.machine.clone(), state.encode(), batch.entries.len());
        let replies = blocking(move || machine.apply(batch.entries, blob).map_err(io::Error::other)).await;
        let replies = self.gate.failure.watch("metadata could not be applied", replies)?;
        if replies.len() != count {
            return Err(corrupt("the state machine did not answer each entry"));
        }
        self.gate.set_applied(state.last);
        self.applied = state;
        for (responder, reply) in batch.responders.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(Reply(reply));
            }
        }
        Ok(())
    }

    async fn view(&self) -> io::Result<Snapshot> {
        let machine = self.machine.clone();
        let view = blocking(move || snapshot(&*machine)).await;
        self.gate.failure.watch("metadata could not be read", view)
    }
}

fn snapshot(machine: &dyn StateMachine) -> io::Result<Snapshot> {
    let reader = machine.snapshot().map_err(io::Error::other)?;
    let state = AppliedState::decode(&reader.state_blob())?;
    let meta = SnapshotMeta { last_log_id: state.last, last_membership: state.membership };
    Ok(Snapshot { meta, snapshot: SnapshotBody::Reader(reader) })
}

/// Builds the virtual snapshot: its view is taken, then the machine is flushed, so that what the view has is
/// durable when openraft purges the log behind it. Nothing is copied until a follower needs it.
pub(crate) struct Builder {
    machine: Arc<dyn StateMachine>,
    gate: Arc<FlushGate>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotBody;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (machine, gate) = (self.machine.clone(), self.gate.clone());
        blocking(move || {
            let view = gate.failure.watch("metadata could not be read", snapshot(&*machine))?;
            gate.flush()?;
            Ok(view)
        })
        .await
    }
}

impl RaftStateMachine<TypeConfig> for Adapter {
    type SnapshotData = SnapshotBody;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied.last, self.applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let (mut state, mut batch) = (self.applied.clone(), Batch::default());
        while let Some((entry, responder)) = entries.try_next().await? {
            Self::collect(&mut state, &mut batch, entry, responder);
            if batch.is_full() {
                self.apply_batch(state.clone(), std::mem::take(&mut batch)).await?;
            }
        }
        if batch.entries.is_empty() { Ok(()) } else { self.apply_batch(state, batch).await }
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        Builder { machine: self.machine.clone(), gate: self.gate.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, body: SnapshotBody) -> Result<(), io::Error> {
        let state = AppliedState { last: meta.last_log_id, membership: meta.last_membership.clone() };
        let (machine, gate, blob) = (self.machine.clone(), self.gate.clone(), state.encode());
        let last = state.last;
        blocking(move || {
            gate.failure.watch("a snapshot could not be put in place", body.install(&*machine, blob))?;
            gate.set_applied(last);
            gate.flush()
        })
        .await?;
        self.applied = state;
        Ok(())
    }

    /// Any moment's view will do as the current snapshot, so a follower always gets the newest.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        if self.applied.last.is_none() {
            return Ok(None);
        }
        self.view().await.map(Some)
    }
}
