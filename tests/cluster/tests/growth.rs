//! A cluster grows from one node to three while it serves.

use std::time::Duration;

use anyhow::{Result, ensure};
use karri_tests_cluster::{Cluster, test_bytes};

#[tokio::test(flavor = "multi_thread")]
async fn one_node_becomes_three_and_may_then_lose_the_first() -> Result<()> {
    let mut cluster = Cluster::start(1).await?;
    let s3 = cluster.client(0);
    s3.create_bucket("grown").await?;
    s3.put("grown", "large", test_bytes(1, 12 << 20)).await?;
    s3.put("grown", "small", "written when there was one node").await?;
    for _ in 0..2 {
        cluster.add().await?;
    }
    cluster.wait_members(3).await?;
    cluster.wait_full_replicas(0, Duration::from_secs(90)).await?;
    cluster.kill(0)?;
    let other = cluster.client(2);
    let large = other.send_retrying(60, "GET", "/grown/large", &[], &[], "").await?.expect(200)?;
    ensure!(large.body == test_bytes(1, 12 << 20), "the object differs on the new nodes");
    let small = other.send_retrying(60, "GET", "/grown/small", &[], &[], "").await?.expect(200)?;
    ensure!(small.body == "written when there was one node", "{small:?}");
    Ok(())
}
