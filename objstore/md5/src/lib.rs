//! MD5 of many streams at once.
//!
//! S3's ETag is an MD5, and MD5 is the largest part of what a PUT costs: one core hashes about 650 MB/s of one stream,
//! however wide it is. [`Md5Pool`] hashes pieces of several uploads together, one in each lane of the vector unit.
//!
//! ```
//! use karri_objstore_md5::Md5;
//! let mut md5 = Md5::default();
//! md5.update(b"content");
//! assert_eq!(md5.finish()[..4], [0x9a, 0x03, 0x64, 0xb9]);
//! ```
//!
//! MD5 protects nothing here: what is stored is checked by BLAKE3.

mod lanes;
mod pool;

pub use pool::Md5Pool;

use lanes::{BLOCK_BYTES, INITIAL, Width, Words, advance};

/// The MD5 of one stream.
#[derive(Clone, Debug)]
pub struct Md5 {
    words: Words,
    length_bytes: u64,
    /// The beginning of a block, of `length_bytes % BLOCK_BYTES` bytes.
    begun: [u8; BLOCK_BYTES],
}

impl Default for Md5 {
    fn default() -> Self {
        Self { words: INITIAL, length_bytes: 0, begun: [0; BLOCK_BYTES] }
    }
}

impl Md5 {
    /// Hashes `bytes` by itself.
    pub fn update(&mut self, bytes: &[u8]) {
        let bytes = self.complete(bytes);
        let (blocks, rest) = bytes.split_at(bytes.len() / BLOCK_BYTES * BLOCK_BYTES);
        if !blocks.is_empty() {
            advance(Width::One, &mut [&mut self.words], &[blocks]);
            self.length_bytes += blocks.len() as u64;
        }
        self.begin(rest);
    }

    /// The digest.
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.length_bytes.wrapping_mul(8);
        let begun = self.begun_bytes();
        let mut end = [0; 2 * BLOCK_BYTES];
        end[..begun].copy_from_slice(&self.begun[..begun]);
        end[begun] = 0x80;
        let length = if begun + 9 <= BLOCK_BYTES { BLOCK_BYTES } else { 2 * BLOCK_BYTES };
        end[length - 8..length].copy_from_slice(&bits.to_le_bytes());
        advance(Width::One, &mut [&mut self.words], &[&end[..length]]);
        let mut digest = [0; 16];
        for (place, word) in digest.chunks_exact_mut(4).zip(self.words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }

    fn begun_bytes(&self) -> usize {
        (self.length_bytes % BLOCK_BYTES as u64) as usize
    }

    /// Ends the block that is begun with the first of `bytes`; gives what is left.
    fn complete<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let begun = self.begun_bytes();
        if begun == 0 {
            return bytes;
        }
        let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - begun));
        self.begun[begun..begun + now.len()].copy_from_slice(now);
        self.length_bytes += now.len() as u64;
        if begun + now.len() == BLOCK_BYTES {
            let block = self.begun;
            advance(Width::One, &mut [&mut self.words], &[&block]);
        }
        later
    }

    /// Keeps less than a block; none is begun.
    fn begin(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.begun[..bytes.len()].copy_from_slice(bytes);
            self.length_bytes += bytes.len() as u64;
        }
    }
}
