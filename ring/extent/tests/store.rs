//! The store keeps what it acknowledged, and nothing else.

#![expect(clippy::disallowed_methods, reason = "it looks at the files of the host behind the node's back")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use karri_ring_disk::DiskPath;
use karri_ring_extent::{ExtentConfig, ExtentError, ExtentHeader, ExtentStore, Owner, Run};
use karri_ring_types::{CHUNK_SIZE_BYTES, DataId, Digest, ExtentId, PARTITION_COUNT, PartitionId, Timestamp};
use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

const LARGE_CHUNKS: usize = 3;

fn open(dir: &Path) -> Arc<ExtentStore> {
    ExtentStore::open(ExtentConfig { dir: DiskPath::host(dir), reserve_bytes: 0 }).unwrap()
}

fn owner() -> Owner {
    Owner { data: DataId(1), route: b"key".to_vec() }
}

/// Full chunks and a last one of `tail` bytes, each filled with its own byte.
fn content(seed: u8, full: usize, tail: usize) -> Vec<Bytes> {
    let fill = |index: usize, length| Bytes::from(vec![seed.wrapping_add(index as u8); length]);
    let mut chunks: Vec<Bytes> = (0..full).map(|index| fill(index, CHUNK_SIZE_BYTES)).collect();
    chunks.extend((tail > 0).then(|| fill(full, tail)));
    chunks
}

fn header(chunks: &[Bytes]) -> ExtentHeader {
    ExtentHeader {
        owner: owner(),
        length_bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
        chunk_digests: chunks.iter().map(|chunk| Digest::of(chunk)).collect(),
        created: Timestamp(1),
        stripe: None,
    }
}

fn run(id: u128, first_chunk: u32, chunks: &[Bytes]) -> Run {
    Run { extent: ExtentId(id), owner: owner(), first_chunk, chunks: chunks.to_vec() }
}

/// Bytes that the segments take of the disk.
fn taken(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let files = fs::read_dir(dir.join("segments")).unwrap();
    files.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

/// The log of RocksDB that is being written.
fn row_log(dir: &Path) -> std::path::PathBuf {
    let paths = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap()
}

/// What a crash of the process leaves: the files as they are.
fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for folder in ["db", "segments"] {
        fs::create_dir_all(copy.path().join(folder)).unwrap();
        for entry in fs::read_dir(dir.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "LOCK" {
                fs::copy(entry.path(), copy.path().join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let large = content(1, LARGE_CHUNKS, 5);
    let small = content(9, 0, 70_000);
    store.write_run(run(1, 0, &large[..2])).await.unwrap();
    store.write_run_and_seal(run(1, 2, &large[2..]), header(&large)).await.unwrap();
    store.write_run_and_seal(run(2, 0, &small), header(&small)).await.unwrap();
    store.write_run(run(3, 0, &large[..LARGE_CHUNKS])).await.unwrap();
    store.write_run_and_seal(run(4, 0, &large), header(&large)).await.unwrap();
    store.delete(vec![ExtentId(4)]).await.unwrap();

    let copy = copy_of(dir.path());
    let after = open(copy.path());
    assert_eq!(after.read_chunks(ExtentId(1), 0, 9).await.unwrap(), large.concat());
    assert_eq!(after.read_chunks(ExtentId(2), 0, 9).await.unwrap(), small.concat());
    assert_eq!(after.header(ExtentId(1)).await.unwrap(), Some(header(&large)));
    assert_eq!(after.header(ExtentId(3)).await.unwrap(), None);
    let states: Vec<(ExtentId, bool)> =
        after.scan(None, 9).await.unwrap().into_iter().map(|(id, state)| (id, state.is_ok())).collect();
    assert_eq!(states, [(ExtentId(1), true), (ExtentId(2), true), (ExtentId(3), false)]);
    assert!(after.is_tombstoned(ExtentId(4)).await.unwrap());
    assert!(after.read_chunks(ExtentId(4), 0, 9).await.unwrap().is_empty());
    for partition in (0..PARTITION_COUNT).map(PartitionId) {
        assert_eq!(after.summaries(partition), store.summaries(partition));
    }
    assert_eq!(after.usage().bytes, header(&large).length_bytes + 70_000);
    // An extent that was begun before the crash can be ended after it.
    after.seal(ExtentId(3), header(&large[..LARGE_CHUNKS])).await.unwrap();
}

/// The rows of a run follow its record without a sync: a power cut may lose them, but never the run.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_power_cut_lost_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (large, small) = (content(1, LARGE_CHUNKS, 5), content(9, 0, 70_000));
    store.write_run_and_seal(run(1, 0, &small), header(&small)).await.unwrap();
    store.delete(vec![ExtentId(1)]).await.unwrap();
    let synced = fs::metadata(row_log(dir.path())).unwrap().len();
    store.write_run(run(2, 0, &large[..2])).await.unwrap();
    store.write_run_and_seal(run(2, 2, &large[2..]), header(&large)).await.unwrap();
    store.write_run_and_seal(run(3, 0, &small), header(&small)).await.unwrap();
    store.write_run(run(4, 0, &large)).await.unwrap();

    let copy = copy_of(dir.path());
    let log = fs::OpenOptions::new().write(true).open(row_log(copy.path())).unwrap();
    assert!(log.metadata().unwrap().len() > synced, "there is nothing to lose");
    log.set_len(synced).unwrap();
    for _ in 0..2 {
        let after = open(copy.path());
        assert_eq!(after.read_chunks(ExtentId(2), 0, 9).await.unwrap(), large.concat());
        assert_eq!(after.read_chunks(ExtentId(3), 0, 9).await.unwrap(), small.concat());
        assert_eq!(after.header(ExtentId(2)).await.unwrap(), Some(header(&large)));
        assert_eq!((after.usage().extents, after.usage().bytes), (2, header(&large).length_bytes + 70_000));
        assert!(after.read_chunks(ExtentId(1), 0, 9).await.unwrap().is_empty(), "what was deleted stays deleted");
    }
    let after = open(copy.path());
    after.seal(ExtentId(4), header(&large)).await.unwrap();
}

/// A record that a crash cut short was not acknowledged: nothing is made of it, and what stands behind it is found.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_record_is_passed_over() {
    use std::os::unix::fs::FileExt as _;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let synced = fs::metadata(row_log(dir.path())).unwrap().len();
    let chunks: Vec<Vec<Bytes>> = (1..5).map(|seed| content(seed, 0, 70_000)).collect();
    for (id, chunks) in (1..).zip(&chunks) {
        store.write_run_and_seal(run(id, 0, chunks), header(chunks)).await.unwrap();
    }
    let copy = copy_of(dir.path());
    fs::OpenOptions::new().write(true).open(row_log(copy.path())).unwrap().set_len(synced).unwrap();
    let segment = fs::read_dir(copy.path().join("segments")).unwrap().next().unwrap().unwrap().path();
    let file = fs::OpenOptions::new().read(true).write(true).open(segment).unwrap();
    let content = fs::read(copy.path().join("segments").join("0000000000000001.seg")).unwrap();
    let of =
        |byte: u8| content.windows(100).position(|window| window.iter().all(|&found| found == byte)).unwrap() as u64;
    // The second lacks a byte of its payload, the third its frame.
    file.write_at(&[0], of(2) + 60_000).unwrap();
    file.write_at(&[0; 40], of(3) / 4096 * 4096).unwrap();
    let after = open(copy.path());
    let listed: Vec<u128> = after.scan(None, 9).await.unwrap().into_iter().map(|(id, _)| id.0).collect();
    assert_eq!(listed, [1, 4]);
    assert_eq!(after.read_chunks(ExtentId(4), 0, 1).await.unwrap(), chunks[3][0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extent_is_sealed_only_when_it_is_complete_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let chunks = content(1, 3, 0);
    store.write_run(run(1, 0, &chunks[..2])).await.unwrap();
    let incomplete = store.seal(ExtentId(1), header(&chunks)).await;
    assert!(matches!(incomplete, Err(ExtentError::Incomplete(_))), "{incomplete:?}");
    // A prefix may be sealed: the writer goes on elsewhere.
    store.seal(ExtentId(1), header(&chunks[..2])).await.unwrap();
    store.seal(ExtentId(1), header(&chunks[..2])).await.unwrap();
    assert_eq!(store.usage().extents, 1);
    let other = store.write_run_and_seal(run(1, 2, &chunks[2..]), header(&chunks)).await;
    assert!(matches!(other, Err(ExtentError::Incomplete(_))), "{other:?}");
    // A run that comes late does not open it again.
    store.write_run(run(1, 0, &chunks[..2])).await.unwrap();
    assert!(store.header(ExtentId(1)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_frees_the_disk_and_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let chunks = content(1, 4, 0);
    store.write_run_and_seal(run(1, 0, &chunks), header(&chunks)).await.unwrap();
    assert!(taken(dir.path()) > 4 << 20);
    store.delete(vec![ExtentId(1), ExtentId(1), ExtentId(77)]).await.unwrap();
    assert!(taken(dir.path()) < 1 << 20, "{} bytes are still taken", taken(dir.path()));
    for id in [1, 77] {
        let again = store.write_run_and_seal(run(id, 0, &chunks), header(&chunks)).await;
        assert!(matches!(again, Err(ExtentError::Deleted)), "{again:?}");
    }
    assert_eq!((store.usage().extents, store.usage().bytes), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_chunk_is_read_instead_of_the_bad_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (id, full) in [(1, 4), (2, 0)] {
        let chunks = content(1, full, 999);
        let bad: Vec<Bytes> = content(2, full, 999);
        store.write_run_and_seal(run(id, 0, &bad), header(&chunks)).await.unwrap();
        for (index, chunk) in (0..).zip(&chunks) {
            assert!(!store.verify_chunk(ExtentId(id), index, Digest::of(chunk)).await.unwrap());
            store.replace_chunk(ExtentId(id), index, chunk.clone()).await.unwrap();
            assert!(store.verify_chunk(ExtentId(id), index, Digest::of(chunk)).await.unwrap());
        }
        store.delete(vec![ExtentId(id)]).await.unwrap();
        assert!(store.read_chunks(ExtentId(id), 0, 9).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_but_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let chunks = content(1, 0, 1000);
    {
        let store = open(dir.path());
        store.write_run_and_seal(run(1, 0, &chunks), header(&chunks)).await.unwrap();
        store.write_run(run(2, 0, &chunks)).await.unwrap();
    }
    let config = ExtentConfig { dir: DiskPath::host(dir.path()), reserve_bytes: u64::MAX / 2 };
    let store = ExtentStore::open(config).unwrap();
    let refused = store.write_run(run(3, 0, &chunks)).await;
    assert!(matches!(refused, Err(ExtentError::DiskFull)), "{refused:?}");
    assert!(store.usage().full);
    assert_eq!(store.read_chunks(ExtentId(1), 0, 1).await.unwrap(), chunks[0]);
    store.seal(ExtentId(2), header(&chunks)).await.unwrap();
    store.delete(vec![ExtentId(1)]).await.unwrap();
}

/// `mount -t tmpfs -o size=300m none DIR && KARRI_SMALL_DISK=DIR cargo test -p karri-ring-extent -- --ignored`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a file system of about 300 MB in KARRI_SMALL_DISK"]
async fn a_disk_that_fills_up_recovers_when_there_is_room() {
    let dir = tempfile::tempdir_in(std::env::var("KARRI_SMALL_DISK").unwrap()).unwrap();
    for reserve_bytes in [16 << 20, 0] {
        let config = ExtentConfig { dir: DiskPath::host(dir.path().join(reserve_bytes.to_string())), reserve_bytes };
        let store = ExtentStore::open(config.clone()).unwrap();
        let mut written = Vec::new();
        let refused = loop {
            let id = written.len() as u128;
            let chunks = content(id as u8, if id.is_multiple_of(2) { 4 } else { 1 }, 100);
            match store.write_run_and_seal(run(id, 0, &chunks), header(&chunks)).await {
                Ok(()) => written.push(chunks),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, ExtentError::DiskFull), "{refused:?}");
        assert!(written.len() > 3);
        for (id, chunks) in (0..).zip(&written) {
            assert_eq!(store.read_chunks(ExtentId(id), 0, 9).await.unwrap(), chunks.concat());
        }
        if reserve_bytes > 0 {
            store.delete((0..written.len() as u128).map(ExtentId).collect()).await.unwrap();
            let chunks = content(1, 4, 0);
            store.write_run_and_seal(run(1000, 0, &chunks), header(&chunks)).await.unwrap();
        }
        drop(store);
        fs::remove_dir_all(config.dir.as_path()).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write { id: u8, full: usize, seal: bool },
    Seal(u8),
    Delete(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6u8, 0..LARGE_CHUNKS, any::<bool>()).prop_map(|(id, full, seal)| Step::Write { id, full, seal }),
        2 => (0..6u8).prop_map(Step::Seal),
        2 => (0..6u8).prop_map(Step::Delete),
        1 => proptest::prelude::Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..25)
}

/// What the store should hold: content, and whether it is sealed; `None` when it was deleted.
type Model = BTreeMap<u8, Option<(Vec<Bytes>, bool)>>;

async fn take(store: &Arc<ExtentStore>, model: &mut Model, step: Step) {
    match step {
        Step::Write { id, full, seal } => {
            // An id always has the same content, as in the cluster; `full` decides it the first time.
            let known = model.get(&id).cloned().flatten();
            let chunks = known.as_ref().map_or_else(|| content(id, full, 10), |(chunks, _)| chunks.clone());
            let run = run(u128::from(id), 0, &chunks);
            let outcome =
                if seal { store.write_run_and_seal(run, header(&chunks)).await } else { store.write_run(run).await };
            if model.get(&id) == Some(&None) {
                assert!(matches!(outcome, Err(ExtentError::Deleted)), "{outcome:?}");
            } else {
                outcome.unwrap();
                let sealed = seal || known.is_some_and(|(_, sealed)| sealed);
                model.insert(id, Some((chunks, sealed)));
            }
        }
        Step::Seal(id) => {
            let chunks = model.get(&id).cloned().flatten().map_or_else(|| content(id, 1, 10), |(chunks, _)| chunks);
            let outcome = store.seal(ExtentId(u128::from(id)), header(&chunks)).await;
            match model.get_mut(&id) {
                Some(Some((_, sealed))) => {
                    outcome.unwrap();
                    *sealed = true;
                }
                _ => assert!(outcome.is_err()),
            }
        }
        Step::Delete(id) => {
            store.delete(vec![ExtentId(u128::from(id))]).await.unwrap();
            model.insert(id, None);
        }
        Step::Reopen => {}
    }
}

async fn listed(store: &Arc<ExtentStore>) -> Vec<ExtentId> {
    let mut ids = Vec::new();
    for partition in (0..6u128).map(|id| ExtentId(id).partition()).collect::<std::collections::BTreeSet<_>>() {
        ids.extend(store.list(partition, None, 99).await.unwrap().into_iter().map(|(id, _)| id));
    }
    ids.sort_unstable();
    ids
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(12))]
    #[test]
    fn the_store_does_what_a_map_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let mut model = Model::new();
        for step in steps {
            if matches!(step, Step::Reopen) {
                drop(store);
                store = open(dir.path());
            }
            runtime.block_on(take(&store, &mut model, step));
        }
        runtime.block_on(async {
            let sealed: Vec<ExtentId> = model
                .iter()
                .filter(|(_, state)| matches!(state, Some((_, true))))
                .map(|(&id, _)| ExtentId(u128::from(id)))
                .collect();
            prop_assert_eq!(store.usage().extents, sealed.len() as u64);
            prop_assert_eq!(listed(&store).await, sealed);
            for (id, state) in model {
                let id = ExtentId(u128::from(id));
                let found = store.read_chunks(id, 0, 9).await.unwrap();
                prop_assert_eq!(found, state.map_or_else(Vec::new, |(chunks, _)| chunks.concat()));
            }
            Ok(())
        })?;
    }
}
