//! Errors, named by what the caller must do.

/// Why an operation on the metadata has no answer.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// Nothing happened; try again later.
    #[error("the metadata range is not available now")]
    Unavailable,
    /// The command may have been carried out, or may be later. Read to find out.
    #[error("the outcome of the command is unknown")]
    OutcomeUnknown,
    /// The leader's disk has only its reserve left, and too few other voters have room; nothing happened. It ends by
    /// itself when there is room.
    #[error("the disk of the metadata is full")]
    DiskFull,
    /// A row, transaction, command or reply over its bound; nothing happened.
    #[error("too large for one transaction")]
    TooLarge,
    /// The evaluator did not understand or could not carry out the command; nothing happened.
    #[error("evaluator: {0}")]
    Evaluate(String),
    /// A key outside the range, in table 0, or a write by a query: a mistake of the evaluator.
    #[error("evaluator went outside its range: {0}")]
    OutOfRange(&'static str),
    /// The local store failed.
    #[error("metadata store")]
    Storage(#[from] rocksdb::Error),
    /// The folder of the local store could not be used.
    #[error("metadata folder")]
    Io(#[from] std::io::Error),
    /// Bytes on disk, in the log or from a peer that this version cannot read.
    #[error("unreadable {0}")]
    Unreadable(&'static str),
    /// The Raft layer failed.
    #[error("raft")]
    Raft(#[from] karri_ring_raft::RaftError),
}

/// Why an [`crate::Evaluator`] has no reply. A refusal that a user should see is a reply, not an error.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The command cannot be decoded, or breaks a rule that its sender should have kept.
    #[error("malformed command: {0}")]
    Malformed(String),
    /// Reading or writing failed.
    #[error(transparent)]
    Meta(#[from] MetaError),
}
