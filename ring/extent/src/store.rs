//! The store, its configuration and its errors.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use karri_ring_disk::DiskPath;
use karri_ring_types::{Digest, ExtentId, ExtentKind, PartitionId};
use parking_lot::Mutex;
use rocksdb::{BoundColumnFamily, DBWithThreadMode, MultiThreaded};
use tokio::sync::Semaphore;

use crate::disk::DiskGuard;
use crate::segment::Segments;
use crate::turns::{OpenLengths, Turns};

/// Blocking operations of the store that run at once.
const BLOCKING_OPERATIONS_MAX: usize = 32;

pub(crate) type Db = DBWithThreadMode<MultiThreaded>;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct ExtentConfig {
    /// Folder of the store; made when missing.
    pub dir: DiskPath,
    /// Free bytes of the file system below which writes are refused.
    pub reserve_bytes: u64,
}

/// Told of a write or sync that failed other than for want of room.
pub type OnFailedWrite = dyn Fn(&ExtentError) + Send + Sync;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum ExtentError {
    /// Only the reserve of the disk is left; reads go on and writes will when there is room.
    #[error("the disk is full")]
    DiskFull,
    /// The stored bytes are not those that were written.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// A record cannot be read.
    #[error("damaged record: {0}")]
    Damaged(String),
    /// A seal names chunks that are not here, or the extent is not as the caller says.
    #[error("incomplete extent: {0}")]
    Incomplete(String),
    /// The extent was deleted on a committed proof and cannot come back.
    #[error("the extent was deleted")]
    Deleted,
    /// RocksDB failed.
    #[error("storage: {0}")]
    Storage(#[source] rocksdb::Error),
    /// The file system failed.
    #[error("file system: {0}")]
    Io(#[source] std::io::Error),
    /// The store is closing.
    #[error("the store is closing")]
    Closing,
}

impl From<std::io::Error> for ExtentError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

impl From<rocksdb::Error> for ExtentError {
    fn from(error: rocksdb::Error) -> Self {
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Self::Corrupt(error.to_string()),
            rocksdb::ErrorKind::IOError if error.as_ref().contains("No space left on device") => Self::DiskFull,
            _ => Self::Storage(error),
        }
    }
}

/// How many sealed extents of one kind a partition has, and a digest of which: equal on two nodes that hold the same,
/// or shards of the same stripes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionSummary {
    /// Sealed extents.
    pub count: u64,
    /// XOR of a hash of each id with its root.
    pub xor_hash: u128,
}

impl PartitionSummary {
    fn toggle(&mut self, id: ExtentId, root: Digest) {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(&id.group().to_bytes());
        bytes[16..].copy_from_slice(&root.0);
        let hash = Digest::of(&bytes);
        let (first, _) = hash.0.split_first_chunk::<16>().expect("32 bytes");
        self.xor_hash ^= u128::from_le_bytes(*first);
    }
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sealed extents.
    pub extents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Free bytes of the file system.
    pub free_bytes: u64,
    /// True when writes are refused.
    pub full: bool,
}

#[derive(Default)]
pub(crate) struct Index {
    /// Only those that have an extent.
    pub(crate) partitions: BTreeMap<(PartitionId, ExtentKind), PartitionSummary>,
    pub(crate) bytes: u64,
}

impl Index {
    pub(crate) fn add(&mut self, id: ExtentId, root: Digest, length_bytes: u64) {
        let summary = self.partitions.entry((id.partition(), id.kind())).or_default();
        summary.count += 1;
        summary.toggle(id, root);
        self.bytes += length_bytes;
    }

    pub(crate) fn remove(&mut self, id: ExtentId, root: Digest, length_bytes: u64) {
        let place = (id.partition(), id.kind());
        let summary = self.partitions.entry(place).or_default();
        assert!(summary.count > 0, "an extent is removed that was never added");
        summary.count -= 1;
        summary.toggle(id, root);
        if summary.count == 0 {
            self.partitions.remove(&place);
        }
        self.bytes -= length_bytes;
    }
}

/// The extents of one node.
pub struct ExtentStore {
    pub(crate) db: Db,
    pub(crate) disk: DiskGuard,
    pub(crate) index: Mutex<Index>,
    pub(crate) open: OpenLengths,
    pub(crate) turns: Turns,
    pub(crate) segments: Segments,
    places: Semaphore,
    on_failed_write: OnceLock<Box<OnFailedWrite>>,
}

impl ExtentStore {
    pub(crate) fn assemble(db: Db, config: &ExtentConfig, segments: Segments) -> Arc<Self> {
        Arc::new(Self {
            db,
            disk: DiskGuard::new(config.dir.clone(), config.reserve_bytes),
            index: Mutex::default(),
            open: OpenLengths::default(),
            turns: Turns::new(),
            segments,
            places: Semaphore::new(BLOCKING_OPERATIONS_MAX),
            on_failed_write: OnceLock::new(),
        })
    }

    pub(crate) fn family(&self, name: &str) -> Result<Arc<BoundColumnFamily<'_>>, ExtentError> {
        self.db.cf_handle(name).ok_or_else(|| ExtentError::Damaged(format!("no column family {name}")))
    }

    /// Runs a blocking operation off the async threads.
    pub(crate) async fn blocking<T, F>(self: &Arc<Self>, operation: F) -> Result<T, ExtentError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, ExtentError> + Send + 'static,
    {
        let _place = self.places.acquire().await.map_err(|_| ExtentError::Closing)?;
        let store = self.clone();
        let done = karri_ring_types::blocking(move || operation(&store)).await;
        done.unwrap_or(Err(ExtentError::Closing))
    }

    /// As [`ExtentStore::blocking`], for what writes.
    pub(crate) async fn writing<T, F>(self: &Arc<Self>, operation: F) -> Result<T, ExtentError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, ExtentError> + Send + 'static,
    {
        let done = self.blocking(operation).await;
        if let Err(error @ (ExtentError::Storage(_) | ExtentError::Io(_))) = &done
            && let Some(tell) = self.on_failed_write.get()
        {
            tell(error);
        }
        done
    }

    /// Sets who is told when a write fails: nobody knows then what is on the disk until it is opened again. The first
    /// call counts.
    pub fn on_failed_write(&self, tell: Box<OnFailedWrite>) {
        let _ = self.on_failed_write.set(tell);
    }

    /// Summary of a partition's sealed extents of one kind.
    pub fn summary(&self, partition: PartitionId, kind: ExtentKind) -> PartitionSummary {
        self.index.lock().partitions.get(&(partition, kind)).copied().unwrap_or_default()
    }

    /// Summaries of a partition's sealed extents of each kind that there is.
    pub fn summaries(&self, partition: PartitionId) -> Vec<(ExtentKind, PartitionSummary)> {
        let index = self.index.lock();
        let range = index.partitions.range((partition, ExtentKind::default())..);
        let of = range.take_while(|((of, _), _)| *of == partition);
        of.map(|((_, kind), summary)| (*kind, *summary)).collect()
    }

    /// What the store holds and how much room is left.
    pub fn usage(&self) -> Usage {
        let (extents, bytes) = {
            let index = self.index.lock();
            (index.partitions.values().map(|summary| summary.count).sum(), index.bytes)
        };
        Usage { extents, bytes, free_bytes: self.disk.free_bytes(), full: self.disk.is_full() }
    }
}
