//! What a group's log looks like at this moment, written or not: its bounds and the newest entries.

use std::collections::VecDeque;
use std::io;

use super::db::Persisted;
use crate::codec::corrupt;
use crate::types::{Entry, LogId, Vote, payload_bytes};

/// Bytes of written entries that stay in memory for the appliers and the followers that keep up.
pub(super) const CACHE_BYTES_MAX: usize = 4 << 20;
/// Counted for each entry beside its payload.
const ENTRY_OVERHEAD_BYTES: usize = 128;

struct Cached {
    entry: Entry,
    /// Number of the write that makes it durable.
    seq: u64,
}

/// A part of the log to read: from disk, then from memory.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) disk: std::ops::Range<u64>,
    pub(super) cached: Vec<Entry>,
}

pub(super) struct View {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    /// Index of the first entry, if there is one.
    first: Option<u64>,
    cache_bytes_max: usize,
    cache: VecDeque<Cached>,
    cache_bytes: usize,
    written_seq: u64,
}

fn next_index(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

fn cost(entry: &Entry) -> usize {
    payload_bytes(entry) + ENTRY_OVERHEAD_BYTES
}

impl View {
    pub(super) fn new(persisted: Persisted, cache_bytes_max: usize) -> Self {
        let Persisted { vote, purged, first, last, .. } = persisted;
        let cache = VecDeque::new();
        Self { vote, purged, last, first, cache_bytes_max, cache, cache_bytes: 0, written_seq: 0 }
    }

    /// An error when `entries` would leave a hole or overwrite.
    pub(super) fn check_append(&self, entries: &[Entry]) -> io::Result<()> {
        let mut expected = self.last.map(|last| last.index + 1);
        for entry in entries {
            let index = entry.log_id.index;
            if expected.is_some_and(|expected| expected != index) {
                return Err(corrupt("raft append does not follow the last entry"));
            }
            expected = Some(index + 1);
        }
        Ok(())
    }

    pub(super) fn append(&mut self, entries: Vec<Entry>, seq: u64) {
        for entry in entries {
            self.last = Some(entry.log_id);
            self.first = self.first.or(Some(entry.log_id.index));
            self.cache_bytes += cost(&entry);
            self.cache.push_back(Cached { entry, seq });
        }
    }

    pub(super) fn written(&mut self, seq: u64) {
        self.written_seq = seq;
        self.shrink(self.cache_bytes_max);
    }

    /// Drops the oldest entries, but none that is not on disk yet, until at most `bytes` are left.
    pub(super) fn shrink(&mut self, bytes: usize) {
        while self.cache_bytes > bytes && self.cache.front().is_some_and(|c| c.seq <= self.written_seq) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(cached) = self.cache.pop_front() {
            self.cache_bytes -= cost(&cached.entry);
        }
    }

    /// Forgets the entries after `last`.
    pub(super) fn truncate_after(&mut self, last: Option<LogId>) {
        let from = next_index(last);
        while self.cache.back().is_some_and(|c| c.entry.log_id.index >= from) {
            if let Some(cached) = self.cache.pop_back() {
                self.cache_bytes -= cost(&cached.entry);
            }
        }
        if next_index(self.last) > from {
            self.last = last.max(self.purged);
        }
        self.first = self.first.filter(|first| *first < from);
    }

    /// Forgets the entries up to `upto`.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self.cache.front().is_some_and(|c| c.entry.log_id.index <= upto.index) {
            self.pop_front();
        }
        self.purged = Some(upto);
        let next = upto.index + 1;
        self.first = self.first.map(|first| first.max(next)).filter(|first| *first < next_index(self.last));
        if next_index(self.last) <= upto.index {
            self.last = Some(upto);
        }
    }

    /// Where the entries of `start..end` are, as far as the log has them. Stops early when the cached ones
    /// reach `bytes_max`, but not before the first.
    pub(super) fn plan(&self, start: u64, end: u64, bytes_max: usize) -> Plan {
        let start = start.max(self.first.unwrap_or(u64::MAX));
        let end = end.min(next_index(self.last));
        if start >= end {
            return Plan { disk: 0..0, cached: Vec::new() };
        }
        let cache_start = self.cache.front().map_or(u64::MAX, |c| c.entry.log_id.index);
        let disk = start..end.min(cache_start).max(start);
        let from = start.max(cache_start);
        let mut cached = Vec::new();
        if from < end {
            let skip = usize::try_from(from - cache_start).unwrap_or(usize::MAX);
            let take = usize::try_from(end - from).unwrap_or(usize::MAX);
            let mut bytes = 0;
            for c in self.cache.iter().skip(skip).take(take) {
                cached.push(c.entry.clone());
                bytes += cost(&c.entry);
                if bytes >= bytes_max {
                    break;
                }
            }
        }
        Plan { disk, cached }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::EntryPayload;

    use super::*;
    use crate::types::{Proposal, log_id};

    fn entry(term: u64, index: u64, bytes: usize) -> Entry {
        let payload = EntryPayload::Normal(Proposal(Bytes::from(vec![0; bytes])));
        Entry { log_id: log_id(term, index), payload }
    }

    #[test]
    fn entries_that_are_not_written_stay_in_memory() {
        let mut view = View::new(Persisted::default(), CACHE_BYTES_MAX);
        for index in 0..8 {
            view.append(vec![entry(1, index, CACHE_BYTES_MAX / 2)], index + 1);
        }
        view.written(4);
        let plan = view.plan(0, 8, usize::MAX);
        assert_eq!(plan.disk, 0..4);
        assert_eq!(plan.cached.len(), 4);
        view.written(8);
        view.shrink(0);
        let plan = view.plan(0, 8, usize::MAX);
        assert_eq!((plan.disk, plan.cached.len()), (0..8, 0));
    }

    #[test]
    fn the_write_of_a_truncated_entry_does_not_count_for_its_successor() {
        let mut view = View::new(Persisted::default(), CACHE_BYTES_MAX);
        view.append(vec![entry(1, 0, 10), entry(1, 1, 10)], 1);
        view.truncate_after(Some(log_id(1, 0)));
        view.append(vec![entry(2, 1, 10)], 3);
        view.written(1);
        view.shrink(0);
        let plan = view.plan(0, 2, usize::MAX);
        assert_eq!(plan.disk, 0..1);
        assert_eq!(plan.cached, vec![entry(2, 1, 10)]);
    }

    #[test]
    fn holes_are_refused() {
        let persisted = Persisted { last: Some(log_id(1, 4)), first: Some(0), ..Persisted::default() };
        let mut view = View::new(persisted, CACHE_BYTES_MAX);
        assert!(view.check_append(&[entry(1, 5, 0), entry(1, 6, 0)]).is_ok());
        assert!(view.check_append(&[entry(1, 6, 0)]).is_err());
        assert!(view.check_append(&[entry(1, 5, 0), entry(1, 7, 0)]).is_err());
        view.purge(log_id(2, 9));
        assert_eq!(view.last, Some(log_id(2, 9)));
        assert!(view.check_append(&[entry(2, 10, 0)]).is_ok());
    }
}
