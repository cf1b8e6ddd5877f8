//! Reading stripes: the wanted chunks of the shards that hold the bytes; where one is missing, that chunk of others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use karri_ring_types::{CHUNK_SIZE_BYTES, Digest, NodeId, chunk_length};
use parking_lot::Mutex;

use super::{
    ATTEMPT_PAUSE, ATTEMPTS_MAX, HEDGE_AFTER, ReadError, candidates, holders_of_part, proven_digests, report, verify,
};
use crate::client::Shared;
use crate::counters::add;
use crate::extent_ref::ExtentRef;
use crate::peers::{CallError, READ_DEADLINE};
use crate::stripe::Geometry;
use crate::wire::{Read, ReportBad};

/// Runs that are fetched at once: one is being consumed, the other is read ahead.
const READ_AHEAD_RUNS: usize = 2;

/// A shard, and one of its chunks.
type Place = (usize, u32);

/// One stripe that is being read.
pub(crate) struct Reader {
    pub(crate) shared: Arc<Shared>,
    pub(crate) extent: ExtentRef,
    pub(crate) geometry: Geometry,
    /// Digests of the chunks of shards, as far as they are known and proven.
    digests: Mutex<HashMap<usize, Arc<Vec<Digest>>>>,
    /// For repair, which does not ask its own node for what that lacks, nor complains of it.
    repairs: bool,
}

/// The verified bytes of `range`, run by run.
pub(super) fn stream(
    shared: Arc<Shared>,
    extent: ExtentRef,
    geometry: Geometry,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, ReadError>> {
    let reader = Arc::new(Reader::new(shared, extent, geometry, false));
    let run = geometry.run_bytes() as u64;
    let runs = (range.start / run..range.end.div_ceil(run)).map(move |index| {
        let reader = reader.clone();
        let part = range.start.max(index * run)..range.end.min((index + 1) * run);
        async move {
            // On its own, so that it goes on while the consumer is busy with the run before.
            let pieces = tokio::spawn(async move { reader.read(part).await });
            let pieces = pieces.await.unwrap_or(Err(ReadError::Unavailable))?;
            Ok(stream::iter(pieces.into_iter().map(Ok)))
        }
    });
    stream::iter(runs).buffered(READ_AHEAD_RUNS).try_flatten().boxed()
}

/// Chunks that were asked for, and whether somebody who may have the others did not answer.
#[derive(Default)]
struct Found {
    chunks: BTreeMap<Place, Bytes>,
    silent: bool,
    /// How long a node may take.
    patience: Duration,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, extent: ExtentRef, geometry: Geometry, repairs: bool) -> Self {
        Self { shared, extent, geometry, digests: Mutex::default(), repairs }
    }

    /// The bytes of a range within one run, in order.
    async fn read(&self, range: Range<u64>) -> Result<Vec<Bytes>, ReadError> {
        let pieces = self.geometry.pieces(self.extent.length_bytes, range);
        let mut wanted: BTreeMap<usize, Range<u32>> = BTreeMap::new();
        for piece in &pieces {
            wanted.insert(piece.shard, chunk_of(piece.range.start)..chunk_of(piece.range.end - 1) + 1);
        }
        let chunks = self.chunks(wanted).await?;
        let mut bytes = Vec::new();
        for piece in &pieces {
            for index in chunk_of(piece.range.start)..=chunk_of(piece.range.end - 1) {
                let chunk = chunks.get(&(piece.shard, index)).ok_or(ReadError::Unavailable)?;
                let offset = u64::from(index) * CHUNK_SIZE_BYTES as u64;
                let from = (piece.range.start.max(offset) - offset) as usize;
                let to = ((piece.range.end - offset) as usize).min(chunk.len());
                bytes.push(chunk.slice(from..to));
            }
        }
        add(&self.shared.counters.bytes_read, bytes.iter().map(|piece| piece.len() as u64).sum());
        Ok(bytes)
    }

    /// The wanted chunks of each shard. Tries again for a moment when a holder does not answer: it may just be starting.
    pub(crate) async fn chunks(
        &self,
        wanted: BTreeMap<usize, Range<u32>>,
    ) -> Result<BTreeMap<Place, Bytes>, ReadError> {
        let mut patience = HEDGE_AFTER;
        for _ in 1..ATTEMPTS_MAX {
            match self.attempt(&wanted, patience).await {
                Err(ReadError::Unavailable) => {}
                Err(ReadError::Lost) => self.shared.layouts.doubt(),
                outcome => return outcome,
            }
            tokio::time::sleep(ATTEMPT_PAUSE).await;
            patience = READ_DEADLINE;
        }
        self.attempt(&wanted, patience).await
    }

    async fn attempt(
        &self,
        wanted: &BTreeMap<usize, Range<u32>>,
        patience: Duration,
    ) -> Result<BTreeMap<Place, Bytes>, ReadError> {
        let mut found = Found { patience, ..Found::default() };
        // What is on a node that seems dead is computed at once; should there be too little, it is asked all the same.
        let alive = wanted.iter().filter(|(shard, _)| self.seems_alive(**shard));
        self.fetch_all(&mut found, alive.map(|(shard, chunks)| (*shard, chunks.clone())).collect()).await;
        let all = wanted.iter().flat_map(|(shard, chunks)| chunks.clone().map(move |index| (*shard, index)));
        let missing: Vec<Place> = all.filter(|place| !found.chunks.contains_key(place)).collect();
        if missing.is_empty() {
            return Ok(found.chunks);
        }
        self.fetch_others(&mut found, &missing).await;
        for (shard, index) in missing {
            let known = self.known(&found, index);
            if known.len() < self.geometry.data {
                if found.silent {
                    return Err(ReadError::Unavailable);
                }
                tracing::error!(extent = %self.extent.id, chunk = index, "too few shards have a good copy");
                return Err(ReadError::Lost);
            }
            let geometry = self.geometry;
            let rebuilt = tokio::task::spawn_blocking(move || geometry.rebuild(shard, &known)).await;
            let rebuilt = rebuilt.ok().and_then(Result::ok).ok_or(ReadError::Unavailable)?;
            add(&self.shared.counters.chunks_rebuilt, 1);
            found.chunks.insert((shard, index), rebuilt);
        }
        Ok(found.chunks)
    }

    /// What was fetched of a codeword. Only what was verified is in it.
    fn known(&self, found: &Found, index: u32) -> Vec<(usize, Bytes)> {
        let shards = 0..self.geometry.shards();
        shards.filter_map(|shard| Some((shard, found.chunks.get(&(shard, index))?.clone()))).collect()
    }

    /// Fetches chunks of other shards until each missing one can be computed, or all shards were asked.
    async fn fetch_others(&self, found: &mut Found, missing: &[Place]) {
        let lost: HashSet<usize> = missing.iter().map(|(shard, _)| *shard).collect();
        let mut untried: Vec<usize> = (0..self.geometry.shards()).filter(|shard| !lost.contains(shard)).collect();
        untried.sort_by_key(|&shard| !self.seems_alive(shard));
        // Shards that lost a chunk may have others.
        untried.extend(lost);
        while !untried.is_empty() {
            let needed = |index: u32| self.geometry.data.saturating_sub(self.known(found, index).len());
            let most = missing.iter().map(|(_, index)| needed(*index)).max().unwrap_or(0);
            if most == 0 {
                return;
            }
            let now: Vec<usize> = untried.drain(..most.min(untried.len())).collect();
            let mut asks = Vec::new();
            for shard in now {
                let indices = missing.iter().map(|(_, index)| *index).filter(|&index| needed(index) > 0);
                let indices: Vec<u32> = indices.filter(|&index| !found.chunks.contains_key(&(shard, index))).collect();
                let (first, last) = (indices.iter().min(), indices.iter().max());
                if let (Some(&first), Some(&last)) = (first, last) {
                    asks.push((shard, first..last + 1));
                }
            }
            self.fetch_all(found, asks).await;
        }
    }

    fn holders(&self, shard: usize) -> Vec<NodeId> {
        let mut nodes = holders_of_part(&*self.shared.layouts, self.extent.id.shard(shard as u8));
        nodes.retain(|&node| !self.repairs || node != self.shared.peers.local());
        candidates(&self.shared, nodes)
    }

    fn seems_alive(&self, shard: usize) -> bool {
        self.holders(shard).iter().any(|&node| self.shared.layouts.alive(node))
    }

    fn report(&self, node: NodeId, shard: usize, index: u32) {
        let extent = self.extent.id.shard(shard as u8);
        report(&self.shared, node, ReportBad { extent, root: self.extent.root, index });
    }

    async fn fetch_all(&self, found: &mut Found, asks: Vec<(usize, Range<u32>)>) {
        let patience = found.patience;
        let fetches = asks.into_iter().map(|(shard, chunks)| async move {
            let first = chunks.start;
            let (fetched, silent) = self.fetch(shard, chunks, patience).await;
            (shard, first, fetched, silent)
        });
        for (shard, first, fetched, silent) in join_all(fetches).await {
            found.silent |= silent;
            for (index, chunk) in (first..).zip(fetched) {
                if let Some(chunk) = chunk {
                    found.chunks.insert((shard, index), chunk);
                }
            }
        }
    }

    /// Chunks of one shard from whoever has it, each checked; and whether one of those did not answer.
    async fn fetch(&self, shard: usize, chunks: Range<u32>, patience: Duration) -> (Vec<Option<Bytes>>, bool) {
        let id = self.extent.id.shard(shard as u8);
        let mut found: Vec<Option<Bytes>> = vec![None; chunks.len()];
        let mut silent = false;
        for node in self.holders(shard) {
            if found.iter().all(Option::is_some) {
                break;
            }
            let known = self.digests.lock().get(&shard).cloned();
            let ask = Read { extent: id, first: chunks.start, count: chunks.len() as u32, header: known.is_none() };
            let fetched = match self.shared.peers.read(node, ask, patience).await {
                Ok(fetched) => fetched,
                Err(error) => {
                    silent |= !matches!(error, CallError::Refused(_));
                    tracing::debug!(%node, extent = %id, %error, "read around a node");
                    add(&self.shared.counters.reads_around, 1);
                    continue;
                }
            };
            let proven = known.or_else(|| proven_digests(&self.extent, id, fetched.header).map(Arc::new));
            let Some(digests) = proven else {
                self.report(node, shard, chunks.start);
                continue;
            };
            self.digests.lock().insert(shard, digests.clone());
            let shard_bytes = self.geometry.shard_bytes(self.extent.length_bytes);
            let wanted = |index: u32| (chunk_length(shard_bytes, index), digests[index as usize]);
            let verified = verify(fetched.chunks, chunks.clone().map(wanted).collect()).await;
            for ((place, chunk), index) in found.iter_mut().zip(verified).zip(chunks.clone()) {
                match chunk {
                    Some(chunk) => *place = Some(chunk),
                    None if place.is_none() => self.report(node, shard, index),
                    None => {}
                }
            }
        }
        (found, silent)
    }
}

fn chunk_of(offset: u64) -> u32 {
    u32::try_from(offset / CHUNK_SIZE_BYTES as u64).expect("an extent has few chunks")
}
