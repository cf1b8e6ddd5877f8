//! Reed-Solomon stripes on six real nodes: what two nodes may be gone for, what is repaired, and what moves and renames do
//! to them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use karri_tests_cluster::{Cluster, ClusterOptions, S3Client, eventually, test_bytes};

const MIB: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// Whether a node's segments have these bytes.
fn holds(data_dir: &Path, needle: &[u8]) -> Result<bool> {
    let mut paths = Vec::new();
    files(&data_dir.join("extents/segments"), &mut paths)?;
    Ok(paths.iter().filter_map(|path| fs::read(path).ok()).any(|content| find(&content, needle).is_some()))
}

fn find(content: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let candidates = content.iter().enumerate().filter(|(_, byte)| **byte == first);
    candidates.map(|(at, _)| at).find(|at| content[*at..].starts_with(needle))
}

/// Flips a byte in the midst of the largest segment of a node; tells where.
fn flip_in_largest(data_dir: &Path) -> Result<(PathBuf, usize)> {
    let mut paths = Vec::new();
    files(&data_dir.join("extents/segments"), &mut paths)?;
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let path = paths.into_iter().max_by_key(size).context("a segment")?;
    let mut content = fs::read(&path)?;
    // Bytes in the midst of a chunk: none of a header, none that was never written.
    let at = (0..content.len()).skip(300_000).find(|at| content[*at..].iter().take(64).all(|byte| *byte != 0));
    let at = at.context("a chunk")?;
    content[at] = !content[at];
    let file = fs::OpenOptions::new().write(true).open(&path)?;
    std::os::unix::fs::FileExt::write_all_at(&file, &content[at..=at], at as u64)?;
    file.sync_all()?;
    Ok((path, at))
}

async fn put_as(s3: &S3Client, key: &str, class: &str, body: &[u8]) -> Result<()> {
    let headers = [("x-amz-storage-class", class)];
    s3.send_retrying(20, "PUT", &format!("/cold/{key}"), &[], &headers, body.to_vec()).await?.expect(200)?;
    Ok(())
}

async fn check(s3: &S3Client, objects: &[(&str, Vec<u8>)], when: &str) -> Result<()> {
    for (key, body) in objects {
        let path = format!("/cold/{key}");
        let answer = s3.send_retrying(40, "GET", &path, &[], &[], "").await?.expect(200)?;
        ensure!(answer.body == body[..], "{key} is not what was written, {when}");
        let (first, last) = (body.len() / 3, body.len() / 3 + 5000);
        let range = format!("bytes={first}-{last}");
        let answer = s3.send_retrying(20, "GET", &path, &[], &[("range", &range)], "").await?.expect(206)?;
        ensure!(answer.body == body[first..=last], "{range} of {key} is other bytes, {when}");
    }
    Ok(())
}

async fn rename(s3: &S3Client, from: &str, to: &str) -> Result<()> {
    let source = [("x-amz-rename-source", from)];
    s3.send("PUT", &format!("/cold/{to}"), &[("renameObject", "")], &source, "").await?.expect(200)?;
    Ok(())
}

async fn class_of(s3: &S3Client, key: &str) -> String {
    let head = s3.send("HEAD", &format!("/cold/{key}"), &[], &[], "").await;
    head.map_or(String::new(), |head| head.header("x-amz-storage-class").to_owned())
}

/// Two nodes of which at most one votes in a range of three: without them the metadata serve on.
fn two_without_votes(cluster: &Cluster) -> Result<[usize; 2]> {
    let mut votes = vec![0; cluster.len()];
    let mut seen = BTreeSet::new();
    for index in 0..cluster.len() {
        let status = cluster.status(index)?;
        let nodes = status["nodes"].as_array().context("nodes")?;
        for range in status["ranges"].as_array().context("ranges")? {
            let voters = range["voters"].as_array().context("voters")?;
            if voters.len() != 3 || !seen.insert(range["id"].to_string()) {
                continue;
            }
            for (of, votes) in votes.iter_mut().enumerate() {
                let host = cluster.host(of);
                let id = nodes.iter().find(|node| node["s3_address"] == host.as_str()).map(|node| &node["id"]);
                *votes += usize::from(id.is_some_and(|id| voters.contains(id)));
            }
        }
    }
    ensure!(seen.len() == 1, "{seen:?} ranges of three voters");
    let mut without: Vec<usize> = (1..cluster.len()).filter(|&index| votes[index] == 0).collect();
    without.truncate(2);
    without.try_into().ok().context("two nodes without votes")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_may_go_and_a_bad_parity_shard_is_made_again() -> Result<()> {
    // One range of objects, so that it is known who votes.
    let storage_classes = "STANDARD_IA = \"rs:4+2\"\nGLACIER_IR = \"rs:4+2\"\n[cluster]\ndata_ranges = 1".to_owned();
    let mut cluster = Cluster::start_with(6, ClusterOptions { storage_classes, ..ClusterOptions::default() }).await?;
    let s3 = cluster.client(0);
    s3.create_bucket("cold").await?;
    let striped = test_bytes(1, 8 * MIB);
    put_as(&s3, "named", "STANDARD_IA", &striped).await?;
    cluster.wait_full_replicas(0, PATIENCE).await?;
    bad_parity_is_made_again(&cluster, &striped).await?;

    // A striped object gets another name; one that was renamed is moved to stripes by a rule.
    rename(&s3, "named", "renamed").await?;
    let moved = test_bytes(2, 9 * MIB + 13);
    put_as(&s3, "before", "STANDARD", &moved).await?;
    rename(&s3, "before", "moves/after").await?;
    let rule = "<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix>moves/</Prefix></Filter><Status>Enabled</Status>\
                <Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule>\
                </LifecycleConfiguration>";
    s3.send("PUT", "/cold", &[("lifecycle", "")], &[], rule).await?.expect(200)?;
    let is_moved = || async { (class_of(&s3, "moves/after").await == "GLACIER_IR").then_some(()) };
    eventually("the renamed object is moved", PATIENCE, is_moved).await?;
    let large = test_bytes(3, 20 * MIB + 1);
    put_as(&s3, "large", "STANDARD_IA", &large).await?;
    let mut objects = vec![("renamed", striped), ("moves/after", moved), ("large", large)];
    check(&s3, &objects, "all nodes up").await?;
    cluster.wait_full_replicas(0, PATIENCE).await?;
    // One copy of each byte and a half: three copies of what was moved and lent are gone.
    let stored = || async {
        let mut bytes = 0;
        for node in 0..6 {
            bytes += cluster.client(node).metric("karri_extent_bytes").await?;
        }
        let named: usize = objects.iter().map(|(_, body)| body.len()).sum();
        let share = bytes as f64 / named as f64;
        (1.49..1.62).contains(&share).then_some(())
    };
    eventually("what was moved is stored as stripes only", PATIENCE, stored).await?;

    let [first, second] = two_without_votes(&cluster)?;
    cluster.kill(first)?;
    cluster.kill(second)?;
    check(&s3, &objects, "two nodes dead").await?;
    // Five of six must answer for a stripe; with four it is written as copies.
    let late = test_bytes(4, 5 * MIB);
    put_as(&s3, "late", "STANDARD_IA", &late).await?;
    objects.push(("late", late));
    check(&s3, &objects[3..], "written with two nodes dead").await?;
    cluster.restart_all().await?;
    cluster.wait_full_replicas(0, PATIENCE).await?;
    check(&cluster.client(second), &objects, "all nodes up again").await
}

async fn bad_parity_is_made_again(cluster: &Cluster, striped: &[u8]) -> Result<()> {
    let cell = striped.len() / 4;
    let is_data = |node: usize| -> Result<bool> {
        let needles = (0..4).map(|shard| &striped[shard * cell + 100..shard * cell + 164]);
        needles.map(|needle| holds(cluster.data_dir(node), needle)).try_fold(false, |any, held| Ok(any || held?))
    };
    let data = (0..6).map(is_data).collect::<Result<Vec<bool>>>()?;
    let parity: Vec<usize> = (0..6).filter(|&node| !data[node]).collect();
    ensure!(parity.len() == 2, "data shards are at {data:?}");
    let node = parity[0];
    flip_in_largest(cluster.data_dir(node))?;
    // No reader wants it: the scrub finds it.
    let repaired = || async { cluster.log(node).contains("bad copy repaired").then_some(()) };
    eventually("the bad parity shard is made again", PATIENCE, repaired).await?;
    let read = cluster.client(node).get("cold", "named").await?.expect(200)?;
    ensure!(read.body == striped, "other bytes after the repair");
    cluster.wait_full_replicas(0, PATIENCE).await
}
