//! Writing and deleting versions.

use karri_ring_meta::EvaluateError;
use karri_ring_types::Timestamp;

use super::is_stale;
use super::versions::{self, bucket_state, current, done_before, drop_row, install};
use crate::Versioning;
use crate::keys::{self, CONDEMNED, CURRENT, GARBAGE, OPERATIONS, VERSIONS};
use crate::messages::{
    Answer, CopyWithinCommand, DeleteCommand, DeleteOnly, Exclusive, MarkCommand, PutCommand, Refusal, Written,
};
use crate::records::{
    CurrentRecord, Data, GarbageRecord, GarbageWork, OperationRecord, VersionRecord, encode_with_tail,
};
use crate::rows::{Rows, store};

pub(super) fn put(
    rows: &mut dyn Rows,
    put: PutCommand,
    body: &[u8],
    now: Timestamp,
) -> Result<Answer<Written>, EvaluateError> {
    let PutCommand { route, issued, conditions, record } = put;
    let Some(bucket) = bucket_state(rows, &route)? else { return Ok(Err(Refusal::NoSuchBucket)) };
    let current = current(rows, &route)?;
    if let Some(written) = done_before(rows, &route, &bucket, current.as_ref(), record.version)? {
        return Ok(Ok(written));
    }
    if is_stale(issued, now) {
        return Ok(Err(Refusal::Stale));
    }
    if let Some(id) = record.data.garbage_id()
        && rows.get(CONDEMNED, &keys::with_id(&route, id.0))?.is_some()
    {
        return Ok(Err(Refusal::Condemned));
    }
    let etag = current.as_ref().map(|current| current.etag.text());
    if let Err(refusal) = conditions.check_write(etag.as_deref()) {
        return Ok(Err(Refusal::Write(refusal)));
    }
    install(rows, &route, &bucket, record, body, now)
}

/// Hands data to the collector.
pub(super) fn discard(rows: &mut dyn Rows, route: &[u8], data: Data, now: Timestamp) {
    let Some(id) = data.garbage_id() else { return };
    let work = match data {
        Data::Inline => return,
        Data::Extents { data, loan: Some(loan), .. } | Data::Parts { data, loan: Some(loan), .. } => {
            GarbageWork::Loan { loan, data }
        }
        Data::Extents { loan: None, extents, .. } => GarbageWork::Extents(extents),
        Data::Parts { loan: None, .. } => GarbageWork::Parts,
    };
    store(rows, GARBAGE, keys::with_id(route, id.0), &GarbageRecord { since: now, work });
}

/// Only where versions are not kept: elsewhere both versions stay, and the new one borrows.
pub(super) fn copy_within(
    rows: &mut dyn Rows,
    copy: CopyWithinCommand,
    now: Timestamp,
) -> Result<Answer<Written>, EvaluateError> {
    let CopyWithinCommand { route, issued, conditions, source, version, description, access, checksum } = copy;
    let Some(bucket) = bucket_state(rows, &route)? else { return Ok(Err(Refusal::NoSuchBucket)) };
    let current = current(rows, &route)?;
    if let Some(written) = done_before(rows, &route, &bucket, current.as_ref(), version)? {
        return Ok(Ok(written));
    }
    if is_stale(issued, now) {
        return Ok(Err(Refusal::Stale));
    }
    if bucket.versioning != Versioning::Unversioned {
        return Ok(Err(Refusal::SourceChanged));
    }
    let etag = current.as_ref().map(|current| current.etag.text());
    if let Err(refusal) = conditions.check_write(etag.as_deref()) {
        return Ok(Err(Refusal::Write(refusal)));
    }
    if current.is_none_or(|current| current.version != source) {
        return Ok(Err(Refusal::SourceChanged));
    }
    let Some((before, row)) = versions::version(rows, &route, source)? else {
        return Ok(Err(Refusal::SourceChanged));
    };
    let mut record = VersionRecord { version, description, access, restored_until: None, ..before.clone() };
    record.modified = now.max(before.modified);
    let body = row.len() - encode_with_tail(&before, &[]).len();
    drop_row(rows, &route, &bucket, before, now, false)?;
    if checksum.is_some() {
        record.checksum = checksum;
        record.checksum_type = crate::ChecksumType::FullObject;
    }
    rows.put(VERSIONS, keys::version(&route, version), encode_with_tail(&record, &row[row.len() - body..]));
    let written = Written { told: bucket.told(record.null, version), modified: record.modified };
    store(rows, CURRENT, route, &CurrentRecord::of(&record));
    Ok(Ok(written))
}

pub(super) fn delete(rows: &mut dyn Rows, command: DeleteCommand, now: Timestamp) -> Result<Answer<()>, EvaluateError> {
    let DeleteCommand { route, version, only, exclusive, bypass } = command;
    if let Some(Exclusive { operation, issued }) = exclusive {
        if rows.get(OPERATIONS, &keys::with_id(&route, operation.0))?.is_some() {
            return Ok(Ok(()));
        }
        if is_stale(issued, now) {
            return Ok(Err(Refusal::Stale));
        }
    }
    let Some(bucket) = bucket_state(rows, &route)? else { return Ok(Err(Refusal::NoSuchBucket)) };
    if only == DeleteOnly::Current && bucket.versioning != Versioning::Unversioned {
        return Ok(Err(Refusal::SourceChanged));
    }
    let Some((record, _)) = versions::version(rows, &route, version)? else {
        // Gone already. Whoever wanted to be the one who deletes it was too late.
        return Ok(exclusive.map_or(Ok(()), |_| Err(Refusal::SourceChanged)));
    };
    if !is_still(rows, &route, &record, only)? {
        return Ok(Err(Refusal::SourceChanged));
    }
    if record.lock.holds(now, bypass) {
        return Ok(Err(Refusal::Locked));
    }
    if let Some(Exclusive { operation, .. }) = exclusive {
        let note = OperationRecord { since: now, modified: record.modified, told: None };
        store(rows, OPERATIONS, keys::with_id(&route, operation.0), &note);
    }
    versions::remove(rows, &route, &bucket, record, now)?;
    Ok(Ok(()))
}

/// Whether a version is still what it was found to be.
fn is_still(
    rows: &mut dyn Rows,
    route: &[u8],
    record: &VersionRecord,
    only: DeleteOnly,
) -> Result<bool, EvaluateError> {
    if matches!(only, DeleteOnly::Any | DeleteOnly::Current) {
        return Ok(true);
    }
    let other = versions::newest(rows, route, Some(record.version))?;
    Ok(match only {
        DeleteOnly::LoneMarker => record.delete_marker && other.is_none(),
        _ => other.is_some_and(|(other, _)| other.version > record.version),
    })
}

pub(super) fn mark(
    rows: &mut dyn Rows,
    command: MarkCommand,
    now: Timestamp,
) -> Result<Answer<Written>, EvaluateError> {
    let MarkCommand { route, issued, marker, current: expected, owner } = command;
    let Some(bucket) = bucket_state(rows, &route)? else { return Ok(Err(Refusal::NoSuchBucket)) };
    let current = current(rows, &route)?;
    if let Some(written) = done_before(rows, &route, &bucket, current.as_ref(), marker)? {
        return Ok(Ok(written));
    }
    if is_stale(issued, now) {
        return Ok(Err(Refusal::Stale));
    }
    let changed = expected.is_some_and(|expected| current.as_ref().is_none_or(|current| current.version != expected));
    if changed || bucket.versioning == Versioning::Unversioned {
        return Ok(Err(Refusal::SourceChanged));
    }
    let null = bucket.versioning == Versioning::Suspended;
    install(rows, &route, &bucket, VersionRecord::marker(marker, null, now, owner), &[], now)
}
