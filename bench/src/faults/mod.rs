//! The same faults for Karri and its peers: nothing but S3 on the wire, and how each server's processes are started.
//!
//! As root: each node has a loop ext4 of its own.

mod clients;
mod disks;
mod flips;
mod scenarios;
mod seen;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::faults::scenarios::{NODES, Shown, Stage};
use crate::peers::Server;

/// Settings of a comparison under faults.
#[derive(Args, Clone, Debug)]
pub(crate) struct FaultOptions {
    /// Folder of the peers' programs; those on PATH are found too
    #[arg(long, default_value = "bench/peers")]
    programs: PathBuf,
    /// Servers, of those that are found and have clusters here; all of them when absent
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Faults; all when absent
    #[arg(long, value_delimiter = ',')]
    faults: Vec<FaultKind>,
    /// Seconds of each phase: before, during and after
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Folder for the results
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultKind {
    /// Each node in turn is killed
    Kill,
    /// All nodes are killed and their disks lose what was not synced
    PowerCut,
    /// 100 bits of one node's files are flipped
    FlippedBits,
    /// One node's disk is filled by somebody else
    FullDisk,
    /// Syncs of one node take longer
    SlowDisk,
}

/// One server under one fault.
#[derive(Serialize)]
struct Measured {
    server: &'static str,
    version: String,
    fault: FaultKind,
    /// What was seen, or why nothing was.
    shown: Result<Shown, String>,
}

/// Runs the faults and writes the results.
pub(crate) fn run(options: &FaultOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(compare(options))
}

async fn compare(options: &FaultOptions) -> Result<()> {
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let servers: Vec<Server> = Server::find(&options.programs)?
        .into_iter()
        .filter(|server| wanted(server.kind.name()) && server.kind.can_have(NODES))
        .collect();
    ensure!(!servers.is_empty(), "no server was found");
    let mut measured = Vec::new();
    for fault in FaultKind::value_variants() {
        if !options.faults.is_empty() && !options.faults.contains(fault) {
            continue;
        }
        for server in &servers {
            eprintln!("{fault:?}: {} {}", server.kind.name(), server.version);
            let shown = measure(server, *fault, Duration::from_secs(options.seconds)).await;
            if let Err(error) = &shown {
                eprintln!("failed: {error:#}");
            }
            let shown = shown.map_err(|error| format!("{error:#}"));
            measured.push(Measured {
                server: server.kind.name(),
                version: server.version.clone(),
                fault: *fault,
                shown,
            });
            // What comes later may take long or fail.
            write(options, &measured)?;
        }
    }
    println!("{}", table::markdown(&measured));
    Ok(())
}

fn write(options: &FaultOptions, measured: &[Measured]) -> Result<()> {
    std::fs::create_dir_all(&options.results).context("make the folder of the results")?;
    let path = options.results.join("faults.json");
    std::fs::write(&path, serde_json::to_string_pretty(&measured)?).with_context(|| format!("{}", path.display()))?;
    std::fs::write(options.results.join("faults.md"), table::markdown(measured)).context("write the table")
}

async fn measure(server: &Server, fault: FaultKind, phase: Duration) -> Result<Shown> {
    let mut stage = Stage::start(server, phase).await?;
    match fault {
        FaultKind::Kill => stage.kill().await,
        FaultKind::PowerCut => stage.power_cut().await,
        FaultKind::FlippedBits => stage.flipped_bits().await,
        FaultKind::FullDisk => stage.full_disk().await,
        FaultKind::SlowDisk => stage.slow_disk().await,
    }
}
