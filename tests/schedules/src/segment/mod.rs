//! As in `karri_ring_extent`, as far as the table of segments uses it.

pub(crate) mod record {
    /// As in `karri_ring_extent`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) struct SegmentId(pub(crate) u64);

    /// As in `karri_ring_extent`, each of one block.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Place {
        pub(crate) segment: SegmentId,
        pub(crate) offset: u64,
    }

    impl Place {
        pub(crate) fn space(&self) -> (u64, u64) {
            (self.offset, self.offset + 4096)
        }
    }
}

#[path = "../../../../ring/extent/src/segment/table.rs"]
mod table;

pub(crate) use table::Changes;

use record::{Place, SegmentId};

/// The table, for the rest of this crate.
#[derive(Default)]
pub(crate) struct Segments(table::Table);

impl Segments {
    pub(crate) fn add(&self, segment: SegmentId) {
        self.0.add(segment);
    }

    pub(crate) fn begin(&self, segment: SegmentId) {
        self.0.begin(segment);
    }

    pub(crate) fn fill(&self, segment: SegmentId) -> Option<SegmentId> {
        self.0.fill(segment)
    }

    pub(crate) fn decide(&self, segment: SegmentId, kept: &[Place]) -> Changes {
        self.0.decide(segment, kept)
    }

    pub(crate) fn release(&self, places: &[Place]) -> Changes {
        self.0.release(places)
    }

    pub(crate) fn close(&self, segment: SegmentId) -> Changes {
        self.0.close(segment)
    }

    pub(crate) fn take_empty(&self, segment: SegmentId) -> bool {
        self.0.take_empty(segment)
    }

    pub(crate) fn empty(&self) -> Vec<SegmentId> {
        self.0.empty()
    }

    pub(crate) fn closed(&self) -> Vec<(SegmentId, u64)> {
        self.0.closed()
    }
}
