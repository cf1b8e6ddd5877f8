//! Reading chunks, headers and lists.

use std::sync::Arc;

use bytes::Bytes;
use karri_ring_types::{Digest, ExtentId, PartitionId};
use rocksdb::{Direction, IteratorMode, ReadOptions};

use crate::keys::{
    EXTENTS, PARTITIONS, RUNS, SMALL, TOMBSTONES, chunk_key, parse_partition_key, parse_partition_value, partition_key,
};
use crate::records::{ExtentHeader, OpenExtent, Row};
use crate::store::{ExtentError, ExtentStore};

impl ExtentStore {
    /// The header of a sealed extent.
    pub async fn header(self: &Arc<Self>, id: ExtentId) -> Result<Option<ExtentHeader>, ExtentError> {
        self.blocking(move |store| store.header_now(id)).await
    }

    /// Chunks `first..first + count` of an extent, as far as they are here: `None` when the first is missing.
    ///
    /// # Errors
    /// [`ExtentError::Corrupt`] when the store's own checksum fails. The caller checks the digests.
    pub async fn read_chunks(
        self: &Arc<Self>,
        id: ExtentId,
        first: u32,
        count: u32,
    ) -> Result<Option<Vec<Bytes>>, ExtentError> {
        self.blocking(move |store| {
            let mut chunks = Vec::with_capacity(count.min(64) as usize);
            for index in first..first.saturating_add(count.min(64)) {
                match store.read_chunk_now(id, index)? {
                    Some(chunk) => chunks.push(chunk),
                    None => break,
                }
            }
            Ok(if chunks.is_empty() { None } else { Some(chunks) })
        })
        .await
    }

    /// Reads a chunk and compares it with its digest.
    ///
    /// Returns false when the copy here is bad or missing.
    pub async fn verify_chunk(self: &Arc<Self>, id: ExtentId, index: u32, digest: Digest) -> Result<bool, ExtentError> {
        self.blocking(move |store| match store.read_chunk_now(id, index) {
            Ok(Some(chunk)) => Ok(Digest::of(&chunk) == digest),
            Ok(None) | Err(ExtentError::Corrupt(_)) => Ok(false),
            Err(error) => Err(error),
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
        self.blocking(move |store| Ok(store.db.get_pinned_cf(&store.family(TOMBSTONES)?, id.to_bytes())?.is_some()))
            .await
    }

    pub(crate) fn header_now(&self, id: ExtentId) -> Result<Option<ExtentHeader>, ExtentError> {
        match self.db.get_pinned_cf(&self.family(EXTENTS)?, id.to_bytes())? {
            None => Ok(None),
            Some(row) => match Row::decode(&row)? {
                Row::Sealed(header) => Ok(Some(header)),
                Row::Open(_) => Ok(None),
            },
        }
    }

    fn read_chunk_now(&self, id: ExtentId, index: u32) -> Result<Option<Bytes>, ExtentError> {
        let key = chunk_key(id, index);
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        for family in [RUNS, SMALL] {
            if let Some(chunk) = self.db.get_cf_opt(&self.family(family)?, key, &options)? {
                return Ok(Some(Bytes::from(chunk)));
            }
        }
        Ok(None)
    }

    pub(crate) fn stored_length(&self, id: ExtentId, index: u32) -> Result<Option<usize>, ExtentError> {
        let key = chunk_key(id, index);
        for family in [RUNS, SMALL] {
            if let Some(chunk) = self.db.get_pinned_cf(&self.family(family)?, key)? {
                return Ok(Some(chunk.len()));
            }
        }
        Ok(None)
    }

    /// True when the chunk is in an ingested file. A corrupt copy counts as present.
    pub(crate) fn is_ingested(&self, id: ExtentId, index: u32) -> Result<bool, ExtentError> {
        match self.db.get_pinned_cf(&self.family(RUNS)?, chunk_key(id, index)) {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.kind() == rocksdb::ErrorKind::Corruption => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
