//! Nodes on disks in memory, power cuts at any write, and a model that says what must be there afterwards.
//!
//! [`node`] starts a node with its Raft log, metadata and extents on a [`karri_tests_disk::MemoryDisk`]. [`cycle`] lets
//! one work until its disk crashes or fails, starts it again and compares it with the [`model`]; `docs/reliability.md`
//! says what that has found and how to run more of it.

pub mod cycle;
pub mod model;
pub mod node;
pub mod rows;
