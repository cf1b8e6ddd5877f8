//! A run in memory.

use bytes::Bytes;
use karri_ring_types::{CHUNK_SIZE_BYTES, Digest};
use tokio::sync::OwnedSemaphorePermit;

/// Runs up to this size are hashed where they are; moving them to another thread costs more.
const INLINE_HASH_BYTES_MAX: usize = 64 << 10;

/// A run that must be kept until it is durable on a quorum. Its memory is accounted until the last replica lets go.
pub(super) struct RunData {
    pub(super) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl RunData {
    pub(super) fn new(bytes: Bytes, memory: Option<OwnedSemaphorePermit>) -> Self {
        assert!(!bytes.is_empty(), "a run has bytes");
        Self { bytes, _memory: memory }
    }

    pub(super) fn chunk_count(&self) -> u32 {
        u32::try_from(self.bytes.len().div_ceil(CHUNK_SIZE_BYTES)).expect("a run is a few MiB")
    }
}

/// Digest of each chunk of `bytes`, off the async threads; `None` when the process is ending.
pub(super) async fn hash(bytes: Bytes) -> Option<Vec<Digest>> {
    let few = bytes.len() <= INLINE_HASH_BYTES_MAX;
    let each = move || bytes.chunks(CHUNK_SIZE_BYTES).map(Digest::of).collect();
    if few { Some(each()) } else { tokio::task::spawn_blocking(each).await.ok() }
}
