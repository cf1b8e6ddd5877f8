//! Classes are kept by their schemes: as many bytes are on the disks as the scheme says, and what it lets go may go.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use karri_tests_cluster::{Cluster, ClusterOptions, S3Client, eventually, test_bytes};

const MIB: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that the file system has given to the data of a node.
fn disk_bytes(data_dir: &Path) -> Result<u64> {
    let segments = data_dir.join("extents/segments");
    let mut bytes = 0;
    for entry in fs::read_dir(segments)? {
        // A segment may be removed while we look.
        bytes += entry?.metadata().map_or(0, |metadata| metadata.blocks() * 512);
    }
    Ok(bytes)
}

fn all_disk_bytes(cluster: &Cluster) -> Result<u64> {
    (0..cluster.len()).map(|node| disk_bytes(cluster.data_dir(node))).sum()
}

async fn put_as(s3: &S3Client, key: &str, class: &str, body: &[u8]) -> Result<()> {
    let headers = [("x-amz-storage-class", class)];
    s3.send("PUT", &format!("/cold/{key}"), &[], &headers, body.to_vec()).await?.expect(200)?;
    Ok(())
}

async fn check(s3: &S3Client, objects: &[(String, Vec<u8>)], when: &str) -> Result<()> {
    for (key, body) in objects {
        let path = format!("/cold/{key}");
        let answer = s3.send_retrying(20, "GET", &path, &[], &[], "").await?.expect(200)?;
        ensure!(answer.body == body[..], "{key} is not what was written, {when}");
        let (first, last) = (body.len() / 3, body.len() / 3 * 2);
        let range = format!("bytes={first}-{last}");
        let answer = s3.send_retrying(20, "GET", &path, &[], &[("range", &range)], "").await?.expect(206)?;
        ensure!(answer.body == body[first..(last + 1).min(body.len())], "{range} of {key} is other bytes, {when}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reduced_redundancy_is_two_copies_of_three() -> Result<()> {
    let storage_classes = "REDUCED_REDUNDANCY = \"replicate:2\"".to_owned();
    let cluster = Cluster::start_with(3, ClusterOptions { storage_classes, ..ClusterOptions::default() }).await?;
    let s3 = cluster.client(0);
    s3.create_bucket("cold").await?;
    let body = test_bytes(5, 16 * MIB);
    // The ring of the class is there as soon as a node is.
    put_as(&s3, "two", "REDUCED_REDUNDANCY", &body).await?;
    cluster.wait_full_replicas(0, PATIENCE).await?;
    let two = all_disk_bytes(&cluster)? as f64 / body.len() as f64;
    ensure!((1.99..2.05).contains(&two), "two copies take {two} bytes per byte");
    put_as(&s3, "three", "STANDARD", &body).await?;
    cluster.wait_full_replicas(0, PATIENCE).await?;
    let three = all_disk_bytes(&cluster)? as f64 / body.len() as f64 - two;
    ensure!((2.99..3.05).contains(&three), "three copies take {three} bytes per byte");
    // Copied onto itself in the other class it takes the third copy, once the former two are collected.
    let headers = [("x-amz-copy-source", "/cold/two"), ("x-amz-storage-class", "STANDARD")];
    s3.send("PUT", "/cold/two", &[], &headers, "").await?.expect(200)?;
    let six = || async {
        let share = all_disk_bytes(&cluster).ok()? as f64 / body.len() as f64;
        (5.98..6.1).contains(&share).then_some(())
    };
    eventually("the copy onto itself has three copies", PATIENCE, six).await?;
    ensure!(s3.get("cold", "two").await?.expect(200)?.body == body, "other bytes after the copy onto itself");
    s3.send("PUT", "/cold/x", &[], &[("x-amz-storage-class", "COLDEST")], "x").await?.expect(400)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_outlive_nodes_and_disks() -> Result<()> {
    let storage_classes = "STANDARD_IA = \"rs:3+2\"\nGLACIER_IR = \"rs:3+2\"".to_owned();
    let mut cluster = Cluster::start_with(5, ClusterOptions { storage_classes, ..ClusterOptions::default() }).await?;
    let s3 = cluster.client(0);
    s3.create_bucket("cold").await?;
    let large = test_bytes(1, 24 * MIB);
    put_as(&s3, "large", "STANDARD_IA", &large).await?;
    cluster.wait_full_replicas(0, PATIENCE).await?;
    let share = all_disk_bytes(&cluster)? as f64 / large.len() as f64;
    ensure!((1.66..1.72).contains(&share), "stripes of 3+2 take {share} bytes per byte");
    let mut objects = vec![("large".to_owned(), large)];
    for (index, size) in [1, 100_000, MIB, 7 * MIB + 13].into_iter().enumerate() {
        let body = test_bytes(index as u64 + 2, size);
        put_as(&s3, &format!("o{size}"), "STANDARD_IA", &body).await?;
        objects.push((format!("o{size}"), body));
    }
    // A rule moves what is written in the default class.
    let rule = "<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix>moves</Prefix></Filter><Status>Enabled</Status>\
                <Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule>\
                </LifecycleConfiguration>";
    s3.send("PUT", "/cold", &[("lifecycle", "")], &[], rule).await?.expect(200)?;
    let moves = test_bytes(77, 9 * MIB);
    put_as(&s3, "moves", "STANDARD", &moves).await?;
    objects.push(("moves".to_owned(), moves));
    let moved = || async {
        let head = s3.send("HEAD", "/cold/moves", &[], &[], "").await.ok()?;
        (head.header("x-amz-storage-class") == "GLACIER_IR").then_some(())
    };
    eventually("the rule has moved the object", PATIENCE, moved).await?;
    check(&s3, &objects, "all nodes up").await?;
    cluster.wait_full_replicas(0, PATIENCE).await?;

    // What the rule moved away from is collected.
    let collected = || async {
        let kept: usize = objects.iter().map(|(_, body)| body.len()).sum();
        (all_disk_bytes(&cluster).ok()? as f64 <= kept as f64 * 1.75).then_some(())
    };
    eventually("the former copies are gone", PATIENCE, collected).await?;

    // One node is killed and the disk of another is lost: two shards of every stripe.
    cluster.kill(3)?;
    cluster.stop(4).await?;
    let before = disk_bytes(cluster.data_dir(4))?;
    fs::remove_dir_all(cluster.data_dir(4).join("extents"))?;
    // The administrator says that the disk of the extents is a new one.
    fs::write(cluster.data_dir(4).join("folders"), "raft\nmetadata\n")?;
    cluster.restart(4).await?;
    check(&cluster.client(1), &objects, "one node dead and one disk empty").await?;
    let rebuilt = || async { (disk_bytes(cluster.data_dir(4)).ok()? * 100 >= before * 95).then_some(()) };
    eventually("the empty disk is filled again", PATIENCE, rebuilt).await.with_context(|| {
        let after = disk_bytes(cluster.data_dir(4));
        format!("{before} bytes before, {after:?} now; status {:?}\n{}", cluster.status(0), cluster.log(4))
    })?;
    // What is written now lacks a shard, which the dead node makes when it is back.
    let late = test_bytes(99, 5 * MIB);
    put_as(&cluster.client(2), "late", "STANDARD_IA", &late).await?;
    objects.push(("late".to_owned(), late));
    cluster.restart(3).await?;
    cluster.wait_full_replicas(0, PATIENCE).await?;
    cluster.kill(1)?;
    check(&cluster.client(4), &objects, "another node dead").await?;
    Ok(())
}
