//! Changes of what is said of a version or a bucket.

use bytes::Bytes;
use karri_ring_meta::EvaluateError;
use karri_ring_types::{Timestamp, VersionId};

use super::is_stale;
use super::versions::{self, bucket_state, refresh_current};
use crate::api::is_archive;
use crate::keys::{self, BUCKETS, BucketId, OPERATIONS, VERSIONS};
use crate::messages::{Answer, BucketChange, Change, Refusal, UpdateCommand, Written};
use crate::records::{BucketRecord, OperationRecord, VersionRecord, decode_with_tail, encode_with_tail};
use crate::rows::{Rows, load, store};
use crate::{BucketState, LockMode, Retention, Versioning};

/// A version that is being changed, once for each operation.
pub(super) struct Changing {
    pub(super) record: VersionRecord,
    bucket: BucketState,
    key: Vec<u8>,
    note_key: Vec<u8>,
    row: Bytes,
}

impl Changing {
    /// The version as it is; or the answer, where the operation is done already or cannot be.
    pub(super) fn begin(
        rows: &mut dyn Rows,
        route: &[u8],
        version: VersionId,
        operation: VersionId,
        issued: Timestamp,
        now: Timestamp,
    ) -> Result<Result<Self, Answer<Written>>, EvaluateError> {
        let Some(bucket) = bucket_state(rows, route)? else { return Ok(Err(Err(Refusal::NoSuchBucket))) };
        let note_key = keys::with_id(route, operation.0);
        if let Some(note) = load::<OperationRecord>(rows, OPERATIONS, &note_key)? {
            return Ok(Err(Ok(Written { told: note.told, modified: note.modified })));
        }
        if is_stale(issued, now) {
            return Ok(Err(Err(Refusal::Stale)));
        }
        let Some((record, row)) = versions::version(rows, route, version)? else {
            return Ok(Err(Err(Refusal::NoSuchVersion)));
        };
        Ok(Ok(Self { record, bucket, key: keys::version(route, version), note_key, row }))
    }

    /// The body in its row.
    fn body(&self) -> Result<&[u8], EvaluateError> {
        let (_, body) = decode_with_tail::<VersionRecord>(&self.row)?;
        Ok(&self.row[self.row.len() - body..])
    }

    /// Writes the record's row and notes that it is done.
    pub(super) fn end(
        self,
        rows: &mut dyn Rows,
        route: &[u8],
        row: Vec<u8>,
        now: Timestamp,
    ) -> Result<Written, EvaluateError> {
        let Self { record, bucket, key, note_key, .. } = self;
        rows.put(VERSIONS, key, row);
        refresh_current(rows, route, &record)?;
        let written = Written { told: bucket.told(record.null, record.version), modified: record.modified };
        let note = OperationRecord { since: now, modified: written.modified, told: written.told };
        store(rows, OPERATIONS, note_key, &note);
        Ok(written)
    }
}

pub(super) fn update(
    rows: &mut dyn Rows,
    command: UpdateCommand,
    now: Timestamp,
) -> Result<Answer<Written>, EvaluateError> {
    let UpdateCommand { route, issued, operation, version, change } = command;
    let mut changing = match Changing::begin(rows, &route, version, operation, issued, now)? {
        Ok(changing) => changing,
        Err(answer) => return Ok(answer),
    };
    if changing.record.delete_marker {
        return Ok(Err(Refusal::DeleteMarker));
    }
    if let Err(refusal) = apply(&changing.bucket, &mut changing.record, change, now) {
        return Ok(Err(refusal));
    }
    let row = encode_with_tail(&changing.record, changing.body()?);
    changing.end(rows, &route, row, now).map(Ok)
}

fn apply(bucket: &BucketState, record: &mut VersionRecord, change: Change, now: Timestamp) -> Result<(), Refusal> {
    match change {
        Change::Tags(tags) => record.description.tags = tags,
        Change::Acl(acl) => record.access.acl = acl,
        Change::StorageClass(class) => {
            record.description.storage_class = class;
            record.restored_until = None;
        }
        Change::Restore { until, again } => {
            if !record.description.storage_class.as_deref().is_some_and(is_archive) {
                return Err(Refusal::NotArchived);
            }
            // Of racing requests one is told that it made the object readable.
            if record.is_archived(now) == again {
                return Err(Refusal::SourceChanged);
            }
            record.restored_until = Some(until);
        }
        Change::Retention { .. } | Change::LegalHold(_) if bucket.lock.is_none() => return Err(Refusal::NoLock),
        Change::Retention { retention: Some(retention), .. } if retention.until <= now => {
            return Err(Refusal::RetentionPassed);
        }
        Change::Retention { retention, bypass } => {
            if !may_change(record.lock.retention, retention, bypass, now) {
                return Err(Refusal::Locked);
            }
            record.lock.retention = retention;
        }
        Change::LegalHold(on) => record.lock.legal_hold = Some(on),
    }
    Ok(())
}

/// A retention that holds may be made longer by anybody; a governance one is changed otherwise by who may bypass it.
fn may_change(before: Option<Retention>, after: Option<Retention>, bypass: bool, now: Timestamp) -> bool {
    let Some(before) = before.filter(|before| before.until > now) else { return true };
    let longer = after.is_some_and(|after| after.mode == before.mode && after.until >= before.until);
    longer || (before.mode == LockMode::Governance && bypass)
}

pub(super) fn change_bucket(
    rows: &mut dyn Rows,
    id: BucketId,
    operation: VersionId,
    issued: Timestamp,
    change: BucketChange,
    now: Timestamp,
) -> Result<Answer<()>, EvaluateError> {
    let note_key = keys::with_id(&id.0, operation.0);
    let Some(mut record) = load::<BucketRecord>(rows, BUCKETS, &id.0)? else {
        return Ok(Err(Refusal::NoSuchBucket));
    };
    if rows.get(OPERATIONS, &note_key)?.is_some() {
        return Ok(Ok(()));
    }
    if is_stale(issued, now) {
        return Ok(Err(Refusal::Stale));
    }
    match change {
        BucketChange::Versioning(versioning) if record.state.lock.is_some() && versioning != Versioning::Enabled => {
            return Ok(Err(Refusal::LockNeedsVersioning));
        }
        BucketChange::Versioning(versioning) => record.state.versioning = versioning,
        BucketChange::Lock(_) if record.state.versioning != Versioning::Enabled => {
            return Ok(Err(Refusal::LockNeedsVersioning));
        }
        BucketChange::Lock(lock) => record.state.lock = Some(lock),
    }
    store(rows, BUCKETS, id.0.to_vec(), &record);
    store(rows, OPERATIONS, note_key, &OperationRecord { since: now, modified: now, told: None });
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_gets_longer_but_not_shorter() {
        use LockMode::{Compliance, Governance};
        let now = Timestamp(100);
        let of = |mode, until| Some(Retention { mode, until: Timestamp(until) });
        for (before, after, bypass, allowed) in [
            (None, of(Governance, 200), false, true),
            (of(Governance, 200), of(Governance, 300), false, true),
            (of(Governance, 200), of(Governance, 150), false, false),
            (of(Governance, 200), of(Governance, 150), true, true),
            (of(Governance, 200), None, false, false),
            (of(Governance, 200), None, true, true),
            (of(Governance, 200), of(Compliance, 300), false, false),
            (of(Governance, 200), of(Compliance, 300), true, true),
            (of(Compliance, 200), of(Compliance, 300), false, true),
            (of(Compliance, 200), of(Compliance, 150), true, false),
            (of(Compliance, 200), of(Governance, 300), true, false),
            (of(Compliance, 200), None, true, false),
            (of(Compliance, 100), None, false, true),
        ] {
            assert_eq!(may_change(before, after, bypass, now), allowed, "{before:?} to {after:?}, bypass {bypass}");
        }
    }
}
