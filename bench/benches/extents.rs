//! Writing and reading extents on this machine's disk: small runs through the log, large ones as ingested files.

#![allow(missing_docs, reason = "criterion makes public functions")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use karri_ring_disk::DiskPath;
use karri_ring_extent::{ExtentConfig, ExtentHeader, ExtentStore, Owner, Run};
use karri_ring_types::{CHUNK_SIZE_BYTES, DataId, Digest, ExtentId, Rng as _, SeededRng, Timestamp};

/// An object that is small, one of a chunk, and a run that is ingested.
const SIZES: [usize; 3] = [64 << 10, 1 << 20, 4 << 20];

async fn write(store: &Arc<ExtentStore>, id: ExtentId, bytes: &Bytes) {
    let owner = || Owner { data: DataId(id.0), route: b"bucket/key".to_vec() };
    let chunks: Vec<Bytes> = (0..bytes.len())
        .step_by(CHUNK_SIZE_BYTES)
        .map(|at| bytes.slice(at..bytes.len().min(at + CHUNK_SIZE_BYTES)))
        .collect();
    let header = ExtentHeader {
        owner: owner(),
        length_bytes: bytes.len() as u64,
        chunk_digests: chunks.iter().map(|chunk| Digest::of(chunk)).collect(),
        created: Timestamp(0),
        stripe: None,
    };
    let run = Run { extent: id, owner: owner(), first_chunk: 0, chunks };
    store.write_run_and_seal(run, header).await.expect("a write");
}

fn extents(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let config = ExtentConfig { dir: DiskPath::host(folder.path()), reserve_bytes: 0 };
    let store = ExtentStore::open(config).expect("a store");
    let next = AtomicU64::new(1);
    let mut group = criterion.benchmark_group("extent");
    group.sample_size(20);
    for size in SIZES {
        let mut noise = vec![0; size];
        SeededRng::new(1).fill(&mut noise);
        let noise = Bytes::from(noise);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("write and sync", size), |bencher| {
            bencher.iter(|| {
                let id = ExtentId(u128::from(next.fetch_add(1, Ordering::Relaxed)));
                runtime.block_on(write(&store, id, &noise));
            });
        });
        let id = ExtentId(u128::from(next.fetch_add(1, Ordering::Relaxed)));
        runtime.block_on(write(&store, id, &noise));
        let count = size.div_ceil(CHUNK_SIZE_BYTES) as u32;
        group.bench_function(BenchmarkId::new("read", size), |bencher| {
            bencher.iter(|| runtime.block_on(store.read_chunks(id, 0, count)).expect("a read"));
        });
    }
    group.finish();
}

criterion_group!(benches, extents);
criterion_main!(benches);
