//! A disk in memory with faults, for tests and simulations: see [`MemoryDisk`].
//!
//! RocksDB runs on it as it does on a real one, through its own environment; nothing touches the host's file system.
//!
//! ```
//! use karri_ring_disk::{Disk, DiskPath};
//! use karri_tests_disk::MemoryDisk;
//!
//! let disk = MemoryDisk::new();
//! let node = DiskPath::new(disk.shared(), "/node");
//! node.create_dir_all()?;
//! node.join("kept").create(b"synced, and its name is")?;
//! disk.crash();
//! assert!(node.join("kept").read().is_err());
//! disk.restart();
//! assert!(node.join("kept").read().is_ok());
//! # Ok::<(), std::io::Error>(())
//! ```

mod disk;
mod env;
mod faults;
mod file;
mod tree;

pub use disk::MemoryDisk;
pub use env::{do_background_work, hold_background_work};
pub use faults::{Counts, Fault, Lie, Sync};
