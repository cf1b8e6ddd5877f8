//! How much a node takes in for its ranges at once. What is too much is refused, and asked again after a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Commands and queries of one range that are being worked on.
const CALLS_MAX: usize = 8192;
/// Bytes of those of all ranges of a node: many times the largest command.
const NODE_BYTES_MAX: usize = 256 << 20;

/// The calls of a range.
pub(crate) struct Calls {
    count: AtomicUsize,
    node_bytes: Arc<AtomicUsize>,
}

/// A call that is being worked on, until this is dropped.
pub(crate) struct Place<'a> {
    calls: &'a Calls,
    bytes: usize,
}

impl Calls {
    /// Those of a range of a node whose ranges share `node_bytes`.
    pub(crate) fn new(node_bytes: Arc<AtomicUsize>) -> Self {
        Self { count: AtomicUsize::new(0), node_bytes }
    }

    /// A place for a call of so many bytes, if there is one.
    pub(crate) fn enter(&self, bytes: usize) -> Option<Place<'_>> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let held = self.node_bytes.fetch_add(bytes, Ordering::Relaxed);
        let place = Place { calls: self, bytes };
        (count < CALLS_MAX && held.saturating_add(bytes) <= NODE_BYTES_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.calls.count.fetch_sub(1, Ordering::Relaxed);
        self.calls.node_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::COMMAND_BYTES_MAX;

    #[test]
    fn calls_of_a_range_are_bounded_by_number() {
        let calls = Calls::new(Arc::default());
        let mut places: Vec<_> = (0..CALLS_MAX).map(|_| calls.enter(1).unwrap()).collect();
        assert!(calls.enter(1).is_none());
        assert!(calls.enter(1).is_none(), "one that was refused leaves nothing");
        places.pop();
        assert!(calls.enter(1).is_some());
    }

    #[test]
    fn those_of_all_ranges_are_bounded_by_bytes() {
        let node_bytes = Arc::default();
        let (one, other) = (Calls::new(Arc::clone(&node_bytes)), Calls::new(Arc::clone(&node_bytes)));
        let places: Vec<_> =
            (0..NODE_BYTES_MAX / COMMAND_BYTES_MAX).map(|_| one.enter(COMMAND_BYTES_MAX).unwrap()).collect();
        assert!(other.enter(1).is_none());
        drop(places);
        assert_eq!(node_bytes.load(Ordering::Relaxed), 0);
        assert!(other.enter(COMMAND_BYTES_MAX).is_some());
    }
}
