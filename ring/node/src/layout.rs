//! Where the layout comes from.

use std::sync::Arc;

use karri_ring_placement::Layout;
use karri_ring_types::{ExtentId, NodeId};

use crate::membership::Membership;

/// What quorum writes, reads and repair need to know of the cluster. None of the calls waits.
pub trait LayoutSource: Send + Sync + 'static {
    /// The newest layout known here.
    fn layout(&self) -> Arc<Layout>;

    /// The layout and those before it, newest first: former owners may hold what the present ones do not have yet.
    fn history(&self) -> Vec<Arc<Layout>> {
        vec![self.layout()]
    }

    /// Whether a node seems to answer. Only a hint: it may be wrong either way.
    fn alive(&self, node: NodeId) -> bool;

    /// What the layout says was not found to be so: it may be an old one, and a newer one is to be looked for soon.
    fn doubt(&self) {}
}

/// Every node that may hold a copy of `id`, or any shard of its stripe: the present owners, then the former ones.
pub(crate) fn holders(layouts: &dyn LayoutSource, id: ExtentId) -> Vec<NodeId> {
    distinct(layouts, id, |places| places.iter().flatten().copied().collect())
}

/// Every node that may hold what `id` names: of a shard those that have its place.
pub(crate) fn holders_of_part(layouts: &dyn LayoutSource, id: ExtentId) -> Vec<NodeId> {
    if id.redundancy().shards().is_none() {
        return holders(layouts, id);
    }
    let place = usize::from(id.kind().shard());
    distinct(layouts, id, |places| places.get(place).copied().flatten().into_iter().collect())
}

/// Whether the layout wants a node to hold what `id` names.
pub(crate) fn is_to_hold(layout: &Layout, node: NodeId, id: ExtentId) -> bool {
    let place = layout.place_of(node, id.partition(), id.redundancy());
    match id.redundancy().shards() {
        None => place.is_some(),
        Some(_) => place == Some(usize::from(id.kind().shard())),
    }
}

fn distinct(layouts: &dyn LayoutSource, id: ExtentId, pick: impl Fn(&[Option<NodeId>]) -> Vec<NodeId>) -> Vec<NodeId> {
    let mut holders = Vec::new();
    for layout in layouts.history() {
        for node in pick(&layout.places(id.partition(), id.redundancy())) {
            if !holders.contains(&node) {
                holders.push(node);
            }
        }
    }
    holders
}

impl LayoutSource for Membership {
    fn layout(&self) -> Arc<Layout> {
        Self::layout(self)
    }

    fn history(&self) -> Vec<Arc<Layout>> {
        self.layouts().to_vec()
    }

    fn alive(&self, node: NodeId) -> bool {
        Self::alive(self, node)
    }

    fn doubt(&self) {
        Self::doubt(self);
    }
}
