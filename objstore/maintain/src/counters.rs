//! What the background work has done.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    collected: AtomicU64,
    extents_deleted: AtomicU64,
    postponed: AtomicU64,
    rows_expired: AtomicU64,
    lifecycle: AtomicU64,
}

impl Counters {
    pub(crate) fn add(&self, collected: u64, extents_deleted: u64, postponed: u64) {
        self.collected.fetch_add(collected, Ordering::Relaxed);
        self.extents_deleted.fetch_add(extents_deleted, Ordering::Relaxed);
        self.postponed.fetch_add(postponed, Ordering::Relaxed);
    }

    pub(crate) fn expired(&self, rows: u64) {
        self.rows_expired.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn lifecycle(&self) {
        self.lifecycle.fetch_add(1, Ordering::Relaxed);
    }

    /// Each counter: its name for metrics, what it counts, its value.
    pub fn each(&self) -> [(&'static str, &'static str, u64); 5] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("gc_collected", "Pieces of garbage that were dealt with", read(&self.collected)),
            ("gc_extents_deleted", "Extents deleted on all their nodes", read(&self.extents_deleted)),
            (
                "gc_postponed",
                "Pieces of garbage left for later, since a node or range did not answer",
                read(&self.postponed),
            ),
            ("gc_rows_expired", "Guard rows removed", read(&self.rows_expired)),
            ("lifecycle_actions", "Versions and uploads that lifecycle rules ended or moved", read(&self.lifecycle)),
        ]
    }
}
