//! The batch way into a bucket: a stopped node's store, opened in this process.
//!
//! Each object goes through the object service as a PUT without HTTP does: hashed, a command to the range's leader,
//! evaluated there, many to one entry of the log, which is synced before it is applied. Nothing is left out but the
//! gateway, so that ten million objects can be loaded in minutes.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use karri_objstore_service::{DeleteItem, DeleteRequest, ObjectService, PutRequest, ServiceConfig, ServiceError};
use karri_ring_disk::DiskPath;
use karri_ring_meta::{MetaConfig, MetaNode};
use karri_ring_node::join::Credentials;
use karri_ring_node::{ClientConfig, ExtentClient, LayoutSource};
use karri_ring_placement::Layout;
use karri_ring_raft::{HostConfig, RaftHost};
use karri_ring_rpc::{MemoryNetwork, Router};
use karri_ring_types::{Clock, NodeId, Rng, SystemClock, SystemRng};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::load::key;
use super::{BUCKET, OBJECT_BYTES};
use crate::body::Noise;

/// Numbers that a worker takes at a time.
const NUMBERS_AT_A_TIME: usize = 64;
/// Attempts at one object, of which each may wait for a leader.
const ATTEMPTS_MAX: u32 = 5;
/// After so many objects it is told how far it has come.
const TOLD_EVERY: u64 = 500_000;

/// Objects that are inline have no extents, so that there need be no nodes for them.
struct NoNodes(Arc<Layout>);

impl LayoutSource for NoNodes {
    fn layout(&self) -> Arc<Layout> {
        self.0.clone()
    }

    fn alive(&self, _node: NodeId) -> bool {
        false
    }
}

/// The metadata of a node that is not running.
pub(super) struct Inside {
    raft: Arc<RaftHost>,
    meta: Arc<MetaNode>,
    service: Arc<ObjectService>,
    noise: Noise,
}

impl Inside {
    pub(super) async fn open(data_dir: &Path) -> Result<Self> {
        let path = |name: &str| DiskPath::host(data_dir).join(name);
        let credentials = Credentials::read(&path("node-credentials"))?.context("the folder is not a node's")?;
        let node = credentials.identity().node;
        let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(SystemClock::default()), Arc::new(SystemRng));
        let router = Router::new();
        let transport = MemoryNetwork::new().transport(node, router.clone());
        let raft = RaftHost::open(HostConfig::new(node, path("raft")), transport.clone(), &router).await?;
        let config = MetaConfig::new(node, path("metadata"));
        let meta = MetaNode::open(config, raft.clone(), transport.clone(), &router, clock.clone(), rng.clone()).await?;
        meta.register(ObjectService::EVALUATOR, ObjectService::evaluator());
        meta.register(ObjectService::DIRECTORY, ObjectService::directory_evaluator());
        meta.start().await?;
        let layouts = Arc::new(NoNodes(Arc::new(Layout::empty(1))));
        let extents = ExtentClient::remote(transport, layouts, clock.clone(), rng.clone(), ClientConfig::default());
        let service = ObjectService::new(meta.client(), extents, clock, rng, ServiceConfig::default());
        Ok(Self { raft, meta, service, noise: Noise::new(1) })
    }

    /// Puts these objects and returns how many a second.
    pub(super) async fn put(&self, numbers: Range<u64>, at_once: u64) -> Result<f64> {
        let noise = self.noise.clone();
        self.each(numbers, at_once, move |service, number| {
            let body = noise.bytes(number, OBJECT_BYTES);
            let request = PutRequest {
                bucket: BUCKET.to_owned(),
                key: key(number),
                length: Some(OBJECT_BYTES),
                ..PutRequest::default()
            };
            async move { service.put_object(request, &mut Some(body)).await.map(drop) }
        })
        .await
    }

    /// Deletes these objects and returns how many a second.
    pub(super) async fn delete(
        &self,
        numbers: impl Iterator<Item = u64> + Send + 'static,
        at_once: u64,
    ) -> Result<f64> {
        self.each(numbers, at_once, |service, number| async move {
            let item = DeleteItem { key: key(number), ..DeleteItem::default() };
            service.delete_object(DeleteRequest { bucket: BUCKET.to_owned(), item }).await.map(drop)
        })
        .await
    }

    async fn each<F>(
        &self,
        numbers: impl Iterator<Item = u64> + Send + 'static,
        at_once: u64,
        work: impl Fn(Arc<ObjectService>, u64) -> F + Clone + Send + 'static,
    ) -> Result<f64>
    where
        F: Future<Output = Result<(), ServiceError>> + Send + 'static,
    {
        let start = Instant::now();
        let numbers = Arc::new(Mutex::new((numbers, 0_u64)));
        let mut workers = JoinSet::new();
        for _ in 0..at_once {
            let (numbers, service, work) = (numbers.clone(), self.service.clone(), work.clone());
            workers.spawn(async move {
                loop {
                    let mut taken = take(&numbers, start);
                    if taken.is_empty() {
                        return Ok::<_, anyhow::Error>(());
                    }
                    while let Some(number) = taken.pop_front() {
                        let mut attempt = 1;
                        while let Err(failure) = work(service.clone(), number).await {
                            // It waits by itself, for a leader or for room in the queues.
                            if attempt == ATTEMPTS_MAX {
                                return Err(failure).with_context(|| format!("object {number}"));
                            }
                            attempt += 1;
                        }
                    }
                }
            });
        }
        while let Some(done) = workers.join_next().await {
            done??;
        }
        let count = numbers.lock().1;
        Ok(count as f64 / start.elapsed().as_secs_f64().max(1e-9))
    }

    pub(super) async fn close(self) {
        self.meta.shutdown().await;
        self.raft.shutdown().await;
    }
}

fn take(numbers: &Mutex<(impl Iterator<Item = u64>, u64)>, start: Instant) -> VecDeque<u64> {
    let mut numbers = numbers.lock();
    let taken: VecDeque<u64> = numbers.0.by_ref().take(NUMBERS_AT_A_TIME).collect();
    let before = numbers.1;
    numbers.1 += taken.len() as u64;
    if before / TOLD_EVERY != numbers.1 / TOLD_EVERY {
        let rate = numbers.1 as f64 / start.elapsed().as_secs_f64();
        eprintln!("{} objects, {rate:.0}/s", numbers.1);
    }
    taken
}
