//! All Raft groups of a node.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use karri_ring_rpc::{Router, Transport};
use karri_ring_types::RangeId;
use parking_lot::RwLock;

use crate::adapter::{Adapter, blocking};
use crate::config::HostConfig;
use crate::error::RaftError;
use crate::failure::Failure;
use crate::group::Group;
use crate::log::{FlushGate, Flusher, GroupLog, GroupStore, LogDb};
use crate::machine::StateMachine;
use crate::network::Network;
use crate::service::Service;
use crate::space::Space;
use crate::types::Raft;

/// How often the free space of the disk is looked at.
const SPACE_INTERVAL: Duration = Duration::from_millis(250);
/// Each how many such looks the logs are looked after.
const LOGS_EACH_TICKS: u64 = 8;
/// How long `shutdown` waits for late readers of the log store.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Gives the machine of a range that a leader wants on this node, or `None` to refuse it.
pub type UnknownGroup = dyn Fn(RangeId) -> Option<Arc<dyn StateMachine>> + Send + Sync;

/// What the log store did since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// fsyncs.
    pub syncs: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes written, before RocksDB's own work.
    pub bytes: u64,
}

/// All Raft groups of a node; one per process.
pub struct RaftHost {
    config: Arc<HostConfig>,
    raft_config: Arc<openraft::Config>,
    pub(crate) transport: Arc<dyn Transport>,
    db: Arc<LogDb>,
    flusher: Arc<Flusher>,
    groups: RwLock<HashMap<RangeId, Arc<Group>>>,
    unknown: RwLock<Option<Arc<UnknownGroup>>>,
    opening: tokio::sync::Mutex<()>,
    pub(crate) space: Arc<Space>,
    failure: Arc<Failure>,
    stopped: AtomicBool,
    /// One task at a time hands over.
    pub(crate) handing_over: tokio::sync::Mutex<()>,
}

impl RaftHost {
    /// Opens the log store and registers [`crate::METHODS`]. Groups are opened one by one afterwards; until
    /// then their leaders are told that they are not here.
    pub async fn open(
        config: HostConfig,
        transport: Arc<dyn Transport>,
        router: &Router,
    ) -> Result<Arc<Self>, RaftError> {
        let raft_config = Arc::new(config.openraft()?);
        let dir = config.dir.clone();
        let failure = Arc::new(Failure::new(config.on_failed_log, &dir));
        let marked = failure.clone();
        let db = blocking(move || match marked.check_mark() {
            Ok(()) => LogDb::open(&dir).map(Ok),
            Err(damaged) => Ok(Err(damaged)),
        })
        .await??;
        let space = Arc::new(Space::new(config.dir.clone(), config.reserve_bytes));
        space.look();
        let host = Arc::new(Self {
            config: Arc::new(config),
            raft_config,
            transport,
            flusher: Flusher::start(db.clone(), failure.clone())?,
            db,
            groups: RwLock::default(),
            unknown: RwLock::default(),
            opening: tokio::sync::Mutex::new(()),
            space,
            failure,
            stopped: AtomicBool::new(false),
            handing_over: tokio::sync::Mutex::new(()),
        });
        router.register(crate::METHODS, Arc::new(Service { host: Arc::downgrade(&host) }));
        tokio::spawn(housekeeping(Arc::downgrade(&host)));
        Ok(host)
    }

    /// Opens a group that is on this node's disk, or a new and empty one. A group that is open already is
    /// returned as it is, and `machine` is not used.
    pub async fn open_group(&self, range: RangeId, machine: Arc<dyn StateMachine>) -> Result<Arc<Group>, RaftError> {
        let _one_at_a_time = self.opening.lock().await;
        match self.group(range) {
            Some(group) => Ok(group),
            None => self.open_new(range, machine).await,
        }
    }

    /// Opens a group that is not open; under the lock of `opening`.
    async fn open_new(&self, range: RangeId, machine: Arc<dyn StateMachine>) -> Result<Arc<Group>, RaftError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(RaftError::Stopped("the host is stopped".to_owned()));
        }
        let gate = FlushGate::new(machine.clone(), self.failure.clone());
        let (adapter, log) = {
            let (machine, gate, db, flusher) = (machine.clone(), gate.clone(), self.db.clone(), self.flusher.clone());
            blocking(move || {
                let adapter = Adapter::open(machine, gate.clone())?;
                Ok((adapter, GroupLog::open(range.0, db, flusher, Some(gate))?))
            })
            .await?
        };
        let pristine = log.is_pristine();
        let network =
            Network { transport: self.transport.clone(), range, append_timeout: self.config.append_timeout() };
        let node = self.config.node;
        let raft = Raft::new(node.0, self.raft_config.clone(), network, GroupStore(log.clone()), adapter).await;
        let raft = raft.map_err(|e| RaftError::Stopped(e.to_string()))?;
        let quarantine_end = (!pristine).then(|| tokio::time::Instant::now() + self.config.vote_quarantine());
        let group = Arc::new(Group {
            range,
            node,
            raft,
            log,
            gate,
            machine,
            config: self.config.clone(),
            space: self.space.clone(),
            failure: self.failure.clone(),
            quarantine_end,
            incoming: tokio::sync::Mutex::new(None),
            changing: tokio::sync::Mutex::new(()),
            stopped: AtomicBool::new(false),
        });
        self.groups.write().insert(range, group.clone());
        Ok(group)
    }

    /// An open group.
    pub fn group(&self, range: RangeId) -> Option<Arc<Group>> {
        self.groups.read().get(&range).cloned()
    }

    /// The groups that run here, by range.
    pub(crate) fn open_groups(&self) -> Vec<Arc<Group>> {
        let mut groups: Vec<_> = self.groups.read().values().cloned().collect();
        groups.sort_unstable_by_key(|group| group.range());
        groups
    }

    /// Ids of the groups with Raft state on this node's disk, open or not. Where they cannot be read the node's storage has
    /// failed: without its groups it would wait for leaders that it is to find itself.
    pub fn groups(&self) -> Vec<RangeId> {
        match self.db.groups() {
            Ok(groups) => groups.into_iter().map(RangeId).collect(),
            Err(error) => {
                self.failure.raise("raft groups could not be listed", &error);
                self.groups.read().keys().copied().collect()
            }
        }
    }

    /// Sets who makes the machine when a leader sends its log or snapshot to a group that is not open here. It
    /// is asked once for each group that is then opened. Set it after the groups on disk are open, or let it answer `None` for those.
    pub fn on_unknown_group(&self, make: Arc<UnknownGroup>) {
        *self.unknown.write() = Some(make);
    }

    pub(crate) async fn group_or_create(&self, range: RangeId) -> io::Result<Arc<Group>> {
        if let Some(group) = self.group(range) {
            return Ok(group);
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(group) = self.group(range) {
            return Ok(group);
        }
        let make = self.unknown.read().clone();
        let machine = make.and_then(|make| make(range));
        let Some(machine) = machine else {
            return Err(io::Error::other(format!("range {range} is not on this node")));
        };
        tracing::info!(%range, "a leader brings a new range to this node");
        self.open_new(range, machine).await.map_err(io::Error::other)
    }

    /// Stops a group and deletes its log, for a node that is no member any more. Its last vote stays, so that
    /// the node cannot vote twice in a term if it becomes a member again. The machine's data is the caller's.
    pub async fn remove_group(&self, range: RangeId) -> Result<(), RaftError> {
        let _one_at_a_time = self.opening.lock().await;
        let group = self.groups.write().remove(&range);
        let Some(group) = group else { return Ok(()) };
        group.stop().await;
        group.log.remove().await?;
        Ok(())
    }

    /// True while the disk of the log has only its reserve left: new entries are refused, and what is led here goes to
    /// nodes that have room, if there are enough. Reads and elections go on. It ends by itself when there is room.
    pub fn disk_full(&self) -> bool {
        self.space.is_low()
    }

    /// Tells that storage beside the logs has failed: the process ends, or halts as it is configured.
    pub fn fail(&self, what: &str, error: &(dyn std::error::Error + 'static)) {
        self.failure.raise(what, error);
    }

    /// Why this node's storage failed, where the process goes on all the same.
    pub fn failed(&self) -> Option<String> {
        self.failure.found()
    }

    /// Waits until this node's storage fails.
    pub async fn wait_failed(&self) -> String {
        self.failure.wait().await
    }

    /// What the log store did since the start.
    pub fn log_stats(&self) -> LogStats {
        let counters = &self.flusher.counters;
        LogStats {
            syncs: counters.syncs.load(Ordering::Relaxed),
            entries: counters.entries.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
        }
    }

    /// Hands over what is led here, stops all groups, writes what is queued and closes the log store.
    pub async fn shutdown(&self) {
        let _one_at_a_time = self.opening.lock().await;
        self.stopped.store(true, Ordering::Release);
        self.failure.close();
        let groups: Vec<_> = self.groups.write().drain().map(|(_, group)| group).collect();
        futures::future::join_all(groups.iter().map(|group| group.stop())).await;
        let (flusher, db) = (self.flusher.clone(), self.db.clone());
        let closed = blocking(move || {
            flusher.close();
            let Some(db) = db.close() else { return Ok(()) };
            let until = tokio::time::Instant::now() + CLOSE_WAIT;
            while Arc::strong_count(&db) > 1 && tokio::time::Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "raft log store did not close cleanly");
        }
    }
}

impl Drop for RaftHost {
    fn drop(&mut self) {
        self.flusher.close();
    }
}

/// Watches the disk and hands over when it is full, flushes machines whose logs have grown by bytes rather than by entries, and frees the
/// memory of idle logs.
async fn housekeeping(host: Weak<RaftHost>) {
    let mut ticks = tokio::time::interval(SPACE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        ticks.tick().await;
        let Some(host) = host.upgrade() else { return };
        if host.stopped.load(Ordering::Acquire) {
            return;
        }
        host.space.look();
        if host.disk_full() {
            tokio::spawn(host.clone().hand_over_all());
        }
        for group in host.groups.read().values() {
            group.raise_fatal();
        }
        if tick % LOGS_EACH_TICKS == 0 {
            for group in host.open_groups() {
                look_after(&group, host.config.snapshot_bytes).await;
            }
        }
    }
}

async fn look_after(group: &Group, snapshot_bytes: u64) {
    group.log.trim_when_idle();
    if group.log.unflushed_bytes() >= snapshot_bytes
        && let Err(error) = group.compact().await
    {
        tracing::warn!(range = %group.range(), %error, "raft log could not be compacted");
    }
}
