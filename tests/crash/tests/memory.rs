//! A whole small cluster on disks in memory: nothing of it is on the host.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use karri_ring_extent::{ExtentError, ExtentHeader, Run};
use karri_ring_meta::MetaError;
use karri_ring_node::join::Credentials;
use karri_ring_node::membership::{Membership, MembershipConfig, MembershipParts, NodeInfo};
use karri_ring_node::{ExtentRef, LayoutSource, Owner, StorageConfig, StorageNode, StorageParts};
use karri_ring_placement::{Layout, NodeSpec};
use karri_ring_rpc::{AddressBook, MemoryNetwork};
use karri_ring_types::{ClusterId, DataId, Digest, ExtentId, ManualClock, NodeId, RangeId, Rng, SeededRng, Timestamp};
use karri_tests_crash::node::{Node, PATIENCE, Site};

const NODES: u64 = 3;
const RANGES: u16 = 2;
const PACE_MS: (u64, (u64, u64)) = (60, (400, 800));
const KEYS: std::ops::Range<u8> = 0..40;

struct Fixed(Arc<Layout>);

impl LayoutSource for Fixed {
    fn layout(&self) -> Arc<Layout> {
        self.0.clone()
    }

    fn history(&self) -> Vec<Arc<Layout>> {
        vec![self.0.clone()]
    }

    fn alive(&self, _node: NodeId) -> bool {
        true
    }
}

struct Cluster {
    nodes: Vec<Node>,
    storage: Vec<Arc<StorageNode>>,
}

async fn start(sites: &[Site], clock: &Arc<ManualClock>) -> Cluster {
    let network = MemoryNetwork::new();
    let specs = sites.iter().map(|site| NodeSpec { id: site.id, zone: site.id.to_string(), capacity_bytes: 1 << 40 });
    let layout = Arc::new(Layout::empty(3).next(specs.collect(), 3).unwrap());
    let mut cluster = Cluster { nodes: Vec::new(), storage: Vec::new() };
    for site in sites {
        let node = Node::start(site, &network, clock.clone()).await.unwrap();
        node.meta.client().set_seeds(sites.iter().map(|site| site.id).collect());
        let parts = StorageParts {
            store: node.store.clone(),
            transport: node.transport.clone(),
            layouts: Arc::new(Fixed(layout.clone())),
            clock: clock.clone(),
            rng: Arc::new(SeededRng::new(site.id.0 + 100 + clock_millis(clock))),
        };
        cluster.storage.push(StorageNode::new(parts, StorageConfig::default(), &node.router));
        cluster.nodes.push(node);
    }
    cluster
}

fn clock_millis(clock: &ManualClock) -> u64 {
    use karri_ring_types::Clock as _;
    clock.now().0
}

/// Gives every range to all nodes.
async fn spread(nodes: &[Node]) {
    let all: Vec<NodeId> = nodes.iter().map(|node| node.site.id).collect();
    let choose = |range: RangeId, _count: usize| {
        let mut wanted = all.clone();
        wanted.rotate_left(range.0 as usize % all.len());
        wanted
    };
    let spread = async {
        loop {
            let mut failed = 0;
            for node in nodes {
                failed += node.meta.place(&choose).await.failed;
            }
            let full = |node: &Node| node.meta.status().iter().filter(|range| range.voters.len() == all.len()).count();
            if failed == 0 && nodes.iter().all(|node| full(node) == usize::from(RANGES) + 1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, spread).await.expect("ranges are not spread");
}

/// The first node's identity and the addresses that it knows, as `karri` keeps them.
async fn identity(node: &Node, clock: &Arc<ManualClock>) {
    let path = node.site.path("node-credentials");
    if Credentials::read(&path).unwrap().is_none() {
        Credentials::first(ClusterId(7), &SeededRng::new(1)).unwrap().create(&path).unwrap();
    }
    let credentials = Credentials::read(&path).unwrap().expect("they were written");
    let this = NodeInfo {
        id: node.site.id,
        zone: "zone".to_owned(),
        capacity_bytes: 1 << 40,
        rpc_address: "127.0.0.1:1".to_owned(),
        s3_address: "127.0.0.1:2".to_owned(),
        widths: Vec::new(),
        joined: Timestamp(0),
    };
    let config = MembershipConfig { this, replicas: 3, address_file: node.site.path("addresses") };
    node.site.path("addresses").replace(b"karri-addresses 1\n2 127.0.0.1:3\n").unwrap();
    let addresses = AddressBook::new();
    let parts = MembershipParts {
        meta: node.meta.clone(),
        transport: node.transport.clone(),
        addresses: addresses.clone(),
        clock: clock.clone(),
        rng: Arc::new(SeededRng::new(2)),
    };
    let membership = Membership::open(config, &credentials, parts, &node.router).unwrap();
    membership.initialise().await.unwrap();
    assert_eq!(addresses.snapshot()[&NodeId(2)], "127.0.0.1:3", "read from the disk in memory");
}

fn value(key: u8) -> Bytes {
    Bytes::from(vec![key; 3000])
}

fn content(seed: u64) -> Bytes {
    let mut bytes = vec![0; (seed as usize + 1) * 900_001];
    SeededRng::new(seed).fill(&mut bytes);
    bytes.into()
}

async fn read(storage: &StorageNode, extents: &[ExtentRef]) -> Bytes {
    let mut found = Vec::new();
    for extent in extents {
        let chunks: Vec<Bytes> = storage.client().read(extent, 0..u64::MAX).try_collect().await.unwrap();
        chunks.iter().for_each(|chunk| found.extend_from_slice(chunk));
    }
    found.into()
}

/// Files of the host that the process has open and that look like a store's. Its output may go to such a one as well.
fn open_store_files() -> Vec<String> {
    let links =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let names = links.map(|link| link.to_string_lossy().into_owned());
    names
        .filter(|name| [".sst", ".log", ".seg", "MANIFEST", "LOCK", "CURRENT"].iter().any(|part| name.contains(part)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_on_memory_survives_a_power_cut_and_leaves_nothing_on_the_host() {
    let here = || -> Vec<_> { std::fs::read_dir(".").unwrap().map(|entry| entry.unwrap().file_name()).collect() };
    let (before, open_before) = (here(), open_store_files());
    let sites: Vec<Site> = (1..=NODES).map(|id| Site::new(id, PACE_MS)).collect();
    let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)));
    let mut cluster = start(&sites, &clock).await;
    cluster.nodes[0].meta.bootstrap(RANGES).await.unwrap();
    identity(&cluster.nodes[0], &clock).await;
    spread(&cluster.nodes).await;
    for key in KEYS {
        let node = &cluster.nodes[usize::from(key) % 3];
        node.write_pair(&[key * 6], Some(value(key)), PATIENCE).await.unwrap();
    }
    let owner = Owner { data: DataId(7), route: b"bucket/key".to_vec() };
    let mut objects = Vec::new();
    for seed in 0..5 {
        let mut writer = cluster.storage[seed as usize % 3].client().writer(owner.clone());
        writer.write(content(seed)).await.unwrap();
        objects.push(writer.finish().await.unwrap());
    }
    // All at once lose their power, and with it what they had not synced.
    sites.iter().for_each(|site| site.disk.crash());
    for (node, storage) in cluster.nodes.into_iter().zip(cluster.storage) {
        drop(storage);
        node.stop().await;
    }
    for site in &sites {
        site.disk.restart();
    }
    clock.advance(Duration::from_secs(3600));
    cluster = start(&sites, &clock).await;
    for key in KEYS {
        let found = cluster.nodes[usize::from(key + 1) % 3].read_pair(&[key * 6]).await.unwrap();
        assert_eq!(found, [Some(value(key)), Some(value(key))], "key {key}");
    }
    for (seed, extents) in objects.iter().enumerate() {
        assert_eq!(read(&cluster.storage[(seed + 1) % 3], extents).await, content(seed as u64), "object {seed}");
    }
    assert!(Credentials::read(&sites[0].path("node-credentials")).unwrap().is_some());
    assert!(sites[0].path("addresses").exists().unwrap(), "the addresses are on the disk too");
    for site in &sites {
        let files = site.disk.files();
        for kind in ["/raft/", "/metadata/state/", "/extents/db/"] {
            assert!(files.iter().any(|(path, _)| path.to_string_lossy().contains(kind)), "{kind} in {files:?}");
        }
    }
    assert_eq!(open_store_files(), open_before);
    assert_eq!(std::fs::exists("/karri-in-memory").ok(), Some(false));
    assert_eq!(here(), before);
    for (node, storage) in cluster.nodes.into_iter().zip(cluster.storage) {
        drop(storage);
        node.stop().await;
    }
}

fn extent(id: u128, length: usize) -> (Run, ExtentHeader) {
    let owner = Owner { data: DataId(7), route: b"bucket/key".to_vec() };
    let chunks = vec![Bytes::from(vec![id as u8; length])];
    let header = ExtentHeader {
        owner: owner.clone(),
        length_bytes: length as u64,
        chunk_digests: vec![Digest::of(&chunks[0])],
        created: Timestamp(1),
        stripe: None,
    };
    (Run { extent: ExtentId(id), owner, first_chunk: 0, chunks }, header)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_keeps_reads_and_recovers() {
    let site = Site::new(1, (20, (100, 200)));
    let clock = Arc::new(ManualClock::new(Timestamp(1)));
    let node = Node::start(&site, &MemoryNetwork::new(), clock).await.unwrap();
    node.meta.bootstrap(1).await.unwrap();
    node.write_pair(b"k", Some(value(1)), PATIENCE).await.unwrap();
    let (run, header) = extent(1, 50_000);
    node.store.write_run_and_seal(run, header.clone()).await.unwrap();

    site.disk.set_free(Some(1000));
    let (run, second) = extent(2, 50_000);
    let refused = node.store.write_run_and_seal(run.clone(), second.clone()).await;
    assert!(matches!(refused, Err(ExtentError::DiskFull)), "{refused:?}");
    assert!(node.store.usage().full);
    let full = async {
        while !node.raft.disk_full() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, full).await.expect("the Raft host sees that the disk is full");
    let refused = node.write_pair(b"k", Some(value(2)), PATIENCE).await;
    assert!(matches!(refused, Err(MetaError::DiskFull)), "{refused:?}");
    assert_eq!(node.read_pair(b"k").await.unwrap(), [Some(value(1)), Some(value(1))]);
    assert!(node.store.verify_chunk(ExtentId(1), 0, header.chunk_digests[0]).await.unwrap());
    assert_eq!(site.disk.counts().full, 0, "the store itself never met the end of the disk");

    site.disk.set_free(None);
    node.store.write_run_and_seal(run, second.clone()).await.unwrap();
    assert!(node.store.verify_chunk(ExtentId(2), 0, second.chunk_digests[0]).await.unwrap());
    let room = async {
        while node.write_pair(b"k", Some(value(2)), PATIENCE).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, room).await.expect("rows are written again");
    node.stop().await;
}
