//! Copying a sealed extent from a peer.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use karri_ring_extent::ExtentHeader;
use karri_ring_types::{CHUNK_SIZE_BYTES, Digest, ExtentId, NodeId, RUN_SIZE_BYTES, Step, chunk_count, failpoint};

use super::Repairer;
use crate::counters::add;
use crate::extent_ref::ExtentRef;
use crate::holder::RunBytes;
use crate::layout::holders_of_part;
use crate::peers::{CallError, READ_DEADLINE};
use crate::read::striped::Reader;
use crate::read::{proven_digests, verified_chunks};
use crate::stripe::Geometry;
use crate::wire::{Read, Refusal};

impl Repairer {
    /// Pulls an extent whose root is known; false when it was deleted here, is here by now, or is being pulled.
    pub(super) async fn pull(&self, peer: NodeId, id: ExtentId, root: Digest) -> Result<bool, CallError> {
        if !self.in_hand.lock().insert(id) {
            return Ok(false);
        }
        let outcome = self.pull_now(peer, id, root).await;
        self.in_hand.lock().remove(&id);
        outcome
    }

    async fn pull_now(&self, peer: NodeId, id: ExtentId, root: Digest) -> Result<bool, CallError> {
        let store = self.holder.store();
        if store.is_tombstoned(id).await.map_err(Refusal::from)?
            || store.header(id).await.map_err(Refusal::from)?.is_some()
        {
            return Ok(false);
        }
        if let Some(shards) = id.redundancy().shards() {
            return self.rebuild_shard(peer, id, root, Geometry::new(shards)).await;
        }
        let header = self.fetch_header(peer, id, root).await?;
        let chunks_per_run = RUN_SIZE_BYTES / CHUNK_SIZE_BYTES;
        let runs = header.chunk_digests.chunks(chunks_per_run);
        let last = runs.len().saturating_sub(1);
        for (index, digests) in runs.enumerate() {
            let first = u32::try_from(index * chunks_per_run).unwrap_or(u32::MAX);
            let seal = (index == last).then(|| header.clone());
            self.pull_run(peer, id, (first, digests), &header, seal).await?;
        }
        failpoint(Step::RepairPulled);
        add(&self.shared.counters.extents_pulled, 1);
        add(&self.shared.counters.bytes_pulled, header.length_bytes);
        Ok(true)
    }

    /// Makes one run good: what a writer had got through already is kept.
    async fn pull_run(
        &self,
        peer: NodeId,
        id: ExtentId,
        (first, digests): (u32, &[Digest]),
        header: &ExtentHeader,
        seal: Option<ExtentHeader>,
    ) -> Result<(), CallError> {
        if self.all_good(id, first, digests).await? {
            return match seal {
                Some(header) => Ok(self.holder.seal(id, header).await?),
                None => Ok(()),
            };
        }
        let chunks = self.fetch_good(peer, id, first, digests).await?;
        failpoint(Step::RepairFetched);
        let run = RunBytes { first_chunk: first, bytes: Bytes::from(chunks.concat()) };
        Ok(self.holder.write_run(id, header.owner.clone(), &run, seal).await?)
    }

    async fn all_good(&self, id: ExtentId, first: u32, digests: &[Digest]) -> Result<bool, CallError> {
        for (index, &digest) in (first..).zip(digests) {
            if !self.holder.store().verify_chunk(id, index, digest).await.map_err(Refusal::from)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the shard that is to be here, from a former holder's or from others.
    async fn rebuild_shard(
        &self,
        peer: NodeId,
        id: ExtentId,
        root: Digest,
        geometry: Geometry,
    ) -> Result<bool, CallError> {
        let sibling = self.fetch_header(peer, id, root).await?;
        let Some(stripe) = sibling.stripe.clone() else {
            return Err(CallError::Refused(Refusal::Failed(format!("{id} has a header without its stripe"))));
        };
        let extent = ExtentRef { id: id.group(), length_bytes: stripe.length_bytes, root };
        let reader = Reader::new(self.shared.clone(), extent, geometry, true);
        let shard_bytes = geometry.shard_bytes(stripe.length_bytes);
        let (count, step) = (chunk_count(shard_bytes), geometry.chunks_per_run() as u32);
        let mut header =
            ExtentHeader { length_bytes: shard_bytes, chunk_digests: Vec::new(), stripe: Some(stripe), ..sibling };
        for first in (0..count).step_by(step as usize) {
            let chunks = self.shard_chunks(&reader, id, first..count.min(first + step)).await?;
            header.chunk_digests.extend(chunks.iter().map(|chunk| Digest::of(chunk)));
            let last = first + step >= count;
            if last && !header.is_of(id) {
                return Err(CallError::Refused(Refusal::Failed(format!("the rebuilt shard {id} is not what it was"))));
            }
            let run = RunBytes { first_chunk: first, bytes: Bytes::from(chunks.concat()) };
            let seal = last.then(|| header.clone());
            self.holder.write_run(id, header.owner.clone(), &run, seal).await?;
        }
        add(&self.shared.counters.extents_pulled, 1);
        add(&self.shared.counters.bytes_pulled, shard_bytes);
        Ok(true)
    }

    /// Chunks of one shard, from other nodes.
    pub(super) async fn shard_chunks(
        &self,
        reader: &Reader,
        id: ExtentId,
        chunks: Range<u32>,
    ) -> Result<Vec<Bytes>, CallError> {
        let shard = usize::from(id.kind().shard());
        let found = reader.chunks(BTreeMap::from([(shard, chunks.clone())])).await;
        let mut found = found.map_err(|error| CallError::Refused(Refusal::Failed(error.to_string())))?;
        let chunks = chunks.map(|index| found.remove(&(shard, index)));
        let lacks = || CallError::Refused(Refusal::Failed(format!("chunks of {id} are missing")));
        chunks.collect::<Option<_>>().ok_or_else(lacks)
    }

    /// The header with this root from `peer` or another holder; of a stripe that of any shard.
    pub(super) async fn fetch_header(
        &self,
        peer: NodeId,
        id: ExtentId,
        root: Digest,
    ) -> Result<ExtentHeader, CallError> {
        let mut failure = CallError::Refused(Refusal::Failed(format!("no holder has the header of {id}")));
        for part in id.held_as() {
            let holders = holders_of_part(&*self.shared.layouts, part);
            for node in self.sources(peer, id).into_iter().filter(|node| holders.contains(node)) {
                let ask = Read { extent: part, first: 0, count: 0, header: true };
                match self.shared.peers.read(node, ask, READ_DEADLINE).await {
                    Ok(fetched) => {
                        let Some(header) = fetched.header else { continue };
                        let length = header.stripe.as_ref().map_or(header.length_bytes, |stripe| stripe.length_bytes);
                        let extent = ExtentRef { id: id.group(), length_bytes: length, root };
                        if proven_digests(&extent, part, Some(header.clone())).is_some() {
                            return Ok(header);
                        }
                    }
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }

    /// Chunks with these digests from `peer` or another holder.
    pub(super) async fn fetch_good(
        &self,
        peer: NodeId,
        id: ExtentId,
        first: u32,
        digests: &[Digest],
    ) -> Result<Vec<Bytes>, CallError> {
        for node in self.sources(peer, id) {
            if let Some(chunks) = verified_chunks(&self.shared.peers, node, id, first, digests).await {
                return Ok(chunks);
            }
        }
        Err(CallError::Refused(Refusal::Failed(format!("no holder has good chunks of {id} from {first}"))))
    }

    /// `peer`, then the other holders.
    fn sources(&self, peer: NodeId, id: ExtentId) -> Vec<NodeId> {
        let mut nodes = self.others(id);
        nodes.retain(|&node| node != peer);
        if peer != self.local() {
            nodes.insert(0, peer);
        }
        nodes
    }
}
