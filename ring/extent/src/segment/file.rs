//! One segment that is being written: whoever finds nobody writing writes the records of all that wait, with one sync.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use karri_ring_disk::{BLOCK_BYTES, DiskFile, DiskPath};
use karri_ring_types::CHUNK_SIZE_BYTES;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::record::{Description, Frame, Place, SegmentId, SegmentKey, first_block, places};
use crate::records::{ExtentHeader, Run};
use crate::store::ExtentError;

/// Bytes that are checksummed and written at a time, so that the second finds them in the cache.
const PIECE_BYTES: usize = 1 << 20;
/// Records of one sync.
const GROUP_RECORDS_MAX: usize = 256;

static ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];

/// A record that is to be written at `offset`, which nothing else is.
pub(super) struct Draft {
    chunks: Vec<Bytes>,
    description: Vec<u8>,
    frame: Frame,
    pub(super) offset: u64,
}

impl Draft {
    pub(super) fn new(run: &Run, seal: Option<&ExtentHeader>) -> Result<Self, ExtentError> {
        let description = Description::of(run, seal).encode()?;
        let too_long = |_| ExtentError::Incomplete("a run is too long".to_owned());
        let frame = Frame {
            description_bytes: u32::try_from(description.len()).map_err(too_long)?,
            payload_bytes: u32::try_from(run.length_bytes()).map_err(too_long)?,
            payload_crc: 0,
        };
        Ok(Self { chunks: run.chunks.clone(), description, frame, offset: 0 })
    }

    pub(super) fn record_bytes(&self) -> u64 {
        self.frame.record_bytes()
    }
}

#[derive(Default)]
struct Queue {
    /// Records are numbered as they come.
    taken: u64,
    waiting: VecDeque<Draft>,
    /// Records up to this number are written.
    durable: u64,
    writing: bool,
    /// A write or a sync failed, and any record since the last sync may be lost: none is written here any more.
    failed: bool,
}

/// A segment that takes records.
pub(super) struct SegmentFile {
    pub(super) id: SegmentId,
    file: Arc<dyn DiskFile>,
    key: SegmentKey,
    queue: Mutex<Queue>,
    written: Condvar,
}

impl SegmentFile {
    /// Makes the file, durably.
    pub(super) fn create(dir: &DiskPath, id: SegmentId, key: SegmentKey) -> io::Result<Self> {
        let file = dir.join(id.file_name()).create_file()?;
        file.write_blocks(&[IoSlice::new(&first_block(id, key))], 0)?;
        file.sync_data()?;
        Ok(Self { id, file, key, queue: Mutex::default(), written: Condvar::new() })
    }

    pub(super) fn has_failed(&self) -> bool {
        self.queue.lock().failed
    }

    /// Writes a record and waits until it is on the disk.
    pub(super) fn write(&self, draft: Draft) -> io::Result<Vec<Place>> {
        let places = places(self.id, draft.offset, draft.frame, CHUNK_SIZE_BYTES);
        let mut queue = self.queue.lock();
        queue.taken += 1;
        let mine = queue.taken;
        queue.waiting.push_back(draft);
        loop {
            if queue.durable >= mine {
                return Ok(places);
            }
            if queue.failed {
                return Err(io::Error::other("the segment cannot be written any more"));
            }
            if queue.writing {
                self.written.wait(&mut queue);
                continue;
            }
            queue.writing = true;
            let many = queue.waiting.len().min(GROUP_RECORDS_MAX);
            let mut group: Vec<Draft> = queue.waiting.drain(..many).collect();
            group.sort_unstable_by_key(|draft| draft.offset);
            let outcome = MutexGuard::unlocked(&mut queue, || self.write_group(&group));
            queue.writing = false;
            match outcome {
                Ok(()) => queue.durable += many as u64,
                Err(error) => {
                    tracing::error!(segment = self.id.0, %error, "a segment is given up");
                    queue.failed = true;
                    queue.waiting.clear();
                }
            }
            self.written.notify_all();
        }
    }

    /// Small records that lie side by side leave in one write.
    fn write_group(&self, group: &[Draft]) -> io::Result<()> {
        let (mut gathered, mut at, mut end): (Vec<Part<'_>>, u64, u64) = (Vec::new(), 0, 0);
        for draft in group {
            let small = draft.record_bytes() <= PIECE_BYTES as u64;
            if !small || draft.offset != end {
                self.write_parts(&mem::take(&mut gathered), at)?;
                at = draft.offset;
            }
            if small {
                let head = draft.head(self.key, draft.crc());
                gathered.push(Part::Owned(head));
                gathered.extend(draft.chunks.iter().map(|chunk| Part::Lent(chunk)));
                gathered.push(Part::Lent(draft.fill()));
                end = draft.offset + draft.record_bytes();
            } else {
                self.write_large(draft)?;
                end = 0;
            }
        }
        self.write_parts(&gathered, at)?;
        self.file.sync_data()
    }

    fn write_parts(&self, parts: &[Part<'_>], at: u64) -> io::Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part.bytes())).collect();
        self.file.write_blocks(&slices, at)
    }

    /// Piece by piece, and the head last, which has the checksum of them all.
    fn write_large(&self, draft: &Draft) -> io::Result<()> {
        let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
        let mut at = draft.offset + draft.frame.before();
        let (last, full) = draft.chunks.split_last().expect("a run has chunks");
        for piece in full.iter().flat_map(|chunk| chunk.chunks(PIECE_BYTES)) {
            crc.update(piece);
            self.file.write_blocks(&[IoSlice::new(piece)], at)?;
            at += piece.len() as u64;
        }
        crc.update(last);
        self.file.write_blocks(&[IoSlice::new(last), IoSlice::new(draft.fill())], at)?;
        self.file.write_blocks(&[IoSlice::new(&draft.head(self.key, crc.finalize()))], draft.offset)
    }
}

/// Bytes of a record.
enum Part<'a> {
    Owned(Vec<u8>),
    Lent(&'a [u8]),
}

impl Part<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Lent(bytes) => bytes,
        }
    }
}

impl Draft {
    fn crc(&self) -> u64 {
        let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
        self.chunks.iter().for_each(|chunk| crc.update(chunk));
        crc.finalize()
    }

    fn head(&self, key: SegmentKey, payload_crc: u64) -> Vec<u8> {
        Frame { payload_crc, ..self.frame }.encode(key, self.offset, &self.description)
    }

    /// What fills the last block, so that no two records share one.
    fn fill(&self) -> &'static [u8] {
        let rest = self.frame.record_bytes() - self.frame.before() - u64::from(self.frame.payload_bytes);
        &ZEROS[..rest as usize]
    }
}
