//! What the system range keeps about the cluster, and the commands that change it, as they are encoded.

use bytes::Bytes;
use karri_ring_placement::Layout;
use karri_ring_types::{ClusterId, Digest, Epoch, NodeId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the encoding of rows and messages of this module.
const FORMAT: u8 = 1;

/// Bytes that this version cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unreadable membership record")]
pub struct Unreadable;

/// A node of the cluster as it announced itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The node.
    pub id: NodeId,
    /// Its failure domain.
    pub zone: String,
    /// Its weight in the layout.
    pub capacity_bytes: u64,
    /// Where the other nodes reach it ("host:port").
    pub rpc_address: String,
    /// Where clients reach it ("host:port").
    pub s3_address: String,
    /// How many nodes hold an extent of the schemes that it was configured with, beside the cluster's own number of
    /// copies.
    pub widths: Vec<u8>,
    /// When it first announced itself. Set by the system range.
    pub joined: Timestamp,
}

/// The one row about the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterRecord {
    pub(crate) cluster: ClusterId,
    /// Grows with every change, so that a node that asks again is answered with nothing when nothing changed.
    pub(crate) version: u64,
    /// Ids below have been given out; none is ever given out again.
    pub(crate) next_node: NodeId,
    /// Copies wanted of every partition.
    pub(crate) replicas: u8,
}

/// A join token. The secret itself is nowhere but in the token's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) secret_digest: Digest,
    pub(crate) expires: Timestamp,
    /// Nodes that may still join with it; `None`: any number.
    pub(crate) uses_left: Option<u32>,
}

/// Changes of the cluster's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// The first node makes the records. Repeating it changes nothing.
    Initialise { cluster: ClusterId, replicas: u8 },
    /// A node announces itself or a change of its addresses, zone or capacity.
    Register(NodeInfo),
    /// Notes a join token.
    CreateToken { token: u128, secret_digest: Digest, expires: Timestamp, uses: Option<u32> },
    /// Gives out a node id for a token. The same `attempt` gets the same id again.
    Redeem { token: u128, secret_digest: Digest, attempt: u128 },
    /// Makes the following epoch the layout.
    InstallLayout(Layout),
    /// Sets the number of copies wanted.
    SetReplicas(u8),
}

/// Answers to [`Command`]s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    /// The id given out.
    Node(NodeId),
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The cluster has no records yet.
    #[error("the cluster is not initialised")]
    NotInitialised,
    /// The records are of another cluster.
    #[error("the records are of another cluster")]
    OtherCluster,
    /// No such token, a wrong secret, expired or used up: a caller is not told which.
    #[error("the join token is not valid")]
    Token,
    /// A node id that was never given out.
    #[error("the node id was never given out")]
    UnknownNode,
    /// Another layout came first.
    #[error("the layout is at epoch {0} already")]
    LayoutMoved(Epoch),
    /// A value out of its bounds.
    #[error("invalid value")]
    Invalid,
}

/// The only query: the cluster's state unless it is still at `known_version`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Query {
    pub(crate) known_version: u64,
}

/// The whole state of the cluster that every node caches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterState {
    pub(crate) record: ClusterRecord,
    pub(crate) nodes: Vec<NodeInfo>,
    /// Newest first; never empty. Readers look for an extent at its former owners after the present ones.
    pub(crate) layouts: Vec<Layout>,
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    let encoded = postcard::to_extend(value, vec![FORMAT]);
    Bytes::from(encoded.expect("writing to memory does not fail"))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|_| Unreadable),
        _ => Err(Unreadable),
    }
}
