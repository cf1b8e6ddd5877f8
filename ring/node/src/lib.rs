//! A node of the cluster: extents written to and read from a quorum of nodes, kept good by repair; and membership.
//!
//! A gateway writes a stream through an [`ExtentWriter`]: it is cut into extents, each sent to all owners of its partition
//! at once, and goes on when a write quorum has made it durable. Metadata keeps one [`ExtentRef`] per extent. Reads check
//! every chunk against it and go around copies that are missing or bad. What a writer or a dead node left behind, the
//! [`StorageNode`] of each owner pulls from the others.
//!
//! ```no_run
//! # use karri_ring_node::{ExtentClient, Owner, ReadError, WriteError};
//! # use futures::TryStreamExt;
//! # async fn example(client: ExtentClient, owner: Owner) -> Result<(), Box<dyn std::error::Error>> {
//! let mut writer = client.writer(owner);
//! writer.write("content".into()).await?;
//! for extent in writer.finish().await? {
//!     let chunks: Vec<_> = client.read(&extent, 0..extent.length_bytes).try_collect().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! It knows no buckets and no objects: an extent's [`Owner`] is a metadata key to it, and what is garbage is decided
//! above.

mod client;
mod counters;
mod examine;
mod extent_ref;
mod holder;
pub mod join;
mod layout;
pub mod membership;
mod peers;
mod read;
mod repair;
mod service;
mod storage;
mod stripe;
mod wire;
mod write;

pub use client::{ClientConfig, DeleteOutcome, ExtentClient};
pub use counters::Counters;
pub use examine::{CopyReport, CopyState};
pub use extent_ref::ExtentRef;
pub use karri_ring_extent::Owner;
pub use layout::LayoutSource;
pub use read::{READ_AHEAD_BYTES_MAX, ReadError};
pub use repair::{RepairConfig, RepairRound, Verdict, Verdicts};
pub use storage::{NodeReport, ReplicaReport, StorageConfig, StorageNode, StorageParts};
pub use write::{ExtentWriter, WriteError};
