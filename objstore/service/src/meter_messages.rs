//! What buckets and the meter of their account say to each other (ADR 0013).

use karri_ring_types::DataId;
use serde::{Deserialize, Serialize};

use crate::keys::BucketId;

/// Leave of the account's meter for a change of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reservation {
    /// The bucket may grow by so much.
    pub(crate) bytes: u64,
    pub(crate) fence: u64,
}

/// How much is in a bucket that its account's meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) sequence: u64,
    pub(crate) fence: u64,
}

/// A change of the meter of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MeterChange {
    /// A bucket, whose size is of this sequence, is about to change: `Answer<Reserved>`.
    Reserve {
        bucket: BucketId,
        id: DataId,
        bytes: u64,
        /// What there may be in all buckets then.
        bytes_max: Option<u64>,
        sequence: u64,
        fence: u64,
    },
    /// What is in a bucket, and that a change has ended: `Answer<()>`.
    Settle { bucket: BucketId, id: Option<DataId>, told: Told },
    /// All buckets have told: `Answer<()>`.
    Complete,
}

/// What is told to a meter of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    Nothing,
    Usage(Usage),
    /// It is deleted.
    Gone,
}

/// Answer to [`MeterChange::Reserve`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reserved {
    Done,
    /// Not all buckets are counted in yet.
    NotMetered,
    /// The bucket has told of changes since.
    Changed,
    /// It depends on changes that are under way; those of these buckets for so long that their gateways may be gone.
    Wait {
        old: Vec<BucketId>,
    },
}
