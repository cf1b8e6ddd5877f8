//! Arithmetic and codes of stripes: which byte is in which shard, and what is lost from what is left.
//!
//! A stripe stands for up to an extent's worth of bytes. They are cut into runs of [`Geometry::run_bytes`]; each run is
//! cut into as many equal cells as there are data shards (the last run's cells are shorter, and filled up with zeros),
//! and cell `i` of every run, one after another, is shard `i`. A full run's cells are whole chunks. The chunks of the
//! same index in all shards are one codeword: parity shards hold, chunk by chunk, what is computed from the data
//! shards' chunks. So any chunk is had again from that chunk of as many other shards as there are data shards.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use karri_ring_types::{CHUNK_SIZE_BYTES, EXTENT_SIZE_BYTES_MAX, RUN_SIZE_BYTES};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

/// Fewer bytes than this are kept as whole copies: the smallest write of a disk and the rows of every shard would cost
/// what the code saves.
pub(crate) const STRIPE_BYTES_MIN: usize = 1 << 20;
/// Shards' chunks are a multiple of this.
const CELL_STEP_BYTES: usize = 2;

/// Shards cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shards of a stripe cannot be computed")]
pub(crate) struct CodeError;

impl From<reed_solomon_simd::Error> for CodeError {
    fn from(_: reed_solomon_simd::Error) -> Self {
        Self
    }
}

/// How many shards there are, and how runs are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) data: usize,
    pub(crate) parity: usize,
}

/// Bytes of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) shard: usize,
    pub(crate) range: Range<u64>,
}

impl Geometry {
    pub(crate) fn new((data, parity): (usize, usize)) -> Self {
        assert!(data > 0 && parity > 0, "a stripe has data and parity");
        Self { data, parity }
    }

    pub(crate) fn shards(&self) -> usize {
        self.data + self.parity
    }

    /// Chunks of a full run in each shard.
    pub(crate) fn chunks_per_run(&self) -> usize {
        (RUN_SIZE_BYTES / CHUNK_SIZE_BYTES / self.data).max(1)
    }

    /// Bytes of a full run.
    pub(crate) fn run_bytes(&self) -> usize {
        self.chunks_per_run() * CHUNK_SIZE_BYTES * self.data
    }

    /// Most bytes of one stripe.
    pub(crate) fn stripe_bytes_max(&self) -> usize {
        EXTENT_SIZE_BYTES_MAX as usize / self.run_bytes() * self.run_bytes()
    }

    /// Bytes of each shard of one run.
    pub(crate) fn cell_bytes(&self, run_bytes: usize) -> usize {
        run_bytes.div_ceil(self.data).next_multiple_of(CELL_STEP_BYTES)
    }

    /// Bytes of each shard of a stripe of `length` bytes.
    pub(crate) fn shard_bytes(&self, length: u64) -> u64 {
        let run = self.run_bytes() as u64;
        let full = length / run * (self.chunks_per_run() * CHUNK_SIZE_BYTES) as u64;
        let rest = usize::try_from(length % run).expect("less than a run");
        full + self.cell_bytes(rest) as u64
    }

    /// Write quorum: as many shards as keep the bytes when as many nodes are lost as with the same number of whole
    /// copies beyond the first.
    pub(crate) fn write_quorum(&self) -> usize {
        self.data + self.parity.div_ceil(2)
    }

    /// The bytes of `range` in order, within one run; `length` is the stripe's.
    pub(crate) fn pieces(&self, length: u64, range: Range<u64>) -> Vec<Piece> {
        let run = self.run_bytes() as u64;
        let index = range.start / run;
        assert!(range.start < range.end && range.end <= length && (range.end - 1) / run == index, "within one run");
        let run_length = usize::try_from((length - index * run).min(run)).expect("a run");
        let cell = self.cell_bytes(run_length) as u64;
        let base = index * (self.chunks_per_run() * CHUNK_SIZE_BYTES) as u64;
        let mut at = range.start - index * run;
        let end = range.end - index * run;
        let mut pieces = Vec::new();
        while at < end {
            let shard = at / cell;
            let to = end.min((shard + 1) * cell);
            let within = base + at - shard * cell..base + to - shard * cell;
            pieces.push(Piece { shard: usize::try_from(shard).expect("few shards"), range: within });
            at = to;
        }
        pieces
    }

    /// The shards' bytes of one run: the data's share the run's buffer.
    pub(crate) fn encode(&self, run: &Bytes) -> Result<Vec<Bytes>, CodeError> {
        let cell = self.cell_bytes(run.len());
        let whole = if run.len() == cell * self.data {
            run.clone()
        } else {
            let mut filled = BytesMut::with_capacity(cell * self.data);
            filled.extend_from_slice(run);
            filled.resize(cell * self.data, 0);
            filled.freeze()
        };
        let mut shards: Vec<Bytes> =
            (0..self.data).map(|shard| whole.slice(shard * cell..(shard + 1) * cell)).collect();
        let mut parity: Vec<BytesMut> = (0..self.parity).map(|_| BytesMut::with_capacity(cell)).collect();
        let mut encoder: Option<ReedSolomonEncoder> = None;
        for start in (0..cell).step_by(CHUNK_SIZE_BYTES) {
            let end = cell.min(start + CHUNK_SIZE_BYTES);
            let encoder = match &mut encoder {
                None => encoder.insert(ReedSolomonEncoder::new(self.data, self.parity, end - start)?),
                Some(encoder) => {
                    encoder.reset(self.data, self.parity, end - start)?;
                    encoder
                }
            };
            for shard in &shards {
                encoder.add_original_shard(&shard[start..end])?;
            }
            let encoded = encoder.encode()?;
            for (place, chunk) in parity.iter_mut().zip(encoded.recovery_iter()) {
                place.extend_from_slice(chunk);
            }
        }
        shards.extend(parity.into_iter().map(BytesMut::freeze));
        Ok(shards)
    }

    /// The chunk of shard `wanted` from the same chunk of other shards.
    pub(crate) fn rebuild(&self, wanted: usize, known: &[(usize, Bytes)]) -> Result<Bytes, CodeError> {
        let (_, first) = known.first().ok_or(CodeError)?;
        let mut decoder = ReedSolomonDecoder::new(self.data, self.parity, first.len())?;
        for (shard, chunk) in known.iter().take(self.data) {
            match shard.checked_sub(self.data) {
                None => decoder.add_original_shard(*shard, chunk)?,
                Some(parity) => decoder.add_recovery_shard(parity, chunk)?,
            }
        }
        let decoded = decoder.decode()?;
        if wanted < self.data {
            return decoded.restored_original(wanted).map(Bytes::copy_from_slice).ok_or(CodeError);
        }
        // Parity is computed from all data again.
        let mut encoder = ReedSolomonEncoder::new(self.data, self.parity, first.len())?;
        for shard in 0..self.data {
            let given = known.iter().find(|(known, _)| *known == shard).map(|(_, chunk)| &chunk[..]);
            encoder.add_original_shard(given.or_else(|| decoded.restored_original(shard)).ok_or(CodeError)?)?;
        }
        let encoded = encoder.encode()?;
        encoded.recovery(wanted - self.data).map(Bytes::copy_from_slice).ok_or(CodeError)
    }
}

#[cfg(test)]
#[path = "stripe_tests.rs"]
mod tests;
