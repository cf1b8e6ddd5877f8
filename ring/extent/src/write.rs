//! Writing runs and sealing extents. What returns `Ok` is on the disk.

use std::sync::Arc;

use karri_ring_types::{CHUNK_SIZE_BYTES, EXTENT_SIZE_BYTES_MAX, ExtentId, chunk_count, chunk_length};
use rocksdb::WriteBatch;

use crate::keys::{EXTENTS, PARTITIONS, RUNS, SMALL, TOMBSTONES, chunk_key, partition_key, partition_value};
use crate::open::synced;
use crate::records::{ExtentHeader, Row, Run};
use crate::store::{ExtentError, ExtentStore};

/// Runs of at least this many bytes become files that are ingested. ADR 0003 has the measurement.
const INGEST_BYTES_MIN: usize = 2 << 20;

impl ExtentStore {
    /// Stores a run.
    ///
    /// # Errors
    /// [`ExtentError::DiskFull`] before anything is written; [`ExtentError::Deleted`] for an extent that was deleted.
    pub async fn write_run(self: &Arc<Self>, run: Run) -> Result<(), ExtentError> {
        self.blocking(move |store| store.write_run_now(&run, None)).await
    }

    /// Stores the last run of an extent and seals it; a small extent costs one fsync.
    pub async fn write_run_and_seal(self: &Arc<Self>, run: Run, header: ExtentHeader) -> Result<(), ExtentError> {
        self.blocking(move |store| store.write_run_now(&run, Some(&header))).await
    }

    /// Seals an extent whose runs have been written.
    ///
    /// # Errors
    /// [`ExtentError::Incomplete`] when a chunk is missing or is of another length.
    pub async fn seal(self: &Arc<Self>, id: ExtentId, header: ExtentHeader) -> Result<(), ExtentError> {
        self.blocking(move |store| {
            if let Some(sealed) = store.header_now(id)? {
                return same_content(id, &sealed, &header);
            }
            store.check_chunks(id, &header, None)?;
            let mut batch = WriteBatch::default();
            store.put_header(&mut batch, id, &header)?;
            // An extent may be sealed before the end of what was written.
            for index in
                (chunk_count(header.length_bytes)..).take_while(|&index| store.open.length(id, index).is_some())
            {
                batch.delete_cf(&store.family(SMALL)?, chunk_key(id, index));
            }
            store.commit_seal(batch, id, &header)
        })
        .await
    }

    /// Replaces a chunk whose copy here is bad.
    pub async fn replace_chunk(
        self: &Arc<Self>,
        id: ExtentId,
        index: u32,
        chunk: bytes::Bytes,
    ) -> Result<(), ExtentError> {
        self.blocking(move |store| {
            store.refuse_deleted(id)?;
            let key = chunk_key(id, index);
            let family = store.family(if store.is_ingested(id, index)? { RUNS } else { SMALL })?;
            let mut batch = WriteBatch::default();
            batch.put_cf(&family, key, &chunk);
            store.db.write_opt(batch, &synced())?;
            Ok(())
        })
        .await
    }

    fn write_run_now(&self, run: &Run, seal: Option<&ExtentHeader>) -> Result<(), ExtentError> {
        check_run(run)?;
        self.disk.admit(run.length_bytes() as u64)?;
        self.refuse_deleted(run.extent)?;
        if let Some(sealed) = self.header_now(run.extent)? {
            // Repair was faster than a slow writer.
            return same_content(run.extent, &sealed, seal.unwrap_or(&sealed));
        }
        let mut batch = WriteBatch::default();
        if run.length_bytes() >= INGEST_BYTES_MIN {
            // The file names the owner too: the row need not be synced by itself.
            self.put_open(run, None)?;
            self.ingest(run)?;
            self.drop_if_deleted(run.extent)?;
        } else {
            let family = self.family(SMALL)?;
            for (index, chunk) in (run.first_chunk..).zip(&run.chunks) {
                batch.put_cf(&family, chunk_key(run.extent, index), chunk);
            }
        }
        if let Some(header) = seal {
            self.check_chunks(run.extent, header, Some(run))?;
            self.put_header(&mut batch, run.extent, header)?;
            return self.commit_seal(batch, run.extent, header);
        }
        if !batch.is_empty() {
            self.put_open(run, Some(batch))?;
        }
        self.open.note(run);
        Ok(())
    }

    /// Writes the row of an extent that is begun, with the run itself when that is small: then durably.
    fn put_open(&self, run: &Run, chunks: Option<WriteBatch>) -> Result<(), ExtentError> {
        let durable = chunks.is_some();
        let mut batch = chunks.unwrap_or_default();
        // Neither a deletion nor a seal comes in between.
        let _turn = self.turns.of(run.extent);
        self.refuse_deleted(run.extent)?;
        if run.first_chunk == 0 && self.header_now(run.extent)?.is_none() {
            batch.put_cf(&self.family(EXTENTS)?, run.extent.to_bytes(), Row::Open(run.owner.clone()).encode()?);
        }
        let written = if durable { self.db.write_opt(batch, &synced()) } else { self.db.write(batch) };
        Ok(written?)
    }

    /// Drops a file that was taken over after its extent was deleted.
    fn drop_if_deleted(&self, id: ExtentId) -> Result<(), ExtentError> {
        let deleted = self.refuse_deleted(id);
        if deleted.is_err() {
            self.drop_files(id)?;
        }
        deleted
    }

    fn put_header(&self, batch: &mut WriteBatch, id: ExtentId, header: &ExtentHeader) -> Result<(), ExtentError> {
        let key = partition_key(id.partition(), id);
        batch.put_cf(&self.family(EXTENTS)?, id.to_bytes(), Row::Sealed(header.clone()).encode()?);
        batch.put_cf(&self.family(PARTITIONS)?, key, partition_value(header.root(), header.length_bytes));
        Ok(())
    }

    /// Commits a batch with a header; sealing again with the same header changes nothing.
    fn commit_seal(&self, batch: WriteBatch, id: ExtentId, header: &ExtentHeader) -> Result<(), ExtentError> {
        // Neither a deletion nor another seal comes in between.
        let _turn = self.turns.of(id);
        self.refuse_deleted(id)?;
        if let Some(before) = self.header_now(id)? {
            return same_content(id, &before, header);
        }
        self.db.write_opt(batch, &synced())?;
        self.index.lock().add(id, header.root(), header.length_bytes);
        self.open.forget(id);
        Ok(())
    }

    /// Checks that every chunk that the header names is here, with its length; `run` is about to be.
    fn check_chunks(&self, id: ExtentId, header: &ExtentHeader, run: Option<&Run>) -> Result<(), ExtentError> {
        let count = chunk_count(header.length_bytes);
        if header.length_bytes > EXTENT_SIZE_BYTES_MAX || header.chunk_digests.len() != count as usize {
            return Err(ExtentError::Incomplete(format!("a header of {} bytes", header.length_bytes)));
        }
        for index in 0..count {
            let in_run = run.and_then(|run| run.chunks.get(index.checked_sub(run.first_chunk)? as usize));
            let length = match in_run {
                Some(chunk) => Some(chunk.len()),
                None => match self.open.length(id, index) {
                    Some(length) => Some(length),
                    None => self.stored_length(id, index)?,
                },
            };
            if length != Some(chunk_length(header.length_bytes, index)) {
                return Err(ExtentError::Incomplete(format!("chunk {index} of {id} has length {length:?}")));
            }
        }
        Ok(())
    }

    pub(crate) fn refuse_deleted(&self, id: ExtentId) -> Result<(), ExtentError> {
        let found = self.db.get_pinned_cf(&self.family(TOMBSTONES)?, id.to_bytes())?;
        if found.is_some() { Err(ExtentError::Deleted) } else { Ok(()) }
    }
}

/// Sealing again with the same content changes nothing.
fn same_content(id: ExtentId, sealed: &ExtentHeader, header: &ExtentHeader) -> Result<(), ExtentError> {
    if sealed.root() == header.root() && sealed.length_bytes == header.length_bytes {
        return Ok(());
    }
    Err(ExtentError::Incomplete(format!("{id} is sealed with other content")))
}

fn check_run(run: &Run) -> Result<(), ExtentError> {
    let full = |chunk: &bytes::Bytes| chunk.len() == CHUNK_SIZE_BYTES;
    let sound = match run.chunks.split_last() {
        Some((last, others)) => others.iter().all(full) && !last.is_empty() && last.len() <= CHUNK_SIZE_BYTES,
        None => false,
    };
    let end = u64::from(run.first_chunk) + run.chunks.len() as u64;
    if sound && end <= EXTENT_SIZE_BYTES_MAX / CHUNK_SIZE_BYTES as u64 {
        Ok(())
    } else {
        Err(ExtentError::Incomplete("a run's chunks are not full or too many".to_owned()))
    }
}
