//! The faults of a run: what breaks, when, and when it is mended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use karri_ring_types::NodeId;
use karri_tests_disk::{Fault, MemoryDisk};

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::mutant::Mutant;
use crate::world::Weather;

/// Wall clocks are set wrong by up to so much.
const WALL_CLOCK_SPAN_MS: u64 = 1_200_000;
/// Most nodes that there are at a time.
const NODES_MAX: usize = 6;
/// Microseconds in a second of a clock that nearly stands still: for a planted fault.
const STALLED_RATE: u64 = 10_000;

/// What is broken now, and when it is mended.
pub(crate) struct Trouble {
    chance: Chance,
    next: Duration,
    /// Nodes that are down.
    down: BTreeMap<NodeId, Duration>,
    cut_until: Option<Duration>,
    weather_until: Option<Duration>,
    /// Nodes that will crash at a write, and when it is looked whether they have.
    armed: BTreeSet<NodeId>,
    /// Nodes whose disk is full.
    full: BTreeMap<NodeId, Duration>,
    /// Whether bits flip in this run, and where: on one node, lest all copies of an extent be lost. Nor is a disk lost then.
    rots: bool,
    rotten: Option<NodeId>,
    /// Mean pause between two faults.
    pause_ms: u64,
}

impl Trouble {
    pub(crate) fn new(seed: u64) -> Self {
        let chance = Chance::new(seed, 2);
        let pause_ms = 400 + chance.below(2500);
        let rots = chance.of_1000(300);
        Self {
            chance,
            next: Duration::ZERO,
            down: BTreeMap::new(),
            cut_until: None,
            weather_until: None,
            armed: BTreeSet::new(),
            full: BTreeMap::new(),
            rots,
            rotten: None,
            pause_ms,
        }
    }

    /// Mends what is due and breaks something when it is time.
    pub(crate) fn tick(&mut self, cluster: &mut Cluster) {
        let now = cluster.now();
        self.notice_dead(cluster);
        let due: Vec<NodeId> = self.down.iter().filter(|(_, at)| **at <= now).map(|(&node, _)| node).collect();
        for node in due {
            self.down.remove(&node);
            if cluster.mutant() == Some(Mutant::ForgetVotes)
                && let Some(site) = cluster.sites.get_mut(&node)
            {
                site.disk = MemoryDisk::new();
            }
            cluster.world.lock().faults.restarts += 1;
            cluster.start(node, false);
        }
        self.full.retain(|node, until| {
            if *until <= now
                && let Some(site) = cluster.sites.get(node)
            {
                site.disk.set_free(None);
            }
            *until > now
        });
        if self.cut_until.is_some_and(|until| until <= now) {
            self.cut_until = None;
            cluster.world.lock().weather.cut.clear();
            if cluster.mutant() == Some(Mutant::StaleLease) {
                set_rates(cluster);
            }
        }
        if self.weather_until.is_some_and(|until| until <= now) {
            self.weather_until = None;
            let mut world = cluster.world.lock();
            (world.weather.lost, world.weather.late, world.weather.twice) = (0, 0, 0);
        }
        if self.next <= now {
            self.next = now + Duration::from_millis(self.pause_ms / 2 + self.chance.below(self.pause_ms));
            self.break_something(cluster);
        }
    }

    /// Nodes that crashed at a write come back later.
    fn notice_dead(&mut self, cluster: &Cluster) {
        let running = cluster.running();
        for &node in cluster.sites.keys() {
            if !running.contains(&node) && !self.down.contains_key(&node) {
                self.armed.remove(&node);
                let away = Duration::from_millis(100 + self.chance.below(5000));
                self.down.insert(node, cluster.now() + away);
            }
        }
    }

    fn break_something(&mut self, cluster: &mut Cluster) {
        let running = cluster.running();
        let all: Vec<NodeId> = cluster.sites.keys().copied().collect();
        let minority = ((all.len() - 1) / 2).max(1);
        let node = *self.chance.pick(&all);
        let down = self.down.len() + self.armed.len() + cluster.gone.len();
        let may_fall = running.contains(&node) && down < minority;
        match self.chance.below(100) {
            0..14 if may_fall => self.crash(cluster, node),
            14..28 if may_fall => {
                // Among the next writes of its disk.
                let at = cluster.sites[&node].disk.counts().operations + 1 + self.chance.below(40);
                cluster.sites[&node].disk.crash_at(at);
                self.armed.insert(node);
            }
            28..42 => self.partition(cluster, &all),
            42..50 => self.cut_one_way(cluster, &all),
            50..62 => self.storm(cluster),
            62..67 => {
                let rate = 850_000 + self.chance.below(300_000);
                cluster.sites[&node].clock.rate.store(rate, Ordering::SeqCst);
                cluster.world.lock().faults.skews += 1;
            }
            67..72 => {
                let ahead = self.chance.below(WALL_CLOCK_SPAN_MS);
                cluster.sites[&node].clock.ahead_ms.store(ahead, Ordering::SeqCst);
                cluster.world.lock().faults.jumps += 1;
            }
            72..76 => {
                cluster.world.lock().faults.power_cuts += 1;
                running.iter().for_each(|&node| self.crash(cluster, node));
            }
            76..82 if may_fall => {
                let at = cluster.sites[&node].disk.counts().operations + 1 + self.chance.below(20);
                cluster.sites[&node].disk.fail_at(at, Fault::Io);
                cluster.world.lock().faults.io_errors += 1;
                self.armed.insert(node);
            }
            82..87 if may_fall => self.fill(cluster, node),
            87..92 if self.rots => self.flip(cluster, node),
            92..97 if all.len() < NODES_MAX && !cluster.is_joining() => cluster.begin_join(),
            97..100 if may_fall && down == 0 && !self.rots && all.len() > 3 => {
                cluster.world.lock().faults.wipes += 1;
                cluster.lose(node);
                cluster.begin_join();
            }
            _ => {}
        }
    }

    /// Leaves a disk little room for a while: mostly so little that the node refuses writes by itself, or none at all.
    fn fill(&mut self, cluster: &Cluster, node: NodeId) {
        let room = if self.chance.of_1000(700) { 1 << 20 } else { self.chance.below(200 << 10) };
        cluster.sites[&node].disk.set_free(Some(room));
        cluster.world.lock().faults.full += 1;
        self.full.insert(node, cluster.now() + Duration::from_millis(300 + self.chance.below(4000)));
    }

    /// Flips a bit of what a node has of extents.
    fn flip(&mut self, cluster: &Cluster, node: NodeId) {
        let node = *self.rotten.get_or_insert(node);
        let Some(site) = cluster.sites.get(&node) else { return };
        let segments: Vec<_> = site.disk.files();
        let segments: Vec<_> =
            segments.iter().filter(|(path, length)| *length > 0 && path.to_string_lossy().ends_with(".seg")).collect();
        if segments.is_empty() {
            return;
        }
        let (path, length) = self.chance.pick(&segments);
        if site.disk.flip(path, self.chance.below(*length), self.chance.below(8) as u8).is_ok() {
            cluster.world.lock().faults.flipped += 1;
        }
    }

    fn crash(&mut self, cluster: &mut Cluster, node: NodeId) {
        let torn = self.chance.of_1000(500);
        {
            let mut world = cluster.world.lock();
            world.faults.crashes += 1;
            world.faults.torn += u64::from(torn);
        }
        cluster.kill(node, torn);
        self.armed.remove(&node);
        self.down.insert(node, cluster.now() + Duration::from_millis(50 + self.chance.below(5000)));
    }

    fn partition(&mut self, cluster: &Cluster, all: &[NodeId]) {
        let side: BTreeSet<NodeId> = all.iter().copied().filter(|_| self.chance.of_1000(450)).collect();
        let other: BTreeSet<NodeId> = all.iter().copied().filter(|node| !side.contains(node)).collect();
        if side.is_empty() || other.is_empty() {
            return;
        }
        let mut world = cluster.world.lock();
        world.event(format_args!("part {side:?} from {other:?}"));
        world.faults.partitions += 1;
        for &a in &side {
            for &b in &other {
                world.weather.cut.insert((a, b));
                world.weather.cut.insert((b, a));
            }
        }
        drop(world);
        if cluster.mutant() == Some(Mutant::StaleLease) {
            for node in if side.len() < other.len() { &side } else { &other } {
                cluster.sites[node].clock.rate.store(STALLED_RATE, Ordering::SeqCst);
            }
        }
        self.cut_until = Some(cluster.now() + Duration::from_millis(300 + self.chance.below(6000)));
    }

    fn cut_one_way(&mut self, cluster: &Cluster, all: &[NodeId]) {
        let (from, to) = (*self.chance.pick(all), *self.chance.pick(all));
        if from == to {
            return;
        }
        let mut world = cluster.world.lock();
        world.event(format_args!("cut {from}>{to}"));
        world.faults.one_way_cuts += 1;
        world.weather.cut.insert((from, to));
        self.cut_until = Some(cluster.now() + Duration::from_millis(300 + self.chance.below(6000)));
    }

    fn storm(&mut self, cluster: &Cluster) {
        let mut world = cluster.world.lock();
        world.weather.lost = self.chance.below(80);
        world.weather.late = self.chance.below(150);
        world.weather.twice = self.chance.below(100);
        self.weather_until = Some(cluster.now() + Duration::from_millis(500 + self.chance.below(5000)));
    }

    /// All is well from now on.
    pub(crate) fn heal(&mut self, cluster: &mut Cluster) {
        cluster.world.lock().weather = Weather::default();
        set_rates(cluster);
        // Forward, so that nothing has to wait for a time that was told before.
        cluster.set_wall_clocks(WALL_CLOCK_SPAN_MS);
        for site in cluster.sites.values() {
            site.disk.crash_at(u64::MAX);
            site.disk.fail_at(u64::MAX, Fault::Io);
            site.disk.set_free(None);
        }
        self.notice_dead(cluster);
        let down: Vec<NodeId> = std::mem::take(&mut self.down).into_keys().collect();
        for node in down {
            cluster.world.lock().faults.restarts += 1;
            cluster.start(node, false);
        }
        self.armed.clear();
        cluster.supervised = true;
    }
}

/// All clocks run as they should.
fn set_rates(cluster: &Cluster) {
    for site in cluster.sites.values() {
        site.clock.rate.store(1_000_000, Ordering::SeqCst);
    }
}
