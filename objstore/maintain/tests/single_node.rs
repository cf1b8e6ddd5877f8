//! The service and its background work on a real node: RocksDB, Raft and extents in a folder.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use karri_objstore_maintain::{MaintainConfig, Maintenance, OrphanVerdicts};
use karri_objstore_service::{
    CompleteRequest, CompletedPart, CopyRequest, CreateBucketRequest, CreateUploadRequest, DeleteItem, DeleteRequest,
    GetRequest, ListRequest, ObjectService, Owner, PartCopyRequest, PartRequest, PutRequest, RenameRequest,
    ServiceConfig, ServiceError, UploadRef,
};
use karri_ring_disk::DiskPath;
use karri_ring_extent::{ExtentConfig, ExtentStore};
use karri_ring_meta::{MetaConfig, MetaNode};
use karri_ring_node::{LayoutSource, RepairConfig, StorageConfig, StorageNode, StorageParts};
use karri_ring_placement::{Layout, NodeSpec};
use karri_ring_raft::{HostConfig, RaftHost};
use karri_ring_rpc::{MemoryNetwork, Router};
use karri_ring_types::{Clock, DataId, NodeId, SystemClock, SystemRng};
use tempfile::TempDir;

const BUCKET: &str = "photos";
const NODE: NodeId = NodeId(1);
const ROUNDS_MAX: usize = 20;

struct OneNode(Arc<Layout>);

impl LayoutSource for OneNode {
    fn layout(&self) -> Arc<Layout> {
        self.0.clone()
    }

    fn alive(&self, _: NodeId) -> bool {
        true
    }
}

struct Node {
    service: Arc<ObjectService>,
    maintenance: Arc<Maintenance>,
    storage: Arc<StorageNode>,
    meta: Arc<MetaNode>,
    raft: Arc<RaftHost>,
    dir: TempDir,
}

impl Node {
    async fn start(dir: TempDir, first: bool) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let rng = Arc::new(SystemRng);
        let router = Router::new();
        let transport = MemoryNetwork::new().transport(NODE, router.clone());
        let raft =
            RaftHost::open(HostConfig::new(NODE, DiskPath::host(dir.path().join("raft"))), transport.clone(), &router);
        let raft = raft.await.expect("raft opens");
        let config = MetaConfig::new(NODE, DiskPath::host(dir.path().join("meta")));
        let meta = MetaNode::open(config, raft.clone(), transport.clone(), &router, clock.clone(), rng.clone());
        let meta = meta.await.expect("meta opens");
        meta.register(ObjectService::EVALUATOR, ObjectService::evaluator());
        meta.register(ObjectService::DIRECTORY, ObjectService::directory_evaluator());
        meta.start().await.expect("meta starts");
        if first {
            meta.bootstrap(4).await.expect("bootstrapped");
        }
        meta.client().set_seeds(vec![NODE]);
        let spec = NodeSpec { id: NODE, zone: "z".into(), capacity_bytes: 1 << 40 };
        let layout = Arc::new(Layout::empty(1).next(vec![spec], 1).expect("a layout"));
        let store =
            ExtentStore::open(ExtentConfig { dir: DiskPath::host(dir.path().join("extents")), reserve_bytes: 1 << 20 });
        let parts = StorageParts {
            store: store.expect("extents open"),
            transport,
            layouts: Arc::new(OneNode(layout)),
            clock: clock.clone(),
            rng: rng.clone(),
        };
        let repair = RepairConfig { orphan_age: Duration::ZERO, ..RepairConfig::default() };
        let storage = StorageNode::new(parts, StorageConfig { repair, ..StorageConfig::default() }, &router);
        let service =
            ObjectService::new(meta.client(), storage.client(), clock.clone(), rng.clone(), ServiceConfig::default());
        let (garbage_age, holding_age) = (Duration::ZERO, Duration::ZERO);
        let config = MaintainConfig { garbage_age, holding_age, ..MaintainConfig::default() };
        let maintenance = Maintenance::new(meta.clone(), service.clone(), clock, rng, config);
        Self { service, maintenance, storage, meta, raft, dir }
    }

    async fn first() -> Self {
        let node = Self::start(tempfile::tempdir().expect("a folder"), true).await;
        let owner = Owner { account_id: "me".into(), user_id: "me".into(), display_name: "me".into() };
        let bucket = CreateBucketRequest {
            name: BUCKET.into(),
            owner,
            region: "r".into(),
            object_lock: false,
            documents: Vec::new(),
        };
        node.service.create_bucket(bucket).await.expect("created");
        node
    }

    async fn restart(self) -> Self {
        self.meta.shutdown().await;
        self.raft.shutdown().await;
        let Self { service, maintenance, storage, meta, raft, dir } = self;
        drop((service, maintenance, storage, meta, raft));
        Self::start(dir, false).await
    }

    fn extents(&self) -> u64 {
        self.storage.usage().extents
    }

    async fn collect(&self) {
        for _ in 0..ROUNDS_MAX {
            let round = self.maintenance.round(true).await;
            if round.collected + round.holdings == 0 {
                return;
            }
        }
        panic!("garbage without end");
    }

    async fn put(&self, key: &str, bytes: &Bytes) {
        let put = PutRequest {
            bucket: BUCKET.into(),
            key: key.into(),
            length: Some(bytes.len() as u64),
            ..Default::default()
        };
        self.service.put_object(put, &mut Some(bytes.clone())).await.expect("put");
    }

    async fn get(&self, key: &str) -> Result<Bytes, ServiceError> {
        let request = GetRequest { bucket: BUCKET.into(), key: key.into(), ..Default::default() };
        let pieces: Vec<Bytes> = self.service.get_object(request).await?.content.try_collect().await?;
        Ok(pieces.concat().into())
    }

    async fn copy(&self, from: &str, to: &str) {
        let request = CopyRequest {
            source_bucket: BUCKET.into(),
            source_key: from.into(),
            bucket: BUCKET.into(),
            key: to.into(),
            ..Default::default()
        };
        self.service.copy_object(request).await.expect("copied");
    }

    async fn delete(&self, key: &str) {
        let request =
            DeleteRequest { bucket: BUCKET.into(), item: DeleteItem { key: key.into(), ..Default::default() } };
        self.service.delete_object(request).await.expect("deleted");
    }

    async fn upload(&self, key: &str, parts: &[Bytes], copied_from: &str) {
        let create = CreateUploadRequest { bucket: BUCKET.into(), key: key.into(), ..Default::default() };
        let upload_id = self.service.create_upload(create).await.expect("created").upload_id;
        let mut listed = Vec::new();
        for (part_number, bytes) in (1..).zip(parts) {
            let part = PartRequest {
                bucket: BUCKET.into(),
                key: key.into(),
                upload_id: upload_id.clone(),
                part_number,
                ..Default::default()
            };
            let etag = self.service.upload_part(part, &mut Some(bytes.clone())).await.expect("stored").etag;
            listed.push(CompletedPart { part_number, etag, checksum: None });
        }
        let part_number = u16::try_from(parts.len() + 1).expect("few");
        let copy = PartCopyRequest {
            source_bucket: BUCKET.into(),
            source_key: copied_from.into(),
            bucket: BUCKET.into(),
            key: key.into(),
            upload_id: upload_id.clone(),
            part_number,
            ..Default::default()
        };
        let etag = self.service.upload_part_copy(copy).await.expect("copied").part.etag;
        listed.push(CompletedPart { part_number, etag, checksum: None });
        let complete =
            CompleteRequest { bucket: BUCKET.into(), key: key.into(), upload_id, parts: listed, ..Default::default() };
        self.service.complete_upload(complete).await.expect("completed");
    }
}

fn content(seed: u8, size: usize) -> Bytes {
    (0..size).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_deleted_is_gone_at_last() {
    let node = Node::first().await;
    let (small, large) = (content(1, 4096), content(2, 70 << 20));
    node.put("small", &small).await;
    node.put("large", &large).await;
    let alone = node.extents();
    node.copy("large", "copy").await;
    let parts = [content(3, 5 << 20), content(4, 5 << 20)];
    node.upload("parts", &parts, "copy").await;
    node.copy("parts", "parts copy").await;
    assert_eq!(node.extents(), alone + 2, "copies took room");
    for key in ["large", "copy", "parts"] {
        node.delete(key).await;
        node.collect().await;
    }
    let expected = [&parts[0][..], &parts[1], &large].concat();
    assert!(node.get("parts copy").await.expect("still there") == expected);
    assert_eq!(node.get("small").await.expect("still there"), small);

    let node = node.restart().await;
    assert!(node.get("parts copy").await.expect("still there") == expected);
    let page = ListRequest { bucket: BUCKET.into(), limit: 10, ..Default::default() };
    let page = node.service.list_objects(page).await.expect("listed");
    let keys: Vec<&str> = page.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["parts copy", "small"]);

    node.delete("small").await;
    node.delete("parts copy").await;
    node.collect().await;
    assert_eq!(node.extents(), 0);
    node.service.delete_bucket(BUCKET).await.expect("empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_looked_after_once_and_when_it_is_old() {
    let node = Node::first().await;
    node.put("a", &content(1, 1 << 20)).await;
    for to in ["b", "c"] {
        node.copy("a", to).await;
    }
    let (clock, rng) = (Arc::new(SystemClock::default()), Arc::new(SystemRng));
    let later = Maintenance::new(node.meta.clone(), node.service.clone(), clock, rng, MaintainConfig::default());
    assert_eq!(later.round(true).await.holdings, 0, "they are young");
    assert_eq!(node.maintenance.round(false).await.holdings, 0, "sweeps do it");
    assert_eq!(node.maintenance.round(true).await.holdings, 2);
    assert_eq!(node.maintenance.round(true).await.holdings, 0);
    let rename = RenameRequest { bucket: BUCKET.into(), source_key: "b".into(), key: "d".into(), ..Default::default() };
    node.service.rename_object(rename).await.expect("renamed");
    node.delete("a").await;
    node.collect().await;
    for key in ["c", "d"] {
        assert!(node.get(key).await.expect("there") == content(1, 1 << 20));
        node.delete(key).await;
    }
    node.collect().await;
    assert_eq!(node.extents(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_go_and_nothing_else() {
    let node = Node::first().await;
    let large = content(5, 9 << 20);
    node.put("k", &large).await;
    let create = CreateUploadRequest { bucket: BUCKET.into(), key: "k".into(), ..Default::default() };
    let upload_id = node.service.create_upload(create).await.expect("created").upload_id;
    let part = PartRequest {
        bucket: BUCKET.into(),
        key: "k".into(),
        upload_id: upload_id.clone(),
        part_number: 1,
        ..Default::default()
    };
    node.service.upload_part(part, &mut Some(content(6, 1 << 20))).await.expect("stored");
    // A gateway that died before its commit.
    let route = [&[0x55; 16][..], b"gone\x00\x01"].concat();
    let mut writer = node.storage.client().writer(karri_ring_node::Owner { data: DataId(7), route });
    writer.write(content(7, 2 << 20)).await.expect("written");
    writer.finish().await.expect("finished");
    assert_eq!(node.extents(), 3);
    let verdicts = OrphanVerdicts::new(node.service.clone());
    assert_eq!(node.storage.sweep_once(&verdicts).await, 1);
    assert_eq!(node.storage.sweep_once(&verdicts).await, 0);
    assert_eq!(node.extents(), 2);
    assert!(node.get("k").await.expect("there") == large);
    let upload = UploadRef { bucket: BUCKET.into(), key: "k".into(), upload_id };
    node.service.abort_upload(upload).await.expect("aborted");
    node.collect().await;
    assert_eq!(node.extents(), 1);
}

/// The aim of the durable path: many small writes share their syncs.
#[tokio::test(flavor = "multi_thread")]
async fn many_small_puts_at_once() {
    const PUTS: usize = 500;
    let node = Node::first().await;
    let bytes = content(8, 4096);
    let puts = (0..PUTS).map(|n| {
        let (service, bytes) = (node.service.clone(), bytes.clone());
        tokio::spawn(async move {
            let put = PutRequest { bucket: BUCKET.into(), key: format!("{n:04}"), ..Default::default() };
            service.put_object(put, &mut Some(bytes)).await.map(|_| ())
        })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.expect("not cut off").expect("put");
    }
    let mut request = ListRequest { bucket: BUCKET.into(), limit: 300, ..Default::default() };
    let mut count = 0;
    loop {
        let page = node.service.list_objects(request.clone()).await.expect("listed");
        count += page.entries.len();
        let Some(next) = page.next else { break };
        request.after = Some(next);
    }
    assert_eq!(count, PUTS);
    assert_eq!(node.get("0499").await.expect("there"), bytes);
}
