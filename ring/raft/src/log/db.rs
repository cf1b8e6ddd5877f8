//! The RocksDB: its options, keys and reads. All writes go through the flusher.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use karri_ring_disk::DiskPath;
use parking_lot::RwLock;
use rocksdb::{
    BoundColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Direction, IteratorMode, Options,
    ReadOptions,
};

use crate::codec::{self, LogIdRecord, VoteRecord};
use crate::types::{Entry, LogId, Vote};

/// Entries: key group, index; value [`codec::encode_entry`].
pub(super) const CF_LOG: &str = "log";
/// What else a group has: key group, tag.
pub(super) const CF_STATE: &str = "state";

pub(super) const TAG_VOTE: u8 = 1;
pub(super) const TAG_PURGED: u8 = 2;
/// The group left this node; only its vote is kept, so that it never votes twice in a term.
pub(super) const TAG_REMOVED: u8 = 3;

const WRITE_BUFFER_BYTES: usize = 64 << 20;
const WAL_BYTES_MAX: u64 = 512 << 20;
const OPEN_FILES_MAX: i32 = 256;
const BACKGROUND_JOBS: i32 = 2;

/// What is on disk of a group at its opening.
#[derive(Default)]
pub(super) struct Persisted {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    /// Index of the first entry.
    pub(super) first: Option<u64>,
    pub(super) last: Option<LogId>,
    /// The group left this node once.
    pub(super) removed: bool,
}

/// The database; `close` takes it away from late readers, so that a host can be opened again in one process.
pub(crate) struct LogDb {
    db: RwLock<Option<Arc<DB>>>,
}

pub(super) fn log_key(group: u64, index: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&group.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

pub(super) fn state_key(group: u64, tag: u8) -> [u8; 9] {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&group.to_be_bytes());
    key[8] = tag;
    key
}

fn number(bytes: &[u8]) -> io::Result<u64> {
    let bytes = bytes.try_into().map_err(|_| codec::corrupt("raft key of a wrong length"))?;
    Ok(u64::from_be_bytes(bytes))
}

pub(super) fn cf<'a>(db: &'a DB, name: &str) -> io::Result<Arc<BoundColumnFamily<'a>>> {
    db.cf_handle(name).ok_or_else(|| io::Error::other("raft column family is missing"))
}

fn options(dir: &DiskPath) -> io::Result<Options> {
    let mut options = dir.store_options()?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // The default mode would silently drop all that follows a corrupt record, synced votes included.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_keep_log_file_num(4);
    Ok(options)
}

fn cf_options() -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_compression_type(DBCompressionType::Lz4);
    options
}

impl LogDb {
    pub(crate) fn open(dir: &DiskPath) -> io::Result<Arc<Self>> {
        let name = dir.create_store()?;
        let families = [CF_LOG, CF_STATE].map(|name| ColumnFamilyDescriptor::new(name, cf_options()));
        let db = DB::open_cf_descriptors(&options(dir)?, name, families).map_err(io::Error::other)?;
        Ok(Arc::new(Self { db: RwLock::new(Some(Arc::new(db))) }))
    }

    pub(super) fn get(&self) -> io::Result<Arc<DB>> {
        self.db.read().clone().ok_or_else(|| io::Error::other("raft log store is closed"))
    }

    /// Takes the database away; it closes when the last read ends.
    pub(crate) fn close(&self) -> Option<Arc<DB>> {
        self.db.write().take()
    }

    fn state(db: &DB, group: u64, tag: u8) -> io::Result<Option<Vec<u8>>> {
        db.get_cf(&cf(db, CF_STATE)?, state_key(group, tag)).map_err(io::Error::other)
    }

    pub(super) fn load(&self, group: u64) -> io::Result<Persisted> {
        let db = self.get()?;
        let vote = match Self::state(&db, group, TAG_VOTE)? {
            Some(bytes) => Some(codec::decode::<VoteRecord>(&bytes)?.into()),
            None => None,
        };
        let purged: Option<LogId> = match Self::state(&db, group, TAG_PURGED)? {
            Some(bytes) => Some(codec::decode::<LogIdRecord>(&bytes)?.into()),
            None => None,
        };
        let first = Self::edge(&db, group, Direction::Forward)?.map(|entry| entry.log_id.index);
        let last = Self::edge(&db, group, Direction::Reverse)?.map(|entry| entry.log_id).max(purged);
        let removed = Self::state(&db, group, TAG_REMOVED)?.is_some();
        Ok(Persisted { vote, purged, first, last, removed })
    }

    /// The first or the last entry.
    fn edge(db: &DB, group: u64, direction: Direction) -> io::Result<Option<Entry>> {
        let index = if matches!(direction, Direction::Forward) { 0 } else { u64::MAX };
        let start = log_key(group, index);
        let mode = IteratorMode::From(&start, direction);
        let Some(row) = db.iterator_cf(&cf(db, CF_LOG)?, mode).next() else { return Ok(None) };
        let (key, value) = row.map_err(io::Error::other)?;
        if key.len() != 16 || number(&key[..8])? != group {
            return Ok(None);
        }
        Ok(Some(codec::decode_entry(number(&key[8..])?, Bytes::from(value.into_vec()))?))
    }

    /// Ids of the groups that have a vote or a log here and did not leave.
    pub(crate) fn groups(&self) -> io::Result<Vec<u64>> {
        let db = self.get()?;
        let mut groups: Vec<u64> = Vec::new();
        for row in db.iterator_cf(&cf(&db, CF_STATE)?, IteratorMode::Start) {
            let (key, _) = row.map_err(io::Error::other)?;
            let (Some(group), Some(tag)) = (key.get(..8), key.get(8)) else {
                return Err(codec::corrupt("raft key of a wrong length"));
            };
            let group = number(group)?;
            if *tag == TAG_REMOVED {
                groups.retain(|g| *g != group);
            } else if groups.last() != Some(&group) {
                groups.push(group);
            }
        }
        Ok(groups)
    }

    /// Entries from `start` on, before `end`, as far as they follow one another, and whether it stopped because
    /// they reached `bytes_max`, which it does not before the first.
    pub(super) fn entries(&self, group: u64, start: u64, end: u64, bytes_max: usize) -> io::Result<(Vec<Entry>, bool)> {
        let db = self.get()?;
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(log_key(group, end).to_vec());
        let first = log_key(group, start);
        let mode = IteratorMode::From(&first, Direction::Forward);
        let mut entries = Vec::new();
        let mut bytes = 0;
        for row in db.iterator_cf_opt(&cf(&db, CF_LOG)?, options, mode) {
            let (key, value) = row.map_err(io::Error::other)?;
            let index = number(key.get(8..).unwrap_or_default())?;
            if index != start + entries.len() as u64 {
                break;
            }
            bytes += value.len();
            entries.push(codec::decode_entry(index, Bytes::from(value.into_vec()))?);
            if bytes >= bytes_max {
                return Ok((entries, true));
            }
        }
        Ok((entries, false))
    }
}
