//! What callers ask and are answered: plain data, no HTTP and no metadata rows.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use karri_ring_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cipher::{CustomerKey, Encryption, EncryptionMode};
use crate::ports::CallerKeys;
use crate::{
    BucketConfigKind, Checksum, ChecksumAlgorithm, ChecksumType, Conditions, ObjectLock, Quota, ServiceError,
    SourceError, VersionRef,
};

/// Most bytes of a key.
pub const KEY_SIZE_BYTES_MAX: usize = 1024;
/// Most bytes of one PUT, one part, or the source of one copy.
pub const UPLOAD_SIZE_BYTES_MAX: u64 = 5 << 30;
/// Most bytes of an object: as many as its parts can have, 48.8 TiB (AWS, "Amazon S3 multipart upload limits").
pub const OBJECT_SIZE_BYTES_MAX: u64 = PART_NUMBER_MAX as u64 * UPLOAD_SIZE_BYTES_MAX;
/// Least bytes of a part that is not the last.
pub const PART_SIZE_BYTES_MIN: u64 = 5 << 20;
/// Most parts of an upload.
pub const PART_NUMBER_MAX: u16 = 10_000;
/// Storage class of an object whose writer named none.
pub const STORAGE_CLASS_DEFAULT: &str = "STANDARD";
/// Storage classes whose objects are restored before they are read.
const STORAGE_CLASSES_ARCHIVE: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// Whether objects of a storage class are restored before they are read.
pub fn is_archive(class: &str) -> bool {
    STORAGE_CLASSES_ARCHIVE.contains(&class)
}

/// A body that arrives piece by piece.
#[async_trait]
pub trait ByteSource: Send {
    /// The next piece; `None` at the end. The last item is an error when the body did not verify (length,
    /// signatures, trailers): nothing is published then.
    async fn next(&mut self) -> Option<Result<Bytes, SourceError>>;

    /// Checksums that came after the body; asked after the end.
    fn trailing_checksums(&self) -> Vec<Checksum>;
}

/// A body in memory.
#[async_trait]
impl ByteSource for Option<Bytes> {
    async fn next(&mut self) -> Option<Result<Bytes, SourceError>> {
        self.take().map(Ok)
    }

    fn trailing_checksums(&self) -> Vec<Checksum> {
        Vec::new()
    }
}

/// Who owns a bucket, and the objects in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The account, which decides whether a bucket is one's own.
    pub account_id: String,
    /// Canonical id, as printed.
    pub user_id: String,
    /// Name, as printed.
    pub display_name: String,
}

/// Asks for a bucket.
#[derive(Clone, Debug)]
pub struct CreateBucketRequest {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: Owner,
    /// Its region.
    pub region: String,
    /// Whether versions are kept and can be locked.
    pub object_lock: bool,
    /// What is configured of it from the beginning.
    pub documents: Vec<(BucketConfigKind, Bytes)>,
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketInfo {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: Owner,
    /// When it was created.
    pub created: Timestamp,
    /// Its region.
    pub region: String,
}

/// System headers that are kept with an object and returned as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the headers are")]
pub struct ContentHeaders {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_disposition: Option<String>,
    pub content_language: Option<String>,
    pub cache_control: Option<String>,
    pub expires: Option<String>,
    pub website_redirect: Option<String>,
}

/// Writes an object.
#[derive(Clone, Debug, Default)]
pub struct PutRequest {
    /// Bucket name.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// System headers.
    pub content: ContentHeaders,
    /// User metadata, names in lower case without `x-amz-meta-`.
    pub user_metadata: Vec<(String, String)>,
    /// Storage class; `None`: [`STORAGE_CLASS_DEFAULT`].
    pub storage_class: Option<String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// `if_match` and `if_none_match` on what is there before.
    pub conditions: Conditions,
    /// Bytes of the body, when declared.
    pub length: Option<u64>,
    /// MD5 that the body must have.
    pub md5: Option<[u8; 16]>,
    /// Checksum to compute and keep; `None`: CRC64NVME.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// Value that it must have; `None`: comes after the body, or is not known to the client.
    pub checksum: Option<Checksum>,
    /// How the object is to be encrypted.
    pub encryption: Option<Encryption>,
    /// The named keys that the caller may use.
    pub keys: CallerKeys,
    /// Lock; what it does not say is the bucket's default.
    pub lock: ObjectLock,
    /// Who writes, when it is not the bucket's owner.
    pub owner: Option<Owner>,
    /// Access control list, as the caller reads it.
    pub acl: Option<Vec<u8>>,
    /// What the writer may have in the bucket then.
    pub quota: Quota,
}

/// An object was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// Entity tag, without quotes.
    pub etag: String,
    /// The new version, where versions are kept.
    pub version: Option<VersionRef>,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// What the checksum is over.
    pub checksum_type: Option<ChecksumType>,
    /// Bytes of the object.
    pub size: u64,
    /// When it was written.
    pub last_modified: Timestamp,
    /// How it is encrypted.
    pub encryption: Option<EncryptionMode>,
}

/// A range of bytes as a client asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "first and last byte, inclusive")]
pub enum RangeSpec {
    /// From one byte to another.
    Between { first: u64, last: u64 },
    /// From a byte to the end.
    From { first: u64 },
    /// The last `length` bytes.
    Suffix { length: u64 },
}

/// Reads an object.
#[derive(Clone, Debug, Default)]
pub struct GetRequest {
    /// Bucket name.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// A version; `None`: the current one.
    pub version: Option<VersionRef>,
    /// Part of the bytes. Not together with `part_number`.
    pub range: Option<RangeSpec>,
    /// The bytes of one part.
    pub part_number: Option<u16>,
    /// Conditions on the object.
    pub conditions: Conditions,
    /// The key of an object that was encrypted with its writer's own.
    pub customer_key: Option<CustomerKey>,
    /// The named keys that the caller may use.
    pub keys: CallerKeys,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Bytes.
    pub size: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// When it was written.
    pub last_modified: Timestamp,
    /// System headers.
    pub content: ContentHeaders,
    /// User metadata.
    pub user_metadata: Vec<(String, String)>,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// What the checksum is over.
    pub checksum_type: Option<ChecksumType>,
    /// Parts, of an object that was uploaded in parts.
    pub parts_count: Option<u16>,
    /// Storage class.
    pub storage_class: String,
    /// The version, in buckets that have had versions kept.
    pub version: Option<VersionRef>,
    /// Number of tags.
    pub tags_count: u32,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Until when an archived object can be read.
    pub restored_until: Option<Timestamp>,
    /// Its lock.
    pub lock: ObjectLock,
    /// Whether the bucket has object lock.
    pub bucket_has_lock: bool,
    /// Who wrote it, when that is not the bucket's owner.
    pub owner: Option<Owner>,
    /// Access control list, as its writer made it.
    pub acl: Option<Vec<u8>>,
    /// How it is encrypted.
    pub encryption: Option<EncryptionMode>,
}

/// Which bytes of an object are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// All of them.
    Whole {
        /// Bytes of the object.
        size: u64,
    },
    /// Those asked for by a range, or by the number of a part.
    Range {
        /// First byte.
        first: u64,
        /// Last byte, inclusive.
        last: u64,
        /// The part that they are, when a part was asked for.
        part: Option<ServedPart>,
    },
}

/// One part of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedPart {
    /// Its number.
    pub number: u16,
    /// Its bytes.
    pub size: u64,
    /// Its own checksum.
    pub checksum: Option<Checksum>,
}

impl Served {
    /// Bytes of the answer.
    pub fn length(&self) -> u64 {
        match self {
            Self::Whole { size } => *size,
            Self::Range { first, last, .. } => last - first + 1,
        }
    }

    /// Whether a part or a range was asked for (206).
    pub fn is_partial(&self) -> bool {
        matches!(self, Self::Range { .. })
    }

    /// First and last byte, inclusive; `None` when there is no byte.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        match self {
            Self::Whole { size } => size.checked_sub(1).map(|last| (0, last)),
            Self::Range { first, last, .. } => Some((*first, *last)),
        }
    }

    /// The part that was asked for.
    pub fn part(&self) -> Option<&ServedPart> {
        match self {
            Self::Whole { .. } => None,
            Self::Range { part, .. } => part.as_ref(),
        }
    }
}

/// Bytes of an object, verified.
pub type Content = BoxStream<'static, Result<Bytes, ServiceError>>;

/// An object and its bytes.
pub struct GetOutcome {
    /// What is known of it.
    pub info: ObjectInfo,
    /// Which bytes follow.
    pub served: Served,
    /// The bytes. A failure in their midst ends the stream with an error.
    pub content: Content,
}

impl fmt::Debug for GetOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetOutcome").field("info", &self.info).field("served", &self.served).finish_non_exhaustive()
    }
}

/// An object without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadOutcome {
    /// What is known of it.
    pub info: ObjectInfo,
    /// Which bytes a read would give.
    pub served: Served,
}
