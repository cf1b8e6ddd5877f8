//! Copies share data: they take no time and no disk, and outlive their source.

use std::time::Duration;

use anyhow::{Result, ensure};
use karri_tests_cluster::{Cluster, eventually, test_bytes};

const SIZE: usize = 96 << 20;

async fn stored_bytes(cluster: &Cluster) -> Option<u64> {
    cluster.status(0).ok()?["extents"]["bytes"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_move_no_data_and_outlive_their_source() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let s3 = cluster.client(0);
    s3.create_bucket("copies").await?;
    let body = test_bytes(5, SIZE);
    s3.put("copies", "source", body.clone()).await?;
    let before = stored_bytes(&cluster).await;
    ensure!(before.is_some_and(|bytes| bytes >= SIZE as u64), "status shows {before:?} bytes");

    let to_itself = [
        ("x-amz-copy-source", "/copies/source"),
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-meta-mtime", "1700000000.5"),
    ];
    s3.send("PUT", "/copies/source", &[], &to_itself, "").await?.expect(200)?;
    s3.send("PUT", "/copies/copy", &[], &[("x-amz-copy-source", "/copies/source")], "").await?.expect(200)?;
    let same = s3.send("PUT", "/copies/copy", &[], &[("x-amz-copy-source", "/copies/copy")], "").await?;
    ensure!((same.status, same.tag("Code").as_str()) == (400, "InvalidRequest"), "{same:?}");
    ensure!(stored_bytes(&cluster).await == before, "a copy stored bytes");

    let head = s3.send("HEAD", "/copies/source", &[], &[], "").await?.expect(200)?;
    ensure!(head.header("x-amz-meta-mtime") == "1700000000.5", "{head:?}");
    s3.delete("copies", "source").await?;
    ensure!(s3.get("copies", "copy").await?.expect(200)?.body == body, "the copy lost its data with its source");
    s3.delete("copies", "copy").await?;
    eventually("deleted data is collected", Duration::from_secs(60), || async {
        (stored_bytes(&cluster).await? == 0).then_some(())
    })
    .await
}
