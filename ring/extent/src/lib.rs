//! Extents on this node's disk, in RocksDB.
//!
//! A writer sends an extent in runs of a few MiB. Large runs become external SST files that are ingested as they are, so
//! that each byte is written once; small ones share the fsync of a group-committed write-ahead log. Sealing an extent
//! stores its header: who owns it, its length and the BLAKE3 digest of every chunk. Only sealed extents are listed.
//!
//! It knows no network and no other node: what must be deleted or repaired is decided above.

mod disk;
mod ingest;
mod keys;
mod open;
mod read;
mod records;
mod remove;
mod store;
mod turns;
mod write;

pub use records::{ExtentHeader, OpenExtent, Owner, Run};
pub use store::{ExtentConfig, ExtentError, ExtentStore, PartitionSummary, Usage};
