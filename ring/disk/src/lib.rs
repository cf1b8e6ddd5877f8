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

mod file;
mod host;
mod path;

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Files are written in blocks of this size.
pub const BLOCK_BYTES: u64 = 4096;

/// A file that stays open.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Writes all of `parts` one after another. `offset` and the sum of the parts are multiples of [`BLOCK_BYTES`]. It is
    /// durable after [`DiskFile::sync_data`].
    fn write_blocks(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Makes what was written durable, with the length. When it fails, anything written since the last one may be lost,
    /// whatever a later one says.
    fn sync_data(&self) -> io::Result<()>;

    /// Appends `length` bytes from `offset` on to `bytes`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before.
    fn read_into(&self, bytes: &mut Vec<u8>, length: usize, offset: u64) -> io::Result<()>;

    /// Gives the whole blocks of a range back to the file system and makes its other bytes zero. The length stays. After a
    /// crash it may not have happened.
    fn punch(&self, range: Range<u64>) -> io::Result<()>;

    /// Bytes up to the end.
    fn length(&self) -> io::Result<u64>;

    /// Bytes of the file system that it takes.
    fn taken_bytes(&self) -> io::Result<u64>;

    /// Where, from `offset` on, something may have been written and not been punched; `None` when nothing was.
    fn data_from(&self, offset: u64) -> io::Result<Option<u64>>;
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

    /// Makes a file to be written in blocks, its name durably.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when it is there.
    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that was made by [`Disk::create_file`], to be read and punched.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it is not there.
    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

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
