//! Random sequences of changes of a cluster: each epoch's layout is what a naive description of it allows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use karri_ring_placement::{Layout, NodeSpec, PlacementError};
use karri_ring_types::{NodeId, PARTITION_COUNT, PartitionId, Redundancy};
use karri_tests_model::{Outcome, Suite};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

const SUITE: Suite = Suite {
    name: "layouts",
    command: "-p karri-ring-placement --test model layouts_are_as_a_model_allows",
    folder: env!("CARGO_MANIFEST_DIR"),
    share: 2500,
};

/// Difference of a node's load from its share, in copies, that rounding may leave.
const SHARE_SLACK: f64 = 4.0;

#[derive(Clone, Debug)]
enum Step {
    Add {
        zone: u8,
        weight: u64,
    },
    Remove {
        pick: u8,
    },
    Weigh {
        pick: u8,
        weight: u64,
    },
    Replicas(u8),
    Width(u8),
    /// The same again: nothing moves.
    Same,
    /// What cannot be made leaves the layout as it is.
    Refused {
        twice: bool,
    },
}

fn steps() -> impl Strategy<Value = (u8, Vec<Step>)> + Sync {
    let weight = || prop_oneof![4 => Just(4u64), 1 => 1..9u64];
    let step = prop_oneof![
        6 => (0..4u8, weight()).prop_map(|(zone, weight)| Step::Add { zone, weight }),
        3 => any::<u8>().prop_map(|pick| Step::Remove { pick }),
        1 => (any::<u8>(), prop_oneof![Just(0u64), 1..9u64]).prop_map(|(pick, weight)| Step::Weigh { pick, weight }),
        1 => (1..5u8).prop_map(Step::Replicas),
        1 => (1..7u8).prop_map(Step::Width),
        1 => Just(Step::Same),
        1 => any::<bool>().prop_map(|twice| Step::Refused { twice }),
    ];
    (1..4u8, vec(step, 1..10))
}

/// What is wrong with the system on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Zones are not told apart.
    ZonesForgotten,
    /// Each epoch begins with nothing.
    EpochBeforeForgotten,
    /// A node that went is still given copies.
    RemovalForgotten,
    /// All nodes have the same weight.
    WeightsForgotten,
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Outcome {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?} instead of {expected:?}")),
    }
}

fn run((replicas, steps): (u8, Vec<Step>), fault: Fault) -> Outcome {
    let node = |id: u64, zone: u8, weight: u64| NodeSpec {
        id: NodeId(id),
        zone: format!("zone-{zone}"),
        capacity_bytes: weight << 40,
    };
    let (mut replicas, mut next, mut widths) = (replicas, 1, BTreeSet::new());
    let mut layout = Layout::empty(replicas);
    let mut nodes: Vec<NodeSpec> = Vec::new();
    for (at, step) in steps.into_iter().enumerate() {
        let told = format!("step {at} {step:?} with {} nodes", nodes.len());
        let mut sent = Vec::new();
        match step {
            Step::Add { zone, weight } => {
                nodes.push(node(next, zone, weight));
                next += 1;
            }
            Step::Remove { pick } if nodes.len() > 1 => {
                let gone = nodes.remove(usize::from(pick) % nodes.len());
                if fault == Fault::RemovalForgotten {
                    sent.push(gone);
                }
            }
            Step::Weigh { pick, weight } if nodes.len() > 1 => {
                let at = usize::from(pick) % nodes.len();
                nodes[at].capacity_bytes = weight << 40;
            }
            Step::Replicas(count) => replicas = count,
            Step::Width(width) => drop(widths.insert(width)),
            Step::Refused { twice } => {
                let twice_one = nodes.first().filter(|_| twice).map(|node| vec![node.clone(), node.clone()]);
                let refused = layout.next(twice_one.clone().unwrap_or_default(), replicas);
                let expected = match twice_one {
                    Some(nodes) => PlacementError::Duplicate(nodes[0].id),
                    None => PlacementError::NoNodes,
                };
                same("refusal", &refused.err(), &Some(expected)).map_err(|why| format!("{told}: {why}"))?;
                continue;
            }
            Step::Same | Step::Remove { .. } | Step::Weigh { .. } => {}
        }
        sent.extend(nodes.iter().cloned());
        spoil(&mut sent, fault);
        let mut before = layout.clone();
        if fault == Fault::EpochBeforeForgotten {
            before = Layout::empty(replicas);
            before.epoch = layout.epoch;
        }
        let all: Vec<u8> = widths.iter().copied().collect();
        match before.next_with(sent, replicas, &all) {
            Err(error) => {
                let none = nodes.iter().all(|node| node.capacity_bytes == 0);
                same("refusal", &(error, none), &(PlacementError::NoNodes, true))
                    .map_err(|why| format!("{told}: {why}"))?;
            }
            Ok(after) => {
                check(&layout, &after, &nodes, replicas, &widths).map_err(|why| format!("{told}: {why}"))?;
                layout = after;
            }
        }
    }
    Ok(())
}

fn spoil(sent: &mut [NodeSpec], fault: Fault) {
    for node in sent {
        match fault {
            Fault::ZonesForgotten => node.zone = "zone".to_owned(),
            Fault::WeightsForgotten => node.capacity_bytes = node.capacity_bytes.min(1 << 40),
            _ => {}
        }
    }
}

fn partitions() -> impl Iterator<Item = PartitionId> {
    (0..PARTITION_COUNT).map(PartitionId)
}

/// Copies that the fullest, the next... zone has when so many are spread over zones of these sizes.
fn fair(sizes: &[usize], copies: usize) -> Vec<usize> {
    let mut loads = vec![0; sizes.len()];
    for _ in 0..copies {
        let open = (0..sizes.len()).filter(|&zone| loads[zone] < sizes[zone]);
        if let Some(zone) = open.min_by_key(|&zone| loads[zone]) {
            loads[zone] += 1;
        }
    }
    loads.retain(|load| *load > 0);
    loads.sort_unstable();
    loads
}

fn check(before: &Layout, after: &Layout, nodes: &[NodeSpec], replicas: u8, widths: &BTreeSet<u8>) -> Outcome {
    same("epoch", &after.epoch.0, &(before.epoch.0 + 1))?;
    let usable: Vec<&NodeSpec> = nodes.iter().filter(|node| node.capacity_bytes > 0).collect();
    let zones: BTreeMap<NodeId, &str> = usable.iter().map(|node| (node.id, node.zone.as_str())).collect();
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for zone in zones.values() {
        *sizes.entry(zone).or_default() += 1;
    }
    let sizes: Vec<usize> = sizes.into_values().collect();
    let holders: Vec<Vec<NodeId>> = partitions().map(|partition| after.owners(partition).to_vec()).collect();
    spread(&holders, &zones, &sizes, usize::from(replicas))?;
    shares(&holders, &usable, sizes.len(), usize::from(replicas))?;
    for &width in widths {
        ring(before, after, width, &zones, &sizes)?;
    }
    let alike = before.nodes == after.nodes && before.replicas == after.replicas && before.widths() == after.widths();
    if alike {
        same("copies that move for nothing", &Layout::movement(before, after), &0)?;
    }
    moves(before, after)
}

/// Copies are on nodes that there are, distinct, in as many zones as can be.
fn spread(holders: &[Vec<NodeId>], zones: &BTreeMap<NodeId, &str>, sizes: &[usize], copies: usize) -> Outcome {
    let wanted = fair(sizes, copies);
    for (partition, owners) in holders.iter().enumerate() {
        let distinct: BTreeSet<NodeId> = owners.iter().copied().collect();
        same("distinct copies", &distinct.len(), &copies.min(zones.len()))?;
        same("copies", &owners.len(), &distinct.len())?;
        let mut loads: BTreeMap<&str, usize> = BTreeMap::new();
        for owner in owners {
            let zone = zones.get(owner).ok_or_else(|| format!("partition {partition} is on {owner}, which is gone"))?;
            *loads.entry(zone).or_default() += 1;
        }
        let mut loads: Vec<usize> = loads.into_values().collect();
        loads.sort_unstable();
        same(&format!("copies of partition {partition} by zone"), &loads, &wanted)?;
    }
    Ok(())
}

/// With a zone for each node nothing is in the way of shares: they follow the weights, up to one copy of everything.
fn shares(holders: &[Vec<NodeId>], usable: &[&NodeSpec], zones: usize, copies: usize) -> Outcome {
    if zones != usable.len() {
        return Ok(());
    }
    let mut loads: BTreeMap<NodeId, f64> = usable.iter().map(|node| (node.id, 0.0)).collect();
    for owner in holders.iter().flatten() {
        *loads.entry(*owner).or_default() += 1.0;
    }
    let all = f64::from(PARTITION_COUNT);
    let (mut rest, mut open) = (all * copies.min(usable.len()) as f64, usable.to_vec());
    // Whoever would have more than everything has everything.
    loop {
        let sum: f64 = open.iter().map(|node| node.capacity_bytes as f64).sum();
        let share = |node: &&NodeSpec| rest * node.capacity_bytes as f64 / sum;
        let (above, below): (Vec<&NodeSpec>, Vec<&NodeSpec>) = open.iter().copied().partition(|node| share(node) > all);
        if above.is_empty() {
            for node in below {
                let (load, ideal) = (loads[&node.id], share(&node));
                if (load - ideal).abs() > SHARE_SLACK {
                    return Err(format!("node {} has {load} copies, its share is {ideal}", node.id));
                }
            }
            return Ok(());
        }
        rest -= all * above.len() as f64;
        open = below;
    }
}

/// A ring's places: as the owners, and who stays keeps its place.
fn ring(before: &Layout, after: &Layout, width: u8, zones: &BTreeMap<NodeId, &str>, sizes: &[usize]) -> Outcome {
    let way = Redundancy::Copies(width);
    let places: Vec<Vec<Option<NodeId>>> = partitions().map(|partition| after.places(partition, way)).collect();
    let holders: Vec<Vec<NodeId>> = places.iter().map(|places| places.iter().flatten().copied().collect()).collect();
    spread(&holders, zones, sizes, usize::from(width))?;
    for (partition, places) in partitions().zip(&places) {
        same("places", &places.len(), &usize::from(width))?;
        for (place, node) in places.iter().enumerate() {
            let Some(node) = node else { continue };
            same("place of a node", &after.place_of(*node, partition, way), &Some(place))?;
            let held = before.place_of(*node, partition, way);
            same("place of a node that stays", &held.unwrap_or(place), &place)?;
        }
    }
    Ok(())
}

/// One node of the usual weight more or less, each in a zone of its own: little moves that need not.
fn moves(before: &Layout, after: &Layout) -> Outcome {
    let is_plain = |layout: &Layout| {
        let zones: BTreeSet<&str> = layout.nodes.iter().map(|node| node.zone.as_str()).collect();
        zones.len() == layout.nodes.len() && layout.nodes.iter().all(|node| node.capacity_bytes == 4 << 40)
    };
    let differs = before.nodes.len().abs_diff(after.nodes.len()) == 1 && before.replicas == after.replicas;
    // Rings move copies of their own.
    if !differs || !after.widths().is_empty() || !is_plain(before) || !is_plain(after) {
        return Ok(());
    }
    let load = |layout: &Layout, node: NodeId| layout.partitions_of(node).count();
    let gained = |node: &NodeSpec| load(after, node.id).saturating_sub(load(before, node.id));
    let needed: usize = after.nodes.iter().map(gained).sum();
    let moved = Layout::movement(before, after);
    match f64::from(moved) <= 1.1 * needed as f64 + 3.0 {
        true => Ok(()),
        false => Err(format!("{moved} copies move where {needed} need to")),
    }
}

#[test]
fn layouts_are_as_a_model_allows() {
    SUITE.run(steps(), |steps| run(steps, Fault::None));
}

#[test]
fn planted_faults_of_layouts_are_found() {
    for fault in [Fault::ZonesForgotten, Fault::EpochBeforeForgotten, Fault::RemovalForgotten, Fault::WeightsForgotten]
    {
        SUITE.catches(&format!("{fault:?}"), steps(), |steps| run(steps, fault));
    }
}
