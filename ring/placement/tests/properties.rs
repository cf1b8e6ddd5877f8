//! Properties of layouts over random clusters.

use std::collections::{BTreeMap, HashSet};

use karri_ring_placement::{Layout, NodeSpec, PlacementError};
use karri_ring_types::{NodeId, PARTITION_COUNT, PartitionId};
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

fn nodes() -> impl Strategy<Value = Vec<NodeSpec>> {
    let spec = (0..4u8, 1..=4u64);
    proptest::collection::vec(spec, 1..9).prop_map(|specs| {
        let node = |(index, (zone, terabytes)): (usize, (u8, u64))| NodeSpec {
            id: NodeId(index as u64 + 1),
            zone: format!("zone-{zone}"),
            capacity_bytes: terabytes << 40,
        };
        specs.into_iter().enumerate().map(node).collect()
    })
}

fn loads(layout: &Layout) -> BTreeMap<NodeId, u32> {
    let mut loads: BTreeMap<NodeId, u32> = layout.nodes.iter().map(|node| (node.id, 0)).collect();
    for partition in (0..PARTITION_COUNT).map(PartitionId) {
        for owner in layout.owners(partition) {
            *loads.get_mut(owner).expect("an owner is a node") += 1;
        }
    }
    loads
}

proptest! {
    #[test]
    fn copies_are_distinct_and_in_different_zones(nodes in nodes(), replicas in 1..=4u8) {
        let layout = Layout::empty(replicas).next(nodes.clone(), replicas).unwrap();
        let zone = |id: &NodeId| nodes.iter().find(|node| node.id == *id).unwrap().zone.clone();
        let zones: HashSet<String> = nodes.iter().map(|node| node.zone.clone()).collect();
        let copies = usize::from(replicas).min(nodes.len());
        for partition in (0..PARTITION_COUNT).map(PartitionId) {
            let owners = layout.owners(partition);
            prop_assert_eq!(owners.len(), copies);
            prop_assert_eq!(owners.iter().collect::<HashSet<_>>().len(), copies);
            let held: HashSet<String> = owners.iter().map(zone).collect();
            prop_assert!(held.len() >= zones.len().min(copies), "{} zones for {} copies", held.len(), copies);
        }
    }

    #[test]
    fn a_layout_for_the_same_nodes_moves_nothing(nodes in nodes(), replicas in 1..=4u8) {
        let first = Layout::empty(replicas).next(nodes.clone(), replicas).unwrap();
        let second = first.next(nodes, replicas).unwrap();
        prop_assert_eq!(Layout::movement(&first, &second), 0);
        prop_assert_eq!(second.epoch.0, 2);
    }

    #[test]
    fn an_added_node_takes_its_share_and_little_else_moves(count in 4..12u64) {
        let node = |id| NodeSpec { id: NodeId(id), zone: format!("zone-{id}"), capacity_bytes: 1 << 40 };
        let before = Layout::empty(3).next((1..=count).map(node).collect(), 3).unwrap();
        let after = before.next((1..=count + 1).map(node).collect(), 3).unwrap();
        let share = loads(&after)[&NodeId(count + 1)];
        let ideal = 3 * u32::from(PARTITION_COUNT) / u32::try_from(count + 1).unwrap();
        prop_assert!(share.abs_diff(ideal) <= 1, "share {} of ideal {}", share, ideal);
        let moved = Layout::movement(&before, &after);
        prop_assert!(f64::from(moved) <= 1.1 * f64::from(share) + 3.0, "{} moved for a share of {}", moved, share);
    }

    #[test]
    fn a_node_in_a_zone_among_others_takes_its_share_and_little_else_moves(zones in 3..6u64, each in 1..5u64) {
        let node = |id| NodeSpec { id: NodeId(id), zone: format!("zone-{}", id % zones), capacity_bytes: 1 << 40 };
        let before = Layout::empty(3).next((0..zones * each).map(node).collect(), 3).unwrap();
        let after = before.next((0..=zones * each).map(node).collect(), 3).unwrap();
        let (old, new) = (loads(&before), loads(&after));
        let gained: u32 = new.iter().map(|(id, load)| load.saturating_sub(*old.get(id).unwrap_or(&0))).sum();
        let moved = Layout::movement(&before, &after);
        prop_assert!(f64::from(moved) <= 1.1 * f64::from(gained), "{} moved, {} were gained", moved, gained);
    }

    #[test]
    fn what_was_before_does_not_skew_what_follows(first in nodes(), second in nodes(), replicas in 1..=4u8) {
        let fresh = loads(&Layout::empty(replicas).next(second.clone(), replicas).unwrap());
        let grown = Layout::empty(replicas).next(first, replicas).unwrap().next(second, replicas).unwrap();
        for (node, load) in loads(&grown) {
            prop_assert!(load.abs_diff(fresh[&node]) <= 4, "node {} has {} instead of {}", node, load, fresh[&node]);
        }
    }

    #[test]
    fn a_removed_node_moves_only_its_own_copies(count in 5..12u64) {
        let node = |id| NodeSpec { id: NodeId(id), zone: format!("zone-{id}"), capacity_bytes: 1 << 40 };
        let before = Layout::empty(3).next((1..=count).map(node).collect(), 3).unwrap();
        let lost = loads(&before)[&NodeId(1)];
        let after = before.next((2..=count).map(node).collect(), 3).unwrap();
        let moved = Layout::movement(&before, &after);
        prop_assert!(f64::from(moved) <= 1.1 * f64::from(lost) + 3.0, "{} moved, {} were lost", moved, lost);
    }
}

#[test]
fn capacity_is_the_weight() {
    let node =
        |id, terabytes: u64| NodeSpec { id: NodeId(id), zone: format!("zone-{id}"), capacity_bytes: terabytes << 40 };
    let layout = Layout::empty(2).next(vec![node(1, 1), node(2, 1), node(3, 2)], 2).unwrap();
    let loads = loads(&layout);
    assert_eq!(loads[&NodeId(3)], u32::from(PARTITION_COUNT));
    assert_eq!(loads[&NodeId(1)], u32::from(PARTITION_COUNT) / 2);
}

#[test]
fn quorums_and_refusals() {
    let node = |id| NodeSpec { id: NodeId(id), zone: "z".to_owned(), capacity_bytes: 1 };
    let quorum = |count: u64| Layout::empty(3).next((1..=count).map(node).collect(), 3).unwrap().write_quorum();
    assert_eq!([quorum(1), quorum(2), quorum(3), quorum(9)], [1, 2, 2, 2]);
    assert_eq!(Layout::empty(3).next(vec![], 3), Err(PlacementError::NoNodes));
    assert_eq!(Layout::empty(3).next(vec![node(1), node(1)], 3), Err(PlacementError::Duplicate(NodeId(1))));
    let layout = Layout::empty(3).next((1..=5).map(node).collect(), 3).unwrap();
    assert_eq!(layout.choose(7, 3).iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(layout.choose(7, 9).len(), 5);
}
