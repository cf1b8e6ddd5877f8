//! The CRC of a whole from those of its parts, for uploads of thousands of parts.
//!
//! Appending `n` bytes multiplies a CRC's polynomial by x^(8n) modulo the generator, so that combining is one such
//! multiplication (M. Adler's `crc32_combine` of zlib does the same for one width). Parts of one upload are of one size
//! but for the last: the factor is kept from part to part. `crc_fast::checksum_combine` works it out from matrices each
//! time, 0.4 ms for each part.

use crate::ChecksumAlgorithm;

/// Combines CRCs of one algorithm. All three are reflected, and begin and end with all bits inverted.
pub(crate) struct CrcCombiner {
    /// The generator, its highest power's coefficient last.
    generator: u64,
    /// The polynomial 1.
    one: u64,
    /// The last size, and x^(8 size).
    factor: (u64, u64),
}

impl CrcCombiner {
    /// `None`: it is no CRC.
    pub(crate) fn new(algorithm: ChecksumAlgorithm) -> Option<Self> {
        let (generator, bits) = match algorithm {
            ChecksumAlgorithm::Crc32 => (0xedb8_8320, 32),
            ChecksumAlgorithm::Crc32c => (0x82f6_3b78, 32),
            ChecksumAlgorithm::Crc64Nvme => (0x9a6c_9329_ac4b_c9b5, 64),
            ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => return None,
        };
        let one = 1 << (bits - 1);
        Some(Self { generator, one, factor: (0, one) })
    }

    /// The CRC of bytes of CRC `first` and `second_bytes` bytes of CRC `second` after them.
    pub(crate) fn combine(&mut self, first: u64, second: u64, second_bytes: u64) -> u64 {
        if self.factor.0 != second_bytes {
            self.factor = (second_bytes, self.power(second_bytes));
        }
        self.product(self.factor.1, first) ^ second
    }

    /// x^(8 bytes), by squaring.
    fn power(&self, mut bytes: u64) -> u64 {
        let (mut power, mut square) = (self.one, self.one >> 8);
        while bytes != 0 {
            if bytes & 1 == 1 {
                power = self.product(power, square);
            }
            square = self.product(square, square);
            bytes >>= 1;
        }
        power
    }

    /// The product modulo the generator.
    fn product(&self, a: u64, mut b: u64) -> u64 {
        let (mut product, mut bit) = (0, self.one);
        while bit != 0 {
            if a & bit != 0 {
                product ^= b;
            }
            b = (b >> 1) ^ if b & 1 == 1 { self.generator } else { 0 };
            bit >>= 1;
        }
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn combines_as_the_library_does(first: u64, second: u64, sizes in prop::collection::vec(0u64..1 << 43, 1..4)) {
            for algorithm in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme] {
                let mut combiner = CrcCombiner::new(algorithm).expect("a CRC");
                let mask = u64::MAX >> (64 - 8 * algorithm.size_bytes());
                let (first, second) = (first & mask, second & mask);
                let crc = algorithm.crc().expect("a CRC");
                for size in sizes.iter().flat_map(|size| [*size, *size]) {
                    let expected = crc_fast::checksum_combine(crc, first, second, size);
                    prop_assert_eq!(combiner.combine(first, second, size), expected, "{:?}, {} bytes", algorithm, size);
                }
            }
        }
    }
}
