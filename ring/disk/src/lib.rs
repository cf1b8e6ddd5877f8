//! The disk, behind a trait: what a node keeps, it keeps through a [`Disk`] that was passed in.
//!
//! A [`DiskPath`] is a path together with the disk that it is on. The stores of the ring are opened with one; a node
//! that is given paths on a disk in memory makes no file on its host, so that many nodes run, crash and come back in
//! one process.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! use karri_ring_disk::DiskPath;
//! let data = DiskPath::host(folder.path());
//! data.join("greeting").create(b"hello")?;
//! assert_eq!(data.join("greeting").read()?, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! It knows nothing of what is stored. RocksDB's `Env` is in the trait, because a RocksDB must be on the same disk as
//! the files beside it; opening one is left to the crates that own the stores.

mod host;
mod path;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use host::HostDisk;
pub use path::DiskPath;

/// Room on the file system of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes altogether.
    pub total_bytes: u64,
}

/// A disk. Paths are absolute, or relative to where the process runs.
///
/// What returns `Ok` and is said to be durable is there after a power cut.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a folder and those above it that are missing, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it is not there.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Makes a file that only its owner can read, durably. A crash may leave it short; who must not see that uses
    /// [`Disk::replace`].
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when it is there.
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Makes or replaces a small file that only its owner can read, durably: after a crash it is the old one or the
    /// new one. Of two callers for the same path one must wait for the other.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Removes a file. It may be there again after a crash, until the folder is synced.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Whether there is a file or folder of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Names in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes the names in a folder durable, but not those in the folders in it.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Room on the file system that a folder is on.
    fn space(&self, dir: &Path) -> io::Result<Space>;

    /// RocksDB's view of this disk: a store must be opened with it, or it is on the host.
    fn env(&self) -> io::Result<rocksdb::Env>;

    /// The name under which RocksDB knows the folder `dir` of this disk. It is not `dir` where that must not exist on
    /// the host: before it opens a store, the `rocksdb` crate makes a folder of the store's name there.
    fn store_name(&self, dir: &Path) -> io::Result<PathBuf>;
}
