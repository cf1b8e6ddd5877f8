//! `karri fsck` on a running cluster: clean after work, and damage on the disks is found, named and repaired.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Cluster, ClusterOptions, test_bytes};

/// Work of every kind that leaves references behind.
async fn work(cluster: &Cluster) -> Result<()> {
    let s3 = cluster.client(0);
    s3.create_bucket("work").await?;
    for number in 0..12 {
        let size = [100, 60_000, 1_500_000][number % 3];
        s3.put("work", &format!("o{number}"), test_bytes(number as u64, size)).await?;
    }
    for number in 0..6 {
        let source = format!("/work/o{number}");
        let headers = [("x-amz-copy-source", source.as_str())];
        s3.send("PUT", &format!("/work/c{number}"), &[], &headers, "").await?.expect(200)?;
    }
    // Sources go and their copies stay; some are replaced.
    for number in 0..4 {
        s3.delete("work", &format!("o{number}")).await?;
    }
    for key in ["c2", "c3"] {
        s3.put("work", key, "replaced").await?;
    }
    let upload = s3.send("POST", "/work/parts", &[("uploads", "")], &[], "").await?.expect(200)?.tag("UploadId");
    let mut list = String::new();
    for number in ["1", "2"] {
        let size = if number == "1" { 5 << 20 } else { 70_000 };
        let query = [("partNumber", number), ("uploadId", upload.as_str())];
        let part = s3.send("PUT", "/work/parts", &query, &[], test_bytes(77, size)).await?.expect(200)?;
        list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", part.header("etag"));
    }
    let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    s3.send("POST", "/work/parts", &[("uploadId", &upload)], &[], body).await?.expect(200)?;
    // Begun and not completed, with a part.
    let upload = s3.send("POST", "/work/open", &[("uploads", "")], &[], "").await?.expect(200)?.tag("UploadId");
    let query = [("partNumber", "3"), ("uploadId", upload.as_str())];
    s3.send("PUT", "/work/open", &query, &[], test_bytes(78, 90_000)).await?.expect(200)?;
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    s3.send("PUT", "/work", &[("versioning", "")], &[], on).await?.expect(200)?;
    for number in 8..10 {
        s3.put("work", &format!("o{number}"), test_bytes(5, 50_000)).await?;
        s3.delete("work", &format!("o{number}")).await?;
    }
    Ok(())
}

/// Where these bytes are in a node's segments.
fn find(cluster: &Cluster, node: usize, needle: &[u8]) -> Result<(PathBuf, u64)> {
    for entry in fs::read_dir(cluster.data_dir(node).join("extents").join("segments"))? {
        let path = entry?.path();
        let content = fs::read(&path)?;
        if let Some(offset) = content.windows(needle.len()).position(|window| window == needle) {
            return Ok((path, offset as u64));
        }
    }
    anyhow::bail!("the bytes are on no disk")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worked_cluster_is_clean_and_damage_is_named_and_repaired() -> Result<()> {
    // The scrub would be faster than the second look.
    let storage_configuration = "scrub_chunks_per_second = 0".to_owned();
    let options = ClusterOptions { storage_configuration, ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(3, options).await?;
    work(&cluster).await?;
    cluster.wait_full_replicas(0, Duration::from_secs(60)).await?;
    let report = cluster.fsck(0, &["--deep"])?;
    let counts = &report["counts"];
    ensure!(report["faults"] == serde_json::json!([]), "a clean cluster: {report:#}");
    ensure!(counts["holdings"].as_u64() >= Some(3), "copies share data: {counts}");
    ensure!(counts["extents"].as_u64() >= Some(10) && counts["held"].as_u64() >= Some(30), "{counts}");

    // A flipped byte under a running node: presence is as before, the bytes are not.
    let body = test_bytes(11, 1_500_000);
    let (path, offset) = find(&cluster, 1, &body[700_000..700_064])?;
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&[!byte[0]])?;
    file.sync_all()?;
    ensure!(cluster.fsck(0, &[])?["faults"] == serde_json::json!([]), "presence alone is looked at by default");
    let report = cluster.fsck(0, &["--deep"])?;
    let faults = report["faults"].as_array().context("faults")?;
    let text = faults.first().map(|fault| format!("{} {}", fault["place"], fault["text"])).unwrap_or_default();
    ensure!(faults.len() == 1 && faults[0]["kind"] == "Copy", "one bad copy: {report:#}");
    ensure!(text.contains("node 2 has wrong bytes in chunks [0]") && text.contains("o11"), "{text}");
    let report = cluster.fsck(0, &["--deep", "--repair"])?;
    ensure!(report["faults"] == serde_json::json!([]) && report["repaired"] == 1, "repaired: {report:#}");

    // A file of extents goes: each extent in it is named, and comes back.
    let (path, _) = find(&cluster, 2, &body[700_000..700_064])?;
    fs::remove_file(path)?;
    let report = cluster.fsck(1, &[])?;
    let faults = report["faults"].as_array().context("faults")?;
    ensure!(!faults.is_empty(), "a removed file is noticed");
    let right = |fault: &serde_json::Value| {
        fault["kind"] == "Copy" && fault["text"].as_str().is_some_and(|text| text.starts_with("node 3 lacks chunks"))
    };
    ensure!(faults.iter().all(right), "only node 3 lacks chunks: {report:#}");
    ensure!(faults.iter().any(|fault| fault["place"].to_string().contains("o11")), "{report:#}");
    let report = cluster.fsck(1, &["--repair"])?;
    ensure!(report["faults"] == serde_json::json!([]), "repaired: {report:#}");
    ensure!(cluster.fsck(0, &["--deep"])?["faults"] == serde_json::json!([]), "all is well at the end");
    for node in 0..3 {
        cluster.stop(node).await?;
        cluster.restart(node).await?;
    }
    ensure!(cluster.fsck(2, &["--deep"])?["faults"] == serde_json::json!([]), "and after restarts");
    Ok(())
}
