//! Which nodes hold which partition: a pure function of the nodes, their zones and capacities, and of the layout before.
//!
//! A [`Layout`] is one epoch of the cluster. [`Layout::next`] makes the following one: every partition has its copies in
//! as many zones as there are, each node holds a share in proportion to its capacity, and as few copies as possible
//! change place. The ring is a table of [`PARTITION_COUNT`] partitions, into which extent ids are hashed.
//!
//! ```
//! use karri_ring_placement::{Layout, NodeSpec};
//! use karri_ring_types::{NodeId, PartitionId};
//! let node = |id| NodeSpec { id: NodeId(id), zone: "z".into(), capacity_bytes: 1 << 40 };
//! let layout = Layout::empty(3).next(vec![node(1), node(2), node(3)], 3).unwrap();
//! assert_eq!(layout.owners(PartitionId(0)).len(), 3);
//! ```
//!
//! It moves no data and asks no clock.

mod assign;
mod layout;
mod ring;
mod steps;
mod targets;

pub use layout::{Layout, NodeSpec, PlacementError};
