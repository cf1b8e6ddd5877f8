//! What must hold, one invariant a file.

pub(crate) mod bodies;
pub(crate) mod garbage;
pub(crate) mod linearizable;
pub(crate) mod listings;
pub(crate) mod logs;
pub(crate) mod raft;
pub(crate) mod references;
pub(crate) mod state;
pub(crate) mod versions;

use std::time::Duration;

use crate::cluster::Cluster;
use crate::history::SharedHistory;

/// Steps of a search for an order after which it is given up.
const SEARCH_STEPS_MAX: u64 = 3_000_000;

/// What the checks found beside violations.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// From healing until all copies were there.
    pub(crate) repaired: Duration,
    /// Keys whose searches for an order were given up.
    pub(crate) unsettled: u64,
}

/// Checks a healed cluster whose clients have ended, and ends it.
pub(crate) fn check(
    cluster: &mut Cluster,
    seed: u64,
    keys: u64,
    history: &SharedHistory,
    violations: &mut Vec<String>,
) -> Found {
    bodies::read_all(cluster, seed, keys, history, violations);
    versions::read_all(cluster, history, violations);
    let mut found = Found { repaired: references::recount(cluster, violations), unsettled: 0 };
    garbage::collect(cluster, violations);
    {
        let history = history.lock();
        violations.extend(history.violations.iter().cloned());
        found.unsettled = linearizable::check(&history, violations) + listings::check(&history, violations);
    }
    violations.extend(cluster.late_failures());
    cluster.end();
    let mut world = cluster.world.lock();
    world.checked.leaders = cluster.leaders.seen();
    world.checked.states = cluster.states.compared();
    world.checked.entries = cluster.logs.compared();
    drop(world);
    violations.extend(cluster.leaders.violations());
    violations.extend(cluster.states.violations());
    violations.extend(cluster.logs.violations());
    found
}
