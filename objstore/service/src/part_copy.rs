//! Parts from objects: shared where the bytes stand in a row of extents, streamed where they do not.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use karri_ring_node::ExtentRef;
use karri_ring_types::{INLINE_SIZE_BYTES_MAX, Timestamp};

use crate::api::Content;
use crate::body::{Claims, HashPipeline};
use crate::cipher::ObjectKey;
use crate::keys;
use crate::messages::Answer;
use crate::read::{Found, FoundPart, wanted_parts};
use crate::records::{Data, Etag, PartRecord};
use crate::sharing::source_changed;
use crate::uploads::{OpenUpload, check_part_number, part_outcome};
use crate::{
    ByteSource, Checksum, ChecksumAlgorithm, ChecksumType, ObjectService, PartCopyOutcome, PartCopyRequest,
    PartOutcome, ServiceError, SourceError, UPLOAD_SIZE_BYTES_MAX,
};

/// Attempts when the source is written at the same moment.
const ATTEMPTS_MAX: usize = 8;

/// Rows of parts that one part is made of at most, to be shared.
const PARTS_SHARED_MAX: usize = 1000;

/// Bytes in a row of extents.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    extents: Vec<ExtentRef>,
    /// Bytes of the first extent that are not in it.
    skip: u64,
    length: u64,
    extents_length: u64,
}

impl Row {
    /// Adds a range of a run of extents. False: it does not continue what is there.
    fn add(&mut self, extents: &[ExtentRef], range: Range<u64>) -> bool {
        let mut at = 0;
        for extent in extents {
            let (start, end) = (at, at + extent.length_bytes);
            at = end;
            if start >= range.end || end <= range.start {
                continue;
            }
            let from = range.start.max(start) - start;
            let to = range.end.min(end) - start;
            if self.extents.is_empty() {
                self.skip = from;
            } else if from != 0 || self.skip + self.length != self.extents_length {
                return false;
            }
            self.extents.push(*extent);
            self.extents_length += extent.length_bytes;
            self.length += to - from;
        }
        true
    }
}

/// Hashes that are known without reading the bytes.
type KnownHashes = Option<([u8; 16], Checksum)>;

impl ObjectService {
    /// Writes one part from an object.
    ///
    /// # Errors
    /// As for reads of the source and writes of the part; `InvalidRange` for a range outside of the source.
    pub async fn upload_part_copy(&self, request: PartCopyRequest) -> Result<PartCopyOutcome, ServiceError> {
        check_part_number(request.part_number)?;
        let upload = self.open_upload(&request.bucket, &request.key, &request.upload_id).await?;
        let key =
            self.open_key(upload.record.encryption.as_deref(), request.customer_key.as_ref(), &request.keys).await?;
        for _ in 0..ATTEMPTS_MAX {
            let mut source = self.find(&request.source_bucket, &request.source_key, request.source_version).await?;
            self.unlock(&mut source, request.source_customer_key.as_ref(), &request.keys).await?;
            request.source_conditions.check_copy(&source.record.etag.text(), source.record.modified)?;
            self.check_readable(&source)?;
            let range = copied_range(&request, source.record.size)?;
            let answer = self.copy_part(&upload, request.part_number, &source, range, key.clone()).await?;
            if source_changed(&answer) {
                continue;
            }
            return Ok(PartCopyOutcome { part: answer?, source_version: source.told() });
        }
        Err(ServiceError::ConditionalRequestConflict)
    }

    async fn copy_part(
        &self,
        upload: &OpenUpload,
        number: u16,
        source: &Found,
        range: Range<u64>,
        key: Option<ObjectKey>,
    ) -> Result<Answer<PartOutcome>, ServiceError> {
        let size = range.end - range.start;
        // Each encrypted body has a key of its own.
        let wanted = self.redundancy(upload.record.description.storage_class.as_deref());
        let kept = self.redundancy(source.record.description.storage_class.as_deref());
        if key.is_none()
            && kept == wanted
            && source.key.is_none()
            && size > INLINE_SIZE_BYTES_MAX as u64
            && let Some((row, known)) = self.row_of(source, range.clone(), upload.record.algorithm).await?
        {
            return self.share_part(upload, number, source, range, (row, known)).await;
        }
        let mut content = ContentSource { content: self.content(source, range)?, failure: None };
        let claims = Claims { length: Some(size), algorithm: Some(upload.record.algorithm), ..Claims::default() };
        let stored = self.store_part(upload, number, &mut content, &claims, key).await;
        stored.map(Ok).map_err(|failure| content.failure.unwrap_or(failure))
    }

    async fn share_part(
        &self,
        upload: &OpenUpload,
        number: u16,
        source: &Found,
        range: Range<u64>,
        (row, known): (Row, KnownHashes),
    ) -> Result<Answer<PartOutcome>, ServiceError> {
        let size = range.end - range.start;
        let (md5, checksum) = match known {
            Some(known) => known,
            None => self.hash(source, range, upload.record.algorithm).await?,
        };
        let Some((data, _)) = source.record.data.outside() else {
            return Err(ServiceError::Internal("inline data is not shared".to_owned()));
        };
        let held = match self.hold(source, keys::part(&upload.route, upload.id, number)).await? {
            Ok(held) => held,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let record = PartRecord {
            data_id: self.new_data(),
            size,
            md5,
            modified: Timestamp(0),
            checksum: Some(checksum),
            data: Data::Extents { data, loan: Some(held.loan.clone()), extents: row.extents, skip: row.skip },
        };
        let target = OpenUpload {
            bucket: upload.bucket,
            route: upload.route.clone(),
            id: upload.id,
            record: upload.record.clone(),
        };
        self.to_the_end(move |service| async move {
            let answer = service.commit_part(&target, number, &record, &[]).await;
            service.settle(held, &answer).await;
            Ok(answer?.map(|modified| part_outcome(&target, record, modified)))
        })
        .await
    }

    /// The extents of a range when they stand in a row, with the hashes when the range is a body of its own.
    async fn row_of(
        &self,
        source: &Found,
        range: Range<u64>,
        algorithm: ChecksumAlgorithm,
    ) -> Result<Option<(Row, KnownHashes)>, ServiceError> {
        let mut row = Row::default();
        match &source.record.data {
            Data::Inline => Ok(None),
            Data::Extents { extents, skip, .. } => {
                let known = known_hashes(source, &range, algorithm);
                Ok(row.add(extents, range.start + skip..range.end + skip).then_some((row, known)))
            }
            Data::Parts { data, runs, .. } => {
                let wanted = wanted_parts(runs, range);
                if wanted.len() > PARTS_SHARED_MAX {
                    return Ok(None);
                }
                let mut rows: Vec<FoundPart> = Vec::new();
                let mut known = None;
                for (number, piece) in &wanted {
                    if rows.last().is_none_or(|part| part.number < *number) {
                        let limit = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
                        rows.extend(self.part_rows(source.data_route(), *data, number - 1, limit).await?.0);
                    }
                    let Some(part) = rows.iter().find(|part| part.number == *number) else { return Ok(None) };
                    let Data::Extents { extents, skip, .. } = &part.record.data else { return Ok(None) };
                    if !row.add(extents, piece.start + skip..piece.end + skip) {
                        return Ok(None);
                    }
                    let sum = part.record.checksum.as_ref().filter(|sum| sum.algorithm == algorithm);
                    let whole = wanted.len() == 1 && *piece == (0..part.record.size);
                    known = sum.filter(|_| whole).map(|sum| (part.record.md5, sum.clone()));
                }
                Ok(Some((row, known)))
            }
        }
    }

    async fn hash(
        &self,
        source: &Found,
        range: Range<u64>,
        algorithm: ChecksumAlgorithm,
    ) -> Result<([u8; 16], Checksum), ServiceError> {
        let mut content = self.content(source, range)?;
        let mut pipeline = HashPipeline::new(&self.md5, algorithm);
        while let Some(piece) = content.next().await {
            pipeline.update(piece?).await?;
        }
        let hashed = pipeline.finish().await?;
        Ok((hashed.md5, hashed.kept))
    }
}

fn known_hashes(source: &Found, range: &Range<u64>, algorithm: ChecksumAlgorithm) -> KnownHashes {
    let record = &source.record;
    let sum = record.checksum.as_ref().filter(|sum| sum.algorithm == algorithm)?;
    match record.etag {
        Etag::Md5(md5) if *range == (0..record.size) && record.checksum_type == ChecksumType::FullObject => {
            Some((md5, sum.clone()))
        }
        _ => None,
    }
}

fn copied_range(request: &PartCopyRequest, size: u64) -> Result<Range<u64>, ServiceError> {
    let range = match request.range {
        None => 0..size,
        Some((first, last)) if first <= last && last < size => first..last + 1,
        Some(_) => return Err(ServiceError::InvalidRange { size }),
    };
    match range.end - range.start > UPLOAD_SIZE_BYTES_MAX {
        true => Err(ServiceError::InvalidRequest(format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: \
             {UPLOAD_SIZE_BYTES_MAX}"
        ))),
        false => Ok(range),
    }
}

/// An object's bytes as a body. Its own failure says more than that the body ended early.
pub(crate) struct ContentSource {
    pub(crate) content: Content,
    pub(crate) failure: Option<ServiceError>,
}

#[async_trait]
impl ByteSource for ContentSource {
    async fn next(&mut self) -> Option<Result<Bytes, SourceError>> {
        match self.content.next().await? {
            Ok(piece) => Some(Ok(piece)),
            Err(failure) => {
                self.failure = Some(failure);
                Some(Err(SourceError::new("the source of the copy could not be read")))
            }
        }
    }

    fn trailing_checksums(&self) -> Vec<Checksum> {
        Vec::new()
    }
}
