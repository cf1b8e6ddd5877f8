//! What stands in a segment: a block that names it, then records, each at the beginning of a block.
//!
//! A record is a frame and the run's description, filled up to a block, and then the run's bytes, filled up likewise. Nothing but its own check tells where a record is:
//! what a crash has cut short, and what was punched out, is passed over block by block. The check is keyed with a number
//! that clients never see, so that no object can contain what looks like a record.

use karri_ring_disk::BLOCK_BYTES;
use karri_ring_types::{Digest, ExtentId};
use serde::{Deserialize, Serialize};

use crate::records::{ExtentHeader, Owner, Run};
use crate::store::ExtentError;

/// A record's frame.
pub(super) const FRAME_BYTES: usize = 40;
/// Bound of a description: digests of 64 chunks and a key are far below.
const DESCRIPTION_BYTES_MAX: usize = 64 << 10;

const NAME: &[u8; 8] = b"KARRISEG";
const FORMAT: u32 = 1;
const RECORD: &[u8; 4] = b"KREC";

/// The number of a segment, which is its file's name. Later ones are larger; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SegmentId(pub(crate) u64);

impl SegmentId {
    pub(super) fn file_name(self) -> String {
        format!("{:016x}.seg", self.0)
    }

    pub(super) fn of_file_name(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().map(Self)
    }
}

/// The key of a segment's checks.
#[derive(Clone, Copy)]
pub(super) struct SegmentKey(pub(super) [u8; 16]);

impl SegmentKey {
    /// The random bits of an extent id are no client's to see.
    pub(super) fn of(segment: SegmentId, first: ExtentId) -> Self {
        let hash = Digest::of(&[&first.to_bytes()[..], &segment.0.to_be_bytes()].concat());
        let (key, _) = hash.0.split_first_chunk::<16>().expect("32 bytes");
        Self(*key)
    }

    fn check(self, parts: &[&[u8]]) -> [u8; 16] {
        let hash = Digest::of(&[&[&self.0[..]], parts].concat().concat());
        let (check, _) = hash.0.split_first_chunk::<16>().expect("32 bytes");
        *check
    }
}

/// The first block of a segment.
pub(super) fn first_block(segment: SegmentId, key: SegmentKey) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_BYTES as usize);
    block.extend_from_slice(NAME);
    block.extend_from_slice(&FORMAT.to_be_bytes());
    block.extend_from_slice(&segment.0.to_be_bytes());
    block.extend_from_slice(&key.0);
    let check = key.check(&[&block]);
    block.extend_from_slice(&check);
    block.resize(BLOCK_BYTES as usize, 0);
    block
}

/// The key in a segment's first block; `None` for a file that was not begun completely.
pub(super) fn parse_first_block(segment: SegmentId, block: &[u8]) -> Option<SegmentKey> {
    let named = NAME.len() + 4 + 8;
    let key = SegmentKey(*block.get(named..)?.first_chunk::<16>()?);
    (block == first_block(segment, key)).then_some(key)
}

/// What a record says of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) extent: ExtentId,
    pub(crate) owner: Owner,
    pub(crate) first_chunk: u32,
    /// The header, when the run is the extent's last.
    pub(crate) seal: Option<ExtentHeader>,
}

/// A record's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) description_bytes: u32,
    pub(super) payload_bytes: u32,
    pub(super) payload_crc: u64,
}

impl Frame {
    /// Bytes before the payload, which begins with a block.
    pub(super) fn before(self) -> u64 {
        (FRAME_BYTES as u64 + u64::from(self.description_bytes)).next_multiple_of(BLOCK_BYTES)
    }

    /// Bytes of the whole record, with what fills its last block.
    pub(super) fn record_bytes(self) -> u64 {
        (self.before() + u64::from(self.payload_bytes)).next_multiple_of(BLOCK_BYTES)
    }

    fn numbers(self) -> [u8; 16] {
        let mut numbers = [0; 16];
        numbers[..4].copy_from_slice(&self.description_bytes.to_be_bytes());
        numbers[4..8].copy_from_slice(&self.payload_bytes.to_be_bytes());
        numbers[8..].copy_from_slice(&self.payload_crc.to_be_bytes());
        numbers
    }

    /// Frame and description, with what fills their last block, as they are written at `offset`.
    pub(super) fn encode(self, key: SegmentKey, offset: u64, description: &[u8]) -> Vec<u8> {
        let numbers = self.numbers();
        let mut bytes = Vec::with_capacity(self.before() as usize);
        bytes.extend_from_slice(RECORD);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&numbers);
        bytes.extend_from_slice(&key.check(&[&offset.to_be_bytes(), &numbers, description]));
        bytes.extend_from_slice(description);
        bytes.resize(self.before() as usize, 0);
        bytes
    }

    /// The frame that `bytes` may begin with; its check is still to be made.
    pub(super) fn parse(bytes: &[u8; FRAME_BYTES]) -> Option<(Self, [u8; 16])> {
        let rest = bytes.strip_prefix(RECORD)?;
        let number =
            |at: usize| rest.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|b| u32::from_be_bytes(*b));
        let frame = Self {
            description_bytes: number(4)?,
            payload_bytes: number(8)?,
            payload_crc: u64::from_be_bytes(*rest.get(12..)?.first_chunk::<8>()?),
        };
        let check = *rest.get(20..)?.first_chunk::<16>()?;
        (frame.description_bytes as usize <= DESCRIPTION_BYTES_MAX).then_some((frame, check))
    }

    /// Whether the record at `offset` is what was written there.
    pub(super) fn verify(self, key: SegmentKey, offset: u64, description: &[u8], check: [u8; 16]) -> bool {
        key.check(&[&offset.to_be_bytes(), &self.numbers(), description]) == check
    }
}

impl Description {
    pub(super) fn of(run: &Run, seal: Option<&ExtentHeader>) -> Self {
        Self { extent: run.extent, owner: run.owner.clone(), first_chunk: run.first_chunk, seal: seal.cloned() }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, ExtentError> {
        let bytes = postcard::to_stdvec(self).map_err(|error| ExtentError::Damaged(error.to_string()))?;
        assert!(bytes.len() <= DESCRIPTION_BYTES_MAX, "a description of {} bytes", bytes.len());
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    /// Bytes before and after it that are of no use without it.
    before: u32,
    after: u32,
}

impl Place {
    /// All that can be given back with the chunk.
    pub(super) fn space(&self) -> (u64, u64) {
        let start = self.offset - u64::from(self.before);
        (start, self.offset + u64::from(self.length) + u64::from(self.after))
    }

    /// True when `next` follows without a gap.
    pub(crate) fn is_before(&self, next: &Self) -> bool {
        self.segment == next.segment && self.offset + u64::from(self.length) == next.offset
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, ExtentError> {
        postcard::to_stdvec(self).map_err(|error| ExtentError::Damaged(error.to_string()))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ExtentError> {
        postcard::from_bytes(bytes).map_err(|error| ExtentError::Damaged(error.to_string()))
    }
}

/// Where the chunks of the record at `offset` are: full ones, then the rest.
pub(super) fn places(segment: SegmentId, offset: u64, frame: Frame, chunk_bytes: usize) -> Vec<Place> {
    let payload = u64::from(frame.payload_bytes);
    let starts = (0..payload).step_by(chunk_bytes);
    let place = |start: u64| {
        let length = payload.saturating_sub(start).min(chunk_bytes as u64);
        let is_last = start + length == payload;
        let after = if is_last { frame.record_bytes() - frame.before() - payload } else { 0 };
        Place {
            segment,
            offset: offset + frame.before() + start,
            length: length as u32,
            before: if start == 0 { frame.before() as u32 } else { 0 },
            after: after as u32,
        }
    };
    starts.map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SegmentKey = SegmentKey([7; 16]);

    #[test]
    fn a_frame_is_read_only_where_it_was_written_and_as_it_was() {
        let frame = Frame { description_bytes: 3, payload_bytes: 5000, payload_crc: 9 };
        let bytes = frame.encode(KEY, 8192, b"abc");
        let (found, check) = Frame::parse(bytes.first_chunk().unwrap()).unwrap();
        assert_eq!(found, frame);
        assert!(found.verify(KEY, 8192, b"abc", check));
        assert!(!found.verify(KEY, 4096, b"abc", check), "copied elsewhere");
        assert!(!found.verify(KEY, 8192, b"abd", check));
        assert!(!found.verify(SegmentKey([8; 16]), 8192, b"abc", check), "made by somebody without the key");
        assert!(Frame::parse(&[0; FRAME_BYTES]).is_none());
    }

    #[test]
    fn the_places_of_a_record_cover_it_once() {
        let frame = Frame { description_bytes: 60, payload_bytes: 2500, payload_crc: 0 };
        let places = places(SegmentId(1), 4096, frame, 1000);
        assert_eq!(places.iter().map(|place| place.length).collect::<Vec<_>>(), [1000, 1000, 500]);
        let spaces: Vec<_> = places.iter().map(Place::space).collect();
        assert_eq!((spaces[0].0, spaces[2].1), (4096, 12288));
        assert!(spaces.is_sorted_by(|a, b| a.1 == b.0), "{spaces:?}");
        assert_eq!(Place::decode(&places[1].encode().unwrap()).unwrap(), places[1]);
    }

    #[test]
    fn the_first_block_names_its_segment() {
        let block = first_block(SegmentId(5), KEY);
        assert_eq!(parse_first_block(SegmentId(5), &block).map(|key| key.0), Some(KEY.0));
        assert!(parse_first_block(SegmentId(6), &block).is_none());
        assert!(parse_first_block(SegmentId(5), &block[..100]).is_none());
        assert_eq!(SegmentId::of_file_name(&SegmentId(0x1f).file_name()), Some(SegmentId(0x1f)));
        assert_eq!(SegmentId::of_file_name("1f.seg"), None);
    }
}
