//! Writing runs and sealing extents. What returns `Ok` is on the disk.

use std::sync::Arc;

use karri_ring_types::{CHUNK_SIZE_BYTES, EXTENT_SIZE_BYTES_MAX, ExtentId, Step, chunk_count, chunk_length, failpoint};
use rocksdb::WriteBatch;

use crate::keys::{CHUNKS, EXTENTS, PARTITIONS, TOMBSTONES, chunk_key, partition_key, partition_value};
use crate::open::synced;
use crate::records::{ExtentHeader, Row, Run};
use crate::segment::Place;
use crate::store::{ExtentError, ExtentStore};

impl ExtentStore {
    /// Stores a run.
    ///
    /// # Errors
    /// [`ExtentError::DiskFull`] before anything is written; [`ExtentError::Deleted`] for an extent that was deleted.
    pub async fn write_run(self: &Arc<Self>, run: Run) -> Result<(), ExtentError> {
        self.writing(move |store| store.write_run_now(&run, None)).await
    }

    /// Stores the last run of an extent and seals it; a small extent costs one fsync.
    pub async fn write_run_and_seal(self: &Arc<Self>, run: Run, header: ExtentHeader) -> Result<(), ExtentError> {
        self.writing(move |store| store.write_run_now(&run, Some(&header))).await
    }

    /// Seals an extent whose runs have been written.
    ///
    /// # Errors
    /// [`ExtentError::Incomplete`] when a chunk is missing or is of another length.
    pub async fn seal(self: &Arc<Self>, id: ExtentId, header: ExtentHeader) -> Result<(), ExtentError> {
        self.writing(move |store| {
            // Neither a deletion nor another seal nor a late run comes in between.
            let turn = store.turns.of(id);
            if let Some(sealed) = store.header_now(id)? {
                return same_content(id, &sealed, &header);
            }
            store.check_chunks(id, &header, None)?;
            store.refuse_deleted(id)?;
            let mut batch = WriteBatch::default();
            store.put_header(&mut batch, id, &header)?;
            let beyond = store.drop_beyond(&mut batch, id, &header)?;
            store.db.write_opt(batch, &synced())?;
            store.note_sealed(id, &header);
            drop(turn);
            store.heed(store.segments.release(&beyond))
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
        self.writing(move |store| {
            let Some(header) = store.header_now(id)? else { return Err(ExtentError::Deleted) };
            let run = Run { extent: id, owner: header.owner, first_chunk: index, chunks: vec![chunk] };
            // Later than the bad copy, and durable: the records of a segment are read again in no other order.
            store.keep_run(&run, None, true)
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
        if let Some(header) = seal {
            self.check_chunks(run.extent, header, Some(run))?;
        }
        self.keep_run(run, seal, false)
    }

    /// Makes a run durable and names it in the rows; `replaces` for a sealed extent's.
    fn keep_run(&self, run: &Run, seal: Option<&ExtentHeader>, replaces: bool) -> Result<(), ExtentError> {
        let appended = self.segments.append(run, seal)?;
        failpoint(if seal.is_some() { Step::SealDurable } else { Step::SealRunDurable });
        // Neither a deletion nor a seal comes in between.
        let turn = self.turns.of(run.extent);
        let named = self.name_run(run, &appended.places, seal, replaces);
        failpoint(if seal.is_some() { Step::SealNamed } else { Step::SealRunNamed });
        let kept = matches!(named, Ok(Some(_)));
        // Before the turn is over: a deletion releases what the rows name, which must have been counted by then.
        let changes = self.segments.decide(appended, kept);
        drop(turn);
        self.heed(changes)?;
        if let Some(replaced) = named? {
            self.heed(self.segments.release(&replaced))?;
        }
        Ok(())
    }

    /// Writes the rows of a run that is durable, with the header where it seals. Gives the places that are not named any
    /// more; `None` when the run is not wanted. The caller has the extent's turn.
    fn name_run(
        &self,
        run: &Run,
        places: &[Place],
        seal: Option<&ExtentHeader>,
        replaces: bool,
    ) -> Result<Option<Vec<Place>>, ExtentError> {
        let id = run.extent;
        let mut batch = WriteBatch::default();
        self.refuse_deleted(id)?;
        let before = self.row_now(id)?;
        match &before {
            Some(Row::Sealed(sealed)) if !replaces => {
                return same_content(id, sealed, seal.unwrap_or(sealed)).map(|()| None);
            }
            Some(Row::Sealed(_)) => {}
            _ if replaces => return Err(ExtentError::Deleted),
            _ => {}
        }
        let mut replaced = Vec::new();
        for (index, place) in (run.first_chunk..).zip(places) {
            replaced.extend(self.place(id, index)?);
            batch.put_cf(&self.family(CHUNKS)?, chunk_key(id, index), place.encode()?);
        }
        match (seal, &before) {
            (Some(header), before) => {
                self.put_header(&mut batch, id, header)?;
                if before.is_some() {
                    replaced.extend(self.drop_beyond(&mut batch, id, header)?);
                }
            }
            // Whichever run is the first here: what is not listed is never asked about, and would stay as an orphan.
            (None, None) => {
                batch.put_cf(&self.family(EXTENTS)?, id.to_bytes(), Row::Open(run.owner.clone()).encode()?);
            }
            (None, Some(_)) => {}
        }
        // The record that is on the disk gives the rows back after a crash; but not instead of others.
        if replaces || !replaced.is_empty() { self.db.write_opt(batch, &synced()) } else { self.db.write(batch) }?;
        match seal {
            Some(header) => self.note_sealed(id, header),
            None if !replaces => self.open.note(run),
            None => {}
        }
        Ok(Some(replaced))
    }

    /// An extent may be sealed before the end of what was written: takes the chunks behind it out of the rows.
    pub(crate) fn drop_beyond(
        &self,
        batch: &mut WriteBatch,
        id: ExtentId,
        header: &ExtentHeader,
    ) -> Result<Vec<Place>, ExtentError> {
        let count = chunk_count(header.length_bytes);
        let mut dropped = Vec::new();
        for (index, place) in self.all_places(id)?.into_iter().filter(|(index, _)| *index >= count) {
            batch.delete_cf(&self.family(CHUNKS)?, chunk_key(id, index));
            dropped.push(place);
        }
        Ok(dropped)
    }

    pub(crate) fn put_header(
        &self,
        batch: &mut WriteBatch,
        id: ExtentId,
        header: &ExtentHeader,
    ) -> Result<(), ExtentError> {
        let key = partition_key(id.partition(), id);
        batch.put_cf(&self.family(EXTENTS)?, id.to_bytes(), Row::Sealed(header.clone()).encode()?);
        batch.put_cf(&self.family(PARTITIONS)?, key, partition_value(header.root(), header.length_bytes));
        Ok(())
    }

    fn note_sealed(&self, id: ExtentId, header: &ExtentHeader) {
        self.index.lock().add(id, header.root(), header.length_bytes);
        self.open.forget(id);
    }

    /// Checks that every chunk that the header names is here, with its length; `run` is about to be.
    fn check_chunks(&self, id: ExtentId, header: &ExtentHeader, run: Option<&Run>) -> Result<(), ExtentError> {
        let count = chunk_count(header.length_bytes);
        let sound = header.length_bytes <= EXTENT_SIZE_BYTES_MAX && header.chunk_digests.len() == count as usize;
        if !sound || !header.is_of(id) {
            return Err(ExtentError::Incomplete(format!("a header of {} bytes", header.length_bytes)));
        }
        for index in 0..count {
            let in_run = run.and_then(|run| run.chunks.get(index.checked_sub(run.first_chunk)? as usize));
            let length = match in_run {
                Some(chunk) => Some(chunk.len()),
                None => match self.open.length(id, index) {
                    Some(length) => Some(length),
                    None => self.place(id, index)?.map(|place| place.length as usize),
                },
            };
            if length != Some(chunk_length(header.length_bytes, index)) {
                return Err(ExtentError::Incomplete(format!("chunk {index} of {id} has length {length:?}")));
            }
        }
        Ok(())
    }

    pub(crate) fn refuse_deleted(&self, id: ExtentId) -> Result<(), ExtentError> {
        let found = self.db.get_pinned_cf(&self.family(TOMBSTONES)?, id.group().to_bytes())?;
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
