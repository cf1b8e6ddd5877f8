//! What is stored beside the chunks.

use bytes::Bytes;
use karri_ring_types::{DataId, Digest, ExtentId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::store::ExtentError;

const FORMAT: u8 = 1;

/// On whose behalf an extent was written: whom to ask whether it is still wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The body of data that the extent is part of.
    pub data: DataId,
    /// Metadata key of the object that was written.
    pub route: Vec<u8>,
}

/// A sealed extent's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtentHeader {
    /// Who owns it.
    pub owner: Owner,
    /// Bytes of all chunks.
    pub length_bytes: u64,
    /// Digest of each chunk, in order.
    pub chunk_digests: Vec<Digest>,
    /// When it was sealed, by the writer's clock.
    pub created: Timestamp,
    /// Of a shard, the stripe that it is part of.
    pub stripe: Option<Stripe>,
}

/// What every shard of a stripe knows of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stripe {
    /// Bytes that the stripe stands for.
    pub length_bytes: u64,
    /// Digest of the chunk digests of each shard.
    pub shard_roots: Vec<Digest>,
}

impl ExtentHeader {
    /// The digest that metadata keeps: of the chunks' digests or, of a stripe, of its shards'.
    pub fn root(&self) -> Digest {
        match &self.stripe {
            None => self.chunks_root(),
            Some(stripe) => Digest::of_chunks(&stripe.shard_roots),
        }
    }

    /// Digest of the digests of the chunks that are held under this header.
    pub fn chunks_root(&self) -> Digest {
        Digest::of_chunks(&self.chunk_digests)
    }

    /// Whether the header can be that of an extent with this id.
    pub fn is_of(&self, id: ExtentId) -> bool {
        match (&self.stripe, id.redundancy().shards()) {
            (None, None) => true,
            (Some(stripe), Some((data, parity))) => {
                stripe.shard_roots.len() == data + parity
                    && stripe.shard_roots.get(usize::from(id.kind().shard())) == Some(&self.chunks_root())
            }
            _ => false,
        }
    }
}

/// Consecutive chunks of an extent; only the extent's last chunk may be shorter than a full one.
#[derive(Clone, Debug)]
pub struct Run {
    /// The extent.
    pub extent: ExtentId,
    /// Who owns it.
    pub owner: Owner,
    /// Index of the first chunk.
    pub first_chunk: u32,
    /// The chunks.
    pub chunks: Vec<Bytes>,
}

impl Run {
    /// Bytes of all chunks.
    pub fn length_bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

/// An extent that was begun and not sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenExtent {
    /// The extent.
    pub id: ExtentId,
    /// Who began it.
    pub owner: Owner,
}

/// A row of the extent table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Row {
    Open(Owner),
    Sealed(ExtentHeader),
}

impl Row {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ExtentError> {
        postcard::to_extend(self, vec![FORMAT]).map_err(|error| ExtentError::Damaged(error.to_string()))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ExtentError> {
        match bytes.split_first() {
            Some((&FORMAT, record)) => {
                postcard::from_bytes(record).map_err(|error| ExtentError::Damaged(error.to_string()))
            }
            _ => Err(ExtentError::Damaged("an extent row of an unknown format".to_owned())),
        }
    }
}
