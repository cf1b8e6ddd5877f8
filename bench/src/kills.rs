//! Whether anything that was acknowledged is lost when processes are killed, in the configuration that is measured.
//!
//! SIGKILL keeps what the kernel has in its cache; `tests/crash` cuts the power.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use karri_tests_cluster::{Cluster, Credentials, Seed, eventually};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::body::Noise;
use crate::client::{Connection, Keep, Request};
use crate::sizes::Sizes;
use crate::work::Draws;

const BUCKET: &str = "kills";
/// Wait after a refusal: a node is down.
const PAUSE: Duration = Duration::from_millis(50);
/// A node works between two kills, and is down, at most so long.
const UP_MS_MAX: u64 = 3000;
const DOWN_MS_MAX: u64 = 1500;
/// Of so many kills one takes all nodes.
const ALL_ONE_OF: u64 = 3;
/// Longest that an acknowledged object may take to be served once all nodes are back.
const SERVED_LIMIT: Duration = Duration::from_secs(60);

/// Settings of a run of kills.
#[derive(Args, Clone, Debug)]
pub(crate) struct KillOptions {
    /// Nodes of the cluster
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Requests at once
    #[arg(long, default_value_t = 16)]
    connections: u64,
    /// Seconds of load
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Sizes of the objects
    #[arg(long, default_value = "4KiB*60,64KiB*30,1MiB*8,8MiB*2")]
    size: Sizes,
}

/// What all writers share.
struct Run {
    hosts: Vec<String>,
    credentials: Credentials,
    noise: Noise,
    size: Sizes,
    seed: u64,
    next: AtomicU64,
    stop: AtomicBool,
}

/// Loads, kills and checks.
///
/// # Errors
/// An acknowledged object is not served, or not as it was.
pub(crate) fn run(options: &KillOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(kill(options))
}

async fn kill(options: &KillOptions) -> Result<()> {
    let seed = Seed::choose().0;
    let mut cluster = Cluster::start(options.nodes).await?;
    cluster.client(0).create_bucket(BUCKET).await?;
    let run = Arc::new(Run {
        hosts: (0..cluster.len()).map(|index| cluster.host(index)).collect(),
        credentials: cluster.credentials().clone(),
        noise: Noise::new(seed),
        size: options.size.clone(),
        seed,
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let mut writers = JoinSet::new();
    for writer in 0..options.connections {
        writers.spawn(run.clone().write(writer as usize));
    }
    let kills = trouble(&mut cluster, seed, Duration::from_secs(options.seconds)).await;
    run.stop.store(true, Ordering::Relaxed);
    let kills = kills?;
    cluster.restart_all().await?;
    let acknowledged: Vec<u64> = writers.join_all().await.into_iter().flatten().collect();
    ensure!(kills > 0 && !acknowledged.is_empty(), "nothing was killed, or nothing was acknowledged");
    let sent = run.next.load(Ordering::Relaxed);
    println!("{kills} processes killed, {} of {sent} objects acknowledged; reading them", acknowledged.len());
    run.check(&acknowledged, options.connections as usize).await?;
    println!("every acknowledged object is there");
    Ok(())
}

/// Kills one node or all, and starts them again, for so long. Returns the processes that were killed.
async fn trouble(cluster: &mut Cluster, seed: u64, length: Duration) -> Result<usize> {
    let mut draws = Draws::new(seed);
    let (end, mut kills) = (Instant::now() + length, 0);
    while Instant::now() < end {
        // What is tested is death at any moment, so that there is nothing to wait for.
        tokio::time::sleep(Duration::from_millis(draws.next() % UP_MS_MAX)).await;
        if draws.next().is_multiple_of(ALL_ONE_OF) {
            cluster.kill_all()?;
            kills += cluster.len();
        } else {
            cluster.kill((draws.next() % cluster.len() as u64) as usize)?;
            kills += 1;
        }
        tokio::time::sleep(Duration::from_millis(draws.next() % DOWN_MS_MAX)).await;
        cluster.restart_all().await?;
    }
    cluster.kill_all()?;
    Ok(kills + cluster.len())
}

impl Run {
    fn connection(&self, number: usize) -> Connection {
        Connection::new(&self.hosts[number % self.hosts.len()], self.credentials.clone())
    }

    fn length(&self, object: u64) -> u64 {
        self.size.pick(Draws::new(self.seed ^ object).next())
    }

    /// Puts objects until it is told to stop; returns those that were acknowledged.
    async fn write(self: Arc<Self>, mut endpoint: usize) -> Vec<u64> {
        let mut acknowledged = Vec::new();
        let mut connection = self.connection(endpoint);
        while !self.stop.load(Ordering::Relaxed) {
            let object = self.next.fetch_add(1, Ordering::Relaxed);
            let length = self.length(object);
            let body = self.noise.body(object, 0, length);
            let path = format!("/{BUCKET}/{object}");
            let answer = connection.send(Request { length, body, ..Request::new("PUT", &path) }).await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                acknowledged.push(object);
                continue;
            }
            endpoint += 1;
            connection = self.connection(endpoint);
            tokio::time::sleep(PAUSE).await;
        }
        acknowledged
    }

    /// Reads all objects and compares them with what was sent.
    async fn check(self: &Arc<Self>, objects: &[u64], readers: usize) -> Result<()> {
        let mut tasks = JoinSet::new();
        for (reader, objects) in objects.chunks(objects.len().div_ceil(readers.max(1))).enumerate() {
            let (run, objects) = (self.clone(), objects.to_vec());
            tasks.spawn(async move {
                for object in objects {
                    run.check_one(reader, object).await?;
                }
                Ok::<(), anyhow::Error>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn check_one(&self, reader: usize, object: u64) -> Result<()> {
        let path = format!("/{BUCKET}/{object}");
        let answer = eventually("an acknowledged object is served", SERVED_LIMIT, || async {
            let get = Request { keep: Keep::Md5, ..Request::new("GET", &path) };
            let answer = self.connection(reader).send(get).await;
            // A missing object is an answer; a node that is not there yet is none.
            answer.ok().filter(|answer| matches!(answer.status, 200 | 404))
        });
        let answer = answer.await.with_context(|| format!("object {object}"))?;
        ensure!(answer.status == 200, "object {object} was acknowledged and is lost");
        let wanted = self.noise.md5(object, 0, self.length(object));
        ensure!(answer.md5 == Some(wanted), "object {object} was acknowledged and differs");
        Ok(())
    }
}
