//! Writing what was gathered.

use std::time::Duration;

use bytes::Bytes;
use karri_objstore_service::{CallerKeys, Conditions, ContentHeaders, ObjectLock, PutRequest, Quota, ServiceError};
use tokio_util::sync::CancellationToken;

use super::configure::{log_acl, may_deliver};
use super::names::object_key;
use super::{ATTEMPTS_MAX, AccessLogCounts, Batch};
use crate::S3;
use crate::authorize::Rules;
use crate::encryption;

/// Why a batch was not written.
enum Undelivered {
    /// It may be later.
    Now(ServiceError),
    /// It never will.
    Ever(String),
}

impl From<ServiceError> for Undelivered {
    fn from(failure: ServiceError) -> Self {
        match failure {
            ServiceError::Unavailable | ServiceError::DiskFull | ServiceError::SlowDown => Self::Now(failure),
            failure => Self::Ever(failure.to_string()),
        }
    }
}

impl S3 {
    /// Writes access logs every `interval`, and what is full in between, until `stop`. What is gathered then is for
    /// [`S3::deliver_access_logs`], when no more requests come.
    pub async fn run_access_logs(&self, interval: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let all = tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => true,
                () = self.access_log.full.notified() => false,
            };
            self.deliver(all).await;
        }
    }

    /// Writes all that was gathered. What cannot be written now is kept for another attempt.
    pub async fn deliver_access_logs(&self) {
        self.deliver(true).await;
    }

    /// What became of records of access logs on this node.
    pub fn access_log_counts(&self) -> AccessLogCounts {
        self.access_log.counts()
    }

    async fn deliver(&self, all: bool) {
        let log = &self.access_log;
        let _delivering = log.delivering.lock().await;
        for mut batch in log.take(all) {
            batch.attempts += 1;
            let told = match self.deliver_batch(&mut batch).await {
                Ok(()) => {
                    log.done(&batch, true);
                    continue;
                }
                Err(Undelivered::Now(failure)) if batch.attempts < ATTEMPTS_MAX => {
                    tracing::debug!(%failure, bucket = batch.source.bucket, "access log is written later");
                    log.keep(batch);
                    continue;
                }
                Err(Undelivered::Now(failure)) => failure.to_string(),
                Err(Undelivered::Ever(reason)) => reason,
            };
            let (bucket, target) = (&batch.source.bucket, &batch.target.bucket);
            tracing::warn!(bucket, target, records = batch.records, reason = told, "records of an access log are lost");
            log.done(&batch, false);
        }
    }

    async fn deliver_batch(&self, batch: &mut Batch) -> Result<(), Undelivered> {
        let now = self.clock.now();
        let key = match &batch.key {
            Some(key) => key.clone(),
            None => batch.key.insert(object_key(batch, now, &self.region)).clone(),
        };
        let target = &batch.target;
        let rules = Rules::of(self.service.bucket_settings(&target.bucket).await?);
        let owner = rules.settings().info().owner.clone();
        let resource = format!("arn:aws:s3:::{}/{key}", target.bucket);
        // Asked again: both buckets may have changed since the log was configured.
        if owner.account_id != batch.source.account || !may_deliver(&rules, &batch.source, &resource, now) {
            return Err(Undelivered::Ever("the target bucket does not allow it".to_owned()));
        }
        let encryption = encryption::of_logs(self, &target.bucket).await;
        let encryption = encryption.map_err(|failure| Undelivered::Ever(failure.message))?;
        let has_grants = rules.has_acls() && !target.grants.is_empty();
        let put = PutRequest {
            bucket: target.bucket.clone(),
            key,
            content: ContentHeaders { content_type: Some("text/plain".to_owned()), ..ContentHeaders::default() },
            user_metadata: Vec::new(),
            storage_class: None,
            tags: Vec::new(),
            conditions: Conditions::default(),
            length: Some(batch.text.len() as u64),
            md5: None,
            checksum_algorithm: None,
            checksum: None,
            encryption,
            keys: CallerKeys::default(),
            lock: ObjectLock::default(),
            owner: None,
            acl: has_grants.then(|| log_acl(&owner, &target.grants).encode()),
            quota: Quota::default(),
        };
        // What was written may have to be written again.
        let mut text = Some(Bytes::copy_from_slice(batch.text.as_bytes()));
        self.service.put_object(put, &mut text).await?;
        Ok(())
    }
}
