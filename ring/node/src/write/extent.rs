//! One extent on its way to its owners.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use karri_ring_extent::{ExtentHeader, Owner, Stripe};
use karri_ring_types::{Digest, ExtentId, NodeId};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::WriteError;
use super::placement::Placement;
use super::run::{Parts, RunData, hash};
use super::slot::{Next, Source};
use super::tally::Tally;
use crate::client::Shared;
use crate::extent_ref::ExtentRef;
use crate::holder::RunBytes;
use crate::peers::CallError;
use crate::stripe::Geometry;
use crate::wire::Refusal;

/// Runs that may be unacknowledged by a quorum; the writer keeps them to replay them elsewhere.
const PENDING_RUNS_MAX: u32 = 2;
/// Calls to one replica at once.
const CALLS_PER_REPLICA_MAX: u32 = 2;

/// How an extent ended.
pub(super) enum Ending {
    Sealed(ExtentRef),
    /// There was nothing to send.
    Empty,
    /// The quorum was lost.
    Lost,
}

struct Done {
    replica: usize,
    run: Option<u32>,
    seals: bool,
    outcome: Result<(), CallError>,
}

/// What is sent up to the end of a run.
#[derive(Clone, Copy, Default)]
struct End {
    /// Chunks on each replica.
    chunks: u32,
    /// Their bytes.
    held_bytes: u64,
    /// Bytes of the stream.
    length_bytes: u64,
}

pub(super) struct SendingExtent {
    pub(super) shared: Arc<Shared>,
    pub(super) owner: Owner,
    pub(super) id: ExtentId,
    /// Each with its place.
    pub(super) nodes: Vec<(NodeId, usize)>,
    pub(super) stripe: Option<Geometry>,
    pub(super) quorum: usize,
    pub(super) tally: Tally,
    /// What failed here, so that the next attempt goes elsewhere.
    pub(super) failed: HashSet<NodeId>,
    pub(super) disk_full: bool,
    lanes: Vec<Arc<Semaphore>>,
    ends: Vec<End>,
    hashes: VecDeque<JoinHandle<Option<Vec<Vec<Digest>>>>>,
    /// Of the chunks of each shard; of whole copies once.
    digests: Vec<Vec<Digest>>,
    pending: VecDeque<(u32, Arc<RunData>)>,
    calls: JoinSet<Done>,
    closing: bool,
}

impl SendingExtent {
    pub(super) fn new(shared: Arc<Shared>, owner: Owner, placement: Placement) -> Self {
        let Placement { id, nodes, quorum } = placement;
        Self {
            tally: Tally::new(nodes.len(), quorum),
            stripe: id.redundancy().shards().map(Geometry::new),
            lanes: nodes.iter().map(|_| Arc::new(Semaphore::new(CALLS_PER_REPLICA_MAX as usize))).collect(),
            shared,
            owner,
            id,
            nodes,
            quorum,
            failed: HashSet::new(),
            disk_full: false,
            ends: Vec::new(),
            hashes: VecDeque::new(),
            digests: vec![Vec::new(); id.redundancy().shards().map_or(1, |(data, parity)| data + parity)],
            pending: VecDeque::new(),
            calls: JoinSet::new(),
            closing: false,
        }
    }

    /// Sends what `source` has until it is sealed on a quorum or the quorum is lost.
    pub(super) async fn drive(&mut self, source: &mut Source) -> Result<Ending, WriteError> {
        loop {
            if self.tally.is_sealed() {
                // The slow replicas go on by themselves; what fails now is repaired later.
                self.calls.detach_all();
                return Ok(Ending::Sealed(self.prefix_ref(self.ends.len() as u32)));
            }
            if self.tally.is_lost() {
                return Ok(Ending::Lost);
            }
            let may_send = !self.closing && self.tally.pending_runs() < PENDING_RUNS_MAX;
            tokio::select! {
                next = source.next(), if may_send => match next {
                    Next::Run { run, last } => self.send(run, last).await?,
                    Next::End if self.ends.is_empty() => return Ok(Ending::Empty),
                    Next::End => self.send_seal().await?,
                    Next::Abandoned => return Err(WriteError::Closed),
                },
                Some(done) = self.calls.join_next() => match done {
                    Ok(done) => self.note(done),
                    Err(_) => return Err(WriteError::Closed),
                },
                else => return Ok(Ending::Lost),
            }
        }
    }

    /// The runs that are not durable on a quorum, in order.
    pub(super) fn take_pending(&mut self) -> VecDeque<Arc<RunData>> {
        self.calls.abort_all();
        self.pending.drain(..).map(|(_, run)| run).collect()
    }

    /// Header of the first `runs` runs at a place. Their digests must be known: see [`Self::settle_digests`].
    pub(super) fn prefix_header(&self, runs: u32, place: usize) -> ExtentHeader {
        let end = self.prefix_end(runs);
        let digests = &self.digests[if self.stripe.is_some() { place } else { 0 }];
        ExtentHeader {
            owner: self.owner.clone(),
            length_bytes: end.held_bytes,
            chunk_digests: digests[..end.chunks as usize].to_vec(),
            created: self.shared.clock.now(),
            stripe: self
                .stripe
                .map(|_| Stripe { length_bytes: end.length_bytes, shard_roots: self.shard_roots(end.chunks) }),
        }
    }

    /// What metadata keeps of the first `runs` runs.
    pub(super) fn prefix_ref(&self, runs: u32) -> ExtentRef {
        let end = self.prefix_end(runs);
        let root = match self.stripe {
            None => Digest::of_chunks(&self.digests[0][..end.chunks as usize]),
            Some(_) => Digest::of_chunks(&self.shard_roots(end.chunks)),
        };
        ExtentRef { id: self.id, length_bytes: end.length_bytes, root }
    }

    /// First chunk, chunks and bytes of a run.
    pub(super) fn run_bounds(&self, run: u32) -> (u32, u32, usize) {
        let (before, end) = (self.prefix_end(run), self.prefix_end(run + 1));
        let length = usize::try_from(end.length_bytes - before.length_bytes).expect("a run is a few MiB");
        (before.chunks, end.chunks - before.chunks, length)
    }

    /// Digests of the chunks of a run at a place.
    pub(super) fn run_digests(&self, run: u32, place: usize) -> &[Digest] {
        let (first, count, _) = self.run_bounds(run);
        let digests = &self.digests[if self.stripe.is_some() { place } else { 0 }];
        &digests[first as usize..(first + count) as usize]
    }

    fn shard_roots(&self, chunks: u32) -> Vec<Digest> {
        self.digests.iter().map(|digests| Digest::of_chunks(&digests[..chunks as usize])).collect()
    }

    /// Waits for the digests of all runs so far.
    pub(super) async fn settle_digests(&mut self) -> Result<(), WriteError> {
        while let Some(hashing) = self.hashes.pop_front() {
            let digests = hashing.await.ok().flatten().ok_or(WriteError::Closed)?;
            for (all, new) in self.digests.iter_mut().zip(digests) {
                all.extend(new);
            }
        }
        Ok(())
    }

    fn prefix_end(&self, runs: u32) -> End {
        match runs {
            0 => End::default(),
            runs => self.ends[runs as usize - 1],
        }
    }

    async fn send(&mut self, run: Arc<RunData>, last: bool) -> Result<(), WriteError> {
        let whole = self.stripe.is_none_or(|stripe| last || run.bytes.len() == stripe.run_bytes());
        assert!(whole, "a run in the midst of a stripe is full");
        let parts = Parts::of(&run, self.stripe).await.ok_or(WriteError::Closed)?;
        let before = self.ends.last().copied().unwrap_or_default();
        let (chunks, held_bytes) = parts.size();
        self.ends.push(End {
            chunks: before.chunks + chunks,
            held_bytes: before.held_bytes + held_bytes,
            length_bytes: before.length_bytes + run.bytes.len() as u64,
        });
        self.hashes.push_back(tokio::spawn(hash(parts.clone())));
        if last {
            self.closing = true;
            self.settle_digests().await?;
        }
        let runs = self.ends.len() as u32;
        self.pending.push_back((runs - 1, run.clone()));
        for replica in self.tally.send() {
            let place = self.nodes[replica].1;
            let seal = last.then(|| self.prefix_header(runs, place));
            let part = RunBytes { first_chunk: before.chunks, bytes: parts.at(place) };
            self.send_to(replica, runs - 1, run.clone(), part, seal);
        }
        self.count_left_behind();
        Ok(())
    }

    /// Sends a replica its part of a run, whose memory is held until then.
    fn send_to(&mut self, replica: usize, index: u32, run: Arc<RunData>, part: RunBytes, seal: Option<ExtentHeader>) {
        let (node, place) = self.nodes[replica];
        let (peers, id, owner) = (self.shared.peers.clone(), self.id.shard(place as u8), self.owner.clone());
        let lane = self.lanes[replica].clone();
        self.calls.spawn(async move {
            let seals = seal.is_some();
            // The seal comes after all runs before it.
            let _turn = lane.acquire_many_owned(if seals { CALLS_PER_REPLICA_MAX } else { 1 }).await;
            let outcome = peers.write_run(node, id, &owner, &part, seal).await;
            drop((part, run));
            Done { replica, run: Some(index), seals, outcome }
        });
    }

    async fn send_seal(&mut self) -> Result<(), WriteError> {
        self.closing = true;
        self.settle_digests().await?;
        let live: Vec<usize> = self.tally.live().collect();
        for replica in live {
            let (node, place) = self.nodes[replica];
            let header = self.prefix_header(self.ends.len() as u32, place);
            let (peers, id) = (self.shared.peers.clone(), self.id.shard(place as u8));
            let lane = self.lanes[replica].clone();
            self.calls.spawn(async move {
                let _turn = lane.acquire_many_owned(CALLS_PER_REPLICA_MAX).await;
                Done { replica, run: None, seals: true, outcome: peers.seal(node, id, header).await }
            });
        }
        Ok(())
    }

    fn note(&mut self, done: Done) {
        match done.outcome {
            Ok(()) => {
                done.run.into_iter().for_each(|run| self.tally.held(done.replica, run));
                if done.seals {
                    self.tally.sealed(done.replica);
                }
                let durable = self.tally.durable_runs();
                while self.pending.front().is_some_and(|(run, _)| *run < durable) {
                    self.pending.pop_front();
                }
            }
            Err(error) => {
                let (node, _) = self.nodes[done.replica];
                self.disk_full |= matches!(error, CallError::Refused(Refusal::DiskFull));
                self.failed.insert(node);
                if self.tally.fail(done.replica) {
                    tracing::warn!(%node, extent = %self.id, %error, "replica left behind");
                }
                self.count_left_behind();
            }
        }
    }

    fn count_left_behind(&mut self) {
        let left = self.tally.newly_left_behind();
        self.shared.counters.replicas_left_behind.fetch_add(left, Ordering::Relaxed);
    }
}
