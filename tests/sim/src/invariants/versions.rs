//! I1 and I3 for versions: each that was acknowledged has its body under its id until somebody asks for its deletion, and none
//! that was deleted is there.

use std::sync::Arc;
use std::time::Duration;

use karri_objstore_service::{GetRequest, ObjectService, ServiceError};

use crate::cluster::Cluster;
use crate::history::{SharedHistory, Version, value_of};
use crate::workload::{bucket_of, read};

/// Longest wait for all.
const READ: Duration = Duration::from_secs(120);
/// Reads of a version: a leader may be changing.
const ATTEMPTS: u32 = 5;
/// Between two reads.
const PAUSE: Duration = Duration::from_millis(300);

/// Reads every version that a client knows of.
pub(crate) fn read_all(cluster: &mut Cluster, history: &SharedHistory, violations: &mut Vec<String>) {
    let Some(&node) = cluster.up().first() else { return };
    let (versions, deleting, deleted) = {
        let history = history.lock();
        (history.versions.clone(), history.deleting.clone(), history.deleted.clone())
    };
    let found = cluster.ask_node(node, READ, move |parts| async move {
        let mut found = Vec::new();
        for (version, value) in versions {
            let outcome = look(&parts.service, &version).await;
            found.push((version, value, outcome));
        }
        found
    });
    let Some(found) = found else {
        violations.push(format!("I1: versions cannot be read after healing through node {node}"));
        return;
    };
    let mut world = cluster.world.lock();
    for (version, value, outcome) in found {
        let told = format!("version {} of {}", version.version, version.key);
        match outcome {
            Ok(Some(read)) if deleted.contains(&version) => {
                violations.push(format!("I3: {told} was deleted and is there, with value {read}"));
            }
            Ok(Some(read)) if read == value => world.checked.versions += 1,
            Ok(Some(read)) => violations.push(format!("I1: {told} has value {read}, not {value}")),
            Ok(None) if deleted.contains(&version) => world.checked.deleted_versions += 1,
            Ok(None) if deleting.contains(&version) => {}
            Ok(None) => violations.push(format!("I1: {told}, with value {value}, is not there")),
            Err(why) => violations.push(format!("I1: {told} cannot be read: {why}")),
        }
    }
}

/// The value of a version; `None` when it is not there.
async fn look(service: &Arc<ObjectService>, version: &Version) -> Result<Option<u64>, String> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let request = GetRequest {
            bucket: bucket_of(&version.key).into(),
            key: version.key.clone(),
            version: Some(version.version),
            ..GetRequest::default()
        };
        match read(service, request).await {
            Ok((_, bytes)) => return value_of(&bytes).map(Some),
            Err(ServiceError::NoSuchVersion | ServiceError::NoSuchKey) => return Ok(None),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(last)
}
