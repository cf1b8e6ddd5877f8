//! A run in memory.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use karri_ring_types::{CHUNK_SIZE_BYTES, Digest, RUN_SIZE_BYTES};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

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

    pub(super) fn chunk_count(&self) -> u32 {
        u32::try_from(self.bytes.len().div_ceil(CHUNK_SIZE_BYTES)).expect("a run is a few MiB")
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

/// Digest of each chunk of `bytes`, off the async threads; `None` when the process is ending.
pub(super) async fn hash(bytes: Bytes) -> Option<Vec<Digest>> {
    let few = bytes.len() <= INLINE_HASH_BYTES_MAX;
    let each = move || bytes.chunks(CHUNK_SIZE_BYTES).map(Digest::of).collect();
    if few { Some(each()) } else { tokio::task::spawn_blocking(each).await.ok() }
}
