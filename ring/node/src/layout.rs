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
}

/// Every node that may hold a copy of `id`: the present owners, then the former ones.
pub(crate) fn holders(layouts: &dyn LayoutSource, id: ExtentId) -> Vec<NodeId> {
    let mut holders = Vec::new();
    for layout in layouts.history() {
        for &node in layout.owners(id.partition()) {
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
}
