//! What is kept in memory about extents that are being written.

use std::collections::HashMap;

use karri_ring_types::{CHUNK_SIZE_BYTES, EXTENT_SIZE_BYTES_MAX, ExtentId};
use parking_lot::{Mutex, MutexGuard};

use crate::records::Run;

/// Locks; extents share one by chance.
const TURNS: usize = 256;
/// Open extents whose lengths are kept; of the others the chunks are read when they are sealed.
const OPEN_EXTENTS_MAX: usize = 16 << 10;
/// Chunks of the longest extent.
pub(crate) const CHUNKS_MAX: usize = EXTENT_SIZE_BYTES_MAX as usize / CHUNK_SIZE_BYTES;

/// One change of an extent's rows at a time.
pub(crate) struct Turns(Vec<Mutex<()>>);

impl Turns {
    pub(crate) fn new() -> Self {
        Self((0..TURNS).map(|_| Mutex::default()).collect())
    }

    pub(crate) fn of(&self, id: ExtentId) -> MutexGuard<'_, ()> {
        self.0[Self::place(id)].lock()
    }

    /// The locks of several extents, in an order that cannot deadlock.
    pub(crate) fn of_all(&self, ids: &[ExtentId]) -> Vec<MutexGuard<'_, ()>> {
        let mut places: Vec<usize> = ids.iter().map(|&id| Self::place(id)).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| self.0[place].lock()).collect()
    }

    fn place(id: ExtentId) -> usize {
        // The lowest bits say what it is, and shards of a stripe are deleted together; those above are random.
        (id.0 >> 16) as usize % TURNS
    }
}

/// Lengths of the durable chunks of open extents, so that sealing one does not read it again.
#[derive(Default)]
pub(crate) struct OpenLengths(Mutex<HashMap<ExtentId, Box<[u32; CHUNKS_MAX]>>>);

impl OpenLengths {
    /// Notes a run that is durable.
    pub(crate) fn note(&self, run: &Run) {
        let mut open = self.0.lock();
        if open.len() >= OPEN_EXTENTS_MAX && !open.contains_key(&run.extent) {
            return;
        }
        let lengths = open.entry(run.extent).or_insert_with(|| Box::new([0; CHUNKS_MAX]));
        for (place, chunk) in lengths.iter_mut().skip(run.first_chunk as usize).zip(&run.chunks) {
            *place = u32::try_from(chunk.len()).expect("a chunk is at most 1 MiB");
        }
    }

    /// Length of a durable chunk, when it is known.
    pub(crate) fn length(&self, id: ExtentId, index: u32) -> Option<usize> {
        let length = *self.0.lock().get(&id)?.get(index as usize)?;
        (length > 0).then_some(length as usize)
    }

    pub(crate) fn forget(&self, id: ExtentId) {
        self.0.lock().remove(&id);
    }
}
