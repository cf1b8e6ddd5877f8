//! The one RocksDB in which a node keeps the applied state of all its ranges.
//!
//! The write-ahead log is off: Raft's log is the log. A batch lands in one memtable, and memtables become files in
//! order, so after a crash the store holds the outcome of a prefix of its batches, each whole.

use std::sync::atomic::{AtomicU64, Ordering};

use karri_ring_disk::DiskPath;
use karri_ring_types::RangeId;
use parking_lot::Mutex;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, IngestExternalFileOptions,
    Options, ReadOptions, Snapshot, WriteBatch, WriteOptions,
};

use crate::row::{OWN_KEYS_START, Own, own_key, parse_own_key};
use crate::{MetaConfig, MetaError};

const BLOOM_BITS_PER_KEY: f64 = 10.0;
const BLOCK_SIZE_BYTES: usize = 16 << 10;
/// Of a piece of an index or a filter.
const METADATA_BLOCK_SIZE_BYTES: usize = 8 << 10;
const WRITE_BUFFERS_MAX: i32 = 4;
const BACKGROUND_JOBS_MAX: i32 = 2;
const OPEN_FILES_MAX: i32 = 512;
/// A file with this many deletions in so many rows is compacted soon, lest scans walk over them.
const DELETIONS_WINDOW: usize = 4096;
const DELETIONS_TRIGGER: usize = 1024;
const LOG_FILES_KEPT: usize = 4;
const LOG_FILE_BYTES_MAX: usize = 4 << 20;

/// The store and what is known about how much of it is on disk.
pub(crate) struct Storage {
    db: DB,
    staging: DiskPath,
    /// Number of the next staged file.
    staged: AtomicU64,
    write_options: WriteOptions,
    /// Batches up to this sequence number are durable.
    flushed: Mutex<u64>,
}

impl Storage {
    pub(crate) fn open(config: &MetaConfig) -> Result<Self, MetaError> {
        let staging = config.dir.join("install");
        staging.create_dir_all()?;
        let db = DB::open(&options(config)?, config.dir.join("state").create_store()?)?;
        let mut write_options = WriteOptions::default();
        write_options.disable_wal(true);
        let flushed = Mutex::new(db.latest_sequence_number());
        Ok(Self { db, staging, staged: AtomicU64::new(0), write_options, flushed })
    }

    /// Applies a batch; durable after [`Storage::flush`].
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), MetaError> {
        Ok(self.db.write_opt(batch, &self.write_options)?)
    }

    /// Sequence number of the last batch.
    pub(crate) fn sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Makes batches up to `sequence` durable. One flush serves all ranges whose writes it covers.
    pub(crate) fn flush(&self, sequence: u64) -> Result<(), MetaError> {
        let mut flushed = self.flushed.lock();
        if *flushed < sequence {
            let reached = self.db.latest_sequence_number();
            self.db.flush()?;
            *flushed = reached;
        }
        Ok(())
    }

    pub(crate) fn get<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, MetaError>,
    ) -> Result<Option<T>, MetaError> {
        self.db.get_pinned(key)?.map(|stored| read(&stored)).transpose()
    }

    pub(crate) fn get_own(&self, range: RangeId, what: Own) -> Result<Option<Vec<u8>>, MetaError> {
        self.get(&own_key(range, what), |bytes| Ok(bytes.to_vec()))
    }

    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        self.db.snapshot()
    }

    /// Rows of `what` of all ranges.
    pub(crate) fn own_rows(&self, what: Own) -> Result<Vec<(RangeId, Vec<u8>)>, MetaError> {
        let snapshot = self.db.snapshot();
        let mut rows = Vec::new();
        let mut cursor = cursor(&snapshot, OWN_KEYS_START, vec![OWN_KEYS_START[0] + 1]);
        while let Some((key, value)) = cursor.item() {
            if let Some((range, kind)) = parse_own_key(key)
                && kind == what as u8
            {
                rows.push((range, value.to_vec()));
            }
            cursor.next();
        }
        cursor.status()?;
        Ok(rows)
    }

    /// Folder for files that wait to be ingested.
    pub(crate) fn staging(&self) -> &DiskPath {
        &self.staging
    }

    /// Path of a file that nobody else writes.
    pub(crate) fn new_staged_file(&self) -> DiskPath {
        self.staging.join(format!("{}.sst", self.staged.fetch_add(1, Ordering::Relaxed)))
    }

    /// Options with which files for [`Storage::ingest`] are written.
    pub(crate) fn file_options(&self) -> Result<Options, MetaError> {
        let mut options = self.staging.store_options()?;
        table_options(&mut options, None);
        Ok(options)
    }

    /// Takes over files of rows, all at once and durably; the files are gone afterwards.
    pub(crate) fn ingest(&self, files: &[DiskPath]) -> Result<(), MetaError> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        Ok(self.db.ingest_external_file_opts(&options, files.iter().map(DiskPath::as_path).collect())?)
    }
}

/// A cursor over the physical keys `[lower, upper)`, at the first.
pub(crate) fn cursor<'a>(snapshot: &'a Snapshot<'a>, lower: &[u8], upper: Vec<u8>) -> DBRawIterator<'a> {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(lower);
    options.set_iterate_upper_bound(upper);
    let mut cursor = snapshot.raw_iterator_opt(options);
    cursor.seek(lower);
    cursor
}

fn options(config: &MetaConfig) -> Result<Options, MetaError> {
    let mut options = config.dir.store_options()?;
    options.create_if_missing(true);
    options.set_write_buffer_size(config.write_buffer_bytes);
    options.set_max_write_buffer_number(WRITE_BUFFERS_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_keep_log_file_num(LOG_FILES_KEPT);
    options.set_max_log_file_size(LOG_FILE_BYTES_MAX);
    options.add_compact_on_deletion_collector_factory(DELETIONS_WINDOW, DELETIONS_TRIGGER, 0.0);
    let cache = Cache::new_lru_cache(config.cache_bytes);
    table_options(&mut options, Some(&cache));
    Ok(options)
}

fn table_options(options: &mut Options, cache: Option<&Cache>) {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_size(BLOCK_SIZE_BYTES);
    blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    blocks.set_format_version(5);
    // Indexes and filters in pieces: those of a whole file are a megabyte, and with many files they push each other out of
    // the cache, so that each look for a row would read them anew.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(METADATA_BLOCK_SIZE_BYTES);
    if let Some(cache) = cache {
        blocks.set_block_cache(cache);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
        blocks.set_pin_top_level_index_and_filter(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    }
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
}
