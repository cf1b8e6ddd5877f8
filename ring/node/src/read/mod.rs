//! Verified reads: no byte leaves here that was not checked against the digest in the metadata.

pub(crate) mod striped;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use karri_ring_extent::ExtentHeader;
use karri_ring_types::{CHUNK_SIZE_BYTES, Digest, ExtentId, NodeId, chunk_count, chunk_length};

use crate::client::Shared;
use crate::counters::add;
use crate::extent_ref::ExtentRef;
use crate::layout::{holders, holders_of_part, is_to_hold};
use crate::peers::{CallError, Peers, READ_DEADLINE};
use crate::stripe::Geometry;
use crate::wire::{Read, ReportBad};

/// Chunks of one call.
const BATCH_CHUNKS: u32 = 4;
/// Batches that are fetched at once: one is being consumed, the others are read ahead.
const READ_AHEAD_BATCHES: usize = 2;

/// Most bytes that one reader of a body has in memory: the batches ahead, the one whose chunks are being consumed, and a
/// chunk that the consumer works on.
pub const READ_AHEAD_BYTES_MAX: u64 =
    ((READ_AHEAD_BATCHES + 1) * BATCH_CHUNKS as usize * CHUNK_SIZE_BYTES + CHUNK_SIZE_BYTES) as u64;

/// How long the first round waits for a holder that hangs before it asks the next one.
const HEDGE_AFTER: Duration = Duration::from_secs(1);
/// Rounds through all holders while one of them does not answer.
const ATTEMPTS_MAX: u32 = 3;
/// Pause between two rounds.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(300);

/// Why bytes cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not all holders answer, and none that does has a good copy: try again later.
    #[error("no holder of the extent that answers has a good copy")]
    Unavailable,
    /// All holders answer and none has a good copy.
    #[error("no holder of the extent has a good copy")]
    Lost,
}

/// The verified bytes of `range`, chunk by chunk.
pub(crate) fn stream(
    shared: Arc<Shared>,
    extent: ExtentRef,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, ReadError>> {
    let end = range.end.min(extent.length_bytes);
    if range.start >= end {
        return stream::empty().boxed();
    }
    if let Some(shards) = extent.id.redundancy().shards() {
        return striped::stream(shared, extent, Geometry::new(shards), range.start..end);
    }
    let first = u32::try_from(range.start / CHUNK_SIZE_BYTES as u64).unwrap_or(u32::MAX);
    let after = chunk_count(end);
    let batches = (first..after).step_by(BATCH_CHUNKS as usize);
    let fetches = batches.map(move |batch_first| {
        let count = BATCH_CHUNKS.min(after - batch_first);
        let fetch = Fetch { shared: shared.clone(), extent, first: batch_first, count };
        async move {
            // On its own, so that it goes on while the consumer is busy with the batch before.
            let chunks = tokio::spawn(fetch.run()).await.unwrap_or(Err(ReadError::Unavailable))?;
            let numbered = (batch_first..).zip(chunks);
            Ok(stream::iter(numbered.map(move |(index, chunk)| Ok(trim(chunk, index, range.start, end)))))
        }
    });
    stream::iter(fetches).buffered(READ_AHEAD_BATCHES).try_flatten().boxed()
}

/// The part of chunk `index` that lies in `start..end` of the extent.
fn trim(chunk: Bytes, index: u32, start: u64, end: u64) -> Bytes {
    let offset = u64::from(index) * CHUNK_SIZE_BYTES as u64;
    let from = start.saturating_sub(offset).min(chunk.len() as u64) as usize;
    let to = end.saturating_sub(offset).min(chunk.len() as u64) as usize;
    chunk.slice(from..to)
}

/// Some consecutive chunks of an extent.
struct Fetch {
    shared: Arc<Shared>,
    extent: ExtentRef,
    first: u32,
    count: u32,
}

impl Fetch {
    /// Tries again for a moment when a holder does not answer: it may just be starting. When none has it, those who have it
    /// may not be known here yet.
    async fn run(self) -> Result<Vec<Bytes>, ReadError> {
        let mut patience = HEDGE_AFTER;
        for _ in 1..ATTEMPTS_MAX {
            match self.attempt(patience).await {
                Err(ReadError::Unavailable) => {}
                Err(ReadError::Lost) => self.shared.layouts.doubt(),
                outcome => return outcome,
            }
            tokio::time::sleep(ATTEMPT_PAUSE).await;
            patience = READ_DEADLINE;
        }
        self.attempt(patience).await
    }

    async fn attempt(&self, patience: Duration) -> Result<Vec<Bytes>, ReadError> {
        let mut found: Vec<Option<Bytes>> = vec![None; self.count as usize];
        let mut digests: Option<Vec<Digest>> = None;
        let mut silent = false;
        for node in self.candidates() {
            let Some((lowest, highest)) = gap(&found) else { break };
            let ask = Read {
                extent: self.extent.id,
                first: self.first + lowest,
                count: highest - lowest + 1,
                header: digests.is_none(),
            };
            let fetched = match self.shared.peers.read(node, ask, patience).await {
                Ok(fetched) => fetched,
                Err(error) => {
                    silent |= !matches!(error, CallError::Refused(_));
                    tracing::debug!(%node, extent = %self.extent.id, %error, "read around a node");
                    add(&self.shared.counters.reads_around, 1);
                    continue;
                }
            };
            let proven = digests.take().or_else(|| proven_digests(&self.extent, self.extent.id, fetched.header));
            let Some(proven) = proven else {
                self.report(node, ask.first);
                continue;
            };
            let wanted = self.expectations(&proven, ask);
            let bad = self.take_good(&mut found, lowest, fetched.chunks, wanted).await;
            bad.into_iter().for_each(|index| self.report(node, index));
            digests = Some(proven);
        }
        let chunks: Option<Vec<Bytes>> = found.into_iter().collect();
        match chunks {
            Some(chunks) => {
                add(&self.shared.counters.bytes_read, chunks.iter().map(|chunk| chunk.len() as u64).sum());
                Ok(chunks)
            }
            None if silent => Err(ReadError::Unavailable),
            None => {
                tracing::error!(extent = %self.extent.id, first = self.first, "no holder has a good copy");
                Err(ReadError::Lost)
            }
        }
    }

    /// Length and digest of each chunk that `ask` asks for.
    fn expectations(&self, digests: &[Digest], ask: Read) -> Vec<(usize, Digest)> {
        let indices = ask.first..ask.first + ask.count;
        indices.map(|index| (chunk_length(self.extent.length_bytes, index), digests[index as usize])).collect()
    }

    /// Takes the chunks that are what they should be; returns the indices of those that are not.
    async fn take_good(
        &self,
        found: &mut [Option<Bytes>],
        offset: u32,
        chunks: Vec<Option<Bytes>>,
        wanted: Vec<(usize, Digest)>,
    ) -> Vec<u32> {
        let mut bad = Vec::new();
        for (place, chunk) in (offset..).zip(verify(chunks, wanted).await) {
            let slot = &mut found[place as usize];
            match chunk {
                Some(chunk) => *slot = Some(chunk),
                None if slot.is_none() => bad.push(self.first + place),
                None => {}
            }
        }
        bad
    }

    fn candidates(&self) -> Vec<NodeId> {
        candidates(&self.shared, holders(&*self.shared.layouts, self.extent.id))
    }

    fn report(&self, node: NodeId, index: u32) {
        report(&self.shared, node, ReportBad { extent: self.extent.id, root: self.extent.root, index });
    }
}

/// The local node first, then those that seem alive, in an order that spreads the load.
fn candidates(shared: &Shared, mut nodes: Vec<NodeId>) -> Vec<NodeId> {
    let local = shared.peers.local();
    let turn = shared.rng.next_u64();
    let spread = |node: NodeId| (node.0 ^ turn).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    nodes.sort_by_key(|&node| (node != local, !shared.layouts.alive(node), spread(node)));
    nodes
}

/// Tells a holder, if it is to have the extent at all, that its copy is bad or missing.
fn report(shared: &Shared, node: NodeId, report: ReportBad) {
    add(&shared.counters.reads_around, 1);
    if !is_to_hold(&shared.layouts.layout(), node, report.extent) {
        return;
    }
    tracing::warn!(%node, extent = %report.extent, chunk = report.index, "bad or missing copy read around");
    add(&shared.counters.bad_copies_reported, 1);
    let peers = shared.peers.clone();
    tokio::spawn(async move {
        if let Err(error) = peers.report_bad(node, report).await {
            tracing::debug!(%node, %error, "bad copy not reported");
        }
    });
}

/// First and last place that is still empty.
fn gap(found: &[Option<Bytes>]) -> Option<(u32, u32)> {
    let lowest = found.iter().position(Option::is_none)?;
    let highest = found.iter().rposition(Option::is_none)?;
    Some((lowest as u32, highest as u32))
}

/// The chunk digests of a header that `extent` proves to be that of `id`: the extent itself, or one of its shards.
pub(crate) fn proven_digests(extent: &ExtentRef, id: ExtentId, header: Option<ExtentHeader>) -> Option<Vec<Digest>> {
    let header = header?;
    let length_bytes = header.stripe.as_ref().map_or(header.length_bytes, |stripe| stripe.length_bytes);
    let held_bytes = match id.redundancy().shards() {
        None => length_bytes,
        Some(shards) => Geometry::new(shards).shard_bytes(length_bytes),
    };
    let fits = id.group() == extent.id.group()
        && length_bytes == extent.length_bytes
        && header.length_bytes == held_bytes
        && header.chunk_digests.len() == chunk_count(held_bytes) as usize
        && header.is_of(id)
        && header.root() == extent.root;
    fits.then_some(header.chunk_digests)
}

/// Keeps the chunks that have the wanted length and digest; hashes off the async threads.
async fn verify(chunks: Vec<Option<Bytes>>, wanted: Vec<(usize, Digest)>) -> Vec<Option<Bytes>> {
    let check = move || {
        let checked = chunks.into_iter().zip(&wanted).map(|(chunk, (length, digest))| {
            chunk.filter(|chunk| chunk.len() == *length && Digest::of(chunk) == *digest)
        });
        let mut checked: Vec<_> = checked.collect();
        checked.resize(wanted.len(), None);
        checked
    };
    karri_ring_types::blocking(check).await.unwrap_or_default()
}

/// Chunks from one node, or `None` unless all of them have their digests.
pub(crate) async fn verified_chunks(
    peers: &Peers,
    node: NodeId,
    extent: ExtentId,
    first: u32,
    digests: &[Digest],
) -> Option<Vec<Bytes>> {
    let ask = Read { extent, first, count: u32::try_from(digests.len()).ok()?, header: false };
    let fetched = peers.read(node, ask, READ_DEADLINE).await.ok()?;
    let chunks: Vec<Bytes> = fetched.chunks.into_iter().collect::<Option<_>>()?;
    let lengths: Vec<usize> = chunks.iter().map(Bytes::len).collect();
    let wanted = lengths.into_iter().zip(digests.iter().copied()).collect();
    verify(chunks.into_iter().map(Some).collect(), wanted).await.into_iter().collect()
}
