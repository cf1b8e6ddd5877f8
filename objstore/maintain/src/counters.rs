//! What the background work has done.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Round;

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    collected: AtomicU64,
    extents_deleted: AtomicU64,
    postponed: AtomicU64,
    holdings: AtomicU64,
    rows_expired: AtomicU64,
    lifecycle: AtomicU64,
}

impl Counters {
    pub(crate) fn add(&self, round: &Round) {
        self.collected.fetch_add(round.collected, Ordering::Relaxed);
        self.extents_deleted.fetch_add(round.extents_deleted, Ordering::Relaxed);
        self.postponed.fetch_add(round.postponed, Ordering::Relaxed);
        self.holdings.fetch_add(round.holdings, Ordering::Relaxed);
    }

    pub(crate) fn expired(&self, rows: u64) {
        self.rows_expired.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn lifecycle(&self) {
        self.lifecycle.fetch_add(1, Ordering::Relaxed);
    }

    /// Each counter: its name for metrics, what it counts, its value.
    pub fn each(&self) -> [(&'static str, &'static str, u64); 6] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("gc_collected", "Pieces of garbage that were dealt with", read(&self.collected)),
            ("gc_extents_deleted", "Extents deleted on all their nodes", read(&self.extents_deleted)),
            (
                "gc_postponed",
                "Pieces of garbage left for later, since a node or range did not answer",
                read(&self.postponed),
            ),
            ("gc_holdings", "Holdings of copies that were looked after", read(&self.holdings)),
            ("gc_rows_expired", "Guard rows removed", read(&self.rows_expired)),
            ("lifecycle_actions", "Versions and uploads that lifecycle rules ended or moved", read(&self.lifecycle)),
        ]
    }
}
