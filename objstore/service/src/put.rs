//! Writing objects.

use karri_ring_types::{Step, Timestamp, failpoint};

use crate::body::{Body, Claims};
use crate::buckets::KnownBucket;
use crate::cipher::ObjectKey;
use crate::messages::{Command, ObjectState, PutCommand, Query, Refusal, Written};
use crate::records::{Access, Description, Etag, VersionRecord};
use crate::service::check_key;
use crate::{
    ByteSource, ChecksumType, Conditions, ObjectService, PutOutcome, PutRequest, Quota, STORAGE_CLASS_DEFAULT,
    ServiceError,
};

/// A storage class as it is kept: the default by its absence.
pub(crate) fn kept_class(class: Option<String>) -> Option<String> {
    class.filter(|class| class != STORAGE_CLASS_DEFAULT)
}

impl ObjectService {
    /// Writes an object. It is durable and visible when this returns; when it fails nothing has changed, except
    /// that after [`ServiceError::Unavailable`] it may be there all the same.
    ///
    /// # Errors
    /// What the body did not match, the conditions, `NoSuchBucket`, `DiskFull`, `Unavailable`.
    pub async fn put_object(
        &self,
        request: PutRequest,
        source: &mut dyn ByteSource,
    ) -> Result<PutOutcome, ServiceError> {
        check_key(&request.key)?;
        let bucket = self.bucket(&request.bucket).await?;
        let claims = Claims {
            length: request.length,
            md5: request.md5,
            algorithm: request.checksum_algorithm,
            also: None,
            checksum: request.checksum.clone(),
        };
        let route = bucket.id.route(&request.key);
        if claims.length.is_none_or(|length| length > karri_ring_types::INLINE_SIZE_BYTES_MAX as u64) {
            self.check_before_upload(&request, &bucket, &route).await?;
        }
        let (encryption, key) = self.new_key(request.encryption.as_ref(), &request.keys).await?.unzip();
        let redundancy = self.redundancy(request.storage_class.as_deref());
        let body_key = key.as_ref().map(ObjectKey::whole);
        let body = self.take_body(source, &claims, self.new_data(), &route, body_key.as_ref(), redundancy).await?;
        let description = Description {
            content: request.content,
            user_metadata: request.user_metadata,
            tags: request.tags,
            storage_class: kept_class(request.storage_class),
        };
        let record = VersionRecord {
            version: self.new_version(),
            size: body.size,
            etag: Etag::Md5(key.map_or(body.md5, |key| key.tag(body.md5))),
            modified: Timestamp(0),
            checksum: Some(body.checksum.clone()),
            checksum_type: ChecksumType::FullObject,
            description,
            data: body.data.clone(),
            delete_marker: false,
            null: false,
            lock: request.lock,
            access: Access { owner: request.owner, acl: request.acl },
            encryption: encryption.map(Box::new),
            restored_until: None,
        };
        let (quota, conditions) = (request.quota, request.conditions);
        self.publish(&request.bucket, &bucket, route, &request.key, (conditions, quota), record, body).await
    }

    /// A large upload is not taken in when it is clear before that it will be refused.
    async fn check_before_upload(
        &self,
        request: &PutRequest,
        bucket: &KnownBucket,
        route: &[u8],
    ) -> Result<(), ServiceError> {
        let query = Query::State { route: route.to_vec(), version: None };
        let state: ObjectState = match self.query(route, &query).await? {
            Ok(state) => state,
            // Should the name have a new bucket by now, it is found when the client tries again.
            Err(Refusal::NoSuchBucket) => match self.bucket_instead(&request.bucket, bucket).await {
                Ok(_) => return Err(ServiceError::SlowDown),
                Err(failure) => return Err(failure),
            },
            Err(refusal) => return Err(refusal.into()),
        };
        if state.bucket.lock.is_none() && !request.lock.is_empty() {
            return Err(ServiceError::NoObjectLock);
        }
        let etag = state.current.map(|current| current.etag.text());
        request.conditions.check_write(etag.as_deref()).map_err(ServiceError::from)
    }

    /// Makes a body the current version.
    #[allow(clippy::too_many_arguments, reason = "all of one commit")]
    async fn publish(
        &self,
        name: &str,
        bucket: &KnownBucket,
        route: Vec<u8>,
        key: &str,
        (conditions, quota): (Conditions, Quota),
        record: VersionRecord,
        mut body: Body,
    ) -> Result<PutOutcome, ServiceError> {
        let unpublished = body.unpublished.take();
        if unpublished.is_some() {
            failpoint(Step::CommitBytesDurable);
        }
        let mut answer = self.commit(route, conditions.clone(), quota.clone(), &record, &body.inline).await;
        if unpublished.is_none()
            && let Ok(Err(Refusal::NoSuchBucket)) = answer
        {
            let bucket = self.bucket_instead(name, bucket).await?;
            answer = self.commit(bucket.id.route(key), conditions, quota, &record, &body.inline).await;
        }
        match (answer, unpublished) {
            (Ok(Ok(written)), unpublished) => {
                failpoint(Step::CommitAnswering);
                if let Some(unpublished) = unpublished {
                    unpublished.publish(&record.data);
                }
                Ok(outcome(record, written))
            }
            (failed, unpublished) => {
                if let Some(unpublished) = unpublished {
                    unpublished.discard().await;
                }
                Err(match failed {
                    Ok(Err(Refusal::NoSuchBucket)) => {
                        self.buckets.remove(name);
                        ServiceError::NoSuchBucket
                    }
                    Ok(Err(refusal)) => refusal.into(),
                    Ok(Ok(_)) => ServiceError::Internal("commit was not told".to_owned()),
                    Err(failure) => failure,
                })
            }
        }
    }

    /// Commits a version.
    pub(crate) async fn commit(
        &self,
        route: Vec<u8>,
        conditions: Conditions,
        quota: Quota,
        record: &VersionRecord,
        inline: &[u8],
    ) -> Result<Result<Written, Refusal>, ServiceError> {
        let put = PutCommand { route: route.clone(), issued: self.clock.now(), conditions, record: record.clone() };
        self.command_within(&route, quota, &Command::Put(Box::new(put)), inline).await
    }
}

/// What the caller is told of a commit.
pub(crate) fn outcome(record: VersionRecord, written: Written) -> PutOutcome {
    PutOutcome {
        encryption: record.encryption.map(|encryption| encryption.mode),
        etag: record.etag.text(),
        version: written.told,
        checksum_type: record.checksum.as_ref().map(|_| record.checksum_type),
        checksum: record.checksum,
        size: record.size,
        last_modified: written.modified,
    }
}
