//! A node whose state is on a disk in memory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use karri_ring_disk::DiskPath;
use karri_ring_extent::{ExtentConfig, ExtentStore};
use karri_ring_meta::{MetaConfig, MetaError, MetaNode, Route};
use karri_ring_raft::{HostConfig, OnFailedLog, RaftHost};
use karri_ring_rpc::{MemoryNetwork, Router, Transport};
use karri_ring_types::{ManualClock, NodeId, SeededRng};
use karri_tests_disk::MemoryDisk;

use crate::rows::{PAIRS, Pair, Pairs, WritePair};

/// Longest wait for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Free space below which extents are refused.
pub const RESERVE_BYTES: u64 = 256 << 10;

/// Where a node keeps its state; it outlives the node.
#[derive(Clone, Debug)]
pub struct Site {
    /// The node.
    pub id: NodeId,
    /// Its disk.
    pub disk: MemoryDisk,
    /// Times of the Raft host: heartbeat, and shortest and longest election.
    pub pace_ms: (u64, (u64, u64)),
}

impl Site {
    /// A site with an empty disk.
    pub fn new(id: u64, pace_ms: (u64, (u64, u64))) -> Self {
        Self { id: NodeId(id), disk: MemoryDisk::new(), pace_ms }
    }

    /// A path on its disk. There is no such folder on the host.
    pub fn path(&self, name: &str) -> DiskPath {
        DiskPath::new(self.disk.shared(), format!("/karri-in-memory/{}", self.id)).join(name)
    }
}

/// A running node: Raft, metadata and extents.
pub struct Node {
    /// Where its state is.
    pub site: Site,
    /// Its Raft groups.
    pub raft: Arc<RaftHost>,
    /// Its metadata.
    pub meta: Arc<MetaNode>,
    /// Its extents.
    pub store: Arc<ExtentStore>,
    /// Its methods.
    pub router: Arc<Router>,
    /// Calls to the other nodes.
    pub transport: Arc<dyn Transport>,
    network: MemoryNetwork,
}

impl Node {
    /// Opens all that is on the disk. What could be opened before an error is closed again.
    pub async fn start(site: &Site, network: &MemoryNetwork, clock: Arc<ManualClock>) -> Result<Self> {
        let router = Router::new();
        let transport = network.transport(site.id, router.clone());
        let mut config = HostConfig::new(site.id, site.path("raft"));
        (config.heartbeat_ms, config.election_ms) = site.pace_ms;
        (config.snapshot_entries, config.kept_entries) = (25, 8);
        config.propose_timeout_ms = 3000;
        config.on_failed_log = OnFailedLog::Halt;
        let raft = RaftHost::open(config, transport.clone(), &router).await.context("open the Raft logs")?;
        let config = MetaConfig { write_buffer_bytes: 128 << 10, ..MetaConfig::new(site.id, site.path("metadata")) };
        let rng = Arc::new(SeededRng::new(site.id.0));
        let opened = MetaNode::open(config, raft.clone(), transport.clone(), &router, clock, rng).await;
        let meta = match opened {
            Ok(meta) => meta,
            Err(error) => {
                raft.shutdown().await;
                return Err(error).context("open the metadata");
            }
        };
        let config = ExtentConfig { dir: site.path("extents"), reserve_bytes: RESERVE_BYTES };
        let store = tokio::task::spawn_blocking(move || ExtentStore::open(config)).await?;
        let store = match store {
            Ok(store) => store,
            Err(error) => {
                raft.shutdown().await;
                return Err(error).context("open the extents");
            }
        };
        meta.register(PAIRS, Arc::new(Pairs));
        meta.start().await?;
        Ok(Self { site: site.clone(), raft, meta, store, router, transport, network: network.clone() })
    }

    /// Writes a pair of rows.
    pub async fn write_pair(&self, key: &[u8], value: Option<Bytes>, wait: Duration) -> Result<(), MetaError> {
        let command = postcard::to_stdvec(&WritePair { key: key.to_vec(), value }).expect("encodes").into();
        self.meta.client().execute(&Route::Key(key.to_vec()), PAIRS, command, true, wait).await.map(drop)
    }

    /// Reads a pair of rows.
    pub async fn read_pair(&self, key: &[u8]) -> Result<Pair> {
        let query = Bytes::copy_from_slice(key);
        let (client, route) = (self.meta.client(), Route::Key(key.to_vec()));
        let reply = tokio::select! {
            reply = client.query(&route, PAIRS, query, PATIENCE) => reply?,
            // A process would have ended.
            failure = self.raft.wait_failed() => anyhow::bail!("the node's storage failed: {failure}"),
        };
        Ok(postcard::from_bytes(&reply)?)
    }

    /// Closes it, in order as far as its disk lets it.
    pub async fn stop(self) {
        self.network.remove(self.site.id);
        self.meta.shutdown().await;
        self.raft.shutdown().await;
        let disk = self.site.disk.clone();
        drop(self);
        closed(&disk).await;
    }
}

/// Waits until no store is open on the disk: the last of them closes with the last task that uses it.
pub async fn closed(disk: &MemoryDisk) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while disk.open_stores() > 0 {
        assert!(tokio::time::Instant::now() < until, "a store stays open");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
