//! How much is in a bucket: counted only where somebody has a quota, exactly, in the transactions that change it.
//!
//! A bucket's record says whether it is metered. Of one that is not, nothing here costs a row or a read. In one that
//! is, commands that change versions hold the latch of its counter, so that they queue instead of conflicting.

use bytes::Bytes;
use karri_ring_meta::{EvaluateError, Table};
use karri_ring_types::Timestamp;

use super::{carry_out, reply};
use crate::Quota;
use crate::keys::{self, BUCKETS, BucketId, USAGE, VERSIONS};
use crate::messages::{Answer, Command, Refusal};
use crate::meter_messages::{Reservation, Usage};
use crate::records::{BucketRecord, UsageRecord, VersionRecord, decode_with_tail};
use crate::rows::{Rows, Step, Visit, load, store};

/// Versions that one command counts, before the other versions of the last object.
const VERSIONS_PER_COUNT_MAX: usize = 1_000;

/// The route of a command that may change how much is in a bucket.
pub(super) fn metered_route(command: &Command) -> Option<&[u8]> {
    Some(match command {
        Command::Put(put) => &put.route,
        Command::CopyWithin(copy) => &copy.route,
        Command::Rename(rename) => &rename.route,
        Command::Delete(delete) => &delete.route,
        Command::Mark(mark) => &mark.route,
        Command::Complete(complete) => &complete.route,
        _ => return None,
    })
}

/// Carries out a command that does not hold the counter's latch: only where nothing is counted.
pub(super) fn plain(
    rows: &mut dyn Rows,
    command: Command,
    tail: &[u8],
    now: Timestamp,
) -> Result<Vec<u8>, EvaluateError> {
    let mut meter = Meter { rows, is_metered: false, counts: false, bytes: 0, versions: 0, failure: None };
    let answer = carry_out(&mut meter, command, tail, now)?;
    if meter.is_metered {
        meter.rows.discard();
        return reply(&Err::<(), _>(Refusal::Metered));
    }
    Ok(answer)
}

/// Carries out the command in `inner`, which holds the counter's latch, if it stays within `quota`.
pub(super) fn within(
    rows: &mut dyn Rows,
    quota: &Quota,
    reservation: Option<Reservation>,
    inner: &[u8],
    now: Timestamp,
) -> Result<Vec<u8>, EvaluateError> {
    let (command, tail) = decode_with_tail::<Command>(inner)?;
    let Some(route) = metered_route(&command).map(<[u8]>::to_vec) else {
        return Err(EvaluateError::Malformed("a command that changes no version".to_owned()));
    };
    let is_rename = matches!(command, Command::Rename(_));
    let mut meter = Meter { rows, is_metered: false, counts: true, bytes: 0, versions: 0, failure: None };
    let answer = carry_out(&mut meter, command, &inner[inner.len() - tail..], now)?;
    let Meter { rows, is_metered, bytes, versions, failure, .. } = meter;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let refuse = |rows: &mut dyn Rows, refusal| {
        rows.discard();
        reply(&Err::<(), _>(refusal))
    };
    if !is_metered {
        return if quota.is_empty() { Ok(answer) } else { refuse(rows, Refusal::NotMetered) };
    }
    let id = route[..16].to_vec();
    let usage = load::<UsageRecord>(rows, USAGE, &id)?;
    let mut usage = usage.ok_or_else(|| EvaluateError::Malformed("a metered bucket without a counter".to_owned()))?;
    let account_id =
        load::<BucketRecord>(rows, BUCKETS, &id)?.map(|record| record.owner.account_id).unwrap_or_default();
    // A quota of all buckets of an account is about its own.
    if !usage.account && quota.account.as_ref().is_some_and(|account| account.id == account_id) {
        return refuse(rows, Refusal::NotMetered);
    }
    if let Some(next) = &usage.next {
        // A rename may cross the line up to which is counted.
        if !quota.is_empty() || is_rename {
            return refuse(rows, Refusal::NotMetered);
        }
        // What comes behind will be counted with the rest.
        if route >= *next {
            return Ok(answer);
        }
    }
    if (bytes, versions) == (0, 0) {
        return Ok(answer);
    }
    let told = told(&usage);
    usage.bytes = usage.bytes.saturating_add_signed(bytes);
    usage.versions = usage.versions.saturating_add_signed(versions);
    let is_over = |growth: i64, count: u64, max: Option<u64>| growth > 0 && max.is_some_and(|max| count > max);
    if is_over(bytes, usage.bytes, quota.bucket_bytes) || is_over(versions, usage.versions, quota.bucket_versions) {
        return refuse(rows, Refusal::QuotaExceeded);
    }
    if usage.account && bytes != 0 {
        let growth = u64::try_from(bytes).unwrap_or(0);
        let is_reserved = |reservation: Reservation| reservation.fence == usage.fence && growth <= reservation.bytes;
        if !reservation.is_some_and(is_reserved) {
            return refuse(rows, Refusal::NeedsReservation { account_id, bytes: growth, usage: told });
        }
        usage.sequence += 1;
    }
    store(rows, USAGE, id, &usage);
    Ok(answer)
}

fn told(usage: &UsageRecord) -> Usage {
    Usage { bytes: usage.bytes, sequence: usage.sequence, fence: usage.fence }
}

/// How much is in a bucket that is there and metered.
pub(super) fn usage(rows: &mut dyn Rows, id: BucketId) -> Result<Option<Usage>, EvaluateError> {
    Ok(load::<UsageRecord>(rows, USAGE, &id.0)?.as_ref().map(told))
}

/// Makes reservations void that were made so far.
pub(super) fn fence(rows: &mut dyn Rows, id: BucketId) -> Result<Option<Usage>, EvaluateError> {
    let Some(mut usage) = load::<UsageRecord>(rows, USAGE, &id.0)? else { return Ok(None) };
    usage.fence += 1;
    store(rows, USAGE, id.0.to_vec(), &usage);
    Ok(Some(told(&usage)))
}

/// A new bucket of an account with a meter is counted from the start.
pub(super) fn begin(rows: &mut dyn Rows, id: BucketId) {
    let usage = UsageRecord { bytes: 0, versions: 0, next: None, account: true, sequence: 0, fence: 0 };
    store(rows, USAGE, id.0.to_vec(), &usage);
}

/// Begins to count what is in a bucket, or goes on with it. True when all is counted.
pub(super) fn count(rows: &mut dyn Rows, id: BucketId, account: bool) -> Result<Answer<bool>, EvaluateError> {
    let Some(mut record) = load::<BucketRecord>(rows, BUCKETS, &id.0)? else {
        return Ok(Err(Refusal::NoSuchBucket));
    };
    let mut usage = match load::<UsageRecord>(rows, USAGE, &id.0)? {
        Some(usage) => usage,
        None => {
            record.metered = true;
            store(rows, BUCKETS, id.0.to_vec(), &record);
            let next = Some(id.0.to_vec());
            UsageRecord { bytes: 0, versions: 0, next, account: false, sequence: 0, fence: 0 }
        }
    };
    let is_new_there = account && !usage.account;
    usage.account |= account;
    let Some(from) = usage.next.take() else {
        if is_new_there {
            store(rows, USAGE, id.0.to_vec(), &usage);
        }
        return Ok(Ok(true));
    };
    let mut route = Vec::new();
    let mut seen = 0;
    // The bucket's latch is held, so nothing is written meanwhile.
    rows.scan(VERSIONS, &from, &keys::successor(&id.0), &mut |key, row| {
        let of = keys::parse(key).map_or(key, |parsed| parsed.route);
        if of != route {
            if seen >= VERSIONS_PER_COUNT_MAX {
                usage.next = Some(of.to_vec());
                return Ok(Step::Stop);
            }
            of.clone_into(&mut route);
        }
        seen += 1;
        let (bytes, versions) = size(row)?;
        usage.bytes = usage.bytes.saturating_add_signed(bytes);
        usage.versions = usage.versions.saturating_add_signed(versions);
        Ok(Step::Next)
    })?;
    let is_done = usage.next.is_none();
    store(rows, USAGE, id.0.to_vec(), &usage);
    Ok(Ok(is_done))
}

/// What a version counts: delete markers count nothing.
fn size(row: &[u8]) -> Result<(i64, i64), EvaluateError> {
    let (record, _) = decode_with_tail::<VersionRecord>(row)?;
    if record.delete_marker {
        return Ok((0, 0));
    }
    Ok((i64::try_from(record.size).unwrap_or(i64::MAX), 1))
}

/// Rows that see what becomes of versions.
struct Meter<'a> {
    rows: &'a mut dyn Rows,
    is_metered: bool,
    /// Whether it adds up, or only finds out whether it would have to.
    counts: bool,
    bytes: i64,
    versions: i64,
    failure: Option<EvaluateError>,
}

impl Meter<'_> {
    fn note(&mut self, table: Table, key: &[u8], new: Option<&[u8]>) {
        if !self.counts || !self.is_metered || table != VERSIONS {
            return;
        }
        if let Err(failure) = self.add_up(key, new) {
            self.failure = Some(failure);
        }
    }

    fn add_up(&mut self, key: &[u8], new: Option<&[u8]>) -> Result<(), EvaluateError> {
        if let Some(old) = self.rows.get(VERSIONS, key)? {
            let (bytes, versions) = size(&old)?;
            self.bytes -= bytes;
            self.versions -= versions;
        }
        if let Some(new) = new {
            let (bytes, versions) = size(new)?;
            self.bytes += bytes;
            self.versions += versions;
        }
        Ok(())
    }
}

impl Rows for Meter<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EvaluateError> {
        self.rows.get(table, key)
    }

    fn scan(&mut self, table: Table, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), EvaluateError> {
        self.rows.scan(table, start, end, visit)
    }

    fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.note(table, &key, Some(&value));
        self.rows.put(table, key, value);
    }

    fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.note(table, &key, None);
        self.rows.delete(table, key);
    }

    fn discard(&mut self) {
        self.rows.discard();
    }

    fn note_metered(&mut self) {
        self.is_metered = true;
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.rows.holds(key)
    }

    fn end(&self) -> Option<Vec<u8>> {
        self.rows.end()
    }
}
