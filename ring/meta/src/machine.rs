//! The replicated state of one range: it checks versions and writes rows, nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use karri_ring_raft::{EntryData, MachineError, SnapshotReader, SnapshotWriter, StateMachine};
use karri_ring_types::{RangeId, Step, failpoint};
use parking_lot::RwLock;
use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};

use crate::MetaError;
use crate::codec::{decode, encode};
use crate::row::{Own, decode_value, encode_value, own_key, space_of};
use crate::snapshot::{Installer, Reader};
use crate::storage::Storage;
use crate::transaction::{
    ABSENT, Description, EntryHead, Fence, Transaction, Verdict, decode_head, decode_transaction,
};

/// What a range knows about itself, beside its rows. It comes by the log and by snapshots only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RangeState {
    /// `None` until the range's first entry.
    pub(crate) description: Option<Description>,
    /// Transactions evaluated under another fence are stale.
    pub(crate) fence: Fence,
}

/// The state machine of one range on this node.
pub(crate) struct RangeMachine {
    id: RangeId,
    space: u8,
    storage: Arc<Storage>,
    state: RwLock<Arc<RangeState>>,
    /// Sequence number of the store that covers all that was applied here.
    written: AtomicU64,
}

/// Changes of one `apply` call that are not in the store yet.
struct Pending {
    batch: WriteBatch,
    /// Versions of rows that the batch writes.
    versions: HashMap<Vec<u8>, u64>,
    state: Arc<RangeState>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl RangeMachine {
    pub(crate) fn open(id: RangeId, storage: Arc<Storage>) -> Result<Self, MetaError> {
        let state = match storage.get_own(id, Own::State)? {
            Some(bytes) => decode(&bytes, "state of a range")?,
            None => RangeState::default(),
        };
        // What was written before is in the store's files already, or it could not be read now.
        let written = AtomicU64::new(0);
        Ok(Self { id, space: space_of(id), storage, state: RwLock::new(Arc::new(state)), written })
    }

    pub(crate) fn state(&self) -> Arc<RangeState> {
        self.state.read().clone()
    }

    pub(crate) fn space(&self) -> u8 {
        self.space
    }

    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    pub(crate) fn id(&self) -> RangeId {
        self.id
    }

    /// Takes over what an install has put into the store.
    pub(crate) fn installed(&self, state: RangeState) {
        *self.state.write() = Arc::new(state);
        self.written.store(self.storage.sequence(), Ordering::Release);
    }

    pub(crate) fn apply_entries(&self, entries: Vec<EntryData>, blob: Vec<u8>) -> Result<Vec<Bytes>, MetaError> {
        let before = self.state();
        let mut pending = Pending {
            batch: WriteBatch::default(),
            versions: HashMap::new(),
            state: before.clone(),
            key: Vec::with_capacity(256),
            value: Vec::new(),
        };
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            replies.push(match entry.payload {
                Some(payload) => self.apply_entry(&mut pending, entry.index, &payload)?,
                None => Bytes::new(),
            });
        }
        let changed = !Arc::ptr_eq(&before, &pending.state);
        if changed {
            pending.batch.put(own_key(self.id, Own::State), encode(&*pending.state));
        }
        pending.batch.put(own_key(self.id, Own::Blob), blob);
        failpoint(Step::CommitApplying);
        self.storage.write(pending.batch)?;
        failpoint(Step::CommitApplied);
        self.written.store(self.storage.sequence(), Ordering::Release);
        if changed {
            *self.state.write() = pending.state;
        }
        Ok(replies)
    }

    fn apply_entry(&self, pending: &mut Pending, index: u64, payload: &[u8]) -> Result<Bytes, MetaError> {
        const APPLIED: Bytes = Bytes::from_static(&[Verdict::Applied as u8]);
        let (head, mut rest) = decode_head(payload)?;
        match head {
            EntryHead::Describe(description) => {
                if pending.state.description.is_none() {
                    Arc::make_mut(&mut pending.state).description = Some(description);
                }
                Ok(APPLIED)
            }
            EntryHead::Fence(fence) => {
                Arc::make_mut(&mut pending.state).fence = fence;
                Ok(APPLIED)
            }
            EntryHead::Batch { fence, count } => {
                let stale = fence != pending.state.fence;
                let mut reply = Vec::new();
                for _ in 0..count {
                    let (transaction, after) = decode_transaction(rest)?;
                    rest = after;
                    let verdict =
                        if stale { Verdict::Stale } else { self.apply_transaction(pending, index, &transaction)? };
                    reply.push(verdict as u8);
                }
                Ok(reply.into())
            }
        }
    }

    fn apply_transaction(
        &self,
        pending: &mut Pending,
        index: u64,
        transaction: &Transaction<'_>,
    ) -> Result<Verdict, MetaError> {
        let Some(description) = &pending.state.description else { return Ok(Verdict::OutOfBounds) };
        let version = description.version_base + index;
        let inside =
            |row: &[u8]| row.first().is_some_and(|&table| table != 0) && description.bounds.contains(&row[1..]);
        if !transaction.writes.iter().all(|write| inside(write.row.0)) {
            return Ok(Verdict::OutOfBounds);
        }
        for check in &transaction.checks {
            set_physical(&mut pending.key, self.space, check.row.0);
            let found = match pending.versions.get(&pending.key) {
                Some(&version) => version,
                None => self.storage.get(&pending.key, |stored| Ok(decode_value(stored)?.0))?.unwrap_or(ABSENT),
            };
            if found != check.version {
                return Ok(Verdict::Conflict);
            }
        }
        for write in &transaction.writes {
            set_physical(&mut pending.key, self.space, write.row.0);
            match write.value {
                Some(value) => {
                    encode_value(&mut pending.value, version, value.0);
                    pending.batch.put(&pending.key, &pending.value);
                    pending.versions.insert(pending.key.clone(), version);
                }
                None => {
                    pending.batch.delete(&pending.key);
                    pending.versions.insert(pending.key.clone(), ABSENT);
                }
            }
        }
        Ok(Verdict::Applied)
    }
}

fn set_physical(key: &mut Vec<u8>, space: u8, row: &[u8]) {
    key.clear();
    key.push(space);
    key.extend_from_slice(row);
}

/// The machine as Raft sees it; the handle may outlive a call.
pub(crate) struct Machine(pub(crate) Arc<RangeMachine>);

impl StateMachine for Machine {
    fn applied(&self) -> Result<Vec<u8>, MachineError> {
        Ok(self.0.storage.get_own(self.0.id, Own::Blob)?.unwrap_or_default())
    }

    fn apply(&self, entries: Vec<EntryData>, state_blob: Vec<u8>) -> Result<Vec<Bytes>, MachineError> {
        Ok(self.0.apply_entries(entries, state_blob)?)
    }

    fn flush(&self) -> Result<(), MachineError> {
        Ok(self.0.storage.flush(self.0.written.load(Ordering::Acquire))?)
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, MachineError> {
        Ok(Box::new(Reader::open(self.0.storage.clone(), self.0.id)?))
    }

    fn begin_install(&self) -> Result<Box<dyn SnapshotWriter>, MachineError> {
        Ok(Box::new(Installer::new(self.0.clone())))
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
