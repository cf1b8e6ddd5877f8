//! Where a new extent goes.

use std::collections::HashSet;

use karri_ring_types::{ExtentId, NodeId};

use crate::client::Shared;

/// Ids that are tried to find one whose owners all answer.
const PLACEMENT_TRIES_MAX: usize = 64;

/// A new extent's id and the owners that it is sent to.
pub(super) struct Placement {
    pub(super) id: ExtentId,
    pub(super) nodes: Vec<NodeId>,
    pub(super) quorum: usize,
}

/// Picks a new id whose owners answer as far as is known; `avoid` has failed just now. With fewer good owners than copies
/// the others are left to repair. `None` when no quorum can be hoped for.
pub(super) fn choose(shared: &Shared, avoid: &HashSet<NodeId>) -> Option<Placement> {
    let layout = shared.layouts.layout();
    let quorum = layout.write_quorum();
    let mut best: Option<(ExtentId, Vec<NodeId>)> = None;
    let mut last_resort: Option<(ExtentId, Vec<NodeId>)> = None;
    for _ in 0..PLACEMENT_TRIES_MAX {
        let id = ExtentId::generate(&*shared.clock, &*shared.rng);
        let owners = layout.owners(id.partition());
        let untried: Vec<NodeId> = owners.iter().copied().filter(|node| !avoid.contains(node)).collect();
        let good: Vec<NodeId> = untried.iter().copied().filter(|&node| shared.layouts.alive(node)).collect();
        let complete = !owners.is_empty() && good.len() == owners.len();
        if good.len() > best.as_ref().map_or(0, |(_, nodes)| nodes.len()) {
            best = Some((id, good));
        }
        if untried.len() > last_resort.as_ref().map_or(0, |(_, nodes)| nodes.len()) {
            last_resort = Some((id, untried));
        }
        if complete {
            break;
        }
    }
    // Whether a node is alive is only a hint: without a quorum of live ones the others are tried too.
    let enough = |found: &(ExtentId, Vec<NodeId>)| found.1.len() >= quorum;
    let (id, nodes) = best.filter(enough).or(last_resort.filter(enough))?;
    Some(Placement { id, nodes, quorum })
}
