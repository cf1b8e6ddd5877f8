//! Up to an extent's worth of a stream: one extent, or several when a quorum is lost on the way.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use karri_ring_extent::{ExtentHeader, Owner};
use karri_ring_types::{CHUNK_SIZE_BYTES, Digest, ExtentId, NodeId, RUN_SIZE_BYTES};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::WriteError;
use super::extent::{Ending, SendingExtent};
use super::placement;
use super::run::RunData;
use crate::client::{ExtentClient, Shared};
use crate::counters::add;
use crate::extent_ref::ExtentRef;
use crate::read;

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
    begun: Arc<Mutex<Vec<ExtentId>>>,
    avoid: HashSet<NodeId>,
    disk_full: bool,
    sealed: Vec<ExtentRef>,
}

impl Slot {
    pub(super) fn spawn(
        shared: Arc<Shared>,
        owner: Owner,
        begun: Arc<Mutex<Vec<ExtentId>>>,
    ) -> (mpsc::Sender<Feed>, JoinHandle<Result<Vec<ExtentRef>, WriteError>>) {
        let (sender, feed) = mpsc::channel(1);
        let slot = Self { shared, owner, begun, avoid: HashSet::new(), disk_full: false, sealed: Vec::new() };
        let source = Source { replay: VecDeque::new(), feed, ended: false };
        (sender, tokio::spawn(slot.run(source)))
    }

    async fn run(mut self, mut source: Source) -> Result<Vec<ExtentRef>, WriteError> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(placement) = placement::choose(&self.shared, &self.avoid) else { break };
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
        let header = extent.prefix_header(durable);
        let holders: Vec<NodeId> = extent.tally.holders(durable).into_iter().map(|place| extent.nodes[place]).collect();
        if self.seal_prefix(extent.id, &holders, &header).await >= extent.quorum {
            self.add_sealed(extent.prefix_ref(durable));
            return Ok(());
        }
        let runs = self.read_back(extent.id, &holders, &header).await.ok_or(WriteError::Unavailable)?;
        source.replay(runs.into_iter());
        self.discard(extent.id);
        Ok(())
    }

    async fn seal_prefix(&self, id: ExtentId, nodes: &[NodeId], header: &ExtentHeader) -> usize {
        let seals = nodes
            .iter()
            .map(|&node| tokio::time::timeout(RESCUE_DEADLINE, self.shared.peers.seal(node, id, header.clone())));
        join_all(seals).await.into_iter().filter(|sealed| matches!(sealed, Ok(Ok(())))).count()
    }

    /// The chunks of `header` from whichever holder answers, each checked.
    async fn read_back(&self, id: ExtentId, nodes: &[NodeId], header: &ExtentHeader) -> Option<Vec<Arc<RunData>>> {
        let chunks_per_run = RUN_SIZE_BYTES / CHUNK_SIZE_BYTES;
        let mut runs = Vec::new();
        let mut first = 0;
        for digests in header.chunk_digests.chunks(chunks_per_run) {
            let bytes = self.read_run(id, nodes, first, digests).await?;
            runs.push(Arc::new(RunData::new(bytes, None, self.shared.buffers.clone())));
            first += u32::try_from(digests.len()).ok()?;
        }
        Some(runs)
    }

    async fn read_run(&self, id: ExtentId, nodes: &[NodeId], first: u32, digests: &[Digest]) -> Option<Bytes> {
        for &node in nodes {
            if let Some(chunks) = read::verified_chunks(&self.shared.peers, node, id, first, digests).await {
                return Some(Bytes::from(chunks.concat()));
            }
        }
        None
    }

    /// Deletes an extent that nothing names and, as its writer alone decides, nothing ever will.
    fn discard(&self, id: ExtentId) {
        let client = ExtentClient::of(self.shared.clone());
        tokio::spawn(async move { client.delete(&[id]).await });
    }
}
