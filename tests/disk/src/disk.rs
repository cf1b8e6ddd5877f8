//! The disk as its users see it.

use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use karri_ring_disk::{Disk, DiskFile, Space};
use karri_ring_types::Rng;
use parking_lot::Mutex;
use rocksdb::Env;

use crate::env;
use crate::faults::{Counts, Fault, Lie};
use crate::file::MemoryFile;
use crate::tree::Tree;

/// Size of a disk for which none was set.
const CAPACITY_BYTES: u64 = 1 << 40;
/// Stores that a disk can have.
const STORES_MAX: usize = 1 << STORE_NAME_BITS;
const STORE_NAME_BITS: usize = 10;

/// What RocksDB and the disk's users share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) tree: Mutex<Tree>,
    /// Locks that RocksDB holds, also those of before a crash.
    pub(crate) held_locks: AtomicUsize,
    /// Folders of stores; the place in the list is the number in the store's name.
    stores: Mutex<Vec<PathBuf>>,
}

impl Shared {
    /// The path that RocksDB means: a store's name, which has only dots, stands for the store's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let mut bits = 0;
        let mut number = 0_usize;
        let mut rest = PathBuf::new();
        for part in name.split('/').filter(|part| !part.is_empty()) {
            match part {
                "." | ".." if rest.as_os_str().is_empty() => {
                    number = number << 1 | usize::from(part == "..");
                    bits += 1;
                }
                _ => rest.push(part),
            }
        }
        let base = if bits == 0 { None } else { self.stores.lock().get(number).cloned() };
        let base = base.unwrap_or_else(|| PathBuf::from("/"));
        if rest.as_os_str().is_empty() { base } else { base.join(rest) }
    }

    /// The name for the store in `dir`. On every host it is the root folder: there is nothing to make.
    fn store_name(&self, dir: &Path) -> io::Result<PathBuf> {
        let mut stores = self.stores.lock();
        let number = match stores.iter().position(|known| known == dir) {
            Some(number) => number,
            None => {
                stores.push(dir.to_owned());
                stores.len() - 1
            }
        };
        if number >= STORES_MAX {
            return Err(io::Error::other("too many stores on one disk"));
        }
        let bit = |bit: usize| if number >> bit & 1 == 1 { "/.." } else { "/." };
        Ok((0..STORE_NAME_BITS).rev().map(bit).collect::<String>().into())
    }
}

/// A disk in memory. Clones are the same disk; each node of a cluster in one process has its own.
///
/// What was not synced is lost by [`MemoryDisk::restart`], as by a power cut. Before it, [`MemoryDisk::crash`] or
/// [`MemoryDisk::crash_at`] makes all operations fail, and what is open on the disk is to be dropped.
#[derive(Clone)]
pub struct MemoryDisk {
    shared: Arc<Shared>,
    env: Env,
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").field("used_bytes", &self.used_bytes()).finish_non_exhaustive()
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// An empty disk of 1 TiB.
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let env = env::make(shared.clone());
        Self { shared, env }
    }

    /// As it is passed to those who keep something on it.
    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// From now on every operation fails, until [`MemoryDisk::restart`].
    pub fn crash(&self) {
        self.shared.tree.lock().faults.crash();
    }

    /// The operation with this number, and all after it, fail.
    pub fn crash_at(&self, operation: u64) {
        self.shared.tree.lock().faults.crash_at = Some(operation);
    }

    /// Whether it has crashed.
    pub fn is_crashed(&self) -> bool {
        self.shared.tree.lock().faults.alive().is_err()
    }

    /// The operation with this number fails, once.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.shared.tree.lock().faults.fail_at = Some((operation, fault));
    }

    /// Stores that are open. One that was open at a crash must be gone before the restart: it would go on writing.
    pub fn open_stores(&self) -> usize {
        self.shared.held_locks.load(Ordering::SeqCst)
    }

    /// The power is back. All that was not synced is lost; nothing that was open before may be used.
    ///
    /// # Panics
    /// When a store is still open.
    pub fn restart(&self) {
        assert_eq!(self.open_stores(), 0, "a store outlived the crash");
        self.shared.tree.lock().lose(None);
    }

    /// As [`MemoryDisk::restart`], but of what was not synced some may be there: of each file any beginning, and of the
    /// changes of names any beginning of all.
    pub fn restart_torn(&self, rng: &dyn Rng) {
        assert_eq!(self.open_stores(), 0, "a store outlived the crash");
        self.shared.tree.lock().lose(Some(rng));
    }

    /// Syncs that are to do nothing.
    pub fn set_lies(&self, lies: Vec<Lie>) {
        self.shared.tree.lock().faults.lies = lies;
    }

    /// Leaves room for `bytes` more; `None` for what is usual.
    pub fn set_free(&self, bytes: Option<u64>) {
        let mut tree = self.shared.tree.lock();
        tree.faults.capacity_bytes = bytes.map(|bytes| tree.used_bytes().saturating_add(bytes));
    }

    /// Bytes in its files.
    pub fn used_bytes(&self) -> u64 {
        self.shared.tree.lock().used_bytes()
    }

    /// What has happened since it was made.
    pub fn counts(&self) -> Counts {
        self.shared.tree.lock().faults.counts
    }

    /// All files with their lengths, in order.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.shared.tree.lock().files()
    }

    /// Flips a bit of a file, behind the back of all who have it open.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        Ok(self.shared.tree.lock().flip(path, offset, bit)?)
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), Fault> {
        let mut tree = self.shared.tree.lock();
        let file = tree.open_write(path, false)?;
        tree.append(&file, content)?;
        tree.sync(&file)
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if !dir.is_absolute() || dir.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a disk in memory wants absolute paths"));
        }
        let mut tree = self.shared.tree.lock();
        let mut missing: Vec<&Path> = Vec::new();
        for above in dir.ancestors() {
            match tree.is_dir(above)? {
                None => missing.push(above),
                Some(true) => break,
                Some(false) => return Err(Fault::Exists.into()),
            }
        }
        for dir in missing.into_iter().rev() {
            tree.make_dir(dir)?;
            tree.sync_dir(parent(dir))?;
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.shared.tree.lock().open_read(path)?.content.all())
    }

    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if self.exists(path)? {
            return Err(Fault::Exists.into());
        }
        self.write(path, content)?;
        self.sync_dir(parent(path))
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let partial = path.with_extension("partial");
        self.write(&partial, content)?;
        self.shared.tree.lock().rename(&partial, path)?;
        self.sync_dir(parent(path))
    }

    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if self.exists(path)? {
            return Err(Fault::Exists.into());
        }
        let handle = self.shared.tree.lock().open_write(path, false)?;
        self.sync_dir(parent(path))?;
        Ok(Arc::new(MemoryFile::new(self.shared.clone(), handle)))
    }

    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let handle = self.shared.tree.lock().open_read(path)?;
        Ok(Arc::new(MemoryFile::new(self.shared.clone(), handle)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(self.shared.tree.lock().remove(path)?)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.shared.tree.lock().exists(path)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.shared.tree.lock().list(dir)?)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Ok(self.shared.tree.lock().sync_dir(dir)?)
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let tree = self.shared.tree.lock();
        let total_bytes = CAPACITY_BYTES;
        let capacity = tree.faults.capacity_bytes.unwrap_or(total_bytes);
        Ok(Space { free_bytes: capacity.saturating_sub(tree.used_bytes()), total_bytes })
    }

    fn env(&self) -> io::Result<Env> {
        Ok(self.env.clone())
    }

    fn store_name(&self, dir: &Path) -> io::Result<PathBuf> {
        self.shared.store_name(dir)
    }
}
