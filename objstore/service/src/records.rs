//! Rows of the metadata. Each begins with a format byte; the rest is postcard. Versions and parts carry small
//! bodies behind their record, so that reading them copies nothing.

use bytes::Bytes;
use karri_ring_node::ExtentRef;
use karri_ring_types::{DataId, Timestamp, VersionId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::is_archive;
use crate::cipher::{EncryptionMode, EncryptionRecord};
use crate::keys::BucketId;
use crate::{
    BucketConfigKind, BucketState, Checksum, ChecksumAlgorithm, ChecksumType, ContentHeaders, ObjectLock, Owner,
    VersionRef,
};

/// Version of every record and message of this crate.
pub(crate) const FORMAT: u8 = 1;

/// Bytes that are no record or message of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable {0}")]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// A record or message as bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_with_tail(value, &[])
}

/// A record with a body behind it.
pub(crate) fn encode_with_tail<T: Serialize>(value: &T, tail: &[u8]) -> Vec<u8> {
    const RECORD_BYTES_TYPICAL: usize = 256;
    let mut bytes = Vec::with_capacity(RECORD_BYTES_TYPICAL + tail.len());
    bytes.push(FORMAT);
    let mut bytes = postcard::to_extend(value, bytes).expect("records have no maps and do not fail to serialise");
    bytes.extend_from_slice(tail);
    bytes
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    Ok(decode_with_tail(bytes)?.0)
}

/// Reads what [`encode_with_tail`] wrote; the body's length comes with it.
pub(crate) fn decode_with_tail<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), Unreadable> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => {
            let (value, tail) = postcard::take_from_bytes(rest).map_err(|_| Unreadable(std::any::type_name::<T>()))?;
            Ok((value, tail.len()))
        }
        _ => Err(Unreadable(std::any::type_name::<T>())),
    }
}

/// Reads a record and shares the body behind it.
pub(crate) fn decode_and_tail<T: DeserializeOwned>(bytes: &Bytes) -> Result<(T, Bytes), Unreadable> {
    let (value, tail) = decode_with_tail(bytes)?;
    Ok((value, bytes.slice(bytes.len() - tail..)))
}

/// An entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Etag {
    /// MD5 of the bytes.
    Md5([u8; 16]),
    /// MD5 over the MD5s of this many parts.
    Parts([u8; 16], u16),
}

impl Etag {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Md5(md5) => hexadecimal(md5),
            Self::Parts(md5, count) => format!("{}-{count}", hexadecimal(md5)),
        }
    }
}

/// Sixteen bytes as listings print a thousand times: digit by digit through an iterator would be felt.
fn hexadecimal(bytes: &[u8; 16]) -> String {
    let mut digits = [0; 32];
    hex::encode_to_slice(bytes, &mut digits).expect("two digits for each byte");
    str::from_utf8(&digits).expect("digits").to_owned()
}

/// Names the holding by which a version or part uses data that another object owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loan {
    /// The owner's route.
    pub(crate) route: Vec<u8>,
    /// Row in [`crate::keys::HOLDERS`] there.
    pub(crate) holder: DataId,
}

/// Parts with consecutive numbers and equal sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartRun {
    pub(crate) first: u16,
    pub(crate) count: u16,
    pub(crate) size: u64,
}

/// Where the bytes of a version or part are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Data {
    /// Behind the record.
    Inline,
    /// In these extents, from `skip` on, as many as the size says.
    Extents { data: DataId, loan: Option<Loan>, extents: Vec<ExtentRef>, skip: u64 },
    /// In the rows of these parts of an upload.
    Parts { data: DataId, loan: Option<Loan>, runs: Vec<PartRun> },
}

impl Data {
    /// Id and loan of data outside of the record.
    pub(crate) fn outside(&self) -> Option<(DataId, Option<&Loan>)> {
        match self {
            Self::Inline => None,
            Self::Extents { data, loan, .. } | Self::Parts { data, loan, .. } => Some((*data, loan.as_ref())),
        }
    }

    /// Id of data that is the record's own.
    pub(crate) fn own(&self) -> Option<DataId> {
        self.outside().filter(|(_, loan)| loan.is_none()).map(|(data, _)| data)
    }

    /// The id under which the collector gets this: its own, or that of its holding.
    pub(crate) fn garbage_id(&self) -> Option<DataId> {
        self.outside().map(|(data, loan)| loan.map_or(data, |loan| loan.holder))
    }

    pub(crate) fn parts_count(&self) -> Option<u16> {
        match self {
            Self::Parts { runs, .. } => Some(runs.iter().map(|run| run.count).sum()),
            _ => None,
        }
    }
}

/// What a client says about an object beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) content: ContentHeaders,
    pub(crate) user_metadata: Vec<(String, String)>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) storage_class: Option<String>,
}

/// Whose an object is and who may use it, where that is not as the bucket says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Access {
    /// The writer, when it is not the bucket's owner.
    pub(crate) owner: Option<Owner>,
    /// Access control list, as the layer above reads it.
    pub(crate) acl: Option<Vec<u8>>,
}

/// A version of an object, or a delete marker. What most versions do not have costs a byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    pub(crate) version: VersionId,
    pub(crate) size: u64,
    pub(crate) etag: Etag,
    pub(crate) modified: Timestamp,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) checksum_type: ChecksumType,
    pub(crate) description: Description,
    pub(crate) data: Data,
    /// There is no object: what was there is hidden.
    pub(crate) delete_marker: bool,
    /// Written while versions were not kept; there is at most one of an object.
    pub(crate) null: bool,
    pub(crate) lock: ObjectLock,
    pub(crate) access: Access,
    pub(crate) encryption: Option<Box<EncryptionRecord>>,
    /// Until when an archived version can be read.
    pub(crate) restored_until: Option<Timestamp>,
}

impl VersionRecord {
    /// Whether the version has to be restored before it can be read.
    pub(crate) fn is_archived(&self, now: Timestamp) -> bool {
        let archive = self.description.storage_class.as_deref().is_some_and(is_archive);
        archive && self.restored_until.is_none_or(|until| until <= now)
    }

    /// A marker that hides the versions before it.
    pub(crate) fn marker(version: VersionId, null: bool, modified: Timestamp, owner: Option<Owner>) -> Self {
        Self {
            version,
            size: 0,
            etag: Etag::Md5([0; 16]),
            modified,
            checksum: None,
            checksum_type: ChecksumType::FullObject,
            description: Description::default(),
            data: Data::Inline,
            delete_marker: true,
            null,
            lock: ObjectLock::default(),
            access: Access { owner, acl: None },
            encryption: None,
            restored_until: None,
        }
    }
}

/// What a listing prints of the current version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CurrentRecord {
    pub(crate) version: VersionId,
    pub(crate) size: u64,
    pub(crate) etag: Etag,
    pub(crate) modified: Timestamp,
    pub(crate) storage_class: Option<String>,
    pub(crate) checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    pub(crate) null: bool,
    pub(crate) owner: Option<Owner>,
}

impl CurrentRecord {
    pub(crate) fn of(record: &VersionRecord) -> Self {
        Self {
            version: record.version,
            size: record.size,
            etag: record.etag,
            modified: record.modified,
            storage_class: record.description.storage_class.clone(),
            checksum: record.checksum.as_ref().map(|checksum| (checksum.algorithm, record.checksum_type)),
            null: record.null,
            owner: record.access.owner.clone(),
        }
    }
}

/// A bucket, in its own range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BucketRecord {
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) created: Timestamp,
    pub(crate) region: String,
    pub(crate) state: BucketState,
    /// Whether what is in it is counted: there is a row of [`crate::keys::USAGE`]. A new bucket of an account with a
    /// meter is from the start.
    pub(crate) metered: bool,
}

/// How much is in a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsageRecord {
    pub(crate) bytes: u64,
    pub(crate) versions: u64,
    /// The route before which all is counted; `None`: all is.
    pub(crate) next: Option<Vec<u8>>,
    /// Whether the account's meter counts this bucket too: its size changes under reservations only.
    pub(crate) account: bool,
    /// Counts the changes of the size.
    pub(crate) sequence: u64,
    /// Reservations that were made under a lower one are void.
    pub(crate) fence: u64,
}

/// How much is in all of an account's buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MeterRecord {
    /// Whether all buckets are counted in.
    pub(crate) complete: bool,
    /// The sum of what the buckets told.
    pub(crate) settled: u64,
    /// The sum of the reservations.
    pub(crate) reserved: u64,
}

/// What a bucket told its account's meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToldRecord {
    pub(crate) bytes: u64,
    pub(crate) sequence: u64,
}

/// A change of a bucket that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReservationRecord {
    pub(crate) bytes: u64,
    pub(crate) fence: u64,
    pub(crate) since: Timestamp,
}

/// Counts the changes of a bucket's configuration documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigRevisionRecord {
    pub(crate) revision: u64,
    /// The last changes, should one of them arrive again.
    pub(crate) operations: Vec<VersionId>,
}

/// How far the creation of a bucket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EntryState {
    /// The name is taken, the record may not be there yet.
    Creating,
    /// The record was there. When it is not any more, the bucket was deleted and this entry is next.
    Active,
}

/// A bucket's entry in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectoryEntry {
    pub(crate) id: BucketId,
    pub(crate) state: EntryState,
    pub(crate) record: BucketRecord,
    /// What is configured of it from the beginning, until the record is there.
    pub(crate) documents: Vec<(BucketConfigKind, Vec<u8>)>,
}

/// An upload that is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadRecord {
    pub(crate) initiated: Timestamp,
    pub(crate) description: Description,
    pub(crate) algorithm: ChecksumAlgorithm,
    pub(crate) checksum_type: ChecksumType,
    /// Whether the client chose the algorithm, and is told checksums of parts.
    pub(crate) chosen: bool,
    /// Lock of the object to be.
    pub(crate) lock: ObjectLock,
    /// Owner and access control list of the object to be.
    pub(crate) access: Access,
    /// Of the object to be, and of its parts.
    pub(crate) encryption: Option<Box<EncryptionRecord>>,
}

/// A part. Its bytes are behind the record when they are inline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartRecord {
    /// Names this writing of the part.
    pub(crate) data_id: DataId,
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) modified: Timestamp,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) data: Data,
}

/// A completed upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompletedRecord {
    /// The version as clients are told of it.
    pub(crate) told: Option<VersionRef>,
    pub(crate) size: u64,
    pub(crate) etag: Etag,
    pub(crate) modified: Timestamp,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) checksum_type: ChecksumType,
    pub(crate) encryption: Option<EncryptionMode>,
}

/// What a command did that another has undone since, or a conditional delete: should it arrive again, it has its
/// answer here and does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperationRecord {
    pub(crate) since: Timestamp,
    /// When the version was written, for a write.
    pub(crate) modified: Timestamp,
    /// The version as clients are told of it.
    pub(crate) told: Option<VersionRef>,
}

/// A move of a version of parts that is under way: its new parts are rows of [`crate::keys::PARTS`] already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MovingRecord {
    /// When it came as far.
    pub(crate) since: Timestamp,
    /// The bytes that are written anew.
    pub(crate) from: DataId,
    pub(crate) class: Option<String>,
    /// The id of the new parts.
    pub(crate) data: DataId,
    /// The last number of them.
    pub(crate) last: u16,
}

/// Work for the garbage collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GarbageRecord {
    /// When it became garbage; readers get some time to finish.
    pub(crate) since: Timestamp,
    pub(crate) work: GarbageWork,
}

/// What is to be collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GarbageWork {
    /// Own extents.
    Extents(Vec<ExtentRef>),
    /// All parts of an upload.
    Parts,
    /// Parts of an upload that are not among these.
    UnusedParts(Vec<PartRun>),
    /// A holding of data of another object.
    Loan { loan: Loan, data: DataId },
}

/// A holding whose use was not seen yet (ADR 0017).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HoldingRecord {
    pub(crate) since: Timestamp,
    /// The data that is held.
    pub(crate) data: DataId,
    /// Row of the version or part that is to use it.
    pub(crate) row: Vec<u8>,
}

/// Data that nobody may refer to any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CondemnedRecord {
    pub(crate) since: Timestamp,
    /// Extents that are still to be deleted.
    pub(crate) extents: Vec<karri_ring_types::ExtentId>,
    /// Whether parts of the upload are still to be taken apart.
    pub(crate) parts: bool,
    /// Never referred to by a commit. A commit may still come, however late, so this row stays.
    pub(crate) orphan: bool,
}

impl CondemnedRecord {
    pub(crate) fn is_done(&self) -> bool {
        self.extents.is_empty() && !self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_ring_types::{Digest, ExtentId};

    fn record(data: Data) -> VersionRecord {
        VersionRecord {
            version: VersionId(u128::MAX / 3),
            size: 64 << 20,
            etag: Etag::Md5([9; 16]),
            modified: Timestamp(1_800_000_000_000),
            checksum: Some(crate::checksum::checksum_of(ChecksumAlgorithm::Crc64Nvme, b"x")),
            checksum_type: ChecksumType::FullObject,
            description: Description {
                content: ContentHeaders { content_type: Some("application/octet-stream".into()), ..Default::default() },
                ..Default::default()
            },
            data,
            delete_marker: false,
            null: true,
            lock: ObjectLock::default(),
            access: Access::default(),
            encryption: None,
            restored_until: None,
        }
    }

    #[test]
    fn an_object_costs_at_most_400_bytes() {
        let extent = ExtentRef { id: ExtentId(u128::MAX / 5), length_bytes: 64 << 20, root: Digest::of(b"x") };
        let record = record(Data::Extents { data: DataId(u128::MAX / 7), loan: None, extents: vec![extent], skip: 0 });
        let rows = encode(&record).len() + encode(&CurrentRecord::of(&record)).len();
        let key = BucketId([0; 16]).route("a/key/of/thirty/two/bytes/........");
        assert!(rows + 2 * key.len() + 16 <= 400, "{} bytes", rows + 2 * key.len() + 16);
    }

    #[test]
    fn a_body_follows_its_record() {
        let row = Bytes::from(encode_with_tail(&record(Data::Inline), b"body"));
        let (read, body) = decode_and_tail::<VersionRecord>(&row).expect("readable");
        assert_eq!((read, &body[..]), (record(Data::Inline), &b"body"[..]));
    }

    #[test]
    fn another_format_is_refused() {
        assert!(decode::<PartRun>(&[2, 1, 1, 1]).is_err());
        assert!(decode::<PartRun>(&[]).is_err());
        assert!(decode::<PartRun>(&[FORMAT]).is_err());
    }
}
