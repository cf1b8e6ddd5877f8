//! Deleting objects and versions.

use futures::{FutureExt, StreamExt};

use crate::buckets::in_bucket;
use crate::conditions::WriteRefusal;
use crate::keys::BucketId;
use crate::messages::{
    Answer, Command, DeleteCommand, DeleteOnly, Exclusive, MarkCommand, ObjectState, Query, Refusal, VersionLine,
    Written,
};
use crate::records::CurrentRecord;
use crate::service::check_key;
use crate::{
    DeleteItem, DeleteOutcome, DeleteRequest, DeleteResults, ObjectService, ServiceError, VersionRef, Versioning,
};

/// Attempts to delete what others write at the same moment.
const ATTEMPTS_MAX: usize = 8;

impl ObjectService {
    /// Deletes an object; one that is not there counts as deleted, unless there is a condition. Where versions are
    /// kept, a delete without a version hides what is there behind a delete marker.
    ///
    /// # Errors
    /// `NoSuchBucket`, `PreconditionFailed`, `NoSuchKey` with a condition, `Locked`, `Unavailable`.
    pub async fn delete_object(&self, request: DeleteRequest) -> Result<DeleteOutcome, ServiceError> {
        let DeleteRequest { bucket: name, item } = request;
        in_bucket!(self, &name, |bucket| self.delete_item(bucket.id, &item).await)
    }

    /// Deletes many objects, each for itself.
    ///
    /// # Errors
    /// `NoSuchBucket`; what concerns one object is in its result.
    pub async fn delete_objects(&self, name: &str, items: Vec<DeleteItem>) -> Result<DeleteResults, ServiceError> {
        in_bucket!(self, name, |bucket| {
            let id = bucket.id;
            // Boxed: the compiler cannot prove the closure's futures Send for every lifetime (rust-lang/rust#102211).
            let deletes: Vec<_> = items.iter().map(|item| self.delete_item(id, item).boxed()).collect();
            let results: DeleteResults =
                futures::stream::iter(deletes).buffered(self.config.deletes_in_flight_max).collect().await;
            match results.iter().any(|result| matches!(result, Err(ServiceError::NoSuchBucket))) {
                true => Err(ServiceError::NoSuchBucket),
                false => Ok(results),
            }
        })
    }

    async fn delete_item(&self, bucket: BucketId, item: &DeleteItem) -> Result<DeleteOutcome, ServiceError> {
        check_key(&item.key)?;
        let route = bucket.route(&item.key);
        for _ in 0..ATTEMPTS_MAX {
            let query = Query::State { route: route.clone(), version: item.version };
            let state: Answer<ObjectState> = self.query(&route, &query).await?;
            let state = state?;
            let answer = match item.version {
                Some(version) => self.delete_version(&route, item, version, state).await?,
                None if state.bucket.versioning == Versioning::Unversioned => {
                    self.delete_current(&route, item, state.current).await?
                }
                None => self.mark(&route, item, state.current).await?,
            };
            match answer {
                Err(Refusal::SourceChanged) => {}
                answer => return Ok(answer?),
            }
        }
        match item.is_conditional() {
            true => Err(ServiceError::ConditionalRequestConflict),
            false => Err(ServiceError::Unavailable),
        }
    }

    /// Deletes a version for good.
    async fn delete_version(
        &self,
        route: &[u8],
        item: &DeleteItem,
        version: VersionRef,
        state: ObjectState,
    ) -> Result<Answer<DeleteOutcome>, ServiceError> {
        let told = (state.bucket.versioning != Versioning::Unversioned).then_some(version);
        let Some(VersionLine { record, delete_marker, .. }) = state.named else {
            // A version that is named and not there is deleted already, whatever it was.
            return Ok(Ok(DeleteOutcome { version: told, delete_marker: false }));
        };
        check(item, &record)?;
        let delete = self.delete_command(route, item, &record, DeleteOnly::Any);
        let answer = self.command::<()>(route, &delete).await?;
        Ok(answer.map(|()| DeleteOutcome { version: told, delete_marker }))
    }

    /// Deletes the only version there is.
    async fn delete_current(
        &self,
        route: &[u8],
        item: &DeleteItem,
        current: Option<CurrentRecord>,
    ) -> Result<Answer<DeleteOutcome>, ServiceError> {
        let Some(current) = current else {
            return match item.must_exist() {
                true => Err(ServiceError::NoSuchKey),
                false => Ok(Ok(DeleteOutcome::default())),
            };
        };
        check(item, &current)?;
        // What replaces this version in between may rest on it (`If-Match`), so it cannot count as later: it is deleted too.
        let delete = self.delete_command(route, item, &current, DeleteOnly::Current);
        let answer = self.command::<()>(route, &delete).await?;
        Ok(answer.map(|()| DeleteOutcome::default()))
    }

    fn delete_command(&self, route: &[u8], item: &DeleteItem, record: &CurrentRecord, only: DeleteOnly) -> Command {
        let exclusive = || Exclusive { operation: self.new_version(), issued: self.clock.now() };
        Command::Delete(Box::new(DeleteCommand {
            route: route.to_vec(),
            version: record.version,
            only,
            exclusive: (item.is_conditional() || only == DeleteOnly::Current).then(exclusive),
            bypass: item.bypass_governance,
        }))
    }

    /// Hides what is there behind a delete marker.
    async fn mark(
        &self,
        route: &[u8],
        item: &DeleteItem,
        current: Option<CurrentRecord>,
    ) -> Result<Answer<DeleteOutcome>, ServiceError> {
        let expected = match (&current, item.is_conditional()) {
            (_, false) => None,
            (None, true) if item.must_exist() => return Err(ServiceError::NoSuchKey),
            // A delete marker has neither the size nor the time of an object.
            (None, true) => return Err(ServiceError::PreconditionFailed { condition: "If-Match-Size" }),
            (Some(current), true) => {
                check(item, current)?;
                Some(current.version)
            }
        };
        let mark = MarkCommand {
            route: route.to_vec(),
            issued: self.clock.now(),
            marker: self.new_version(),
            current: expected,
            owner: item.owner.clone(),
        };
        let answer = self.command::<Written>(route, &Command::Mark(Box::new(mark))).await?;
        Ok(answer.map(|written| DeleteOutcome { version: written.told, delete_marker: true }))
    }
}

impl DeleteItem {
    /// Conditions of size and time hold for what is not there; `If-Match` does not.
    fn must_exist(&self) -> bool {
        !self.conditions.is_empty()
    }

    fn is_conditional(&self) -> bool {
        !self.conditions.is_empty() || self.if_size.is_some() || self.if_last_modified.is_some()
    }
}

fn check(item: &DeleteItem, current: &CurrentRecord) -> Result<(), ServiceError> {
    item.conditions.check_write(Some(&current.etag.text()))?;
    let size = item.if_size.is_none_or(|size| size == current.size);
    let time = item.if_last_modified.is_none_or(|time| time.as_secs() == current.modified.as_secs());
    match (size, time) {
        (true, true) => Ok(()),
        (false, _) => Err(ServiceError::PreconditionFailed { condition: "If-Match-Size" }),
        (_, false) => Err(ServiceError::PreconditionFailed { condition: "If-Match-Last-Modified-Time" }),
    }
}

impl From<WriteRefusal> for Refusal {
    fn from(refusal: WriteRefusal) -> Self {
        Self::Write(refusal)
    }
}
