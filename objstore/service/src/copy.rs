//! Copies: the new object shares the data of its source.

use futures::StreamExt;
use karri_ring_types::Timestamp;

use crate::body::HashPipeline;
use crate::buckets::in_bucket;
use crate::keys::BucketId;
use crate::messages::{Answer, Command, CopyWithinCommand, Written};
use crate::part_copy::ContentSource;
use crate::put::{kept_class, outcome};
use crate::read::Found;
use crate::records::{Access, Data, Description, VersionRecord};
use crate::service::check_key;
use crate::sharing::source_changed;
use crate::{
    Checksum, ChecksumAlgorithm, ChecksumType, ContentHeaders, CopyOutcome, CopyRequest, MetadataDirective,
    ObjectService, PutOutcome, PutRequest, ServiceError, UPLOAD_SIZE_BYTES_MAX, Versioning,
};

/// Attempts when the source is written at the same moment.
const ATTEMPTS_MAX: usize = 8;

impl ObjectService {
    /// Copies an object. Bytes are moved where the copy is encrypted otherwise, or of a class that is kept otherwise;
    /// else they are read only for a checksum that the source does not have.
    ///
    /// # Errors
    /// As for reads of the source and writes of the copy.
    pub async fn copy_object(&self, request: CopyRequest) -> Result<CopyOutcome, ServiceError> {
        check_key(&request.key)?;
        for _ in 0..ATTEMPTS_MAX {
            let mut source = self.find(&request.source_bucket, &request.source_key, request.source_version).await?;
            self.unlock(&mut source, request.source_customer_key.as_ref(), &request.keys).await?;
            request.source_conditions.check_copy(&source.record.etag.text(), source.record.modified)?;
            if source.record.size > UPLOAD_SIZE_BYTES_MAX {
                return Err(ServiceError::InvalidRequest(format!(
                    "The specified copy source is larger than the maximum allowable size for a copy source: \
                     {UPLOAD_SIZE_BYTES_MAX}"
                )));
            }
            self.check_readable(&source)?;
            let source_version = source.told();
            let kept = self.redundancy(source.record.description.storage_class.as_deref());
            let wanted = self.redundancy(request.storage_class.as_deref());
            let kept_alike = kept == wanted || source.record.data == Data::Inline;
            let shares = kept_alike
                && match &source.record.encryption {
                    None => request.encryption.is_none(),
                    Some(encryption) => {
                        // Onto itself the record stays, and what it says of the key.
                        let is_elsewhere =
                            (&request.bucket, &request.key) != (&request.source_bucket, &request.source_key);
                        let asked = request.encryption.as_ref();
                        encryption.serves(asked) && (is_elsewhere || encryption.is(asked))
                    }
                };
            if !shares {
                let object = self.copy_bytes(&request, &source).await?;
                return Ok(CopyOutcome { object, source_version });
            }
            let record = self.copied_record(&request, &source).await?;
            let answer = in_bucket!(self, &request.bucket, |bucket| {
                let answer = self.copy_to(bucket.id, &request, &source, record.clone()).await;
                match answer {
                    Ok(Err(crate::messages::Refusal::NoSuchBucket)) => Err(ServiceError::NoSuchBucket),
                    other => other,
                }
            })?;
            if source_changed(&answer) {
                continue;
            }
            return Ok(CopyOutcome { object: outcome(record, answer?), source_version });
        }
        Err(ServiceError::ConditionalRequestConflict)
    }

    /// Reads the source and writes the copy, which is encrypted or kept otherwise.
    async fn copy_bytes(&self, request: &CopyRequest, source: &Found) -> Result<PutOutcome, ServiceError> {
        let record = &source.record;
        let (content, user_metadata) = copied_metadata(request, source);
        let put = PutRequest {
            bucket: request.bucket.clone(),
            key: request.key.clone(),
            content,
            user_metadata,
            storage_class: request.storage_class.clone(),
            tags: request.tags.clone().unwrap_or_else(|| record.description.tags.clone()),
            conditions: request.conditions.clone(),
            length: Some(record.size),
            checksum_algorithm: request.checksum_algorithm.or(record.checksum.as_ref().map(|sum| sum.algorithm)),
            lock: request.lock,
            owner: request.owner.clone(),
            acl: request.acl.clone(),
            encryption: request.encryption.clone(),
            keys: request.keys.clone(),
            quota: request.quota.clone(),
            ..PutRequest::default()
        };
        let mut bytes = ContentSource { content: self.content(source, 0..record.size)?, failure: None };
        let written = self.put_object(put, &mut bytes).await;
        written.map_err(|failure| bytes.failure.unwrap_or(failure))
    }

    async fn copy_to(
        &self,
        bucket: BucketId,
        request: &CopyRequest,
        source: &Found,
        record: VersionRecord,
    ) -> Result<Answer<Written>, ServiceError> {
        let route = bucket.route(&request.key);
        let conditions = request.conditions.clone();
        let onto_itself = route == source.route;
        if onto_itself && request.source_version.is_none() {
            refuse_idle_copy(request, source, &record)?;
        }
        // Elsewhere both versions stay: the new one borrows the data of the old one.
        if onto_itself && source.bucket.versioning == Versioning::Unversioned {
            let checksum = record.checksum.filter(|checksum| Some(checksum) != source.record.checksum.as_ref());
            let copy = CopyWithinCommand {
                route: route.clone(),
                issued: self.clock.now(),
                conditions,
                source: source.record.version,
                version: record.version,
                description: record.description,
                access: record.access,
                checksum,
            };
            return self.command(&route, &Command::CopyWithin(Box::new(copy))).await;
        }
        if record.data == Data::Inline {
            return self.commit(route, conditions, request.quota.clone(), &record, &source.inline).await;
        }
        let held = match self.hold(source, route.clone()).await? {
            Ok(held) => held,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let quota = request.quota.clone();
        self.to_the_end(move |service| async move {
            let mut record = record;
            if let Data::Extents { loan, .. } | Data::Parts { loan, .. } = &mut record.data {
                *loan = Some(held.loan.clone());
            }
            let answer = service.commit(route, conditions, quota, &record, &[]).await;
            service.settle(held, &answer).await;
            answer
        })
        .await
    }

    /// The record of the copy, with the source's data.
    async fn copied_record(&self, request: &CopyRequest, source: &Found) -> Result<VersionRecord, ServiceError> {
        let mut record = source.record.clone();
        let (content, user_metadata) = copied_metadata(request, source);
        record.description = Description {
            content,
            user_metadata,
            tags: request.tags.clone().unwrap_or(record.description.tags),
            storage_class: kept_class(request.storage_class.clone()),
        };
        record.version = self.new_version();
        record.modified = Timestamp(0);
        record.lock = request.lock;
        record.restored_until = None;
        record.access = Access { owner: request.owner.clone(), acl: request.acl.clone() };
        if let Some(kept) = &record.encryption
            && !kept.is(request.encryption.as_ref())
        {
            let asked = request.encryption.as_ref();
            record.encryption = Some(Box::new(self.keep_again(kept, asked, &request.keys, source.key.as_ref()).await?));
        }
        if let Some(algorithm) = request.checksum_algorithm {
            record.checksum = Some(self.checksum_of_whole(source, algorithm).await?);
            record.checksum_type = ChecksumType::FullObject;
        }
        Ok(record)
    }

    /// The checksum of all bytes of a version: its own, or computed now.
    async fn checksum_of_whole(&self, source: &Found, algorithm: ChecksumAlgorithm) -> Result<Checksum, ServiceError> {
        if source.record.checksum_type == ChecksumType::FullObject
            && let Some(checksum) = source.record.checksum.as_ref().filter(|sum| sum.algorithm == algorithm)
        {
            return Ok(checksum.clone());
        }
        let mut content = self.content(source, 0..source.record.size)?;
        let mut pipeline = HashPipeline::new(&self.md5, algorithm);
        while let Some(piece) = content.next().await {
            pipeline.update(piece?).await?;
        }
        Ok(pipeline.finish().await?.kept)
    }
}

/// System headers and user metadata of the copy.
fn copied_metadata(request: &CopyRequest, source: &Found) -> (ContentHeaders, Vec<(String, String)>) {
    match &request.metadata {
        MetadataDirective::Replace { content, user_metadata } => (content.clone(), user_metadata.clone()),
        MetadataDirective::Copy => {
            let mut content = source.record.description.content.clone();
            // Never copied, as with AWS.
            content.website_redirect = None;
            (content, source.record.description.user_metadata.clone())
        }
    }
}

/// A copy to itself has to change something.
fn refuse_idle_copy(request: &CopyRequest, source: &Found, record: &VersionRecord) -> Result<(), ServiceError> {
    let same = request.metadata == MetadataDirective::Copy
        && !request.encryption_asked
        && request.tags.is_none()
        && record.description.storage_class == source.record.description.storage_class
        && record.checksum == source.record.checksum;
    match same {
        true => Err(ServiceError::InvalidRequest(
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes."
                .to_owned(),
        )),
        false => Ok(()),
    }
}
