//! The faults of a run: what breaks, when, and when it is mended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use karri_ring_types::NodeId;

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::world::Weather;

/// Wall clocks begin this far ahead, so that they can be set back.
const WALL_CLOCK_SPAN_MS: u64 = 1_200_000;

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
    /// Mean pause between two faults.
    pause_ms: u64,
}

impl Trouble {
    pub(crate) fn new(seed: u64) -> Self {
        let chance = Chance::new(seed, 2);
        let pause_ms = 400 + chance.below(2500);
        Self {
            chance,
            next: Duration::ZERO,
            down: BTreeMap::new(),
            cut_until: None,
            weather_until: None,
            armed: BTreeSet::new(),
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
            cluster.world.lock().faults.restarts += 1;
            cluster.start(node, false);
        }
        if self.cut_until.is_some_and(|until| until <= now) {
            self.cut_until = None;
            cluster.world.lock().weather.cut.clear();
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
        let minority = (all.len() - 1) / 2;
        let node = *self.chance.pick(&all);
        let may_fall = running.contains(&node) && self.down.len() + self.armed.len() < minority.max(1);
        match self.chance.below(100) {
            0..18 if may_fall => self.crash(cluster, node),
            18..36 if may_fall => {
                // Among the next writes of its disk.
                let at = cluster.sites[&node].disk.counts().operations + 1 + self.chance.below(40);
                cluster.sites[&node].disk.crash_at(at);
                self.armed.insert(node);
            }
            36..52 => self.partition(cluster, &all),
            52..62 => self.cut_one_way(cluster, &all),
            62..77 => self.storm(cluster),
            77..84 => {
                let rate = 850_000 + self.chance.below(300_000);
                cluster.sites[&node].clock.rate.store(rate, Ordering::SeqCst);
                cluster.world.lock().faults.skews += 1;
            }
            84..91 => {
                let ahead = self.chance.below(WALL_CLOCK_SPAN_MS);
                cluster.sites[&node].clock.ahead_ms.store(ahead, Ordering::SeqCst);
                cluster.world.lock().faults.jumps += 1;
            }
            91..95 => running.iter().for_each(|&node| self.crash(cluster, node)),
            _ => {}
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
        for site in cluster.sites.values() {
            site.clock.rate.store(1_000_000, Ordering::SeqCst);
            site.disk.crash_at(u64::MAX);
        }
        self.notice_dead(cluster);
        let down: Vec<NodeId> = std::mem::take(&mut self.down).into_keys().collect();
        for node in down {
            cluster.world.lock().faults.restarts += 1;
            cluster.start(node, false);
        }
        self.armed.clear();
    }
}
