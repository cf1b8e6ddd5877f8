//! What can go wrong, by what the caller must do.

use karri_ring_types::NodeId;

/// Any error of a [`crate::StateMachine`]. It stops the group on this node.
pub type MachineError = Box<dyn std::error::Error + Send + Sync>;

/// Errors of hosting and administering groups.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// The settings contradict each other.
    #[error("raft settings: {0}")]
    Config(String),
    /// The log store failed or holds what this version cannot read.
    #[error("raft log store")]
    Storage(#[from] std::io::Error),
    /// The node's metadata was found damaged before; it must not lead with it.
    #[error(
        "this node's metadata is damaged ({what}); replace the node, as docs/operations/damaged-metadata.md says. \
         It starts all the same when {mark} is removed"
    )]
    Damaged {
        /// What was found.
        what: String,
        /// The file that says so.
        mark: String,
    },
    /// The group stopped on this node; nothing but a restart brings it back.
    #[error("raft group stopped: {0}")]
    Stopped(String),
    /// Another node leads: ask there.
    #[error("not the leader; leader: {leader:?}")]
    NotLeader {
        /// The leader, when known.
        leader: Option<NodeId>,
    },
    /// The group has members already.
    #[error("the group is initialised already")]
    AlreadyInitialized,
    /// The change of voters was refused or did not finish; it may be asked for again.
    #[error("membership change: {0}")]
    Membership(String),
    /// It did not happen in time; it may still happen.
    #[error("timed out: {0}")]
    Timeout(&'static str),
}

/// Why a proposal has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Certainly not proposed: another node leads, none does, or this node's disk is full.
    #[error("not the leader; leader: {leader:?}")]
    NotLeader {
        /// Where to try next, when known.
        leader: Option<NodeId>,
    },
    /// It may have been committed, or may be later.
    #[error("the outcome of the proposal is unknown")]
    Unknown,
    /// Certainly not proposed: this node is stopping.
    #[error("the group is stopped on this node")]
    Shutdown,
    /// Certainly not proposed: more than [`crate::ENTRY_SIZE_BYTES_MAX`].
    #[error("the entry is too large")]
    TooLarge,
}

/// This node cannot prove that it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the leader; leader: {leader:?}")]
pub struct NotLeader {
    /// Where to try next, when known.
    pub leader: Option<NodeId>,
}
