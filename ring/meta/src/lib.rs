//! Replicated ordered key-value ranges with transactions: the metadata of a Karri cluster.
//!
//! The ordered key space is cut into ranges; each is a Raft group. A typed command goes to the leader of its range,
//! where an [`Evaluator`] decides on it: it reads through a [`View`] and writes through it. What is replicated is
//! the outcome, a transaction of checks (rows and the versions that were read) and writes; applying it runs no
//! business logic. A reply is given when the transaction is committed by a majority and applied on the leader.
//! Every command touches one range; what spans two is the caller's saga.
//!
//! ```ignore
//! let meta = MetaNode::open(MetaConfig::new(node, dir), raft, transport, &router, clock, rng).await?;
//! meta.register(EvaluatorId(16), Arc::new(Objects));
//! meta.start().await?;
//! meta.bootstrap(16).await?;                                  // first node of a new cluster only
//! let route = Route::Key(bucket_id.to_vec());
//! let reply = meta.client().execute(&route, EvaluatorId(16), command, true, Duration::from_secs(10)).await?;
//! ```
//!
//! What holds it together:
//! - The version of a row is the log index of its last write. A transaction whose checks fail is a conflict: the leader
//!   evaluates the command again.
//! - A leadership begins with a fence in the log; what was evaluated before it is refused after it.
//! - The applied state is not synced: Raft's log is, and is purged only behind a flush.
//!
//! It does not know what rows mean, where nodes live, or when a cluster should grow.

mod calls;
mod client;
mod codec;
mod directory;
mod directory_cache;
mod error;
#[cfg(test)]
mod golden_tests;
mod host;
mod latches;
mod log;
mod machine;
mod message;
#[cfg(test)]
mod model_tests;
mod node;
mod proposer;
mod range;
mod row;
mod snapshot;
mod storage;
mod transaction;
mod types;
mod view;

pub use client::MetaClient;
pub use error::{EvaluateError, MetaError};
pub use node::{MetaConfig, MetaNode, Placed};
pub use types::{
    COMMAND_BYTES_MAX, Evaluator, EvaluatorId, Fingerprint, KEY_BYTES_MAX, Key, Latches, ROW_BYTES_MAX, RangeInfo,
    RangeStatus, Route, SYSTEM_RANGE, TRANSACTION_BYTES_MAX, Table,
};
pub use view::{LentRow, Scan, View};

/// The metadata's methods on the node-to-node transport.
pub const METHODS: std::ops::RangeInclusive<u16> = 100..=199;
