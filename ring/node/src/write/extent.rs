//! One extent on its way to its owners.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use karri_ring_extent::{ExtentHeader, Owner};
use karri_ring_types::{Digest, ExtentId, NodeId};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::WriteError;
use super::placement::Placement;
use super::run::{RunData, hash};
use super::slot::{Next, Source};
use super::tally::Tally;
use crate::client::Shared;
use crate::extent_ref::ExtentRef;
use crate::holder::RunBytes;
use crate::peers::CallError;
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

pub(super) struct SendingExtent {
    pub(super) shared: Arc<Shared>,
    pub(super) owner: Owner,
    pub(super) id: ExtentId,
    pub(super) nodes: Vec<NodeId>,
    pub(super) quorum: usize,
    pub(super) tally: Tally,
    /// What failed here, so that the next attempt goes elsewhere.
    pub(super) failed: HashSet<NodeId>,
    pub(super) disk_full: bool,
    lanes: Vec<Arc<Semaphore>>,
    /// Chunks and bytes up to the end of each run.
    ends: Vec<(u32, u64)>,
    hashes: VecDeque<JoinHandle<Option<Vec<Digest>>>>,
    digests: Vec<Digest>,
    pending: VecDeque<(u32, Arc<RunData>)>,
    calls: JoinSet<Done>,
    closing: bool,
}

impl SendingExtent {
    pub(super) fn new(shared: Arc<Shared>, owner: Owner, placement: Placement) -> Self {
        let Placement { id, nodes, quorum } = placement;
        Self {
            tally: Tally::new(nodes.len(), quorum),
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
            digests: Vec::new(),
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

    /// Header of the first `runs` runs. Their digests must be known: see [`Self::settle_digests`].
    pub(super) fn prefix_header(&self, runs: u32) -> ExtentHeader {
        let (chunks, length_bytes) = self.prefix_end(runs);
        ExtentHeader {
            owner: self.owner.clone(),
            length_bytes,
            chunk_digests: self.digests[..chunks as usize].to_vec(),
            created: self.shared.clock.now(),
        }
    }

    /// What metadata keeps of the first `runs` runs.
    pub(super) fn prefix_ref(&self, runs: u32) -> ExtentRef {
        let (chunks, length_bytes) = self.prefix_end(runs);
        ExtentRef { id: self.id, length_bytes, root: Digest::of_chunks(&self.digests[..chunks as usize]) }
    }

    /// Waits for the digests of all runs so far.
    pub(super) async fn settle_digests(&mut self) -> Result<(), WriteError> {
        while let Some(hashing) = self.hashes.pop_front() {
            let digests = hashing.await.ok().flatten().ok_or(WriteError::Closed)?;
            self.digests.extend(digests);
        }
        Ok(())
    }

    fn prefix_end(&self, runs: u32) -> (u32, u64) {
        match runs {
            0 => (0, 0),
            runs => self.ends[runs as usize - 1],
        }
    }

    async fn send(&mut self, run: Arc<RunData>, last: bool) -> Result<(), WriteError> {
        let (first_chunk, offset) = self.ends.last().copied().unwrap_or_default();
        self.ends.push((first_chunk + run.chunk_count(), offset + run.bytes.len() as u64));
        self.hashes.push_back(tokio::spawn(hash(run.bytes.clone())));
        let seal = if last {
            self.closing = true;
            self.settle_digests().await?;
            Some(self.prefix_header(self.ends.len() as u32))
        } else {
            None
        };
        let index = self.ends.len() as u32 - 1;
        self.pending.push_back((index, run.clone()));
        for replica in self.tally.send() {
            self.send_to(replica, index, first_chunk, run.clone(), seal.clone());
        }
        self.count_left_behind();
        Ok(())
    }

    fn send_to(&mut self, replica: usize, index: u32, first: u32, run: Arc<RunData>, seal: Option<ExtentHeader>) {
        let (peers, node, id, owner) = (self.shared.peers.clone(), self.nodes[replica], self.id, self.owner.clone());
        let lane = self.lanes[replica].clone();
        self.calls.spawn(async move {
            let seals = seal.is_some();
            // The seal comes after all runs before it.
            let _turn = lane.acquire_many_owned(if seals { CALLS_PER_REPLICA_MAX } else { 1 }).await;
            let bytes = RunBytes { first_chunk: first, bytes: run.bytes.clone() };
            let outcome = peers.write_run(node, id, &owner, &bytes, seal).await;
            Done { replica, run: Some(index), seals, outcome }
        });
    }

    async fn send_seal(&mut self) -> Result<(), WriteError> {
        self.closing = true;
        self.settle_digests().await?;
        let header = self.prefix_header(self.ends.len() as u32);
        let live: Vec<usize> = self.tally.live().collect();
        for replica in live {
            let (peers, node, id, header) = (self.shared.peers.clone(), self.nodes[replica], self.id, header.clone());
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
                let node = self.nodes[done.replica];
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
