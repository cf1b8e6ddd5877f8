//! Keys of the column families. All sort by extent id.

use crate::segment::SegmentId;
use karri_ring_types::{Digest, ExtentId, PartitionId};

/// Chunk key to the chunk's place in a segment.
pub(crate) const CHUNKS: &str = "chunks";
/// Numbers of segments that need not be read again at the start.
pub(crate) const SEGMENTS: &str = "segments";
/// Extent id to row.
pub(crate) const EXTENTS: &str = "extents";
/// Partition and extent id of sealed extents to root digest and length.
pub(crate) const PARTITIONS: &str = "partitions";
/// Extent ids that were deleted on a committed proof.
pub(crate) const TOMBSTONES: &str = "tombstones";

/// Key of a chunk.
pub(crate) fn chunk_key(id: ExtentId, index: u32) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&id.to_bytes());
    key[16..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Extent and index of a chunk's key.
pub(crate) fn parse_chunk_key(key: &[u8]) -> Option<(ExtentId, u32)> {
    let (id, index) = key.split_first_chunk::<16>()?;
    Some((ExtentId::from_bytes(*id), u32::from_be_bytes(index.try_into().ok()?)))
}

/// Key of a segment.
pub(crate) fn segment_key(segment: SegmentId) -> [u8; 8] {
    segment.0.to_be_bytes()
}

/// The segment of a key.
pub(crate) fn parse_segment_key(key: &[u8]) -> Option<SegmentId> {
    key.try_into().ok().map(|key| SegmentId(u64::from_be_bytes(key)))
}

/// Key of a sealed extent in its partition.
pub(crate) fn partition_key(partition: PartitionId, id: ExtentId) -> [u8; 18] {
    let mut key = [0; 18];
    key[..2].copy_from_slice(&partition.0.to_be_bytes());
    key[2..].copy_from_slice(&id.to_bytes());
    key
}

/// Partition and id of a partition key.
pub(crate) fn parse_partition_key(key: &[u8]) -> Option<(PartitionId, ExtentId)> {
    let (partition, id) = key.split_first_chunk::<2>()?;
    Some((PartitionId(u16::from_be_bytes(*partition)), ExtentId::from_bytes(id.try_into().ok()?)))
}

/// Value of a partition key.
pub(crate) fn partition_value(root: Digest, length_bytes: u64) -> [u8; 40] {
    let mut value = [0; 40];
    value[..32].copy_from_slice(&root.0);
    value[32..].copy_from_slice(&length_bytes.to_be_bytes());
    value
}

/// Root digest and length of a partition key's value.
pub(crate) fn parse_partition_value(value: &[u8]) -> Option<(Digest, u64)> {
    let (root, length) = value.split_first_chunk::<32>()?;
    Some((Digest(*root), u64::from_be_bytes(length.try_into().ok()?)))
}
