//! The same works against Karri and its peers, in interleaved rounds on one machine.
//!
//! Every peer is a program that runs beside us; nothing of it is linked. What each promises with a 200 is said beside
//! its name, because a write that is not synced is another product.

mod aims;
mod install;
mod server;
mod servers;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::load::Load;
use crate::peers::server::Kind as Peer;
pub(crate) use crate::peers::server::{Running, Server};
use crate::peers::table::{Results, Round};
use crate::work::{Kind, Mix};

/// Settings of a comparison.
#[derive(Args, Clone, Debug)]
pub(crate) struct PeerOptions {
    /// Fetch and build the peers that can be had: Garage by cargo, MinIO and SeaweedFS by go
    #[arg(long)]
    install: bool,
    /// Folder of the peers' programs; those on PATH are found too
    #[arg(long, default_value = "bench/peers")]
    programs: PathBuf,
    /// At most 15 minutes: Karri and Garage with its fsync settings, two rounds of 4 seconds
    #[arg(long)]
    short: bool,
    /// Servers to run, of those that are found; all when absent
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Nodes of each server
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    nodes: Vec<usize>,
    /// Works to run, by name; all when absent
    #[arg(long, value_delimiter = ',')]
    works: Vec<String>,
    /// Rounds; the median of them is told
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Seconds before, which are not measured
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// Folder for the results
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

/// One work of the comparison.
pub(crate) struct WorkItem {
    pub(crate) name: &'static str,
    kind: Kind,
    size: &'static str,
    connections: usize,
    objects: usize,
    /// Whether its cost is told per GiB, not per request.
    pub(crate) by_bytes: bool,
}

const WORKS: [WorkItem; 8] = [
    item("PUT 4 KiB", Kind::Put, "4KiB", 16, 0, false),
    item("GET 4 KiB", Kind::Get, "4KiB", 16, 1000, false),
    item("PUT 64 KiB", Kind::Put, "64KiB", 16, 0, false),
    item("PUT 1 MiB", Kind::Put, "1MiB", 8, 0, true),
    item("GET 1 MiB", Kind::Get, "1MiB", 8, 64, true),
    item("PUT 64 MiB", Kind::Put, "64MiB", 2, 0, true),
    item("GET 64 MiB", Kind::Get, "64MiB", 2, 4, true),
    item("LIST", Kind::List, "1KiB", 4, 2000, false),
];

const fn item(
    name: &'static str,
    kind: Kind,
    size: &'static str,
    connections: usize,
    objects: usize,
    by_bytes: bool,
) -> WorkItem {
    WorkItem { name, kind, size, connections, objects, by_bytes }
}

/// Runs the comparison and writes its results.
pub(crate) fn run(options: &PeerOptions) -> Result<()> {
    if options.install {
        install::install(&options.programs)?;
    }
    let mut options = options.clone();
    if options.short {
        (options.rounds, options.seconds, options.warm_up) = (2, 4, 1);
        if options.only.is_empty() {
            options.only = [Peer::Karri, Peer::GarageFsync].map(|peer| peer.name().to_owned()).into();
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(compare(&options))
}

async fn compare(options: &PeerOptions) -> Result<()> {
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let found: Vec<Server> = Server::find(&options.programs)?.into_iter().filter(|s| wanted(s.kind.name())).collect();
    ensure!(!found.is_empty(), "no server was found");
    for server in &found {
        eprintln!("{} {}: {}", server.kind.name(), server.version, server.kind.durability());
    }
    let missing = Peer::ALL.iter().filter(|kind| wanted(kind.name()));
    for missing in missing.filter(|kind| found.iter().all(|server| server.kind != **kind)) {
        eprintln!("{}: not found, left out", missing.name());
    }
    let mut results = Results::new(&found);
    for &nodes in &options.nodes {
        for round in 0..options.rounds {
            for server in found.iter().filter(|server| server.kind.can_have(nodes)) {
                // A server that fails is left out of the table and said to have failed.
                if let Err(error) = measure(options, server, nodes, round, &mut results).await {
                    eprintln!("{} with {nodes} nodes failed: {error:#}", server.kind.name());
                    results.failed(server, nodes, &error);
                }
            }
        }
    }
    std::fs::create_dir_all(&options.results).context("make the folder of the results")?;
    let path = options.results.join("peers.json");
    std::fs::write(&path, serde_json::to_string_pretty(&results)?).with_context(|| format!("{}", path.display()))?;
    let table = results.markdown();
    std::fs::write(options.results.join("peers.md"), &table).context("write the table")?;
    println!("{table}");
    Ok(())
}

/// One round of all works against one server.
async fn measure(
    options: &PeerOptions,
    server: &Server,
    nodes: usize,
    round: usize,
    results: &mut Results,
) -> Result<()> {
    let running = Running::start(server, nodes).await?;
    for work in &WORKS {
        let chosen = options.works.is_empty() || options.works.iter().any(|name| name == work.name);
        if !chosen {
            continue;
        }
        let load = crate::options::Options {
            endpoint: running.endpoints.clone(),
            bucket: format!("bench-{}", work.name.to_lowercase().replace(' ', "-")),
            size: work.size.parse()?,
            part_size: 8 << 20,
            connections: work.connections,
            seconds: options.seconds,
            warm_up: options.warm_up,
            rate: None,
            objects: work.objects,
            range: None,
            verify: false,
            seed: round as u64 + 1,
            pid: running.pids(),
            json: false,
            plot: None,
            quiet: true,
        };
        let mix = Mix(vec![(work.kind, 1)]);
        let report = Load::new(mix, load, running.credentials.clone()).run().await.context(work.name)?;
        let server_cost = report.server.map(|cost| match work.by_bytes {
            true => format!(
                "{:.2} CPU s/GiB, {:.2} B/B",
                cost.cpu_seconds_per_gib.unwrap_or(0.0),
                cost.written_bytes_per_byte.unwrap_or(0.0)
            ),
            false => format!("{:.3} ms CPU", cost.cpu_ms_per_request),
        });
        eprintln!(
            "round {}, {} with {nodes}: {}: {:.0}/s, {:.1} MiB/s, {}, {} errors",
            round + 1,
            server.kind.name(),
            work.name,
            report.all.requests_per_second,
            report.all.mib_per_second,
            server_cost.unwrap_or_default(),
            report.errors_count()
        );
        results.add(Round { server: server.kind.name(), nodes, work: work.name, report });
    }
    Ok(())
}
