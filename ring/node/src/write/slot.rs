//! Up to an extent's worth of a stream: one extent, or several when a quorum is lost on the way.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use karri_ring_extent::Owner;
use karri_ring_types::{ExtentId, NodeId, Redundancy};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::WriteError;
use super::extent::{Ending, SendingExtent};
use super::placement::{self, Placement};
use super::run::RunData;
use crate::client::{ExtentClient, Shared};
use crate::counters::add;
use crate::extent_ref::ExtentRef;
use crate::read;
use crate::stripe::{Geometry, STRIPE_BYTES_MIN};

/// Extents that are tried for one slot before the writer gives up.
const ATTEMPTS_MAX: usize = 6;
/// How long the nodes of a lost extent may take to seal what is durable.
const RESCUE_DEADLINE: Duration = Duration::from_secs(3);

/// What the writer hands over.
pub(super) enum Feed {
    Run(Arc<RunData>),
    Last(Arc<RunData>),
    End,
}

/// What is to be sent next.
pub(super) enum Next {
    Run { run: Arc<RunData>, last: bool },
    End,
    Abandoned,
}

/// Runs to be sent: those that must be sent again, then those that the writer hands over.
pub(super) struct Source {
    replay: VecDeque<Arc<RunData>>,
    feed: mpsc::Receiver<Feed>,
    ended: bool,
}

impl Source {
    /// The next run. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Next {
        if let Some(run) = self.replay.pop_front() {
            return Next::Run { run, last: self.ended && self.replay.is_empty() };
        }
        if self.ended {
            return Next::End;
        }
        match self.feed.recv().await {
            Some(Feed::Run(run)) => Next::Run { run, last: false },
            Some(Feed::Last(run)) => {
                self.ended = true;
                Next::Run { run, last: true }
            }
            Some(Feed::End) => {
                self.ended = true;
                Next::End
            }
            None => Next::Abandoned,
        }
    }

    fn is_done(&self) -> bool {
        self.ended && self.replay.is_empty()
    }

    fn replay(&mut self, runs: impl DoubleEndedIterator<Item = Arc<RunData>>) {
        runs.rev().for_each(|run| self.replay.push_front(run));
    }
}

pub(super) struct Slot {
    shared: Arc<Shared>,
    owner: Owner,
    redundancy: Redundancy,
    begun: Arc<Mutex<Vec<ExtentId>>>,
    avoid: HashSet<NodeId>,
    disk_full: bool,
    sealed: Vec<ExtentRef>,
}

impl Slot {
    pub(super) fn spawn(
        shared: Arc<Shared>,
        owner: Owner,
        redundancy: Redundancy,
        begun: Arc<Mutex<Vec<ExtentId>>>,
    ) -> (mpsc::Sender<Feed>, JoinHandle<Result<Vec<ExtentRef>, WriteError>>) {
        let (sender, feed) = mpsc::channel(1);
        let (avoid, sealed) = (HashSet::new(), Vec::new());
        let slot = Self { shared, owner, redundancy, begun, avoid, disk_full: false, sealed };
        let source = Source { replay: VecDeque::new(), feed, ended: false };
        (sender, tokio::spawn(slot.run(source)))
    }

    async fn run(mut self, mut source: Source) -> Result<Vec<ExtentRef>, WriteError> {
        if self.redundancy.shards().is_some() {
            match source.next().await {
                Next::Run { run, last } => {
                    if last && run.bytes.len() < STRIPE_BYTES_MIN {
                        self.redundancy = Redundancy::Cluster;
                    }
                    source.replay(std::iter::once(run));
                }
                Next::End => return Ok(self.sealed),
                Next::Abandoned => return Err(WriteError::Closed),
            }
        }
        for _ in 0..ATTEMPTS_MAX {
            let Some(placement) = self.place() else { break };
            self.begun.lock().push(placement.id);
            let mut extent = SendingExtent::new(self.shared.clone(), self.owner.clone(), placement);
            match extent.drive(&mut source).await? {
                Ending::Sealed(sealed) => self.add_sealed(sealed),
                Ending::Empty => {}
                Ending::Lost => self.recover(extent, &mut source).await?,
            }
            if source.is_done() {
                return Ok(self.sealed);
            }
        }
        Err(if self.disk_full { WriteError::DiskFull } else { WriteError::Unavailable })
    }

    /// Where the next extent goes. What the nodes cannot hold as it should be is kept as the cluster keeps anything.
    fn place(&mut self) -> Option<Placement> {
        if let Some(placement) = placement::choose(&self.shared, &self.avoid, self.redundancy) {
            return Some(placement);
        }
        if self.redundancy == Redundancy::Cluster {
            return None;
        }
        tracing::debug!(scheme = %self.redundancy, "the nodes cannot hold an extent in this way now");
        add(&self.shared.counters.schemes_not_held, 1);
        self.redundancy = Redundancy::Cluster;
        placement::choose(&self.shared, &self.avoid, self.redundancy)
    }

    fn add_sealed(&mut self, sealed: ExtentRef) {
        add(&self.shared.counters.extents_written, 1);
        add(&self.shared.counters.bytes_written, sealed.length_bytes);
        self.sealed.push(sealed);
    }

    /// Saves what a lost extent has: what is durable on a quorum is sealed, or else read back; the rest is sent again.
    async fn recover(&mut self, mut extent: SendingExtent, source: &mut Source) -> Result<(), WriteError> {
        add(&self.shared.counters.quorums_lost, 1);
        self.avoid.extend(extent.failed.iter().copied());
        self.disk_full |= extent.disk_full;
        let durable = extent.tally.durable_runs();
        tracing::warn!(extent = %extent.id, durable_runs = durable, "write quorum lost, going on elsewhere");
        source.replay(extent.take_pending().into_iter());
        if durable == 0 {
            self.discard(extent.id);
            return Ok(());
        }
        extent.settle_digests().await?;
        let holders: Vec<(NodeId, usize)> =
            extent.tally.holders(durable).into_iter().map(|replica| extent.nodes[replica]).collect();
        if self.seal_prefix(&extent, durable, &holders).await >= extent.quorum {
            self.add_sealed(extent.prefix_ref(durable));
            return Ok(());
        }
        let runs = self.read_back(&extent, durable, &holders).await.ok_or(WriteError::Unavailable)?;
        source.replay(runs.into_iter());
        self.discard(extent.id);
        Ok(())
    }

    async fn seal_prefix(&self, extent: &SendingExtent, runs: u32, nodes: &[(NodeId, usize)]) -> usize {
        let seals = nodes.iter().map(|&(node, place)| {
            let header = extent.prefix_header(runs, place);
            tokio::time::timeout(RESCUE_DEADLINE, self.shared.peers.seal(node, extent.id.shard(place as u8), header))
        });
        join_all(seals).await.into_iter().filter(|sealed| matches!(sealed, Ok(Ok(())))).count()
    }

    /// The first runs of an extent from whichever holders answer, each chunk checked.
    async fn read_back(
        &self,
        extent: &SendingExtent,
        runs: u32,
        nodes: &[(NodeId, usize)],
    ) -> Option<Vec<Arc<RunData>>> {
        let mut found = Vec::new();
        for run in 0..runs {
            let bytes = match extent.stripe {
                None => self.read_run(extent, run, nodes).await?,
                Some(geometry) => self.read_striped_run(extent, geometry, run, nodes).await?,
            };
            found.push(Arc::new(RunData::new(bytes, None, self.shared.buffers.clone())));
        }
        Some(found)
    }

    async fn read_run(&self, extent: &SendingExtent, run: u32, nodes: &[(NodeId, usize)]) -> Option<Bytes> {
        let (first, _, _) = extent.run_bounds(run);
        for &(node, place) in nodes {
            let digests = extent.run_digests(run, place);
            if let Some(chunks) = read::verified_chunks(&self.shared.peers, node, extent.id, first, digests).await {
                return Some(Bytes::from(chunks.concat()));
            }
        }
        None
    }

    async fn read_striped_run(
        &self,
        extent: &SendingExtent,
        geometry: Geometry,
        run: u32,
        nodes: &[(NodeId, usize)],
    ) -> Option<Bytes> {
        let (first, count, length) = extent.run_bounds(run);
        let mut cells: Vec<(usize, Vec<Bytes>)> = Vec::new();
        for &(node, place) in nodes {
            if cells.len() == geometry.data {
                break;
            }
            let (id, digests) = (extent.id.shard(place as u8), extent.run_digests(run, place));
            let chunks = read::verified_chunks(&self.shared.peers, node, id, first, digests).await;
            cells.extend(chunks.map(|chunks| (place, chunks)));
        }
        let rebuild = move || {
            let mut whole = Vec::new();
            for shard in 0..geometry.data {
                for chunk in 0..count as usize {
                    let known: Vec<(usize, Bytes)> =
                        cells.iter().map(|(place, chunks)| (*place, chunks[chunk].clone())).collect();
                    match known.iter().find(|(place, _)| *place == shard) {
                        Some((_, chunk)) => whole.extend_from_slice(chunk),
                        None => whole.extend_from_slice(&geometry.rebuild(shard, &known).ok()?),
                    }
                }
            }
            whole.truncate(length);
            Some(Bytes::from(whole))
        };
        tokio::task::spawn_blocking(rebuild).await.ok()?
    }

    /// Deletes an extent that nothing names and, as its writer alone decides, nothing ever will.
    fn discard(&self, id: ExtentId) {
        let client = ExtentClient::of(self.shared.clone());
        tokio::spawn(async move { client.delete(&[id]).await });
    }
}
