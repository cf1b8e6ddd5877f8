//! The two things below this crate, as traits so small that tests can stand in for a cluster; and the key service.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use karri_ring_meta::{EvaluatorId, MetaClient, MetaError, Route};
use karri_ring_node::{ExtentClient, ExtentRef, ExtentWriter, Owner, ReadError, WriteError};
use karri_ring_types::{ExtentId, Redundancy};

use crate::cipher::NamedKey;
use crate::{KeyFault, ServiceError};

/// The metadata.
#[async_trait]
pub(crate) trait Meta: Send + Sync {
    /// Carries out an idempotent command.
    async fn execute(&self, route: Route, evaluator: EvaluatorId, command: Bytes) -> Result<Bytes, ServiceError>;
    async fn query(&self, route: Route, evaluator: EvaluatorId, query: Bytes) -> Result<Bytes, ServiceError>;
}

/// Where large bodies are.
#[async_trait]
pub(crate) trait Extents: Send + Sync {
    fn writer(&self, owner: Owner, expected_bytes: Option<u64>, redundancy: Redundancy) -> Box<dyn Sink>;
    fn read(&self, extent: &ExtentRef, range: Range<u64>) -> BoxStream<'static, Result<Bytes, ServiceError>>;
    /// Tells whether all copies are gone.
    async fn delete(&self, ids: &[ExtentId]) -> bool;
}

/// Where the bytes of one body go.
#[async_trait]
pub(crate) trait Sink: Send + Sync {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ServiceError>;
    /// Returns while others need memory that is held here and need not be. Cancelling it loses nothing.
    async fn wanted(&self);
    /// Lets go of it.
    async fn shed(&mut self) -> Result<(), ServiceError>;
    async fn finish(&mut self) -> Result<Vec<ExtentRef>, ServiceError>;
    fn begun(&self) -> Vec<ExtentId>;
    async fn abort(self: Box<Self>);
}

/// The metadata of a cluster.
pub(crate) struct ClusterMeta {
    pub(crate) client: Arc<MetaClient>,
    pub(crate) deadline: Duration,
}

#[async_trait]
impl Meta for ClusterMeta {
    async fn execute(&self, route: Route, evaluator: EvaluatorId, command: Bytes) -> Result<Bytes, ServiceError> {
        Ok(self.client.execute(&route, evaluator, command, true, self.deadline).await?)
    }

    async fn query(&self, route: Route, evaluator: EvaluatorId, query: Bytes) -> Result<Bytes, ServiceError> {
        Ok(self.client.query(&route, evaluator, query, self.deadline).await?)
    }
}

impl From<MetaError> for ServiceError {
    fn from(error: MetaError) -> Self {
        match error {
            MetaError::Unavailable | MetaError::OutcomeUnknown => Self::Unavailable,
            MetaError::DiskFull => Self::DiskFull,
            other => Self::Internal(other.to_string()),
        }
    }
}

#[async_trait]
impl Extents for ExtentClient {
    fn writer(&self, owner: Owner, expected_bytes: Option<u64>, redundancy: Redundancy) -> Box<dyn Sink> {
        Box::new(self.writer_for(owner, expected_bytes, redundancy))
    }

    fn read(&self, extent: &ExtentRef, range: Range<u64>) -> BoxStream<'static, Result<Bytes, ServiceError>> {
        ExtentClient::read(self, extent, range).map(|piece| piece.map_err(ServiceError::from)).boxed()
    }

    async fn delete(&self, ids: &[ExtentId]) -> bool {
        !ExtentClient::delete(self, ids).await.incomplete
    }
}

#[async_trait]
impl Sink for ExtentWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ServiceError> {
        Ok(ExtentWriter::write(self, bytes).await?)
    }

    async fn wanted(&self) {
        ExtentWriter::wanted(self).await;
    }

    async fn shed(&mut self) -> Result<(), ServiceError> {
        Ok(ExtentWriter::shed(self).await?)
    }

    async fn finish(&mut self) -> Result<Vec<ExtentRef>, ServiceError> {
        Ok(ExtentWriter::finish(self).await?)
    }

    fn begun(&self) -> Vec<ExtentId> {
        self.extents_so_far()
    }

    async fn abort(self: Box<Self>) {
        ExtentWriter::abort(*self).await;
    }
}

impl From<WriteError> for ServiceError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Unavailable => Self::Unavailable,
            WriteError::DiskFull => Self::DiskFull,
            WriteError::Closed => Self::Internal(error.to_string()),
        }
    }
}

impl From<ReadError> for ServiceError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable => Self::Unavailable,
            ReadError::Lost => Self::Internal(error.to_string()),
        }
    }
}

/// The named keys of the key service, as the caller of one request may use them.
#[async_trait]
pub trait NamedKeys: Send + Sync + 'static {
    /// Wraps the key of an object.
    async fn wrap(&self, key: &NamedKey, plain: &[u8; 32]) -> Result<Vec<u8>, ServiceError>;

    /// Opens the key of an object again.
    async fn unwrap(&self, key: &NamedKey, wrapped: &[u8]) -> Result<[u8; 32], ServiceError>;
}

/// The named keys that the caller of a request may use. By default there are none.
#[derive(Clone, Default)]
pub struct CallerKeys(Option<Arc<dyn NamedKeys>>);

impl CallerKeys {
    /// Those of a caller.
    pub fn new(keys: Arc<dyn NamedKeys>) -> Self {
        Self(Some(keys))
    }

    /// Whether there are any.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn of_caller(&self) -> Result<&dyn NamedKeys, ServiceError> {
        self.0.as_deref().ok_or_else(|| ServiceError::Key(KeyFault::AccessDenied("Access Denied".to_owned())))
    }
}

impl fmt::Debug for CallerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerKeys(..)")
    }
}
