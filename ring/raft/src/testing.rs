//! A small key-value machine and a cluster in memory, for this crate's tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use karri_ring_disk::DiskPath;
use karri_ring_rpc::{MemoryNetwork, Router};
use karri_ring_types::{NodeId, RangeId};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::{
    Applied, EntryData, Group, HostConfig, MachineError, ProposeError, RaftHost, SnapshotReader, SnapshotWriter,
    StateMachine,
};

pub(crate) const RANGE: RangeId = RangeId(5);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct KvState {
    pub(crate) rows: BTreeMap<String, String>,
    pub(crate) blob: Vec<u8>,
    pub(crate) applied: Option<u64>,
}

/// What survives a crash: the state at the last flush.
pub(crate) type KvDisk = Arc<Mutex<KvState>>;

/// Applies entries `key=value` in memory; only `flush` makes them survive.
pub(crate) struct Kv {
    live: Arc<Mutex<KvState>>,
    disk: KvDisk,
    strict: bool,
    pub(crate) installs: Arc<AtomicU32>,
}

impl Kv {
    /// For openraft's suite, which applies entries with holes between them.
    pub(crate) fn lenient() -> Arc<Self> {
        let (live, disk, installs) = (Arc::default(), KvDisk::default(), Arc::default());
        Arc::new(Self { live, disk, strict: false, installs })
    }

    pub(crate) fn restart(disk: &KvDisk) -> Arc<Self> {
        let live = Arc::new(Mutex::new(disk.lock().clone()));
        Arc::new(Self { live, disk: disk.clone(), strict: true, installs: Arc::default() })
    }

    pub(crate) fn rows(&self) -> BTreeMap<String, String> {
        self.live.lock().rows.clone()
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.live.lock().rows.get(key).cloned()
    }
}

impl StateMachine for Kv {
    fn applied(&self) -> Result<Vec<u8>, MachineError> {
        Ok(self.live.lock().blob.clone())
    }

    fn apply(&self, entries: Vec<EntryData>, state_blob: Vec<u8>) -> Result<Vec<Bytes>, MachineError> {
        let mut state = self.live.lock();
        let mut replies = Vec::new();
        for entry in entries {
            let next = state.applied.is_none_or(|last| last + 1 == entry.index);
            assert!(next || !self.strict, "entries are applied once and in order");
            state.applied = Some(entry.index);
            let Some(payload) = entry.payload else {
                replies.push(Bytes::new());
                continue;
            };
            let (key, value) = std::str::from_utf8(&payload)?.split_once('=').ok_or("no key")?;
            let old = state.rows.insert(key.to_owned(), value.to_owned());
            replies.push(Bytes::from(old.unwrap_or_default()));
        }
        state.blob = state_blob;
        Ok(replies)
    }

    fn flush(&self) -> Result<(), MachineError> {
        let state = self.live.lock().clone();
        *self.disk.lock() = state;
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, MachineError> {
        let state = self.live.lock().clone();
        Ok(Box::new(Reader { blob: state.blob, applied: state.applied, rows: state.rows.into_iter() }))
    }

    fn begin_install(&self) -> Result<Box<dyn SnapshotWriter>, MachineError> {
        let (live, installs) = (self.live.clone(), self.installs.clone());
        Ok(Box::new(Writer { live, installs, state: KvState::default() }))
    }
}

struct Reader {
    blob: Vec<u8>,
    applied: Option<u64>,
    rows: std::collections::btree_map::IntoIter<String, String>,
}

impl SnapshotReader for Reader {
    fn state_blob(&self) -> Vec<u8> {
        self.blob.clone()
    }

    /// First the index, then one row each.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, MachineError> {
        if let Some(index) = self.applied.take() {
            return Ok(Some(Bytes::from(index.to_string())));
        }
        Ok(self.rows.next().map(|(key, value)| Bytes::from(format!("{key}={value}"))))
    }
}

struct Writer {
    live: Arc<Mutex<KvState>>,
    installs: Arc<AtomicU32>,
    state: KvState,
}

impl SnapshotWriter for Writer {
    fn write(&mut self, chunk: Bytes) -> Result<(), MachineError> {
        let text = std::str::from_utf8(&chunk)?;
        match text.split_once('=') {
            Some((key, value)) => _ = self.state.rows.insert(key.to_owned(), value.to_owned()),
            None => self.state.applied = Some(text.parse()?),
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, state_blob: Vec<u8>) -> Result<(), MachineError> {
        self.state.blob = state_blob;
        *self.live.lock() = std::mem::take(&mut self.state);
        self.installs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// The machines of one node.
#[derive(Clone, Default)]
struct Machines {
    disks: Arc<Mutex<BTreeMap<RangeId, KvDisk>>>,
    running: Arc<Mutex<BTreeMap<RangeId, Arc<Kv>>>>,
}

impl Machines {
    fn start(&self, range: RangeId) -> Arc<Kv> {
        let disk = self.disks.lock().entry(range).or_default().clone();
        let machine = Kv::restart(&disk);
        self.running.lock().insert(range, machine.clone());
        machine
    }
}

/// Hosts on a network in memory.
pub(crate) struct Cluster {
    pub(crate) network: MemoryNetwork,
    hosts: BTreeMap<u64, Arc<RaftHost>>,
    machines: BTreeMap<u64, Machines>,
    dir: TempDir,
    tune: fn(&mut HostConfig),
}

impl Cluster {
    /// Nodes 1 to `nodes`, without groups.
    pub(crate) async fn new(nodes: u64) -> Self {
        Self::tuned(nodes, |_| {}).await
    }

    pub(crate) async fn tuned(nodes: u64, tune: fn(&mut HostConfig)) -> Self {
        let (network, dir) = (MemoryNetwork::new(), tempfile::tempdir().unwrap());
        let mut cluster = Self { network, hosts: BTreeMap::new(), machines: BTreeMap::new(), dir, tune };
        for node in 1..=nodes {
            cluster.start(node).await;
        }
        cluster
    }

    fn path(&self, node: u64) -> DiskPath {
        DiskPath::host(self.dir.path().join(node.to_string()))
    }

    /// Starts a node, with what it had on disk.
    pub(crate) async fn start(&mut self, node: u64) {
        let mut config = HostConfig::new(NodeId(node), self.path(node));
        (config.heartbeat_ms, config.election_ms) = (60, (400, 800));
        (self.tune)(&mut config);
        let router = Router::new();
        let transport = self.network.transport(NodeId(node), router.clone());
        let host = RaftHost::open(config, transport, &router).await.unwrap();
        let machines = self.machines.entry(node).or_default().clone();
        for range in host.groups() {
            host.open_group(range, machines.start(range)).await.unwrap();
        }
        host.on_unknown_group(Arc::new(move |range| Some(machines.start(range))));
        self.hosts.insert(node, host);
    }

    /// Stops a node without a word to the others; what its machines had not flushed is lost.
    pub(crate) async fn kill(&mut self, node: u64) {
        self.network.isolate(NodeId(node));
        self.stop(node).await;
        self.network.heal();
    }

    /// Stops a node in order, though its machines lose what they had not flushed.
    pub(crate) async fn stop(&mut self, node: u64) {
        let host = self.hosts.remove(&node).unwrap();
        host.shutdown().await;
        self.network.remove(NodeId(node));
        self.machines[&node].running.lock().clear();
    }

    pub(crate) async fn open(&self, node: u64, range: RangeId) -> Arc<Group> {
        self.hosts[&node].open_group(range, self.machines[&node].start(range)).await.unwrap()
    }

    /// A group of all nodes that has a leader.
    pub(crate) async fn group_of_all(&self) -> u64 {
        let mut voters = Vec::new();
        for &node in self.hosts.keys() {
            self.open(node, RANGE).await;
            voters.push(NodeId(node));
        }
        self.group(voters[0].0).initialize(&voters).await.unwrap();
        self.leader().await
    }

    pub(crate) fn host(&self, node: u64) -> &Arc<RaftHost> {
        &self.hosts[&node]
    }

    /// From now on the disk of a node is taken to be full or not; `None`: as it is.
    pub(crate) fn pretend_full(&self, node: u64, full: Option<bool>) {
        self.hosts[&node].space.pretend(full);
    }

    pub(crate) fn group(&self, node: u64) -> Arc<Group> {
        self.hosts[&node].group(RANGE).unwrap()
    }

    pub(crate) fn kv(&self, node: u64) -> Arc<Kv> {
        self.machines[&node].running.lock()[&RANGE].clone()
    }

    pub(crate) fn disk(&self, node: u64) -> KvState {
        self.machines[&node].disks.lock()[&RANGE].lock().clone()
    }

    /// A running node that proves to lead.
    pub(crate) async fn leader(&self) -> u64 {
        let among: Vec<u64> = self.hosts.keys().copied().collect();
        self.leader_among(&among).await
    }

    pub(crate) async fn leader_among(&self, nodes: &[u64]) -> u64 {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            for &node in nodes {
                if let Some(group) = self.hosts[&node].group(RANGE)
                    && group.is_leader()
                    && group.linearize().await.is_ok()
                {
                    return node;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no leader among {nodes:?}");
    }

    /// Proposes through whoever leads; only where repeating is harmless.
    pub(crate) async fn put(&self, key: &str, value: &str) -> Applied {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let group = self.group(self.leader().await);
            match group.propose(entry(key, value)).await {
                Ok(applied) => return applied,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "put {key}: {error}"),
            }
        }
    }

    /// Waits until a node has applied as much as `index`.
    pub(crate) async fn wait_applied(&self, node: u64, index: u64) {
        eventually(&format!("node {node} applies {index}"), || {
            self.hosts[&node].group(RANGE).is_some_and(|group| group.applied_index() >= index)
        })
        .await;
    }

    pub(crate) async fn shutdown(mut self) {
        for node in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.stop(node).await;
        }
    }
}

pub(crate) fn entry(key: &str, value: &str) -> Bytes {
    Bytes::from(format!("{key}={value}"))
}

pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !check() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The value of a proposal that must not have been decided.
pub(crate) fn undecided(result: Result<Applied, ProposeError>) {
    assert_eq!(result, Err(ProposeError::Unknown));
}
