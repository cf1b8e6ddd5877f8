//! Nodes on disks in memory lose their power at each named step of a snapshot: when a log is purged behind what was flushed,
//! and when a node that was away gets all at once. Afterwards every acknowledged row is there, on that node too.
//!
//! One test after the other in one process: what is armed is armed for all of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use karri_ring_meta::SYSTEM_RANGE;
use karri_ring_raft::Group;
use karri_ring_rpc::MemoryNetwork;
use karri_ring_types::{ManualClock, NodeId, RangeId, SeededRng, Step, Timestamp, at_step};
use karri_tests_crash::node::{Node, PATIENCE, Site, closed};

const NODES: u64 = 3;
const PACE_MS: (u64, (u64, u64)) = (60, (400, 800));
/// More than the log keeps behind a snapshot.
const ROWS: u8 = 120;
const WRITE_WAIT: Duration = Duration::from_secs(2);

/// What a crash leaves of what was not synced: nothing, or some of it.
#[derive(Clone, Copy, Debug)]
enum Left {
    Nothing,
    Torn(u64),
}

struct World {
    network: MemoryNetwork,
    clock: Arc<ManualClock>,
    sites: Vec<Site>,
    nodes: Vec<Option<Node>>,
    /// What was acknowledged.
    rows: BTreeMap<u8, Bytes>,
}

fn value(key: u8) -> Bytes {
    Bytes::from(vec![key; 2000])
}

async fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !seen() {
        assert!(tokio::time::Instant::now() < end, "not seen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl World {
    async fn start() -> Self {
        let sites: Vec<Site> = (1..=NODES).map(|id| Site::new(id, PACE_MS)).collect();
        let (network, clock) = (MemoryNetwork::new(), Arc::new(ManualClock::new(Timestamp(1_700_000_000_000))));
        let mut world = Self { network, clock, sites, nodes: Vec::new(), rows: BTreeMap::new() };
        for place in 0..world.sites.len() {
            world.nodes.push(None);
            world.start_node(place).await;
        }
        world.node(0).meta.bootstrap(1).await.expect("bootstrap");
        world.place(0).await;
        world
    }

    async fn start_node(&mut self, place: usize) {
        let node = self.try_node(place).await.expect("the node opens");
        self.nodes[place] = Some(node);
    }

    /// Starts a node whose disk may crash meanwhile.
    async fn try_node(&self, place: usize) -> anyhow::Result<Node> {
        let started = Node::start(&self.sites[place], &self.network, self.clock.clone()).await;
        if started.is_err() {
            closed(&self.sites[place].disk).await;
        }
        let node = started?;
        node.meta.client().set_seeds(self.sites.iter().map(|site| site.id).collect());
        Ok(node)
    }

    async fn stop_node(&mut self, place: usize) {
        self.nodes[place].take().expect("it runs").stop().await;
    }

    fn node(&self, place: usize) -> &Node {
        self.nodes[place].as_ref().expect("it runs")
    }

    /// Has all ranges on all nodes, led by one of them.
    async fn place(&self, leader: usize) {
        let mut wanted: Vec<NodeId> = self.sites.iter().map(|site| site.id).collect();
        wanted.rotate_left(leader);
        let choose = |_: RangeId, _: usize| wanted.clone();
        let placed = async {
            loop {
                for node in self.nodes.iter().flatten() {
                    node.meta.place(&choose).await;
                }
                let ranges = self.node(leader).meta.status();
                let led = |range: &karri_ring_meta::RangeStatus| range.leader == Some(wanted[0]);
                if ranges.len() == 2 && ranges.iter().all(|range| range.voters.len() == wanted.len() && led(range)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, placed).await.expect("the ranges are where they should be");
    }

    /// What a node says of the log of the rows.
    fn log(&self, place: usize, said: impl Fn(&Group) -> u64) -> u64 {
        let raft = &self.node(place).raft;
        let rows = raft.groups().into_iter().filter(|range| *range != SYSTEM_RANGE);
        rows.filter_map(|range| raft.group(range)).map(|group| said(&group)).max().expect("the range of the rows")
    }

    /// Writes rows until `enough`; what is acknowledged is noted.
    async fn write(&mut self, enough: impl Fn() -> bool) {
        for key in 0..ROWS {
            if enough() {
                return;
            }
            if self.node(0).write_pair(&[key], Some(value(key)), WRITE_WAIT).await.is_ok() {
                self.rows.insert(key, value(key));
            }
        }
    }

    /// The power of a node is gone; what it had not synced is lost.
    fn power_up(&self, place: usize, left: Left) {
        match left {
            Left::Nothing => self.sites[place].disk.restart(),
            Left::Torn(seed) => self.sites[place].disk.restart_torn(&SeededRng::new(seed)),
        }
    }

    /// Reads every acknowledged row from a node that leads.
    async fn check(&self, place: usize) {
        self.place(place).await;
        for (key, value) in &self.rows {
            let found = self.node(place).read_pair(&[*key]).await.expect("the node reads");
            assert_eq!(found, [Some(value.clone()), Some(value.clone())], "row {key} at node {}", place + 1);
        }
    }

    async fn stop(mut self) {
        for place in 0..self.nodes.len() {
            self.stop_node(place).await;
        }
    }
}

/// A node that was away gets a snapshot, and its power goes at the step.
async fn crash_in_install(step: Step, left: Left) {
    let mut world = World::start().await;
    let away = world.sites.len() - 1;
    let known = world.log(away, Group::applied_index);
    world.stop_node(away).await;
    world.write(|| false).await;
    assert_eq!(world.rows.len(), usize::from(ROWS), "two of three acknowledge");
    // Whoever leads when it comes back has no log for it any more.
    for place in 0..away {
        until("the log is purged", || world.log(place, Group::purged_index) > known).await;
    }
    let (disk, passed) = (world.sites[away].disk.clone(), Arc::new(AtomicBool::new(false)));
    let seen = passed.clone();
    let armed = at_step(step, move || {
        disk.crash();
        seen.store(true, Ordering::SeqCst);
    });
    // It may come to the step before all of it is open.
    let started = world.try_node(away).await;
    until(&format!("{step} is passed"), || passed.load(Ordering::SeqCst)).await;
    drop(armed);
    match started {
        Ok(node) => node.stop().await,
        Err(_) => world.network.remove(world.sites[away].id),
    }
    world.power_up(away, left);
    world.start_node(away).await;
    world.check(away).await;
    world.stop().await;
}

/// The power of all nodes goes when one of them is at the step.
async fn crash_in_purge(step: Step, left: Left) {
    let mut world = World::start().await;
    let (disks, passed) =
        (world.sites.iter().map(|site| site.disk.clone()).collect::<Vec<_>>(), AtomicBool::new(false));
    let passed = Arc::new(passed);
    let seen = passed.clone();
    let armed = at_step(step, move || {
        disks.iter().for_each(|disk| disk.crash());
        seen.store(true, Ordering::SeqCst);
    });
    let enough = passed.clone();
    world.write(move || enough.load(Ordering::SeqCst)).await;
    assert!(passed.load(Ordering::SeqCst), "{step} was never passed");
    drop(armed);
    for place in 0..world.nodes.len() {
        world.stop_node(place).await;
    }
    for place in 0..world.nodes.len() {
        world.power_up(place, left);
        world.start_node(place).await;
    }
    for place in 0..world.nodes.len() {
        world.check(place).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_at_any_step_of_a_snapshot_lose_nothing() {
    for step in Step::ALL.iter().copied().filter(|step| step.name().starts_with("snapshot-")) {
        for left in [Left::Nothing, Left::Torn(1), Left::Torn(2)] {
            println!("{step}, {left:?}");
            match step {
                Step::SnapshotFlushed | Step::SnapshotPurged => crash_in_purge(step, left).await,
                _ => crash_in_install(step, left).await,
            }
        }
    }
}
