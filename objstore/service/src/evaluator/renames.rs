//! Renames: an object gets another key in one transaction, and its data stays where it is.

use karri_ring_meta::EvaluateError;
use karri_ring_types::Timestamp;

use super::is_stale;
use super::versions::{self, bucket_state, current, done_before, drop_row};
use crate::Versioning;
use crate::keys::{self, CURRENT, HOLDERS, OPERATIONS, VERSIONS};
use crate::messages::{Answer, Refusal, RenameCommand, Written};
use crate::records::{CurrentRecord, Data, Loan, OperationRecord, VersionRecord, encode_with_tail};
use crate::rows::{Rows, load, store};

/// Whether a rename that named itself so was done.
pub(super) fn is_done(rows: &mut dyn Rows, route: &[u8], token: u128) -> Result<bool, EvaluateError> {
    Ok(rows.get(OPERATIONS, &keys::with_id(route, token))?.is_some())
}

pub(super) fn rename(
    rows: &mut dyn Rows,
    rename: RenameCommand,
    now: Timestamp,
) -> Result<Answer<Written>, EvaluateError> {
    let RenameCommand { route, from, issued, conditions, source, data, version, holder, token } = rename;
    let Some(bucket) = bucket_state(rows, &route)? else { return Ok(Err(Refusal::NoSuchBucket)) };
    let replaced = current(rows, &route)?;
    if let Some(written) = done_before(rows, &route, &bucket, replaced.as_ref(), version)? {
        return Ok(Ok(written));
    }
    if let Some(token) = token
        && let Some(note) = load::<OperationRecord>(rows, OPERATIONS, &keys::with_id(&route, token))?
    {
        return Ok(Ok(Written { told: note.told, modified: note.modified }));
    }
    if is_stale(issued, now) {
        return Ok(Err(Refusal::Stale));
    }
    if !rows.holds(&from) {
        return Ok(Err(Refusal::OtherRange));
    }
    if bucket.versioning != Versioning::Unversioned {
        return Ok(Err(Refusal::SourceChanged));
    }
    let there = replaced.as_ref().map(|current| (current.etag.text(), current.modified));
    if let Err(refusal) = conditions.check_replaced(there.as_ref().map(|(etag, modified)| (etag.as_str(), *modified))) {
        return Ok(Err(Refusal::Write(refusal)));
    }
    if current(rows, &from)?.is_none_or(|current| current.version != source) {
        return Ok(Err(Refusal::SourceChanged));
    }
    let Some((before, row)) = versions::version(rows, &from, source)? else { return Ok(Err(Refusal::SourceChanged)) };
    if before.data.own() != data {
        return Ok(Err(Refusal::SourceChanged));
    }
    if let Some(replaced) = replaced
        && let Some((record, _)) = versions::version(rows, &route, replaced.version)?
    {
        drop_row(rows, &route, &bucket, record, now, true)?;
    }
    let body = row.len() - encode_with_tail(&before, &[]).len();
    let mut record = VersionRecord { version, ..before.clone() };
    let is_lent = lend(rows, &mut record.data, &from, holder);
    drop_row(rows, &from, &bucket, before, now, is_lent)?;
    rows.delete(CURRENT, from);
    rows.put(VERSIONS, keys::version(&route, version), encode_with_tail(&record, &row[row.len() - body..]));
    let written = Written { told: bucket.told(record.null, version), modified: record.modified };
    if let Some(token) = token {
        let note = OperationRecord { since: now, modified: written.modified, told: written.told };
        store(rows, OPERATIONS, keys::with_id(&route, token), &note);
    }
    store(rows, CURRENT, route, &CurrentRecord::of(&record));
    Ok(Ok(written))
}

/// Data that the old key owns is lent to the new one, and then given up there; what is borrowed stays borrowed.
fn lend(rows: &mut dyn Rows, data: &mut Data, from: &[u8], holder: karri_ring_types::DataId) -> bool {
    let (Data::Extents { data: id, loan, .. } | Data::Parts { data: id, loan, .. }) = data else { return false };
    if loan.is_some() {
        return false;
    }
    rows.put(HOLDERS, keys::holder(from, *id, holder), Vec::new());
    *loan = Some(Loan { route: from.to_vec(), holder });
    true
}
