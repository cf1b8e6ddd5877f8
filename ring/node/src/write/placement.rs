//! Where a new extent goes.

use std::collections::HashSet;

use karri_ring_placement::Layout;
use karri_ring_types::{ExtentId, NodeId, Redundancy};

use crate::client::Shared;
use crate::stripe::Geometry;

/// Ids that are tried to find one whose owners all answer.
const PLACEMENT_TRIES_MAX: usize = 64;

/// A new extent's id and the owners that it is sent to.
pub(super) struct Placement {
    pub(super) id: ExtentId,
    /// Each with its place: of a stripe the shard that it gets.
    pub(super) nodes: Vec<(NodeId, usize)>,
    pub(super) quorum: usize,
}

/// Picks a new id whose owners answer as far as is known; `avoid` has failed just now. With fewer good owners than copies
/// the others are left to repair. `None` when no quorum can be hoped for, or the layout has no room for the scheme.
pub(super) fn choose(shared: &Shared, avoid: &HashSet<NodeId>, redundancy: Redundancy) -> Option<Placement> {
    let layout = shared.layouts.layout();
    let mut best: Option<Placement> = None;
    let mut last_resort: Option<Placement> = None;
    for _ in 0..PLACEMENT_TRIES_MAX {
        let id = ExtentId::generate_for(&*shared.clock, &*shared.rng, redundancy);
        let Some((owners, quorum)) = owners(&layout, id) else { continue };
        let untried: Vec<(NodeId, usize)> = owners.iter().copied().filter(|(node, _)| !avoid.contains(node)).collect();
        let good: Vec<(NodeId, usize)> =
            untried.iter().copied().filter(|&(node, _)| shared.layouts.alive(node)).collect();
        let complete = !owners.is_empty() && good.len() == owners.len();
        if good.len() > best.as_ref().map_or(0, |best| best.nodes.len()) {
            best = Some(Placement { id, nodes: good, quorum });
        }
        if untried.len() > last_resort.as_ref().map_or(0, |last| last.nodes.len()) {
            last_resort = Some(Placement { id, nodes: untried, quorum });
        }
        if complete {
            break;
        }
    }
    // Whether a node is alive is only a hint: without a quorum of live ones the others are tried too.
    let enough = |found: &Placement| found.nodes.len() >= found.quorum;
    best.filter(enough).or(last_resort.filter(enough))
}

/// The owners of a new extent with their places, and how many of them a write waits for. `None` where they could not
/// keep what the scheme promises.
fn owners(layout: &Layout, id: ExtentId) -> Option<(Vec<(NodeId, usize)>, usize)> {
    let places = layout.places(id.partition(), id.redundancy());
    let filled = places.iter().enumerate().filter_map(|(place, node)| node.map(|node| (node, place)));
    let owners: Vec<(NodeId, usize)> = filled.collect();
    match (id.redundancy(), id.redundancy().shards()) {
        (_, Some(shards)) => {
            let geometry = Geometry::new(shards);
            let nodes: Vec<NodeId> = owners.iter().map(|(node, _)| *node).collect();
            let holds = nodes.len() == geometry.shards() && layout.survives_a_zone(&nodes, geometry.parity);
            holds.then(|| (owners, geometry.write_quorum()))
        }
        (Redundancy::Cluster, _) => Some((owners, layout.write_quorum())),
        _ if owners.is_empty() => None,
        _ => {
            let quorum = owners.len() / 2 + 1;
            Some((owners, quorum))
        }
    }
}
