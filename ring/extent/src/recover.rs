//! What the start does about segments that were being written: their records give back the rows that a crash lost.
//!
//! A run is acknowledged when its record is on the disk; the rows that name it follow in the log without a sync of their
//! own. So the records of a segment are read again until all its rows are known to be durable.

use rocksdb::{IteratorMode, WriteBatch};

use crate::keys::{CHUNKS, EXTENTS, SEGMENTS, chunk_key, parse_chunk_key, parse_segment_key, segment_key};
use crate::open::synced;
use crate::records::Row;
use crate::segment::{Changes, Found, Place, Scan, SegmentId};
use crate::store::{Db, ExtentError, ExtentStore};
use karri_ring_types::{ExtentId, chunk_count, chunk_length};

/// Segments that need not be read again.
pub(crate) fn closed_segments(db: &Db) -> Result<Vec<SegmentId>, ExtentError> {
    let family = db.cf_handle(SEGMENTS).ok_or_else(|| ExtentError::Damaged("no segments".to_owned()))?;
    let rows = db.iterator_cf(&family, IteratorMode::Start);
    rows.map(|row| parse_segment_key(&row?.0).ok_or_else(|| ExtentError::Damaged("a segment row".to_owned()))).collect()
}

impl ExtentStore {
    /// Reads segments again, counts what all segments hold, and gives back what a crash kept from being given back.
    pub(crate) fn recover(&self, unread: &[SegmentId]) -> Result<(), ExtentError> {
        let mut seals = Vec::new();
        for &segment in unread {
            self.segments.scan(segment, |scan, found| {
                let recovered = self.replay(scan, &found)?;
                seals.extend(found.description.seal.filter(|_| recovered).map(|seal| (found.description.extent, seal)));
                Ok(())
            })?;
        }
        // The runs of an extent may stand in several segments.
        for (id, header) in &seals {
            self.replay_seal(*id, header)?;
        }
        for row in self.db.iterator_cf(&self.family(CHUNKS)?, IteratorMode::Start) {
            self.segments.count(&Place::decode(&row?.1)?);
        }
        for &segment in unread {
            self.heed(Changes { to_close: vec![segment], to_remove: Vec::new() })?;
        }
        self.heed(Changes { to_close: Vec::new(), to_remove: self.segments.empty() })?;
        for segment in self.segments.wasteful()? {
            self.sweep(segment)?;
        }
        Ok(())
    }

    /// Closes and removes segments.
    pub(crate) fn heed(&self, changes: Changes) -> Result<(), ExtentError> {
        let Changes { to_close, mut to_remove } = changes;
        for segment in to_close {
            // This sync makes the rows durable that were written before it.
            let mut batch = WriteBatch::default();
            batch.put_cf(&self.family(SEGMENTS)?, segment_key(segment), []);
            self.db.write_opt(batch, &synced())?;
            to_remove.extend(self.segments.close(segment).to_remove);
        }
        for segment in to_remove {
            // A file that stays is found again at the next start; the row keeps its number from being used again.
            if let Err(error) = self.segments.remove(segment) {
                tracing::warn!(segment = segment.0, %error, "an empty segment is not removed");
            }
        }
        Ok(())
    }

    /// Puts back the rows of a record that are missing; true when there were any, the header's among them.
    fn replay(&self, scan: &Scan<'_>, found: &Found) -> Result<bool, ExtentError> {
        let (description, id) = (&found.description, found.description.extent);
        if self.refuse_deleted(id).is_err() {
            return Ok(false);
        }
        let sealed = self.header_now(id)?;
        let mut batch = WriteBatch::default();
        for (index, place) in (description.first_chunk..).zip(&found.places) {
            // Behind the end of a sealed extent nothing is wanted.
            let wanted = sealed.as_ref().is_none_or(|header| index < chunk_count(header.length_bytes));
            if wanted && self.place(id, index)?.is_none() {
                batch.put_cf(&self.family(CHUNKS)?, chunk_key(id, index), place.encode()?);
            }
        }
        let seals = description.seal.as_ref().filter(|_| sealed.is_none());
        if batch.is_empty() && seals.is_none() || !scan.is_whole(found)? {
            return Ok(false);
        }
        if sealed.is_none() {
            batch.put_cf(&self.family(EXTENTS)?, id.to_bytes(), Row::Open(description.owner.clone()).encode()?);
        }
        self.db.write(batch)?;
        tracing::info!(extent = %id, first_chunk = description.first_chunk, "run recovered");
        Ok(true)
    }

    fn replay_seal(&self, id: ExtentId, header: &crate::ExtentHeader) -> Result<(), ExtentError> {
        for index in 0..chunk_count(header.length_bytes) {
            let length = self.place(id, index)?.map(|place| place.length as usize);
            if length != Some(chunk_length(header.length_bytes, index)) {
                return Ok(());
            }
        }
        let mut batch = WriteBatch::default();
        self.put_header(&mut batch, id, header)?;
        // Nothing is counted yet, so there is nothing to release.
        let beyond = self.drop_beyond(&mut batch, id, header)?;
        self.db.write(batch)?;
        self.segments.punch(&beyond);
        Ok(())
    }

    /// Punches out what no row names.
    fn sweep(&self, segment: SegmentId) -> Result<(), ExtentError> {
        let mut useless = Vec::new();
        self.segments.scan(segment, |_, found| {
            for (index, place) in (found.description.first_chunk..).zip(found.places) {
                if self.place(found.description.extent, index)? != Some(place) {
                    useless.push(place);
                }
            }
            Ok(())
        })?;
        tracing::info!(segment = segment.0, chunks = useless.len(), "space of chunks that nothing names is given back");
        self.segments.punch(&useless);
        Ok(())
    }

    /// Where a chunk is.
    pub(crate) fn place(&self, id: ExtentId, index: u32) -> Result<Option<Place>, ExtentError> {
        let row = self.db.get_pinned_cf(&self.family(CHUNKS)?, chunk_key(id, index))?;
        row.map(|row| Place::decode(&row)).transpose()
    }

    /// Where all chunks of an extent are, the unwanted ones of an open extent too.
    pub(crate) fn all_places(&self, id: ExtentId) -> Result<Vec<(u32, Place)>, ExtentError> {
        let from = chunk_key(id, 0);
        let mut found = Vec::new();
        let rows = self.db.iterator_cf(&self.family(CHUNKS)?, IteratorMode::From(&from, rocksdb::Direction::Forward));
        for row in rows {
            let (key, value) = row?;
            match parse_chunk_key(&key) {
                Some((of, index)) if of == id => found.push((index, Place::decode(&value)?)),
                _ => break,
            }
        }
        Ok(found)
    }
}
