//! Uploads in parts.

use bytes::Bytes;
use karri_ring_meta::EvaluateError;
use karri_ring_types::{DataId, Timestamp};
use md5::{Digest, Md5};

use super::bucket_exists;
use super::objects::discard;
use super::versions::{bucket_state, current, install};
use crate::checksum::combine;
use crate::cipher::{EncryptionMode, KEY_MISSING};
use crate::keys::{self, BucketId, COMPLETED, CONDEMNED, GARBAGE, PARTS, UPLOADS};
use crate::messages::{Answer, CompleteCommand, Completed, ListedPart, PartRows, Refusal};
use crate::records::{
    Data, Etag, GarbageRecord, GarbageWork, PartRecord, PartRun, UploadRecord, VersionRecord, decode_with_tail,
    encode_with_tail,
};
use crate::rows::{Rows, Step, load, store};
use crate::{Checksum, ChecksumType, OBJECT_SIZE_BYTES_MAX};

/// Uploads that one attempt to delete a bucket aborts.
const UPLOADS_PER_STEP_MAX: usize = 100;

/// Bytes of part rows in one answer.
const PART_ROWS_BYTES_MAX: usize = 512 << 10;

pub(super) fn create(
    rows: &mut dyn Rows,
    route: &[u8],
    upload: DataId,
    mut record: UploadRecord,
    now: Timestamp,
) -> Result<Answer<Timestamp>, EvaluateError> {
    let Some(bucket) = bucket_state(rows, route)? else { return Ok(Err(Refusal::NoSuchBucket)) };
    if bucket.lock.is_none() && !record.lock.is_empty() {
        return Ok(Err(Refusal::NoLock));
    }
    let id = keys::with_id(route, upload.0);
    if let Some(there) = load::<UploadRecord>(rows, UPLOADS, &id)? {
        return Ok(Ok(there.initiated));
    }
    record.initiated = now;
    store(rows, UPLOADS, id, &record);
    Ok(Ok(now))
}

pub(super) fn find(rows: &mut dyn Rows, route: &[u8], upload: DataId) -> Result<Answer<UploadRecord>, EvaluateError> {
    if !bucket_exists(rows, route)? {
        return Ok(Err(Refusal::NoSuchBucket));
    }
    Ok(load(rows, UPLOADS, &keys::with_id(route, upload.0))?.ok_or(Refusal::NoSuchUpload))
}

pub(super) fn put_part(
    rows: &mut dyn Rows,
    route: &[u8],
    upload: DataId,
    number: u16,
    mut record: PartRecord,
    body: &[u8],
    now: Timestamp,
) -> Result<Answer<Timestamp>, EvaluateError> {
    if !bucket_exists(rows, route)? {
        return Ok(Err(Refusal::NoSuchBucket));
    }
    if rows.get(UPLOADS, &keys::with_id(route, upload.0))?.is_none() {
        return Ok(Err(Refusal::NoSuchUpload));
    }
    if let Some(id) = record.data.garbage_id()
        && rows.get(CONDEMNED, &keys::with_id(route, id.0))?.is_some()
    {
        return Ok(Err(Refusal::Condemned));
    }
    let row = keys::part(route, upload, number);
    if let Some(before) = rows.get(PARTS, &row)? {
        let (before, _) = decode_with_tail::<PartRecord>(&before)?;
        if before.data_id == record.data_id {
            return Ok(Ok(before.modified));
        }
        // A late copy of a command that another part has replaced: its data is garbage already.
        if let Some(id) = record.data.garbage_id()
            && rows.get(GARBAGE, &keys::with_id(route, id.0))?.is_some()
        {
            return Ok(Ok(before.modified));
        }
        discard(rows, route, before.data, now);
    }
    record.modified = now;
    rows.put(PARTS, row, encode_with_tail(&record, body));
    Ok(Ok(now))
}

pub(super) fn parts(
    rows: &mut dyn Rows,
    route: &[u8],
    data: DataId,
    after: u16,
    limit: u32,
) -> Result<PartRows, EvaluateError> {
    let mut page = PartRows { rows: Vec::new(), more: false };
    let prefix = keys::with_id(route, data.0);
    let from = keys::part(route, data, after.saturating_add(1));
    let mut bytes = 0;
    rows.scan(PARTS, &from, &keys::successor(&prefix), &mut |key, row| {
        let full = page.rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        if full || (bytes > 0 && bytes + row.len() > PART_ROWS_BYTES_MAX) {
            page.more = true;
            return Ok(Step::Stop);
        }
        if let Some((_, number)) = keys::parse_part(&key[route.len()..]) {
            bytes += row.len();
            page.rows.push((number, Bytes::copy_from_slice(row)));
        }
        Ok(Step::Next)
    })?;
    Ok(page)
}

pub(super) fn abort(
    rows: &mut dyn Rows,
    route: &[u8],
    upload: DataId,
    now: Timestamp,
) -> Result<Answer<()>, EvaluateError> {
    let id = keys::with_id(route, upload.0);
    if rows.get(UPLOADS, &id)?.is_none() {
        // The collector has its parts when this is the second time.
        let aborted = rows.get(COMPLETED, &id)?.is_none()
            && (rows.get(GARBAGE, &id)?.is_some() || rows.get(CONDEMNED, &id)?.is_some());
        return Ok(if aborted { Ok(()) } else { Err(Refusal::NoSuchUpload) });
    }
    rows.delete(UPLOADS, id.clone());
    store(rows, GARBAGE, id, &GarbageRecord { since: now, work: GarbageWork::Parts });
    Ok(Ok(()))
}

pub(super) fn some_of_bucket(rows: &mut dyn Rows, bucket: BucketId) -> Result<Vec<(String, DataId)>, EvaluateError> {
    let mut uploads = Vec::new();
    rows.scan(UPLOADS, &bucket.0, &keys::successor(&bucket.0), &mut |key, _| {
        if let Some(parsed) = keys::parse(key)
            && let Some(id) = keys::parse_id(parsed.rest)
        {
            uploads.push((parsed.key, DataId(id)));
        }
        Ok(if uploads.len() < UPLOADS_PER_STEP_MAX { Step::Next } else { Step::Stop })
    })?;
    Ok(uploads)
}

pub(super) fn complete(
    rows: &mut dyn Rows,
    command: CompleteCommand,
    now: Timestamp,
) -> Result<Answer<Completed>, EvaluateError> {
    let route = &command.route;
    let id = keys::with_id(route, command.upload.0);
    let Some(bucket) = bucket_state(rows, route)? else { return Ok(Err(Refusal::NoSuchBucket)) };
    if let Some(completed) = load::<Completed>(rows, COMPLETED, &id)? {
        // Whoever asked for other parts has not got them.
        let is_same = etag_of(command.parts.iter().map(|listed| &listed.md5)) == completed.etag;
        return Ok(if is_same { Ok(completed) } else { Err(Refusal::NoSuchUpload) });
    }
    let Some(upload) = load::<UploadRecord>(rows, UPLOADS, &id)? else {
        return Ok(Err(Refusal::NoSuchUpload));
    };
    let mode = upload.encryption.as_ref().map(|encryption| &encryption.mode);
    // Only those who chose a checksum have to show it; the parts can be read with no other anyway.
    if mode == Some(&EncryptionMode::Customer) && upload.chosen && !command.key_shown {
        return Ok(Err(Refusal::InvalidRequest(KEY_MISSING.to_owned())));
    }
    let current = current(rows, route)?;
    let etag = current.as_ref().map(|current| current.etag.text());
    if let Err(refusal) = command.conditions.check_write(etag.as_deref()) {
        return Ok(Err(Refusal::Write(refusal)));
    }
    let whole = match assemble(rows, &command, &upload)? {
        Ok(whole) => whole,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let record = VersionRecord {
        version: command.version,
        size: whole.size,
        etag: whole.etag,
        modified: now,
        checksum: whole.checksum,
        checksum_type: upload.checksum_type,
        description: upload.description,
        data: Data::Parts { data: command.upload, loan: None, runs: whole.runs.clone() },
        delete_marker: false,
        null: false,
        lock: upload.lock,
        access: upload.access,
        encryption: upload.encryption,
        restored_until: None,
    };
    let mut completed = Completed {
        told: None,
        size: record.size,
        etag: record.etag,
        modified: now,
        checksum: record.checksum.clone(),
        checksum_type: record.checksum_type,
        encryption: record.encryption.as_ref().map(|encryption| encryption.mode.clone()),
    };
    match install(rows, route, &bucket, record, &[], now)? {
        Ok(written) => (completed.told, completed.modified) = (written.told, written.modified),
        Err(refusal) => return Ok(Err(refusal)),
    }
    rows.delete(UPLOADS, id.clone());
    store(rows, COMPLETED, id.clone(), &completed);
    if whole.unused {
        store(rows, GARBAGE, id, &GarbageRecord { since: now, work: GarbageWork::UnusedParts(whole.runs) });
    }
    Ok(Ok(completed))
}

/// The parts of an object as one.
struct Whole {
    size: u64,
    etag: Etag,
    checksum: Option<Checksum>,
    runs: Vec<PartRun>,
    /// Whether there are parts that are not in it.
    unused: bool,
}

/// Checks the list against the parts and puts them together.
fn assemble(
    rows: &mut dyn Rows,
    command: &CompleteCommand,
    upload: &UploadRecord,
) -> Result<Answer<Whole>, EvaluateError> {
    if command.checksum_type.is_some_and(|kind| upload.chosen && kind != upload.checksum_type) {
        let message = "The upload was created with another checksum type.".to_owned();
        return Ok(Err(Refusal::InvalidRequest(message)));
    }
    let (found, unused) = match listed_parts(rows, command)? {
        Ok(found) => found,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let etag = etag_of(found.iter().map(|(_, part)| &part.md5));
    let mut whole = Whole { size: 0, etag, checksum: None, runs: Vec::new(), unused };
    for (number, part) in &found {
        whole.size = whole.size.saturating_add(part.size);
        match whole.runs.last_mut() {
            Some(run) if run.size == part.size && run.first + run.count == *number => run.count += 1,
            _ => whole.runs.push(PartRun { first: *number, count: 1, size: part.size }),
        }
    }
    if whole.size > OBJECT_SIZE_BYTES_MAX {
        return Ok(Err(Refusal::EntityTooLarge));
    }
    if command.size.is_some_and(|size| size != whole.size) {
        let message = "The provided 'x-amz-mp-object-size' header does not match what was computed".to_owned();
        return Ok(Err(Refusal::InvalidRequest(message)));
    }
    let sums = found.iter().map(|(_, part)| (part.checksum.as_ref(), part.size));
    whole.checksum = combine(upload.algorithm, upload.checksum_type, sums);
    if let Some(refusal) = wrong_checksum(command, upload, whole.checksum.as_ref()) {
        return Ok(Err(refusal));
    }
    Ok(Ok(whole))
}

/// The entity tag of an object of parts of these.
fn etag_of<'a>(parts: impl ExactSizeIterator<Item = &'a [u8; 16]>) -> Etag {
    let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
    let mut md5 = Md5::new();
    parts.for_each(|part| md5.update(part));
    Etag::Parts(md5.finalize().into(), count)
}

fn wrong_checksum(command: &CompleteCommand, upload: &UploadRecord, computed: Option<&Checksum>) -> Option<Refusal> {
    let claimed = command.checksum.as_ref()?;
    if claimed.algorithm != upload.algorithm && (upload.chosen || upload.checksum_type == ChecksumType::Composite) {
        let message = "The checksum is of another algorithm than the upload was created with.".to_owned();
        return Some(Refusal::InvalidRequest(message));
    }
    (claimed.algorithm == upload.algorithm && computed != Some(claimed))
        .then_some(Refusal::ChecksumMismatch(claimed.algorithm))
}

type Found = (Vec<(u16, PartRecord)>, bool);

/// The records of the listed parts, and whether there are others.
fn listed_parts(rows: &mut dyn Rows, command: &CompleteCommand) -> Result<Answer<Found>, EvaluateError> {
    let mut found: Vec<(u16, PartRecord)> = Vec::with_capacity(command.parts.len());
    let mut unused = false;
    let mut wanted = command.parts.iter().peekable();
    let mut missing: Option<u16> = None;
    let prefix = keys::with_id(&command.route, command.upload.0);
    rows.scan(PARTS, &prefix, &keys::successor(&prefix), &mut |key, row| {
        let number = keys::parse_part(&key[command.route.len()..]).map_or(0, |(_, number)| number);
        match wanted.peek() {
            Some(listed) if listed.number == number => {
                let (part, _) = decode_with_tail::<PartRecord>(row)?;
                if !matches(listed, &part) {
                    missing = Some(number);
                    return Ok(Step::Stop);
                }
                found.push((number, part));
                wanted.next();
            }
            Some(listed) if listed.number < number => {
                missing = Some(listed.number);
                return Ok(Step::Stop);
            }
            _ => unused = true,
        }
        Ok(Step::Next)
    })?;
    if let Some(number) = missing.or_else(|| wanted.next().map(|listed| listed.number)) {
        return Ok(Err(Refusal::InvalidPart { number }));
    }
    let (_, inner) = found.split_last().map_or((None, &found[..]), |(last, inner)| (Some(last), inner));
    if let Some((number, part)) = inner.iter().find(|(_, part)| part.size < command.part_size_min) {
        return Ok(Err(Refusal::EntityTooSmall { number: *number, size: part.size }));
    }
    Ok(Ok((found, unused)))
}

fn matches(listed: &ListedPart, part: &PartRecord) -> bool {
    let same = |claimed: &Checksum| match &part.checksum {
        Some(checksum) if checksum.algorithm == claimed.algorithm => checksum == claimed,
        _ => true,
    };
    listed.md5 == part.md5 && listed.checksum.as_ref().is_none_or(same)
}
