//! Hosts the Raft groups of one node. It is the only crate that knows openraft.
//!
//! A [`RaftHost`] keeps the logs and votes of all its groups in one RocksDB behind one flusher thread, so that
//! whatever is in flight in any group shares an fsync. The applied state belongs to the caller, behind
//! [`StateMachine`]; it need not be durable at once, because a log is purged only after [`StateMachine::flush`].
//!
//! ```ignore
//! let host = RaftHost::open(HostConfig::new(node, dir), transport, &router).await?;
//! let group = host.open_group(RangeId(7), machine).await?;
//! group.initialize(&[node]).await?;                       // first start of the first voter only
//! let applied = group.propose(entry).await?;              // resolves when the entry is committed and applied here
//! group.linearize().await?;                               // now the machine may be read
//! ```
//!
//! It does not know what an entry means, where nodes live (that is the transport's work), or which nodes should
//! be voters.

mod adapter;
#[cfg(test)]
mod cluster_test;
mod codec;
mod config;
mod error;
mod failure;
mod group;
mod hand_over;
mod host;
mod log;
mod machine;
mod network;
mod service;
mod snapshots;
mod space;
#[cfg(test)]
mod testing;
mod types;
mod wire;

pub use config::{HostConfig, OnFailedLog};
pub use error::{MachineError, NotLeader, ProposeError, RaftError};
pub use group::{Applied, ENTRY_SIZE_BYTES_MAX, Group, GroupStatus};
pub use host::{LogStats, RaftHost, UnknownGroup};
pub use machine::{EntryData, SNAPSHOT_CHUNK_BYTES_MAX, SnapshotReader, SnapshotWriter, StateMachine};

/// Raft's methods on the node-to-node transport.
pub const METHODS: std::ops::RangeInclusive<u16> = 1..=99;
