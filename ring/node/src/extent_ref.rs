//! What metadata keeps of an extent.

use karri_ring_types::{Digest, ExtentId};
use serde::{Deserialize, Serialize};

/// Names a sealed extent and proves its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExtentRef {
    /// The extent; its partition says who holds it.
    pub id: ExtentId,
    /// Bytes of all its chunks.
    pub length_bytes: u64,
    /// Digest of the digests of its chunks.
    pub root: Digest,
}
