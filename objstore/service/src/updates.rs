//! Changes of what is said of a version, and of a bucket's versioning and object lock.

use crate::api::is_archive;
use crate::buckets::in_bucket;
use crate::messages::{BucketChange, Change, Command, UpdateCommand, Written};
use crate::{
    BucketLock, BucketState, ObjectInfo, ObjectRef, ObjectService, Retention, ServiceError, VersionRef, Versioning,
};

/// Attempts when the object is written at the same moment.
const ATTEMPTS_MAX: usize = 8;

impl ObjectService {
    /// What is known of a version: tags, lock, access control list and all.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `DeleteMarker`, `Unavailable`.
    pub async fn object_info(&self, object: &ObjectRef) -> Result<ObjectInfo, ServiceError> {
        Ok(self.find_record(&object.bucket, &object.key, object.version).await?.info())
    }

    /// Replaces the tags of a version; tells which it was.
    ///
    /// # Errors
    /// As [`ObjectService::object_info`].
    pub async fn set_tags(
        &self,
        object: &ObjectRef,
        tags: Vec<(String, String)>,
    ) -> Result<Option<VersionRef>, ServiceError> {
        self.update(object, Change::Tags(tags)).await
    }

    /// Replaces the access control list of a version.
    ///
    /// # Errors
    /// As [`ObjectService::object_info`].
    pub async fn set_acl(&self, object: &ObjectRef, acl: Option<Vec<u8>>) -> Result<Option<VersionRef>, ServiceError> {
        self.update(object, Change::Acl(acl)).await
    }

    /// Changes until when a version is kept. `bypass`: the caller may bypass governance locks, and wants to.
    ///
    /// # Errors
    /// `Locked` when it would be kept for less long; `NoObjectLock`; as [`ObjectService::object_info`].
    pub async fn set_retention(
        &self,
        object: &ObjectRef,
        retention: Option<Retention>,
        bypass: bool,
    ) -> Result<Option<VersionRef>, ServiceError> {
        self.update(object, Change::Retention { retention, bypass }).await
    }

    /// Puts a legal hold on a version, or takes it off.
    ///
    /// # Errors
    /// `NoObjectLock`; as [`ObjectService::object_info`].
    pub async fn set_legal_hold(&self, object: &ObjectRef, on: bool) -> Result<Option<VersionRef>, ServiceError> {
        self.update(object, Change::LegalHold(on)).await
    }

    /// Makes an archived version readable for so many days. Nothing is moved, so it can be read at once. Tells whether it
    /// was readable already.
    ///
    /// # Errors
    /// `Archived` of a version that is in no archive; as [`ObjectService::object_info`].
    pub async fn restore(&self, object: &ObjectRef, days: u32) -> Result<bool, ServiceError> {
        let found = self.find_record(&object.bucket, &object.key, object.version).await?;
        let class = found.info().storage_class;
        if !is_archive(&class) {
            return Err(ServiceError::Archived { class });
        }
        let until = self.config.day.after(self.clock.now(), days);
        let mut again = !found.record.is_archived(self.clock.now());
        for _ in 0..ATTEMPTS_MAX {
            match self.update(object, Change::Restore { until, again }).await {
                // Another request was first, or the time of the last one ended just now.
                Err(ServiceError::ConditionalRequestConflict) => again = !again,
                answer => return answer.map(|_| again),
            }
        }
        Err(ServiceError::ConditionalRequestConflict)
    }

    async fn update(&self, object: &ObjectRef, change: Change) -> Result<Option<VersionRef>, ServiceError> {
        for _ in 0..ATTEMPTS_MAX {
            let found = self.find_record(&object.bucket, &object.key, object.version).await?;
            let update = UpdateCommand {
                route: found.route.clone(),
                issued: self.clock.now(),
                operation: self.new_version(),
                version: found.record.version,
                change: change.clone(),
            };
            let answer = self.command::<Written>(&found.route, &Command::Update(Box::new(update))).await?;
            match answer.map_err(ServiceError::from) {
                // Replaced in between: the change is of what is there now.
                Err(ServiceError::NoSuchVersion | ServiceError::NoSuchBucket) => {}
                answer => return answer.map(|written| written.told),
            }
        }
        Err(ServiceError::ConditionalRequestConflict)
    }

    /// Versioning and object lock of a bucket, as they are now.
    ///
    /// # Errors
    /// `NoSuchBucket`, `Unavailable`.
    pub async fn bucket_state(&self, name: &str) -> Result<BucketState, ServiceError> {
        in_bucket!(self, name, |bucket| match self.record_of(bucket.id).await? {
            Some(record) => Ok(record.state),
            None => Err(ServiceError::NoSuchBucket),
        })
    }

    /// Begins to keep versions, or ceases to.
    ///
    /// # Errors
    /// `LockNeedsVersioning` when the bucket has object lock; `NoSuchBucket`, `Unavailable`.
    pub async fn set_versioning(&self, name: &str, versioning: Versioning) -> Result<(), ServiceError> {
        if versioning == Versioning::Unversioned {
            return Err(ServiceError::Internal("versioning is never taken back".to_owned()));
        }
        self.change_bucket(name, BucketChange::Versioning(versioning)).await
    }

    /// Sets the lock of new versions, and object lock with it.
    ///
    /// # Errors
    /// `LockNeedsVersioning` where versions are not kept; `NoSuchBucket`, `Unavailable`.
    pub async fn set_bucket_lock(&self, name: &str, lock: BucketLock) -> Result<(), ServiceError> {
        self.change_bucket(name, BucketChange::Lock(lock)).await
    }

    async fn change_bucket(&self, name: &str, change: BucketChange) -> Result<(), ServiceError> {
        let operation = self.new_version();
        in_bucket!(self, name, |bucket| {
            let command = Command::ChangeBucket { id: bucket.id, operation, issued: self.clock.now(), change };
            self.command::<()>(&bucket.id.0, &command).await?.map_err(ServiceError::from)
        })
    }
}
