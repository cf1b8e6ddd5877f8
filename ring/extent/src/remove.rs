//! Deleting extents. Callers hold a committed proof that nothing refers to them.

use std::sync::Arc;

use karri_ring_types::{ExtentId, chunk_count};
use rocksdb::{Direction, IteratorMode, WriteBatch};

use crate::keys::{EXTENTS, PARTITIONS, RUNS, SMALL, TOMBSTONES, chunk_key, extent_bounds, partition_key};
use crate::open::synced;
use crate::store::{ExtentError, ExtentStore};
use crate::turns::CHUNKS_MAX;

impl ExtentStore {
    /// Deletes extents and leaves tombstones, so that no repair brings them back. Missing ones are no error.
    pub async fn delete(self: &Arc<Self>, ids: Vec<ExtentId>) -> Result<(), ExtentError> {
        self.blocking(move |store| {
            let mut ids = ids;
            ids.sort_unstable();
            ids.dedup();
            store.bury(&ids)?;
            ids.into_iter().try_for_each(|id| store.drop_files(id))
        })
        .await
    }

    /// Takes extents out of all tables. The tombstones are durable before any byte goes.
    fn bury(&self, ids: &[ExtentId]) -> Result<(), ExtentError> {
        let _turns = self.turns.of_all(ids);
        let mut batch = WriteBatch::default();
        let mut removed = Vec::new();
        for &id in ids {
            let key = id.to_bytes();
            let header = self.header_now(id)?;
            let chunks = header.as_ref().map_or(CHUNKS_MAX as u32, |header| chunk_count(header.length_bytes));
            if let Some(header) = header {
                batch.delete_cf(&self.family(PARTITIONS)?, partition_key(id.partition(), id));
                removed.push((id, header.root(), header.length_bytes));
            }
            for index in 0..chunks {
                batch.delete_cf(&self.family(SMALL)?, chunk_key(id, index));
            }
            batch.delete_cf(&self.family(EXTENTS)?, key);
            batch.put_cf(&self.family(TOMBSTONES)?, key, []);
            self.open.forget(id);
        }
        self.db.write_opt(batch, &synced())?;
        let mut index = self.index.lock();
        for (id, root, length) in removed {
            index.remove(id, root, length);
        }
        Ok(())
    }

    /// Drops the ingested files of an extent: none holds another's chunks.
    pub(crate) fn drop_files(&self, id: ExtentId) -> Result<(), ExtentError> {
        let (start, end) = extent_bounds(id);
        let family = self.family(RUNS)?;
        self.db.delete_file_in_range_cf(&family, &start, &end)?;
        // A replaced chunk is not in a file of its own.
        let next = self.db.iterator_cf(&family, IteratorMode::From(&start, Direction::Forward)).next();
        if let Some(row) = next {
            let (key, _) = row?;
            if key[..] < end[..] {
                self.db.delete_range_cf(&family, &start, &end)?;
            }
        }
        Ok(())
    }
}
