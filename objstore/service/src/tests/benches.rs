//! What the service costs by itself: hashing a body, a page of a listing out of a real store. Timed by
//! `cargo xtask cargo test -p karri-objstore-service --lib benches -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use karri_objstore_md5::Md5Pool;
use karri_ring_disk::DiskPath;
use karri_ring_meta::{MetaConfig, MetaNode};
use karri_ring_raft::{HostConfig, RaftHost};
use karri_ring_rpc::{MemoryNetwork, Router};
use karri_ring_types::{NodeId, SeededRng, SystemClock};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::support::{BUCKET, MemoryExtents, content, new_bucket, put_request};
use crate::body::HashPipeline;
use crate::ports::ClusterMeta;
use crate::{ChecksumAlgorithm, ListRequest, ObjectService, ServiceConfig};

const BODY_BYTES: usize = 4 << 20;
/// What one read of a socket gives.
const PIECE_BYTES: usize = 256 << 10;
const OBJECTS: u64 = 20_000;
const PAGE: u32 = 1000;
const NODE: NodeId = NodeId(1);

fn hashing(criterion: &mut Criterion, runtime: &Runtime) {
    let pool = Md5Pool::new(2);
    let body = content(BODY_BYTES);
    let mut group = criterion.benchmark_group("hashing of 4 MiB: MD5 and CRC-64");
    for streams in [1_usize, 8] {
        group.throughput(Throughput::Bytes((streams * BODY_BYTES) as u64));
        group.bench_function(format!("{streams} at once"), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let mut tasks = JoinSet::new();
                    for _ in 0..streams {
                        let (pool, body) = (pool.clone(), body.clone());
                        tasks.spawn(async move {
                            let mut pipeline = HashPipeline::new(&pool, ChecksumAlgorithm::Crc64Nvme);
                            for at in (0..BODY_BYTES).step_by(PIECE_BYTES) {
                                pipeline.update(body.slice(at..at + PIECE_BYTES)).await.expect("hashed");
                            }
                            pipeline.finish().await.expect("hashed").md5
                        });
                    }
                    tasks.join_all().await
                })
            });
        });
    }
    group.finish();
}

/// A service whose metadata is on this machine's disk, with a bucket of objects.
async fn stored(folder: &TempDir) -> (Arc<ObjectService>, Arc<MetaNode>) {
    let router = Router::new();
    let network = MemoryNetwork::new();
    let transport = network.transport(NODE, router.clone());
    let path = |name: &str| DiskPath::host(folder.path()).join(name);
    let raft = RaftHost::open(HostConfig::new(NODE, path("raft")), transport.clone(), &router).await.expect("logs");
    let (clock, rng) = (Arc::new(SystemClock::default()), Arc::new(SeededRng::new(1)));
    let config = MetaConfig::new(NODE, path("metadata"));
    let meta = MetaNode::open(config, raft, transport, &router, clock.clone(), rng.clone()).await.expect("metadata");
    meta.register(ObjectService::EVALUATOR, ObjectService::evaluator());
    meta.register(ObjectService::DIRECTORY, ObjectService::directory_evaluator());
    meta.start().await.expect("started");
    meta.bootstrap(1).await.expect("ranges");
    let config = ServiceConfig::default();
    let client = Arc::new(ClusterMeta { client: meta.client(), deadline: config.deadline });
    let service = ObjectService::over(client, Arc::new(MemoryExtents::default()), clock, rng, config);
    service.create_bucket(new_bucket(BUCKET, "me")).await.expect("a bucket");
    let mut writers = JoinSet::new();
    for writer in 0..64 {
        let service = service.clone();
        writers.spawn(async move {
            for number in (writer..OBJECTS).step_by(64) {
                let request = put_request(&format!("photos/2026/picture-{number:08}.jpg"));
                service.put_object(request, &mut Some(content(1024))).await.expect("put");
            }
        });
    }
    writers.join_all().await;
    (service, meta)
}

fn listing(criterion: &mut Criterion, runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let (service, meta) = runtime.block_on(stored(&folder));
    let mut group = criterion.benchmark_group("list page from the store");
    group.throughput(Throughput::Elements(u64::from(PAGE)));
    let mut number = 0;
    group.bench_function("1,000 of 20,000 keys", |bencher| {
        bencher.iter(|| {
            number = (number + 7919) % (OBJECTS - u64::from(PAGE));
            let after = Some(format!("photos/2026/picture-{number:08}.jpg"));
            let request = ListRequest { bucket: BUCKET.into(), after, limit: PAGE, ..ListRequest::default() };
            let page = runtime.block_on(service.list_objects(black_box(request))).expect("a page");
            assert_eq!(page.entries.len(), PAGE as usize);
        });
    });
    group.finish();
    runtime.block_on(meta.shutdown());
}

#[test]
#[ignore = "takes time and asserts little; run it to see the figures"]
fn benches() {
    let runtime = Runtime::new().expect("a runtime");
    let mut criterion = Criterion::default().sample_size(30);
    hashing(&mut criterion, &runtime);
    listing(&mut criterion, &runtime);
    criterion.final_summary();
}
