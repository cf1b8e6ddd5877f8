//! The assignment of partitions to nodes.
//!
//! Each node has a target number of copies (see [`crate::targets`]). What may stay of the layout before does; missing
//! copies go to nodes below their target; then copies move from nodes above to nodes below theirs along paths of least
//! movement, and exchanges that spare movements are made: a minimum-cost flow by shortest paths and cycles.

use std::collections::HashMap;

use karri_ring_types::{NodeId, PARTITION_COUNT};

use crate::layout::NodeSpec;
use crate::steps::Steps;
use crate::targets::{Shares, zone_bounds};

/// Rounds of moves along one path; far more than any change needs.
const ROUNDS_MAX: usize = 10_000;

/// A well-mixed hash of two numbers (the finaliser of SplitMix64).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_add(0x632b_e59b_d9b4_e019);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Owners of each partition, given those before.
pub(crate) fn assign(before: &[Vec<NodeId>], nodes: &[NodeSpec], replicas: usize) -> Vec<Vec<NodeId>> {
    let usable: Vec<&NodeSpec> = nodes.iter().filter(|node| node.capacity_bytes > 0).collect();
    let mut plan = Plan::new(&usable, replicas.min(usable.len()), before);
    plan.keep();
    plan.fill();
    plan.settle();
    let ids = |(partition, mut owners): (u64, Vec<usize>)| {
        // The order is that of a hash, so that every node is the primary of its share, and of the same ones later.
        owners.sort_by_key(|&index| mix(partition, usable[index].id.0));
        owners.into_iter().map(|index| usable[index].id).collect()
    };
    (0..).zip(plan.owners).map(ids).collect()
}

struct Plan {
    copies: usize,
    zones: Vec<usize>,
    bounds: Vec<(usize, usize)>,
    targets: Vec<usize>,
    loads: Vec<usize>,
    /// Owners in the layout before that are still nodes, by partition.
    before: Vec<Vec<usize>>,
    owners: Vec<Vec<usize>>,
}

impl Plan {
    fn new(nodes: &[&NodeSpec], copies: usize, before: &[Vec<NodeId>]) -> Self {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut zones = Vec::new();
        for node in nodes {
            let next = numbers.len();
            zones.push(*numbers.entry(node.zone.as_str()).or_insert(next));
        }
        let mut zone_sizes = vec![0; numbers.len()];
        for &zone in &zones {
            zone_sizes[zone] += 1;
        }
        let indexes: HashMap<NodeId, usize> = nodes.iter().enumerate().map(|(index, node)| (node.id, index)).collect();
        let partitions = usize::from(PARTITION_COUNT);
        let mut still: Vec<Vec<usize>> = vec![Vec::new(); partitions];
        let mut held = vec![0; nodes.len()];
        for (still, before) in still.iter_mut().zip(before) {
            still.extend(before.iter().filter_map(|id| indexes.get(id).copied()));
            for &index in still.iter() {
                held[index] += 1;
            }
        }
        let capacities: Vec<u64> = nodes.iter().map(|node| node.capacity_bytes).collect();
        let bounds = zone_bounds(&zone_sizes, copies);
        let shares = Shares { capacities: &capacities, zones: &zones, bounds: &bounds, copies, held: &held };
        let targets = shares.targets();
        let (loads, owners) = (vec![0; nodes.len()], vec![Vec::new(); partitions]);
        Self { copies, zones, bounds, targets, loads, before: still, owners }
    }

    /// Copies of a partition that a zone holds.
    fn zone_load(&self, partition: usize, zone: usize) -> usize {
        self.owners[partition].iter().filter(|&&index| self.zones[index] == zone).count()
    }

    /// Whether one more copy can go to a node, with enough copies left for the zones that must have some.
    fn may_add(&self, partition: usize, index: usize) -> bool {
        let zone = self.zones[index];
        let owners = &self.owners[partition];
        if owners.len() >= self.copies
            || owners.contains(&index)
            || self.zone_load(partition, zone) >= self.bounds[zone].1
        {
            return false;
        }
        let due = |other: usize| {
            let load = self.zone_load(partition, other) + usize::from(other == zone);
            self.bounds[other].0.saturating_sub(load)
        };
        (0..self.bounds.len()).map(due).sum::<usize>() < self.copies - owners.len()
    }

    /// Whether the copy of a partition on `from` can move to `to`.
    fn may_move(&self, partition: usize, from: usize, to: usize) -> bool {
        let (old, new) = (self.zones[from], self.zones[to]);
        !self.owners[partition].contains(&to)
            && (old == new
                || self.zone_load(partition, new) < self.bounds[new].1
                    && self.zone_load(partition, old) > self.bounds[old].0)
    }

    fn add(&mut self, partition: usize, index: usize) {
        self.owners[partition].push(index);
        self.loads[index] += 1;
    }

    /// Keeps what may stay. Where not all may, the nodes with the most to give away lose.
    fn keep(&mut self) {
        let mut excess: Vec<i64> = self.targets.iter().map(|&target| -(target as i64)).collect();
        for &index in self.before.iter().flatten() {
            excess[index] += 1;
        }
        for partition in 0..self.before.len() {
            let mut candidates = self.before[partition].clone();
            candidates.sort_by_key(|&index| excess[index]);
            for index in candidates {
                if self.may_add(partition, index) {
                    self.add(partition, index);
                } else {
                    excess[index] -= 1;
                }
            }
        }
    }

    /// Gives each partition its missing copies, to the nodes furthest below their targets.
    fn fill(&mut self) {
        for partition in 0..self.owners.len() {
            while self.owners[partition].len() < self.copies {
                let room = |index: usize| self.targets[index] as i64 - self.loads[index] as i64;
                let candidates = (0..self.targets.len()).filter(|&index| self.may_add(partition, index));
                let hash = |index: usize| mix(partition as u64, index as u64);
                let Some(best) = candidates.max_by_key(|&index| (room(index), hash(index))) else { break };
                self.add(partition, best);
            }
        }
    }

    /// Moves copies until every node is at its target and no exchange among nodes spares a movement.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let steps = self.steps();
            let excess = |plan: &Self, index: usize| plan.loads[index] as i64 - plan.targets[index] as i64;
            let path = steps.cheapest_path(
                |index| excess(self, index) > 0, //
                |index| excess(self, index) < 0,
            );
            if let Some(path) = path {
                let (first, last) = (path[0], path[path.len() - 1]);
                let times = excess(self, first).min(-excess(self, last));
                if self.shift(&steps, &path, usize::try_from(times).unwrap_or(0)) > 0 {
                    continue;
                }
            }
            let Some(cycle) = steps.sparing_cycle() else { return };
            if self.shift(&steps, &cycle, usize::MAX) == 0 {
                return;
            }
        }
    }

    /// Moves copies along a path, at most `times`; returns how often it went.
    fn shift(&mut self, steps: &Steps, path: &[usize], times: usize) -> usize {
        let edges: Vec<(usize, usize, i32)> =
            path.windows(2).filter_map(|pair| Some((pair[0], pair[1], steps.cost(pair[0], pair[1])?))).collect();
        let choices: Vec<Vec<usize>> = edges
            .iter()
            .map(|&(from, to, cost)| {
                let fits = |&partition: &usize| {
                    self.owners[partition].contains(&from)
                        && self.cost(partition, from, to) == cost
                        && self.may_move(partition, from, to)
                };
                (0..self.owners.len()).filter(fits).collect()
            })
            .collect();
        let times = choices.iter().map(Vec::len).min().unwrap_or(0).min(times);
        for turn in 0..times {
            for (&(from, to, _), choice) in edges.iter().zip(&choices) {
                let partition = choice[turn];
                // A partition that stands in two edges may have changed; the next round sees to what is left.
                if self.may_move(partition, from, to)
                    && let Some(place) = self.owners[partition].iter().position(|&index| index == from)
                {
                    self.owners[partition][place] = to;
                    self.loads[from] -= 1;
                    self.loads[to] += 1;
                }
            }
        }
        times
    }

    /// Movements that a step of one copy adds: -1 when it takes a copy back to where it was.
    fn cost(&self, partition: usize, from: usize, to: usize) -> i32 {
        let before = &self.before[partition];
        i32::from(before.contains(&from)) - i32::from(before.contains(&to))
    }

    /// For each pair of nodes the cost of the cheapest move of a copy from one to the other.
    fn steps(&self) -> Steps {
        let count = self.targets.len();
        let mut costs: Vec<Option<i32>> = vec![None; count * count];
        for (partition, owners) in self.owners.iter().enumerate() {
            for &from in owners {
                for to in 0..count {
                    let cost = self.cost(partition, from, to);
                    let slot = &mut costs[from * count + to];
                    if slot.is_none_or(|known| cost < known) && self.may_move(partition, from, to) {
                        *slot = Some(cost);
                    }
                }
            }
        }
        Steps { count, costs }
    }
}
