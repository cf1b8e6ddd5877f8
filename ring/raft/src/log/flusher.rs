//! The thread that writes. What queued up while the last fsync ran goes into one write batch with the next.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use karri_ring_types::{Step, failpoint};
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use rocksdb::{DB, WriteBatch, WriteOptions};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::db::{CF_LOG, CF_STATE, LogDb, TAG_PURGED, TAG_REMOVED, TAG_VOTE, cf, log_key, state_key};
use super::queue::{Queue, Queued, Standing};
use super::store::GroupLog;
use crate::codec::{self, LogIdRecord, VoteRecord};
use crate::failure::Failure;
use crate::types::{Entry, LogId, TypeConfig, Vote, payload_bytes};

/// Most payload bytes of one write batch, unless a single write has more.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Most payload bytes that wait to be written; appends wait beyond it.
const QUEUE_KIB_MAX: usize = 128 << 10;
/// Counted for each entry beside its payload.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// One change, in the order in which it must reach the disk.
pub(super) enum Write {
    Append {
        log: Arc<GroupLog>,
        entries: Vec<Entry>,
        callback: IOFlushed<TypeConfig>,
        _room: Option<OwnedSemaphorePermit>,
    },
    Vote {
        group: u64,
        vote: Vote,
        done: oneshot::Sender<()>,
    },
    Truncate {
        group: u64,
        from: u64,
    },
    Purge {
        group: u64,
        upto: LogId,
    },
    Remove {
        group: u64,
        done: oneshot::Sender<()>,
    },
    Return {
        group: u64,
    },
}

/// Counters since the start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) syncs: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// The queue to the flusher thread.
pub(crate) struct Flusher {
    queue: Queue<Write>,
    /// Wakes a task in the place of the thread.
    notify: Notify,
    room: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(crate) counters: Counters,
    pub(crate) failure: Arc<Failure>,
}

impl Flusher {
    pub(crate) fn start(db: Arc<LogDb>, failure: Arc<Failure>) -> io::Result<Arc<Self>> {
        let flusher = Arc::new(Self {
            queue: Queue::new(BATCH_BYTES_MAX),
            notify: Notify::new(),
            room: Arc::new(Semaphore::new(QUEUE_KIB_MAX)),
            thread: Mutex::new(None),
            counters: Counters::default(),
            failure,
        });
        let run = flusher.clone();
        if karri_ring_types::simulated_delay().is_some() {
            tokio::spawn(async move { run.run_simulated(&db).await });
            return Ok(flusher);
        }
        let work = move || {
            let _alive = AbortOnPanic;
            run.run(&db);
        };
        let thread = std::thread::Builder::new().name("raft-flusher".into()).spawn(work)?;
        *flusher.thread.lock() = Some(thread);
        Ok(flusher)
    }

    /// Waits until entries of `bytes` fit into the queue.
    pub(super) async fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = bytes.div_ceil(1024).clamp(1, QUEUE_KIB_MAX);
        self.room.clone().acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX)).await.ok()
    }

    /// Queues a write and gives its number; numbers grow in the order in which writes become durable.
    pub(super) fn push(&self, write: Write) -> io::Result<u64> {
        let bytes = match &write {
            Write::Append { entries, .. } => entries.iter().map(|e| payload_bytes(e) + ENTRY_OVERHEAD_BYTES).sum(),
            _ => ENTRY_OVERHEAD_BYTES,
        };
        let seq = self.queue.push(bytes, write).ok_or_else(|| io::Error::other("raft log store is closed"))?;
        self.notify.notify_one();
        Ok(seq)
    }

    /// Refuses new writes, writes what is queued and ends the thread.
    pub(crate) fn close(&self) {
        self.queue.close();
        self.notify.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("raft flusher thread panicked");
        }
    }

    fn run(&self, db: &LogDb) {
        let Some(db) = open_db(db) else { return };
        let mut record = Vec::new();
        while let Some(writes) = self.queue.next() {
            if !self.carry_out(&db, writes, &mut record) {
                return;
            }
        }
    }

    /// What the thread does, as a task: each batch takes the time that the simulation gives it.
    async fn run_simulated(&self, db: &LogDb) {
        let _end = Abandon(self);
        let Some(db) = open_db(db) else { return };
        let mut record = Vec::new();
        loop {
            match self.queue.standing() {
                Standing::Waiting => {
                    tokio::time::sleep(karri_ring_types::simulated_delay().unwrap_or_default()).await;
                    if !self.carry_out(&db, self.queue.take(), &mut record) {
                        return;
                    }
                }
                Standing::Empty => self.notify.notified().await,
                Standing::Closed => return,
            }
        }
    }

    /// Writes a batch and tells those who wait for it; false when no more may be written.
    fn carry_out(&self, db: &DB, writes: Vec<Queued<Write>>, record: &mut Vec<u8>) -> bool {
        let appends = writes.iter().any(|queued| matches!(queued.write, Write::Append { .. }));
        let purges = writes.iter().any(|queued| matches!(queued.write, Write::Purge { .. }));
        let write = |writes: &[Queued<Write>]| {
            if appends {
                failpoint(Step::CommitAppending);
            }
            self.failure.watch("raft log could not be written", self.write(db, writes, record))?;
            if appends {
                failpoint(Step::CommitAppended);
            }
            if purges {
                failpoint(Step::SnapshotPurged);
            }
            Ok(())
        };
        self.queue.carry_out(writes, write, |queued, written| if written { complete(queued) } else { fail(queued) })
    }

    fn write(&self, db: &DB, writes: &[Queued<Write>], record: &mut Vec<u8>) -> io::Result<()> {
        let (log_cf, state_cf) = (cf(db, CF_LOG)?, cf(db, CF_STATE)?);
        let mut batch = WriteBatch::default();
        let mut sync = false;
        let mut appended = 0;
        for queued in writes {
            match &queued.write {
                Write::Append { log, entries, .. } => {
                    for entry in entries {
                        codec::encode_entry(entry, record);
                        batch.put_cf(&log_cf, log_key(log.group(), entry.log_id.index), &record);
                    }
                    appended += entries.len();
                    sync = true;
                }
                Write::Vote { group, vote, .. } => {
                    batch.put_cf(&state_cf, state_key(*group, TAG_VOTE), codec::encode(&VoteRecord::from(*vote)));
                    sync = true;
                }
                // Need no sync of their own: if they are lost, so is all that was written after them.
                Write::Truncate { group, from } => {
                    batch.delete_range_cf(&log_cf, log_key(*group, *from), log_key(*group, u64::MAX));
                }
                Write::Purge { group, upto } => {
                    batch.put_cf(&state_cf, state_key(*group, TAG_PURGED), codec::encode(&LogIdRecord::from(*upto)));
                    batch.delete_range_cf(&log_cf, log_key(*group, 0), log_key(*group, upto.index.saturating_add(1)));
                }
                Write::Return { group } => batch.delete_cf(&state_cf, state_key(*group, TAG_REMOVED)),
                Write::Remove { group, .. } => {
                    batch.put_cf(&state_cf, state_key(*group, TAG_REMOVED), [codec::FORMAT]);
                    batch.delete_cf(&state_cf, state_key(*group, TAG_PURGED));
                    batch.delete_range_cf(&log_cf, log_key(*group, 0), log_key(*group, u64::MAX));
                    sync = true;
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let bytes = batch.size_in_bytes();
        db.write_opt(batch, &options).map_err(io::Error::other)?;
        self.counters.syncs.fetch_add(u64::from(sync), Ordering::Relaxed);
        self.counters.entries.fetch_add(appended as u64, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }
}

fn open_db(db: &LogDb) -> Option<Arc<DB>> {
    match db.get() {
        Ok(db) => Some(db),
        Err(error) => {
            tracing::error!(%error, "raft flusher has no database");
            None
        }
    }
}

/// Lets go of what is queued when a simulated process dies: it holds the logs, which hold the flusher.
struct Abandon<'a>(&'a Flusher);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        drop(self.0.queue.abandon());
    }
}

/// Without the flusher every group would wait for ever; a restart is better.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Tells those who wait for a write that it is not known to be on the disk.
fn fail(queued: Queued<Write>) {
    // The senders of others are dropped, which their receivers notice.
    if let Write::Append { callback, .. } = queued.write {
        callback.io_completed(Err(io::Error::other("raft log could not be written")));
    }
}

fn complete(queued: Queued<Write>) {
    match queued.write {
        Write::Append { log, callback, .. } => {
            log.written(queued.seq);
            callback.io_completed(Ok(()));
        }
        // A receiver that is gone stopped waiting; nothing is lost.
        Write::Vote { done, .. } | Write::Remove { done, .. } => _ = done.send(()),
        Write::Truncate { .. } | Write::Purge { .. } | Write::Return { .. } => {}
    }
}
