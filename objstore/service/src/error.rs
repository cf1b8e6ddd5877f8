//! Errors, named by what the caller must tell its client.

use karri_ring_types::Timestamp;

use crate::{ChecksumAlgorithm, VersionRef};

/// The body could not be read to its end, or its end did not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SourceError {
    reason: String,
}

impl SourceError {
    /// With a reason for the log.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Why a named key of the key service cannot be used; the texts are fit for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// There is no such key.
    #[error("{0}")]
    NotFound(String),
    /// It is disabled.
    #[error("{0}")]
    Disabled(String),
    /// It is in another state in which it may not be used, as before its deletion.
    #[error("{0}")]
    InvalidState(String),
    /// It is not for this.
    #[error("{0}")]
    InvalidUsage(String),
    /// The caller may not use it.
    #[error("{0}")]
    AccessDenied(String),
}

/// Why an operation on a bucket or object was not done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No bucket of this name.
    #[error("no such bucket")]
    NoSuchBucket,
    /// The name breaks the rules of bucket names.
    #[error("invalid bucket name")]
    InvalidBucketName,
    /// The caller has the bucket already.
    #[error("bucket is already owned by the caller")]
    BucketAlreadyOwnedByYou,
    /// Somebody else has the bucket.
    #[error("bucket already exists")]
    BucketAlreadyExists,
    /// The bucket has objects.
    #[error("bucket is not empty")]
    BucketNotEmpty,
    /// No object of this key.
    #[error("no such key")]
    NoSuchKey,
    /// The object has no such version.
    #[error("no such version")]
    NoSuchVersion,
    /// The version is a delete marker.
    #[error("delete marker")]
    DeleteMarker {
        /// Which version it is.
        version: Option<VersionRef>,
        /// When it was made.
        last_modified: Timestamp,
        /// Whether the client asked for this version, and not for the object that is not there.
        named: bool,
    },
    /// A retention or legal hold keeps the version.
    #[error("the version is locked")]
    Locked,
    /// The bucket has no object lock.
    #[error("the bucket has no object lock")]
    NoObjectLock,
    /// The time until which a version is to be kept has passed.
    #[error("the retention ends before it begins")]
    RetentionPassed,
    /// The bucket's object lock and its versioning do not go together.
    #[error("object lock needs versioning")]
    LockNeedsVersioning,
    /// Versions are or were kept in the bucket, where objects are not renamed.
    #[error("the bucket keeps versions")]
    VersionsKept,
    /// The two keys of a rename are kept in different places, where one step cannot change both.
    #[error("the keys are in different ranges")]
    OtherRange,
    /// The object is archived, and has to be restored first; or is not, and cannot be.
    #[error("not for storage class {class}")]
    Archived {
        /// Its class.
        class: String,
    },
    /// The upload was never begun, or is completed or aborted.
    #[error("no such upload")]
    NoSuchUpload,
    /// Over 1,024 bytes.
    #[error("key too long")]
    KeyTooLong,
    /// A part of the list is missing or its entity tag or checksum is another.
    #[error("part {part_number} is not as listed")]
    InvalidPart {
        /// Its number.
        part_number: u16,
        /// The entity tag in the list.
        etag: String,
    },
    /// The list of parts does not ascend.
    #[error("parts are out of order")]
    InvalidPartOrder,
    /// The object has fewer parts than the number asked for.
    #[error("the object has no part of this number")]
    InvalidPartNumber {
        /// Parts that there are.
        parts_count: u16,
    },
    /// A part other than the last is under 5 MiB.
    #[error("part {part_number} is too small")]
    EntityTooSmall {
        /// Its bytes.
        size: u64,
        /// Its number.
        part_number: u16,
        /// Its entity tag.
        etag: String,
    },
    /// Over 5 GiB in one PUT, part or copy, or over 5 TiB in all.
    #[error("entity too large")]
    EntityTooLarge,
    /// A condition on what is there did not hold.
    #[error("precondition {condition} failed")]
    PreconditionFailed {
        /// The header of the condition.
        condition: &'static str,
    },
    /// A read of what the client has already.
    #[error("not modified")]
    NotModified {
        /// Entity tag, without quotes.
        etag: String,
        /// When it was written.
        last_modified: Timestamp,
    },
    /// Another write was in the way of a conditional one; try again.
    #[error("conflict of conditional requests")]
    ConditionalRequestConflict,
    /// No byte of the object is in the range.
    #[error("range outside of the object")]
    InvalidRange {
        /// Bytes of the object.
        size: u64,
    },
    /// The MD5 is not the one claimed.
    #[error("MD5 {calculated} is not {expected}")]
    BadDigest {
        /// As claimed, base64.
        expected: String,
        /// As received, base64.
        calculated: String,
    },
    /// The checksum is not the one claimed.
    #[error("{algorithm:?} checksum is another")]
    ChecksumMismatch {
        /// Its algorithm.
        algorithm: ChecksumAlgorithm,
    },
    /// The request contradicts itself; the text is fit for the client.
    #[error("{0}")]
    InvalidRequest(String),
    /// A named key cannot be used.
    #[error("{0}")]
    Key(KeyFault),
    /// The body did not arrive whole; nothing was stored.
    #[error("body")]
    Source(#[from] SourceError),
    /// There would be more than a quota of the writer allows.
    #[error("quota exceeded")]
    QuotaExceeded,
    /// Too many requests at once, or too many of one object; try again.
    #[error("slow down")]
    SlowDown,
    /// Not now; a write may have been done all the same.
    #[error("unavailable")]
    Unavailable,
    /// No room for more data.
    #[error("disk full")]
    DiskFull,
    /// A fault of the cluster; the text is for the log only.
    #[error("internal: {0}")]
    Internal(String),
}
