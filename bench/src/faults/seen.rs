//! What the clients of one stretch of time saw.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::clients::{Asked, Event, Wrong};

/// A stretch of time and its requests.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Seen {
    pub(super) seconds: f64,
    pub(super) requests: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
    /// Requests of which the first try failed: errors of a client that does not retry.
    pub(super) errors_without_retry: usize,
    /// Requests of which all tries failed.
    pub(super) errors_with_retry: usize,
    /// Longest time in which nothing was acknowledged.
    pub(super) gap_ms: f64,
    /// The same for writes.
    pub(super) write_gap_ms: f64,
    pub(super) reads: usize,
    pub(super) reads_failed: usize,
    pub(super) writes: usize,
    pub(super) writes_failed: usize,
    pub(super) older_reads: usize,
    pub(super) wrong_bodies: usize,
    /// Tries that failed, by what was answered.
    pub(super) failures: BTreeMap<String, usize>,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn gap(events: &[&Event], from: Duration, to: Duration, counts: impl Fn(&Event) -> bool) -> f64 {
    let mut last = from;
    let mut longest = Duration::ZERO;
    for event in events.iter().filter(|event| event.done && counts(event)) {
        longest = longest.max(event.at.saturating_sub(last));
        last = event.at;
    }
    ms(longest.max(to.saturating_sub(last)))
}

impl Seen {
    /// Of the requests that ended between `from` and `to`; `events` are in the order of their ends.
    pub(super) fn between(events: &[Event], from: Duration, to: Duration) -> Self {
        let events: Vec<&Event> = events.iter().filter(|event| event.at >= from && event.at < to).collect();
        let mut latencies: Vec<Duration> = events.iter().filter(|e| e.done).map(|e| e.took).collect();
        latencies.sort_unstable();
        let quantile = |share: f64| {
            let index = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
            latencies.get(index).map_or(f64::NAN, |latency| ms(*latency))
        };
        let count = |what: &dyn Fn(&Event) -> bool| events.iter().filter(|event| what(event)).count();
        let write = |event: &Event| event.asked != Asked::Get;
        let mut failures = BTreeMap::new();
        for failure in events.iter().flat_map(|event| &event.failures) {
            *failures.entry(failure.clone()).or_default() += 1;
        }
        Self {
            seconds: to.saturating_sub(from).as_secs_f64(),
            requests: events.len(),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            max_ms: quantile(1.0),
            errors_without_retry: count(&|event| !event.failures.is_empty()),
            errors_with_retry: count(&|event| !event.done),
            gap_ms: gap(&events, from, to, |_| true),
            write_gap_ms: gap(&events, from, to, write),
            reads: count(&|event| !write(event)),
            reads_failed: count(&|event| !write(event) && !event.done),
            writes: count(&write),
            writes_failed: count(&|event| write(event) && !event.done),
            older_reads: count(&|event| event.wrong == Some(Wrong::Older)),
            wrong_bodies: count(&|event| event.wrong == Some(Wrong::Body)),
            failures,
        }
    }
}
