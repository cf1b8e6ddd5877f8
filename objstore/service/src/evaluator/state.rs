//! What is there: versions that are read, and what is known before a write.

use karri_ring_meta::EvaluateError;

use super::versions::{bucket_state, current, newest, resolve, version};
use super::{OBJECT_FOUND, OBJECT_NO_BUCKET, OBJECT_NO_KEY};
use crate::keys::{self, VERSIONS};
use crate::messages::{Answer, ObjectState, Refusal, VersionLine};
use crate::records::{CurrentRecord, VersionRecord, decode_with_tail, encode_with_tail};
use crate::rows::Rows;
use crate::{VersionRef, Versioning};

/// Whether the bytes of inline data are told with their record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Kept,
    Dropped,
}

/// Rows up to this size are told whole: finding the end of the record would cost more than what is behind it.
const ROW_BYTES_WHOLE_MAX: usize = 1024;

/// A byte that tells what was found, then the bucket's settings, then the version's row.
pub(super) fn find(
    rows: &mut dyn Rows,
    route: &[u8],
    named: Option<VersionRef>,
    body: Body,
) -> Result<Vec<u8>, EvaluateError> {
    let Some(bucket) = bucket_state(rows, route)? else { return Ok(vec![OBJECT_NO_BUCKET]) };
    let id = match named {
        Some(named) => resolve(rows, route, named)?,
        None => current(rows, route)?.map(|current| current.version),
    };
    let row = match id {
        Some(id) => rows.get(VERSIONS, &keys::version(route, id))?,
        // A marker is told of.
        None if named.is_none() && bucket.versioning != Versioning::Unversioned => {
            newest(rows, route, None)?.map(|(_, row)| row)
        }
        None => None,
    };
    let Some(row) = row else { return Ok(vec![OBJECT_NO_KEY]) };
    let mut told = &row[..];
    if body == Body::Dropped && row.len() > ROW_BYTES_WHOLE_MAX {
        let (_, behind) = decode_with_tail::<VersionRecord>(&row)?;
        told = &row[..row.len() - behind];
    }
    let mut found = vec![OBJECT_FOUND];
    found.extend_from_slice(&encode_with_tail(&bucket, told));
    Ok(found)
}

pub(super) fn state(
    rows: &mut dyn Rows,
    route: &[u8],
    named: Option<VersionRef>,
) -> Result<Answer<ObjectState>, EvaluateError> {
    let Some(bucket) = bucket_state(rows, route)? else { return Ok(Err(Refusal::NoSuchBucket)) };
    let mut state = ObjectState { bucket, current: current(rows, route)?, named: None };
    if let Some(named) = named
        && let Some(id) = resolve(rows, route, named)?
        && let Some((record, _)) = version(rows, route, id)?
    {
        let latest = match &state.current {
            Some(current) => current.version == id,
            None => newest(rows, route, None)?.is_some_and(|(newest, _)| newest.version == id),
        };
        state.named = Some(line(&record, latest));
    }
    Ok(Ok(state))
}

/// What a listing of versions prints.
pub(super) fn line(record: &VersionRecord, latest: bool) -> VersionLine {
    VersionLine { record: CurrentRecord::of(record), delete_marker: record.delete_marker, latest }
}
