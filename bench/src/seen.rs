//! What workers saw: latencies by kind, errors by code, and both over time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::work::Kind;

/// Significant digits of a latency.
const DIGITS: u8 = 3;
/// Codes of errors that are told apart.
const CODES_MAX: usize = 64;

/// Requests of one kind.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) latencies_us: Histogram<u64>,
    pub(crate) bytes: u64,
}

impl Requests {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { latencies_us: Histogram::new(DIGITS)?, bytes: 0 })
    }

    fn record(&mut self, latency: Duration, bytes: u64) -> Result<()> {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies_us.record(micros.max(1))?;
        self.bytes += bytes;
        Ok(())
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.latencies_us.add(&other.latencies_us)?;
        self.bytes += other.bytes;
        Ok(())
    }
}

/// All that was seen, by one worker or by all.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) kinds: BTreeMap<Kind, Requests>,
    pub(crate) errors: BTreeMap<String, u64>,
    /// By second since the start.
    pub(crate) seconds: Vec<Requests>,
}

impl Seen {
    /// A request that ended well, `since_start` after the start of the run.
    pub(crate) fn done(&mut self, kind: Kind, since_start: Duration, latency: Duration, bytes: u64) -> Result<()> {
        let requests = match self.kinds.entry(kind) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Requests::new()?),
        };
        requests.record(latency, bytes)?;
        let second = since_start.as_secs() as usize;
        while self.seconds.len() <= second {
            self.seconds.push(Requests::new()?);
        }
        self.seconds[second].record(latency, bytes)
    }

    /// A request that was refused.
    pub(crate) fn failed(&mut self, code: String) {
        if self.errors.len() < CODES_MAX || self.errors.contains_key(&code) {
            *self.errors.entry(code).or_default() += 1;
        }
    }

    /// Adds what another worker saw.
    pub(crate) fn add(&mut self, other: Self) -> Result<()> {
        for (kind, requests) in other.kinds {
            match self.kinds.get_mut(&kind) {
                Some(own) => own.add(&requests)?,
                None => {
                    self.kinds.insert(kind, requests);
                }
            }
        }
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        for (second, requests) in other.seconds.into_iter().enumerate() {
            match self.seconds.get_mut(second) {
                Some(own) => own.add(&requests)?,
                None => self.seconds.push(requests),
            }
        }
        Ok(())
    }

    /// All kinds together.
    pub(crate) fn all(&self) -> Result<Requests> {
        let mut all = Requests::new()?;
        for requests in self.kinds.values() {
            all.add(requests)?;
        }
        Ok(all)
    }
}
