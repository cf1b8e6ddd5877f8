//! Nodes die in the middle of work: clients that retry see no errors, nothing acknowledged is lost, and a node
//! that returns is brought up to date by itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use karri_tests_cluster::{Cluster, S3Client, Seed, test_bytes};
use tokio::sync::Mutex;

/// Uploads objects of mixed sizes until told to stop; keeps those that were acknowledged.
async fn upload(
    client: S3Client,
    writer: u64,
    seed: u64,
    acknowledged: Arc<Mutex<Vec<(String, u64, usize)>>>,
    stop: Arc<std::sync::atomic::AtomicBool>,
) {
    const SIZES: [usize; 5] = [100, 20_000, 300_000, 3 << 20, 17 << 20];
    for number in 0.. {
        if stop.load(std::sync::atomic::Ordering::SeqCst) {
            return;
        }
        let content = seed ^ (writer << 32) ^ number;
        let size = SIZES[usize::try_from(content % 5).expect("below 5")];
        let key = format!("writer-{writer}/object-{number}");
        let answer = client.send("PUT", &format!("/acked/{key}"), &[], &[], test_bytes(content, size)).await;
        if answer.is_ok_and(|answer| answer.status == 200) {
            acknowledged.lock().await.push((key, content, size));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_survives_the_loss_of_all_nodes() -> Result<()> {
    let seed = Seed::choose().0;
    let mut cluster = Cluster::start(3).await?;
    cluster.client(0).create_bucket("acked").await?;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..6u64 {
        let client = cluster.client(usize::try_from(writer % 3)?);
        writers.push(tokio::spawn(upload(client, writer, seed, acknowledged.clone(), stop.clone())));
    }
    karri_tests_cluster::eventually("40 acknowledged uploads", Duration::from_secs(120), || async {
        (acknowledged.lock().await.len() >= 40).then_some(())
    })
    .await?;
    cluster.kill_all()?;
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    for writer in writers {
        writer.await?;
    }
    cluster.restart_all().await?;
    let s3 = cluster.client(1);
    let acknowledged = acknowledged.lock().await;
    let listed = s3.list_keys("acked", "", 1000).await?;
    for (key, content, size) in acknowledged.iter() {
        ensure!(listed.contains(key), "{key} was acknowledged and is not listed");
        let answer = s3.send_retrying(20, "GET", &format!("/acked/{key}"), &[], &[], "").await?.expect(200)?;
        ensure!(answer.body == test_bytes(*content, *size), "{key} was acknowledged and differs");
    }
    for key in &listed {
        // What was not acknowledged is whole or not there.
        s3.send_retrying(20, "GET", &format!("/acked/{key}"), &[], &[], "").await?.expect(200)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_returns_catches_up() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let s3 = cluster.client(0);
    s3.create_bucket("acked").await?;
    s3.put("acked", "before", test_bytes(1, 9 << 20)).await?;
    cluster.kill(2)?;
    for number in 0..20u64 {
        let body = test_bytes(number, 2 << 20);
        let path = format!("/acked/while-away-{number}");
        s3.send_retrying(60, "PUT", &path, &[], &[], body).await?.expect(200)?;
    }
    s3.send_retrying(60, "DELETE", "/acked/before", &[], &[], "").await?.expect(204)?;
    cluster.restart(2).await?;
    cluster.wait_full_replicas(0, Duration::from_secs(90)).await?;

    // The returned node alone with one other serves all of it.
    cluster.kill(0)?;
    let returned = cluster.client(2);
    for number in 0..20u64 {
        let path = format!("/acked/while-away-{number}");
        let answer = returned.send_retrying(60, "GET", &path, &[], &[], "").await?.expect(200)?;
        ensure!(answer.body == test_bytes(number, 2 << 20), "{path} differs");
    }
    let gone = returned.send_retrying(60, "GET", "/acked/before", &[], &[], "").await?;
    ensure!(gone.status == 404, "a deleted object came back: {}", gone.status);
    Ok(())
}
