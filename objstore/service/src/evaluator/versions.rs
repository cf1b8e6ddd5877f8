//! What versions of one object are to each other: their order, which is current, which is the null version.
//!
//! [`CURRENT`] has a row when the newest version is an object and no delete marker, so that listings never meet old
//! versions or markers. [`NULL_VERSIONS`] has a row when there is a null version that is not in [`CURRENT`].

use bytes::Bytes;
use karri_ring_meta::EvaluateError;
use karri_ring_types::{Timestamp, VersionId};

use super::moves;
use super::objects::discard;
use crate::keys::{self, BUCKETS, CURRENT, NULL_VERSIONS, OPERATIONS, VERSIONS};
use crate::messages::{Answer, Refusal, Written};
use crate::records::{
    BucketRecord, CurrentRecord, Data, OperationRecord, VersionRecord, decode, decode_with_tail, encode_with_tail,
};
use crate::rows::{Rows, Step, load, store};
use crate::{BucketState, VersionRef, Versioning};

/// A version that is replaced or deleted within this time leaves a note for its writer's command, should that
/// arrive again.
const RETRY_MS_MAX: u64 = 5 * 60 * 1000;

/// Bits of a version id below its time.
const RANDOM_BITS: u32 = 80;

/// The settings of this route's bucket; `None`: there is no bucket. A range that does not hold the bucket's record
/// cannot tell: whoever cuts a bucket in two has to give both halves its settings.
pub(super) fn bucket_state(rows: &mut dyn Rows, route: &[u8]) -> Result<Option<BucketState>, EvaluateError> {
    let id = route.get(..16).ok_or_else(|| EvaluateError::Malformed("route without a bucket".to_owned()))?;
    if !rows.holds(id) {
        return Ok(Some(BucketState::default()));
    }
    let record = load::<BucketRecord>(rows, BUCKETS, id)?;
    if record.as_ref().is_some_and(|record| record.metered) {
        rows.note_metered();
    }
    Ok(record.map(|record| record.state))
}

pub(super) fn current(rows: &mut dyn Rows, route: &[u8]) -> Result<Option<CurrentRecord>, EvaluateError> {
    load(rows, CURRENT, route)
}

/// The newest version, object or marker, that is not `except`; with its row.
pub(super) fn newest(
    rows: &mut dyn Rows,
    route: &[u8],
    except: Option<VersionId>,
) -> Result<Option<(VersionRecord, Bytes)>, EvaluateError> {
    let except = except.map(|id| keys::version(route, id));
    let mut found = None;
    rows.scan(VERSIONS, route, &keys::successor(route), &mut |key, row| {
        if except.as_deref() == Some(key) {
            return Ok(Step::Next);
        }
        found = Some((decode_with_tail::<VersionRecord>(row)?.0, Bytes::copy_from_slice(row)));
        Ok(Step::Stop)
    })?;
    Ok(found)
}

/// The id of the version that a client names.
pub(super) fn resolve(
    rows: &mut dyn Rows,
    route: &[u8],
    version: VersionRef,
) -> Result<Option<VersionId>, EvaluateError> {
    match version {
        VersionRef::Id(id) => Ok(Some(id)),
        VersionRef::Null => match current(rows, route)?.filter(|current| current.null) {
            Some(current) => Ok(Some(current.version)),
            None => load(rows, NULL_VERSIONS, route),
        },
    }
}

/// The earlier success of a command that arrives again.
pub(super) fn done_before(
    rows: &mut dyn Rows,
    route: &[u8],
    bucket: &BucketState,
    current: Option<&CurrentRecord>,
    version: VersionId,
) -> Result<Option<Written>, EvaluateError> {
    if let Some(current) = current.filter(|current| current.version == version) {
        return Ok(Some(Written { told: bucket.told(current.null, version), modified: current.modified }));
    }
    let note: Option<OperationRecord> = load(rows, OPERATIONS, &keys::with_id(route, version.0))?;
    if let Some(note) = note {
        return Ok(Some(Written { told: note.told, modified: note.modified }));
    }
    if bucket.versioning == Versioning::Unversioned {
        return Ok(None);
    }
    let Some(row) = rows.get(VERSIONS, &keys::version(route, version))? else { return Ok(None) };
    let (record, _) = decode_with_tail::<VersionRecord>(&row)?;
    Ok(Some(Written { told: bucket.told(record.null, version), modified: record.modified }))
}

/// Makes a version the newest one: what it replaces goes, what it hides stays, and it sorts behind nothing.
pub(super) fn install(
    rows: &mut dyn Rows,
    route: &[u8],
    bucket: &BucketState,
    mut record: VersionRecord,
    body: &[u8],
    now: Timestamp,
) -> Result<Answer<Written>, EvaluateError> {
    let current = current(rows, route)?;
    let proposed = record.version;
    record.null = bucket.versioning != Versioning::Enabled;
    record.modified = now;
    if !record.delete_marker
        && let Err(refusal) = lock_new(bucket, &mut record, now)
    {
        return Ok(Err(refusal));
    }
    let before = before(rows, route, bucket, current.as_ref())?;
    if let Some((newest, modified)) = before {
        // Clocks of nodes differ: the order of versions is that of their commits.
        record.modified = now.max(modified);
        if newest >= proposed && bucket.versioning != Versioning::Unversioned {
            record.version = follow(newest, proposed);
        }
    }
    if record.null
        && let Err(refusal) = replace_null(rows, route, bucket, current.as_ref(), now)?
    {
        return Ok(Err(refusal));
    }
    if let Some(current) = current.as_ref().filter(|current| current.null && !record.null) {
        store(rows, NULL_VERSIONS, route.to_vec(), &current.version);
    }
    let written = Written { told: bucket.told(record.null, record.version), modified: record.modified };
    if record.version != proposed {
        let note = OperationRecord { since: now, modified: record.modified, told: written.told };
        store(rows, OPERATIONS, keys::with_id(route, proposed.0), &note);
    }
    rows.put(VERSIONS, keys::version(route, record.version), encode_with_tail(&record, body));
    match (record.delete_marker, current) {
        (false, _) => store(rows, CURRENT, route.to_vec(), &CurrentRecord::of(&record)),
        (true, Some(_)) => rows.delete(CURRENT, route.to_vec()),
        (true, None) => {}
    }
    if record.delete_marker && record.null {
        store(rows, NULL_VERSIONS, route.to_vec(), &record.version);
    }
    Ok(Ok(written))
}

/// Id and time of the newest version before.
fn before(
    rows: &mut dyn Rows,
    route: &[u8],
    bucket: &BucketState,
    current: Option<&CurrentRecord>,
) -> Result<Option<(VersionId, Timestamp)>, EvaluateError> {
    match current {
        Some(current) => Ok(Some((current.version, current.modified))),
        None if bucket.versioning == Versioning::Unversioned => Ok(None),
        None => Ok(newest(rows, route, None)?.map(|(record, _)| (record.version, record.modified))),
    }
}

/// The lock of a new version: as asked for, or the bucket's.
fn lock_new(bucket: &BucketState, record: &mut VersionRecord, now: Timestamp) -> Result<(), Refusal> {
    match bucket.lock {
        None if record.lock.is_empty() => Ok(()),
        None => Err(Refusal::NoLock),
        Some(_) if record.lock.retention.is_some_and(|retention| retention.until <= now) => {
            Err(Refusal::RetentionPassed)
        }
        Some(lock) => {
            if record.lock.retention.is_none() {
                record.lock.retention = lock.default.map(|default| default.from(now));
            }
            Ok(())
        }
    }
}

/// An id after `newest` that is as unlikely to be anybody else's as `proposed`.
fn follow(newest: VersionId, proposed: VersionId) -> VersionId {
    let random = proposed.0 & ((1 << RANDOM_BITS) - 1);
    VersionId((((newest.0 >> RANDOM_BITS) + 1) << RANDOM_BITS) | random)
}

/// Removes the null version, which a new one replaces.
fn replace_null(
    rows: &mut dyn Rows,
    route: &[u8],
    bucket: &BucketState,
    current: Option<&CurrentRecord>,
    now: Timestamp,
) -> Result<Answer<()>, EvaluateError> {
    let id = match current {
        Some(current) if current.null => Some(current.version),
        _ if bucket.versioning == Versioning::Unversioned => None,
        _ => {
            let id = load::<VersionId>(rows, NULL_VERSIONS, route)?;
            if id.is_some() {
                rows.delete(NULL_VERSIONS, route.to_vec());
            }
            id
        }
    };
    let Some(id) = id else { return Ok(Ok(())) };
    let Some(row) = rows.get(VERSIONS, &keys::version(route, id))? else { return Ok(Ok(())) };
    let (record, _) = decode_with_tail::<VersionRecord>(&row)?;
    if record.lock.holds(now, false) {
        return Ok(Err(Refusal::Locked));
    }
    drop_row(rows, route, bucket, record, now, true)?;
    Ok(Ok(()))
}

/// Removes the row of a version. Its data becomes garbage, unless another version goes on with it.
pub(super) fn drop_row(
    rows: &mut dyn Rows,
    route: &[u8],
    bucket: &BucketState,
    record: VersionRecord,
    now: Timestamp,
    data_too: bool,
) -> Result<(), EvaluateError> {
    let VersionRecord { version, modified, null, data, .. } = record;
    if matches!(data, Data::Parts { .. }) {
        moves::give_up(rows, route, version, now)?;
    }
    if data_too {
        discard(rows, route, data, now);
    }
    rows.delete(VERSIONS, keys::version(route, version));
    if now.as_millis().saturating_sub(modified.as_millis()) <= RETRY_MS_MAX {
        let note = OperationRecord { since: now, modified, told: bucket.told(null, version) };
        store(rows, OPERATIONS, keys::with_id(route, version.0), &note);
    }
    Ok(())
}

/// Removes a version for good; the one before it becomes current if this was the newest.
pub(super) fn remove(
    rows: &mut dyn Rows,
    route: &[u8],
    bucket: &BucketState,
    record: VersionRecord,
    now: Timestamp,
) -> Result<(), EvaluateError> {
    let (version, null, was_object) = (record.version, record.null, !record.delete_marker);
    drop_row(rows, route, bucket, record, now, true)?;
    if bucket.versioning == Versioning::Unversioned {
        rows.delete(CURRENT, route.to_vec());
        return Ok(());
    }
    let other = newest(rows, route, Some(version))?;
    let was_newest = other.as_ref().is_none_or(|(other, _)| other.version < version);
    if null && !(was_newest && was_object) {
        rows.delete(NULL_VERSIONS, route.to_vec());
    }
    if !was_newest {
        return Ok(());
    }
    match other.filter(|(other, _)| !other.delete_marker) {
        Some((next, _)) => {
            store(rows, CURRENT, route.to_vec(), &CurrentRecord::of(&next));
            if next.null {
                rows.delete(NULL_VERSIONS, route.to_vec());
            }
        }
        None if was_object => rows.delete(CURRENT, route.to_vec()),
        None => {}
    }
    Ok(())
}

/// The record behind a row of [`VERSIONS`], when it is there.
pub(super) fn version(
    rows: &mut dyn Rows,
    route: &[u8],
    id: VersionId,
) -> Result<Option<(VersionRecord, Bytes)>, EvaluateError> {
    let Some(row) = rows.get(VERSIONS, &keys::version(route, id))? else { return Ok(None) };
    Ok(Some((decode_with_tail::<VersionRecord>(&row)?.0, row)))
}

/// The current version's row of a listing, if it is this version's.
pub(super) fn refresh_current(rows: &mut dyn Rows, route: &[u8], record: &VersionRecord) -> Result<(), EvaluateError> {
    let is_current = match rows.get(CURRENT, route)? {
        Some(row) => decode::<CurrentRecord>(&row)?.version == record.version,
        None => false,
    };
    if is_current {
        store(rows, CURRENT, route.to_vec(), &CurrentRecord::of(record));
    }
    Ok(())
}
