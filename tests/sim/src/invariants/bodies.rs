//! I1: no acknowledged write is lost, and each body is that of one attempted write.
//!
//! Each body is compared when it is read; here every key is read once more through every node, and must be readable. That
//! what is read is what was acknowledged is seen by [`super::linearizable`], to which these reads are operations as others.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::history::SharedHistory;
use crate::run::new_client;

/// Longest wait for one key.
const READ: Duration = Duration::from_secs(60);
/// Reads of a key through one node: others may still be opening, or the node may have just joined.
const ATTEMPTS: u32 = 5;
/// Between two reads.
const PAUSE: Duration = Duration::from_millis(300);

/// Reads every key through every node.
pub(crate) fn read_all(
    cluster: &mut Cluster,
    seed: u64,
    keys: u64,
    history: &SharedHistory,
    violations: &mut Vec<String>,
) {
    for node in cluster.running() {
        for key in 0..keys {
            let key = format!("key-{key}");
            let mut client =
                new_client(cluster, 1000 + node.0, seed, history, (keys, 1), &Arc::new(AtomicBool::new(false)));
            let door = cluster.doors.lock().get(&node).cloned();
            client.doors = Arc::new(parking_lot::Mutex::new(door.map(|door| (node, door)).into_iter().collect()));
            let asked = key.clone();
            let read = cluster.ask(READ, async move {
                for _ in 0..ATTEMPTS {
                    if client.get(&asked).await.is_some() {
                        return true;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                false
            });
            if read != Some(true) {
                violations.push(format!("I1: {key} cannot be read through node {node} after healing"));
            }
        }
    }
}
