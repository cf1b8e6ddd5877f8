//! Ids, epochs, sizes and digests of a Karri cluster as newtypes, and the [`Clock`] and [`Rng`] through
//! which everything else reads time and randomness, so that a simulation can supply both.
//!
//! ```
//! use karri_ring_types::{ExtentId, PartitionId};
//! let id: ExtentId = "0192f0c1d2e3aabbccddeeff00112233".parse().unwrap();
//! let _: PartitionId = id.partition();
//! ```
//!
//! It knows nothing of networks, disks or S3.

mod clock;
mod digest;
mod failpoint;
mod ids;
mod random;
mod redundancy;
mod secret;
mod size;
mod work;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use digest::{Digest, ParseDigestError};
#[cfg(debug_assertions)]
pub use failpoint::{Armed, at_step};
pub use failpoint::{Step, UnknownStep, failpoint};
pub use ids::{
    ClusterId, DataId, Epoch, ExtentId, NodeId, PARTITION_COUNT, ParseIdError, PartitionId, RangeId, RequestId,
    VersionId,
};
pub use random::{Rng, SeededRng, SystemRng};
pub use redundancy::{COPIES_MAX, DATA_SHARDS_MAX, ExtentKind, PARITY_SHARDS_MAX, ParseRedundancyError, Redundancy};
pub use secret::ClusterKey;
pub use size::{
    CHUNK_SIZE_BYTES, EXTENT_SIZE_BYTES_MAX, INLINE_SIZE_BYTES_MAX, RUN_SIZE_BYTES, chunk_count, chunk_length,
};
pub use work::{blocking, simulate_blocking, simulated_delay};
