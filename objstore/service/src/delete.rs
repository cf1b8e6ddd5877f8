//! Deleting objects.

use futures::{FutureExt, StreamExt};

use crate::buckets::in_bucket;
use crate::conditions::WriteRefusal;
use crate::keys::BucketId;
use crate::messages::{Answer, Command, Query, Refusal};
use crate::records::CurrentRecord;
use crate::service::check_key;
use crate::{DeleteItem, DeleteRequest, DeleteResults, ObjectService, ServiceError};

/// Attempts to delete what others write at the same moment.
const ATTEMPTS_MAX: usize = 8;

impl ObjectService {
    /// Deletes an object; one that is not there counts as deleted, unless there is a condition.
    ///
    /// # Errors
    /// `NoSuchBucket`, `PreconditionFailed`, `NoSuchKey` with a condition, `NoSuchVersion`, `Unavailable`.
    pub async fn delete_object(&self, request: DeleteRequest) -> Result<(), ServiceError> {
        let DeleteRequest { bucket: name, key, version, conditions, if_size, if_last_modified } = request;
        let item = DeleteItem { key, version, conditions, if_size, if_last_modified };
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

    async fn delete_item(&self, bucket: BucketId, item: &DeleteItem) -> Result<(), ServiceError> {
        check_key(&item.key)?;
        let route = bucket.route(&item.key);
        let conditional = !item.conditions.is_empty() || item.if_size.is_some() || item.if_last_modified.is_some();
        for _ in 0..ATTEMPTS_MAX {
            let query = Query::Current { route: route.clone() };
            let current: Answer<Option<CurrentRecord>> = self.query(&route, &query).await?;
            let Some(current) = current? else {
                return match conditional {
                    true => Err(ServiceError::NoSuchKey),
                    false => Ok(()),
                };
            };
            if item.version.is_some_and(|version| version != current.version) {
                return Err(ServiceError::NoSuchVersion);
            }
            check(item, &current)?;
            // Unconditional: what replaces this version in between is later than the deletion.
            let command = match conditional {
                false => Command::Delete { route: route.clone(), version: current.version },
                true => Command::DeleteIf {
                    route: route.clone(),
                    version: current.version,
                    operation: self.new_version(),
                    issued: self.clock.now(),
                },
            };
            match self.command::<()>(&route, &command).await? {
                Err(Refusal::SourceChanged) => {}
                answer => return Ok(answer?),
            }
        }
        Err(ServiceError::ConditionalRequestConflict)
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
