//! I8: members that have applied a range up to the same entry have the same of it, byte by byte.

use std::collections::BTreeMap;

use karri_ring_meta::MetaNode;
use karri_ring_types::{Digest, NodeId, RangeId};

use super::raft::RANGES;

/// What was seen of ranges: by the entry up to which all was applied, the state and who had it first.
#[derive(Debug, Default)]
pub(crate) struct States {
    seen: BTreeMap<(RangeId, Digest), (Digest, NodeId)>,
    compared: u64,
    violations: Vec<String>,
}

impl States {
    /// Looks at what a node has applied.
    pub(crate) fn look(&mut self, node: NodeId, meta: &MetaNode) {
        for range in (0..=RANGES).map(RangeId) {
            // What cannot be read ends the node, which others see.
            let Ok(Some(found)) = meta.fingerprint(range) else { continue };
            let (state, first) = *self.seen.entry((range, found.applied)).or_insert((found.state, node));
            self.compared += u64::from(first != node);
            if state != found.state {
                self.violations.push(format!(
                    "I8: nodes {first} and {node} have applied range {range} up to the same entry and differ"
                ));
            }
        }
    }

    /// Comparisons of two nodes.
    pub(crate) fn compared(&self) -> u64 {
        self.compared
    }

    /// What was violated.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.clone()
    }
}
