//! What is known of each segment: how much of it is wanted, and when it can be closed and removed. Without files, so that
//! `tests/schedules` can try it under every order of threads.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::record::{Place, SegmentId};

/// What is known of a segment.
#[derive(Default)]
struct Entry {
    /// Chunks that are wanted, and the space that they take.
    chunks: u64,
    bytes: u64,
    /// Records of which the caller has not said yet whether it keeps them.
    undecided: u32,
    /// It takes no more records.
    full: bool,
    /// Its rows are durable by themselves: it need not be read again at the next start.
    closed: bool,
}

/// What became of a segment by a change: the caller has something to do about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// All its records are decided on: once the rows are durable it is to be closed.
    pub(crate) to_close: Vec<SegmentId>,
    /// Closed, and nothing in it is wanted.
    pub(crate) to_remove: Vec<SegmentId>,
}

/// The segments of a store.
#[derive(Default)]
pub(super) struct Table(Mutex<BTreeMap<SegmentId, Entry>>);

impl Table {
    /// A segment that was there at the start.
    pub(super) fn found(&self, segment: SegmentId, closed: bool) {
        self.0.lock().insert(segment, Entry { full: true, closed, ..Entry::default() });
    }

    /// A new segment.
    pub(super) fn add(&self, segment: SegmentId) {
        self.0.lock().insert(segment, Entry::default());
    }

    /// A record is about to be written.
    pub(super) fn begin(&self, segment: SegmentId) {
        self.entry(segment, |entry| entry.undecided += 1);
    }

    /// A record could not be written. Closing its segment can wait for the next run in it.
    pub(super) fn fail(&self, segment: SegmentId) {
        self.entry(segment, |entry| entry.undecided -= 1);
    }

    /// No more records come; gives the segment when nothing in it is undecided.
    pub(super) fn fill(&self, segment: SegmentId) -> Option<SegmentId> {
        let mut decided = false;
        self.entry(segment, |entry| {
            entry.full = true;
            decided = entry.undecided == 0;
        });
        decided.then_some(segment)
    }

    /// A record is decided on: `kept` are its chunks that rows name now.
    pub(super) fn decide(&self, segment: SegmentId, kept: &[Place]) -> Changes {
        let mut changes = Changes::default();
        self.entry(segment, |entry| {
            entry.undecided -= 1;
            entry.chunks += kept.len() as u64;
            entry.bytes += kept.iter().map(space_bytes).sum::<u64>();
            if entry.full && entry.undecided == 0 && !entry.closed {
                changes.to_close.push(segment);
            }
        });
        changes
    }

    /// A chunk that durable rows name, found at the start.
    pub(super) fn count(&self, place: &Place) {
        self.entry(place.segment, |entry| {
            entry.chunks += 1;
            entry.bytes += space_bytes(place);
        });
    }

    /// Chunks that no row names any more.
    pub(super) fn release(&self, places: &[Place]) -> Changes {
        let mut changes = Changes::default();
        let mut table = self.0.lock();
        for place in places {
            let Some(entry) = table.get_mut(&place.segment) else { continue };
            assert!(entry.chunks > 0, "a chunk is released that was never kept");
            entry.chunks -= 1;
            entry.bytes -= space_bytes(place);
            if entry.closed && entry.chunks == 0 {
                changes.to_remove.push(place.segment);
            }
        }
        changes
    }

    /// The rows of a full segment are durable.
    pub(super) fn close(&self, segment: SegmentId) -> Changes {
        let mut changes = Changes::default();
        self.entry(segment, |entry| {
            entry.closed = true;
            if entry.chunks == 0 {
                changes.to_remove.push(segment);
            }
        });
        changes
    }

    /// Forgets a segment, if it is closed and holds nothing.
    pub(super) fn take_empty(&self, segment: SegmentId) -> bool {
        let mut table = self.0.lock();
        let empty = table.get(&segment).is_some_and(|entry| entry.closed && entry.chunks == 0);
        empty && table.remove(&segment).is_some()
    }

    /// All segments that are closed and hold nothing.
    pub(super) fn empty(&self) -> Vec<SegmentId> {
        let table = self.0.lock();
        table.iter().filter(|(_, entry)| entry.closed && entry.chunks == 0).map(|(id, _)| *id).collect()
    }

    /// Closed segments with the space that their chunks take.
    pub(super) fn closed(&self) -> Vec<(SegmentId, u64)> {
        let table = self.0.lock();
        table.iter().filter(|(_, entry)| entry.closed).map(|(id, entry)| (*id, entry.bytes)).collect()
    }

    fn entry(&self, segment: SegmentId, change: impl FnOnce(&mut Entry)) {
        change(self.0.lock().entry(segment).or_default());
    }
}

fn space_bytes(place: &Place) -> u64 {
    let (start, end) = place.space();
    end - start
}
