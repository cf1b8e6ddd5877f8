//! Which peers answer pings.

use std::collections::HashMap;

use karri_ring_types::NodeId;
use parking_lot::RwLock;

/// A peer that fails this many pings in a row is taken to be down.
const FAILURES_MAX: u32 = 2;

/// The latest pings of each peer.
pub(super) struct Health {
    local: NodeId,
    /// Pings that failed in a row; a peer that never answered is not in it.
    failures: RwLock<HashMap<NodeId, u32>>,
}

impl Health {
    pub(super) fn new(local: NodeId) -> Self {
        Self { local, failures: RwLock::default() }
    }

    pub(super) fn alive(&self, node: NodeId) -> bool {
        node == self.local || self.failures.read().get(&node).is_some_and(|&failures| failures < FAILURES_MAX)
    }

    /// Notes a ping; `Some(alive)` when that changes what is thought of the peer.
    pub(super) fn note(&self, node: NodeId, answered: bool) -> Option<bool> {
        let mut known = self.failures.write();
        let before = known.get(&node).copied();
        match (before, answered) {
            (None, false) => return None,
            (_, true) => known.insert(node, 0),
            (Some(failures), false) => known.insert(node, failures.saturating_add(1)),
        };
        let was_alive = before.is_some_and(|failures| failures < FAILURES_MAX);
        let is_alive = answered || before.is_some_and(|failures| failures + 1 < FAILURES_MAX);
        (was_alive != is_alive).then_some(is_alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lost_ping_is_forgiven_and_two_are_not() {
        let health = Health::new(NodeId(1));
        let peer = NodeId(2);
        assert!(health.alive(NodeId(1)));
        assert!(!health.alive(peer));
        assert_eq!(health.note(peer, false), None);
        assert_eq!(health.note(peer, true), Some(true));
        assert_eq!(health.note(peer, false), None);
        assert!(health.alive(peer));
        assert_eq!(health.note(peer, false), Some(false));
        assert!(!health.alive(peer));
        assert_eq!(health.note(peer, false), None);
        assert_eq!(health.note(peer, true), Some(true));
    }
}
