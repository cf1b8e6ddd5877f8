//! The store against real RocksDB: durability, deletion, damage.

use bytes::Bytes;
use karri_ring_extent::{ExtentConfig, ExtentError, ExtentHeader, ExtentStore, Owner, Run};
use karri_ring_types::{CHUNK_SIZE_BYTES, DataId, Digest, ExtentId, Rng as _, SeededRng, Timestamp};
use std::path::Path;
use std::sync::Arc;

fn open(dir: &Path) -> Arc<ExtentStore> {
    ExtentStore::open(ExtentConfig { dir: dir.to_owned(), reserve_bytes: 0 }).unwrap()
}

fn owner() -> Owner {
    Owner { data: DataId(9), route: b"bucket/key".to_vec() }
}

fn chunks(seed: u8, length: usize) -> Vec<Bytes> {
    let rng = SeededRng::new(u64::from(seed));
    let mut body = vec![0; length];
    rng.fill(&mut body);
    body.chunks(CHUNK_SIZE_BYTES).map(Bytes::copy_from_slice).collect()
}

fn header(chunks: &[Bytes]) -> ExtentHeader {
    ExtentHeader {
        owner: owner(),
        length_bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
        chunk_digests: chunks.iter().map(|chunk| Digest::of(chunk)).collect(),
        created: Timestamp(1),
    }
}

fn run(id: ExtentId, first_chunk: u32, chunks: &[Bytes]) -> Run {
    Run { extent: id, owner: owner(), first_chunk, chunks: chunks.to_vec() }
}

async fn put(store: &Arc<ExtentStore>, id: ExtentId, all: &[Bytes]) {
    for (number, part) in all.chunks(8).enumerate() {
        store.write_run(run(id, number as u32 * 8, part)).await.unwrap();
    }
    store.seal(id, header(all)).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let large = chunks(1, 20 * CHUNK_SIZE_BYTES + 77);
    let small = chunks(2, 50_000);
    {
        let store = open(dir.path());
        put(&store, ExtentId(1), &large).await;
        store.write_run_and_seal(run(ExtentId(2), 0, &small), header(&small)).await.unwrap();
        store.write_run(run(ExtentId(3), 0, &small)).await.unwrap();
        // No shutdown: the process is gone.
        std::mem::forget(store.clone());
        let copy = dir.path().join("copy");
        copy_dir(&dir.path().join("db"), &copy.join("db"));
    }
    let store = open(&dir.path().join("copy"));
    assert_eq!(store.read_chunks(ExtentId(1), 0, 64).await.unwrap().unwrap(), large);
    assert_eq!(store.read_chunks(ExtentId(2), 0, 1).await.unwrap().unwrap(), small);
    assert_eq!(store.header(ExtentId(1)).await.unwrap().unwrap(), header(&large));
    assert!(store.header(ExtentId(3)).await.unwrap().is_none(), "not sealed");
    let usage = store.usage();
    assert_eq!((usage.extents, usage.bytes), (2, (20 * CHUNK_SIZE_BYTES + 77 + 50_000) as u64));
    let scanned = store.scan(None, 10).await.unwrap();
    assert_eq!(
        scanned.iter().map(|(id, row)| (id.0, row.is_ok())).collect::<Vec<_>>(),
        [(1, true), (2, true), (3, false)]
    );
}

/// Copies the files as they are on the disk now.
fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn deletion_frees_the_files_and_cannot_be_undone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all = chunks(1, 16 * CHUNK_SIZE_BYTES);
    let id = ExtentId(5);
    put(&store, id, &all).await;
    put(&store, ExtentId(6), &all).await;
    assert_eq!(store.list(id.partition(), None, 10).await.unwrap(), [(id, header(&all).root())]);
    let before = size_of(dir.path());
    store.delete(vec![id, ExtentId(999)]).await.unwrap();
    assert!(store.read_chunks(id, 0, 1).await.unwrap().is_none());
    assert!(store.is_tombstoned(id).await.unwrap());
    assert!(matches!(store.write_run(run(id, 0, &all[..8])).await, Err(ExtentError::Deleted)));
    assert!(matches!(store.seal(id, header(&all)).await, Err(ExtentError::Deleted)));
    assert_eq!(store.summary(id.partition()), Default::default());
    assert_eq!(store.read_chunks(ExtentId(6), 0, 64).await.unwrap().unwrap(), all, "the neighbour is untouched");
    let freed = before.saturating_sub(size_of(dir.path()));
    assert!(freed >= 15 << 20, "only {freed} bytes were freed");
}

fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { size_of(&path) } else { path.metadata().unwrap().len() }).sum()
}

#[tokio::test]
async fn a_seal_needs_every_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all = chunks(1, 9 * CHUNK_SIZE_BYTES);
    store.write_run(run(ExtentId(1), 0, &all[..8])).await.unwrap();
    let missing = store.seal(ExtentId(1), header(&all)).await;
    assert!(matches!(missing, Err(ExtentError::Incomplete(_))), "{missing:?}");
    let short = run(ExtentId(1), 0, &[all[0].slice(..10), all[1].clone()]);
    assert!(matches!(store.write_run(short).await, Err(ExtentError::Incomplete(_))));
}

#[tokio::test]
async fn a_flipped_byte_is_seen_and_a_replaced_chunk_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let all = chunks(3, 8 * CHUNK_SIZE_BYTES);
    {
        let store = open(dir.path());
        put(&store, ExtentId(1), &all).await;
    }
    let needle = &all[4][500_000..500_064];
    let file = std::fs::read_dir(dir.path().join("db")).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        let content = std::fs::read(&path).unwrap();
        let at = content.windows(64).position(|window| window == needle)?;
        Some((path, content, at))
    });
    let (path, mut content, at) = file.expect("the chunk is in a file");
    content[at] ^= 1;
    std::fs::write(path, content).unwrap();
    let store = open(dir.path());
    let digest = Digest::of(&all[4]);
    assert!(!store.verify_chunk(ExtentId(1), 4, digest).await.unwrap());
    assert!(matches!(store.read_chunks(ExtentId(1), 4, 1).await, Err(ExtentError::Corrupt(_))));
    store.replace_chunk(ExtentId(1), 4, all[4].clone()).await.unwrap();
    assert!(store.verify_chunk(ExtentId(1), 4, digest).await.unwrap());
    assert_eq!(store.read_chunks(ExtentId(1), 0, 64).await.unwrap().unwrap(), all);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_serves_reads() {
    let dir = tempfile::tempdir().unwrap();
    let all = chunks(1, 8 * CHUNK_SIZE_BYTES);
    {
        let store = open(dir.path());
        put(&store, ExtentId(1), &all).await;
    }
    let config = ExtentConfig { dir: dir.path().to_owned(), reserve_bytes: u64::MAX };
    let store = ExtentStore::open(config).unwrap();
    assert!(matches!(store.write_run(run(ExtentId(2), 0, &all)).await, Err(ExtentError::DiskFull)));
    assert!(store.usage().full);
    assert_eq!(store.read_chunks(ExtentId(1), 0, 64).await.unwrap().unwrap(), all);
}
