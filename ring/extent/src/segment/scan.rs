//! Reading a segment from end to end: after a crash, and to give back what is of no use.

use std::io;

use crc_fast::{CrcAlgorithm, Digest as Crc};
use karri_ring_disk::{BLOCK_BYTES, DiskFile};
use karri_ring_types::CHUNK_SIZE_BYTES;

use super::record::{Description, FRAME_BYTES, Frame, Place, SegmentId, SegmentKey, parse_first_block, places};

/// Bytes that are read at a time to check a payload.
const PIECE_BYTES: usize = 1 << 20;

/// A record that was found.
pub(crate) struct Found {
    pub(crate) description: Description,
    pub(crate) places: Vec<Place>,
    payload_bytes: u64,
    payload_crc: u64,
}

/// Finds the records of a segment.
pub(crate) struct Scan<'a> {
    file: &'a dyn DiskFile,
    segment: SegmentId,
    key: SegmentKey,
    at: u64,
    end: u64,
}

impl<'a> Scan<'a> {
    /// `None` for a file that holds no records.
    pub(super) fn new(file: &'a dyn DiskFile, segment: SegmentId) -> io::Result<Option<Self>> {
        let end = file.length()?;
        if end < BLOCK_BYTES {
            return Ok(None);
        }
        let block = read(file, BLOCK_BYTES as usize, 0)?;
        let key = parse_first_block(segment, &block);
        Ok(key.map(|key| Self { file, segment, key, at: BLOCK_BYTES, end }))
    }

    /// The next record.
    pub(crate) fn next(&mut self) -> io::Result<Option<Found>> {
        while self.at + (FRAME_BYTES as u64) <= self.end {
            if let Some((frame, description)) = self.record_here()? {
                let places = places(self.segment, self.at, frame, CHUNK_SIZE_BYTES);
                self.at += frame.record_bytes();
                return Ok(Some(Found {
                    description,
                    places,
                    payload_bytes: frame.payload_bytes.into(),
                    payload_crc: frame.payload_crc,
                }));
            }
            // The next block that is no hole.
            let next = self.at + BLOCK_BYTES;
            let data = self.file.data_from(next)?.unwrap_or(self.end);
            self.at = next.max(data / BLOCK_BYTES * BLOCK_BYTES);
        }
        Ok(None)
    }

    /// True when the record's bytes are those that were written.
    pub(crate) fn is_whole(&self, found: &Found) -> io::Result<bool> {
        let Some(first) = found.places.first() else { return Ok(false) };
        if first.offset + found.payload_bytes > self.end {
            return Ok(false);
        }
        let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
        let mut done = 0;
        while done < found.payload_bytes {
            let length = (found.payload_bytes - done).min(PIECE_BYTES as u64) as usize;
            crc.update(&read(self.file, length, first.offset + done)?);
            done += length as u64;
        }
        Ok(crc.finalize() == found.payload_crc)
    }

    fn record_here(&self) -> io::Result<Option<(Frame, Description)>> {
        let bytes = read(self.file, FRAME_BYTES, self.at)?;
        let Some((frame, check)) = bytes.first_chunk().and_then(Frame::parse) else { return Ok(None) };
        if self.at + frame.before() > self.end {
            return Ok(None);
        }
        let description = read(self.file, frame.description_bytes as usize, self.at + FRAME_BYTES as u64)?;
        if !frame.verify(self.key, self.at, &description, check) {
            return Ok(None);
        }
        Ok(Description::decode(&description).map(|description| (frame, description)))
    }
}

fn read(file: &dyn DiskFile, length: usize, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    if length > 0 {
        file.read_into(&mut bytes, length, offset)?;
    }
    Ok(bytes)
}
