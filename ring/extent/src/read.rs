//! Reading chunks, headers and lists.

use std::sync::Arc;

use bytes::Bytes;
use karri_ring_types::{CHUNK_SIZE_BYTES, Digest, ExtentId, PartitionId, chunk_count, chunk_length};
use rocksdb::{Direction, IteratorMode};

use crate::keys::{EXTENTS, PARTITIONS, parse_partition_key, parse_partition_value, partition_key};
use crate::records::{ExtentHeader, OpenExtent, Row};
use crate::segment::Place;
use crate::store::{ExtentError, ExtentStore};

/// Most chunks of one call.
const READ_CHUNKS_MAX: u32 = 16;

impl ExtentStore {
    /// The header of a sealed extent.
    pub async fn header(self: &Arc<Self>, id: ExtentId) -> Result<Option<ExtentHeader>, ExtentError> {
        self.blocking(move |store| store.header_now(id)).await
    }

    /// Chunks `first..first + count` of an extent one after another, as far as they are here: empty when the first is
    /// missing. All but an extent's last chunk are full.
    ///
    /// # Errors
    /// [`ExtentError::Io`] when the disk does not give the bytes. The caller checks the digests.
    pub async fn read_chunks(self: &Arc<Self>, id: ExtentId, first: u32, count: u32) -> Result<Bytes, ExtentError> {
        self.blocking(move |store| store.read_chunks_now(id, first, count.min(READ_CHUNKS_MAX)).map(Bytes::from)).await
    }

    /// Reads a chunk and compares it with its digest.
    ///
    /// Returns false when the copy here is bad or missing.
    pub async fn verify_chunk(self: &Arc<Self>, id: ExtentId, index: u32, digest: Digest) -> Result<bool, ExtentError> {
        self.blocking(move |store| match store.read_chunks_now(id, index, 1) {
            Ok(chunk) => Ok(!chunk.is_empty() && Digest::of(&chunk) == digest),
            // What cannot be read is as bad as what is wrong.
            Err(ExtentError::Corrupt(_) | ExtentError::Storage(_) | ExtentError::Io(_)) => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    /// Which of an extent's chunks have no place here, one of another length, or one in a file that is gone or cut short.
    /// The bytes are not read.
    pub async fn missing_chunks(self: &Arc<Self>, id: ExtentId, length_bytes: u64) -> Result<Vec<u32>, ExtentError> {
        self.blocking(move |store| {
            let mut missing = Vec::new();
            for index in 0..chunk_count(length_bytes) {
                let place = store.place(id, index)?;
                let fits = |place: &Place| place.length as usize == chunk_length(length_bytes, index);
                if !place.is_some_and(|place| fits(&place) && store.segments.is_there(&place)) {
                    missing.push(index);
                }
            }
            Ok(missing)
        })
        .await
    }

    /// Sealed extents of a partition with their roots, in order of id, after `after`.
    pub async fn list(
        self: &Arc<Self>,
        partition: PartitionId,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<(ExtentId, Digest)>, ExtentError> {
        self.blocking(move |store| {
            let family = store.family(PARTITIONS)?;
            let start = partition_key(partition, after.map_or(ExtentId(0), |id| ExtentId(id.0.saturating_add(1))));
            let mut found = Vec::new();
            for row in store.db.iterator_cf(&family, IteratorMode::From(&start, Direction::Forward)) {
                let (key, value) = row?;
                let Some((of, id)) = parse_partition_key(&key) else { continue };
                if of != partition || found.len() == limit {
                    break;
                }
                if let Some((root, _)) = parse_partition_value(&value) {
                    found.push((id, root));
                }
            }
            Ok(found)
        })
        .await
    }

    /// All extents after `after`, in order of id: sealed ones with their header, others with their owner.
    pub async fn scan(
        self: &Arc<Self>,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<(ExtentId, Result<ExtentHeader, OpenExtent>)>, ExtentError> {
        self.blocking(move |store| {
            let start = after.map_or(ExtentId(0), |id| ExtentId(id.0.saturating_add(1))).to_bytes();
            let mut found = Vec::new();
            let family = store.family(EXTENTS)?;
            for row in store.db.iterator_cf(&family, IteratorMode::From(&start, Direction::Forward)).take(limit) {
                let (key, value) = row?;
                let id = <[u8; 16]>::try_from(&key[..]).map(ExtentId::from_bytes);
                let id = id.map_err(|_| ExtentError::Damaged("an extent's key".to_owned()))?;
                found.push(match Row::decode(&value)? {
                    Row::Sealed(header) => (id, Ok(header)),
                    Row::Open(owner) => (id, Err(OpenExtent { id, owner })),
                });
            }
            Ok(found)
        })
        .await
    }

    /// True when the extent was deleted here on a committed proof.
    pub async fn is_tombstoned(self: &Arc<Self>, id: ExtentId) -> Result<bool, ExtentError> {
        self.blocking(move |store| match store.refuse_deleted(id) {
            Ok(()) => Ok(false),
            Err(ExtentError::Deleted) => Ok(true),
            Err(error) => Err(error),
        })
        .await
    }

    pub(crate) fn header_now(&self, id: ExtentId) -> Result<Option<ExtentHeader>, ExtentError> {
        match self.row_now(id)? {
            Some(Row::Sealed(header)) => Ok(Some(header)),
            Some(Row::Open(_)) | None => Ok(None),
        }
    }

    pub(crate) fn row_now(&self, id: ExtentId) -> Result<Option<Row>, ExtentError> {
        let row = self.db.get_pinned_cf(&self.family(EXTENTS)?, id.to_bytes())?;
        row.map(|row| Row::decode(&row)).transpose()
    }

    fn read_chunks_now(&self, id: ExtentId, first: u32, count: u32) -> Result<Vec<u8>, ExtentError> {
        loop {
            let removals = self.segments.removals();
            let places = self.places(id, first, count)?;
            let read = self.read_places(&places);
            // What was removed in the meantime may have been read as zeros, or not at all.
            if self.segments.removals() == removals || self.places(id, first, count)? == places {
                return read;
            }
        }
    }

    /// Where chunks are, as far as they are here and full.
    fn places(&self, id: ExtentId, first: u32, count: u32) -> Result<Vec<Place>, ExtentError> {
        let mut places = Vec::with_capacity(count as usize);
        for index in first..first.saturating_add(count) {
            let Some(place) = self.place(id, index)? else { break };
            places.push(place);
            if (place.length as usize) < CHUNK_SIZE_BYTES {
                break;
            }
        }
        Ok(places)
    }

    fn read_places(&self, places: &[Place]) -> Result<Vec<u8>, ExtentError> {
        let mut bytes = Vec::with_capacity(places.iter().map(|place| place.length as usize).sum());
        // Chunks of one run lie side by side.
        for run in places.chunk_by(Place::is_before) {
            let length = run.iter().map(|place| place.length as usize).sum();
            self.segments.read(&run[0], length, &mut bytes)?;
        }
        Ok(bytes)
    }
}
