//! One epoch of the cluster's layout.

use karri_ring_types::{Epoch, NodeId, PARTITION_COUNT, PartitionId};
use serde::{Deserialize, Serialize};

use crate::assign;

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
}

impl Layout {
    /// Epoch 0: no nodes.
    pub fn empty(replicas: u8) -> Self {
        Self { epoch: Epoch(0), replicas, nodes: Vec::new(), owners: vec![Vec::new(); usize::from(PARTITION_COUNT)] }
    }

    /// The following epoch for these nodes.
    ///
    /// # Errors
    /// When there is no node with capacity, a node is listed twice, or `replicas` is 0.
    pub fn next(&self, mut nodes: Vec<NodeSpec>, replicas: u8) -> Result<Layout, PlacementError> {
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
        Ok(Layout { epoch: Epoch(self.epoch.0 + 1), replicas, nodes, owners })
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
        let total: usize = (0..PARTITION_COUNT).map(PartitionId).map(moved).sum();
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
