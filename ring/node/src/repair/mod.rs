//! Brings this node's copies up to date: compares what it holds with the other owners, pulls what is missing, replaces
//! what is bad. It deletes only what a peer has the proof for.

mod bad_copy;
mod compare;
mod orphans;
mod pull;
mod scrub;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use karri_ring_types::{ExtentId, NodeId};
use parking_lot::Mutex;

pub use self::orphans::{Verdict, Verdicts};
use crate::client::Shared;
use crate::holder::Holder;

/// How eagerly a node repairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairConfig {
    /// Pause between two comparisons with the other owners. A peer that comes back is compared with at once.
    pub interval: Duration,
    /// How long an extent must be missing before it is pulled: it may be on its way from its writer.
    pub pull_after: Duration,
    /// Chunks per second that the scrub reads and checks; 0 turns it off.
    pub scrub_chunks_per_second: u32,
    /// Pause between two sweeps for orphans.
    pub orphan_interval: Duration,
    /// Age from which the owning range is asked whether an extent is still wanted. Age alone never deletes anything.
    pub orphan_age: Duration,
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            pull_after: Duration::from_secs(5),
            scrub_chunks_per_second: 4,
            orphan_interval: Duration::from_secs(3600),
            orphan_age: Duration::from_secs(24 * 3600),
        }
    }
}

/// What one comparison with the other owners did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairRound {
    /// Extents pulled from peers.
    pub pulled: u64,
    /// Extents deleted on a peer's proof.
    pub deleted: u64,
    /// Extents that are missing and were not pulled yet.
    pub waiting: u64,
    /// Peers that did not answer.
    pub peers_silent: u64,
}

pub(crate) struct Repairer {
    shared: Arc<Shared>,
    holder: Holder,
    config: RepairConfig,
    /// When a missing extent was first seen to be missing.
    missing_since: Mutex<HashMap<ExtentId, Duration>>,
    /// Extents that are being pulled or deleted: several peers and readers may tell of the same one at once.
    in_hand: Mutex<HashSet<ExtentId>>,
    /// When the scrub last came to its end, in milliseconds since 1970; 0: not yet.
    pub(crate) scrub_finished: AtomicU64,
}

impl Repairer {
    pub(crate) fn new(shared: Arc<Shared>, holder: Holder, config: RepairConfig) -> Self {
        Self {
            shared,
            holder,
            config,
            missing_since: Mutex::default(),
            in_hand: Mutex::default(),
            scrub_finished: AtomicU64::new(0),
        }
    }

    fn local(&self) -> NodeId {
        self.shared.peers.local()
    }

    /// The other nodes that may hold an extent.
    fn others(&self, id: ExtentId) -> Vec<NodeId> {
        let mut nodes = crate::layout::holders(&*self.shared.layouts, id);
        nodes.retain(|&node| node != self.local());
        nodes.sort_by_key(|&node| !self.shared.layouts.alive(node));
        nodes
    }
}
