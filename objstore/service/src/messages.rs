//! Commands and queries to the range that holds an object, and their answers.

use bytes::Bytes;
use karri_ring_types::{DataId, ExtentId, Timestamp, VersionId};
use serde::{Deserialize, Serialize};

use crate::conditions::WriteRefusal;
use crate::inspect::InspectCursor;
use crate::keys::{BucketId, MeterId};
use crate::lifecycle::LifecycleProgress;
use crate::meter_messages::{MeterChange, Reservation, Usage};
use crate::moves::{MoveCommand, StageCommand};
use crate::records::{
    Access, BucketRecord, CurrentRecord, Description, DirectoryEntry, Loan, PartRecord, UploadRecord, VersionRecord,
};
use crate::{
    BucketConfigKind, BucketLock, BucketState, Checksum, ChecksumAlgorithm, ChecksumType, Conditions, Owner, Quota,
    Retention, VersionRef, Versioning,
};

/// A change. Each may be sent again and has its effect once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    CreateBucket {
        id: BucketId,
        record: BucketRecord,
        documents: Vec<(BucketConfigKind, Vec<u8>)>,
    },
    /// `Answer<bool>`: whether the account's meter counted it.
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
    Delete(Box<DeleteCommand>),
    Rename(Box<RenameCommand>),
    Mark(Box<MarkCommand>),
    Update(Box<UpdateCommand>),
    Move(Box<MoveCommand>),
    Stage(Box<StageCommand>),
    /// Changes what is decided on by a bucket's own settings.
    ChangeBucket {
        id: BucketId,
        operation: VersionId,
        issued: Timestamp,
        change: BucketChange,
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
    /// As [`Command::Hold`], without a note of who is to use it: earlier versions say it.
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
    /// Removes rows that have outlived their use: keys of [`crate::keys::CONDEMNED`], of
    /// [`crate::keys::OPERATIONS`] and of [`crate::keys::MOVES`].
    Expire {
        condemned: Vec<Vec<u8>>,
        operations: Vec<Vec<u8>>,
        moves: Vec<Vec<u8>>,
    },
    /// How far the lifecycle of a bucket has come.
    LifecycleProgress {
        id: BucketId,
        progress: Box<LifecycleProgress>,
    },
    /// Carries out the command that follows, which changes versions, if the bucket then has no more than this. The
    /// answer is that of the command.
    Within {
        quota: Quota,
        reservation: Option<Reservation>,
    },
    /// Counts what is in a bucket, from now on for the account's meter too if `account`: `Answer<bool>`, true when all
    /// is counted.
    Count {
        id: BucketId,
        account: bool,
    },
    /// Makes reservations void that were made so far: `Option<Usage>`.
    Fence {
        id: BucketId,
    },
    /// Changes the meter of an account.
    Meter {
        meter: MeterId,
        change: MeterChange,
    },
    /// Holds data for the version or part that will be in `row`, and notes that in [`crate::keys::HOLDINGS`].
    Hold {
        route: Vec<u8>,
        issued: Timestamp,
        data: DataId,
        holder: DataId,
        proof: Proof,
        row: Vec<u8>,
    },
    /// A commit that uses the holding was seen: nobody has to look after it any more.
    HoldingSettled {
        route: Vec<u8>,
        data: DataId,
        holder: DataId,
    },
    /// The row that was to use the holding does not, and will not: it is released, unless it was settled meanwhile.
    HoldingUnused {
        route: Vec<u8>,
        data: DataId,
        holder: DataId,
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
    pub(crate) access: Access,
    /// Instead of the source's.
    pub(crate) checksum: Option<Checksum>,
}

/// Gives the current version of one object another key. Only where versions are not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RenameCommand {
    pub(crate) route: Vec<u8>,
    pub(crate) from: Vec<u8>,
    pub(crate) issued: Timestamp,
    /// On what has the new key.
    pub(crate) conditions: Conditions,
    /// The version that is renamed, while it is the current one.
    pub(crate) source: VersionId,
    /// Data that it owns.
    pub(crate) data: Option<DataId>,
    /// The version at the new key.
    pub(crate) version: VersionId,
    /// The holding by which the new key uses the data of the old one.
    pub(crate) holder: DataId,
    /// What the client's request is known by should it come again.
    pub(crate) token: Option<u128>,
}

/// Deletes one version for good, whichever its id: the command may arrive again and finds it gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeleteCommand {
    pub(crate) route: Vec<u8>,
    pub(crate) version: VersionId,
    pub(crate) only: DeleteOnly,
    /// Of two such commands one succeeds.
    pub(crate) exclusive: Option<Exclusive>,
    /// Whether the caller may bypass a governance lock, and wants to.
    pub(crate) bypass: bool,
}

/// What a version has to be still, to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DeleteOnly {
    /// It was named.
    Any,
    /// The current one, where versions are not kept: if it is not, there was another write.
    Current,
    /// Not the newest.
    Noncurrent,
    /// A delete marker behind which there is nothing.
    LoneMarker,
}

/// What an exclusive command is known by should it arrive again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exclusive {
    pub(crate) operation: VersionId,
    pub(crate) issued: Timestamp,
}

/// Puts a delete marker before the versions of an object. Only where versions are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarkCommand {
    pub(crate) route: Vec<u8>,
    pub(crate) issued: Timestamp,
    pub(crate) marker: VersionId,
    /// Only if this is still the current version.
    pub(crate) current: Option<VersionId>,
    /// Who deletes, when it is not the bucket's owner.
    pub(crate) owner: Option<Owner>,
}

/// Changes what is said of a version, not its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpdateCommand {
    pub(crate) route: Vec<u8>,
    pub(crate) issued: Timestamp,
    pub(crate) operation: VersionId,
    pub(crate) version: VersionId,
    pub(crate) change: Change,
}

/// A change of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    Tags(Vec<(String, String)>),
    Acl(Option<Vec<u8>>),
    Retention {
        retention: Option<Retention>,
        bypass: bool,
    },
    LegalHold(bool),
    StorageClass(Option<String>),
    /// Until when an archived version can be read, and whether it could be read before.
    Restore {
        until: Timestamp,
        again: bool,
    },
}

/// A change of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BucketChange {
    Versioning(Versioning),
    Lock(BucketLock),
}

/// Makes an object of parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompleteCommand {
    /// Least bytes of each part but the last.
    pub(crate) part_size_min: u64,
    pub(crate) route: Vec<u8>,
    pub(crate) upload: DataId,
    pub(crate) version: VersionId,
    pub(crate) conditions: Conditions,
    pub(crate) parts: Vec<ListedPart>,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) checksum_type: Option<ChecksumType>,
    pub(crate) size: Option<u64>,
    /// Whether the client has shown the key that the parts are under.
    pub(crate) key_shown: bool,
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
    /// The version as clients are told of it.
    pub(crate) told: Option<VersionRef>,
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
    /// The two keys of a rename are not in one range.
    OtherRange,
    /// The data was given up for lost before its commit arrived.
    Condemned,
    /// The command was under way for too long.
    Stale,
    /// No such version, any more.
    NoSuchVersion,
    /// The version is a delete marker, of which nothing can be said.
    DeleteMarker,
    /// A lock keeps the version.
    Locked,
    /// The bucket has no object lock.
    NoLock,
    /// The time until which a version is to be kept has passed.
    RetentionPassed,
    /// The version is not archived.
    NotArchived,
    /// Versioning of a bucket with object lock stays, and the lock needs versioning.
    LockNeedsVersioning,
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
    /// The bucket is metered: the command is to be sent in a `Within`.
    Metered,
    /// The bucket is not counted yet.
    NotMetered,
    /// There would be more than a quota allows.
    QuotaExceeded,
    /// The bucket's size would change, which the account's meter is to be asked about. It would grow by so much.
    NeedsReservation {
        account_id: String,
        bytes: u64,
        usage: Usage,
    },
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
    Object { route: Vec<u8>, version: Option<VersionRef> },
    /// `Answer<ObjectState>`.
    State { route: Vec<u8>, version: Option<VersionRef> },
    /// `Answer<UploadRecord>`.
    Upload { route: Vec<u8>, upload: DataId },
    /// `PartRows`.
    Parts { route: Vec<u8>, data: DataId, after: u16, limit: u32 },
    /// `Answer<ListedPage>`.
    List(Box<ListQuery>),
    /// `Option<Usage>`: of a bucket that is there and metered.
    Usage { id: BucketId },
    /// `bool`: whether a rename to this route was done.
    Renamed { route: Vec<u8>, token: u128 },
    /// `bool`: whether an extent of data is referred to.
    Referenced { row: Vec<u8>, data: DataId, extent: ExtentId },
    /// `Inspection`: a page of rows, compared with each other.
    Inspect { cursor: InspectCursor, extents_max: u32 },
    /// `bool`: whether a row of a holding is there.
    Holding { row: Vec<u8> },
    /// `Standing`: what is known of an extent that a node holds.
    Standing { row: Vec<u8>, data: DataId, extent: ExtentId },
    /// As [`Query::Object`], without the bytes of inline data. A leader of an earlier version does not know it.
    Head { route: Vec<u8>, version: Option<VersionRef> },
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

/// What a delete or a write has to know of an object before it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectState {
    pub(crate) bucket: BucketState,
    /// The current version, unless that is a delete marker.
    pub(crate) current: Option<CurrentRecord>,
    /// The version that was asked for.
    pub(crate) named: Option<VersionLine>,
}

/// A version in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionLine {
    pub(crate) record: CurrentRecord,
    pub(crate) delete_marker: bool,
    /// Nothing was written after it.
    pub(crate) latest: bool,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Listed {
    Objects,
    Uploads,
    Versions,
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
    /// The version that the listing goes on after, in the object of `from`'s route.
    pub(crate) after_version: Option<VersionRef>,
    pub(crate) limit: u32,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Line {
    /// With its row as it is kept, which only the one who asked reads.
    Object(String, Bytes),
    Upload(String, DataId, Box<UploadRecord>),
    Version(String, Box<VersionLine>),
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
    /// Takes a name: `Answer<DirectoryEntry>`, the new one or the one that has the name already. Refused when the
    /// owner would have more than `buckets_max`.
    Reserve { entry: Box<DirectoryEntry>, buckets_max: Option<u64> },
    /// The bucket's record is there.
    Activate { name: String, id: BucketId },
    /// The bucket's record is not there any more.
    Remove { name: String, id: BucketId },
    /// The account's buckets are metered together from now on.
    Meter { account_id: String },
}

/// A question to the directory of buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DirectoryQuery {
    /// `Option<DirectoryEntry>`.
    Lookup { name: String },
    /// `Vec<DirectoryEntry>` of up to `limit`, of the names after this.
    List { account_id: String, after: String, limit: u32 },
}
