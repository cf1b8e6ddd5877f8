//! Who is in the cluster: the registry of nodes, the layout and its epochs, and which nodes answer.
//!
//! The truth is in the system range (see [`CLUSTER_EVALUATOR`]); every node caches it, asks for changes once a second
//! and is told of them by pings. The leader of the system range admits announced nodes to the layout; every node moves
//! the voters of the ranges that it leads to where the layout wants them.

mod address_file;
mod evaluator;
mod follow;
#[cfg(test)]
mod golden_tests;
mod health;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use karri_ring_disk::DiskPath;
use karri_ring_meta::{MetaClient, MetaError, MetaNode};
use karri_ring_placement::Layout;
use karri_ring_rpc::{AddressBook, ClusterCa, Handler, Identity, Router, Transport};
use karri_ring_types::{Clock, ClusterId, ClusterKey, NodeId, Rng, Timestamp};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::address_file::AddressFile;
pub use self::evaluator::CLUSTER_EVALUATOR;
use self::evaluator::ClusterEvaluator;
use self::health::Health;
pub(crate) use self::record::{Command, Reply, decode, encode};
pub use self::record::{NodeInfo, Refusal, Unreadable};
use crate::join::{self, Credentials, METHODS, MembershipService, OPEN_METHODS};

/// How often a node asks whether the cluster's state has changed, and how often it pings.
const TICK: Duration = Duration::from_secs(1);
/// How long one request to the system range may take.
const SYSTEM_DEADLINE: Duration = Duration::from_secs(10);
/// How long a ping may take.
const PING_DEADLINE: Duration = Duration::from_secs(1);

/// What a node must know of itself to be a member.
#[derive(Clone)]
pub struct MembershipConfig {
    /// What the node announces. `joined` is ignored.
    pub this: NodeInfo,
    /// Copies wanted of each partition in a cluster that this node initialises; with fewer nodes there are fewer.
    pub replicas: u8,
    /// File in which the addresses of all nodes are kept for the next start.
    pub address_file: DiskPath,
}

/// Why the cluster's records could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The system range did not answer.
    #[error("the system range")]
    Meta(#[from] MetaError),
    /// The system range refused.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// An answer that this version cannot read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The address file could not be read or written.
    #[error("address file {path}")]
    AddressFile {
        /// The file.
        path: DiskPath,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The cluster's authority is not usable.
    #[error("cluster authority")]
    Authority(#[from] karri_ring_rpc::IdentityError),
}

/// The addresses that a node has kept for its next start; none when there is no such file yet.
///
/// # Errors
/// [`MembershipError::AddressFile`].
pub fn kept_addresses(path: &DiskPath) -> Result<BTreeMap<NodeId, String>, MembershipError> {
    let book = AddressBook::new();
    AddressFile::new(path.clone()).load(&book)?;
    Ok(book.snapshot())
}

/// A node's view of the cluster. Reading it never waits.
pub struct Membership {
    config: MembershipConfig,
    cluster: ClusterId,
    /// Every node has it, so that any can admit another.
    authority: ClusterCa,
    /// For the nodes that it admits.
    cluster_key: ClusterKey,
    meta: Arc<MetaNode>,
    client: Arc<MetaClient>,
    transport: Arc<dyn Transport>,
    addresses: Arc<AddressBook>,
    address_file: AddressFile,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    /// Layouts, newest first; never empty.
    layouts: watch::Sender<Arc<Vec<Arc<Layout>>>>,
    state: watch::Sender<Arc<Known>>,
    health: Health,
    changed: Notify,
}

/// The cached state.
#[derive(Default)]
struct Known {
    version: u64,
    replicas: u8,
    nodes: Vec<NodeInfo>,
}

/// What membership is built on.
pub struct MembershipParts {
    /// The metadata node, not yet started.
    pub meta: Arc<MetaNode>,
    /// Calls to the other nodes.
    pub transport: Arc<dyn Transport>,
    /// Filled from the address file and from the registry.
    pub addresses: Arc<AddressBook>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// For the secrets of join tokens: must not be predictable.
    pub rng: Arc<dyn Rng>,
}

impl Membership {
    /// Registers the cluster's evaluator and the methods 300..=309, and fills the address book with what the credentials
    /// and the address file of the last run say. Call it before [`MetaNode::start`].
    pub fn open(
        config: MembershipConfig,
        credentials: &Credentials,
        parts: MembershipParts,
        router: &Router,
    ) -> Result<Arc<Self>, MembershipError> {
        let MembershipParts { meta, transport, addresses, clock, rng } = parts;
        let Identity { cluster, node, .. } = credentials.identity();
        let authority = credentials.authority()?;
        assert_eq!(config.this.id, node, "a node announces the id of its certificate");
        for (&node, address) in credentials.addresses() {
            addresses.set(node, address.clone());
        }
        let address_file = AddressFile::new(config.address_file.clone());
        address_file.load(&addresses)?;
        addresses.set(config.this.id, config.this.rpc_address.clone());
        meta.register(CLUSTER_EVALUATOR, Arc::new(ClusterEvaluator));
        let client = meta.client();
        client.set_seeds(addresses.snapshot().into_keys().collect());
        let layouts = watch::Sender::new(Arc::new(vec![Arc::new(Layout::empty(config.replicas))]));
        let membership = Arc::new(Self {
            health: Health::new(config.this.id),
            cluster,
            authority,
            cluster_key: credentials.cluster_key().clone(),
            config,
            meta,
            client,
            transport,
            addresses,
            address_file,
            clock,
            rng,
            layouts,
            state: watch::Sender::default(),
            changed: Notify::new(),
        });
        let service: Arc<dyn Handler> = Arc::new(MembershipService::new(&membership));
        router.register(METHODS, service.clone());
        router.register_open(OPEN_METHODS, service);
        Ok(membership)
    }

    /// On the first node of a new cluster, after [`MetaNode::bootstrap`]: makes the cluster's records. Repeating it does
    /// no harm.
    pub async fn initialise(&self) -> Result<(), MembershipError> {
        let command = Command::Initialise { cluster: self.cluster, replicas: self.config.replicas };
        self.execute(command).await?;
        Ok(())
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// This node.
    pub fn local(&self) -> NodeId {
        self.config.this.id
    }

    /// The layout; epoch 0, without nodes, until the first answer of the system range.
    pub fn layout(&self) -> Arc<Layout> {
        self.layouts.borrow()[0].clone()
    }

    /// The layout and those before it, newest first: former owners may hold what the present ones do not have yet.
    pub fn layouts(&self) -> Arc<Vec<Arc<Layout>>> {
        self.layouts.borrow().clone()
    }

    /// Tells of every new layout.
    pub fn watch_layouts(&self) -> watch::Receiver<Arc<Vec<Arc<Layout>>>> {
        self.layouts.subscribe()
    }

    /// The nodes that have announced themselves, by id.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        self.state.borrow().nodes.clone()
    }

    /// Whether a node answered its latest pings. Only a hint: it may be wrong either way.
    pub fn alive(&self, node: NodeId) -> bool {
        self.health.alive(node)
    }

    /// The copies wanted of each partition when there are enough nodes.
    pub fn replicas(&self) -> u8 {
        self.state.borrow().replicas
    }

    /// Changes the copies wanted of each partition.
    pub async fn set_replicas(&self, replicas: u8) -> Result<(), MembershipError> {
        self.execute(Command::SetReplicas(replicas)).await?;
        self.changed.notify_one();
        Ok(())
    }

    /// Where every node that is known was last reached.
    pub fn addresses(&self) -> BTreeMap<NodeId, String> {
        self.addresses.snapshot()
    }

    pub(crate) fn authority(&self) -> &ClusterCa {
        &self.authority
    }

    pub(crate) fn cluster_key(&self) -> &ClusterKey {
        &self.cluster_key
    }

    /// Makes a join token good for `ttl` and for `uses` nodes (`None`: any number), and returns its text.
    pub async fn create_join_token(&self, ttl: Duration, uses: Option<u32>) -> Result<String, MembershipError> {
        let token = join::Token::generate(&*self.rng, self.token_addresses(), self.authority.fingerprint()?);
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let expires = Timestamp(self.clock.now().as_millis().saturating_add(ttl_ms));
        let secret_digest = token.secret_digest();
        self.execute(Command::CreateToken { token: token.id, secret_digest, expires, uses }).await?;
        Ok(token.text())
    }

    /// Addresses for a token: this node's first, then those that answer.
    fn token_addresses(&self) -> Vec<String> {
        let others = self.addresses.snapshot().into_iter().filter(|&(node, _)| node != self.local());
        let (alive, silent): (Vec<_>, Vec<_>) = others.partition(|&(node, _)| self.alive(node));
        let this = std::iter::once(self.config.this.rpc_address.clone());
        this.chain(alive.into_iter().chain(silent).map(|(_, address)| address)).collect()
    }

    /// Keeps this node a member until `shutdown`: announces it, follows the cluster's state, pings, and places.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let placing = tokio::spawn(self.clone().place_ranges(shutdown.clone()));
        let pinging = tokio::spawn(self.clone().ping_peers(shutdown.clone()));
        shutdown.run_until_cancelled(self.follow()).await;
        // They end with the token; what they ended with does not matter any more.
        let _ = tokio::join!(placing, pinging);
    }
}
