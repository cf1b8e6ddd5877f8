//! I7: garbage is gone after its grace. All objects are deleted and all uploads aborted; then no node has any extent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use karri_objstore_service::{
    DeleteItem, DeleteRequest, ListRequest, ListUploadsRequest, ListVersionsRequest, ObjectService, ServiceError,
    UploadRef,
};
use karri_ring_types::NodeId;

use crate::cluster::Cluster;
use crate::process::{GARBAGE_AGE, HOLDING_AGE, ORPHAN_AGE, Parts};
use crate::workload::BUCKETS;

/// Longest wait for all to be deleted.
const DELETE: Duration = Duration::from_secs(60);
/// Attempts at it: leaders may change still.
const ATTEMPTS: u32 = 5;
/// Longest wait after the grace.
const COLLECT_MAX: Duration = Duration::from_secs(60);
/// Longest wait for one look at what nodes hold.
const LOOK: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Extents that are told of a node.
const TOLD: u32 = 1000;

/// Deletes everything and waits until it is gone.
pub(crate) fn collect(cluster: &mut Cluster, violations: &mut Vec<String>) {
    let Some(&node) = cluster.up().first() else { return };
    let gone = cluster.gone.clone();
    let before = cluster.ask_node(node, LOOK, move |parts| async move { held(&parts, &gone).await }).flatten();
    let deleted = cluster.ask_node(node, DELETE, |parts| async move {
        let mut deleted = Ok(());
        for _ in 0..ATTEMPTS {
            deleted = delete_all(&parts.service).await;
            if deleted.is_ok() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        deleted
    });
    if deleted != Some(Ok(())) {
        violations.push(format!("I10: not everything could be deleted after healing: {deleted:?}"));
        return;
    }
    let end = cluster.now() + GARBAGE_AGE + HOLDING_AGE + ORPHAN_AGE + COLLECT_MAX;
    let mut left = None;
    while cluster.now() < end {
        cluster.run_until(PAUSE, |_| false);
        let gone = cluster.gone.clone();
        left = cluster.ask_node(node, LOOK, move |parts| async move { held(&parts, &gone).await }).flatten();
        if left.as_ref().is_some_and(Vec::is_empty) {
            cluster.world.lock().checked.collected += before.map_or(0, |before| before.len() as u64);
            return;
        }
    }
    violations.push(format!("I7: garbage is not gone after its grace: {left:?}"));
}

/// What nodes hold; `None` when one does not say.
async fn held(parts: &Arc<Parts>, gone: &BTreeSet<NodeId>) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for node in parts.storage.nodes().into_iter().filter(|node| !gone.contains(node)) {
        let page = parts.storage.held(node, None, TOLD).await?;
        all.extend(page.into_iter().map(|(extent, _)| format!("extent {extent} on node {node}")));
    }
    Some(all)
}

async fn delete_all(service: &ObjectService) -> Result<(), String> {
    for bucket in BUCKETS {
        let list = || ListRequest { bucket: bucket.into(), limit: 1000, ..ListRequest::default() };
        let page = service.list_objects(list()).await.map_err(text)?;
        for entry in page.entries {
            let item = DeleteItem { key: entry.key, ..DeleteItem::default() };
            service.delete_object(DeleteRequest { bucket: bucket.into(), item }).await.map_err(text)?;
        }
        let uploads = ListUploadsRequest { list: list(), ..ListUploadsRequest::default() };
        for upload in service.list_uploads(uploads).await.map_err(text)?.uploads {
            let upload = UploadRef { bucket: bucket.into(), key: upload.key, upload_id: upload.upload_id };
            service.abort_upload(upload).await.map_err(text)?;
        }
        delete_versions(service, bucket).await?;
    }
    Ok(())
}

/// Delete markers and the versions that they hide.
async fn delete_versions(service: &ObjectService, bucket: &str) -> Result<(), String> {
    loop {
        let list = ListRequest { bucket: bucket.into(), limit: 1000, ..ListRequest::default() };
        let request = ListVersionsRequest { list, ..ListVersionsRequest::default() };
        let page = service.list_versions(request).await.map_err(text)?;
        if page.versions.is_empty() {
            return Ok(());
        }
        for found in page.versions {
            let item = DeleteItem { key: found.entry.key, version: Some(found.version), ..DeleteItem::default() };
            service.delete_object(DeleteRequest { bucket: bucket.into(), item }).await.map_err(text)?;
        }
    }
}

fn text(error: ServiceError) -> String {
    error.to_string()
}
