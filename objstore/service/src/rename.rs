//! Renames of objects where versions are not kept.

use karri_ring_types::Digest;

use crate::buckets::in_bucket;
use crate::messages::{Answer, Command, Query, RenameCommand, Written};
use crate::read::Found;
use crate::service::check_key;
use crate::sharing::source_changed;
use crate::{Conditions, ObjectService, Quota, ServiceError, Versioning};

/// Attempts when the source is written at the same moment.
const ATTEMPTS_MAX: usize = 8;

/// Renames an object.
#[derive(Clone, Debug, Default)]
pub struct RenameRequest {
    /// Bucket of both.
    pub bucket: String,
    /// The key that it has.
    pub source_key: String,
    /// The key that it gets; what has it is replaced.
    pub key: String,
    /// On the object.
    pub source_conditions: Conditions,
    /// On what has the new key.
    pub conditions: Conditions,
    /// The same request again has the same token, and is done once. For some minutes.
    pub token: Option<String>,
}

impl ObjectService {
    /// Gives an object another key, in one step and without moving its bytes. All that is said of it stays, the time
    /// of its writing too.
    ///
    /// # Errors
    /// `VersionsKept` where versions are or were kept, else as for reads of the source and conditional writes.
    pub async fn rename_object(&self, request: RenameRequest) -> Result<(), ServiceError> {
        check_key(&request.key)?;
        if request.key == request.source_key {
            return Err(ServiceError::InvalidRequest("An object cannot be renamed to its own name.".to_owned()));
        }
        for _ in 0..ATTEMPTS_MAX {
            let source = match self.find(&request.bucket, &request.source_key, None).await {
                Ok(source) => source,
                Err(ServiceError::NoSuchKey) if self.was_renamed(&request).await? => return Ok(()),
                Err(failure) => return Err(failure),
            };
            if source.bucket.versioning != Versioning::Unversioned {
                return Err(ServiceError::VersionsKept);
            }
            request.source_conditions.check_copy(&source.record.etag.text(), source.record.modified)?;
            let answer = self.rename_found(&request, &source).await?;
            if !source_changed(&answer) {
                return answer.map(drop).map_err(ServiceError::from);
            }
        }
        Err(ServiceError::ConditionalRequestConflict)
    }

    async fn rename_found(&self, request: &RenameRequest, source: &Found) -> Result<Answer<Written>, ServiceError> {
        if let Some((data, Some(loan))) = source.record.data.outside() {
            // What it borrows is noted for the row that it has. Who looks there later must not find it unused.
            self.settled(loan, data).await?;
        }
        in_bucket!(self, &request.bucket, |bucket| {
            let route = bucket.id.route(&request.key);
            let rename = RenameCommand {
                route: route.clone(),
                from: bucket.id.route(&request.source_key),
                issued: self.clock.now(),
                conditions: request.conditions.clone(),
                source: source.record.version,
                data: source.record.data.own(),
                version: self.new_version(),
                holder: self.new_data(),
                token: token(request),
            };
            let command = Command::Rename(Box::new(rename));
            match self.command_within(&route, Quota::default(), &command, &[]).await {
                Ok(Err(crate::messages::Refusal::NoSuchBucket)) => Err(ServiceError::NoSuchBucket),
                other => other,
            }
        })
    }

    /// Whether this very request was carried out before.
    async fn was_renamed(&self, request: &RenameRequest) -> Result<bool, ServiceError> {
        let Some(token) = token(request) else { return Ok(false) };
        in_bucket!(self, &request.bucket, |bucket| {
            let route = bucket.id.route(&request.key);
            self.query(&route, &Query::Renamed { route: route.clone(), token }).await
        })
    }
}

/// The token as a number that nobody else's request has, even with the same token.
fn token(request: &RenameRequest) -> Option<u128> {
    let token = request.token.as_deref()?;
    let digest = Digest::of([token, &request.source_key, &request.key].join("\0").as_bytes());
    digest.0.first_chunk().map(|half| u128::from_be_bytes(*half))
}
