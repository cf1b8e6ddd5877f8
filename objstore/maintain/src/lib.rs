//! Background work on objects. On every node it goes through the ranges that the node leads and collects what was
//! deleted or replaced there, carries out the lifecycle rules of buckets; and it answers the storage node's question whether an extent is an orphan.
//!
//! ```ignore
//! let maintenance = Maintenance::new(meta, service.clone(), clock, rng, MaintainConfig::default());
//! tokio::spawn(maintenance.run(shutdown.clone()));
//! tokio::spawn(storage.run(Some(Arc::new(OrphanVerdicts::new(service))), shutdown));
//! ```
//!
//! Nothing here decides that data may go: each piece is put before the range that owns it, and extents are deleted
//! after a committed row condemns them. The times in [`MaintainConfig`] only say when to ask. Two nodes that both
//! take themselves for the leader of a range do the same work twice, to the same end.

mod collector;
mod counters;
mod fsck;
mod lifecycle;
mod orphans;

pub use collector::{MaintainConfig, Maintenance, Round};
pub use counters::Counters;
pub use fsck::{Fsck, FsckOptions, HeldPage, MetadataPage};
pub use lifecycle::LifecycleConfig;
pub use orphans::OrphanVerdicts;
