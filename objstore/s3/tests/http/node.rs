//! One real node behind a real gateway, in this process: metadata and extents in RocksDB below a temporary folder.

use std::sync::Arc;

use async_trait::async_trait;
use karri_objstore_gateway::{AdminPages, Gateway, GatewayConfig};
use karri_objstore_s3::{KeyService, KeyUser, S3, S3Config};
use karri_objstore_service::{KeyFault, NamedKey, ObjectService, ServiceConfig, ServiceError};
use karri_ring_disk::DiskPath;
use karri_ring_extent::{ExtentConfig, ExtentStore};
use karri_ring_meta::{MetaConfig, MetaNode};
use karri_ring_node::{LayoutSource, StorageConfig, StorageNode, StorageParts};
use karri_ring_placement::{Layout, NodeSpec};
use karri_ring_raft::{HostConfig, RaftHost};
use karri_ring_rpc::{MemoryNetwork, Router};
use karri_ring_types::{Clock, ClusterKey, ManualClock, NodeId, Rng, SystemRng, Timestamp};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, REGION};
use crate::people::{People, ROOT_KEY, SECRET_KEY};

const NODE: NodeId = NodeId(1);

/// 2026-01-01, which is when the client signs.
const NOW: Timestamp = Timestamp(1_767_225_600_000);

struct OneNode(Arc<Layout>);

impl LayoutSource for OneNode {
    fn layout(&self) -> Arc<Layout> {
        self.0.clone()
    }

    fn alive(&self, _: NodeId) -> bool {
        true
    }
}

struct Root;

impl AdminPages for Root {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> bool {
        true
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

/// A key service that has every key, but `none`, for everyone.
struct AnyKey;

#[async_trait]
impl KeyService for AnyKey {
    async fn describe(&self, _: &KeyUser, key: Option<&str>) -> Result<String, ServiceError> {
        match key {
            Some("none") => Err(ServiceError::Key(KeyFault::NotFound("There is none".to_owned()))),
            key => Ok(key.unwrap_or("aws/s3").to_owned()),
        }
    }

    async fn wrap(&self, _: &KeyUser, key: &NamedKey, plain: &[u8; 32]) -> Result<Vec<u8>, ServiceError> {
        let turned = plain.iter().map(|byte| byte ^ 0xff);
        Ok(turned.chain(format!("{key:?}").into_bytes()).collect())
    }

    async fn unwrap(&self, _: &KeyUser, key: &NamedKey, wrapped: &[u8]) -> Result<[u8; 32], ServiceError> {
        let (turned, asked) = wrapped.split_at(32);
        assert_eq!(asked, format!("{key:?}").as_bytes(), "wrapped for something else");
        Ok(std::array::from_fn(|at| turned[at] ^ 0xff))
    }
}

/// Keeps the node alive; it goes with the test.
pub(crate) struct Node {
    _dir: TempDir,
    _meta: Arc<MetaNode>,
    _storage: Arc<StorageNode>,
    stop: CancellationToken,
    pub(crate) s3: Arc<S3>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A new node whose root may do everything, and a client of it.
pub(crate) async fn start() -> (Node, Client) {
    start_with(r#"{"Effect": "Deny", "Action": "*", "Resource": "*"}"#).await
}

/// As [`start`], with the statements that hold for the user ann.
pub(crate) async fn start_with(statements: &str) -> (Node, Client) {
    let dir = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    let router = Router::new();
    let transport = MemoryNetwork::new().transport(NODE, router.clone());
    let raft = HostConfig::new(NODE, DiskPath::host(dir.path().join("raft")));
    let raft = RaftHost::open(raft, transport.clone(), &router).await.expect("raft");
    let meta = MetaConfig::new(NODE, DiskPath::host(dir.path().join("metadata")));
    let meta =
        MetaNode::open(meta, raft, transport.clone(), &router, clock.clone(), rng.clone()).await.expect("metadata");
    meta.register(ObjectService::EVALUATOR, ObjectService::evaluator());
    meta.register(ObjectService::DIRECTORY, ObjectService::directory_evaluator());
    meta.start().await.expect("start");
    meta.bootstrap(4).await.expect("bootstrap");

    let node = NodeSpec { id: NODE, zone: "a".to_owned(), capacity_bytes: 1 << 40 };
    let layout = Layout::empty(1).next(vec![node], 1).expect("a layout");
    let extents = ExtentConfig { dir: DiskPath::host(dir.path().join("extents")), reserve_bytes: 0 };
    let parts = StorageParts {
        store: ExtentStore::open(extents).expect("extents"),
        transport,
        layouts: Arc::new(OneNode(Arc::new(layout))),
        clock: clock.clone(),
        rng: rng.clone(),
    };
    let storage = StorageNode::new(parts, StorageConfig::default(), &router);
    let cluster_key = Some(ClusterKey::generate(&*rng));
    let config = ServiceConfig { cluster_key, ..ServiceConfig::default() };
    let service = ObjectService::new(meta.client(), storage.client(), clock.clone(), rng.clone(), config);

    let people = Arc::new(People::new(statements));
    let s3 = Arc::new(S3::new(
        service,
        people.clone(),
        Arc::new(AnyKey),
        clock.clone(),
        S3Config { region: REGION.to_owned(), customer_keys_over_http: true },
    ));
    let mut config = GatewayConfig::new(([127, 0, 0, 1], 0).into(), REGION);
    config.website_domains = vec!["web.test".to_owned(), "www.own.test".to_owned()];
    let gateway = Gateway::bind(config, people, s3.clone(), Arc::new(Root), clock, rng).await.expect("bind");
    let address = gateway.local_addr();
    let stop = CancellationToken::new();
    tokio::spawn(gateway.serve(stop.clone()));
    let client = Client { address, access_key: ROOT_KEY.to_owned(), secret_key: SECRET_KEY.to_owned() };
    (Node { _dir: dir, _meta: meta, _storage: storage, stop, s3 }, client)
}
