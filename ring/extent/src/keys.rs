//! Keys of the column families. All sort by extent id.

use karri_ring_types::{Digest, ExtentId, PartitionId};

/// Ingested runs: chunk key to chunk.
pub(crate) const RUNS: &str = "runs";
/// Small runs, through the write-ahead log: chunk key to chunk.
pub(crate) const SMALL: &str = "small";
/// Extent id to row.
pub(crate) const EXTENTS: &str = "extents";
/// Partition and extent id of sealed extents to root digest and length.
pub(crate) const PARTITIONS: &str = "partitions";
/// Extent ids that were deleted on a committed proof.
pub(crate) const TOMBSTONES: &str = "tombstones";

/// Last byte of a marker's key.
const MARKER: u8 = 0xff;

/// Key of a chunk.
pub(crate) fn chunk_key(id: ExtentId, index: u32) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&id.to_bytes());
    key[16..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Key of the row before the first chunk of an ingested file: after the end marker of the file before it.
pub(crate) fn begin_marker(id: ExtentId, first_chunk: u32) -> Vec<u8> {
    match first_chunk.checked_sub(1) {
        None => id.to_bytes().to_vec(),
        Some(before) => [&chunk_key(id, before)[..], &[MARKER, MARKER]].concat(),
    }
}

/// Key of the row after the last chunk of an ingested file.
pub(crate) fn end_marker(id: ExtentId, last_chunk: u32) -> Vec<u8> {
    [&chunk_key(id, last_chunk)[..], &[MARKER]].concat()
}

/// The extent of an end marker.
pub(crate) fn parse_end_marker(key: &[u8]) -> Option<ExtentId> {
    let (id, rest) = key.split_first_chunk::<16>()?;
    (rest.len() == 5 && rest[4] == MARKER).then(|| ExtentId::from_bytes(*id))
}

/// Before and after all rows of an extent in an ingested file.
pub(crate) fn extent_bounds(id: ExtentId) -> (Vec<u8>, Vec<u8>) {
    (id.to_bytes().to_vec(), [&chunk_key(id, u32::MAX)[..], &[MARKER, MARKER]].concat())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_neighbouring_runs_do_not_overlap() {
        let id = ExtentId(5);
        let (start, end) = extent_bounds(id);
        let keys = [
            extent_bounds(ExtentId(4)).1,
            start.clone(),
            chunk_key(id, 0).to_vec(),
            chunk_key(id, 7).to_vec(),
            end_marker(id, 7),
            begin_marker(id, 8),
            chunk_key(id, 8).to_vec(),
            end_marker(id, 63),
            end,
            extent_bounds(ExtentId(6)).0,
        ];
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert_eq!(begin_marker(id, 0), start);
        assert_eq!(parse_end_marker(&end_marker(id, 7)), Some(id));
        assert_eq!(parse_end_marker(&chunk_key(id, 7)), None);
        assert_eq!(parse_end_marker(&begin_marker(id, 8)), None);
    }
}
