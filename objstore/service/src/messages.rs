//! Commands and queries to the range that holds an object, and their answers.

use bytes::Bytes;
use karri_ring_types::{DataId, ExtentId, Timestamp, VersionId};
use serde::{Deserialize, Serialize};

use crate::conditions::WriteRefusal;
use crate::keys::BucketId;
use crate::records::{
    BucketRecord, CurrentRecord, Description, DirectoryEntry, Loan, PartRecord, UploadRecord, VersionRecord,
};
use crate::{BucketConfigKind, Checksum, ChecksumAlgorithm, ChecksumType, Conditions};

/// A change. Each may be sent again and has its effect once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    CreateBucket {
        id: BucketId,
        record: BucketRecord,
    },
    DeleteBucket {
        id: BucketId,
    },
    /// The document follows the command.
    PutBucketConfig {
        id: BucketId,
        kind: BucketConfigKind,
        operation: VersionId,
    },
    DeleteBucketConfig {
        id: BucketId,
        kind: BucketConfigKind,
        operation: VersionId,
    },
    Put(Box<PutCommand>),
    CopyWithin(Box<CopyWithinCommand>),
    /// Deletes this version if it is the current one; if it is not, another write was later.
    Delete {
        route: Vec<u8>,
        version: VersionId,
    },
    /// Deletes this version if it is the current one; of two such commands one succeeds.
    DeleteIf {
        route: Vec<u8>,
        version: VersionId,
        operation: VersionId,
        issued: Timestamp,
    },
    CreateUpload {
        route: Vec<u8>,
        upload: DataId,
        record: Box<UploadRecord>,
    },
    /// The body of an inline part follows the command.
    PutPart {
        route: Vec<u8>,
        upload: DataId,
        number: u16,
        record: Box<PartRecord>,
    },
    Complete(Box<CompleteCommand>),
    AbortUpload {
        route: Vec<u8>,
        upload: DataId,
    },
    AddHolder {
        route: Vec<u8>,
        data: DataId,
        holder: DataId,
        proof: Proof,
    },
    ReleaseHolder {
        route: Vec<u8>,
        data: DataId,
        holder: DataId,
    },
    /// `row` is the route of an object, or the row of a part: who wrote the data.
    Condemn {
        row: Vec<u8>,
        data: DataId,
        extents: Vec<ExtentId>,
    },
    Collect {
        route: Vec<u8>,
        data: DataId,
    },
    /// The holding of a loan was released.
    LoanReleased {
        route: Vec<u8>,
        data: DataId,
    },
    /// These extents of condemned data are deleted everywhere.
    ExtentsDeleted {
        route: Vec<u8>,
        data: DataId,
    },
    /// Removes rows that have outlived their use: keys of [`crate::keys::CONDEMNED`] and of
    /// [`crate::keys::OPERATIONS`].
    Expire {
        condemned: Vec<Vec<u8>>,
        operations: Vec<Vec<u8>>,
    },
}

/// Writes a version. The body of inline data follows the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PutCommand {
    pub(crate) route: Vec<u8>,
    pub(crate) issued: Timestamp,
    pub(crate) conditions: Conditions,
    pub(crate) record: VersionRecord,
}

/// Replaces what is said about an object, over the same data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopyWithinCommand {
    pub(crate) route: Vec<u8>,
    pub(crate) issued: Timestamp,
    pub(crate) conditions: Conditions,
    pub(crate) source: VersionId,
    pub(crate) version: VersionId,
    pub(crate) description: Description,
    /// Instead of the source's.
    pub(crate) checksum: Option<Checksum>,
}

/// Makes an object of parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompleteCommand {
    pub(crate) route: Vec<u8>,
    pub(crate) upload: DataId,
    pub(crate) version: VersionId,
    pub(crate) conditions: Conditions,
    pub(crate) parts: Vec<ListedPart>,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) checksum_type: Option<ChecksumType>,
    pub(crate) size: Option<u64>,
}

/// A part as the client lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedPart {
    pub(crate) number: u16,
    pub(crate) md5: [u8; 16],
    pub(crate) checksum: Option<Checksum>,
}

/// Why data is still in use, so that somebody may share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proof {
    /// This version at the owner's route names it as its own.
    Version(VersionId),
    /// Another holder.
    Holder(DataId),
}

/// A version was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) version: VersionId,
    pub(crate) modified: Timestamp,
}

/// An upload was completed.
pub(crate) type Completed = crate::records::CompletedRecord;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    NoSuchBucket,
    BucketNotEmpty,
    /// The bucket has uploads that are going on.
    HasUploads(Vec<(String, DataId)>),
    NoSuchUpload,
    Write(WriteRefusal),
    /// The source of a copy is another by now, or is gone.
    SourceChanged,
    /// The data was given up for lost before its commit arrived.
    Condemned,
    /// The command was under way for too long.
    Stale,
    InvalidPart {
        number: u16,
    },
    EntityTooSmall {
        number: u16,
        size: u64,
    },
    EntityTooLarge,
    ChecksumMismatch(ChecksumAlgorithm),
    InvalidRequest(String),
    /// A document over the bound of its kind.
    DocumentTooLarge,
}

/// Answer to a command.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// What the collector has to do next about a row of garbage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Collected {
    /// Nothing: the row is gone, or waits for its holders.
    Nothing,
    /// More of the same.
    Again,
    /// The data is condemned: delete these extents.
    Delete(Vec<ExtentId>),
    /// Release this holding.
    Release { loan: Loan, data: DataId },
}

/// Verdict on data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// Something names it, or the collector will see to it.
    Referenced,
    /// Nothing may name it any more.
    Condemned,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Query {
    /// `Option<BucketRecord>`.
    Bucket { id: BucketId },
    /// `Answer<SettingsAnswer>`.
    Settings { id: BucketId, known: Option<u64> },
    /// The version's row as it is, behind a byte: see [`crate::evaluator::OBJECT_FOUND`].
    Object { route: Vec<u8>, version: Option<VersionId> },
    /// `Answer<Option<CurrentRecord>>`.
    Current { route: Vec<u8> },
    /// `Answer<UploadRecord>`.
    Upload { route: Vec<u8>, upload: DataId },
    /// `PartRows`.
    Parts { route: Vec<u8>, data: DataId, after: u16, limit: u32 },
    /// `Answer<ListedPage>`.
    List(Box<ListQuery>),
    /// `bool`: whether an extent of data is referred to.
    Referenced { row: Vec<u8>, data: DataId, extent: ExtentId },
}

/// What [`Query::Settings`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingsAnswer {
    pub(crate) record: BucketRecord,
    pub(crate) revision: u64,
    /// `None`: the documents of the revision that is known already.
    pub(crate) documents: Option<Vec<(BucketConfigKind, Vec<u8>)>>,
}

/// Rows of parts, as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartRows {
    pub(crate) rows: Vec<(u16, Bytes)>,
    pub(crate) more: bool,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Listed {
    Objects,
    Uploads,
}

/// A part of a listing, in one range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListQuery {
    pub(crate) bucket: BucketId,
    pub(crate) listed: Listed,
    pub(crate) prefix: String,
    pub(crate) delimiter: Option<String>,
    /// First row to look at.
    pub(crate) from: Vec<u8>,
    /// A common prefix that was told before and is passed over.
    pub(crate) told: Option<String>,
    pub(crate) limit: u32,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Line {
    Object(String, Box<CurrentRecord>),
    Upload(String, DataId, Box<UploadRecord>),
    Prefix(String),
}

/// Lines, and where to go on; `None`: there are no more rows in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedPage {
    pub(crate) lines: Vec<Line>,
    pub(crate) resume: Option<Vec<u8>>,
}

/// A change in the directory of buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DirectoryCommand {
    /// Takes a name: `DirectoryEntry`, the new one or the one that has the name already.
    Reserve { entry: Box<DirectoryEntry> },
    /// The bucket's record is there.
    Activate { name: String, id: BucketId },
    /// The bucket's record is not there any more.
    Remove { name: String, id: BucketId },
}

/// A question to the directory of buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DirectoryQuery {
    /// `Option<DirectoryEntry>`.
    Lookup { name: String },
    /// `Vec<DirectoryEntry>` of up to `limit`, of the names after this.
    List { account_id: String, after: String, limit: u32 },
}
