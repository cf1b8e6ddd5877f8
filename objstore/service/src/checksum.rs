//! The five checksum algorithms of S3, and how the checksums of parts make that of the whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::crc_combine::CrcCombiner;

/// A checksum algorithm that a client may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC), 4 bytes.
    Crc32,
    /// CRC-32C (Castagnoli), 4 bytes.
    Crc32c,
    /// CRC-64/NVME, 8 bytes.
    Crc64Nvme,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
}

impl ChecksumAlgorithm {
    /// Bytes of a value.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// What the checksum of a multipart upload is when the client does not say.
    pub fn default_type(self) -> ChecksumType {
        match self {
            Self::Crc64Nvme => ChecksumType::FullObject,
            _ => ChecksumType::Composite,
        }
    }

    /// Whether S3 knows checksums of this algorithm and type on multipart uploads.
    pub fn allows(self, kind: ChecksumType) -> bool {
        match kind {
            ChecksumType::FullObject => self.crc().is_some(),
            ChecksumType::Composite => self != Self::Crc64Nvme,
        }
    }

    pub(crate) fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// What the checksum of a multipart object is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChecksumType {
    /// Over the checksums of the parts.
    Composite,
    /// Over the bytes of the object.
    FullObject,
}

/// A checksum and its algorithm. The value is as long as [`ChecksumAlgorithm::size_bytes`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// How it was computed.
    pub algorithm: ChecksumAlgorithm,
    /// The value, big-endian for CRCs.
    pub value: Bytes,
}

impl Checksum {
    /// Base64 of the value, as S3 writes it.
    pub fn text(&self) -> String {
        STANDARD.encode(&self.value)
    }
}

/// Computes a [`Checksum`].
pub(crate) enum ChecksumHasher {
    Crc(ChecksumAlgorithm, crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl ChecksumHasher {
    pub(crate) fn new(algorithm: ChecksumAlgorithm) -> Self {
        match algorithm.crc() {
            Some(crc) => Self::Crc(algorithm, crc_fast::Digest::new(crc)),
            None if algorithm == ChecksumAlgorithm::Sha1 => Self::Sha1(Sha1::default()),
            None => Self::Sha256(Sha256::default()),
        }
    }

    pub(crate) fn is_crc(&self) -> bool {
        matches!(self, Self::Crc(..))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, digest) => digest.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        match self {
            Self::Crc(algorithm, digest) => crc_value(algorithm, digest.finalize()),
            Self::Sha1(hasher) => {
                Checksum { algorithm: ChecksumAlgorithm::Sha1, value: Bytes::copy_from_slice(&hasher.finalize()) }
            }
            Self::Sha256(hasher) => {
                Checksum { algorithm: ChecksumAlgorithm::Sha256, value: Bytes::copy_from_slice(&hasher.finalize()) }
            }
        }
    }
}

fn crc_value(algorithm: ChecksumAlgorithm, crc: u64) -> Checksum {
    let bytes = crc.to_be_bytes();
    Checksum { algorithm, value: Bytes::copy_from_slice(&bytes[bytes.len() - algorithm.size_bytes()..]) }
}

/// The checksum of a whole from those of its parts in order, each with its size in bytes. `None` when a part lacks a
/// checksum of the algorithm, or S3 knows no such checksum.
pub(crate) fn combine<'a>(
    algorithm: ChecksumAlgorithm,
    kind: ChecksumType,
    parts: impl Iterator<Item = (Option<&'a Checksum>, u64)>,
) -> Option<Checksum> {
    if !algorithm.allows(kind) {
        return None;
    }
    let mut composite = ChecksumHasher::new(algorithm);
    let mut combiner = CrcCombiner::new(algorithm);
    let mut whole: Option<u64> = None;
    for (checksum, size) in parts {
        let checksum =
            checksum.filter(|sum| sum.algorithm == algorithm && sum.value.len() == algorithm.size_bytes())?;
        match (kind, &mut combiner) {
            (ChecksumType::FullObject, Some(combiner)) => {
                let value = checksum.value.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte));
                whole = Some(match whole {
                    None => value,
                    Some(whole) => combiner.combine(whole, value, size),
                });
            }
            _ => composite.update(&checksum.value),
        }
    }
    match kind {
        ChecksumType::Composite => Some(composite.finish()),
        ChecksumType::FullObject => whole.map(|value| crc_value(algorithm, value)),
    }
}

/// Checksum of `bytes`.
#[cfg(test)]
pub(crate) fn checksum_of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
    let mut hasher = ChecksumHasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [ChecksumAlgorithm; 5] = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];

    #[test]
    fn known_values() {
        let values = ALL.map(|algorithm| hex::encode(checksum_of(algorithm, b"123456789").value));
        assert_eq!(values[..3], ["cbf43926", "e3069283", "ae8b14860a799888"]);
        assert_eq!(values[3], "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert!(values[4].starts_with("15e2b0d3c33891ebb0f1ef609ec41942"));
    }

    #[test]
    fn types_that_s3_knows() {
        assert!(!ChecksumAlgorithm::Crc64Nvme.allows(ChecksumType::Composite));
        assert!(!ChecksumAlgorithm::Sha256.allows(ChecksumType::FullObject));
        assert!(ChecksumAlgorithm::Crc32.allows(ChecksumType::FullObject));
    }

    proptest! {
        #[test]
        fn combined_crcs_are_those_of_the_whole(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
        ) {
            let whole: Vec<u8> = parts.concat();
            for algorithm in &ALL[..3] {
                let sums: Vec<_> = parts.iter().map(|part| (checksum_of(*algorithm, part), part.len() as u64)).collect();
                let combined =
                    combine(*algorithm, ChecksumType::FullObject, sums.iter().map(|(sum, size)| (Some(sum), *size)));
                prop_assert_eq!(combined, Some(checksum_of(*algorithm, &whole)));
            }
        }
    }

    #[test]
    fn composite_is_over_the_raw_values() {
        let sums = [b"a", b"b"].map(|part| checksum_of(ChecksumAlgorithm::Sha256, part));
        let joined = [&sums[0].value[..], &sums[1].value[..]].concat();
        let composite =
            combine(ChecksumAlgorithm::Sha256, ChecksumType::Composite, sums.iter().map(|sum| (Some(sum), 1)));
        assert_eq!(composite, Some(checksum_of(ChecksumAlgorithm::Sha256, &joined)));
        let missing = combine(ChecksumAlgorithm::Crc32, ChecksumType::Composite, [(Some(&sums[0]), 1)].into_iter());
        assert_eq!(missing, None);
    }
}
