//! The assignment of partitions to nodes.
//!
//! Each node has a target number of copies in proportion to its capacity, bounded by one copy of each partition. Copies
//! that may stay do; those of nodes above their target, or that share a zone while another zone is free, move.

use std::collections::HashMap;

use karri_ring_types::{NodeId, PARTITION_COUNT};

use crate::layout::NodeSpec;

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
    let copies = replicas.min(usable.len());
    let mut plan = Plan::new(&usable, copies);
    for partition in 0..usize::from(PARTITION_COUNT) {
        plan.keep(partition, before.get(partition).map_or(&[], Vec::as_slice));
    }
    plan.fill();
    plan.settle();
    plan.owners.into_iter().map(|owners| owners.into_iter().map(|index| usable[index].id).collect()).collect()
}

struct Plan {
    copies: usize,
    ids: Vec<NodeId>,
    zones: Vec<usize>,
    zone_sizes: Vec<usize>,
    targets: Vec<usize>,
    loads: Vec<usize>,
    owners: Vec<Vec<usize>>,
}

impl Plan {
    fn new(nodes: &[&NodeSpec], copies: usize) -> Self {
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
        let capacities: Vec<u64> = nodes.iter().map(|node| node.capacity_bytes).collect();
        Self {
            copies,
            ids: nodes.iter().map(|node| node.id).collect(),
            targets: targets(&capacities, &zones, &zone_sizes, copies),
            zones,
            zone_sizes,
            loads: vec![0; nodes.len()],
            owners: vec![Vec::new(); usize::from(PARTITION_COUNT)],
        }
    }

    /// Keeps what may stay of a partition's copies.
    fn keep(&mut self, partition: usize, before: &[NodeId]) {
        for node in before {
            if let Some(index) = self.ids.iter().position(|id| id == node)
                && self.owners[partition].len() < self.copies
                && self.may_hold(partition, index)
            {
                self.put(partition, index);
            }
        }
    }

    /// A further copy goes to one of the zones that have the fewest of those with a node to spare.
    fn may_hold(&self, partition: usize, index: usize) -> bool {
        let owners = &self.owners[partition];
        let held = |zone: usize| owners.iter().filter(|&&other| self.zones[other] == zone).count();
        let spare = (0..self.zone_sizes.len()).filter(|&zone| held(zone) < self.zone_sizes[zone]);
        let fewest = spare.map(held).min().unwrap_or(0);
        !owners.contains(&index) && held(self.zones[index]) <= fewest
    }

    fn put(&mut self, partition: usize, index: usize) {
        self.owners[partition].push(index);
        self.loads[index] += 1;
    }

    /// The node furthest below its target that may take a copy.
    fn candidate(&self, partition: usize) -> Option<usize> {
        let room = |index: usize| self.targets[index] as i64 - self.loads[index] as i64;
        let seed = partition as u64;
        (0..self.ids.len())
            .filter(|&index| self.may_hold(partition, index))
            .max_by_key(|&index| (room(index), mix(seed, self.ids[index].0)))
    }

    fn fill(&mut self) {
        for partition in 0..self.owners.len() {
            while self.owners[partition].len() < self.copies {
                match self.candidate(partition) {
                    Some(index) => self.put(partition, index),
                    None => break,
                }
            }
        }
    }

    /// Moves single copies from nodes above their target to nodes below, where zones permit.
    fn settle(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for partition in 0..self.owners.len() {
                for place in 0..self.owners[partition].len() {
                    let from = self.owners[partition][place];
                    if self.loads[from] <= self.targets[from] {
                        continue;
                    }
                    self.owners[partition].remove(place);
                    self.loads[from] -= 1;
                    let below = (0..self.ids.len())
                        .find(|&index| self.loads[index] < self.targets[index] && self.may_hold(partition, index));
                    moved |= below.is_some();
                    let to = below.unwrap_or(from);
                    self.owners[partition].insert(place, to);
                    self.loads[to] += 1;
                }
            }
        }
    }
}

/// Most copies of one partition that each zone holds when they are spread as evenly as zones' sizes permit.
fn zone_bounds(zone_sizes: &[usize], copies: usize) -> Vec<usize> {
    let holds = |level: usize| zone_sizes.iter().map(|&size| size.min(level)).sum::<usize>();
    let level = (1..=copies).find(|&level| holds(level) >= copies).unwrap_or(copies);
    zone_sizes.iter().map(|&size| size.min(level)).collect()
}

/// Copies that each node should hold: its share by capacity, where no node holds more than one copy of each partition
/// and no zone more than its bound.
fn targets(capacities: &[u64], zones: &[usize], zone_sizes: &[usize], copies: usize) -> Vec<usize> {
    let partitions = f64::from(PARTITION_COUNT);
    let bounds = zone_bounds(zone_sizes, copies);
    let total = partitions * copies as f64;
    let mut share = vec![0.0; capacities.len()];
    let mut open: Vec<bool> = vec![true; capacities.len()];
    // Water-filling: what a bounded node or zone cannot take is shared by the rest.
    for _ in 0..=capacities.len() {
        let fixed: f64 = (0..share.len()).filter(|&i| !open[i]).map(|i| share[i]).sum();
        let weight: f64 = (0..share.len()).filter(|&i| open[i]).map(|i| capacities[i] as f64).sum();
        if weight <= 0.0 {
            break;
        }
        for index in (0..share.len()).filter(|&i| open[i]).collect::<Vec<_>>() {
            share[index] = (total - fixed) * capacities[index] as f64 / weight;
        }
        let mut bounded = false;
        for index in 0..share.len() {
            if open[index] && share[index] > partitions {
                share[index] = partitions;
                open[index] = false;
                bounded = true;
            }
        }
        for (zone, &zone_bound) in bounds.iter().enumerate() {
            let members: Vec<usize> = (0..share.len()).filter(|&i| zones[i] == zone).collect();
            let held: f64 = members.iter().map(|&i| share[i]).sum();
            let bound = partitions * zone_bound as f64;
            if held > bound * (1.0 + 1e-9) && members.iter().any(|&i| open[i]) {
                for &index in &members {
                    share[index] *= bound / held;
                    open[index] = false;
                }
                bounded = true;
            }
        }
        if !bounded {
            break;
        }
    }
    round(&share, total)
}

/// Whole numbers near the shares with the same sum (largest remainders).
fn round(share: &[f64], total: f64) -> Vec<usize> {
    let mut whole: Vec<usize> = share.iter().map(|value| value.floor() as usize).collect();
    let mut rest = (total.round() as usize).saturating_sub(whole.iter().sum());
    let mut order: Vec<usize> = (0..share.len()).collect();
    order.sort_by(|&a, &b| share[b].fract().total_cmp(&share[a].fract()).then(a.cmp(&b)));
    for &index in order.iter().cycle().take(share.len() * 2) {
        if rest == 0 {
            break;
        }
        if whole[index] < usize::from(PARTITION_COUNT) {
            whole[index] += 1;
            rest -= 1;
        }
    }
    whole
}
