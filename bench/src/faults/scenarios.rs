//! What is done to a cluster, and what is seen.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use karri_tests_cluster::eventually;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::Serialize;
use tokio::time::Instant;

use super::clients::{BUCKET, Checked, Key, Load, Target, attempt, check};
use super::disks::Disks;
use super::flips;
use super::seen::Seen;
use crate::peers::{Running, Server};

/// Nodes, and copies of everything.
pub(super) const NODES: usize = 3;
/// Bits flipped.
const FLIPS: usize = 100;
/// Objects that bits are flipped in, and the length of each.
const FLIPPED_OBJECTS: u64 = 200;
const FLIPPED_OBJECT_BYTES: usize = 128 << 10;
/// Times that every object is read at every node after the flips.
const FLIPPED_READS: usize = 3;
/// Longest wait until all flipped bits are healed, and between two looks.
const HEAL_MAX: Duration = Duration::from_secs(90);
const HEAL_LOOK: Duration = Duration::from_secs(3);
/// Power cuts, and the load before each.
const POWER_CUTS: u64 = 3;
/// What a slow disk's sync takes longer.
pub(super) const SLOW_SYNC_MS: u64 = 200;
/// Longest wait until a node that was broken acknowledges again.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// A cluster on disks of its own.
pub(super) struct Stage {
    // The nodes end before their disks go.
    running: Running,
    disks: Disks,
    target: Target,
    phase: Duration,
}

/// What a scenario has shown.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Shown {
    Kill {
        before: Seen,
        during: Vec<Seen>,
        after: Vec<Seen>,
        checked: Checked,
    },
    PowerCut {
        acknowledged: usize,
        serving_after_seconds: Vec<f64>,
        checked: Vec<Checked>,
    },
    FlippedBits {
        flipped: usize,
        reads: usize,
        failed_reads: usize,
        wrong_bodies: usize,
        healed: Vec<(f64, usize)>,
        left_in_objects: usize,
    },
    FullDisk {
        before: Seen,
        during: Seen,
        after: Seen,
        ended: bool,
        recovered_after_seconds: f64,
        checked: Checked,
    },
    SlowDisk {
        before: Seen,
        traced: Seen,
        slow: Vec<Seen>,
    },
}

impl Stage {
    /// Starts a server on fresh disks.
    pub(super) async fn start(server: &Server, phase: Duration) -> Result<Self> {
        let disks = Disks::new(NODES)?;
        let running = Running::start_on(server, NODES, &disks.folders()).await?;
        let target = Target::new(&running.endpoints, &running.credentials);
        let stage = Self { running, disks, target, phase };
        for mut connection in stage.target.connections().into_iter().take(1) {
            let answer = attempt(&mut connection, "PUT", &format!("/{BUCKET}"), Bytes::new()).await;
            let made = answer.map_err(|failure| anyhow::anyhow!("the bucket is not made: {failure}"))?;
            ensure!(made.status == 200, "the bucket is not made: {}", made.code());
        }
        stage.all_acknowledge().await?;
        stage.disks.sync()?;
        Ok(stage)
    }

    /// What a node is asked to write when it is to acknowledge again.
    fn first_object(&self, node: usize) -> (String, Bytes) {
        (format!("/{BUCKET}/recovered-{node}"), self.target.body_of(node as u64, 50_000))
    }

    /// Waits until a node acknowledges a write and a read; gives the time.
    async fn acknowledges(&self, node: usize) -> Result<Duration> {
        let began = Instant::now();
        let (path, body) = self.first_object(node);
        eventually("a node acknowledges again", RECOVERY_MAX, || async {
            let mut connection = self.target.connections().swap_remove(node);
            let put = attempt(&mut connection, "PUT", &path, body.clone()).await.ok()?;
            let get = attempt(&mut connection, "GET", &path, Bytes::new()).await.ok()?;
            (put.status == 200 && get.status == 200).then_some(())
        })
        .await
        .with_context(|| format!("node {}", node + 1))?;
        Ok(began.elapsed())
    }

    async fn all_acknowledge(&self) -> Result<Duration> {
        let began = Instant::now();
        for node in 0..NODES {
            self.acknowledges(node).await?;
        }
        Ok(began.elapsed())
    }

    /// Each node in turn is killed under load and started again.
    pub(super) async fn kill(&mut self) -> Result<Shown> {
        let load = Load::start(&self.target, 1);
        tokio::time::sleep(self.phase).await;
        let mut marks = vec![load.now()];
        for node in 0..NODES {
            self.running.kill(node)?;
            tokio::time::sleep(self.phase).await;
            marks.push(load.now());
            self.running.start_node(node)?;
            self.acknowledges(node).await?;
            tokio::time::sleep(self.phase).await;
            marks.push(load.now());
        }
        let outcome = load.stop().await?;
        let checked = check(&self.target, &outcome.keys).await?;
        let seen = |from: usize| Seen::between(&outcome.events, marks[from], marks[from + 1]);
        Ok(Shown::Kill {
            before: Seen::between(&outcome.events, self.phase / 4, marks[0]),
            during: (0..NODES).map(|node| seen(2 * node)).collect(),
            after: (0..NODES).map(|node| seen(2 * node + 1)).collect(),
            checked,
        })
    }

    /// All nodes are killed under load, and their disks lose what was not synced.
    pub(super) async fn power_cut(&mut self) -> Result<Shown> {
        let (mut serving, mut checked, mut acknowledged) = (Vec::new(), Vec::new(), 0);
        let mut keys: Vec<Key> = Vec::new();
        for round in 1..=POWER_CUTS {
            let load = Load::start(&self.target, round);
            tokio::time::sleep(self.phase).await;
            self.running.kill_all()?;
            self.disks.cut_power()?;
            let began = Instant::now();
            for node in 0..NODES {
                self.running.start_node(node)?;
            }
            // The clients stop after their retries, which may be answered by the nodes that are back.
            let outcome = load.stop().await?;
            acknowledged += outcome.events.iter().filter(|event| event.done).count();
            keys.extend(outcome.keys);
            let waited = self.all_acknowledge().await;
            serving.push(waited.as_ref().map_or(f64::NAN, |_| began.elapsed().as_secs_f64()));
            if waited.is_err() {
                // Nothing answers, and each read would be tried again and again.
                checked.push(Checked { keys: keys.len(), unreadable: keys.len(), ..Checked::default() });
                break;
            }
            checked.push(check(&self.target, &keys).await?);
        }
        Ok(Shown::PowerCut { acknowledged, serving_after_seconds: serving, checked })
    }

    /// Bits of one node's files are flipped.
    pub(super) async fn flipped_bits(&mut self) -> Result<Shown> {
        let mut objects: Vec<(String, Bytes)> = (0..FLIPPED_OBJECTS)
            .map(|number| (format!("/{BUCKET}/flipped-{number}"), self.target.body_of(number, FLIPPED_OBJECT_BYTES)))
            .collect();
        let mut connections = self.target.connections();
        for (number, (path, body)) in objects.iter().enumerate() {
            let put = attempt(&mut connections[number % NODES], "PUT", path, body.clone()).await;
            ensure!(put.is_ok_and(|answer| answer.status == 200), "{path} is not put");
        }
        // What was written when the cluster was started is on the disk as well, and in reach of the flips.
        objects.extend((0..NODES).map(|node| self.first_object(node)));
        // The last copy may be written after the answer.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let folder: PathBuf = self.running.object_folders[0].clone();
        let windows = flips::flip(&folder, FLIPS, &mut StdRng::seed_from_u64(3))?;
        let began = Instant::now();
        let (mut reads, mut failed_reads, mut wrong_bodies) = (0, 0, 0);
        for _ in 0..FLIPPED_READS {
            for connection in &mut connections {
                for (path, body) in &objects {
                    reads += 1;
                    match attempt(connection, "GET", path, Bytes::new()).await {
                        Ok(answer) if answer.status == 200 => wrong_bodies += usize::from(answer.body != *body),
                        _ => failed_reads += 1,
                    }
                }
            }
        }
        let mut healed = vec![(began.elapsed().as_secs_f64(), flips::healed(&folder, &windows)?)];
        self.running.scrub()?;
        while healed.last().is_some_and(|(_, count)| *count < windows.len()) && began.elapsed() < HEAL_MAX {
            tokio::time::sleep(HEAL_LOOK).await;
            healed.push((began.elapsed().as_secs_f64(), flips::healed(&folder, &windows)?));
        }
        let left = flips::missing(&folder, &windows)?;
        let left_in_objects = left.iter().filter(|window| objects.iter().any(|(_, body)| window.is_of(body))).count();
        let flipped = windows.len();
        Ok(Shown::FlippedBits { flipped, reads, failed_reads, wrong_bodies, healed, left_in_objects })
    }

    /// Somebody fills a node's disk to its last byte, and makes room again.
    pub(super) async fn full_disk(&mut self) -> Result<Shown> {
        let load = Load::start(&self.target, 1);
        tokio::time::sleep(self.phase).await;
        let filled = load.now();
        self.disks.fill(0)?;
        tokio::time::sleep(self.phase * 2).await;
        let freed = load.now();
        self.disks.free(0)?;
        let began = Instant::now();
        // Whoever runs a server starts it again when it ends.
        let ended = self.running.has_ended(0)?;
        if ended {
            self.running.start_node(0)?;
        }
        let recovered = self.acknowledges(0).await.map_or(f64::NAN, |_| began.elapsed().as_secs_f64());
        tokio::time::sleep(self.phase).await;
        let end = load.now();
        let outcome = load.stop().await?;
        let checked = check(&self.target, &outcome.keys).await?;
        Ok(Shown::FullDisk {
            before: Seen::between(&outcome.events, self.phase / 4, filled),
            during: Seen::between(&outcome.events, filled, freed),
            after: Seen::between(&outcome.events, freed, end),
            ended,
            recovered_after_seconds: recovered,
            checked,
        })
    }

    /// Syncs of each node in turn take longer.
    pub(super) async fn slow_disk(&mut self) -> Result<Shown> {
        let load = Load::start(&self.target, 1);
        tokio::time::sleep(self.phase).await;
        let mut marks = vec![load.now()];
        let no_delay = trace(self.running.pid(0)?, 0)?;
        tokio::time::sleep(self.phase).await;
        end(no_delay)?;
        marks.push(load.now());
        for node in 0..NODES {
            let strace = trace(self.running.pid(node)?, SLOW_SYNC_MS)?;
            tokio::time::sleep(self.phase).await;
            end(strace)?;
            marks.push(load.now());
        }
        let outcome = load.stop().await?;
        let seen = |from: usize| Seen::between(&outcome.events, marks[from], marks[from + 1]);
        Ok(Shown::SlowDisk {
            before: Seen::between(&outcome.events, self.phase / 4, marks[0]),
            traced: seen(0),
            slow: (1..=NODES).map(seen).collect(),
        })
    }
}

/// Delays every sync of a process.
fn trace(pid: u32, delay_ms: u64) -> Result<Child> {
    const SYNCS: &str = "fsync,fdatasync,msync,sync_file_range";
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-p", &pid.to_string(), "-o", "/dev/null", "-e", &format!("trace={SYNCS}")]);
    if delay_ms > 0 {
        command.args(["-e", &format!("inject={SYNCS}:delay_enter={}", delay_ms * 1000)]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("start strace")
}

/// Lets go of the process.
fn end(mut strace: Child) -> Result<()> {
    ensure!(strace.try_wait()?.is_none(), "strace ended by itself: the process was not traced");
    let status = Command::new("kill").args(["-INT", &strace.id().to_string()]).status()?;
    ensure!(status.success(), "strace cannot be ended");
    strace.wait().context("wait for strace").map(drop)
}
