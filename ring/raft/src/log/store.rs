//! One group's view of the log store, as openraft wants it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, StreamExt, stream};
use karri_ring_types::{Step, failpoint};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::db::LogDb;
use super::flusher::{Flusher, Write};
use super::view::{CACHE_BYTES_MAX, View};
use crate::codec::corrupt;
use crate::failure::Failure;
use crate::machine::StateMachine;
use crate::types::{Entry, LogId, TypeConfig, Vote, payload_bytes};
use crate::wire::APPEND_BYTES_MAX;

/// Attempts to read a stable range while the log is cut or purged beside the reader.
const READ_ATTEMPTS: u32 = 5;

/// Knows how far the machine is durable, and makes it so before the log behind it is purged.
pub(crate) struct FlushGate {
    machine: Arc<dyn StateMachine>,
    pub(crate) failure: Arc<Failure>,
    /// Index after the last entry known to be applied.
    applied: AtomicU64,
    /// Index after the last entry known to be durable in the machine.
    durable: AtomicU64,
}

impl FlushGate {
    pub(crate) fn new(machine: Arc<dyn StateMachine>, failure: Arc<Failure>) -> Arc<Self> {
        Arc::new(Self { machine, failure, applied: AtomicU64::new(0), durable: AtomicU64::new(0) })
    }

    pub(crate) fn set_applied(&self, last: Option<LogId>) {
        self.applied.store(last.map_or(0, |id| id.index + 1), Ordering::Release);
    }

    /// Index of the last applied entry; 0 when there is none.
    pub(crate) fn applied_index(&self) -> u64 {
        self.applied.load(Ordering::Acquire).saturating_sub(1)
    }

    /// Flushes the machine; blocking.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let applied = self.applied.load(Ordering::Acquire);
        self.failure.watch("metadata could not be flushed", self.machine.flush().map_err(io::Error::other))?;
        failpoint(Step::SnapshotFlushed);
        self.durable.fetch_max(applied, Ordering::AcqRel);
        Ok(())
    }

    async fn ensure_durable(self: Arc<Self>, upto: LogId) -> io::Result<()> {
        if self.durable.load(Ordering::Acquire) > upto.index {
            return Ok(());
        }
        if self.applied.load(Ordering::Acquire) <= upto.index {
            return Err(corrupt("raft log would be purged beyond the applied state"));
        }
        karri_ring_types::blocking(move || self.flush()).await.map_err(io::Error::other)?
    }
}

/// The log of one group.
pub(crate) struct GroupLog {
    group: u64,
    db: Arc<LogDb>,
    flusher: Arc<Flusher>,
    view: Mutex<View>,
    gate: Option<Arc<FlushGate>>,
    /// Bytes appended since the machine was last flushed for a snapshot.
    unflushed_bytes: AtomicU64,
    /// Bytes appended at the last look of the host's housekeeping.
    idle_mark: AtomicU64,
    appended_bytes: AtomicU64,
}

impl GroupLog {
    /// Reads the bounds of the group's log; blocking.
    pub(crate) fn open(
        group: u64,
        db: Arc<LogDb>,
        flusher: Arc<Flusher>,
        gate: Option<Arc<FlushGate>>,
    ) -> io::Result<Arc<Self>> {
        Self::open_with_cache(group, db, flusher, gate, CACHE_BYTES_MAX)
    }

    /// The same with another bound for written entries in memory.
    pub(super) fn open_with_cache(
        group: u64,
        db: Arc<LogDb>,
        flusher: Arc<Flusher>,
        gate: Option<Arc<FlushGate>>,
        cache_bytes_max: usize,
    ) -> io::Result<Arc<Self>> {
        let persisted = db.load(group)?;
        if persisted.removed {
            flusher.push(Write::Return { group })?;
        }
        Ok(Arc::new(Self {
            group,
            db,
            flusher,
            view: Mutex::new(View::new(persisted, cache_bytes_max)),
            gate,
            unflushed_bytes: AtomicU64::new(0),
            idle_mark: AtomicU64::new(0),
            appended_bytes: AtomicU64::new(0),
        }))
    }

    pub(crate) fn group(&self) -> u64 {
        self.group
    }

    /// Whether there was anything on disk.
    pub(crate) fn is_pristine(&self) -> bool {
        let view = self.view.lock();
        view.vote.is_none() && view.last.is_none()
    }

    pub(super) fn written(&self, seq: u64) {
        self.view.lock().written(seq);
    }

    /// Bytes appended since the last call of [`GroupLog::snapshot_taken`].
    pub(crate) fn unflushed_bytes(&self) -> u64 {
        self.unflushed_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn snapshot_taken(&self) {
        self.unflushed_bytes.store(0, Ordering::Relaxed);
    }

    /// Frees the memory of a log that has not grown since the last call.
    pub(crate) fn trim_when_idle(&self) {
        let appended = self.appended_bytes.load(Ordering::Relaxed);
        if self.idle_mark.swap(appended, Ordering::Relaxed) == appended {
            self.view.lock().shrink(0);
        }
    }

    /// Deletes the log but keeps the vote.
    pub(crate) async fn remove(&self) -> io::Result<()> {
        let (done, removed) = oneshot::channel();
        self.flusher.push(Write::Remove { group: self.group, done })?;
        removed.await.map_err(io::Error::other)
    }

    /// The entries of `start..end` that the log has, at least one but then about `bytes_max` at most.
    async fn read(self: &Arc<Self>, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        for _ in 0..READ_ATTEMPTS {
            let mut plan = self.view.lock().plan(start, end, bytes_max);
            if plan.disk.is_empty() {
                return Ok(plan.cached);
            }
            let (log, disk) = (self.clone(), plan.disk.clone());
            let read = move || log.db.entries(log.group, disk.start, disk.end, bytes_max);
            let found = karri_ring_types::blocking(read).await.map_err(io::Error::other).flatten();
            let (mut entries, full) = self.flusher.failure.watch("raft log could not be read", found)?;
            if full {
                return Ok(entries);
            }
            if entries.len() as u64 == plan.disk.end - plan.disk.start {
                entries.append(&mut plan.cached);
                return Ok(entries);
            }
            // Cut or purged in between: look again.
        }
        Err(corrupt("raft log has a hole"))
    }
}

/// A handle for openraft.
#[derive(Clone)]
pub(crate) struct GroupStore(pub(crate) Arc<GroupLog>);

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for GroupStore {
    /// Reads piece by piece: after a restart the whole log may have to be applied again.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let pieces = stream::try_unfold((self.0.clone(), start), move |(log, start)| async move {
            if start >= end {
                return Ok::<_, io::Error>(None);
            }
            let piece = log.read(start, end, APPEND_BYTES_MAX).await?;
            let Some(last) = piece.last() else { return Ok(None) };
            let next = last.log_id.index + 1;
            Ok(Some((piece, (log, next))))
        });
        pieces.flat_map(|piece| {
            let items: Vec<_> = match piece {
                Ok(entries) => entries.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(items)
        })
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.0.read(start, end, usize::MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.view.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.0.read(start, end, APPEND_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for GroupStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let view = self.0.view.lock();
        Ok(LogState { last_purged_log_id: view.purged, last_log_id: view.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, written) = oneshot::channel();
        {
            let mut view = self.0.view.lock();
            self.0.flusher.push(Write::Vote { group: self.0.group, vote: *vote, done })?;
            view.vote = Some(*vote);
        }
        written.await.map_err(io::Error::other)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let bytes: usize = entries.iter().map(payload_bytes).sum();
        let _room = self.0.flusher.reserve(bytes).await;
        self.0.unflushed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.0.appended_bytes.fetch_add(bytes as u64 + entries.len() as u64, Ordering::Relaxed);
        let mut view = self.0.view.lock();
        view.check_append(&entries)?;
        let write = Write::Append { log: self.0.clone(), entries: entries.clone(), callback, _room };
        let seq = self.0.flusher.push(write)?;
        view.append(entries, seq);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let mut view = self.0.view.lock();
        let from = last.map_or(0, |id| id.index + 1);
        self.0.flusher.push(Write::Truncate { group: self.0.group, from })?;
        view.truncate_after(last);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        if let Some(gate) = &self.0.gate {
            gate.clone().ensure_durable(upto).await?;
        }
        let mut view = self.0.view.lock();
        self.0.flusher.push(Write::Purge { group: self.0.group, upto })?;
        view.purge(upto);
        Ok(())
    }
}
