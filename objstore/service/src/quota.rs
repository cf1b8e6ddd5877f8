//! Quotas: what a writer's policies allow to be in a bucket.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::keys::BucketId;
use crate::messages::{Answer, Command, Refusal};
use crate::records::{encode, encode_with_tail};
use crate::{ObjectService, ServiceError};

/// How much there may be in a bucket after a write. It binds the write that brings it, not the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes of all versions.
    pub bucket_bytes: Option<u64>,
    /// Number of all versions; delete markers do not count.
    pub bucket_versions: Option<u64>,
}

impl Quota {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Commands that a request sends to have a bucket counted, the first time that a quota bears on it. A larger bucket's
/// count goes on with the next request.
const COUNTS_MAX: usize = 1_000;

impl ObjectService {
    /// Carries out a command that changes versions, within `quota`.
    pub(crate) async fn command_within<T: DeserializeOwned>(
        &self,
        route: &[u8],
        quota: Quota,
        command: &Command,
        body: &[u8],
    ) -> Result<Answer<T>, ServiceError> {
        if quota.is_empty() {
            let answer = self.execute::<Answer<T>>(route, encode_with_tail(command, body)).await?;
            if !matches!(answer, Err(Refusal::Metered)) {
                return Ok(answer);
            }
        }
        let within = encode_with_tail(&Command::Within { quota }, &encode_with_tail(command, body));
        for _ in 0..COUNTS_MAX {
            let answer = self.execute::<Answer<T>>(route, within.clone()).await?;
            if !matches!(answer, Err(Refusal::NotMetered)) {
                return Ok(answer);
            }
            let bucket = route.get(..16).and_then(|id| id.try_into().ok()).map(BucketId);
            let id = bucket.ok_or_else(|| ServiceError::Internal("a route without a bucket".to_owned()))?;
            if let Err(refusal) = self.execute::<Answer<bool>>(&id.0, encode(&Command::Count { id })).await? {
                return Ok(Err(refusal));
            }
        }
        Err(ServiceError::SlowDown)
    }
}
