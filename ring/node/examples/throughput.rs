//! Processor time of writing and reading extents on one node, network and S3 left out.
//!
//! `cargo run -p karri-ring-node --example throughput -- DIR`

#![expect(clippy::disallowed_methods, reason = "it looks at the files of the host behind the node's back")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use karri_ring_disk::DiskPath;
use karri_ring_extent::{ExtentConfig, ExtentStore};
use karri_ring_node::{ExtentClient, LayoutSource, Owner, StorageConfig, StorageNode, StorageParts};
use karri_ring_placement::{Layout, NodeSpec};
use karri_ring_rpc::{MemoryNetwork, Router};
use karri_ring_types::{Clock, DataId, NodeId, Rng, SeededRng, SystemClock, SystemRng};

/// What a gateway's socket hands over at once.
const PIECE_BYTES: usize = 64 << 10;

struct OneNode(Arc<Layout>);

impl LayoutSource for OneNode {
    fn layout(&self) -> Arc<Layout> {
        self.0.clone()
    }

    fn alive(&self, _node: NodeId) -> bool {
        true
    }
}

fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("stat").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("ticks");
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

fn client(dir: &Path) -> ExtentClient {
    let store = ExtentStore::open(ExtentConfig { dir: DiskPath::host(dir), reserve_bytes: 1 << 30 }).expect("open");
    let spec = NodeSpec { id: NodeId(1), zone: "a".to_owned(), capacity_bytes: 1 << 40 };
    let layout = Layout::empty(1).next(vec![spec], 1).expect("layout");
    let router = Router::new();
    let parts = StorageParts {
        store,
        transport: MemoryNetwork::new().transport(NodeId(1), router.clone()),
        layouts: Arc::new(OneNode(Arc::new(layout))),
        clock: Arc::new(SystemClock::default()),
        rng: Arc::new(SystemRng),
    };
    StorageNode::new(parts, StorageConfig::default(), &router).client()
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "throughput.tmp".to_owned());
    let dir = Path::new(&dir);
    let client = client(dir);
    let clock = SystemClock::default();
    let mut piece = vec![0; PIECE_BYTES];
    SeededRng::new(1).fill(&mut piece);
    let piece = Bytes::from(piece);
    for object_bytes in [64usize << 20, 8 << 20, 256 << 10] {
        let objects = (1 << 30) / object_bytes;
        let (at, processor) = (clock.monotonic(), processor_time());
        let mut extents = Vec::new();
        for _ in 0..objects {
            let owner = Owner { data: DataId(1), route: b"key".to_vec() };
            let mut writer = client.writer_for(owner, Some(object_bytes as u64), karri_ring_types::Redundancy::Cluster);
            for _ in 0..object_bytes / PIECE_BYTES {
                writer.write(piece.clone()).await.expect("write");
            }
            extents.extend(writer.finish().await.expect("finish"));
        }
        let report = |what: &str, at: Duration, processor: Duration| {
            println!(
                "{:>6} KiB {what}: {:>5.0} MiB/s {:>5.2} CPU s/GiB",
                object_bytes >> 10,
                1024.0 / (clock.monotonic() - at).as_secs_f64(),
                (processor_time() - processor).as_secs_f64(),
            );
        };
        report("write", at, processor);
        let (at, processor) = (clock.monotonic(), processor_time());
        for extent in &extents {
            let mut chunks = client.read(extent, 0..extent.length_bytes);
            while let Some(chunk) = chunks.next().await {
                chunk.expect("read");
            }
        }
        report("read", at, processor);
    }
    drop(client);
    let _ = fs::remove_dir_all(dir);
}
