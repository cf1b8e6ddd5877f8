//! Comparing partitions with the other owners.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use karri_ring_types::{Digest, ExtentId, ExtentKind, NodeId, PARTITION_COUNT, PartitionId, Redundancy};
use tokio_util::sync::CancellationToken;

use super::{RepairRound, Repairer};
use crate::counters::add;
use crate::peers::CallError;
use crate::wire::{IDS_MAX, Refusal, Summary};

/// Extents that are pulled at once.
const PULLS_MAX: usize = 4;
/// Missing extents that are kept in mind; more are found again later.
const MISSING_MAX: usize = 100_000;
/// How often it is looked whether a peer has come back.
const TICK: Duration = Duration::from_secs(1);

type Listing = BTreeMap<ExtentId, Digest>;

impl Repairer {
    /// Compares whenever it is time, a peer comes back, or the layout changes.
    pub(crate) async fn compare_until(&self, shutdown: CancellationToken) {
        let mut alive: HashSet<NodeId> = HashSet::new();
        let mut epoch = None;
        let mut due = tokio::time::Instant::now();
        while !shutdown.is_cancelled() {
            let layout = self.shared.layouts.layout();
            let now_alive: HashSet<NodeId> =
                layout.nodes.iter().map(|node| node.id).filter(|&node| self.shared.layouts.alive(node)).collect();
            let news = epoch != Some(layout.epoch) || now_alive.difference(&alive).next().is_some();
            (alive, epoch) = (now_alive, Some(layout.epoch));
            if news || tokio::time::Instant::now() >= due {
                let Some(round) = shutdown.run_until_cancelled(self.round()).await else { break };
                if round.pulled + round.deleted > 0 {
                    tracing::info!(?round, "repair brought this node up to date");
                }
                // What is on its way, or was too much for one round, is looked at again soon.
                let pause = if round.waiting > 0 { self.config.pull_after } else { self.config.interval };
                due = tokio::time::Instant::now() + pause.min(self.config.interval);
            }
            let pause = TICK.min(self.config.interval).max(Duration::from_millis(1));
            shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Compares every partition that this node owns with everyone who may hold it.
    pub(crate) async fn round(&self) -> RepairRound {
        let mut by_peer: HashMap<NodeId, BTreeSet<PartitionId>> = HashMap::new();
        let (layout, history) = (self.shared.layouts.layout(), self.shared.layouts.history());
        for redundancy in layout.widths().into_iter().map(Redundancy::Copies).chain([Redundancy::Cluster]) {
            for partition in (0..PARTITION_COUNT).map(PartitionId) {
                if layout.place_of(self.local(), partition, redundancy).is_none() {
                    continue;
                }
                for peer in history.iter().flat_map(|layout| layout.places(partition, redundancy)).flatten() {
                    if peer != self.local() {
                        by_peer.entry(peer).or_default().insert(partition);
                    }
                }
            }
        }
        let rounds = join_all(by_peer.into_iter().map(|(peer, partitions)| self.compare_with(peer, partitions))).await;
        let mut total = RepairRound::default();
        for round in rounds {
            total.pulled += round.pulled;
            total.deleted += round.deleted;
            total.waiting += round.waiting;
            total.peers_silent += round.peers_silent;
        }
        if total.waiting == 0 && total.peers_silent == 0 {
            self.missing_since.lock().clear();
        }
        total
    }

    async fn compare_with(&self, peer: NodeId, partitions: BTreeSet<PartitionId>) -> RepairRound {
        let mut round = RepairRound::default();
        let partitions: Vec<PartitionId> = partitions.into_iter().collect();
        let summaries = match self.shared.peers.summaries(peer, partitions.clone()).await {
            Ok(summaries) => summaries,
            Err(error) => {
                tracing::debug!(%peer, %error, "not compared");
                return RepairRound { peers_silent: 1, ..round };
            }
        };
        let (layout, history) = (self.shared.layouts.layout(), self.shared.layouts.history());
        for (partition, theirs) in partitions.into_iter().zip(summaries) {
            let all = self.holder.summaries(partition);
            let schemes: BTreeSet<Redundancy> = all.iter().chain(&theirs).map(|(kind, _)| kind.redundancy()).collect();
            for scheme in schemes {
                let Some(place) = layout.place_of(self.local(), partition, scheme) else { continue };
                if history.iter().all(|layout| layout.place_of(peer, partition, scheme).is_none()) {
                    continue;
                }
                let own = ExtentKind::new(scheme, scheme.shards().map_or(0, |_| place as u8));
                let ours = all.iter().find(|(kind, _)| *kind == own).map(|(_, found)| *found).unwrap_or_default();
                // A node that changed its place may have several shards.
                let theirs = theirs.iter().filter(|(kind, _)| kind.redundancy() == scheme);
                let theirs: Vec<Summary> = theirs.map(|(_, found)| *found).collect();
                let equal = theirs.iter().all(|found| *found == ours) && (!theirs.is_empty() || ours.count == 0);
                if equal {
                    continue;
                }
                if let Err(error) = self.compare_partition(peer, partition, own, &mut round).await {
                    tracing::debug!(%peer, %partition, %error, "not compared");
                    round.peers_silent = 1;
                }
            }
        }
        round
    }

    /// Compares what is to be here with what a peer has of the same extents and stripes.
    async fn compare_partition(
        &self,
        peer: NodeId,
        partition: PartitionId,
        own: ExtentKind,
        round: &mut RepairRound,
    ) -> Result<(), CallError> {
        let ours = self.listing(self.local(), partition, |kind| kind == own).await?;
        let theirs = self.listing(peer, partition, |kind| kind.redundancy() == own.redundancy()).await?;
        let only_ours: Vec<ExtentId> = ours.keys().filter(|id| !theirs.contains_key(id)).copied().collect();
        for page in only_ours.chunks(IDS_MAX) {
            let proven = self.shared.peers.tombstoned(peer, page.to_vec()).await?;
            // Only what was asked about: an answer is no licence for more.
            let proven = proven.into_iter().filter(|id| page.contains(id));
            // Several peers may have the same proof.
            let proven: Vec<ExtentId> = proven.filter(|&id| self.in_hand.lock().insert(id)).collect();
            if proven.is_empty() {
                continue;
            }
            let outcome = self.delete_by_proof(&proven, own).await;
            self.in_hand.lock().retain(|id| !proven.contains(id));
            round.deleted += outcome?;
        }
        let mut missing = Vec::new();
        for (id, root) in theirs {
            match ours.get(&id) {
                None => missing.push((id.shard(own.shard()), root)),
                Some(own) if *own != root => tracing::error!(%peer, extent = %id, "two roots of one extent"),
                Some(_) => {}
            }
        }
        self.pull_missing(peer, missing, round).await;
        Ok(())
    }

    /// Deletes extents that a peer has tombstones of, as far as they are still here.
    async fn delete_by_proof(&self, proven: &[ExtentId], own: ExtentKind) -> Result<u64, CallError> {
        let mut here = Vec::new();
        for &id in proven {
            if self.holder.store().header(id.shard(own.shard())).await.map_err(Refusal::from)?.is_some() {
                here.push(id);
            }
        }
        let deleted = here.len() as u64;
        if deleted > 0 {
            self.holder.delete(here).await?;
            add(&self.shared.counters.extents_deleted_by_proof, deleted);
        }
        Ok(deleted)
    }

    async fn pull_missing(&self, peer: NodeId, missing: Vec<(ExtentId, Digest)>, round: &mut RepairRound) {
        let (ripe, waiting): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(id, _)| self.is_ripe(*id));
        round.waiting += waiting.len() as u64;
        let pulls = futures::stream::iter(ripe).map(|(id, root)| async move { (id, self.pull(peer, id, root).await) });
        let mut pulls = pulls.buffer_unordered(PULLS_MAX);
        while let Some((id, outcome)) = pulls.next().await {
            match outcome {
                Ok(true) => {
                    round.pulled += 1;
                    self.missing_since.lock().remove(&id);
                }
                Ok(false) => {}
                Err(error) => {
                    round.waiting += 1;
                    tracing::debug!(%peer, extent = %id, %error, "not pulled");
                }
            }
        }
    }

    /// True when an extent has been missing for long enough not to be on its way from its writer.
    fn is_ripe(&self, id: ExtentId) -> bool {
        let now = self.shared.clock.monotonic();
        let mut since = self.missing_since.lock();
        if since.len() >= MISSING_MAX && !since.contains_key(&id) {
            return true;
        }
        now.saturating_sub(*since.entry(id).or_insert(now)) >= self.config.pull_after
    }

    /// The extents of a node in a partition, stripes by the id of their group.
    async fn listing(
        &self,
        node: NodeId,
        partition: PartitionId,
        wanted: impl Fn(ExtentKind) -> bool,
    ) -> Result<Listing, CallError> {
        let mut listing = Listing::new();
        let mut after = None;
        loop {
            let page = self.shared.peers.list(node, partition, after, IDS_MAX).await?;
            let last = page.last().map(|(id, _)| *id);
            let more = page.len() == IDS_MAX && last > after;
            listing.extend(page.into_iter().filter(|(id, _)| wanted(id.kind())).map(|(id, root)| (id.group(), root)));
            if !more {
                return Ok(listing);
            }
            after = last;
        }
    }
}
