//! Messages between the clients and the leaders of ranges.

use bytes::Bytes;
use karri_ring_rpc::Method;
use karri_ring_types::{NodeId, RangeId};
use serde::{Deserialize, Serialize};

use crate::EvaluatorId;

/// Carries out a command on the leader.
pub(crate) const EXECUTE: Method = Method(100);
/// Answers a query on the leader.
pub(crate) const QUERY: Method = Method(101);
/// Tells how far a replica has come.
pub(crate) const PROGRESS: Method = Method(102);

/// Head of [`EXECUTE`] and [`QUERY`]; the body is the command, the request's group is the range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallHead {
    pub(crate) evaluator: EvaluatorId,
    /// Must be in the range; `None` for the system range.
    pub(crate) key: Option<Vec<u8>>,
    /// How long the sender waits.
    pub(crate) wait_ms: u64,
}

/// A command or query for a range.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) range: RangeId,
    pub(crate) head: CallHead,
    pub(crate) body: Bytes,
}

/// Why a range did not answer. Unless said otherwise nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// Ask the leader.
    NotLeader {
        leader: Option<NodeId>,
        voters: Vec<NodeId>,
    },
    /// This node has no replica of the range.
    NotHere,
    /// The key is in another range: the asker's directory is old.
    WrongRange,
    /// Too much to do, or too late: try again.
    Unavailable,
    /// It may have happened, or happen later.
    OutcomeUnknown,
    TooLarge,
    /// The leader's disk is full, and no other voter can lead in its place: nothing can be written.
    DiskFull,
    Evaluate(String),
    /// The replica's store failed.
    Broken(String),
}

/// Head of the answer; the reply is the body.
pub(crate) type Answer = Result<(), Failure>;

/// Head of the answer to [`PROGRESS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) applied_index: u64,
    pub(crate) leader: Option<NodeId>,
}
