//! What callers ask and are answered: deletes, copies, listings, uploads in parts.

use karri_ring_types::Timestamp;

use crate::cipher::{CustomerKey, Encryption, EncryptionMode};
use crate::ports::CallerKeys;
use crate::{
    Checksum, ChecksumAlgorithm, ChecksumType, Conditions, ContentHeaders, ObjectInfo, ObjectLock, Owner, PutOutcome,
    Quota, ServiceError, VersionRef,
};

/// Deletes an object, or one of its versions.
#[derive(Clone, Debug, Default)]
pub struct DeleteRequest {
    /// Bucket name.
    pub bucket: String,
    /// What of it.
    pub item: DeleteItem,
}

/// An object or version that is deleted. One that is not there counts as deleted, unless there is a condition.
#[derive(Clone, Debug, Default)]
pub struct DeleteItem {
    /// Key.
    pub key: String,
    /// A version; `None`: the current one.
    pub version: Option<VersionRef>,
    /// Condition on its entity tag.
    pub conditions: Conditions,
    /// It must have this size.
    pub if_size: Option<u64>,
    /// It must have been written in this second.
    pub if_last_modified: Option<Timestamp>,
    /// Whether a governance lock is bypassed; the caller may.
    pub bypass_governance: bool,
    /// Who deletes, when it is not the bucket's owner: the owner of the delete marker.
    pub owner: Option<Owner>,
}

/// What a delete did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteOutcome {
    /// The delete marker that was made, or the version that was deleted; `None` where versions are not kept.
    pub version: Option<VersionRef>,
    /// Whether that is a delete marker.
    pub delete_marker: bool,
}

/// What became of each item of a batch delete, in its order.
pub type DeleteResults = Vec<Result<DeleteOutcome, ServiceError>>;

/// What a copy takes over from its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MetadataDirective {
    /// System headers and user metadata of the source.
    #[default]
    Copy,
    /// These.
    Replace {
        /// System headers.
        content: ContentHeaders,
        /// User metadata.
        user_metadata: Vec<(String, String)>,
    },
}

/// Copies an object within the cluster, without moving its bytes.
#[derive(Clone, Debug, Default)]
pub struct CopyRequest {
    /// Bucket of the source.
    pub source_bucket: String,
    /// Key of the source.
    pub source_key: String,
    /// Version of the source; `None`: the current one.
    pub source_version: Option<VersionRef>,
    /// Conditions on the source.
    pub source_conditions: Conditions,
    /// Bucket of the copy.
    pub bucket: String,
    /// Key of the copy.
    pub key: String,
    /// Conditions on what is there before.
    pub conditions: Conditions,
    /// Headers and metadata.
    pub metadata: MetadataDirective,
    /// Tags instead of the source's.
    pub tags: Option<Vec<(String, String)>>,
    /// Storage class of the copy; `None`: [`crate::STORAGE_CLASS_DEFAULT`].
    pub storage_class: Option<String>,
    /// Checksum of the copy; `None`: the source's.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// Lock of the copy; the source's is not taken over.
    pub lock: ObjectLock,
    /// Who copies, when it is not the bucket's owner.
    pub owner: Option<Owner>,
    /// Access control list of the copy; the source's is not taken over.
    pub acl: Option<Vec<u8>>,
    /// How the copy is to be encrypted.
    pub encryption: Option<Encryption>,
    /// Whether the client said so, and the bucket did not.
    pub encryption_asked: bool,
    /// The key of a source that was encrypted with its writer's own.
    pub source_customer_key: Option<CustomerKey>,
    /// The named keys that the caller may use.
    pub keys: CallerKeys,
    /// What the writer may have in the bucket then.
    pub quota: Quota,
}

/// An object was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOutcome {
    /// The copy.
    pub object: PutOutcome,
    /// The version that was copied.
    pub source_version: Option<VersionRef>,
}

/// Lists objects, or the uploads of [`ListUploadsRequest`], in the byte order of their keys.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Bucket name.
    pub bucket: String,
    /// Keys that begin with this.
    pub prefix: String,
    /// Keys with this after the prefix are told by their common prefix alone. Never empty.
    pub delimiter: Option<String>,
    /// Keys after this. A common prefix (from [`ListPage::next`]) stands for all of its keys.
    pub after: Option<String>,
    /// Most entries and common prefixes together.
    pub limit: u32,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// Key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// When it was written.
    pub last_modified: Timestamp,
    /// Storage class.
    pub storage_class: String,
    /// Algorithm of its checksum.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// What the checksum is over.
    pub checksum_type: Option<ChecksumType>,
    /// Who wrote it, when that is not the bucket's owner.
    pub owner: Option<Owner>,
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Objects, ascending.
    pub entries: Vec<ListEntry>,
    /// Common prefixes, ascending.
    pub common_prefixes: Vec<String>,
    /// The last key or common prefix of this page, for [`ListRequest::after`]; `None`: there is no more.
    pub next: Option<String>,
}

/// Begins an upload in parts.
#[derive(Clone, Debug, Default)]
pub struct CreateUploadRequest {
    /// Bucket name.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// System headers.
    pub content: ContentHeaders,
    /// User metadata.
    pub user_metadata: Vec<(String, String)>,
    /// Storage class; `None`: [`crate::STORAGE_CLASS_DEFAULT`].
    pub storage_class: Option<String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Checksum of parts and object; `None`: CRC64NVME of the object, not told for the parts.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// What the checksum is over; `None`: the algorithm's usual.
    pub checksum_type: Option<ChecksumType>,
    /// Lock of the object to be.
    pub lock: ObjectLock,
    /// Who uploads, when it is not the bucket's owner.
    pub owner: Option<Owner>,
    /// Access control list of the object to be.
    pub acl: Option<Vec<u8>>,
    /// How the object is to be encrypted.
    pub encryption: Option<Encryption>,
    /// The named keys that the caller may use.
    pub keys: CallerKeys,
}

/// An upload was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateUploadOutcome {
    /// Its id.
    pub upload_id: String,
    /// Algorithm of its checksums, when the client chose one.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// What the checksum is over, when the client chose an algorithm.
    pub checksum_type: Option<ChecksumType>,
    /// How the object will be encrypted.
    pub encryption: Option<EncryptionMode>,
}

/// Writes one part.
#[derive(Clone, Debug, Default)]
pub struct PartRequest {
    /// Bucket name.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Upload.
    pub upload_id: String,
    /// 1..=10,000.
    pub part_number: u16,
    /// Bytes of the body, when declared.
    pub length: Option<u64>,
    /// MD5 that the body must have.
    pub md5: Option<[u8; 16]>,
    /// Checksum to compute.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// Value that it must have.
    pub checksum: Option<Checksum>,
    /// The key of an upload that is encrypted with its client's own.
    pub customer_key: Option<CustomerKey>,
    /// The named keys that the caller may use.
    pub keys: CallerKeys,
}

/// A part was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOutcome {
    /// Entity tag, without quotes.
    pub etag: String,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub last_modified: Timestamp,
    /// How it is encrypted.
    pub encryption: Option<EncryptionMode>,
}

/// Writes one part from an object.
#[derive(Clone, Debug, Default)]
pub struct PartCopyRequest {
    /// Bucket of the source.
    pub source_bucket: String,
    /// Key of the source.
    pub source_key: String,
    /// Version of the source; `None`: the current one.
    pub source_version: Option<VersionRef>,
    /// Conditions on the source.
    pub source_conditions: Conditions,
    /// First and last byte, inclusive; `None`: all.
    pub range: Option<(u64, u64)>,
    /// Bucket name.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Upload.
    pub upload_id: String,
    /// 1..=10,000.
    pub part_number: u16,
    /// The key of an upload that is encrypted with its client's own.
    pub customer_key: Option<CustomerKey>,
    /// The key of a source that was encrypted with its writer's own.
    pub source_customer_key: Option<CustomerKey>,
    /// The named keys that the caller may use.
    pub keys: CallerKeys,
}

/// A part was written from an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartCopyOutcome {
    /// The part.
    pub part: PartOutcome,
    /// The version that was copied.
    pub source_version: Option<VersionRef>,
}

/// A part in the list of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number.
    pub part_number: u16,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Its checksum, when the client says one.
    pub checksum: Option<Checksum>,
}

/// Makes an object of an upload's parts.
#[derive(Clone, Debug, Default)]
pub struct CompleteRequest {
    /// Bucket name.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Upload.
    pub upload_id: String,
    /// Its parts, ascending.
    pub parts: Vec<CompletedPart>,
    /// Conditions on what is there before.
    pub conditions: Conditions,
    /// Checksum that the object must have.
    pub checksum: Option<Checksum>,
    /// What the client takes the checksum to be over.
    pub checksum_type: Option<ChecksumType>,
    /// Bytes that the object must have.
    pub size: Option<u64>,
    /// What the writer may have in the bucket then.
    pub quota: Quota,
    /// The key that its parts are under, when it is the client's.
    pub customer_key: Option<CustomerKey>,
}

/// Names an upload: to abort it.
#[derive(Clone, Debug, Default)]
pub struct UploadRef {
    /// Bucket name.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Upload.
    pub upload_id: String,
}

/// Lists the parts of an upload.
#[derive(Clone, Debug, Default)]
pub struct ListPartsRequest {
    /// The upload.
    pub upload: UploadRef,
    /// Parts with a higher number than this.
    pub after: u16,
    /// Most parts.
    pub limit: u32,
}

/// A part of an upload or object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// Its number.
    pub part_number: u16,
    /// Entity tag, without quotes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub last_modified: Timestamp,
    /// Its checksum, when the client chose an algorithm.
    pub checksum: Option<Checksum>,
}

/// A page of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartsPage {
    /// Parts, ascending.
    pub parts: Vec<PartInfo>,
    /// The last number of this page; `None`: there is no more.
    pub next: Option<u16>,
    /// The upload.
    pub upload: UploadInfo,
}

/// An upload that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadInfo {
    /// Key.
    pub key: String,
    /// Its id.
    pub upload_id: String,
    /// When it was begun.
    pub initiated: Timestamp,
    /// Storage class of the object to be.
    pub storage_class: String,
    /// Algorithm of its checksums, when the client chose one.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// What the checksum is over, when the client chose an algorithm.
    pub checksum_type: Option<ChecksumType>,
    /// Who began it, when that is not the bucket's owner.
    pub owner: Option<Owner>,
}

/// Lists uploads that are going on.
#[derive(Clone, Debug, Default)]
pub struct ListUploadsRequest {
    /// As for objects; `after` is the key marker.
    pub list: ListRequest,
    /// With a key marker: uploads of that key after this id, too.
    pub after_upload: Option<String>,
}

/// A page of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadsPage {
    /// Uploads, ascending by key, then as they were begun.
    pub uploads: Vec<UploadInfo>,
    /// Common prefixes, ascending.
    pub common_prefixes: Vec<String>,
    /// Key marker (or common prefix) of the next page, and its upload id marker.
    pub next: Option<(String, Option<String>)>,
}

/// An object and its parts, for GetObjectAttributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectAttributes {
    /// What is known of it.
    pub info: ObjectInfo,
    /// Its parts after the marker; empty for an object that was not uploaded in parts.
    pub parts: Vec<PartInfo>,
    /// The last number of `parts`, when there is more.
    pub next: Option<u16>,
}

/// Names an object, or one of its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectRef {
    /// Bucket name.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// A version; `None`: the current one.
    pub version: Option<VersionRef>,
}

/// Lists versions and delete markers: by key, the newest first.
#[derive(Clone, Debug, Default)]
pub struct ListVersionsRequest {
    /// As for objects; `after` is the key marker.
    pub list: ListRequest,
    /// With a key marker: versions of that key after this one, too.
    pub after_version: Option<VersionRef>,
}

/// A version in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionEntry {
    /// What objects and versions have in common. A delete marker has key, time and owner alone.
    pub entry: ListEntry,
    /// Which version it is.
    pub version: VersionRef,
    /// Whether nothing was written after it.
    pub latest: bool,
    /// Whether it is a delete marker.
    pub delete_marker: bool,
}

/// A page of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionsPage {
    /// Versions and delete markers.
    pub versions: Vec<VersionEntry>,
    /// Common prefixes, ascending.
    pub common_prefixes: Vec<String>,
    /// Key marker (or common prefix) of the next page, and its version id marker.
    pub next: Option<(String, Option<VersionRef>)>,
}
