//! What is asked of a node and what it answers.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use karri_ring_types::NodeId;

/// Most bytes of a request's or response's head.
pub const HEAD_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a request's or response's body.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// Number of a remote procedure: 1..=99 raft, 100..=199 metadata, 200..=299 extents, 300..=399 membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(pub u16);

/// A call: `head` is a small encoded message, `body` is payload that is passed on without being copied.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The Raft group or 0.
    pub group: u64,
    /// At most [`HEAD_BYTES_MAX`].
    pub head: Bytes,
    /// At most [`BODY_BYTES_MAX`].
    pub body: Bytes,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// At most [`HEAD_BYTES_MAX`].
    pub head: Bytes,
    /// At most [`BODY_BYTES_MAX`].
    pub body: Bytes,
}

/// Which of a peer's connections a call takes. Bodies of many MiB never stand before a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Small and urgent.
    Control,
    /// Large.
    Data,
}

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RpcError {
    /// No connection: the call was certainly not carried out.
    #[error("node {node} cannot be reached: {reason}")]
    Unreachable {
        /// The peer.
        node: NodeId,
        /// What went wrong, for logs.
        reason: String,
    },
    /// The connection broke after the call was sent: it may have been carried out.
    #[error("the connection to node {node} broke")]
    Broken {
        /// The peer.
        node: NodeId,
    },
    /// No answer in time: the call may have been or still be carried out.
    #[error("node {node} did not answer in time")]
    Deadline {
        /// The peer.
        node: NodeId,
    },
    /// The peer has no handler for the method; nothing was done.
    #[error("the peer does not know method {0}")]
    UnknownMethod(u16),
    /// Head or body is over its bound; nothing was sent.
    #[error("the message is too large")]
    TooLarge,
    /// The peer's handler failed.
    #[error("the peer failed: {0}")]
    Remote(String),
}

impl RpcError {
    /// True when the call was certainly not carried out.
    pub fn is_certain(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::UnknownMethod(_) | Self::TooLarge)
    }
}

/// Carries calls to other nodes.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Calls `method` on `to`; a call to the local node goes straight to its router.
    async fn call(
        &self,
        to: NodeId,
        lane: Lane,
        method: Method,
        request: Request,
        deadline: Duration,
    ) -> Result<Response, RpcError>;

    /// The node that calls.
    fn local(&self) -> NodeId;
}

/// Who calls, as the connection proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A node with a certificate of the cluster's own authority.
    Node(NodeId),
    /// Somebody without a certificate; only the join methods may accept it.
    Unauthenticated,
}

/// Carries out calls from other nodes.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Carries out one call. The error's text goes to the calling node's log.
    async fn handle(&self, from: Caller, method: Method, request: Request) -> Result<Response, String>;
}
