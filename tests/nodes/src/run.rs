//! One run: a cluster, clients, faults one after the other, and the judgement.

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Cluster, ClusterOptions, S3Client, Seed, eventually};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::client::{BUCKET, Recorder};
use crate::faults::{Fault, inject, skip_syncs};
use crate::net::{Net, tool};

/// Clients.
const WORKERS: u64 = 12;
/// How long a fault lasts.
const HOLD_MS: std::ops::Range<u64> = 2000..5000;
/// Within this time after it was mended a cluster acknowledges again, at every node (I10).
pub const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// How long copies may take to be complete again (I7).
const COPIES_MAX: Duration = Duration::from_secs(120);
/// How long it may take until references equal a recount (I7).
const RECOUNT_MAX: Duration = Duration::from_secs(60);

/// What disks that forget have forgotten.
const FORGOTTEN_OPERATIONS: u64 = 600;

/// A disk that takes back what it had said to be durable: for the test of the checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// When all nodes are killed, their disks are as they were some seconds before.
    Rollback,
    /// The same, but for one minority's disks.
    RollbackOfMajority,
    /// Before a power cut no sync is carried out, and each is said to be.
    SkippedSyncs,
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
    /// Kinds of faults, in their order.
    pub kinds: Vec<Fault>,
    /// Fixes the clients' choices and the faults.
    pub seed: Seed,
    /// [`RECOVERY_MAX`], or longer where the nodes get little of the machine's time.
    pub recovery_max: Duration,
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
            let fault = self.options.kinds[number % self.options.kinds.len()];
            self.fault(fault, &recorder).await.with_context(|| format!("fault {number}, {fault:?}"))?;
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
        self.recount().await?;
        self.report.operations = (recorder.operations(), recorder.outcomes().1);
        self.report.keys = (findings.keys, findings.undecided);
        self.report.took = began.elapsed();
        let kinds = &self.options.kinds;
        let missing: Vec<_> = kinds.iter().filter(|kind| !self.report.faults.contains_key(kind)).collect();
        ensure!(self.options.faults < kinds.len() || missing.is_empty(), "invalid run: {missing:?} never came to pass");
        Ok(())
    }

    /// Every reference equals a recount, every copy is there and nothing is there that nobody names (I7). What the
    /// collector has on its list still may take a while.
    async fn recount(&self) -> Result<()> {
        let clean =
            eventually("references equal a recount", RECOUNT_MAX, || async { self.cluster.expect_consistent(0).ok() });
        if clean.await.is_err() {
            self.cluster.expect_consistent(0).context("after everything was mended")?;
        }
        Ok(())
    }

    /// Waits for clients; they must get on when nothing is broken.
    async fn wait_operations(&self, recorder: &Arc<Recorder>, due: u64) -> Result<()> {
        let reached = || async { (recorder.operations() >= due).then_some(()) };
        eventually("the clients get on", Duration::from_secs(600), reached).await
    }

    async fn fault(&mut self, fault: Fault, recorder: &Arc<Recorder>) -> Result<()> {
        let nodes = self.options.nodes;
        // The clock of the last node is the one that can be changed.
        let victim = if fault == Fault::ClockJump { nodes - 1 } else { self.rng.random_range(0..nodes) };
        println!("{fault:?} at node {}", victim + 1);
        let straces = match (fault, self.options.mutant) {
            (Fault::PowerCut, Some(Mutant::SkippedSyncs)) => self.skip_syncs(recorder).await?,
            _ => Vec::new(),
        };
        let active = inject(fault, victim, &mut self.cluster, &self.net, &mut self.rng).await?;
        for mut strace in straces {
            // It has ended with its node.
            strace.wait()?;
        }
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(HOLD_MS))).await;
        if fault == Fault::ClockJump {
            self.check_clock(victim).await?;
        }
        if fault == Fault::KillAll && matches!(self.options.mutant, Some(Mutant::Rollback | Mutant::RollbackOfMajority))
        {
            self.roll_back(recorder).await?;
        }
        active.mend(&mut self.cluster, &self.net).await?;
        let mended = Instant::now();
        for node in 0..nodes {
            self.acknowledges(node).await?;
        }
        let recovery = mended.elapsed();
        println!("mended; every node acknowledges after {recovery:.1?}");
        ensure!(recovery <= self.options.recovery_max, "acknowledges again only {recovery:?} after it was mended");
        self.report.recovery_max = self.report.recovery_max.max(recovery);
        *self.report.faults.entry(fault).or_default() += 1;
        Ok(())
    }

    async fn acknowledges(&self, node: usize) -> Result<()> {
        let client = self.clients[node].clone().with_timeout(Duration::from_secs(3));
        let path = format!("/{BUCKET}/recovery-{node}");
        eventually("a node acknowledges again", self.options.recovery_max * 4, || async {
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

    /// Lets nodes work for a while without a sync.
    async fn skip_syncs(&self, recorder: &Arc<Recorder>) -> Result<Vec<Child>> {
        let mut straces = Vec::new();
        for node in 0..self.options.nodes {
            let log = self.net.clock_file().with_file_name(format!("strace{node}"));
            let (strace, log) = skip_syncs(self.cluster.pid(node)?, log)?;
            let injected = || async { std::fs::read_to_string(&log).ok().filter(|text| text.contains("INJECTED")) };
            eventually("a sync is skipped", Duration::from_secs(20), injected).await?;
            straces.push(strace);
        }
        self.wait_operations(recorder, recorder.operations() + FORGOTTEN_OPERATIONS).await?;
        Ok(straces)
    }

    /// Puts back what the disks were a while before; all nodes are dead.
    async fn roll_back(&mut self, recorder: &Arc<Recorder>) -> Result<()> {
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
        self.wait_operations(recorder, recorder.operations() + FORGOTTEN_OPERATIONS).await?;
        self.cluster.kill_all()?;
        let until = match self.options.mutant {
            Some(Mutant::RollbackOfMajority) => copies / 2 + 1,
            _ => copies,
        };
        for node in 0..until {
            copy(&older(&self.net, node), self.cluster.data_dir(node))?;
        }
        // Those that forgot are a majority, and begin again before one that remembers can remind them.
        for node in 0..until {
            self.cluster.start_node(node)?;
        }
        for node in 0..until {
            self.acknowledges(node).await?;
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
