//! A disk that somebody fills. Of one of three nodes: whoever tries again sees no error, whichever node is asked, and the
//! node catches up when there is room. Of the only node: writes are refused by 507, reads go on. As root.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Cluster, ClusterOptions, S3Client, Seed, eventually, test_bytes};
use karri_tests_nodes::faults::{Fault, inject};
use karri_tests_nodes::net::Net;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

/// In the metadata, and in extents.
const SIZES: [usize; 2] = [3_000, 100_000];
/// Nobody waits longer for an acknowledgement while one disk of three is full.
const GAP_MAX: Duration = Duration::from_secs(4);
const TRIES: u32 = 20;
const SOON: Duration = Duration::from_secs(30);

async fn start(nodes: usize) -> Result<(Net, Cluster)> {
    let net = Net::new(nodes)?;
    let cluster =
        Cluster::start_with(nodes, ClusterOptions { sites: net.sites(), ..ClusterOptions::default() }).await?;
    cluster.client(0).create_bucket("full").await?;
    Ok((net, cluster))
}

/// The leader of each range, as a node knows it.
fn leaders(cluster: &Cluster, asked: usize) -> Option<Vec<u64>> {
    let status = cluster.status(asked).ok()?;
    status["ranges"].as_array()?.iter().map(|range| range["leader"].as_u64()).collect()
}

/// Writes to one node again and again.
struct Writer {
    client: S3Client,
    node: usize,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Writer {
    fn start(cluster: &Cluster, node: usize) -> (Self, tokio::task::JoinHandle<Result<Duration>>) {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writer = Self { client: cluster.client(node), node, stop: stop.clone(), written: written.clone() };
        let seen = Self { client: cluster.client(node), node, stop, written };
        (seen, tokio::spawn(writer.work()))
    }

    /// The longest time without an acknowledgement; an error as soon as a client that tries again has one.
    async fn work(self) -> Result<Duration> {
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.written.load(Ordering::Relaxed);
            let (path, body) = self.object(number);
            let answer = self.client.send_retrying(TRIES, "PUT", &path, &[], &[], body).await;
            let answer = answer.with_context(|| format!("{path} by node {}", self.node + 1))?;
            ensure!(answer.status == 200, "{path} by node {}: {}", self.node + 1, answer.status);
            longest = longest.max(last.elapsed());
            last = Instant::now();
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        Ok(longest)
    }

    fn object(&self, number: u64) -> (String, Vec<u8>) {
        let size = SIZES[number as usize % SIZES.len()];
        (format!("/full/{}-{number}", self.node), test_bytes(number * 8 + self.node as u64, size))
    }

    /// Waits until it has been acknowledged `more` objects.
    async fn wait_written(&self, more: u64) -> Result<()> {
        let due = self.written.load(Ordering::Relaxed) + more;
        let reached = || async { (self.written.load(Ordering::Relaxed) >= due).then_some(()) };
        eventually("a client writes on", SOON, reached).await
    }

    async fn check(&self, reader: &S3Client) -> Result<()> {
        for number in 0..self.written.load(Ordering::Relaxed) {
            let (path, body) = self.object(number);
            let answer = reader.send_retrying(TRIES, "GET", &path, &[], &[], "").await?.expect(200)?;
            ensure!(answer.body == body, "{path} has another body");
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_three_stops_nobody() -> Result<()> {
    let (net, mut cluster) = start(3).await?;
    let led = eventually("every range has a leader", SOON, || async { leaders(&cluster, 0) }).await?;
    // The one that leads most: ids are in the order in which the nodes joined.
    let victim =
        (0..3).max_by_key(|node| led.iter().filter(|leader| **leader == *node as u64 + 1).count()).unwrap_or(0);
    let id = victim as u64 + 1;
    ensure!(led.contains(&id), "it leads something: {led:?}");
    let (writers, works): (Vec<_>, Vec<_>) = (0..3).map(|node| Writer::start(&cluster, node)).unzip();
    for writer in &writers {
        writer.wait_written(4).await?;
    }
    let mut rng = StdRng::seed_from_u64(Seed::choose().0);
    let full = inject(Fault::FullDisk, victim, &mut cluster, &net, &mut rng).await?;
    let asked = (victim + 1) % 3;
    let handed_over = || async { leaders(&cluster, asked).filter(|led| !led.contains(&id)) };
    eventually("the full node leads nothing", SOON, handed_over).await?;
    ensure!(cluster.log(victim).contains("disk of the raft log is full"), "it says that its disk is full");
    // By the full node too.
    for writer in &writers {
        writer.wait_written(20).await?;
    }
    // The layout would have it lead again: not as long as it has no room.
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(!leaders(&cluster, asked).context("leaders")?.contains(&id), "leadership went back to the full node");
    full.mend(&mut cluster, &net).await?;
    eventually("it leads again", SOON, || async { leaders(&cluster, asked).filter(|led| led.contains(&id)) }).await?;
    for writer in &writers {
        writer.wait_written(4).await?;
        writer.stop.store(true, Ordering::Relaxed);
    }
    for (node, work) in works.into_iter().enumerate() {
        let gap = work.await??;
        println!("node {}: {} objects, longest gap {gap:.2?}", node + 1, writers[node].written.load(Ordering::Relaxed));
        ensure!(gap <= GAP_MAX, "nothing was acknowledged for {gap:?} by node {}", node + 1);
    }
    ensure!(!cluster.has_ended(victim)?, "the node with the full disk has ended");
    for reader in 0..3 {
        for writer in &writers {
            writer.check(&cluster.client(reader)).await?;
        }
    }
    cluster.wait_full_replicas(0, Duration::from_secs(120)).await?;
    cluster.expect_consistent(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_only_node_refuses_writes_by_507() -> Result<()> {
    let (net, mut cluster) = start(1).await?;
    let s3 = cluster.client(0);
    for size in SIZES {
        s3.put("full", &format!("before-{size}"), test_bytes(1, size)).await?;
    }
    let mut rng = StdRng::seed_from_u64(Seed::choose().0);
    let full = inject(Fault::FullDisk, 0, &mut cluster, &net, &mut rng).await?;
    let said = || async { cluster.log(0).contains("disk of the raft log is full").then_some(()) };
    eventually("the node notices", SOON, said).await?;
    for size in SIZES {
        let refused = s3.send("PUT", &format!("/full/refused-{size}"), &[], &[], test_bytes(2, size)).await?;
        let seen = (refused.status, refused.tag("Code"));
        ensure!(seen == (507, "InsufficientStorage".to_owned()), "{size} bytes: {seen:?}");
        ensure!(!refused.header("retry-after").is_empty(), "it says when to come again");
        let read = s3.get("full", &format!("before-{size}")).await?.expect(200)?;
        ensure!(read.body == test_bytes(1, size), "reads go on");
    }
    full.mend(&mut cluster, &net).await?;
    let written = || async { s3.put("full", "after", "room").await.ok().map(drop) };
    eventually("writes are taken again", SOON, written).await?;
    ensure!(!cluster.has_ended(0)?, "the node has ended");
    Ok(())
}
