//! What a node does with its own extents, whether asked by RPC or by the gateway in the same process.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use karri_ring_extent::{ExtentHeader, ExtentStore, Owner, Run};
use karri_ring_types::{CHUNK_SIZE_BYTES, ExtentId, ExtentKind, PartitionId};

use crate::wire::{CHUNKS_PER_READ_MAX, Read, ReadReply, Refusal, Summary, UsageReply};

/// A run on its way to the replicas: full chunks and then a shorter one, in one buffer.
#[derive(Clone, Debug)]
pub(crate) struct RunBytes {
    pub(crate) first_chunk: u32,
    pub(crate) bytes: Bytes,
}

impl RunBytes {
    /// The chunks, which share the buffer.
    pub(crate) fn chunks(&self) -> Vec<Bytes> {
        let starts = (0..self.bytes.len()).step_by(CHUNK_SIZE_BYTES);
        starts.map(|start| self.bytes.slice(start..self.bytes.len().min(start + CHUNK_SIZE_BYTES))).collect()
    }
}

/// The local store, in the terms of the wire.
#[derive(Clone)]
pub(crate) struct Holder {
    store: Arc<ExtentStore>,
}

impl Holder {
    pub(crate) fn new(store: Arc<ExtentStore>) -> Self {
        Self { store }
    }

    pub(crate) fn store(&self) -> &Arc<ExtentStore> {
        &self.store
    }

    pub(crate) async fn write_run(
        &self,
        extent: ExtentId,
        owner: Owner,
        run: &RunBytes,
        seal: Option<ExtentHeader>,
    ) -> Result<(), Refusal> {
        let run = Run { extent, owner, first_chunk: run.first_chunk, chunks: run.chunks() };
        match seal {
            Some(header) => self.store.write_run_and_seal(run, header).await?,
            None => self.store.write_run(run).await?,
        }
        Ok(())
    }

    pub(crate) async fn seal(&self, extent: ExtentId, header: ExtentHeader) -> Result<(), Refusal> {
        Ok(self.store.seal(extent, header).await?)
    }

    /// The header if asked for, and the chunks one after another.
    pub(crate) async fn read(&self, ask: Read) -> Result<(ReadReply, Bytes), Refusal> {
        let header = if ask.header { self.store.header(ask.extent).await? } else { None };
        let count = ask.count.min(CHUNKS_PER_READ_MAX);
        let (chunks, body) = match self.store.read_chunks(ask.extent, ask.first, count).await {
            Ok(body) => {
                let starts = (0..count as usize).map(|index| index * CHUNK_SIZE_BYTES);
                let length = |start| body.len().saturating_sub(start).min(CHUNK_SIZE_BYTES) as u32;
                (starts.map(length).map(|length| (length > 0).then_some(length)).collect(), body)
            }
            Err(_) => self.read_one_by_one(ask.extent, ask.first, count).await,
        };
        Ok((ReadReply { header, chunks }, body))
    }

    /// One bad chunk does not hide its neighbours.
    async fn read_one_by_one(&self, extent: ExtentId, first: u32, count: u32) -> (Vec<Option<u32>>, Bytes) {
        let mut chunks = Vec::with_capacity(count as usize);
        let mut body = BytesMut::new();
        for index in first..first.saturating_add(count) {
            let found = self.store.read_chunks(extent, index, 1).await;
            if let Err(error) = &found {
                tracing::warn!(%extent, index, %error, "bad copy found");
            }
            let chunk = found.unwrap_or_default();
            chunks.push((!chunk.is_empty()).then_some(chunk.len() as u32));
            body.extend_from_slice(&chunk);
        }
        (chunks, body.freeze())
    }

    pub(crate) async fn delete(&self, ids: Vec<ExtentId>) -> Result<(), Refusal> {
        Ok(self.store.delete(ids).await?)
    }

    pub(crate) async fn tombstoned(&self, ids: Vec<ExtentId>) -> Result<Vec<ExtentId>, Refusal> {
        let mut found = Vec::new();
        for id in ids {
            if self.store.is_tombstoned(id).await? {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// What this node has of a partition, by kind.
    pub(crate) fn summaries(&self, partition: PartitionId) -> Vec<(ExtentKind, Summary)> {
        let summaries = self.store.summaries(partition).into_iter();
        summaries.map(|(kind, found)| (kind, Summary { count: found.count, xor_hash: found.xor_hash })).collect()
    }

    pub(crate) fn usage(&self) -> UsageReply {
        let usage = self.store.usage();
        UsageReply { extents: usage.extents, bytes: usage.bytes, free_bytes: usage.free_bytes, full: usage.full }
    }
}
