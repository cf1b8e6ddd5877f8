//! Writing, finding and deleting versions.

use karri_ring_meta::EvaluateError;
use karri_ring_types::{Timestamp, VersionId};

use super::{OBJECT_FOUND, OBJECT_NO_BUCKET, OBJECT_NO_KEY, bucket_exists, is_stale};
use crate::keys::{self, CONDEMNED, CURRENT, GARBAGE, OPERATIONS, VERSIONS};
use crate::messages::{Answer, CopyWithinCommand, PutCommand, Refusal, Written};
use crate::records::{
    CurrentRecord, Data, GarbageRecord, GarbageWork, OperationRecord, VersionRecord, decode_with_tail, encode_with_tail,
};
use crate::rows::{Rows, load, store};

/// A version that is replaced or deleted within this time leaves a note for its writer's command, should that
/// arrive again.
const RETRY_MS_MAX: u64 = 5 * 60 * 1000;

pub(super) fn current(rows: &mut dyn Rows, route: &[u8]) -> Result<Option<CurrentRecord>, EvaluateError> {
    load(rows, CURRENT, route)
}

pub(super) fn current_if_bucket(
    rows: &mut dyn Rows,
    route: &[u8],
) -> Result<Answer<Option<CurrentRecord>>, EvaluateError> {
    if !bucket_exists(rows, route)? {
        return Ok(Err(Refusal::NoSuchBucket));
    }
    current(rows, route).map(Ok)
}

pub(super) fn find(rows: &mut dyn Rows, route: &[u8], version: Option<VersionId>) -> Result<Vec<u8>, EvaluateError> {
    let version = match version {
        Some(version) => Some(version),
        None => current(rows, route)?.map(|current| current.version),
    };
    let row = match version {
        Some(version) => rows.get(VERSIONS, &keys::version(route, version))?,
        None => None,
    };
    match row {
        Some(row) => {
            let mut found = Vec::with_capacity(1 + row.len());
            found.push(OBJECT_FOUND);
            found.extend_from_slice(&row);
            Ok(found)
        }
        None if bucket_exists(rows, route)? => Ok(vec![OBJECT_NO_KEY]),
        None => Ok(vec![OBJECT_NO_BUCKET]),
    }
}

/// The earlier success of a command that arrives again.
pub(super) fn done_before(
    rows: &mut dyn Rows,
    route: &[u8],
    current: Option<&CurrentRecord>,
    version: VersionId,
) -> Result<Option<Written>, EvaluateError> {
    if let Some(current) = current.filter(|current| current.version == version) {
        return Ok(Some(Written { version, modified: current.modified }));
    }
    let note: Option<OperationRecord> = load(rows, OPERATIONS, &keys::with_id(route, version.0))?;
    Ok(note.map(|note| Written { version, modified: note.modified }))
}

pub(super) fn put(
    rows: &mut dyn Rows,
    put: PutCommand,
    body: &[u8],
    now: Timestamp,
) -> Result<Answer<Written>, EvaluateError> {
    let PutCommand { route, issued, conditions, mut record } = put;
    if !bucket_exists(rows, &route)? {
        return Ok(Err(Refusal::NoSuchBucket));
    }
    let current = current(rows, &route)?;
    if let Some(written) = done_before(rows, &route, current.as_ref(), record.version)? {
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
    if let Some(current) = &current {
        retire(rows, &route, current, now, true)?;
    }
    record.modified = later(now, current.as_ref());
    Ok(Ok(write(rows, route, &record, body)))
}

/// When a version is written: never before the one that it replaces.
pub(super) fn later(now: Timestamp, current: Option<&CurrentRecord>) -> Timestamp {
    current.map_or(now, |current| now.max(current.modified))
}

/// Makes a version the current one.
pub(super) fn write(rows: &mut dyn Rows, route: Vec<u8>, record: &VersionRecord, body: &[u8]) -> Written {
    rows.put(VERSIONS, keys::version(&route, record.version), encode_with_tail(record, body));
    store(rows, CURRENT, route, &CurrentRecord::of(record));
    Written { version: record.version, modified: record.modified }
}

/// Removes the current version. Its data becomes garbage, unless another version goes on with it.
pub(super) fn retire(
    rows: &mut dyn Rows,
    route: &[u8],
    current: &CurrentRecord,
    now: Timestamp,
    data_too: bool,
) -> Result<(), EvaluateError> {
    let row = keys::version(route, current.version);
    if data_too && let Some(record) = rows.get(VERSIONS, &row)? {
        let (record, _) = decode_with_tail::<VersionRecord>(&record)?;
        discard(rows, route, record.data, now);
    }
    rows.delete(VERSIONS, row);
    if now.as_millis().saturating_sub(current.modified.as_millis()) <= RETRY_MS_MAX {
        let note = OperationRecord { since: now, modified: current.modified };
        store(rows, OPERATIONS, keys::with_id(route, current.version.0), &note);
    }
    Ok(())
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

pub(super) fn copy_within(
    rows: &mut dyn Rows,
    copy: CopyWithinCommand,
    now: Timestamp,
) -> Result<Answer<Written>, EvaluateError> {
    let CopyWithinCommand { route, issued, conditions, source, version, description, checksum } = copy;
    if !bucket_exists(rows, &route)? {
        return Ok(Err(Refusal::NoSuchBucket));
    }
    let current = current(rows, &route)?;
    if let Some(written) = done_before(rows, &route, current.as_ref(), version)? {
        return Ok(Ok(written));
    }
    if is_stale(issued, now) {
        return Ok(Err(Refusal::Stale));
    }
    let etag = current.as_ref().map(|current| current.etag.text());
    if let Err(refusal) = conditions.check_write(etag.as_deref()) {
        return Ok(Err(Refusal::Write(refusal)));
    }
    let Some(current) = current.filter(|current| current.version == source) else {
        return Ok(Err(Refusal::SourceChanged));
    };
    let Some(row) = rows.get(VERSIONS, &keys::version(&route, source))? else {
        return Ok(Err(Refusal::SourceChanged));
    };
    let (mut record, body) = decode_with_tail::<VersionRecord>(&row)?;
    retire(rows, &route, &current, now, false)?;
    record.version = version;
    record.modified = later(now, Some(&current));
    record.description = description;
    if checksum.is_some() {
        record.checksum = checksum;
        record.checksum_type = crate::ChecksumType::FullObject;
    }
    Ok(Ok(write(rows, route, &record, &row[row.len() - body..])))
}

pub(super) fn delete(
    rows: &mut dyn Rows,
    route: &[u8],
    version: VersionId,
    now: Timestamp,
) -> Result<Answer<()>, EvaluateError> {
    if let Some(current) = current(rows, route)?.filter(|current| current.version == version) {
        retire(rows, route, &current, now, true)?;
        rows.delete(CURRENT, route.to_vec());
    }
    Ok(Ok(()))
}

pub(super) fn delete_if(
    rows: &mut dyn Rows,
    route: &[u8],
    version: VersionId,
    operation: VersionId,
    issued: Timestamp,
    now: Timestamp,
) -> Result<Answer<()>, EvaluateError> {
    let note = keys::with_id(route, operation.0);
    if rows.get(OPERATIONS, &note)?.is_some() {
        return Ok(Ok(()));
    }
    if is_stale(issued, now) {
        return Ok(Err(Refusal::Stale));
    }
    let Some(current) = current(rows, route)?.filter(|current| current.version == version) else {
        return Ok(Err(Refusal::SourceChanged));
    };
    retire(rows, route, &current, now, true)?;
    rows.delete(CURRENT, route.to_vec());
    store(rows, OPERATIONS, note, &OperationRecord { since: now, modified: current.modified });
    Ok(Ok(()))
}
