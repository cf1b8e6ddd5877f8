//! Deleting extents. Callers hold a committed proof that nothing refers to them.

use std::sync::Arc;

use karri_ring_types::{ExtentId, Step, failpoint};
use rocksdb::WriteBatch;

use crate::keys::{CHUNKS, EXTENTS, PARTITIONS, TOMBSTONES, chunk_key, partition_key};
use crate::open::synced;
use crate::segment::Place;
use crate::store::{ExtentError, ExtentStore};

impl ExtentStore {
    /// Deletes extents and leaves tombstones, so that no repair brings them back. Missing ones are no error. Of a stripe
    /// all shards go that are here.
    pub async fn delete(self: &Arc<Self>, ids: Vec<ExtentId>) -> Result<(), ExtentError> {
        self.writing(move |store| {
            let mut ids: Vec<ExtentId> = ids.into_iter().map(ExtentId::group).collect();
            ids.sort_unstable();
            ids.dedup();
            let places = store.bury(&ids)?;
            failpoint(Step::GarbageBuried);
            store.heed(store.segments.release(&places))
        })
        .await
    }

    /// Takes extents out of all tables; gives the places of their chunks. The tombstones are durable before any byte goes.
    fn bury(&self, ids: &[ExtentId]) -> Result<Vec<Place>, ExtentError> {
        let _turns = self.turns.of_all(ids);
        let mut batch = WriteBatch::default();
        let (mut removed, mut places) = (Vec::new(), Vec::new());
        for &group in ids {
            batch.put_cf(&self.family(TOMBSTONES)?, group.to_bytes(), []);
        }
        for id in ids.iter().flat_map(|id| id.held_as()) {
            let key = id.to_bytes();
            let header = self.header_now(id)?;
            if let Some(header) = header {
                batch.delete_cf(&self.family(PARTITIONS)?, partition_key(id.partition(), id));
                removed.push((id, header.root(), header.length_bytes));
            }
            for (index, place) in self.all_places(id)? {
                batch.delete_cf(&self.family(CHUNKS)?, chunk_key(id, index));
                places.push(place);
            }
            batch.delete_cf(&self.family(EXTENTS)?, key);
            self.open.forget(id);
        }
        self.db.write_opt(batch, &synced())?;
        let mut index = self.index.lock();
        for (id, root, length) in removed {
            index.remove(id, root, length);
        }
        Ok(places)
    }
}
