//! A node that is cut off serves nothing stale and acknowledges nothing; the others go on; healed, it agrees with them.

use std::time::Duration;

use anyhow::{Result, ensure};
use karri_tests_cluster::{Cluster, ClusterOptions, eventually};
use tokio::time::Instant;

/// A node that is cut off says so within this time.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_serves_nothing_stale() -> Result<()> {
    let options = ClusterOptions { with_links: true, ..ClusterOptions::default() };
    let cluster = Cluster::start_with(3, options).await?;
    let clients: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    clients[0].create_bucket("split").await?;
    for victim in 0..3 {
        let key = format!("/split/key-{victim}");
        let other = (victim + 1) % 3;
        clients[other].send_retrying(60, "PUT", &key, &[], &[], "before").await?.expect(200)?;
        cluster.isolate(victim)?;
        let (minority, path) = (clients[victim].clone(), key.clone());
        let lost = tokio::spawn(async move {
            let asked = Instant::now();
            let answer = minority.send("PUT", &path, &[], &[("if-match", "\"none\"")], "never").await;
            (answer, asked.elapsed())
        });
        clients[other].send_retrying(60, "PUT", &key, &[], &[], "after").await?.expect(200)?;
        // Whatever the node that is cut off answers from now on, it is not the old value.
        let asked = Instant::now();
        let read = clients[victim].get("split", &key["/split/".len()..]).await?;
        ensure!(read.status == 503, "node {victim}, cut off, answered {}: {:?}", read.status, read.body);
        ensure!(asked.elapsed() < ANSWER_MAX, "node {victim}, cut off, answered after {:?}", asked.elapsed());
        // Under its lease the old leader may still refuse; it must not accept.
        let (lost, took) = lost.await?;
        let lost = lost?;
        ensure!(lost.status != 200, "a minority acknowledged: {lost:?}");
        ensure!(took < ANSWER_MAX, "node {victim}, cut off, refused a write after {took:?}");
        cluster.heal();
        eventually("the healed node serves the new value", Duration::from_secs(60), || async {
            let read = clients[victim].get("split", &key["/split/".len()..]).await.ok()?;
            (read.status == 200 && read.body == "after").then_some(())
        })
        .await?;
    }
    Ok(())
}
