//! One run: a cluster, clients, faults one after the other, and the judgement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Cluster, ClusterOptions, S3Client, Seed, eventually};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::client::{BUCKET, Recorder};
use crate::faults::{Fault, inject};
use crate::net::{Net, tool};

/// Clients.
const WORKERS: u64 = 12;
/// How long a fault lasts.
const HOLD_MS: std::ops::Range<u64> = 2000..5000;
/// Within this time after it was mended a cluster acknowledges again, at every node (I10).
const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// How long copies may take to be complete again (I7).
const COPIES_MAX: Duration = Duration::from_secs(120);

/// A disk that takes back what it had said to be durable: for the test of the checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// When all nodes are killed, their disks are as they were some seconds before.
    Rollback,
    /// One node answers with another cluster's state: its disk and those of a majority are older.
    RollbackOfMajority,
}

/// What a run is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes.
    pub nodes: usize,
    /// Operations at least.
    pub operations: u64,
    /// Faults at least; each kind comes once before one comes again.
    pub faults: usize,
    /// Fixes the clients' choices and the faults.
    pub seed: Seed,
    /// For the test of the checker.
    pub mutant: Option<Mutant>,
}

/// What happened.
#[derive(Debug)]
pub struct Report {
    /// Operations, and those of which the outcome is unknown.
    pub operations: (u64, u64),
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// The longest time from a mended fault to an acknowledgement by every node.
    pub recovery_max: Duration,
    /// Histories, and those for which the search gave up.
    pub keys: (usize, usize),
    /// The whole run.
    pub took: Duration,
}

struct Run {
    options: Options,
    net: Net,
    cluster: Cluster,
    clients: Vec<S3Client>,
    rng: StdRng,
    report: Report,
}

/// Carries out a run.
///
/// # Errors
/// A promise that was broken, or a fault that did not come to pass.
pub async fn run(options: Options) -> Result<Report> {
    let net = Net::new(options.nodes)?;
    let cluster_options = ClusterOptions { sites: net.sites(), ..ClusterOptions::default() };
    let cluster = Cluster::start_with(options.nodes, cluster_options).await?;
    let clients: Vec<_> = (0..options.nodes).map(|node| cluster.client(node)).collect();
    clients[0].create_bucket(BUCKET).await?;
    let report = Report {
        operations: (0, 0),
        faults: BTreeMap::new(),
        recovery_max: Duration::ZERO,
        keys: (0, 0),
        took: Duration::ZERO,
    };
    let rng = StdRng::seed_from_u64(options.seed.0);
    let mut run = Run { options, net, cluster, clients, rng, report };
    let outcome = run.carry_out().await;
    if outcome.is_err() {
        run.show_logs();
    }
    outcome?;
    Ok(run.report)
}

impl Run {
    async fn carry_out(&mut self) -> Result<()> {
        let began = Instant::now();
        let recorder = Recorder::new();
        let seed = self.options.seed.0;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| tokio::spawn(recorder.clone().work(worker, self.clients.clone(), seed)))
            .collect();
        for number in 0..self.options.faults {
            let due = self.options.operations * (number as u64 + 1) / (self.options.faults as u64 + 2);
            self.wait_operations(&recorder, due).await?;
            let fault = Fault::ALL[number % Fault::ALL.len()];
            self.fault(fault).await.with_context(|| format!("fault {number}, {fault:?}"))?;
        }
        self.wait_operations(&recorder, self.options.operations).await?;
        recorder.stop();
        for worker in workers {
            worker.await.context("a worker panicked")?;
        }
        recorder.read_all(&self.clients).await?;
        let findings = recorder.judge().await?;
        self.cluster
            .wait_full_replicas(0, COPIES_MAX)
            .await
            .context("copies are missing after everything was mended")?;
        self.report.operations = (recorder.operations(), recorder.outcomes().1);
        self.report.keys = (findings.keys, findings.undecided);
        self.report.took = began.elapsed();
        let missing: Vec<_> = Fault::ALL.iter().filter(|kind| !self.report.faults.contains_key(kind)).collect();
        ensure!(
            self.options.faults < Fault::ALL.len() || missing.is_empty(),
            "invalid run: {missing:?} never came to pass"
        );
        Ok(())
    }

    /// Waits for clients; they must get on when nothing is broken.
    async fn wait_operations(&self, recorder: &Arc<Recorder>, due: u64) -> Result<()> {
        let reached = || async { (recorder.operations() >= due).then_some(()) };
        eventually("the clients get on", Duration::from_secs(600), reached).await
    }

    async fn fault(&mut self, fault: Fault) -> Result<()> {
        let nodes = self.options.nodes;
        // The clock of the last node is the one that can be changed.
        let victim = if fault == Fault::ClockJump { nodes - 1 } else { self.rng.random_range(0..nodes) };
        println!("{fault:?} at node {}", victim + 1);
        let active = inject(fault, victim, &mut self.cluster, &self.net, &mut self.rng).await?;
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(HOLD_MS))).await;
        if fault == Fault::ClockJump {
            self.check_clock(victim).await?;
        }
        if fault == Fault::KillAll && self.options.mutant.is_some() {
            self.roll_back().await?;
        }
        active.mend(&mut self.cluster, &self.net).await?;
        let mended = Instant::now();
        for node in 0..nodes {
            self.acknowledges(node).await?;
        }
        let recovery = mended.elapsed();
        println!("mended; every node acknowledges after {recovery:.1?}");
        ensure!(recovery <= RECOVERY_MAX, "acknowledges again only {recovery:?} after it was mended");
        self.report.recovery_max = self.report.recovery_max.max(recovery);
        *self.report.faults.entry(fault).or_default() += 1;
        Ok(())
    }

    async fn acknowledges(&self, node: usize) -> Result<()> {
        let client = self.clients[node].clone().with_timeout(Duration::from_secs(3));
        let path = format!("/{BUCKET}/recovery-{node}");
        eventually("a node acknowledges again", RECOVERY_MAX * 4, || async {
            let put = client.send("PUT", &path, &[], &[], vec![7; 50_000]).await.ok()?;
            let get = client.send("GET", &path, &[], &[], "").await.ok()?;
            (put.status == 200 && get.status == 200).then_some(())
        })
        .await
        .with_context(|| format!("node {}", node + 1))
    }

    async fn check_clock(&self, node: usize) -> Result<()> {
        let date = |index: usize| {
            let client = self.clients[index].clone();
            async move {
                let answer = client.send_raw("GET", "/-/live", &[], bytes::Bytes::new()).await?;
                Ok::<_, anyhow::Error>(answer.header("date").to_owned())
            }
        };
        let (here, there) = (date(node).await?, date(0).await?);
        ensure!(here != there && !here.is_empty(), "the clock of node {} did not jump: {here}", node + 1);
        Ok(())
    }

    /// Puts back what the disks were a while before; all nodes are dead.
    async fn roll_back(&mut self) -> Result<()> {
        let copies = self.options.nodes;
        let copy = |from: &std::path::Path, to: &std::path::Path| -> Result<()> {
            tool("rm", &["-rf", &to.to_string_lossy()])?;
            tool("cp", &["-a", &from.to_string_lossy(), &to.to_string_lossy()]).map(drop)
        };
        let older = |net: &Net, node: usize| net.disk(node).join("older");
        for node in 0..copies {
            copy(self.cluster.data_dir(node), &older(&self.net, node))?;
        }
        self.cluster.restart_all().await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        self.cluster.kill_all()?;
        let until = match self.options.mutant {
            Some(Mutant::RollbackOfMajority) => copies / 2 + 1,
            _ => copies,
        };
        for node in 0..until {
            copy(&older(&self.net, node), self.cluster.data_dir(node))?;
        }
        Ok(())
    }

    fn show_logs(&self) {
        for node in 0..self.options.nodes {
            let log = self.cluster.log(node);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(25)..].join("\n");
            eprintln!("--- end of the log of node {}:\n{tail}", node + 1);
        }
    }
}
