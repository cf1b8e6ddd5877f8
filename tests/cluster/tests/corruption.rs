//! A flipped byte on a disk is never served; it is read around, reported and repaired.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Cluster, eventually, test_bytes};

/// Every file under `dir`.
fn files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// Where `needle` stands in a file of the folder.
fn find(dir: &Path, needle: &[u8]) -> Result<Option<(PathBuf, u64)>> {
    let mut paths = Vec::new();
    files(dir, &mut paths)?;
    for path in paths {
        // A file may be dropped by the store while we look.
        let Ok(content) = fs::read(&path) else { continue };
        if let Some(offset) = content.windows(needle.len()).position(|window| window == needle) {
            return Ok(Some((path, offset as u64)));
        }
    }
    Ok(None)
}

/// Flips one byte of the file in place.
fn flip(path: &Path, offset: u64) -> Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&[!byte[0]])?;
    file.sync_all().context("sync the flipped byte")
}

async fn flipped_byte_is_repaired(size: usize) -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let s3 = cluster.client(0);
    s3.create_bucket("rot").await?;
    let body = test_bytes(11, size);
    s3.put("rot", "object", body.clone()).await?;
    cluster.wait_full_replicas(0, Duration::from_secs(60)).await?;
    // A restart writes memory tables to the files that we are about to damage.
    for node in 0..3 {
        cluster.stop(node).await?;
        cluster.restart(node).await?;
    }
    let needle = &body[size / 2..size / 2 + 64];
    for node in 0..3 {
        let (path, offset) = find(cluster.data_dir(node), needle)?.context("the chunk is on the disk")?;
        flip(&path, offset)?;
        // The node reads its own copy first, so its own client meets the damage.
        let answer = cluster.client(node).send_retrying(20, "GET", "/rot/object", &[], &[], "").await?.expect(200)?;
        ensure!(answer.body == body, "node {node} served a flipped byte");
        let log = || async { cluster.log(node).contains("bad copy repaired").then_some(()) };
        eventually("the bad copy is reported and repaired", Duration::from_secs(30), log).await?;
        let again = cluster.client(node).get("rot", "object").await?.expect(200)?;
        ensure!(again.body == body, "node {node} serves other bytes after the repair");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_large_object() -> Result<()> {
    flipped_byte_is_repaired(20 << 20).await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_small_extent() -> Result<()> {
    flipped_byte_is_repaired(200_000).await
}
