//! Configuration documents of buckets: opaque here, beside the bucket's record in its range.

use karri_ring_meta::EvaluateError;
use karri_ring_types::VersionId;

use crate::BucketConfigKind;
use crate::keys::{self, BUCKET_CONFIGS, BUCKETS, BucketId};
use crate::messages::{Answer, Refusal, SettingsAnswer};
use crate::records::{BucketRecord, ConfigRevisionRecord};
use crate::rows::{Rows, load, store};

/// Changes that are remembered against their arriving again.
const OPERATIONS_KEPT: usize = 8;

/// Row of the revision.
const REVISION: u8 = 0;

/// Writes a document, or deletes it.
pub(super) fn change(
    rows: &mut dyn Rows,
    id: BucketId,
    kind: BucketConfigKind,
    operation: VersionId,
    document: Option<&[u8]>,
) -> Result<Answer<()>, EvaluateError> {
    if rows.get(BUCKETS, &id.0)?.is_none() {
        return Ok(Err(Refusal::NoSuchBucket));
    }
    if document.is_some_and(|document| document.len() > kind.size_bytes_max()) {
        return Ok(Err(Refusal::DocumentTooLarge));
    }
    let mut revision = revision(rows, id)?;
    if revision.operations.contains(&operation) {
        return Ok(Ok(()));
    }
    let row = keys::config(id, kind.row());
    match document {
        Some(document) => rows.put(BUCKET_CONFIGS, row, document.to_vec()),
        None => rows.delete(BUCKET_CONFIGS, row),
    }
    revision.revision += 1;
    if revision.operations.len() >= OPERATIONS_KEPT {
        revision.operations.remove(0);
    }
    revision.operations.push(operation);
    store(rows, BUCKET_CONFIGS, keys::config(id, REVISION), &revision);
    Ok(Ok(()))
}

/// The documents with which a bucket begins.
pub(super) fn begin(rows: &mut dyn Rows, id: BucketId, documents: Vec<(BucketConfigKind, Vec<u8>)>) {
    if documents.is_empty() {
        return;
    }
    for (kind, document) in documents {
        rows.put(BUCKET_CONFIGS, keys::config(id, kind.row()), document);
    }
    let first = ConfigRevisionRecord { revision: 1, operations: Vec::new() };
    store(rows, BUCKET_CONFIGS, keys::config(id, REVISION), &first);
}

fn revision(rows: &mut dyn Rows, id: BucketId) -> Result<ConfigRevisionRecord, EvaluateError> {
    Ok(load(rows, BUCKET_CONFIGS, &keys::config(id, REVISION))?.unwrap_or_default())
}

/// All documents of a bucket, with its record.
pub(super) fn settings(
    rows: &mut dyn Rows,
    id: BucketId,
    known: Option<u64>,
) -> Result<Answer<SettingsAnswer>, EvaluateError> {
    let Some(record) = load::<BucketRecord>(rows, BUCKETS, &id.0)? else {
        return Ok(Err(Refusal::NoSuchBucket));
    };
    let revision = revision(rows, id)?.revision;
    if known == Some(revision) {
        return Ok(Ok(SettingsAnswer { record, revision, documents: None }));
    }
    let mut documents = Vec::new();
    // The first revision is that of a bucket without any.
    for kind in BucketConfigKind::ALL.iter().filter(|_| revision > 0) {
        if let Some(document) = rows.get(BUCKET_CONFIGS, &keys::config(id, kind.row()))? {
            documents.push((*kind, document.to_vec()));
        }
    }
    Ok(Ok(SettingsAnswer { record, revision, documents: Some(documents) }))
}

/// Deletes the documents of a bucket that is deleted.
pub(super) fn delete_all(rows: &mut dyn Rows, id: BucketId) -> Result<(), EvaluateError> {
    let kinds = BucketConfigKind::ALL.iter().map(|kind| kind.row());
    for row in kinds.chain([REVISION]).map(|kind| keys::config(id, kind)) {
        if rows.get(BUCKET_CONFIGS, &row)?.is_some() {
            rows.delete(BUCKET_CONFIGS, row);
        }
    }
    Ok(())
}
