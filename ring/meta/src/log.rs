//! What a range needs of its Raft group, by trait, so that tests can fail it at will.

use async_trait::async_trait;
use bytes::Bytes;
use karri_ring_raft::{Group, NotLeader, ProposeError};
use karri_ring_types::NodeId;

use crate::MetaError;

/// The replicated log of one range.
#[async_trait]
pub(crate) trait RangeLog: Send + Sync + 'static {
    /// Appends `entry`; returns the machine's reply once it is committed and applied here.
    async fn propose(&self, entry: Bytes) -> Result<Bytes, ProposeError>;
    /// Proves leadership; afterwards the machine may be read.
    async fn linearize(&self) -> Result<(), NotLeader>;
    fn is_leader(&self) -> bool;
    fn leader(&self) -> Option<NodeId>;
    fn term(&self) -> u64;
    fn voters(&self) -> Vec<NodeId>;
    fn applied_index(&self) -> u64;
    /// Told that the state on this node's disk cannot be read.
    fn unreadable(&self, _error: &MetaError) {}
}

#[async_trait]
impl RangeLog for Group {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, ProposeError> {
        Ok(Group::propose(self, entry).await?.reply)
    }

    async fn linearize(&self) -> Result<(), NotLeader> {
        Group::linearize(self).await
    }

    fn is_leader(&self) -> bool {
        Group::is_leader(self)
    }

    fn leader(&self) -> Option<NodeId> {
        Group::leader(self)
    }

    fn term(&self) -> u64 {
        Group::term(self)
    }

    fn voters(&self) -> Vec<NodeId> {
        Group::voters(self)
    }

    fn applied_index(&self) -> u64 {
        Group::applied_index(self)
    }

    fn unreadable(&self, error: &MetaError) {
        Group::fail(self, "metadata could not be read", error);
    }
}
