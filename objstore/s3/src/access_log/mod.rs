//! Access logs of buckets (`PutBucketLogging`): a record of each request becomes a line of an object in the bucket that
//! the owner has named.
//!
//! Records are gathered in memory, by source bucket and configuration, and written through the ordinary put path: when
//! enough of them are there, when an interval is over, and when the node stops. As with AWS it is best effort. What a
//! node has gathered when it is killed is lost; what it gives up itself, for want of room or of permission, is counted
//! ([`AccessLogCounts`]) and said on a log line.

mod configure;
mod deliver;
mod names;
mod record;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use karri_ring_types::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub(crate) use configure::check;
pub(crate) use watch::{Seen, watch};

use crate::acl::Grant;

/// Records of one object; a fuller batch is written at once.
const BATCH_SIZE_BYTES_MAX: usize = 1 << 20;
/// Records that a node keeps which are not written; what comes on top is lost.
const GATHERED_SIZE_BYTES_MAX: usize = 32 << 20;
/// Attempts at writing one object.
const ATTEMPTS_MAX: u32 = 10;

/// What became of the records of a node since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLogCounts {
    /// Records in objects that were written.
    pub delivered: u64,
    /// Records that were given up.
    pub lost: u64,
}

/// Where the records of a bucket go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogTarget {
    /// The kept document, by which batches are told apart.
    document: Bytes,
    bucket: String,
    prefix: String,
    format: KeyFormat,
    /// Beside the bucket's owner.
    grants: Vec<Grant>,
}

/// `TargetObjectKeyFormat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyFormat {
    Simple,
    /// By day of the delivery.
    Delivery,
    /// By day of the requests, which then are all of that day.
    Event,
}

/// Whose records they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    bucket: String,
    account: String,
}

/// What is alike of the records of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BatchKey {
    source: Source,
    document: Bytes,
    /// Days since 1970, where an object has records of one day.
    day: Option<u64>,
}

/// Records that become an object.
#[derive(Debug)]
struct Batch {
    source: Source,
    target: std::sync::Arc<LogTarget>,
    day: Option<u64>,
    /// Of the first record: no other batch of this bucket has it.
    request_id: String,
    records: u64,
    text: String,
    /// Set by the first attempt, so that a further one writes the same object.
    key: Option<String>,
    attempts: u32,
}

#[derive(Debug, Default)]
struct Gathered {
    open: BTreeMap<BatchKey, Batch>,
    /// Those that get no further records.
    closed: VecDeque<Batch>,
    size_bytes: usize,
}

/// The records that were gathered.
#[derive(Debug, Default)]
pub(crate) struct AccessLog {
    gathered: Mutex<Gathered>,
    /// There is a batch that waits for nothing.
    full: Notify,
    delivering: tokio::sync::Mutex<()>,
    delivered: AtomicU64,
    lost: AtomicU64,
}

impl AccessLog {
    pub(crate) fn counts(&self) -> AccessLogCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AccessLogCounts { delivered: read(&self.delivered), lost: read(&self.lost) }
    }

    /// Takes a record in; `line` ends with its line feed.
    fn add(&self, source: &Source, target: &std::sync::Arc<LogTarget>, time: Timestamp, request_id: &str, line: &str) {
        let day = (target.format == KeyFormat::Event).then(|| names::day(time));
        let mut gathered = self.gathered.lock();
        if gathered.size_bytes + line.len() > GATHERED_SIZE_BYTES_MAX {
            drop(gathered);
            // A line for each would be as much again.
            if self.lost.fetch_add(1, Ordering::Relaxed).is_multiple_of(1_000) {
                tracing::warn!(bucket = source.bucket, "records of access logs are lost: too many wait to be written");
            }
            return;
        }
        gathered.size_bytes += line.len();
        let key = BatchKey { source: source.clone(), document: target.document.clone(), day };
        let batch = gathered.open.entry(key.clone()).or_insert_with(|| Batch {
            source: source.clone(),
            target: target.clone(),
            day,
            request_id: request_id.to_owned(),
            records: 0,
            text: String::new(),
            key: None,
            attempts: 0,
        });
        batch.records += 1;
        batch.text.push_str(line);
        if batch.text.len() >= BATCH_SIZE_BYTES_MAX
            && let Some(batch) = gathered.open.remove(&key)
        {
            gathered.closed.push_back(batch);
            self.full.notify_one();
        }
    }

    /// The batches to write now: those that are full, or `all`.
    fn take(&self, all: bool) -> VecDeque<Batch> {
        let mut gathered = self.gathered.lock();
        let mut taken = std::mem::take(&mut gathered.closed);
        if all {
            taken.extend(std::mem::take(&mut gathered.open).into_values());
        }
        taken
    }

    /// Keeps a batch for another attempt.
    fn keep(&self, batch: Batch) {
        self.gathered.lock().closed.push_back(batch);
    }

    fn done(&self, batch: &Batch, delivered: bool) {
        let mut gathered = self.gathered.lock();
        gathered.size_bytes = gathered.size_bytes.saturating_sub(batch.text.len());
        let counter = if delivered { &self.delivered } else { &self.lost };
        counter.fetch_add(batch.records, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gathered_has_a_bound() {
        let log = AccessLog::default();
        let source = Source { bucket: "b".to_owned(), account: "1".to_owned() };
        let target = std::sync::Arc::new(LogTarget {
            document: Bytes::from_static(b"d"),
            bucket: "logs".to_owned(),
            prefix: String::new(),
            format: KeyFormat::Event,
            grants: Vec::new(),
        });
        let line = "x".repeat(1 << 16);
        let fits = GATHERED_SIZE_BYTES_MAX / line.len();
        for at in 0..fits + 3 {
            let time = Timestamp(if at == 0 { 0 } else { 86_400_000 });
            log.add(&source, &target, time, "id", &line);
        }
        assert_eq!(log.counts(), AccessLogCounts { delivered: 0, lost: 3 });
        // The record of another day is in an object of its own.
        let mut batches = log.take(true);
        batches.extend(log.take(true));
        assert_eq!(batches.iter().map(|batch| batch.records).sum::<u64>(), fits as u64);
        assert_eq!(batches.iter().filter(|batch| batch.day == Some(0)).map(|batch| batch.records).sum::<u64>(), 1);
        assert!(batches.iter().all(|batch| batch.text.len() <= BATCH_SIZE_BYTES_MAX));
        for batch in &batches {
            log.done(batch, true);
        }
        log.add(&source, &target, Timestamp(0), "id", &line);
        assert_eq!(log.counts(), AccessLogCounts { delivered: fits as u64, lost: 3 });
    }
}
