//! Nodes with real stores on a network in memory.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use karri_ring_disk::DiskPath;
use karri_ring_extent::{ExtentConfig, ExtentStore};
use karri_ring_node::{
    ClientConfig, ExtentClient, ExtentRef, LayoutSource, Owner, ReadError, RepairConfig, StorageConfig, StorageNode,
    StorageParts,
};
use karri_ring_placement::{Layout, NodeSpec};
use karri_ring_rpc::{MemoryNetwork, Router};
use karri_ring_types::{DataId, NodeId, Redundancy, Rng, SeededRng, SystemClock, SystemRng};
use parking_lot::RwLock;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A layout that a test sets by hand.
pub(crate) struct TestLayout {
    layouts: RwLock<Vec<Arc<Layout>>>,
    dead: RwLock<HashSet<NodeId>>,
    /// What is found when the layout is doubted.
    newer: RwLock<Option<Vec<Arc<Layout>>>>,
}

impl LayoutSource for TestLayout {
    fn layout(&self) -> Arc<Layout> {
        self.layouts.read()[0].clone()
    }

    fn history(&self) -> Vec<Arc<Layout>> {
        self.layouts.read().clone()
    }

    fn alive(&self, node: NodeId) -> bool {
        !self.dead.read().contains(&node)
    }

    fn doubt(&self) {
        if let Some(newer) = self.newer.write().take() {
            *self.layouts.write() = newer;
        }
    }
}

pub(crate) struct TestNode {
    pub(crate) storage: Arc<StorageNode>,
    pub(crate) store: Arc<ExtentStore>,
    pub(crate) dir: PathBuf,
}

pub(crate) struct TestCluster {
    pub(crate) network: MemoryNetwork,
    pub(crate) layout: Arc<TestLayout>,
    pub(crate) nodes: Vec<TestNode>,
    shutdown: CancellationToken,
    dir: TempDir,
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl TestCluster {
    /// Nodes 1..=count with up to three copies. Repair runs only when a test asks for it.
    pub(crate) fn start(count: u64) -> Self {
        Self::start_with(count, 1 << 20)
    }

    pub(crate) fn start_with(count: u64, reserve_bytes: u64) -> Self {
        Self::start_on(specs(1..=count), &[], reserve_bytes)
    }

    /// Nodes 1..=count that keep extents in one more way.
    pub(crate) fn start_for(count: u64, redundancy: Redundancy) -> Self {
        Self::start_on(specs(1..=count), &[redundancy.width().unwrap()], 1 << 20)
    }

    pub(crate) fn start_on(specs: Vec<NodeSpec>, widths: &[u8], reserve_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let count = specs.len() as u64;
        let layout = Layout::empty(3).next_with(specs, 3, widths).unwrap();
        let layout = Arc::new(TestLayout {
            layouts: RwLock::new(vec![Arc::new(layout)]),
            dead: RwLock::default(),
            newer: RwLock::default(),
        });
        let mut cluster =
            Self { network: MemoryNetwork::new(), layout, nodes: Vec::new(), shutdown: CancellationToken::new(), dir };
        for id in 1..=count {
            cluster.add(id, reserve_bytes);
        }
        cluster
    }

    pub(crate) fn add(&mut self, id: u64, reserve_bytes: u64) {
        let dir = self.dir.path().join(id.to_string());
        let store = ExtentStore::open(ExtentConfig { dir: DiskPath::host(&dir), reserve_bytes }).unwrap();
        let router = Router::new();
        let parts = StorageParts {
            store: store.clone(),
            transport: self.network.transport(NodeId(id), router.clone()),
            layouts: self.layout.clone(),
            clock: Arc::new(SystemClock::default()),
            rng: Arc::new(SystemRng),
        };
        let repair = RepairConfig {
            interval: Duration::from_secs(3600),
            pull_after: Duration::ZERO,
            scrub_chunks_per_second: 0,
            orphan_age: Duration::ZERO,
            ..RepairConfig::default()
        };
        let storage = StorageNode::new(parts, StorageConfig { repair, ..StorageConfig::default() }, &router);
        self.nodes.push(TestNode { storage, store, dir });
    }

    /// Starts the background work of all nodes.
    pub(crate) fn run(&self) {
        for node in &self.nodes {
            tokio::spawn(node.storage.clone().run(None, self.shutdown.clone()));
        }
    }

    pub(crate) fn client(&self, id: u64) -> ExtentClient {
        self.node(id).storage.client()
    }

    /// A client of a process without a store, whose writers share so much memory.
    pub(crate) fn client_with_memory(&self, write_memory_bytes_max: usize) -> ExtentClient {
        self.remote(self.layout.clone(), ClientConfig { write_memory_bytes_max })
    }

    /// A client of a process without a store that knows an old layout, of these nodes, until it doubts it.
    pub(crate) fn client_with_old_layout(&self, ids: impl IntoIterator<Item = u64>) -> ExtentClient {
        let old = Layout::empty(3).next(specs(ids), 3).unwrap();
        let layout = TestLayout {
            layouts: RwLock::new(vec![Arc::new(old)]),
            dead: RwLock::default(),
            newer: RwLock::new(Some(self.layout.history())),
        };
        self.remote(Arc::new(layout), ClientConfig::default())
    }

    fn remote(&self, layout: Arc<TestLayout>, config: ClientConfig) -> ExtentClient {
        let transport = self.network.transport(NodeId(99), Router::new());
        ExtentClient::remote(transport, layout, Arc::new(SystemClock::default()), Arc::new(SystemRng), config)
    }

    pub(crate) fn node(&self, id: u64) -> &TestNode {
        &self.nodes[id as usize - 1]
    }

    pub(crate) fn set_layout(&self, count: u64) {
        self.set_nodes(1..=count);
    }

    pub(crate) fn set_nodes(&self, ids: impl IntoIterator<Item = u64>) {
        let mut layouts = self.layout.layouts.write();
        let next = layouts[0].next(specs(ids), 3).unwrap();
        layouts.insert(0, Arc::new(next));
    }

    pub(crate) fn set_dead(&self, id: u64, dead: bool) {
        if dead {
            self.layout.dead.write().insert(NodeId(id));
        } else {
            self.layout.dead.write().remove(&NodeId(id));
        }
    }
}

pub(crate) fn specs(ids: impl IntoIterator<Item = u64>) -> Vec<NodeSpec> {
    let spec = |id: u64| NodeSpec { id: NodeId(id), zone: id.to_string(), capacity_bytes: 1 << 40 };
    ids.into_iter().map(spec).collect()
}

pub(crate) fn owner() -> Owner {
    Owner { data: DataId(7), route: b"bucket/key".to_vec() }
}

pub(crate) fn random_bytes(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    SeededRng::new(seed).fill(&mut bytes);
    Bytes::from(bytes)
}

/// Writes in pieces of an awkward size.
pub(crate) async fn write(client: &ExtentClient, content: &Bytes) -> Vec<ExtentRef> {
    write_as(client, content, Redundancy::Cluster).await
}

pub(crate) async fn write_as(client: &ExtentClient, content: &Bytes, redundancy: Redundancy) -> Vec<ExtentRef> {
    let mut writer = client.writer_for(owner(), Some(content.len() as u64), redundancy);
    for piece in content.chunks(777_777) {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

pub(crate) async fn read(client: &ExtentClient, extents: &[ExtentRef]) -> Result<Bytes, ReadError> {
    let mut content = Vec::new();
    for extent in extents {
        let chunks: Vec<Bytes> = client.read(extent, 0..u64::MAX).try_collect().await?;
        chunks.iter().for_each(|chunk| content.extend_from_slice(chunk));
    }
    Ok(Bytes::from(content))
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < patience, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
