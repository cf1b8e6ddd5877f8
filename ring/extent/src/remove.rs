//! Deleting extents. Callers hold a committed proof that nothing refers to them.

use std::sync::Arc;

use karri_ring_types::{ExtentId, chunk_count};
use rocksdb::{Direction, IteratorMode, WriteBatch};

use crate::keys::{EXTENTS, PARTITIONS, RUNS, SMALL, TOMBSTONES, chunk_key, partition_key};
use crate::open::synced;
use crate::store::{ExtentError, ExtentStore};

/// Chunks of the longest extent.
const CHUNKS_MAX: u32 = 64;

impl ExtentStore {
    /// Deletes extents and leaves tombstones, so that no repair brings them back. Missing ones are no error.
    pub async fn delete(self: &Arc<Self>, ids: Vec<ExtentId>) -> Result<(), ExtentError> {
        self.blocking(move |store| {
            let mut batch = WriteBatch::default();
            let mut removed = Vec::new();
            for &id in &ids {
                let key = id.to_bytes();
                let header = store.header_now(id)?;
                let chunks = header.as_ref().map_or(CHUNKS_MAX, |header| chunk_count(header.length_bytes));
                if let Some(header) = header {
                    batch.delete_cf(&store.family(PARTITIONS)?, partition_key(id.partition(), id));
                    removed.push((id, header.root(), header.length_bytes));
                }
                for index in 0..chunks {
                    batch.delete_cf(&store.family(SMALL)?, chunk_key(id, index));
                }
                batch.delete_cf(&store.family(EXTENTS)?, key);
                batch.put_cf(&store.family(TOMBSTONES)?, key, []);
            }
            // The tombstones are durable before any byte goes.
            store.db.write_opt(batch, &synced())?;
            {
                let mut index = store.index.lock();
                for (id, root, length) in removed {
                    index.remove(id, root, length);
                }
            }
            for id in ids {
                store.drop_files(id)?;
            }
            Ok(())
        })
        .await
    }

    /// Drops the ingested files of an extent: none holds another's chunks.
    fn drop_files(&self, id: ExtentId) -> Result<(), ExtentError> {
        let (start, end) = (chunk_key(id, 0), chunk_key(id, u32::MAX));
        let family = self.family(RUNS)?;
        self.db.delete_file_in_range_cf(&family, start, end)?;
        // A replaced chunk is not in a file of its own.
        let next = self.db.iterator_cf(&family, IteratorMode::From(&start, Direction::Forward)).next();
        if let Some(row) = next {
            let (key, _) = row?;
            if key[..] < end[..] {
                self.db.delete_range_cf(&family, start, end)?;
            }
        }
        Ok(())
    }
}
