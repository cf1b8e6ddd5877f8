//! A path and the disk that it is on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::Options;

use crate::{Disk, DiskFile, HostDisk, Space};

/// A file or folder on a [`Disk`].
#[derive(Clone)]
pub struct DiskPath {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl fmt::Debug for DiskPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl fmt::Display for DiskPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl DiskPath {
    /// A path on `disk`.
    pub fn new(disk: Arc<dyn Disk>, path: impl Into<PathBuf>) -> Self {
        Self { disk, path: path.into() }
    }

    /// A path on the machine's own disk.
    pub fn host(path: impl Into<PathBuf>) -> Self {
        Self::new(Arc::new(HostDisk), path)
    }

    /// The path of `name` in this folder.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> Self {
        Self { disk: self.disk.clone(), path: self.path.join(name) }
    }

    /// The path without its disk, to be told to people and to RocksDB for single files.
    pub fn as_path(&self) -> &Path {
        &self.path
    }

    /// See [`Disk::create_dir_all`].
    pub fn create_dir_all(&self) -> io::Result<()> {
        self.disk.create_dir_all(&self.path)
    }

    /// See [`Disk::read`].
    pub fn read(&self) -> io::Result<Vec<u8>> {
        self.disk.read(&self.path)
    }

    /// As [`DiskPath::read`]; `None` when the file is not there.
    pub fn read_if_there(&self) -> io::Result<Option<Vec<u8>>> {
        match self.read() {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// See [`Disk::create`].
    pub fn create(&self, content: &[u8]) -> io::Result<()> {
        self.disk.create(&self.path, content)
    }

    /// See [`Disk::replace`].
    pub fn replace(&self, content: &[u8]) -> io::Result<()> {
        self.disk.replace(&self.path, content)
    }

    /// See [`Disk::create_file`].
    pub fn create_file(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create_file(&self.path)
    }

    /// See [`Disk::open_file`].
    pub fn open_file(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_file(&self.path)
    }

    /// See [`Disk::remove`].
    pub fn remove(&self) -> io::Result<()> {
        self.disk.remove(&self.path)
    }

    /// See [`Disk::exists`].
    pub fn exists(&self) -> io::Result<bool> {
        self.disk.exists(&self.path)
    }

    /// The paths in this folder.
    pub fn list(&self) -> io::Result<Vec<Self>> {
        Ok(self.disk.list(&self.path)?.into_iter().map(|name| self.join(name)).collect())
    }

    /// See [`Disk::sync_dir`].
    pub fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.path)
    }

    /// See [`Disk::space`].
    pub fn space(&self) -> io::Result<Space> {
        self.disk.space(&self.path)
    }

    /// RocksDB's default options, on this disk.
    pub fn store_options(&self) -> io::Result<Options> {
        let mut options = Options::default();
        options.set_env(&self.disk.env()?);
        Ok(options)
    }

    /// Makes this folder for a store, and gives the name to open it by.
    pub fn create_store(&self) -> io::Result<PathBuf> {
        self.create_dir_all()?;
        self.disk.store_name(&self.path)
    }
}
