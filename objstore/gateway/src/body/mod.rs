//! Request bodies: read from the connection, decoded and verified on the way.

mod chunked;
mod error;
mod source;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use sha2::{Digest, Sha256};

pub(crate) use self::chunked::{ChunkDecoder, ChunkPlan, ChunkSigner};
pub use self::error::BodyError;
pub(crate) use self::source::{Linger, Pace, Source};

/// The body of a request, without its `aws-chunked` framing.
///
/// Everything that can be checked is checked by the time [`next`](Self::next) gives `None`: length, SHA-256, chunk
/// signatures, trailers. A body that ends with an `Err`, or is dropped before its end, must leave nothing behind.
pub struct RequestBody {
    source: Source,
    /// Read from the source and not yet decoded.
    input: Bytes,
    framing: Framing,
    length: Option<u64>,
    received: u64,
    payload_hash: Option<Box<PayloadHash>>,
    trailers: HeaderMap,
    finished: bool,
}

enum Framing {
    Plain,
    Chunked(Box<ChunkDecoder>),
}

struct PayloadHash {
    hasher: Sha256,
    claimed: String,
}

impl RequestBody {
    /// A body that is at hand, with nothing to verify.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        Self::new(Source::bytes(bytes), Some(length))
    }

    /// No body.
    pub fn empty() -> Self {
        Self::from_bytes(Bytes::new())
    }

    pub(crate) fn new(source: Source, length: Option<u64>) -> Self {
        Self {
            source,
            input: Bytes::new(),
            framing: Framing::Plain,
            length,
            received: 0,
            payload_hash: None,
            trailers: HeaderMap::new(),
            finished: false,
        }
    }

    /// Decodes `aws-chunked`.
    pub(crate) fn chunked(mut self, plan: ChunkPlan) -> Self {
        self.length = Some(plan.decoded_length);
        self.framing = Framing::Chunked(Box::new(ChunkDecoder::new(plan)));
        self
    }

    /// Checks the SHA-256 of everything, given in hexadecimal.
    pub(crate) fn hashed(mut self, claimed: String) -> Self {
        self.payload_hash = Some(Box::new(PayloadHash { hasher: Sha256::new(), claimed }));
        self
    }

    /// Bytes of the decoded body, where the request's headers say it; 0 without a body.
    pub fn decoded_length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes, as they came from the socket. After an `Err` comes `None`.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.finished {
            return None;
        }
        match self.advance().await {
            Ok(Some(piece)) => Some(Ok(piece)),
            Ok(None) => {
                self.finished = true;
                None
            }
            Err(error) => {
                self.finished = true;
                Some(Err(error))
            }
        }
    }

    /// The trailers, once [`next`](Self::next) gave `None` without an error before it: those that `x-amz-trailer`
    /// announced, signed if the body was.
    pub fn trailers(&self) -> &HeaderMap {
        &self.trailers
    }

    /// All of a small body.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, BodyError> {
        self.gather(limit).await
    }

    /// As [`collect`](Self::collect), leaving the trailers to be read.
    pub async fn gather(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if first.len() + joined.len() + piece.len() > limit {
                return Err(BodyError::TooLarge { limit });
            }
            if joined.is_empty() && first.is_empty() {
                first = piece;
                continue;
            }
            if joined.is_empty() {
                joined.extend_from_slice(&std::mem::take(&mut first));
            }
            joined.extend_from_slice(&piece);
        }
        Ok(if joined.is_empty() { first } else { joined.freeze() })
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            if !self.input.is_empty() {
                let piece = match &mut self.framing {
                    Framing::Plain => Some(std::mem::take(&mut self.input)),
                    Framing::Chunked(decoder) => decoder.decode(&mut self.input)?,
                };
                if let Some(piece) = piece {
                    self.account(&piece)?;
                    return Ok(Some(piece));
                }
            }
            match self.source.read().await? {
                Some(bytes) => self.input = bytes,
                None => {
                    self.verify_end()?;
                    return Ok(None);
                }
            }
        }
    }

    fn account(&mut self, piece: &Bytes) -> Result<(), BodyError> {
        self.received += piece.len() as u64;
        if self.length.is_some_and(|length| self.received > length) {
            return Err(BodyError::Incomplete);
        }
        if let Some(hash) = &mut self.payload_hash {
            hash.hasher.update(piece);
        }
        Ok(())
    }

    fn verify_end(&mut self) -> Result<(), BodyError> {
        if let Framing::Chunked(decoder) = &mut self.framing {
            self.trailers = decoder.finish()?;
        }
        if self.length.is_some_and(|length| self.received != length) {
            return Err(BodyError::Incomplete);
        }
        if let Some(hash) = self.payload_hash.take() {
            let computed = hex::encode(hash.hasher.finalize());
            if computed != hash.claimed {
                self.trailers.clear();
                return Err(BodyError::Sha256 { claimed: hash.claimed, computed });
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestBody({} of {:?} bytes)", self.received, self.length)
    }
}
