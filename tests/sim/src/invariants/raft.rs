//! I9: of each group, a term has at most one leader.
//!
//! That logs agree is seen by [`super::logs`].

use std::collections::BTreeMap;

use karri_ring_raft::RaftHost;
use karri_ring_types::{NodeId, RangeId};

/// Ranges beside the system range.
pub(crate) const RANGES: u64 = 2;

/// Who was seen to lead which group in which term.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    seen: BTreeMap<(RangeId, u64), NodeId>,
    violations: Vec<String>,
}

impl Leaders {
    /// Looks at the groups of a node.
    pub(crate) fn look(&mut self, node: NodeId, raft: &RaftHost) {
        for range in (0..=RANGES).map(RangeId) {
            let Some(status) = raft.group(range).map(|group| group.status()) else { continue };
            if status.leader != Some(node) {
                continue;
            }
            let term = status.term;
            let known = *self.seen.entry((range, term)).or_insert(node);
            if known != node {
                self.violations.push(format!("I9: nodes {known} and {node} both lead range {range} in term {term}"));
            }
        }
    }

    /// Leaderships that were seen.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.len() as u64
    }

    /// What was violated.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.clone()
    }
}
