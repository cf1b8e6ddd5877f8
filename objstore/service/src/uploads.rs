//! Uploads in parts.

use karri_ring_types::{DataId, Timestamp};

use crate::api::{PART_NUMBER_MAX, UPLOAD_SIZE_BYTES_MAX};
use crate::body::{Body, Claims};
use crate::buckets::in_bucket;
use crate::cipher::ObjectKey;
use crate::keys::{self, BucketId};
use crate::list::upload_info;
use crate::messages::{Answer, Command, CompleteCommand, Completed, ListedPart, Query, Refusal};
use crate::put::kept_class;
use crate::read::{FoundPart, needs_key};
use crate::records::{Access, Data, Description, PartRecord, UploadRecord};
use crate::service::check_key;
use crate::{
    ByteSource, CallerKeys, ChecksumAlgorithm, CompleteRequest, CompletedPart, CreateUploadOutcome,
    CreateUploadRequest, GetRequest, ListPartsRequest, ObjectAttributes, ObjectService, PartInfo, PartOutcome,
    PartRequest, PartsPage, PutOutcome, ServiceError, UploadRef,
};

/// Most parts on a page.
const PARTS_PER_PAGE_MAX: u32 = 1000;

/// An upload that is going on.
pub(crate) struct OpenUpload {
    pub(crate) bucket: BucketId,
    pub(crate) route: Vec<u8>,
    pub(crate) id: DataId,
    pub(crate) record: UploadRecord,
}

impl ObjectService {
    /// Begins an upload in parts.
    ///
    /// # Errors
    /// `NoSuchBucket`, `InvalidRequest` for a checksum that S3 does not know.
    pub async fn create_upload(&self, request: CreateUploadRequest) -> Result<CreateUploadOutcome, ServiceError> {
        check_key(&request.key)?;
        let algorithm = request.checksum_algorithm.unwrap_or(ChecksumAlgorithm::Crc64Nvme);
        let checksum_type = request.checksum_type.unwrap_or(algorithm.default_type());
        if !algorithm.allows(checksum_type) {
            let message = "The checksum type is not supported with the checksum algorithm.".to_owned();
            return Err(ServiceError::InvalidRequest(message));
        }
        let encryption = self.new_key(request.encryption.as_ref(), &request.keys).await?;
        let record = UploadRecord {
            initiated: Timestamp(0),
            description: Description {
                content: request.content,
                user_metadata: request.user_metadata,
                tags: request.tags,
                storage_class: kept_class(request.storage_class),
            },
            algorithm,
            checksum_type,
            chosen: request.checksum_algorithm.is_some(),
            lock: request.lock,
            access: Access { owner: request.owner, acl: request.acl },
            encryption: encryption.map(|(record, _)| Box::new(record)),
        };
        let upload = self.new_data();
        in_bucket!(self, &request.bucket, |bucket| {
            let route = bucket.id.route(&request.key);
            let create = Command::CreateUpload { route: route.clone(), upload, record: Box::new(record.clone()) };
            self.command::<Timestamp>(&route, &create).await?.map_err(ServiceError::from)
        })?;
        Ok(CreateUploadOutcome {
            upload_id: upload.to_string(),
            checksum_algorithm: record.chosen.then_some(algorithm),
            checksum_type: record.chosen.then_some(checksum_type),
            encryption: record.encryption.map(|encryption| encryption.mode),
        })
    }

    /// Finds an upload that is going on.
    pub(crate) async fn open_upload(&self, name: &str, key: &str, upload_id: &str) -> Result<OpenUpload, ServiceError> {
        check_key(key)?;
        let id = upload_id.parse::<DataId>();
        in_bucket!(self, name, |bucket| {
            let route = bucket.id.route(key);
            // Asked even without an id, for a bucket that is not there is told first.
            let query = Query::Upload { route: route.clone(), upload: id.unwrap_or_default() };
            let answer: Answer<UploadRecord> = self.query(&route, &query).await?;
            match (answer, id) {
                (Ok(record), Ok(id)) => Ok(OpenUpload { bucket: bucket.id, route, id, record }),
                (Err(refusal), _) => Err(refusal.into()),
                (Ok(_), Err(_)) => Err(ServiceError::NoSuchUpload),
            }
        })
    }

    /// Writes one part; another of the same number is replaced.
    ///
    /// # Errors
    /// What the body did not match, `NoSuchBucket`, `NoSuchUpload`, `DiskFull`, `Unavailable`.
    pub async fn upload_part(
        &self,
        request: PartRequest,
        source: &mut dyn ByteSource,
    ) -> Result<PartOutcome, ServiceError> {
        check_part_number(request.part_number)?;
        if request.length.is_some_and(|length| length > UPLOAD_SIZE_BYTES_MAX) {
            return Err(ServiceError::EntityTooLarge);
        }
        let upload = self.open_upload(&request.bucket, &request.key, &request.upload_id).await?;
        let sent = request.checksum.as_ref().map(|checksum| checksum.algorithm).or(request.checksum_algorithm);
        if upload.record.chosen && sent.is_some_and(|sent| sent != upload.record.algorithm) {
            return Err(ServiceError::InvalidRequest(format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                type_name(Some(upload.record.algorithm)),
                type_name(sent)
            )));
        }
        let claims = Claims {
            length: request.length,
            md5: request.md5,
            algorithm: Some(upload.record.algorithm),
            also: sent.filter(|sent| *sent != upload.record.algorithm),
            checksum: request.checksum.clone(),
        };
        let key =
            self.open_key(upload.record.encryption.as_deref(), request.customer_key.as_ref(), &request.keys).await?;
        let outcome = self.store_part(&upload, request.part_number, source, &claims, key).await?;
        // A checksum that the client sent is told again, even where the upload keeps another.
        Ok(PartOutcome { checksum: outcome.checksum.or(request.checksum), ..outcome })
    }

    /// Takes a part in and commits it.
    pub(crate) async fn store_part(
        &self,
        upload: &OpenUpload,
        number: u16,
        source: &mut dyn ByteSource,
        claims: &Claims,
        key: Option<ObjectKey>,
    ) -> Result<PartOutcome, ServiceError> {
        let data_id = self.new_data();
        let row = keys::part(&upload.route, upload.id, number);
        let body_key = key.as_ref().map(|key| key.part(data_id));
        let redundancy = self.redundancy(upload.record.description.storage_class.as_deref());
        let mut body = self.take_body(source, claims, data_id, &row, body_key.as_ref(), redundancy).await?;
        let unpublished = body.unpublished.take();
        let Body { size, md5, checksum, data, inline, .. } = body;
        let md5 = key.map_or(md5, |key| key.tag(md5));
        let record = PartRecord { data_id, size, md5, modified: Timestamp(0), checksum: Some(checksum), data };
        let answer = self.commit_part(upload, number, &record, &inline).await;
        match (answer, unpublished) {
            (Ok(Ok(modified)), unpublished) => {
                if let Some(unpublished) = unpublished {
                    unpublished.publish(&record.data);
                }
                Ok(part_outcome(upload, record, modified))
            }
            (failed, unpublished) => {
                if let Some(unpublished) = unpublished {
                    unpublished.discard().await;
                }
                Err(match failed {
                    Ok(Err(refusal)) => refusal.into(),
                    Err(failure) => failure,
                    Ok(Ok(_)) => ServiceError::Internal("commit was not told".to_owned()),
                })
            }
        }
    }

    pub(crate) async fn commit_part(
        &self,
        upload: &OpenUpload,
        number: u16,
        record: &PartRecord,
        inline: &[u8],
    ) -> Result<Answer<Timestamp>, ServiceError> {
        let route = upload.route.clone();
        let put = Command::PutPart { route, upload: upload.id, number, record: Box::new(record.clone()) };
        self.command_with(&upload.route, &put, inline).await
    }

    /// Makes an object of parts. Asked again after its success it answers the same.
    ///
    /// # Errors
    /// `InvalidPart`, `InvalidPartOrder`, `EntityTooSmall`, `EntityTooLarge`, `ChecksumMismatch`, the conditions,
    /// `NoSuchBucket`, `NoSuchUpload`, `Unavailable`.
    pub async fn complete_upload(&self, mut request: CompleteRequest) -> Result<PutOutcome, ServiceError> {
        check_key(&request.key)?;
        if request.parts.is_empty() {
            return Err(ServiceError::InvalidRequest("You must specify at least one part".to_owned()));
        }
        if !request.parts.is_sorted_by_key(|part| part.part_number) {
            return Err(ServiceError::InvalidPartOrder);
        }
        // Of a part that is listed again, as after it was sent again, the last entry holds.
        let mut parts = std::mem::take(&mut request.parts);
        parts.reverse();
        parts.dedup_by_key(|part| part.part_number);
        parts.reverse();
        request.parts = parts;
        let upload = request.upload_id.parse::<DataId>().map_err(|_| ServiceError::NoSuchUpload)?;
        let parts = request.parts.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
        let version = self.new_version();
        let key_shown = self.check_upload_key(&request).await?;
        let answer = in_bucket!(self, &request.bucket, |bucket| {
            let route = bucket.id.route(&request.key);
            let complete = CompleteCommand {
                part_size_min: self.config.part_size_bytes_min,
                route: route.clone(),
                upload,
                version,
                conditions: request.conditions.clone(),
                parts: parts.clone(),
                checksum: request.checksum.clone(),
                checksum_type: request.checksum_type,
                size: request.size,
                key_shown,
            };
            let complete = Command::Complete(Box::new(complete));
            match self.command_within::<Completed>(&route, request.quota.clone(), &complete, &[]).await? {
                Err(Refusal::NoSuchBucket) => Err(ServiceError::NoSuchBucket),
                answer => Ok(answer),
            }
        })?;
        let completed = answer.map_err(|refusal| with_etag(refusal.into(), &request.parts))?;
        Ok(PutOutcome {
            encryption: completed.encryption,
            etag: completed.etag.text(),
            version: completed.told,
            checksum_type: completed.checksum.as_ref().map(|_| completed.checksum_type),
            checksum: completed.checksum,
            size: completed.size,
            last_modified: completed.modified,
        })
    }

    /// Whether the client has shown its own key of an upload; a wrong one is refused.
    async fn check_upload_key(&self, request: &CompleteRequest) -> Result<bool, ServiceError> {
        let Some(key) = &request.customer_key else { return Ok(false) };
        match self.open_upload(&request.bucket, &request.key, &request.upload_id).await {
            Ok(upload) => {
                let record = upload.record.encryption.as_deref();
                self.open_key(record, Some(key), &CallerKeys::default()).await.map(|_| true)
            }
            // It may have been completed before, which is answered again.
            Err(ServiceError::NoSuchUpload) => Ok(true),
            Err(failure) => Err(failure),
        }
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchUpload`, `Unavailable`.
    pub async fn abort_upload(&self, upload: UploadRef) -> Result<(), ServiceError> {
        let open = self.open_upload(&upload.bucket, &upload.key, &upload.upload_id).await?;
        let abort = Command::AbortUpload { route: open.route.clone(), upload: open.id };
        self.command::<()>(&open.route, &abort).await?.map_err(ServiceError::from)
    }

    /// Lists the parts of an upload that is going on.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchUpload`, `Unavailable`.
    pub async fn list_parts(&self, request: ListPartsRequest) -> Result<PartsPage, ServiceError> {
        let UploadRef { bucket, key, upload_id } = request.upload;
        let open = self.open_upload(&bucket, &key, &upload_id).await?;
        let (found, more) = self.parts_page(&open.route, open.id, request.after, request.limit).await?;
        let parts: Vec<PartInfo> = found.into_iter().map(|part| part_info(part, open.record.chosen)).collect();
        let next = parts.last().map(|part| part.part_number).filter(|_| more);
        Ok(PartsPage { parts, next, upload: upload_info(key, upload_id, open.record) })
    }

    /// What is known of an object and its parts.
    ///
    /// # Errors
    /// As [`ObjectService::head_object`].
    pub async fn object_attributes(
        &self,
        request: GetRequest,
        after: u16,
        limit: u32,
    ) -> Result<ObjectAttributes, ServiceError> {
        let mut found = self.find_record(&request.bucket, &request.key, request.version).await?;
        if needs_key(&found, &request) {
            self.unlock(&mut found, request.customer_key.as_ref(), &request.keys).await?;
        }
        request.conditions.check_read(&found.record.etag.text(), found.record.modified)?;
        let (parts, more) = match &found.record.data {
            Data::Parts { data, .. } => self.parts_page(found.data_route(), *data, after, limit).await?,
            _ => (Vec::new(), false),
        };
        let parts: Vec<PartInfo> = parts.into_iter().map(|part| part_info(part, true)).collect();
        let next = parts.last().map(|part| part.part_number).filter(|_| more);
        Ok(ObjectAttributes { info: found.info(), parts, next })
    }

    /// As many parts as are asked for, of several answers if need be.
    async fn parts_page(
        &self,
        route: &[u8],
        data: DataId,
        after: u16,
        limit: u32,
    ) -> Result<(Vec<FoundPart>, bool), ServiceError> {
        let limit = limit.min(PARTS_PER_PAGE_MAX);
        let mut parts: Vec<FoundPart> = Vec::new();
        loop {
            let last = parts.last().map_or(after, |part| part.number);
            let wanted = limit - u32::try_from(parts.len()).unwrap_or(limit);
            let (found, more) = self.part_rows(route, data, last, wanted).await?;
            let stuck = found.is_empty();
            parts.extend(found);
            if !more || stuck || parts.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                return Ok((parts, more && limit > 0));
            }
        }
    }
}

/// Refuses numbers that no part has.
pub(crate) fn check_part_number(number: u16) -> Result<(), ServiceError> {
    match number {
        1..=PART_NUMBER_MAX => Ok(()),
        _ => Err(ServiceError::InvalidRequest(
            "Part number must be an integer between 1 and 10000, inclusive".to_owned(),
        )),
    }
}

/// What the caller is told of a part.
pub(crate) fn part_outcome(upload: &OpenUpload, record: PartRecord, modified: Timestamp) -> PartOutcome {
    PartOutcome {
        encryption: upload.record.encryption.as_ref().map(|encryption| encryption.mode.clone()),
        etag: hex::encode(record.md5),
        checksum: record.checksum.filter(|_| upload.record.chosen),
        size: record.size,
        last_modified: modified,
    }
}

fn part_info(part: FoundPart, told: bool) -> PartInfo {
    PartInfo {
        part_number: part.number,
        etag: hex::encode(part.record.md5),
        size: part.record.size,
        last_modified: part.record.modified,
        checksum: part.record.checksum.filter(|_| told),
    }
}

fn listed(part: &CompletedPart) -> Result<ListedPart, ServiceError> {
    let wrong = || ServiceError::InvalidPart { part_number: part.part_number, etag: part.etag.clone() };
    let mut md5 = [0; 16];
    hex::decode_to_slice(&part.etag, &mut md5).map_err(|_| wrong())?;
    Ok(ListedPart { number: part.part_number, md5, checksum: part.checksum.clone() })
}

/// Adds the entity tag that the client listed.
fn with_etag(failure: ServiceError, parts: &[CompletedPart]) -> ServiceError {
    let etag_of = |number: u16| {
        parts.iter().find(|part| part.part_number == number).map(|part| part.etag.clone()).unwrap_or_default()
    };
    match failure {
        ServiceError::InvalidPart { part_number, .. } => {
            ServiceError::InvalidPart { part_number, etag: etag_of(part_number) }
        }
        ServiceError::EntityTooSmall { size, part_number, .. } => {
            ServiceError::EntityTooSmall { size, part_number, etag: etag_of(part_number) }
        }
        other => other,
    }
}

fn type_name(algorithm: Option<ChecksumAlgorithm>) -> &'static str {
    match algorithm {
        None => "null",
        Some(ChecksumAlgorithm::Crc32) => "crc32",
        Some(ChecksumAlgorithm::Crc32c) => "crc32c",
        Some(ChecksumAlgorithm::Crc64Nvme) => "crc64nvme",
        Some(ChecksumAlgorithm::Sha1) => "sha1",
        Some(ChecksumAlgorithm::Sha256) => "sha256",
    }
}
