//! Extents on this node's disk.
//!
//! A writer sends an extent in runs of a few MiB. Runs are appended to segments, which are plain files, so that each byte
//! is written once and small runs share a sync; where each chunk is, and all else, are rows in RocksDB. Sealing an extent
//! stores its header: who owns it, its length and the BLAKE3 digest of every chunk. Only sealed extents are listed.
//!
//! It knows no network and no other node: what must be deleted or repaired is decided above.

mod disk;
mod keys;
mod open;
mod read;
mod records;
mod recover;
mod remove;
mod segment;
mod store;
mod turns;
mod write;

pub use records::{ExtentHeader, OpenExtent, Owner, Run, Stripe};
pub use store::{ExtentConfig, ExtentError, ExtentStore, OnFailedWrite, PartitionSummary, Usage};
