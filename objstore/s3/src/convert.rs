//! From the service's words to those of the wire layer.

use karri_objstore_gateway::Principal;
use karri_objstore_service::{ChecksumAlgorithm, ChecksumType, Owner};
use karri_objstore_wire::types;
use karri_ring_types::Timestamp;

/// The caller as the owner of what it makes.
pub(crate) fn owner_of(principal: &Principal) -> Owner {
    Owner {
        account_id: principal.account_id.clone(),
        user_id: principal.user_id.clone(),
        display_name: principal.display_name.clone(),
    }
}

pub(crate) fn wire_owner(owner: &Owner) -> types::Owner {
    types::Owner { display_name: Some(owner.display_name.clone()), id: Some(owner.user_id.clone()) }
}

pub(crate) fn wire_initiator(owner: &Owner) -> types::Initiator {
    types::Initiator { display_name: Some(owner.display_name.clone()), id: Some(owner.user_id.clone()) }
}

pub(crate) fn timestamp(time: Timestamp) -> karri_objstore_wire::Timestamp {
    karri_objstore_wire::Timestamp::from_millis(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// A size or count as XML has it.
pub(crate) fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A small count as XML has it.
pub(crate) fn integer(value: impl TryInto<i32>) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}

pub(crate) fn wire_algorithm(algorithm: ChecksumAlgorithm) -> types::ChecksumAlgorithm {
    match algorithm {
        ChecksumAlgorithm::Crc32 => types::ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c => types::ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme => types::ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1 => types::ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256 => types::ChecksumAlgorithm::Sha256,
    }
}

pub(crate) fn wire_type(kind: ChecksumType) -> types::ChecksumType {
    match kind {
        ChecksumType::Composite => types::ChecksumType::Composite,
        ChecksumType::FullObject => types::ChecksumType::FullObject,
    }
}

/// Puts a checksum into its field of any shape that has one field per algorithm.
macro_rules! fill_checksum {
    ($shape:expr, $checksum:expr) => {
        $crate::convert::fill_checksum!($shape, $checksum, |checksum: &karri_objstore_service::Checksum| checksum
            .text())
    };
    ($shape:expr, $checksum:expr, $text:expr) => {
        if let Some(checksum) = $checksum {
            let value = Some($text(checksum));
            match checksum.algorithm {
                karri_objstore_service::ChecksumAlgorithm::Crc32 => $shape.checksum_crc32 = value,
                karri_objstore_service::ChecksumAlgorithm::Crc32c => $shape.checksum_crc32c = value,
                karri_objstore_service::ChecksumAlgorithm::Crc64Nvme => $shape.checksum_crc64nvme = value,
                karri_objstore_service::ChecksumAlgorithm::Sha1 => $shape.checksum_sha1 = value,
                karri_objstore_service::ChecksumAlgorithm::Sha256 => $shape.checksum_sha256 = value,
            }
        }
    };
}

/// The one checksum of any shape that has one field per algorithm, as `Result<Option<Checksum>, ApiError>`.
macro_rules! take_checksum {
    ($shape:expr) => {
        $crate::checksum::one_of([
            $shape.checksum_crc32.as_deref(),
            $shape.checksum_crc32c.as_deref(),
            $shape.checksum_crc64nvme.as_deref(),
            $shape.checksum_sha1.as_deref(),
            $shape.checksum_sha256.as_deref(),
        ])
    };
}

pub(crate) use {fill_checksum, take_checksum};

/// A stored class; one that the API does not know is not printed.
pub(crate) fn wire_storage_class(name: &str) -> Option<types::StorageClass> {
    name.parse().ok()
}
