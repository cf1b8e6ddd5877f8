//! Sizes that every crate must agree on.

/// Bytes of a full chunk; only the last chunk of an extent may be shorter.
pub const CHUNK_SIZE_BYTES: usize = 1 << 20;

/// Most bytes of one extent (64 chunks).
pub const EXTENT_SIZE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of one run: the unit that a writer sends, a node makes durable and acknowledges. A writer keeps
/// an unacknowledged run in memory so that it can replay it elsewhere.
pub const RUN_SIZE_BYTES: usize = 8 << 20;

/// Objects up to this many bytes are kept inside their metadata record: one commit, and no extent to keep track of.
/// Chosen within the 16 to 64 KiB that the design gives; not measured yet.
pub const INLINE_SIZE_BYTES_MAX: usize = 32 << 10;

/// Chunks of an extent of `length_bytes`.
pub fn chunk_count(length_bytes: u64) -> u32 {
    u32::try_from(length_bytes.div_ceil(CHUNK_SIZE_BYTES as u64)).expect("an extent has at most 64 chunks")
}

/// Bytes of chunk `index` in an extent of `length_bytes`; 0 past the end.
pub fn chunk_length(length_bytes: u64, index: u32) -> usize {
    let start = u64::from(index) * CHUNK_SIZE_BYTES as u64;
    usize::try_from(length_bytes.saturating_sub(start).min(CHUNK_SIZE_BYTES as u64)).expect("at most a chunk")
}
