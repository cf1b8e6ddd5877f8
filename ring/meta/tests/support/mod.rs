//! Nodes in one process on a network in memory, and a small evaluator.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_disk::DiskPath;
use karri_ring_meta::{
    EvaluateError, Evaluator, EvaluatorId, Latches, MetaClient, MetaConfig, MetaError, MetaNode, Route, Table, View,
};
use karri_ring_raft::{HostConfig, RaftHost};
use karri_ring_rpc::{MemoryNetwork, Router};
use karri_ring_types::{NodeId, RangeId, SystemClock, SystemRng, Timestamp};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::time::Instant;

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const REGISTER: EvaluatorId = EvaluatorId(16);
const TABLE: Table = Table(16);

#[derive(Debug, Serialize, Deserialize)]
pub enum Command {
    /// Writes `value` if the row is not there, or has this value already.
    Create {
        key: Vec<u8>,
        value: Bytes,
    },
    Put {
        key: Vec<u8>,
        value: Bytes,
    },
    /// Adds one; not idempotent.
    Count {
        key: Vec<u8>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Query {
    Get {
        key: Vec<u8>,
    },
    /// First components of the keys after `prefix` up to `/`, found by seeking.
    Folders {
        prefix: Vec<u8>,
    },
}

/// The first letter of a reply to `Create`.
pub const CREATED: u8 = 1;
pub const EXISTS: u8 = 2;

pub struct Register;

impl Evaluator for Register {
    fn latches(&self, command: &[u8]) -> Latches {
        let exclusive = match postcard::from_bytes(command) {
            Ok(Command::Create { key, .. } | Command::Put { key, .. } | Command::Count { key }) => vec![key],
            Err(_) => vec![],
        };
        Latches { shared: vec![], exclusive }
    }

    fn evaluate(&self, view: &mut View<'_>, command: &[u8], _now: Timestamp) -> Result<Vec<u8>, EvaluateError> {
        let command = postcard::from_bytes(command).map_err(|e| EvaluateError::Malformed(e.to_string()))?;
        match command {
            Command::Create { key, value } => match view.get(TABLE, &key)? {
                Some(before) if before == value => Ok(vec![CREATED]),
                Some(_) => Ok(vec![EXISTS]),
                None => {
                    view.put(TABLE, key, value);
                    Ok(vec![CREATED])
                }
            },
            Command::Put { key, value } => {
                let _ = view.get(TABLE, &key)?;
                view.put(TABLE, key, value);
                Ok(vec![])
            }
            Command::Count { key } => {
                let before = view.get(TABLE, &key)?.map_or(0, |value| u64::from(value[0]));
                view.put(TABLE, key, vec![before as u8 + 1]);
                Ok(vec![before as u8 + 1])
            }
        }
    }

    fn query(&self, view: &mut View<'_>, query: &[u8]) -> Result<Vec<u8>, EvaluateError> {
        let query = postcard::from_bytes(query).map_err(|e| EvaluateError::Malformed(e.to_string()))?;
        match query {
            Query::Get { key } => Ok(view.get(TABLE, &key)?.map(|value| value.to_vec()).unwrap_or_default()),
            Query::Folders { prefix } => {
                let mut end = prefix.clone();
                *end.last_mut().expect("a prefix") += 1;
                let mut scan = view.scan(TABLE, &prefix, &end)?;
                let mut folders = Vec::new();
                while let Some(row) = scan.next() {
                    let (key, _) = row?;
                    let name = &key[prefix.len()..];
                    let length = name.iter().position(|&b| b == b'/').map_or(name.len(), |at| at + 1);
                    folders.push(name[..length].to_vec());
                    let mut past = key[..prefix.len() + length].to_vec();
                    past.push(0xff);
                    scan.seek(&past);
                }
                Ok(postcard::to_stdvec(&folders).expect("encodes"))
            }
        }
    }
}

pub struct Node {
    pub raft: Arc<RaftHost>,
    pub meta: Arc<MetaNode>,
}

pub struct Cluster {
    pub network: MemoryNetwork,
    pub nodes: BTreeMap<u64, Node>,
    dir: TempDir,
}

impl Cluster {
    /// One node with `ranges` data ranges.
    pub async fn bootstrapped(ranges: u16) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut cluster = Self { network: MemoryNetwork::new(), nodes: BTreeMap::new(), dir };
        cluster.start(1).await;
        cluster.nodes[&1].meta.bootstrap(ranges).await.expect("bootstraps");
        cluster
    }

    /// Three nodes that all have a vote in every range.
    pub async fn of_three(ranges: u16) -> Self {
        let mut cluster = Self::bootstrapped(ranges).await;
        cluster.start(2).await;
        cluster.start(3).await;
        cluster.spread().await;
        cluster
    }

    /// Gives every range to all nodes, led by one after the other.
    pub async fn spread(&self) {
        let all: Vec<NodeId> = self.nodes.keys().map(|&id| NodeId(id)).collect();
        let choose = |range: RangeId, _count: usize| {
            let mut wanted = all.clone();
            wanted.rotate_left(range.0 as usize % all.len());
            wanted
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut failed = 0;
            for node in self.nodes.values() {
                failed += node.meta.place(&choose).await.failed;
            }
            let done = self.nodes.values().all(|node| node.meta.status().iter().all(|r| r.voters.len() == all.len()));
            if failed == 0 && done {
                return;
            }
            assert!(Instant::now() < deadline, "ranges are not spread");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn path(&self, node: u64) -> PathBuf {
        self.dir.path().join(node.to_string())
    }

    pub async fn start(&mut self, id: u64) {
        let mut config = HostConfig::new(NodeId(id), DiskPath::host(self.path(id).join("raft")));
        (config.heartbeat_ms, config.election_ms) = (60, (400, 800));
        config.propose_timeout_ms = 3000;
        let router = Router::new();
        let transport = self.network.transport(NodeId(id), router.clone());
        let raft = RaftHost::open(config, transport.clone(), &router).await.expect("opens raft");
        let config = MetaConfig::new(NodeId(id), DiskPath::host(self.path(id).join("meta")));
        let (clock, rng) = (Arc::new(SystemClock::default()), Arc::new(SystemRng));
        let deadline = Instant::now() + PATIENCE;
        let meta = loop {
            let opened =
                MetaNode::open(config.clone(), raft.clone(), transport.clone(), &router, clock.clone(), rng.clone());
            match opened.await {
                Ok(meta) => break meta,
                // The former node's tasks may still hold the store's lock.
                Err(MetaError::Storage(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("node {id} does not open: {error:?}"),
            }
        };
        meta.register(REGISTER, Arc::new(Register));
        meta.start().await.expect("starts");
        meta.client().set_seeds((1..=3).map(NodeId).collect());
        self.nodes.insert(id, Node { raft, meta });
    }

    /// Takes a node away as a crash does, except that its files are in order.
    pub async fn stop(&mut self, id: u64) {
        self.network.remove(NodeId(id));
        let node = self.nodes.remove(&id).expect("runs");
        node.raft.shutdown().await;
    }

    /// Deletes what a stopped node has applied, once nothing of it holds the store any more.
    pub async fn lose_applied_state(&self, node: u64) {
        let state = self.path(node).join("meta/state");
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = rocksdb::DB::open_default(&state) {
            assert!(Instant::now() < deadline, "the store of node {node} stays open: {error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::remove_dir_all(&state).expect("removes the store");
    }

    pub fn client(&self, node: u64) -> Arc<MetaClient> {
        self.nodes[&node].meta.client()
    }

    /// The node that leads `range` as it and `among` believe.
    pub async fn leader(&self, range: RangeId, among: &[u64]) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for &node in among {
                if let Some(group) = self.nodes[&node].raft.group(range)
                    && group.is_leader()
                    && group.linearize().await.is_ok()
                {
                    return node;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads range {range}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub fn route(key: &[u8]) -> Route {
    Route::Key(key.to_vec())
}

pub async fn create(client: &MetaClient, key: &[u8], value: &str, wait: Duration) -> Result<bool, MetaError> {
    let command = Command::Create { key: key.to_vec(), value: Bytes::copy_from_slice(value.as_bytes()) };
    let command = postcard::to_stdvec(&command).expect("encodes").into();
    let reply = client.execute(&route(key), REGISTER, command, true, wait).await?;
    Ok(reply[0] == CREATED)
}

pub async fn put(client: &MetaClient, key: &[u8], value: Bytes) -> Result<(), MetaError> {
    let command = postcard::to_stdvec(&Command::Put { key: key.to_vec(), value }).expect("encodes").into();
    client.execute(&route(key), REGISTER, command, true, PATIENCE).await.map(drop)
}

pub async fn count(client: &MetaClient, key: &[u8], wait: Duration) -> Result<u8, MetaError> {
    let command = postcard::to_stdvec(&Command::Count { key: key.to_vec() }).expect("encodes").into();
    client.execute(&route(key), REGISTER, command, false, wait).await.map(|reply| reply[0])
}

pub async fn get(client: &MetaClient, key: &[u8]) -> Result<Bytes, MetaError> {
    let query = postcard::to_stdvec(&Query::Get { key: key.to_vec() }).expect("encodes").into();
    client.query(&route(key), REGISTER, query, PATIENCE).await
}

pub async fn folders(client: &MetaClient, prefix: &[u8]) -> Vec<String> {
    let query = postcard::to_stdvec(&Query::Folders { prefix: prefix.to_vec() }).expect("encodes").into();
    let reply = client.query(&route(prefix), REGISTER, query, PATIENCE).await.expect("answers");
    let folders: Vec<Vec<u8>> = postcard::from_bytes(&reply).expect("decodes");
    folders.into_iter().map(|folder| String::from_utf8(folder).expect("utf-8")).collect()
}
