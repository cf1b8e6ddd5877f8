//! A table of partitions to nodes in fixed places, for extents that are not held by as many nodes as the cluster keeps
//! copies.

use karri_ring_types::{NodeId, PARTITION_COUNT, PartitionId};
use serde::{Deserialize, Serialize};

use crate::assign;
use crate::layout::NodeSpec;

/// Places of every partition. A node keeps its place from one epoch to the next, since the place says which shard of a
/// stripe it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ring {
    pub(crate) width: u8,
    places: Vec<Vec<Option<NodeId>>>,
}

impl Ring {
    pub(crate) fn empty(width: u8) -> Self {
        Self { width, places: vec![vec![None; usize::from(width)]; usize::from(PARTITION_COUNT)] }
    }

    /// The ring of the following epoch.
    pub(crate) fn next(&self, nodes: &[NodeSpec]) -> Self {
        let before: Vec<Vec<NodeId>> =
            self.places.iter().map(|places| places.iter().flatten().copied().collect()).collect();
        let owners = assign::assign(&before, nodes, usize::from(self.width));
        let places = self.places.iter().zip(owners).map(|(before, owners)| seat(before, owners)).collect();
        Self { width: self.width, places }
    }

    pub(crate) fn places(&self, partition: PartitionId) -> &[Option<NodeId>] {
        self.places.get(usize::from(partition.0)).map_or(&[], Vec::as_slice)
    }

    /// Places that have a node which did not have them before.
    pub(crate) fn moved_from(&self, before: &Self) -> usize {
        let places = self.places.iter().flatten().zip(before.places.iter().flatten());
        places.filter(|(now, before)| now.is_some() && now != before).count()
    }
}

/// Those who stay keep their places, the others take the empty ones.
fn seat(before: &[Option<NodeId>], owners: Vec<NodeId>) -> Vec<Option<NodeId>> {
    let mut places: Vec<Option<NodeId>> =
        before.iter().map(|place| place.filter(|node| owners.contains(node))).collect();
    for owner in owners {
        if !places.contains(&Some(owner))
            && let Some(empty) = places.iter_mut().find(|place| place.is_none())
        {
            *empty = Some(owner);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u64) -> Vec<NodeSpec> {
        (1..=count).map(|id| NodeSpec { id: NodeId(id), zone: format!("z{id}"), capacity_bytes: 1 << 40 }).collect()
    }

    #[test]
    fn a_node_keeps_its_place_when_others_come_and_go() {
        let mut ring = Ring::empty(5).next(&nodes(4));
        assert!(ring.places.iter().all(|places| places.iter().flatten().count() == 4), "a place each, one is empty");
        for count in [5, 7, 8] {
            let next = ring.next(&nodes(count));
            for (before, after) in ring.places.iter().zip(&next.places) {
                assert!(after.iter().all(Option::is_some));
                for (place, node) in before.iter().enumerate() {
                    let elsewhere = after.iter().position(|other| node.is_some() && other == node);
                    assert!(
                        elsewhere.is_none_or(|other| other == place),
                        "{node:?} went from {place} to {elsewhere:?}"
                    );
                }
            }
            ring = next;
        }
        let without: Vec<NodeSpec> = nodes(8).into_iter().filter(|node| node.id != NodeId(3)).collect();
        let after = ring.next(&without);
        let held = ring.places.iter().flatten().filter(|place| **place == Some(NodeId(3))).count();
        let moved = after.moved_from(&ring);
        assert!(moved >= held && moved * 10 <= held * 11, "{moved} places move for the {held} that node 3 had");
    }

    #[test]
    fn every_node_has_its_share_of_every_ring() {
        let ring = Ring::empty(2).next(&nodes(3));
        for node in 1..=3 {
            let held = ring.places.iter().flatten().filter(|place| **place == Some(NodeId(node))).count();
            assert!((600..=760).contains(&held), "{held} of 2048 places in three");
        }
    }
}
