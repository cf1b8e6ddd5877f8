//! A run in memory.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use karri_ring_types::{CHUNK_SIZE_BYTES, Digest, RUN_SIZE_BYTES};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use crate::stripe::Geometry;

/// Runs up to this size are hashed where they are; moving them to another thread costs more.
const INLINE_HASH_BYTES_MAX: usize = 64 << 10;
/// Buffers that are kept.
const BUFFERS_KEPT_MAX: usize = 8;

/// A run that must be kept until it is durable on a quorum. Its memory is accounted until the last replica lets go.
pub(super) struct RunData {
    pub(super) bytes: Bytes,
    buffers: Arc<RunBuffers>,
    _memory: Option<OwnedSemaphorePermit>,
}

impl RunData {
    pub(super) fn new(bytes: Bytes, memory: Option<OwnedSemaphorePermit>, buffers: Arc<RunBuffers>) -> Self {
        assert!(!bytes.is_empty(), "a run has bytes");
        Self { bytes, buffers, _memory: memory }
    }
}

impl Drop for RunData {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.bytes));
    }
}

/// Buffers of whole runs for use again: fresh memory of that size costs a page fault per 4 KiB.
#[derive(Default)]
pub(crate) struct RunBuffers(Mutex<Vec<BytesMut>>);

impl RunBuffers {
    pub(super) fn take(&self) -> BytesMut {
        let kept = self.0.lock().pop();
        kept.unwrap_or_else(|| BytesMut::with_capacity(RUN_SIZE_BYTES))
    }

    /// Keeps the buffer when nobody else has a part of it.
    fn give_back(&self, bytes: Bytes) {
        let Ok(mut buffer) = bytes.try_into_mut() else { return };
        buffer.clear();
        if buffer.capacity() == RUN_SIZE_BYTES {
            let mut kept = self.0.lock();
            if kept.len() < BUFFERS_KEPT_MAX {
                kept.push(buffer);
            }
        }
    }
}

/// What the replicas get of a run: the same bytes, or each its shard of them.
#[derive(Clone)]
pub(super) struct Parts(Vec<Bytes>);

impl Parts {
    /// The parts of a run; those of a stripe are computed off the async threads. `None` when that fails.
    pub(super) async fn of(run: &Arc<RunData>, stripe: Option<Geometry>) -> Option<Self> {
        let Some(geometry) = stripe else { return Some(Self(vec![run.bytes.clone()])) };
        let bytes = run.bytes.clone();
        let encoded = karri_ring_types::blocking(move || geometry.encode(&bytes)).await.ok()?;
        Some(Self(encoded.ok()?))
    }

    /// The part for a place.
    pub(super) fn at(&self, place: usize) -> Bytes {
        self.0[if self.0.len() == 1 { 0 } else { place }].clone()
    }

    /// Chunks and bytes that each replica gets.
    pub(super) fn size(&self) -> (u32, u64) {
        let bytes = self.0[0].len();
        (u32::try_from(bytes.div_ceil(CHUNK_SIZE_BYTES)).expect("a run is a few MiB"), bytes as u64)
    }
}

/// Digests of the chunks of each part, off the async threads; `None` when the process is ending.
pub(super) async fn hash(parts: Parts) -> Option<Vec<Vec<Digest>>> {
    let few = parts.0.iter().map(Bytes::len).sum::<usize>() <= INLINE_HASH_BYTES_MAX;
    let of = |part: &Bytes| part.chunks(CHUNK_SIZE_BYTES).map(Digest::of).collect();
    let each = move || parts.0.iter().map(of).collect();
    if few { Some(each()) } else { karri_ring_types::blocking(each).await.ok() }
}
