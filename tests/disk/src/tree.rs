//! The file system: names and contents, each with a durable and a pending half.
//!
//! It is what POSIX promises and no more. Bytes are durable when their file was synced, names when their folder was.
//! What happened to names and was not synced is kept in order, so that a crash may keep any beginning of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use karri_ring_disk::BLOCK_BYTES;
use karri_ring_types::Rng;
use parking_lot::Mutex;

use crate::faults::{Fault, Faults, Sync};

/// The bytes of a file; names and open handles share it.
#[derive(Debug)]
pub(crate) struct Content {
    bytes: Mutex<Bytes>,
    /// Bytes on the disk altogether.
    used: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Bytes {
    all: Vec<u8>,
    /// As many from the start survive a crash.
    durable: usize,
    /// Blocks that were given back: they are zeros and take no room.
    punched: BTreeSet<u64>,
}

impl Bytes {
    fn taken(&self) -> u64 {
        self.all.len() as u64 - self.punched.len() as u64 * BLOCK_BYTES
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes.get_mut().taken(), Ordering::Relaxed);
    }
}

impl Content {
    pub(crate) fn length(&self) -> u64 {
        self.bytes.lock().all.len() as u64
    }

    /// Copies from `offset` on into `out`, and tells how much there was.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let bytes = self.bytes.lock();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.all.len());
        let found = &bytes.all[from..];
        let length = found.len().min(out.len());
        out[..length].copy_from_slice(&found[..length]);
        length
    }

    pub(crate) fn all(&self) -> Vec<u8> {
        self.bytes.lock().all.clone()
    }

    /// Bytes of the disk that it takes.
    pub(crate) fn taken(&self) -> u64 {
        self.bytes.lock().taken()
    }

    /// The first block from `offset` on that was not punched.
    pub(crate) fn data_from(&self, offset: u64) -> Option<u64> {
        let bytes = self.bytes.lock();
        let mut at = offset;
        while bytes.punched.contains(&(at / BLOCK_BYTES)) {
            at = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
        }
        (at < bytes.all.len() as u64).then_some(at)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Bytes) -> T) -> T {
        let mut bytes = self.bytes.lock();
        let before = bytes.taken();
        let out = change(&mut bytes);
        self.used.fetch_add(bytes.taken().wrapping_sub(before), Ordering::Relaxed);
        out
    }

    fn resize(&self, length: usize) {
        self.change(|bytes| {
            bytes.all.resize(length, 0);
            bytes.durable = bytes.durable.min(length);
            bytes.punched.split_off(&(length as u64 / BLOCK_BYTES));
        });
    }

    fn write_at(&self, data: &[u8], offset: usize) {
        self.change(|bytes| {
            let end = offset + data.len();
            if bytes.all.len() < end {
                bytes.all.resize(end, 0);
            }
            bytes.all[offset..end].copy_from_slice(data);
            let written = offset as u64 / BLOCK_BYTES..(end as u64).div_ceil(BLOCK_BYTES);
            bytes.punched.retain(|block| !written.contains(block));
        });
    }

    fn punch(&self, range: Range<u64>) {
        self.change(|bytes| {
            let end = range.end.min(bytes.all.len() as u64);
            bytes.all[range.start.min(end) as usize..end as usize].fill(0);
            bytes.punched.extend(range.start.div_ceil(BLOCK_BYTES)..end / BLOCK_BYTES);
        });
    }
}

#[derive(Clone, Debug)]
enum Node {
    Folder,
    File(Arc<Content>),
}

#[derive(Clone, Debug)]
enum Change {
    Set(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

impl Change {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Set(path, _) | Self::Remove(path) => path.parent() == Some(dir),
            Self::Rename(from, to, _) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Set(path, node) => _ = names.insert(path, node),
            Self::Remove(path) => _ = names.remove(&path),
            Self::Rename(from, to, node) => {
                names.remove(&from);
                names.insert(to, node);
            }
        }
    }
}

/// An open file. It is of no use any more after a crash.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) content: Arc<Content>,
    path: PathBuf,
    life: u64,
}

/// A lock that is held.
pub(crate) struct Lock {
    path: PathBuf,
    life: u64,
}

#[derive(Debug)]
pub(crate) struct Tree {
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Change>,
    locks: HashSet<PathBuf>,
    used: Arc<AtomicU64>,
    /// Grows with each crash, so that what was open before it is known.
    life: u64,
    pub(crate) faults: Faults,
}

impl Default for Tree {
    fn default() -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), Node::Folder)]);
        Self {
            names: root.clone(),
            durable: root,
            pending: Vec::new(),
            locks: HashSet::new(),
            used: Arc::default(),
            life: 0,
            faults: Faults::default(),
        }
    }
}

impl Tree {
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn file(&self, path: &Path) -> Result<&Arc<Content>, Fault> {
        match self.names.get(path) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Folder) => Err(Fault::Io),
            None => Err(Fault::NotFound),
        }
    }

    fn change(&mut self, change: Change) {
        self.pending.push(change.clone());
        change.apply(&mut self.names);
    }

    fn check_parent(&self, path: &Path) -> Result<(), Fault> {
        match path.parent().and_then(|parent| self.names.get(parent)) {
            Some(Node::Folder) => Ok(()),
            _ => Err(Fault::NotFound),
        }
    }

    pub(crate) fn open_read(&self, path: &Path) -> Result<Handle, Fault> {
        self.faults.alive()?;
        let content = self.file(path)?.clone();
        Ok(Handle { content, path: path.to_owned(), life: self.life })
    }

    /// Opens a file for appending, new unless it is to be kept and is there.
    pub(crate) fn open_write(&mut self, path: &Path, keep: bool) -> Result<Handle, Fault> {
        self.faults.alive()?;
        if keep && self.file(path).is_ok() {
            return self.open_read(path);
        }
        self.check_parent(path)?;
        self.faults.operation()?;
        let content = Arc::new(Content { bytes: Mutex::default(), used: self.used.clone() });
        self.change(Change::Set(path.to_owned(), Node::File(content.clone())));
        Ok(Handle { content, path: path.to_owned(), life: self.life })
    }

    fn check(&self, handle: &Handle) -> Result<(), Fault> {
        if handle.life == self.life { self.faults.alive() } else { Err(Fault::Crashed) }
    }

    pub(crate) fn append(&mut self, handle: &Handle, data: &[u8]) -> Result<(), Fault> {
        self.check(handle)?;
        let outcome = self.faults.operation();
        // A crash comes in the middle of the write: the bytes are under way.
        if !matches!(outcome, Ok(()) | Err(Fault::Crashed)) {
            return outcome;
        }
        self.faults.room(self.used_bytes(), data.len() as u64)?;
        self.used.fetch_add(data.len() as u64, Ordering::Relaxed);
        handle.content.bytes.lock().all.extend_from_slice(data);
        outcome
    }

    /// Writes where nothing durable is: what a crash leaves of overwritten bytes is not modelled.
    pub(crate) fn write_at(&mut self, handle: &Handle, data: &[u8], offset: u64) -> Result<(), Fault> {
        self.check(handle)?;
        let outcome = self.faults.operation();
        if !matches!(outcome, Ok(()) | Err(Fault::Crashed)) {
            return outcome;
        }
        self.faults.room(self.used_bytes(), data.len() as u64)?;
        handle.content.write_at(data, usize::try_from(offset).map_err(|_| Fault::NoSpace)?);
        outcome
    }

    /// Gives blocks back. It is durable at once; that it may not be is for the host's disk to show.
    pub(crate) fn punch(&mut self, handle: &Handle, range: Range<u64>) -> Result<(), Fault> {
        self.check(handle)?;
        self.faults.operation()?;
        handle.content.punch(range);
        Ok(())
    }

    pub(crate) fn read(&self, handle: &Handle, offset: u64, out: &mut [u8]) -> Result<usize, Fault> {
        self.check(handle)?;
        Ok(handle.content.read(offset, out))
    }

    pub(crate) fn truncate(&mut self, handle: &Handle, length: u64) -> Result<(), Fault> {
        self.check(handle)?;
        self.faults.operation()?;
        handle.content.resize(usize::try_from(length).map_err(|_| Fault::NoSpace)?);
        Ok(())
    }

    pub(crate) fn sync(&mut self, handle: &Handle) -> Result<(), Fault> {
        self.check(handle)?;
        self.faults.operation()?;
        if self.faults.counts(Sync::File, &handle.path) {
            let mut bytes = handle.content.bytes.lock();
            bytes.durable = bytes.all.len();
        }
        Ok(())
    }

    pub(crate) fn exists(&self, path: &Path) -> Result<bool, Fault> {
        self.faults.alive()?;
        Ok(self.names.contains_key(path))
    }

    /// `None` when there is nothing of this name.
    pub(crate) fn is_dir(&self, path: &Path) -> Result<Option<bool>, Fault> {
        self.faults.alive()?;
        Ok(self.names.get(path).map(|node| matches!(node, Node::Folder)))
    }

    pub(crate) fn list(&self, dir: &Path) -> Result<Vec<PathBuf>, Fault> {
        self.faults.alive()?;
        if !matches!(self.names.get(dir), Some(Node::Folder)) {
            return Err(Fault::NotFound);
        }
        let inside = self.names.range(dir.to_owned()..).skip(1).take_while(|(path, _)| path.starts_with(dir));
        let children = inside.filter(|(path, _)| path.parent() == Some(dir));
        Ok(children.filter_map(|(path, _)| path.file_name().map(PathBuf::from)).collect())
    }

    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), Fault> {
        self.faults.alive()?;
        self.file(path)?;
        self.faults.operation()?;
        self.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    pub(crate) fn make_dir(&mut self, path: &Path) -> Result<(), Fault> {
        self.faults.alive()?;
        if self.names.contains_key(path) {
            return Err(Fault::Exists);
        }
        self.check_parent(path)?;
        self.faults.operation()?;
        self.change(Change::Set(path.to_owned(), Node::Folder));
        Ok(())
    }

    pub(crate) fn remove_dir(&mut self, path: &Path) -> Result<(), Fault> {
        if !self.list(path)?.is_empty() {
            return Err(Fault::Exists);
        }
        self.faults.operation()?;
        self.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    /// Gives a file another name, in place of the file that had it.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Fault> {
        self.faults.alive()?;
        let node = Node::File(self.file(from)?.clone());
        self.check_parent(to)?;
        self.faults.operation()?;
        self.change(Change::Rename(from.to_owned(), to.to_owned(), node));
        Ok(())
    }

    /// Gives a file a second name.
    pub(crate) fn link(&mut self, from: &Path, to: &Path) -> Result<(), Fault> {
        self.faults.alive()?;
        let node = Node::File(self.file(from)?.clone());
        self.check_parent(to)?;
        if self.names.contains_key(to) {
            return Err(Fault::Exists);
        }
        self.faults.operation()?;
        self.change(Change::Set(to.to_owned(), node));
        Ok(())
    }

    pub(crate) fn sync_dir(&mut self, dir: &Path) -> Result<(), Fault> {
        self.faults.alive()?;
        self.faults.operation()?;
        if self.faults.counts(Sync::Folder, dir) {
            let (synced, pending) = std::mem::take(&mut self.pending).into_iter().partition(|change| change.is_in(dir));
            let synced: Vec<Change> = synced;
            self.pending = pending;
            synced.into_iter().for_each(|change| change.apply(&mut self.durable));
        }
        Ok(())
    }

    pub(crate) fn lock(&mut self, path: &Path) -> Result<Lock, Fault> {
        self.faults.alive()?;
        if !self.locks.insert(path.to_owned()) {
            return Err(Fault::Locked);
        }
        if !self.names.contains_key(path) {
            self.open_write(path, true)?;
        }
        Ok(Lock { path: path.to_owned(), life: self.life })
    }

    pub(crate) fn unlock(&mut self, lock: &Lock) {
        if lock.life == self.life {
            self.locks.remove(&lock.path);
        }
    }

    /// Loses what was not durable: all of it, or with `rng` some of it; what was open is of no use any more.
    pub(crate) fn lose(&mut self, rng: Option<&dyn Rng>) {
        let up_to = |length: usize| rng.map_or(0, |rng| (rng.next_u64() % (length as u64 + 1)) as usize);
        let kept = up_to(self.pending.len());
        for change in self.pending.drain(..).take(kept) {
            change.apply(&mut self.durable);
        }
        let folders: HashSet<PathBuf> = self
            .durable
            .iter()
            .filter(|(_, node)| matches!(node, Node::Folder))
            .map(|(path, _)| path.clone())
            .collect();
        self.durable.retain(|path, _| path.ancestors().skip(1).all(|above| folders.contains(above)));
        for node in self.durable.values() {
            let Node::File(content) = node else { continue };
            let (length, durable) = (content.length() as usize, content.bytes.lock().durable);
            content.resize(durable + up_to(length - durable));
            let mut bytes = content.bytes.lock();
            bytes.durable = bytes.all.len();
        }
        self.names = self.durable.clone();
        self.locks.clear();
        self.life += 1;
        self.faults.revive();
    }

    /// All files with their lengths.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64)> {
        let files = self.names.iter().filter_map(|(path, node)| match node {
            Node::File(content) => Some((path.clone(), content.length())),
            Node::Folder => None,
        });
        files.collect()
    }

    /// Flips a bit of a byte that is there.
    pub(crate) fn flip(&mut self, path: &Path, offset: u64, bit: u8) -> Result<(), Fault> {
        let content = self.file(path)?.clone();
        let mut bytes = content.bytes.lock();
        let byte = bytes.all.get_mut(usize::try_from(offset).unwrap_or(usize::MAX)).ok_or(Fault::NotFound)?;
        *byte ^= 1 << (bit % 8);
        Ok(())
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
