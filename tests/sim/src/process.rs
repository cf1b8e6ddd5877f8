//! One node: a runtime of its own with all of Karri below the gateway. Dropping the runtime is `kill -9`.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use karri_objstore_maintain::{Fsck, MaintainConfig, Maintenance, OrphanVerdicts};
use karri_objstore_service::{ObjectService, ServiceConfig};
use karri_ring_disk::DiskPath;
use karri_ring_extent::{ExtentConfig, ExtentStore};
use karri_ring_meta::{MetaConfig, MetaNode};
use karri_ring_node::join::Credentials;
use karri_ring_node::membership::{Membership, MembershipConfig, MembershipParts, NodeInfo};
use karri_ring_node::{LayoutSource, Owner, RepairConfig, StorageConfig, StorageNode, StorageParts, Verdict, Verdicts};
use karri_ring_raft::{HostConfig, OnFailedLog, RaftHost};
use karri_ring_rpc::{AddressBook, Router, Transport};
use karri_ring_types::{Clock, ExtentId, NodeId, Rng, SeededRng, Timestamp};
use karri_tests_disk::MemoryDisk;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::host;
use crate::mutant::Mutant;
use crate::transport::SimulatedTransport;
use crate::world::SharedWorld;

/// Wall-clock time at the start of every run.
const EPOCH_MS: u64 = 1_800_000_000_000;
/// Free space below which extents are refused.
const RESERVE_BYTES: u64 = 256 << 10;
/// How long garbage is left alone.
pub(crate) const GARBAGE_AGE: Duration = Duration::from_secs(3);
/// How long a holding is left alone: shorter than slow copies take, so that some of them are refused.
pub(crate) const HOLDING_AGE: Duration = Duration::from_secs(4);
/// Age from which it is asked whether an extent is an orphan.
pub(crate) const ORPHAN_AGE: Duration = Duration::from_secs(6);
/// Least bytes of each part of an upload but the last.
pub(crate) const PART_BYTES_MIN: u64 = 64;
/// Chunks that the scrub reads in a second: all of them in a few.
const SCRUB_CHUNKS_PER_SECOND: u32 = 20;

/// A node's clocks: both may run too fast or too slow, and the wall clock may be wrong.
#[derive(Debug)]
pub(crate) struct NodeClock {
    micros: AtomicU64,
    /// Microseconds of this clock in a second.
    pub(crate) rate: AtomicU64,
    /// Milliseconds that are added to the wall clock.
    pub(crate) ahead_ms: AtomicU64,
}

impl NodeClock {
    fn new() -> Self {
        Self { micros: AtomicU64::new(0), rate: AtomicU64::new(1_000_000), ahead_ms: AtomicU64::new(0) }
    }

    fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(by * self.rate.load(Ordering::SeqCst) / 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let millis = self.micros.load(Ordering::SeqCst) / 1000;
        Timestamp(EPOCH_MS + millis + self.ahead_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }
}

/// What stays of a node when its process dies.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) node: NodeId,
    pub(crate) disk: MemoryDisk,
    pub(crate) clock: Arc<NodeClock>,
    pub(crate) credentials: Credentials,
    /// Heartbeat, shortest and longest election, in milliseconds.
    pub(crate) pace_ms: (u64, (u64, u64)),
    pub(crate) seed: u64,
}

impl Site {
    pub(crate) fn new(credentials: Credentials, pace_ms: (u64, (u64, u64)), seed: u64) -> Self {
        let node = credentials.identity().node;
        Self { node, disk: MemoryDisk::new(), clock: Arc::new(NodeClock::new()), credentials, pace_ms, seed }
    }

    fn path(&self, name: &str) -> DiskPath {
        DiskPath::new(self.disk.shared(), format!("/karri-in-memory/{}", self.node)).join(name)
    }
}

/// The parts of a running node that the simulation talks to.
pub(crate) struct Parts {
    pub(crate) service: Arc<ObjectService>,
    pub(crate) storage: Arc<StorageNode>,
    pub(crate) fsck: Fsck,
    pub(crate) membership: Arc<Membership>,
    pub(crate) meta: Arc<MetaNode>,
    pub(crate) raft: Arc<RaftHost>,
    pub(crate) router: Arc<Router>,
}

/// How often a runtime has had nothing left to do, and who waits for that.
#[derive(Default)]
struct Idle {
    parks: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

/// A runtime that is driven in steps.
pub(crate) struct Stepped {
    runtime: Runtime,
    idle: Arc<Idle>,
}

impl Stepped {
    pub(crate) fn new() -> Self {
        let idle = Arc::new(Idle::default());
        let parked = idle.clone();
        let runtime = Builder::new_current_thread()
            .enable_time()
            .on_thread_park(move || {
                parked.parks.fetch_add(1, Ordering::SeqCst);
                if let Some(waker) = parked.waker.lock().take() {
                    waker.wake();
                }
            })
            .build()
            .expect("a runtime without input and output");
        Self { runtime, idle }
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.runtime.handle().clone()
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Runs what can run at this moment, timers that have ended included.
    pub(crate) fn step(&self) {
        let idle = self.idle.clone();
        // The first time it is idle it looks at its timers; the second time they had nothing more.
        let until = idle.parks.load(Ordering::SeqCst) + 2;
        self.runtime.block_on(std::future::poll_fn(move |context| {
            if idle.parks.load(Ordering::SeqCst) >= until {
                return Poll::Ready(());
            }
            *idle.waker.lock() = Some(context.waker().clone());
            Poll::Pending
        }));
    }
}

/// A running process.
pub(crate) struct Process {
    pub(crate) site: Site,
    pub(crate) run: u64,
    stepped: Stepped,
    parts: Arc<Mutex<Option<Arc<Parts>>>>,
    failure: Arc<Mutex<Option<String>>>,
    /// Since when its storage is known to have failed.
    failed: Cell<Option<Duration>>,
}

impl Process {
    /// Starts a node; it is up once [`Process::parts`] has something. `first` makes the cluster.
    pub(crate) fn start(site: &Site, run: u64, world: &SharedWorld, first: bool) -> Self {
        host::set_time(site.clock.monotonic());
        let stepped = Stepped::new();
        let (parts, failure) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
        let router = Router::new();
        world.lock().join(site.node, run, router.clone(), stepped.handle(), site.disk.clone());
        let (opening, opened, failed) = (site.clone(), parts.clone(), failure.clone());
        let world = world.clone();
        stepped.spawn(async move {
            match open(opening, run, router, world, first).await {
                Ok(parts) => *opened.lock() = Some(Arc::new(parts)),
                Err(error) => *failed.lock() = Some(format!("{error:#}")),
            }
        });
        Self { site: site.clone(), run, stepped, parts, failure, failed: Cell::new(None) }
    }

    pub(crate) fn parts(&self) -> Option<Arc<Parts>> {
        self.parts.lock().clone()
    }

    /// Why it could not start.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.stepped.handle()
    }

    /// Whether its storage failed so long ago that the process is at its end. It cannot be opened either when a disk
    /// fails at its start, which is tried again.
    pub(crate) fn has_failed(&self, last_words: Duration) -> bool {
        let now = self.site.clock.monotonic();
        if self.failed.get().is_none() {
            let running = self.parts.lock().as_ref().is_some_and(|parts| parts.raft.failed().is_some());
            let starting =
                self.failure.lock().is_some() && self.site.disk.counts().failures + self.site.disk.counts().full > 0;
            if running || starting {
                self.failed.set(Some(now));
            }
        }
        self.failed.get().is_some_and(|since| now >= since + last_words)
    }

    /// Lets `by` pass and does what is due.
    pub(crate) fn step(&self, by: Duration) {
        self.site.clock.advance(by);
        host::set_time(self.site.clock.monotonic());
        self.stepped.step();
    }

    /// Ends at once whatever it was doing. Nothing that it had open is open afterwards.
    pub(crate) fn kill(self) {
        self.site.disk.crash();
        host::set_time(self.site.clock.monotonic());
        let disk = self.site.disk.clone();
        drop(self.parts.lock().take());
        drop(self);
        host::with_real_time(|| {
            // Threads that read a snapshot, and those of RocksDB, end by themselves.
            for _ in 0..10_000 {
                if disk.open_stores() == 0 {
                    return;
                }
                karri_tests_disk::do_background_work();
                std::thread::sleep(Duration::from_millis(1));
            }
            panic!("a store stays open after its process has died");
        });
    }
}

async fn open(site: Site, run: u64, router: Arc<Router>, world: SharedWorld, first: bool) -> Result<Parts> {
    let node = site.node;
    let clock: Arc<dyn Clock> = site.clock.clone();
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(site.seed ^ (run << 32)));
    let mutant = world.lock().forgery.mutant;
    let transport: Arc<dyn Transport> =
        Arc::new(SimulatedTransport { node, run, router: router.clone(), world, disk: site.disk.clone() });
    let mut config = HostConfig::new(node, site.path("raft"));
    (config.heartbeat_ms, config.election_ms) = site.pace_ms;
    (config.snapshot_entries, config.kept_entries) = (60, 20);
    config.propose_timeout_ms = 3000;
    config.on_failed_log = OnFailedLog::Halt;
    let raft = RaftHost::open(config, transport.clone(), &router).await.context("open the Raft logs")?;
    let config = MetaConfig { write_buffer_bytes: 256 << 10, ..MetaConfig::new(node, site.path("metadata")) };
    let meta = MetaNode::open(config, raft.clone(), transport.clone(), &router, clock.clone(), rng.clone())
        .await
        .context("open the metadata")?;
    meta.register(ObjectService::EVALUATOR, ObjectService::evaluator());
    meta.register(ObjectService::DIRECTORY, ObjectService::directory_evaluator());
    let membership = membership(&site, &meta, &transport, &router, (&clock, &rng))?;
    let config = ExtentConfig { dir: site.path("extents"), reserve_bytes: RESERVE_BYTES };
    let store = karri_ring_types::blocking(move || ExtentStore::open(config)).await?.context("open the extents")?;
    let host = Arc::downgrade(&raft);
    store.on_failed_write(Box::new(move |error| {
        if let Some(host) = host.upgrade() {
            host.fail("extents could not be written", error);
        }
    }));
    let layouts: Arc<dyn LayoutSource> = membership.clone();
    let parts = StorageParts { store, transport: transport.clone(), layouts, clock: clock.clone(), rng: rng.clone() };
    let repair = RepairConfig {
        interval: Duration::from_secs(3),
        pull_after: Duration::from_secs(1),
        orphan_interval: Duration::from_secs(4),
        orphan_age: ORPHAN_AGE,
        scrub_chunks_per_second: SCRUB_CHUNKS_PER_SECOND,
    };
    let storage = StorageNode::new(parts, StorageConfig { repair, ..StorageConfig::default() }, &router);
    let config = ServiceConfig {
        cluster_key: Some(site.credentials.cluster_key().clone()),
        part_size_bytes_min: PART_BYTES_MIN,
        ..ServiceConfig::default()
    };
    let service = ObjectService::new(meta.client(), storage.client(), clock.clone(), rng.clone(), config);
    let config = MaintainConfig {
        pause: Duration::from_secs(1),
        garbage_age: GARBAGE_AGE,
        holding_age: HOLDING_AGE,
        rounds_between_sweeps: 3,
        ..MaintainConfig::default()
    };
    let fsck = Fsck::new(service.clone(), storage.clone(), clock.clone());
    let maintenance = Maintenance::new(meta.clone(), service.clone(), clock, rng, config);
    meta.start().await?;
    if first && raft.groups().is_empty() {
        meta.bootstrap(2).await.context("make the ranges")?;
        membership.initialise().await.context("make the cluster's records")?;
    }
    // Nothing cancels it: the process is killed.
    let never = CancellationToken::new();
    tokio::spawn(membership.clone().run(never.clone()));
    let verdicts: Arc<dyn Verdicts> = match mutant {
        Some(Mutant::CollectWithoutVerdict) => Arc::new(AlwaysCondemned),
        _ => Arc::new(OrphanVerdicts::new(service.clone())),
    };
    tokio::spawn(storage.clone().run(Some(verdicts), never.clone()));
    tokio::spawn(maintenance.run(never));
    Ok(Parts { service, storage, fsck, membership, meta, raft, router })
}

/// A planted fault: nobody asks the range.
struct AlwaysCondemned;

#[async_trait]
impl Verdicts for AlwaysCondemned {
    async fn verdict(&self, _: &Owner, _: ExtentId) -> Option<Verdict> {
        Some(Verdict::Condemned)
    }
}

fn membership(
    site: &Site,
    meta: &Arc<MetaNode>,
    transport: &Arc<dyn Transport>,
    router: &Router,
    (clock, rng): (&Arc<dyn Clock>, &Arc<dyn Rng>),
) -> Result<Arc<Membership>> {
    let config = MembershipConfig {
        this: NodeInfo {
            id: site.node,
            zone: format!("zone{}", site.node),
            capacity_bytes: 1 << 40,
            rpc_address: address(site.node),
            s3_address: String::new(),
            widths: Vec::new(),
            joined: Timestamp(0),
        },
        replicas: 3,
        address_file: site.path("addresses"),
    };
    let parts = MembershipParts {
        meta: meta.clone(),
        transport: transport.clone(),
        addresses: AddressBook::new(),
        clock: clock.clone(),
        rng: rng.clone(),
    };
    Ok(Membership::open(config, &site.credentials, parts, router)?)
}

/// Under which a node is known; join tokens carry it.
pub(crate) fn address(node: NodeId) -> String {
    format!("node-{node}:9400")
}

/// The node of an address.
pub(crate) fn node_of(address: &str) -> Option<NodeId> {
    address.strip_prefix("node-")?.strip_suffix(":9400")?.parse().ok()
}

/// Draws how long blocking work takes, for all nodes: mostly little, now and then long.
pub(crate) fn simulate_disks(world: &SharedWorld) {
    let world = world.clone();
    karri_ring_types::simulate_blocking(move || {
        // It is called while tasks run, never while the world is locked.
        let mut world = world.lock();
        if world.chance.of_1000(2) {
            world.faults.slow += 1;
            return Duration::from_millis(50 + world.chance.below(300));
        }
        Duration::from_micros(world.chance.below(2000))
    });
}
