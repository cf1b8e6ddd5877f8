//! Opening the store.

use std::sync::Arc;

use karri_ring_disk::DiskPath;
use rocksdb::{
    BlockBasedOptions, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, IteratorMode, Options, WriteOptions,
};

use crate::keys::{EXTENTS, PARTITIONS, RUNS, SMALL, TOMBSTONES, parse_partition_key, parse_partition_value};
use crate::store::{Db, ExtentConfig, ExtentError, ExtentStore, Index};

/// Folder of external files before they are ingested.
pub(crate) const INGEST: &str = "ingest";
/// Files that stay open; each ingested run is one.
const OPEN_FILES_MAX: i32 = 4096;

impl ExtentStore {
    /// Opens the store, making it when there is none, and counts what it has.
    pub fn open(config: ExtentConfig) -> Result<Arc<Self>, ExtentError> {
        let ingest = config.dir.join(INGEST);
        ingest.create_dir_all()?;
        // What was not ingested before a crash was not acknowledged either.
        for file in ingest.list()? {
            file.remove()?;
        }
        let families = vec![
            ColumnFamilyDescriptor::new(RUNS, run_options()),
            ColumnFamilyDescriptor::new(SMALL, small_options()),
            ColumnFamilyDescriptor::new(EXTENTS, row_options()),
            ColumnFamilyDescriptor::new(PARTITIONS, row_options()),
            ColumnFamilyDescriptor::new(TOMBSTONES, row_options()),
        ];
        let db =
            Db::open_cf_descriptors(&database_options(&config.dir)?, config.dir.join("db").create_store()?, families)?;
        let index = count(&db)?;
        let store = Self::assemble(db, &config, index);
        store.recover_owners()?;
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
    options.set_max_total_wal_size(256 << 20);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_bytes_per_sync(4 << 20);
    Ok(options)
}

/// Ingested files lie side by side in the last level and are never rewritten.
fn run_options() -> Options {
    as_runs(Options::default())
}

fn as_runs(mut options: Options) -> Options {
    options.set_disable_auto_compactions(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_block_based_table_factory(&large_blocks());
    options
}

/// Small runs: keys in the tree, chunks in blob files.
fn small_options() -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(4096);
    options.set_blob_file_size(256 << 20);
    options.set_enable_blob_gc(true);
    options.set_write_buffer_size(64 << 20);
    options
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

/// A chunk is a block of its own, and chunks do not belong in the block cache: the page cache has them.
fn large_blocks() -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(1 << 20);
    table.disable_cache();
    table
}

fn count(db: &Db) -> Result<Index, ExtentError> {
    let mut index = Index::new();
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

/// Options of an external file: those of the family that takes it.
pub(crate) fn external_file_options(dir: &DiskPath) -> Result<Options, ExtentError> {
    Ok(as_runs(dir.store_options()?))
}
