//! openraft's own suite for log stores, on RocksDB, with neighbours in the same database.

use std::sync::Arc;

use bytes::Bytes;
use karri_ring_disk::DiskPath;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, RaftLogReader, StorageError};
use tempfile::TempDir;

use super::{FlushGate, Flusher, GroupLog, GroupStore, LogDb};
use crate::adapter::Adapter;
use crate::failure::Failure;
use crate::testing::Kv;
use crate::types::{Entry, LeaderId, Proposal, TypeConfig, Vote, log_id};

struct Builder {
    cache_bytes_max: usize,
}

struct Guard {
    flusher: Arc<Flusher>,
    _dir: TempDir,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.flusher.close();
    }
}

fn failure() -> Arc<Failure> {
    Arc::new(Failure::new(crate::OnFailedLog::Abort, &DiskPath::host("unused")))
}

fn entry(term: u64, index: u64, bytes: &[u8]) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Proposal(Bytes::copy_from_slice(bytes))) }
}

async fn append(store: &mut GroupStore, entries: Vec<Entry>) {
    let (tx, rx) = TypeConfig::oneshot();
    store.append(entries, IOFlushed::signal(tx)).await.unwrap();
    rx.await.unwrap().unwrap();
}

impl StoreBuilder<TypeConfig, GroupStore, Adapter, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, GroupStore, Adapter), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let db = LogDb::open(&DiskPath::host(dir.path())).unwrap();
        let flusher = Flusher::start(db.clone(), failure()).unwrap();
        for neighbour in [6, 8] {
            let log = GroupLog::open(neighbour, db.clone(), flusher.clone(), None).unwrap();
            append(&mut GroupStore(log), (0..30).map(|index| entry(9, index, b"neighbour")).collect()).await;
        }
        let log = GroupLog::open_with_cache(7, db, flusher.clone(), None, self.cache_bytes_max).unwrap();
        let machine = Kv::lenient();
        let adapter = Adapter::open(machine.clone(), FlushGate::new(machine, failure())).unwrap();
        Ok((Guard { flusher, _dir: dir }, GroupStore(log), adapter))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openraft_suite_passes_with_reads_from_memory() {
    Suite::test_all(Builder { cache_bytes_max: super::view::CACHE_BYTES_MAX }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn openraft_suite_passes_with_reads_from_disk() {
    Suite::test_all(Builder { cache_bytes_max: 0 }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_vote_survive_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let vote = Vote { leader_id: LeaderId { term: 3, voted_for: 2 }, committed: true };
    for round in 0..3 {
        let db = LogDb::open(&DiskPath::host(dir.path())).unwrap();
        let flusher = Flusher::start(db.clone(), failure()).unwrap();
        let mut store = GroupStore(GroupLog::open(1, db.clone(), flusher.clone(), None).unwrap());
        assert_eq!(store.0.is_pristine(), round == 0);
        if round == 0 {
            store.save_vote(&vote).await.unwrap();
            append(&mut store, (0..100).map(|index| entry(2, index, &[index as u8; 100])).collect()).await;
            store.truncate_after(Some(log_id(2, 89))).await.unwrap();
            append(&mut store, vec![entry(3, 90, b"ninety"), entry(3, 91, b"last")]).await;
            store.purge(log_id(2, 9)).await.unwrap();
        }
        let state = store.get_log_state().await.unwrap();
        assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(2, 9)), Some(log_id(3, 91))));
        assert_eq!(store.read_vote().await.unwrap(), Some(vote));
        let entries = store.try_get_log_entries(..).await.unwrap();
        assert_eq!(entries.len(), 82);
        assert_eq!((&entries[0], &entries[80]), (&entry(2, 10, &[10; 100]), &entry(3, 90, b"ninety")));
        assert_eq!(db.groups().unwrap(), vec![1]);
        flusher.close();
        db.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_cut_by_bytes_and_streams_go_on() {
    use futures::TryStreamExt;
    for cache_bytes_max in [0, usize::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let db = LogDb::open(&DiskPath::host(dir.path())).unwrap();
        let flusher = Flusher::start(db.clone(), failure()).unwrap();
        let log = GroupLog::open_with_cache(1, db, flusher.clone(), None, cache_bytes_max).unwrap();
        let mut store = GroupStore(log);
        let big = vec![1; 1 << 20];
        append(&mut store, (0..12).map(|index| entry(1, index, &big)).collect()).await;
        let limited = store.limited_get_log_entries(0, 12).await.unwrap();
        assert!((3..=5).contains(&limited.len()), "{} entries", limited.len());
        let all: Vec<_> = store.entries_stream(1..12).await.try_collect().await.unwrap();
        assert_eq!(all.iter().map(|e| e.log_id.index).collect::<Vec<_>>(), (1..12).collect::<Vec<_>>());
        flusher.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_group_keeps_only_its_vote() {
    let dir = tempfile::tempdir().unwrap();
    let db = LogDb::open(&DiskPath::host(dir.path())).unwrap();
    let flusher = Flusher::start(db.clone(), failure()).unwrap();
    let vote = Vote { leader_id: LeaderId { term: 3, voted_for: 2 }, committed: false };
    let mut store = GroupStore(GroupLog::open(1, db.clone(), flusher.clone(), None).unwrap());
    store.save_vote(&vote).await.unwrap();
    append(&mut store, vec![entry(3, 0, b"gone")]).await;
    store.0.remove().await.unwrap();
    assert_eq!(db.groups().unwrap(), Vec::<u64>::new());
    let mut store = GroupStore(GroupLog::open(1, db.clone(), flusher.clone(), None).unwrap());
    assert_eq!(store.read_vote().await.unwrap(), Some(vote));
    assert_eq!(store.get_log_state().await.unwrap().last_log_id, None);
    append(&mut store, vec![entry(4, 0, b"new")]).await;
    assert_eq!(db.groups().unwrap(), vec![1]);
    flusher.close();
}
