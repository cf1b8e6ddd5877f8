//! Messages of the methods 200..=299: one byte of format, then postcard. Chunks travel in the body, one after another.

use crate::examine::CopyState;
use crate::extent_ref::ExtentRef;
use karri_ring_extent::{ExtentError, ExtentHeader, Owner};
use karri_ring_rpc::Method;
use karri_ring_types::{Digest, ExtentId, ExtentKind, PartitionId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const FORMAT: u8 = 1;

/// Most ids in one message.
pub(crate) const IDS_MAX: usize = 4096;
/// Most chunks in one answer: with a header they stay far below the bound of a body.
pub(crate) const CHUNKS_PER_READ_MAX: u32 = 8;

pub(crate) const WRITE_RUN: Method = Method(200);
pub(crate) const SEAL: Method = Method(201);
pub(crate) const READ: Method = Method(203);
pub(crate) const DELETE: Method = Method(204);
pub(crate) const LIST: Method = Method(205);
pub(crate) const SUMMARIES: Method = Method(206);
pub(crate) const REPORT_BAD: Method = Method(207);
pub(crate) const USAGE: Method = Method(208);
pub(crate) const TOMBSTONED: Method = Method(209);
pub(crate) const EXAMINE: Method = Method(210);
pub(crate) const SCAN: Method = Method(211);

/// Stores the run in the body; with `seal` it is the extent's last.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WriteRun {
    pub(crate) extent: ExtentId,
    pub(crate) owner: Owner,
    pub(crate) first_chunk: u32,
    pub(crate) seal: Option<ExtentHeader>,
}

/// Seals an extent whose runs are there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seal {
    pub(crate) extent: ExtentId,
    pub(crate) header: ExtentHeader,
}

/// Asks for chunks `first..first + count`, and for the header.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) extent: ExtentId,
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) header: bool,
}

/// Answers [`Read`]; `chunks` has the length of each chunk that was asked for, `None` where there is no readable copy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReadReply {
    pub(crate) header: Option<ExtentHeader>,
    pub(crate) chunks: Vec<Option<u32>>,
}

/// Deletes extents; the caller has the proof that they are garbage.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ids(pub(crate) Vec<ExtentId>);

/// Asks for a page of a partition's sealed extents.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct List {
    pub(crate) partition: PartitionId,
    pub(crate) after: Option<ExtentId>,
    pub(crate) limit: u32,
}

/// Answers [`List`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListReply(pub(crate) Vec<(ExtentId, Digest)>);

/// Asks for the summaries of partitions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Summaries(pub(crate) Vec<PartitionId>);

/// How many extents a partition has and a digest of which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) xor_hash: u128,
}

/// Answers [`Summaries`], in the order asked: of each partition the kinds that there are.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SummariesReply(pub(crate) Vec<Vec<(ExtentKind, Summary)>>);

/// Tells a holder that its copy of a chunk is bad or missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ReportBad {
    pub(crate) extent: ExtentId,
    pub(crate) root: Digest,
    pub(crate) index: u32,
}

/// Asks about copies; with `deep` their bytes are read.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Examine {
    pub(crate) copies: Vec<ExtentRef>,
    pub(crate) deep: bool,
}

/// Answers [`Examine`], in the order asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExamineReply(pub(crate) Vec<CopyState>);

/// Asks for a page of all extents.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScanAll {
    pub(crate) after: Option<ExtentId>,
    pub(crate) limit: u32,
}

/// Answers [`ScanAll`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScanReply(pub(crate) Vec<(ExtentId, Owner)>);

/// A message without content.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Nothing;

/// What a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsageReply {
    pub(crate) extents: u64,
    pub(crate) bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) full: bool,
}

/// Why a node did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum Refusal {
    #[error("the disk is full")]
    DiskFull,
    #[error("the extent was deleted")]
    Deleted,
    #[error("incomplete: {0}")]
    Incomplete(String),
    #[error("{0}")]
    Failed(String),
}

impl From<ExtentError> for Refusal {
    fn from(error: ExtentError) -> Self {
        match error {
            ExtentError::DiskFull => Self::DiskFull,
            ExtentError::Deleted => Self::Deleted,
            ExtentError::Incomplete(what) => Self::Incomplete(what),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// A message that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("unreadable message: {0}")]
pub(crate) struct Unreadable(String);

pub(crate) fn encode<T: Serialize>(message: &T) -> Result<bytes::Bytes, Unreadable> {
    postcard::to_extend(message, vec![FORMAT]).map(bytes::Bytes::from).map_err(|error| Unreadable(error.to_string()))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    match bytes.split_first() {
        Some((&FORMAT, message)) => postcard::from_bytes(message).map_err(|error| Unreadable(error.to_string())),
        Some((format, _)) => Err(Unreadable(format!("format {format}"))),
        None => Err(Unreadable("no bytes".to_owned())),
    }
}
