//! The two things below this crate, as traits so small that tests can stand in for a cluster.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use karri_ring_meta::{EvaluatorId, MetaClient, MetaError, Route};
use karri_ring_node::{ExtentClient, ExtentRef, ExtentWriter, Owner, ReadError, WriteError};
use karri_ring_types::ExtentId;

use crate::ServiceError;

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
    fn writer(&self, owner: Owner, expected_bytes: Option<u64>) -> Box<dyn Sink>;
    fn read(&self, extent: &ExtentRef, range: Range<u64>) -> BoxStream<'static, Result<Bytes, ServiceError>>;
    /// Tells whether all copies are gone.
    async fn delete(&self, ids: &[ExtentId]) -> bool;
}

/// Where the bytes of one body go.
#[async_trait]
pub(crate) trait Sink: Send {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ServiceError>;
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
    fn writer(&self, owner: Owner, expected_bytes: Option<u64>) -> Box<dyn Sink> {
        Box::new(self.writer_for(owner, expected_bytes))
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
