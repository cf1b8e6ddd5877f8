//! The object service of Karri: buckets and objects as use cases, on the metadata ranges of `karri-ring-meta` and the
//! extents of `karri-ring-node`. It knows nothing of HTTP, XML or signatures.
//!
//! ```ignore
//! let service = ObjectService::new(meta.client(), node.client(), clock, rng, ServiceConfig::default());
//! let put = PutRequest { bucket: "photos".into(), key: "a.jpg".into(), length: Some(5), ..Default::default() };
//! let outcome = service.put_object(put, &mut Some(Bytes::from_static(b"hello"))).await?;
//! ```
//!
//! How it stays right:
//! - Small bodies are in their metadata record. Large ones go to extents first; one commit then makes them visible,
//!   after length, MD5 and checksums were found to be as claimed.
//! - Every decision is taken by the evaluators, on the leader of the one range that holds the object; conditions are
//!   decided there and not before. A command that arrives twice has its effect once.
//! - Data has one owner, the object that wrote it. Copies hold it by a row at the owner. What a write replaces goes
//!   into the collector's list in the same transaction, and extents are deleted only after a committed row condemns
//!   them, which a late commit that names them finds.

mod api;
mod body;
mod buckets;
mod checksum;
mod cipher;
mod classes;
mod conditions;
mod copy;
mod crc_combine;
mod delete;
mod error;
mod evaluator;
#[cfg(test)]
mod golden_tests;
mod inspect;
mod keys;
mod lifecycle;
mod list;
mod listed;
mod maintenance;
mod messages;
mod meter_messages;
mod moves;
mod operations;
mod part_copy;
mod ports;
mod put;
mod quota;
mod read;
mod records;
mod rename;
mod rows;
mod service;
mod settings;
mod sharing;
#[cfg(test)]
mod tests;
mod updates;
mod uploads;
mod versioning;

pub use api::{
    BucketInfo, ByteSource, Content, ContentHeaders, CreateBucketRequest, GetOutcome, GetRequest, HeadOutcome,
    KEY_SIZE_BYTES_MAX, OBJECT_SIZE_BYTES_MAX, ObjectInfo, Owner, PART_NUMBER_MAX, PART_SIZE_BYTES_MIN, PutOutcome,
    PutRequest, RangeSpec, STORAGE_CLASS_DEFAULT, Served, ServedPart, UPLOAD_SIZE_BYTES_MAX, is_archive,
};
pub use checksum::{Checksum, ChecksumAlgorithm, ChecksumType};
pub use cipher::{CustomerKey, Encryption, EncryptionMode, NamedKey};
pub use classes::{STORAGE_CLASSES, StorageClasses, UnknownClass};
pub use conditions::{Conditions, EtagCondition};
pub use error::{KeyFault, ServiceError, SourceError};
pub use inspect::{Fault, FaultKind, Holding, InspectCursor, Inspection, Standing, Wanted};
pub use karri_ring_node::READ_AHEAD_BYTES_MAX;
pub use lifecycle::{
    Cursor, Lifecycle, LifecycleAction, LifecycleBucket, LifecycleDay, LifecycleFilter, LifecyclePage,
    LifecycleProgress, LifecycleRule, LifecycleTime, NoncurrentTime, TransitionMinimum, lifecycle_buckets,
    lifecycle_page,
};
pub use listed::{EtagText, ListedObject, ListedObjects, ListedOwner};
pub use maintenance::{CollectOutcome, Expired, WorkItem, WorkList, WorkPage, expired, work};
pub use operations::{
    CompleteRequest, CompletedPart, CopyOutcome, CopyRequest, CreateUploadOutcome, CreateUploadRequest, DeleteItem,
    DeleteOutcome, DeleteRequest, DeleteResults, ListEntry, ListPage, ListPartsRequest, ListRequest,
    ListUploadsRequest, ListVersionsRequest, MetadataDirective, ObjectAttributes, ObjectRef, PartCopyOutcome,
    PartCopyRequest, PartInfo, PartOutcome, PartRequest, PartsPage, UploadInfo, UploadRef, UploadsPage, VersionEntry,
    VersionsPage,
};
pub use ports::{CallerKeys, NamedKeys};
pub use quota::{AccountQuota, Quota};
pub use rename::RenameRequest;
pub use service::{ObjectService, ServiceConfig};
pub use settings::{BucketConfigKind, BucketSettings};
pub use versioning::{
    BucketLock, BucketState, DefaultRetention, LockMode, ObjectLock, Retention, RetentionPeriod, VersionRef, Versioning,
};
