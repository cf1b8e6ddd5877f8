//! What must hold, one invariant a file.

pub(crate) mod bodies;
pub(crate) mod linearizable;
pub(crate) mod listings;
pub(crate) mod raft;

use crate::cluster::Cluster;
use crate::history::SharedHistory;

/// Checks a healed cluster whose clients have ended.
pub(crate) fn check(
    cluster: &mut Cluster,
    seed: u64,
    keys: u64,
    history: &SharedHistory,
    violations: &mut Vec<String>,
) {
    bodies::read_all(cluster, seed, keys, history, violations);
    let history = history.lock();
    violations.extend(history.violations.iter().cloned());
    linearizable::check(&history, violations);
    listings::check(&history, violations);
    violations.extend(cluster.leaders.violations());
}
