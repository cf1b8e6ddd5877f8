//! A node that holds extents.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::join_all;
use karri_ring_extent::{ExtentStore, Usage};
use karri_ring_rpc::{Router, Transport};
use karri_ring_types::{Clock, ExtentKind, NodeId, PARTITION_COUNT, PartitionId, Redundancy, Rng, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::client::{ClientConfig, ExtentClient};
use crate::counters::Counters;
use crate::holder::Holder;
use crate::layout::LayoutSource;
use crate::peers::Peers;
use crate::repair::{RepairConfig, RepairRound, Repairer, Verdicts};
use crate::service::ExtentService;
use crate::wire::{ReportBad, Summary};

/// Reports of bad copies that wait to be checked.
const REPORTS_MAX: usize = 1024;

/// What a node is built on.
pub struct StorageParts {
    /// The node's extents.
    pub store: Arc<ExtentStore>,
    /// Calls to the other nodes.
    pub transport: Arc<dyn Transport>,
    /// The cluster's layout.
    pub layouts: Arc<dyn LayoutSource>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness of extent ids.
    pub rng: Arc<dyn Rng>,
}

/// Bounds and speeds of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageConfig {
    /// The gateway's part.
    pub client: ClientConfig,
    /// The background part.
    pub repair: RepairConfig,
}

/// Copies of extents in the cluster, as far as the nodes answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// Sealed extents, each counted once.
    pub extents: u64,
    /// Extents of which an owner lacks its copy or does not answer; 0 when every extent has all its copies.
    pub under_replicated: u64,
    /// Each node of the layout.
    pub nodes: Vec<NodeReport>,
}

/// What one node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node: NodeId,
    /// False when it did not answer; the other fields are 0 then.
    pub reachable: bool,
    /// Sealed extents on it.
    pub extents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Free bytes of its disk.
    pub free_bytes: u64,
    /// True when it refuses writes.
    pub full: bool,
}

/// A node's extents: serves them to the others, keeps them good, and gives this process its [`ExtentClient`].
pub struct StorageNode {
    client: ExtentClient,
    holder: Holder,
    repairer: Repairer,
    reports: Mutex<Option<mpsc::Receiver<ReportBad>>>,
}

impl StorageNode {
    /// Registers the methods 200..=299. Repair begins with [`StorageNode::run`].
    pub fn new(parts: StorageParts, config: StorageConfig, router: &Router) -> Arc<Self> {
        let StorageParts { store, transport, layouts, clock, rng } = parts;
        let holder = Holder::new(store);
        let peers = Peers::new(transport, Some(holder.clone()));
        let client = ExtentClient::assemble(peers, layouts, Arc::default(), (clock, rng), config.client);
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        router.register(200..=299, Arc::new(ExtentService::new(holder.clone(), sender)));
        let repairer = Repairer::new(client.shared().clone(), holder.clone(), config.repair);
        Arc::new(Self { client, holder, repairer, reports: Mutex::new(Some(reports)) })
    }

    /// The client of this process: reads and writes local copies without RPC.
    pub fn client(&self) -> ExtentClient {
        self.client.clone()
    }

    /// Repairs, scrubs and, when there is somebody to ask, sweeps for orphans until `shutdown`.
    pub async fn run(self: Arc<Self>, verdicts: Option<Arc<dyn Verdicts>>, shutdown: CancellationToken) {
        let reports = self.reports.lock().take();
        let heed = async {
            if let Some(reports) = reports {
                shutdown.run_until_cancelled(self.repairer.heed(reports)).await;
            }
        };
        let sweep = async {
            if let Some(verdicts) = &verdicts {
                self.repairer.sweep_until(&**verdicts, shutdown.clone()).await;
            }
        };
        let compare = self.repairer.compare_until(shutdown.clone());
        let scrub = self.repairer.scrub_until(shutdown.clone());
        tokio::join!(heed, sweep, compare, scrub);
    }

    /// Compares with the other owners once, now.
    pub async fn repair_once(&self) -> RepairRound {
        self.repairer.round().await
    }

    /// Asks about all old extents once, now; returns how many were condemned and deleted.
    pub async fn sweep_once(&self, verdicts: &dyn Verdicts) -> u64 {
        self.repairer.sweep(verdicts).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "sweep for orphans ended early");
            0
        })
    }

    pub(crate) fn client_shared(&self) -> &Arc<crate::client::Shared> {
        self.client.shared()
    }

    /// What happened so far on this node.
    pub fn counters(&self) -> Arc<Counters> {
        self.client.counters()
    }

    /// What this node holds.
    pub fn usage(&self) -> Usage {
        self.holder.store().usage()
    }

    /// When the scrub of this node last came to its end, if it has since the process began.
    pub fn scrub_finished(&self) -> Option<Timestamp> {
        let millis = self.repairer.scrub_finished.load(Ordering::Relaxed);
        (millis > 0).then_some(Timestamp(millis))
    }

    /// Whether every extent of the cluster has all its copies.
    pub async fn replica_report(&self) -> ReplicaReport {
        let shared = self.client.shared();
        let layout = shared.layouts.layout();
        let partitions: Vec<PartitionId> = (0..PARTITION_COUNT).map(PartitionId).collect();
        let asked = layout.nodes.iter().map(|spec| {
            let partitions = partitions.clone();
            async move {
                let summaries = shared.peers.summaries(spec.id, partitions).await.ok();
                let usage = shared.peers.usage(spec.id).await.ok();
                (spec.id, summaries.zip(usage))
            }
        });
        let answers = join_all(asked).await;
        let mut report = ReplicaReport::default();
        let of = |node: NodeId| answers.iter().find(|(answered, _)| *answered == node).and_then(|(_, a)| a.as_ref());
        for partition in &partitions {
            let place = usize::from(partition.0);
            let found = |node: NodeId| of(node).and_then(|(summaries, _)| summaries.get(place));
            let nodes = layout.nodes.iter().filter_map(|spec| found(spec.id)).flatten();
            let schemes: BTreeSet<Redundancy> = nodes.map(|(kind, _)| kind.redundancy()).collect();
            for scheme in schemes {
                // An empty place is not wanted of anybody; a stripe's has no shard then.
                let wanted = layout.places(*partition, scheme).into_iter().enumerate();
                let copies: Vec<Option<Summary>> = wanted
                    .filter(|(_, node)| node.is_some() || scheme.shards().is_some())
                    .map(|(shard, node)| {
                        let shard = scheme.shards().map_or(0, |_| shard as u8);
                        let kind = ExtentKind::new(scheme, shard);
                        let held = found(node?)?;
                        Some(held.iter().find(|(of, _)| *of == kind).map(|(_, summary)| *summary).unwrap_or_default())
                    })
                    .collect();
                let extents = copies.iter().flatten().map(|summary| summary.count).max().unwrap_or(0);
                report.extents += extents;
                report.under_replicated += under_replicated(&copies, extents);
            }
        }
        report.nodes =
            answers.into_iter().map(|(node, answer)| node_report(node, answer.map(|(_, usage)| usage))).collect();
        report
    }
}

/// Extents of a partition that lack a copy, at least: how many exactly only a comparison of the lists would tell.
fn under_replicated(copies: &[Option<Summary>], extents: u64) -> u64 {
    let least = copies.iter().map(|copy| copy.map_or(0, |summary| summary.count)).min().unwrap_or(0);
    let differ = copies.windows(2).any(|pair| pair[0] != pair[1]);
    (extents - least).max(u64::from(differ && extents > 0))
}

fn node_report(node: NodeId, usage: Option<crate::wire::UsageReply>) -> NodeReport {
    let reachable = usage.is_some();
    let usage = usage.unwrap_or_default();
    NodeReport {
        node,
        reachable,
        extents: usage.extents,
        bytes: usage.bytes,
        free_bytes: usage.free_bytes,
        full: usage.full,
    }
}
