//! Nodes that join, place themselves and find each other again, over real sockets and disks.

#![expect(clippy::disallowed_methods, reason = "it looks at the files of the host behind the node's back")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use karri_ring_disk::DiskPath;
use karri_ring_meta::{MetaConfig, MetaNode, SYSTEM_RANGE};
use karri_ring_node::join::{Credentials, JoinError, join, request_token};
use karri_ring_node::membership::{Membership, MembershipConfig, MembershipParts, NodeInfo, Refusal};
use karri_ring_placement::Layout;
use karri_ring_raft::{HostConfig, RaftHost};
use karri_ring_rpc::{AddressBook, Router, RpcServer, TlsTransport};
use karri_ring_types::{ClusterId, NodeId, PartitionId, SystemClock, SystemRng, Timestamp};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CLUSTER: ClusterId = ClusterId(0xc1);
const LONG: Duration = Duration::from_secs(60);

struct Node {
    membership: Arc<Membership>,
    meta: Arc<MetaNode>,
    raft: Arc<RaftHost>,
    address: SocketAddr,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    async fn start(dir: &Path, listen: SocketAddr) -> Self {
        let dir = DiskPath::host(dir);
        let credentials = Credentials::read(&dir.join("credentials")).unwrap().expect("credentials");
        let identity = credentials.identity();
        let node = identity.node;
        let (router, addresses) = (Router::new(), AddressBook::new());
        let server = RpcServer::bind(listen, &identity, router.clone()).await.unwrap();
        let address = server.local_addr();
        let transport = TlsTransport::new(node, identity, addresses.clone(), router.clone()).unwrap();
        let (clock, rng) = (Arc::new(SystemClock::default()), Arc::new(SystemRng));
        let raft_config = HostConfig { election_ms: (1000, 2000), ..HostConfig::new(node, dir.join("raft")) };
        let raft = RaftHost::open(raft_config, transport.clone(), &router).await.unwrap();
        let meta_config = MetaConfig::new(node, dir.join("meta"));
        let meta = MetaNode::open(meta_config, raft.clone(), transport.clone(), &router, clock.clone(), rng.clone())
            .await
            .unwrap();
        let this = NodeInfo {
            id: node,
            zone: format!("zone{}", node.0 % 3),
            capacity_bytes: 1 << 30,
            rpc_address: address.to_string(),
            s3_address: format!("s3-of-{node}"),
            widths: Vec::new(),
            joined: Timestamp(0),
        };
        let config = MembershipConfig { this, replicas: 3, address_file: dir.join("addresses") };
        let parts = MembershipParts { meta: meta.clone(), transport, addresses, clock, rng };
        let membership = Membership::open(config, &credentials, parts, &router).unwrap();
        meta.start().await.unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = vec![tokio::spawn(server.serve(shutdown.clone()))];
        if node == NodeId(1) && raft.groups().is_empty() {
            meta.bootstrap(2).await.unwrap();
            membership.initialise().await.unwrap();
        }
        tasks.push(tokio::spawn(membership.clone().run(shutdown.clone())));
        Self { membership, meta, raft, address, shutdown, tasks }
    }

    async fn stop(self) -> SocketAddr {
        self.shutdown.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.meta.shutdown().await;
        self.raft.shutdown().await;
        self.address
    }

    async fn layout_of(&self, nodes: usize) -> Arc<Layout> {
        let mut layouts = self.membership.watch_layouts();
        let full = layouts.wait_for(|layouts| layouts[0].nodes.len() == nodes);
        let layouts = tokio::time::timeout(LONG, full).await.expect("the layout did not grow").unwrap();
        layouts[0].clone()
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, reached).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn first(dir: &Path) -> Node {
    Credentials::first(CLUSTER, &SystemRng).unwrap().create(&DiskPath::host(dir.join("credentials"))).unwrap();
    Node::start(dir, any_port()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_join_are_placed_and_restart_as_a_whole() {
    let dirs: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut nodes = vec![first(dirs[0].path()).await];
    let alone = nodes[0].layout_of(1).await;
    assert_eq!((alone.replicas, alone.write_quorum()), (1, 1));
    let credentials = Credentials::read(&DiskPath::host(dirs[0].path().join("credentials"))).unwrap().unwrap();
    let token = request_token(&credentials, &nodes[0].address.to_string(), LONG, None).await.unwrap();
    for dir in &dirs[1..] {
        join(&token, &SystemRng).await.unwrap().create(&DiskPath::host(dir.path().join("credentials"))).unwrap();
        nodes.push(Node::start(dir.path(), any_port()).await);
    }
    for node in &nodes {
        let layout = node.layout_of(3).await;
        assert_eq!((layout.replicas, layout.owners(PartitionId(7)).len()), (3, 3));
        until("every node has announced itself", || node.membership.nodes().len() == 3).await;
        until("every node answers", || (1..=3).all(|id| node.membership.alive(NodeId(id)))).await;
    }
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.membership.local()).collect();
    assert_eq!(ids, [NodeId(1), NodeId(2), NodeId(3)]);
    let s3 = nodes[2].membership.nodes().into_iter().map(|node| node.s3_address);
    assert_eq!(s3.collect::<Vec<_>>(), ["s3-of-1", "s3-of-2", "s3-of-3"]);
    let voters_everywhere = |nodes: &[Node]| {
        let led = nodes.iter().flat_map(|node| node.meta.status());
        led.filter(|range| range.voters.len() == 3).count() == 9
    };
    until("every range has three voters on three nodes", || voters_everywhere(&nodes)).await;

    let mut stopped = Vec::new();
    for node in nodes {
        stopped.push(node.stop().await);
    }
    let mut nodes = Vec::new();
    for (dir, address) in dirs.iter().zip(stopped) {
        nodes.push(Node::start(dir.path(), address).await);
    }
    for node in &nodes {
        node.layout_of(3).await;
    }
    until("the system range is led again", || {
        nodes.iter().any(|node| node.meta.led_ranges().iter().any(|range| range.id == SYSTEM_RANGE))
    })
    .await;
    // A survivor learns that a node is gone.
    nodes.remove(2).stop().await;
    until("the stopped node is noticed", || !nodes[0].membership.alive(NodeId(3))).await;
    assert!(nodes[0].membership.alive(NodeId(2)));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_good_for_what_it_says_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let node = first(dir.path()).await;
    let once = node.membership.create_join_token(LONG, Some(1)).await.unwrap();
    let joined = join(&once, &SystemRng).await.unwrap();
    assert_eq!((joined.identity().cluster, joined.identity().node), (CLUSTER, NodeId(2)));
    assert_eq!(joined.addresses()[&NodeId(1)], node.address.to_string());
    // It comes into the cluster's secrets too.
    let there = Credentials::read(&DiskPath::host(dir.path().join("credentials"))).unwrap().unwrap();
    assert_eq!(joined.cluster_key().derive("test"), there.cluster_key().derive("test"));
    assert!(matches!(join(&once, &SystemRng).await, Err(JoinError::Refused(Refusal::Token))));
    let expired = node.membership.create_join_token(Duration::ZERO, None).await.unwrap();
    assert!(matches!(join(&expired, &SystemRng).await, Err(JoinError::Refused(Refusal::Token))));
    assert!(matches!(join("rubbish", &SystemRng).await, Err(JoinError::Token)));
    // Credentials are written once, for their owner alone.
    let path = dir.path().join("credentials");
    assert!(matches!(joined.create(&DiskPath::host(&path)), Err(JoinError::Io(_))));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    // Another cluster cannot be asked with these credentials.
    let other = Credentials::first(CLUSTER, &SystemRng).unwrap();
    assert_ne!(joined.cluster_key().derive("test"), other.cluster_key().derive("test"));
    assert!(request_token(&other, &node.address.to_string(), LONG, None).await.is_err());
    node.stop().await;
}
