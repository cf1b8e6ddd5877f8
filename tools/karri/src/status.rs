//! `karri cluster status`, and the calls by which a running node answers it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use karri_objstore_maintain::{Fsck, Maintenance};
use karri_ring_meta::MetaNode;
use karri_ring_node::StorageNode;
use karri_ring_node::join;
use karri_ring_node::membership::Membership;
use karri_ring_raft::RaftHost;
use karri_ring_rpc::{Caller, Handler, Method, Request, Response, Router};
use karri_ring_types::{Clock, NodeId};
use serde::{Deserialize, Serialize};

use crate::clock_watch::ClockWatch;
use crate::cluster;
use crate::config::Config;
use crate::fsck;
use crate::open_files;

/// Methods of this module.
const METHODS: std::ops::RangeInclusive<u16> = 310..=319;
const STATUS: Method = Method(310);
pub(crate) const PROBE: Method = Method(311);
pub(crate) const FSCK: Method = Method(312);

/// The parts of a node that status and metrics are read from.
pub(crate) struct StatusSources {
    pub(crate) membership: Arc<Membership>,
    pub(crate) meta: Arc<MetaNode>,
    pub(crate) storage: Arc<StorageNode>,
    pub(crate) raft: Arc<RaftHost>,
    pub(crate) maintenance: Arc<Maintenance>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fsck: Fsck,
    pub(crate) clock_watch: Arc<ClockWatch>,
}

/// The state of a cluster as one node sees it.
#[derive(Serialize, Deserialize)]
pub(crate) struct ClusterStatus {
    cluster: String,
    node: u64,
    epoch: u64,
    replicas: u8,
    nodes: Vec<NodeStatus>,
    ranges: Vec<RangeSummary>,
    extents: ExtentSummary,
    scrub: ScrubSummary,
}

/// The scrub of the node that answers, since it began.
#[derive(Serialize, Deserialize)]
struct ScrubSummary {
    /// When it last came to its end, in seconds since 1970.
    finished: Option<u64>,
    rounds: u64,
    bytes: u64,
    bad_copies_found: u64,
    bad_copies_repaired: u64,
}

#[derive(Serialize, Deserialize)]
struct NodeStatus {
    id: u64,
    zone: String,
    s3_address: String,
    rpc_address: String,
    capacity_bytes: u64,
    alive: bool,
    in_layout: bool,
    extents: Option<u64>,
    bytes: Option<u64>,
    free_bytes: Option<u64>,
    full: bool,
}

/// What `karri doctor` asks of each node.
#[derive(Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) version: String,
    pub(crate) now_ms: u64,
    pub(crate) epoch: u64,
    pub(crate) open_files_max: u64,
}

/// A range that has a replica on the node that answers.
#[derive(Serialize, Deserialize)]
struct RangeSummary {
    id: u64,
    leader: Option<u64>,
    voters: Vec<u64>,
    applied_index: u64,
}

#[derive(Serialize, Deserialize)]
struct ExtentSummary {
    /// Different extents in the cluster.
    total: u64,
    /// Bytes of all copies that can be seen.
    bytes: u64,
    /// Extents with fewer good copies than the layout wants.
    under_replicated: u64,
    /// Nodes of the layout that could not be asked.
    unknown: u64,
}

impl StatusSources {
    fn probe(&self) -> Probe {
        Probe {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now_ms: self.clock.now().as_millis(),
            epoch: self.membership.layout().epoch.0,
            open_files_max: open_files::limit(),
        }
    }

    fn scrub(&self) -> ScrubSummary {
        let counters = self.storage.counters();
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ScrubSummary {
            finished: self.storage.scrub_finished().map(karri_ring_types::Timestamp::as_secs),
            rounds: value(&counters.scrub_rounds),
            bytes: value(&counters.scrub_bytes),
            bad_copies_found: value(&counters.bad_copies_found),
            bad_copies_repaired: value(&counters.bad_copies_repaired),
        }
    }

    async fn status(&self) -> ClusterStatus {
        let layout = self.membership.layout();
        let report = self.storage.replica_report().await;
        let reported = |id: NodeId| report.nodes.iter().find(|node| node.node == id && node.reachable);
        let nodes = self.membership.nodes().into_iter().map(|info| {
            let seen = reported(info.id);
            NodeStatus {
                id: info.id.0,
                alive: self.membership.alive(info.id),
                in_layout: layout.nodes.iter().any(|node| node.id == info.id),
                zone: info.zone,
                s3_address: info.s3_address,
                rpc_address: info.rpc_address,
                capacity_bytes: info.capacity_bytes,
                extents: seen.map(|node| node.extents),
                bytes: seen.map(|node| node.bytes),
                free_bytes: seen.map(|node| node.free_bytes),
                full: seen.is_some_and(|node| node.full),
            }
        });
        let ranges = self.meta.status().into_iter().map(|range| RangeSummary {
            id: range.id.0,
            leader: range.leader.map(|node| node.0),
            voters: range.voters.iter().map(|node| node.0).collect(),
            applied_index: range.applied_index,
        });
        ClusterStatus {
            cluster: self.membership.cluster().to_string(),
            node: self.membership.local().0,
            epoch: layout.epoch.0,
            replicas: layout.replicas,
            nodes: nodes.collect(),
            ranges: ranges.collect(),
            extents: ExtentSummary {
                total: report.extents,
                bytes: report.nodes.iter().filter(|node| node.reachable).map(|node| node.bytes).sum(),
                under_replicated: report.under_replicated,
                unknown: report.nodes.iter().filter(|node| !node.reachable).count() as u64,
            },
            scrub: self.scrub(),
        }
    }
}

/// Answers other nodes and the command line.
pub(crate) struct StatusService {
    sources: Arc<StatusSources>,
}

impl StatusService {
    pub(crate) fn register(router: &Router, sources: Arc<StatusSources>) {
        router.register(METHODS, Arc::new(Self { sources }));
    }
}

#[async_trait]
impl Handler for StatusService {
    async fn handle(&self, from: Caller, method: Method, request: Request) -> Result<Response, String> {
        if from == Caller::Unauthenticated {
            return Err("a certificate of the cluster is needed".to_owned());
        }
        let text = match method {
            STATUS => serde_json::to_vec(&self.sources.status().await).map_err(|error| error.to_string())?,
            PROBE => serde_json::to_vec(&self.sources.probe()).map_err(|error| error.to_string())?,
            FSCK => fsck::answer(&self.sources.fsck, &request.head).await?,
            Method(other) => return Err(format!("unknown method {other}")),
        };
        Ok(Response { head: Bytes::new(), body: Bytes::from(text) })
    }
}

/// Prints the state of the cluster as the running node of `config` sees it.
pub(crate) async fn show(config: &Config, json: bool) -> Result<()> {
    let credentials = cluster::existing(config)?;
    let address = config.rpc.advertised();
    let response = join::call_running(&credentials, &address, STATUS, Bytes::new()).await;
    let response = response.with_context(|| format!("ask the node at {address}"))?;
    let status: ClusterStatus = serde_json::from_slice(&response.body).context("read the node's answer")?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print_table(&status);
    }
    Ok(())
}

fn print_table(status: &ClusterStatus) {
    println!("cluster {}  epoch {}  replicas {}", status.cluster, status.epoch, status.replicas);
    println!(
        "{:>5}  {:<12} {:<8} {:<22} {:>9} {:>16} {:>16}",
        "node", "zone", "state", "s3", "extents", "bytes", "free"
    );
    for node in &status.nodes {
        let state = match (node.alive, node.in_layout, node.full) {
            (false, ..) => "down",
            (_, false, _) => "joining",
            (.., true) => "full",
            _ => "up",
        };
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        println!(
            "{:>5}  {:<12} {:<8} {:<22} {:>9} {:>16} {:>16}",
            node.id,
            node.zone,
            state,
            node.s3_address,
            number(node.extents),
            number(node.bytes),
            number(node.free_bytes)
        );
    }
    let led = status.ranges.iter().filter(|range| range.leader.is_some()).count();
    println!("ranges here: {}, with a leader: {led}", status.ranges.len());
    let ExtentSummary { total, under_replicated, unknown, .. } = &status.extents;
    println!("extents: {total}, lacking copies: {under_replicated}, nodes not asked: {unknown}");
    let ScrubSummary { finished, rounds, bytes, bad_copies_found, bad_copies_repaired } = &status.scrub;
    let finished = finished.map_or_else(|| "not yet".to_owned(), |seconds| format!("at {seconds} s since 1970"));
    println!(
        "scrub here: {bytes} bytes in {rounds} rounds, ended last {finished}; bad copies found: {bad_copies_found}, \
         repaired: {bad_copies_repaired}"
    );
}
