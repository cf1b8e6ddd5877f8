//! One epoch of the cluster's layout.

use karri_ring_types::{Epoch, NodeId, PARTITION_COUNT, PartitionId, Redundancy};
use serde::{Deserialize, Serialize};

use crate::assign;
use crate::ring::Ring;

/// A node as the layout sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// The node.
    pub id: NodeId,
    /// Its failure domain.
    pub zone: String,
    /// Its weight; what counts is the ratio to the others.
    pub capacity_bytes: u64,
}

/// A layout that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// No node has any capacity.
    #[error("a layout needs a node with capacity")]
    NoNodes,
    /// A node is listed twice.
    #[error("node {0} is listed twice")]
    Duplicate(NodeId),
    /// No copies were asked for.
    #[error("the replica count must be at least 1")]
    NoReplicas,
}

/// Nodes, and the owners of every partition, at one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Version of the layout; 0 has no nodes.
    pub epoch: Epoch,
    /// Copies wanted of each partition.
    pub replicas: u8,
    /// Nodes, by id.
    pub nodes: Vec<NodeSpec>,
    owners: Vec<Vec<NodeId>>,
    /// For extents that are held by another number of nodes; by width.
    rings: Vec<Ring>,
}

impl Layout {
    /// Epoch 0: no nodes.
    pub fn empty(replicas: u8) -> Self {
        let owners = vec![Vec::new(); usize::from(PARTITION_COUNT)];
        Self { epoch: Epoch(0), replicas, nodes: Vec::new(), owners, rings: Vec::new() }
    }

    /// The following epoch for these nodes, with the rings that there are.
    ///
    /// # Errors
    /// When there is no node with capacity, a node is listed twice, or `replicas` is 0.
    pub fn next(&self, nodes: Vec<NodeSpec>, replicas: u8) -> Result<Layout, PlacementError> {
        self.next_with(nodes, replicas, &[])
    }

    /// As [`Layout::next`], with rings of `widths` too. A ring that there is stays: extents may be on it.
    ///
    /// # Errors
    /// As [`Layout::next`].
    pub fn next_with(&self, mut nodes: Vec<NodeSpec>, replicas: u8, widths: &[u8]) -> Result<Layout, PlacementError> {
        if replicas == 0 {
            return Err(PlacementError::NoReplicas);
        }
        nodes.sort_by_key(|node| node.id);
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(PlacementError::Duplicate(pair[0].id));
        }
        if nodes.iter().all(|node| node.capacity_bytes == 0) {
            return Err(PlacementError::NoNodes);
        }
        let owners = assign::assign(&self.owners, &nodes, usize::from(replicas));
        let mut all = self.widths();
        all.extend(widths);
        all.sort_unstable();
        all.dedup();
        let rings = all.into_iter().filter(|&width| width > 0).map(|width| match self.ring(width) {
            Some(ring) => ring.next(&nodes),
            None => Ring::empty(width).next(&nodes),
        });
        let rings = rings.collect();
        Ok(Layout { epoch: Epoch(self.epoch.0 + 1), replicas, nodes, owners, rings })
    }

    /// Widths of the rings beside that of the owners.
    pub fn widths(&self) -> Vec<u8> {
        self.rings.iter().map(|ring| ring.width).collect()
    }

    fn ring(&self, width: u8) -> Option<&Ring> {
        self.rings.iter().find(|ring| ring.width == width)
    }

    /// The nodes that hold the parts or copies of extents of a partition that are kept in this way, each in its place:
    /// of a stripe the place is the shard. A place is empty while there are fewer nodes than places; there are none
    /// where the layout does not know the scheme.
    pub fn places(&self, partition: PartitionId, redundancy: Redundancy) -> Vec<Option<NodeId>> {
        match redundancy.width() {
            None => self.owners(partition).iter().copied().map(Some).collect(),
            Some(width) => self.ring(width).map_or_else(Vec::new, |ring| ring.places(partition).to_vec()),
        }
    }

    /// The place of a node among [`Layout::places`].
    pub fn place_of(&self, node: NodeId, partition: PartitionId, redundancy: Redundancy) -> Option<usize> {
        match redundancy.width() {
            None => self.owners(partition).iter().position(|&owner| owner == node),
            Some(width) => self.ring(width)?.places(partition).iter().position(|&place| place == Some(node)),
        }
    }

    /// Whether losing all nodes of one zone leaves a stripe readable. With a single zone there is nothing to lose.
    pub fn survives_a_zone(&self, holders: &[NodeId], parity: usize) -> bool {
        let zone = |node: &NodeId| self.nodes.iter().find(|spec| spec.id == *node).map(|spec| spec.zone.as_str());
        let several = self.nodes.iter().any(|spec| spec.zone != self.nodes[0].zone);
        let in_zone = |of: &NodeId| holders.iter().filter(|other| zone(other) == zone(of)).count();
        !several || holders.iter().all(|holder| in_zone(holder) <= parity)
    }

    /// The nodes that hold a partition, all distinct, as many as there are copies; the first is the primary.
    pub fn owners(&self, partition: PartitionId) -> &[NodeId] {
        self.owners.get(usize::from(partition.0)).map_or(&[], Vec::as_slice)
    }

    /// Copies that a write waits for: a majority of those that there can be.
    pub fn write_quorum(&self) -> usize {
        usize::from(self.replicas).min(self.nodes.len()) / 2 + 1
    }

    /// The partitions that a node holds.
    pub fn partitions_of(&self, node: NodeId) -> impl Iterator<Item = PartitionId> + '_ {
        let held = move |partition: &PartitionId| self.owners(*partition).contains(&node);
        (0..PARTITION_COUNT).map(PartitionId).filter(held)
    }

    /// Copies that `to` puts on nodes that did not have them in `from`.
    pub fn movement(from: &Layout, to: &Layout) -> u32 {
        let moved = |partition: PartitionId| {
            let before = from.owners(partition);
            to.owners(partition).iter().filter(|node| !before.contains(node)).count()
        };
        let owners: usize = (0..PARTITION_COUNT).map(PartitionId).map(moved).sum();
        let on_rings = to.rings.iter().map(|ring| from.ring(ring.width).map_or(0, |before| ring.moved_from(before)));
        let total = owners + on_rings.sum::<usize>();
        u32::try_from(total).expect("partitions times replicas")
    }

    /// `count` distinct nodes (or all) for `seed`, in as many zones as there are: rendezvous hashing, so that another
    /// node changes few choices.
    pub fn choose(&self, seed: u64, count: usize) -> Vec<NodeId> {
        let mut ranked: Vec<&NodeSpec> = self.nodes.iter().filter(|node| node.capacity_bytes > 0).collect();
        ranked.sort_by_key(|node| (std::cmp::Reverse(assign::mix(seed, node.id.0)), node.id));
        let mut chosen: Vec<&NodeSpec> = Vec::new();
        while chosen.len() < count && !ranked.is_empty() {
            let used = |zone: &str| chosen.iter().filter(|node| node.zone == zone).count();
            let best = (0..ranked.len()).min_by_key(|&index| (used(&ranked[index].zone), index)).unwrap_or(0);
            chosen.push(ranked.remove(best));
        }
        chosen.into_iter().map(|node| node.id).collect()
    }
}
