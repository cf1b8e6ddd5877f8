//! What the nodes of a scale run use, and how they rest.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use karri_tests_cluster::Cluster;
use tokio::time::Instant;

use crate::process::Usage;

const MIB: f64 = 1024.0 * 1024.0;
/// How long a node may use how much of a core until it counts as at rest, and how long that is waited for.
const REST: Duration = Duration::from_secs(3);
const REST_CPU: f64 = 0.1;
const REST_LIMIT: Duration = Duration::from_secs(900);

/// Waits until what the nodes do beside requests (compaction of what was loaded) has ended, and returns how long that was.
pub(super) async fn settled(cluster: &Cluster) -> Result<f64> {
    let start = Instant::now();
    loop {
        let before = usage(cluster)?.cpu_seconds;
        tokio::time::sleep(REST).await;
        let used = usage(cluster)?.cpu_seconds - before;
        if used < REST_CPU * REST.as_secs_f64() * cluster.len() as f64 || start.elapsed() > REST_LIMIT {
            return Ok(start.elapsed().as_secs_f64());
        }
    }
}

/// Stops the first node, starts it again, and returns the seconds until it is ready.
pub(super) async fn restart(cluster: &mut Cluster) -> Result<f64> {
    cluster.stop(0).await?;
    let start = Instant::now();
    tokio::time::timeout(Duration::from_secs(600), cluster.restart(0)).await.context("the node came not back")??;
    Ok(start.elapsed().as_secs_f64())
}

pub(super) fn usage(cluster: &Cluster) -> Result<Usage> {
    Usage::of(&(0..cluster.len()).map(|index| cluster.pid(index)).collect::<Result<Vec<u32>>>()?)
}

/// Of one node.
pub(super) fn resident_mib(cluster: &Cluster) -> Result<f64> {
    Ok(usage(cluster)?.resident_bytes as f64 / MIB / cluster.len() as f64)
}

/// The most of one node since [`forget_peaks`].
pub(super) fn resident_peak_mib(cluster: &Cluster) -> Result<f64> {
    Ok(usage(cluster)?.resident_bytes_peak as f64 / MIB / cluster.len() as f64)
}

/// Peaks of resident memory are counted from now on; see `proc_pid_clear_refs(5)`.
pub(super) fn forget_peaks(cluster: &Cluster) -> Result<()> {
    for index in 0..cluster.len() {
        let path = format!("/proc/{}/clear_refs", cluster.pid(index)?);
        fs::write(&path, "5").with_context(|| path)?;
    }
    Ok(())
}

/// Bytes of the first node's applied metadata, inline bytes among them.
pub(super) fn metadata_bytes(cluster: &Cluster) -> Result<u64> {
    folder_bytes(&cluster.data_dir(0).join("metadata"))
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { folder_bytes(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}
