//! Reading objects.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use karri_ring_node::ExtentRef;
use karri_ring_types::DataId;

use crate::api::{Content, GetOutcome, GetRequest, HeadOutcome, ObjectInfo, RangeSpec, Served, ServedPart};
use crate::buckets::in_bucket;
use crate::cipher::{BodyKey, CustomerKey, EncryptionMode, ObjectKey, open_body, sealed_range};
use crate::evaluator::{OBJECT_FOUND, OBJECT_NO_KEY};
use crate::messages::{PartRows, Query};
use crate::ports::CallerKeys;
use crate::ports::Extents;
use crate::records::{Data, PartRecord, PartRun, VersionRecord, decode_and_tail};
use crate::service::check_key;
use crate::{BucketState, ObjectService, STORAGE_CLASS_DEFAULT, ServiceError, VersionRef};

/// Rows of parts that a reader asks for at a time.
pub(crate) const PART_ROWS_PER_QUERY: u32 = 64;

/// A version as it was found.
pub(crate) struct Found {
    pub(crate) route: Vec<u8>,
    pub(crate) bucket: BucketState,
    pub(crate) record: VersionRecord,
    /// The bytes of inline data.
    pub(crate) inline: Bytes,
    /// Of an encrypted object, once its reader may have it.
    pub(crate) key: Option<ObjectKey>,
}

impl Found {
    /// Where the rows of outside data are.
    pub(crate) fn data_route(&self) -> &[u8] {
        match self.record.data.outside() {
            Some((_, Some(loan))) => &loan.route,
            _ => &self.route,
        }
    }

    pub(crate) fn info(&self) -> ObjectInfo {
        let record = &self.record;
        let description = record.description.clone();
        ObjectInfo {
            size: record.size,
            etag: record.etag.text(),
            last_modified: record.modified,
            content: description.content,
            user_metadata: description.user_metadata,
            checksum: record.checksum.clone(),
            checksum_type: record.checksum.as_ref().map(|_| record.checksum_type),
            parts_count: record.data.parts_count(),
            storage_class: description.storage_class.unwrap_or_else(|| STORAGE_CLASS_DEFAULT.to_owned()),
            version: self.told(),
            tags_count: u32::try_from(description.tags.len()).unwrap_or(u32::MAX),
            tags: description.tags,
            restored_until: record.restored_until,
            lock: record.lock,
            bucket_has_lock: self.bucket.lock.is_some(),
            owner: record.access.owner.clone(),
            acl: record.access.acl.clone(),
            encryption: record.encryption.as_ref().map(|encryption| encryption.mode.clone()),
        }
    }

    /// The version as clients are told of it.
    pub(crate) fn told(&self) -> Option<VersionRef> {
        self.bucket.told(self.record.null, self.record.version)
    }
}

/// A part's row.
pub(crate) struct FoundPart {
    pub(crate) number: u16,
    pub(crate) record: PartRecord,
    pub(crate) inline: Bytes,
}

/// Whether a request that reads no bytes needs the object's key: a client's is checked, a named one is only used where
/// the caller brings its right to.
pub(crate) fn needs_key(found: &Found, request: &GetRequest) -> bool {
    let mode = found.record.encryption.as_ref().map(|encryption| &encryption.mode);
    !(matches!(mode, Some(EncryptionMode::Kms(_))) && request.keys.is_none())
}

impl ObjectService {
    /// Reads an object, or some of its bytes.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `NotModified`, `PreconditionFailed`, `InvalidRange`,
    /// `InvalidPartNumber`, `Unavailable`.
    pub async fn get_object(&self, request: GetRequest) -> Result<GetOutcome, ServiceError> {
        let (found, served) = self.open(&request, true).await?;
        self.check_readable(&found)?;
        let range = match served.bounds() {
            Some((first, last)) => first..last + 1,
            None => 0..0,
        };
        let content = self.content(&found, range)?;
        Ok(GetOutcome { info: self.info_now(&found), served, content })
    }

    /// As [`ObjectService::get_object`], without the bytes.
    ///
    /// # Errors
    /// As [`ObjectService::get_object`].
    pub async fn head_object(&self, request: GetRequest) -> Result<HeadOutcome, ServiceError> {
        let (found, served) = self.open(&request, false).await?;
        Ok(HeadOutcome { info: self.info_now(&found), served })
    }

    /// What is told of a version; of a restore only while it holds.
    fn info_now(&self, found: &Found) -> ObjectInfo {
        let mut info = found.info();
        info.restored_until = info.restored_until.filter(|until| *until > self.clock.now());
        info
    }

    /// Refuses to read an archived version that is not restored.
    pub(crate) fn check_readable(&self, found: &Found) -> Result<(), ServiceError> {
        match found.record.is_archived(self.clock.now()) {
            true => Err(ServiceError::Archived { class: found.info().storage_class }),
            false => Ok(()),
        }
    }

    /// `is_read`: the bytes are read, so that the key must be open.
    async fn open(&self, request: &GetRequest, is_read: bool) -> Result<(Found, Served), ServiceError> {
        let mut found = match is_read {
            true => self.find(&request.bucket, &request.key, request.version).await?,
            false => self.find_record(&request.bucket, &request.key, request.version).await?,
        };
        request.conditions.check_read(&found.record.etag.text(), found.record.modified)?;
        let served = match (request.part_number, request.range) {
            (Some(number), _) => self.served_part(&found, number).await?,
            (None, Some(range)) => served_range(range, found.record.size)?,
            (None, None) => Served::Whole { size: found.record.size },
        };
        // A part that is not there is told before a key that is not.
        if is_read || needs_key(&found, request) {
            self.unlock(&mut found, request.customer_key.as_ref(), &request.keys).await?;
        }
        Ok((found, served))
    }

    /// Opens the key of a version that is encrypted, so that its bytes can be read.
    pub(crate) async fn unlock(
        &self,
        found: &mut Found,
        customer: Option<&CustomerKey>,
        keys: &CallerKeys,
    ) -> Result<(), ServiceError> {
        found.key = self.open_key(found.record.encryption.as_deref(), customer, keys).await?;
        Ok(())
    }

    /// Looks a version up.
    pub(crate) async fn find(&self, name: &str, key: &str, version: Option<VersionRef>) -> Result<Found, ServiceError> {
        check_key(key)?;
        in_bucket!(self, name, |bucket| {
            let route = bucket.id.route(key);
            let query = Query::Object { route: route.clone(), version };
            found(&route, version, &self.query_raw(&route, &query).await?)
        })
    }

    /// As [`ObjectService::find`], without the bytes of inline data, unless they are few.
    pub(crate) async fn find_record(
        &self,
        name: &str,
        key: &str,
        version: Option<VersionRef>,
    ) -> Result<Found, ServiceError> {
        check_key(key)?;
        in_bucket!(self, name, |bucket| {
            let route = bucket.id.route(key);
            let answer = match self.query_raw(&route, &Query::Head { route: route.clone(), version }).await {
                // The leader may be of a version that does not know this query.
                Err(ServiceError::Internal(_)) => {
                    self.query_raw(&route, &Query::Object { route: route.clone(), version }).await?
                }
                answer => answer?,
            };
            found(&route, version, &answer)
        })
    }

    async fn served_part(&self, found: &Found, number: u16) -> Result<Served, ServiceError> {
        let size = found.record.size;
        let Data::Parts { data, runs, .. } = &found.record.data else {
            return match (number, size.checked_sub(1)) {
                (1, Some(last)) => Ok(Served::Range { first: 0, last, part: None }),
                (1, None) => Ok(Served::Whole { size }),
                _ => Err(ServiceError::InvalidPartNumber { parts_count: 1 }),
            };
        };
        let Some(range) = part_range(runs, number) else {
            let parts_count = found.record.data.parts_count().unwrap_or(0);
            return Err(ServiceError::InvalidPartNumber { parts_count });
        };
        let page = self.part_rows(found.data_route(), *data, number - 1, 1).await?;
        let part = page.0.into_iter().find(|part| part.number == number);
        let checksum = part.and_then(|part| part.record.checksum);
        let part = ServedPart { number, size: range.end - range.start, checksum };
        match range.end.checked_sub(1).filter(|last| *last >= range.start) {
            Some(last) => Ok(Served::Range { first: range.start, last, part: Some(part) }),
            None => Ok(Served::Whole { size }),
        }
    }

    /// Rows of parts after a number, and whether there are more.
    pub(crate) async fn part_rows(
        &self,
        route: &[u8],
        data: DataId,
        after: u16,
        limit: u32,
    ) -> Result<(Vec<FoundPart>, bool), ServiceError> {
        let query = Query::Parts { route: route.to_vec(), data, after, limit };
        let page: PartRows = self.query(route, &query).await?;
        let found = page.rows.into_iter().map(|(number, row)| {
            let (record, inline) = decode_and_tail::<PartRecord>(&row)?;
            Ok(FoundPart { number, record, inline })
        });
        Ok((found.collect::<Result<_, ServiceError>>()?, page.more))
    }

    /// The bytes of `range` of a version.
    pub(crate) fn content(&self, found: &Found, range: Range<u64>) -> Result<Content, ServiceError> {
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        if found.record.encryption.is_some() && found.key.is_none() {
            return Err(ServiceError::Internal("an encrypted object was not unlocked".to_owned()));
        }
        let size = found.record.size;
        let key = found.key.as_ref().map(ObjectKey::whole);
        match &found.record.data {
            Data::Inline => Ok(opened(key, range, size, |range| inline_stream(&found.inline, range))),
            Data::Extents { extents, skip, .. } => Ok(opened(key, range, size, |range| {
                extent_stream(self.extents.clone(), extents, range.start + skip..range.end + skip)
            })),
            Data::Parts { data, runs, .. } => {
                let service = self.this.upgrade().ok_or(ServiceError::Unavailable)?;
                let wanted = wanted_parts(runs, range);
                let reader = PartReader {
                    service,
                    route: found.data_route().to_vec(),
                    data: *data,
                    key: found.key.clone(),
                    wanted,
                    rows: VecDeque::new(),
                };
                Ok(stream::try_unfold(reader, PartReader::next).try_flatten().boxed())
            }
        }
    }
}

/// What was found, by the answer to [`Query::Object`].
fn found(route: &[u8], version: Option<VersionRef>, answer: &Bytes) -> Result<Found, ServiceError> {
    match answer.first() {
        Some(&OBJECT_FOUND) => {
            let found = found_version(route, answer)?.ok_or(ServiceError::NoSuchKey)?;
            match found.record.delete_marker {
                true => Err(ServiceError::DeleteMarker {
                    version: found.told(),
                    last_modified: found.record.modified,
                    named: version.is_some(),
                }),
                false => Ok(found),
            }
        }
        Some(&OBJECT_NO_KEY) if version.is_some() => Err(ServiceError::NoSuchVersion),
        Some(&OBJECT_NO_KEY) => Err(ServiceError::NoSuchKey),
        _ => Err(ServiceError::NoSuchBucket),
    }
}

/// The version in an answer to [`Query::Object`].
pub(crate) fn found_version(route: &[u8], answer: &Bytes) -> Result<Option<Found>, ServiceError> {
    if answer.first() != Some(&OBJECT_FOUND) {
        return Ok(None);
    }
    let (bucket, row) = decode_and_tail::<BucketState>(&answer.slice(1..))?;
    let (record, inline) = decode_and_tail::<VersionRecord>(&row)?;
    Ok(Some(Found { route: route.to_vec(), bucket, record, inline, key: None }))
}

/// The bytes of a body as they are in its extents; `None` when it is not in extents of its own.
pub(crate) fn stored_bytes(from: &Arc<dyn Extents>, data: &Data, length: u64) -> Option<Content> {
    match data {
        Data::Extents { extents, skip, .. } => Some(extent_stream(from.clone(), extents, *skip..skip + length)),
        Data::Inline | Data::Parts { .. } => None,
    }
}

/// A range of a body, from the bytes on disk that it is in.
fn opened(key: Option<BodyKey>, range: Range<u64>, size: u64, read: impl FnOnce(Range<u64>) -> Content) -> Content {
    match key {
        None => read(range),
        Some(key) => open_body(read(sealed_range(&range, size)), &key, range, size),
    }
}

/// Bytes of a range that is known to be within them; a record that promises more ends short.
fn inline_stream(inline: &Bytes, range: Range<u64>) -> Content {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(inline.len());
    let piece = inline.slice(place(range.start)..place(range.end));
    stream::once(async move { Ok(piece) }).boxed()
}

/// The bytes of a range that is counted from the first byte of the first extent.
fn extent_stream(from: Arc<dyn Extents>, extents: &[ExtentRef], range: Range<u64>) -> Content {
    let mut at = 0;
    let mut pieces = Vec::new();
    for extent in extents {
        let (start, end) = (at, at + extent.length_bytes);
        if start < range.end && end > range.start {
            pieces.push((*extent, range.start.max(start) - start..range.end.min(end) - start));
        }
        at = end;
    }
    if let [(extent, piece)] = &pieces[..] {
        return from.read(extent, piece.clone());
    }
    stream::iter(pieces).map(move |(extent, piece)| from.read(&extent, piece)).flatten().boxed()
}

/// Reads parts one after the other.
struct PartReader {
    service: Arc<ObjectService>,
    route: Vec<u8>,
    data: DataId,
    key: Option<ObjectKey>,
    wanted: VecDeque<(u16, Range<u64>)>,
    rows: VecDeque<FoundPart>,
}

impl PartReader {
    async fn next(mut self) -> Result<Option<(Content, Self)>, ServiceError> {
        let Some((number, range)) = self.wanted.pop_front() else { return Ok(None) };
        while self.rows.front().is_some_and(|part| part.number < number) {
            self.rows.pop_front();
        }
        if self.rows.front().is_none_or(|part| part.number != number) {
            let limit = PART_ROWS_PER_QUERY.min(u32::try_from(self.wanted.len() + 1).unwrap_or(u32::MAX));
            let page = self.service.part_rows(&self.route, self.data, number - 1, limit).await?;
            self.rows = page.0.into();
        }
        match self.rows.pop_front() {
            Some(part) if part.number == number => {
                let content = part_stream(&self.service, &part, self.key.as_ref(), range)?;
                Ok(Some((content, self)))
            }
            // Deleted while it was being read.
            _ => Err(ServiceError::Internal(format!("part {number} of {} is gone", self.data))),
        }
    }
}

fn part_stream(
    service: &ObjectService,
    part: &FoundPart,
    key: Option<&ObjectKey>,
    range: Range<u64>,
) -> Result<Content, ServiceError> {
    let size = part.record.size;
    let key = key.map(|key| key.part(part.record.data_id));
    match &part.record.data {
        Data::Inline => Ok(opened(key, range, size, |range| inline_stream(&part.inline, range))),
        Data::Extents { extents, skip, .. } => Ok(opened(key, range, size, |range| {
            extent_stream(service.extents.clone(), extents, range.start + skip..range.end + skip)
        })),
        Data::Parts { .. } => Err(ServiceError::Internal("a part of parts".to_owned())),
    }
}

/// Bytes of the object that are the part of this number.
pub(crate) fn part_range(runs: &[PartRun], number: u16) -> Option<Range<u64>> {
    let mut start = 0;
    for run in runs {
        if number >= run.first && number - run.first < run.count {
            let first = start + run.size * u64::from(number - run.first);
            return Some(first..first + run.size);
        }
        start += run.size * u64::from(run.count);
    }
    None
}

/// Parts that have bytes of `range`, each with its own range.
pub(crate) fn wanted_parts(runs: &[PartRun], range: Range<u64>) -> VecDeque<(u16, Range<u64>)> {
    let mut wanted = VecDeque::new();
    let mut start = 0;
    for run in runs {
        for number in run.first..run.first + run.count {
            let end = start + run.size;
            if start < range.end && end > range.start {
                wanted.push_back((number, range.start.max(start) - start..range.end.min(end) - start));
            }
            start = end;
        }
    }
    wanted
}

fn served_range(range: RangeSpec, size: u64) -> Result<Served, ServiceError> {
    let (first, last) = match range {
        RangeSpec::Between { first, last } => (first, last.min(size.saturating_sub(1))),
        RangeSpec::From { first } => (first, size.saturating_sub(1)),
        RangeSpec::Suffix { length: 0 } => return Err(ServiceError::InvalidRange { size }),
        RangeSpec::Suffix { length } => (size.saturating_sub(length), size.saturating_sub(1)),
    };
    if first >= size || first > last {
        return Err(ServiceError::InvalidRange { size });
    }
    Ok(Served::Range { first, last, part: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let of = |range, size| served_range(range, size).ok().and_then(|served| served.bounds());
        assert_eq!(of(RangeSpec::Between { first: 2, last: 4 }, 10), Some((2, 4)));
        assert_eq!(of(RangeSpec::Between { first: 2, last: 40 }, 10), Some((2, 9)));
        assert_eq!(of(RangeSpec::Between { first: 10, last: 40 }, 10), None);
        assert_eq!(of(RangeSpec::From { first: 9 }, 10), Some((9, 9)));
        assert_eq!(of(RangeSpec::From { first: 10 }, 10), None);
        assert_eq!(of(RangeSpec::Suffix { length: 3 }, 10), Some((7, 9)));
        assert_eq!(of(RangeSpec::Suffix { length: 30 }, 10), Some((0, 9)));
        assert_eq!(of(RangeSpec::Suffix { length: 0 }, 10), None);
        assert_eq!(of(RangeSpec::Suffix { length: 3 }, 0), None);
        assert_eq!(of(RangeSpec::From { first: 0 }, 0), None);
    }

    #[test]
    fn parts_of_a_range() {
        let runs = [PartRun { first: 1, count: 2, size: 10 }, PartRun { first: 5, count: 1, size: 3 }];
        assert_eq!(part_range(&runs, 2), Some(10..20));
        assert_eq!(part_range(&runs, 5), Some(20..23));
        assert_eq!(part_range(&runs, 3), None);
        assert_eq!(Vec::from(wanted_parts(&runs, 9..21)), [(1, 9..10), (2, 0..10), (5, 0..1)]);
        assert_eq!(Vec::from(wanted_parts(&runs, 10..20)), [(2, 0..10)]);
    }
}
