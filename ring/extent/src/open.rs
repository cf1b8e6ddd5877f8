//! Opening the store.

use std::sync::Arc;

use karri_ring_disk::DiskPath;
use rocksdb::{
    BlockBasedOptions, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, IteratorMode, Options, WriteOptions,
};

use crate::keys::{CHUNKS, EXTENTS, PARTITIONS, SEGMENTS, TOMBSTONES, parse_partition_key, parse_partition_value};
use crate::recover::closed_segments;
use crate::segment::Segments;
use crate::store::{Db, ExtentConfig, ExtentError, ExtentStore, Index};

/// Folder of the segments.
const SEGMENT_FOLDER: &str = "segments";
/// Files of rows that stay open.
const OPEN_FILES_MAX: i32 = 512;

impl ExtentStore {
    /// Opens the store, making it when there is none, and counts what it has.
    pub fn open(config: ExtentConfig) -> Result<Arc<Self>, ExtentError> {
        let families = vec![
            ColumnFamilyDescriptor::new(CHUNKS, row_options()),
            ColumnFamilyDescriptor::new(SEGMENTS, row_options()),
            ColumnFamilyDescriptor::new(EXTENTS, row_options()),
            ColumnFamilyDescriptor::new(PARTITIONS, row_options()),
            ColumnFamilyDescriptor::new(TOMBSTONES, row_options()),
        ];
        let db =
            Db::open_cf_descriptors(&database_options(&config.dir)?, config.dir.join("db").create_store()?, families)?;
        let (segments, unread) = Segments::open(config.dir.join(SEGMENT_FOLDER), &closed_segments(&db)?)?;
        let store = Self::assemble(db, &config, segments);
        store.recover(&unread)?;
        *store.index.lock() = count(&store.db)?;
        Ok(store)
    }
}

/// Writes that are durable when they return.
pub(crate) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

fn database_options(dir: &DiskPath) -> Result<Options, ExtentError> {
    let mut options = dir.store_options()?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_total_wal_size(64 << 20);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    Ok(options)
}

fn row_options() -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(8 << 20);
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(10.0, false);
    options.set_block_based_table_factory(&table);
    options
}

fn count(db: &Db) -> Result<Index, ExtentError> {
    let mut index = Index::default();
    let family = db.cf_handle(PARTITIONS).ok_or_else(|| ExtentError::Damaged("no partitions".to_owned()))?;
    for row in db.iterator_cf(&family, IteratorMode::Start) {
        let (key, value) = row?;
        match (parse_partition_key(&key), parse_partition_value(&value)) {
            (Some((_, id)), Some((root, length))) => index.add(id, root, length),
            _ => return Err(ExtentError::Damaged("a partition row".to_owned())),
        }
    }
    Ok(index)
}
