//! The `aws-chunked` framing, as a state machine without IO: bytes go in as they come from the socket, slices of
//! them come out. A chunk is never gathered, whatever its size.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html> and `sigv4-streaming-trailers.html`.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::auth::{SIGNATURE_LENGTH, SignatureHex, SigningKey};
use crate::body::BodyError;

/// A size of 16 digits, `;chunk-signature=`, 64 digits and a line end fit well.
const SIZE_LINE_BYTES_MAX: usize = 256;
/// All trailers with their line ends.
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// The digest of an empty text, in the place of extensions that no client uses.
const EMPTY_SHA256_LINE: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";
const SPACES: [char; 2] = [' ', '\t'];
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// How the chunks of a body are framed.
pub(crate) struct ChunkPlan {
    /// For signed chunks: what their signatures continue.
    pub(crate) signer: Option<ChunkSigner>,
    /// Names announced in `x-amz-trailer`; `None` when the form has no trailers at all.
    pub(crate) trailers: Option<Vec<HeaderName>>,
    /// `x-amz-decoded-content-length`.
    pub(crate) decoded_length: u64,
}

/// Checks the chain of signatures that begins with the request's own.
pub(crate) struct ChunkSigner {
    key: SigningKey,
    /// `<timestamp>\n<scope>\n`.
    context: String,
    previous: SignatureHex,
}

impl ChunkSigner {
    pub(crate) fn new(key: SigningKey, timestamp: &str, scope: &str, seed: SignatureHex) -> Self {
        Self { key, context: format!("{timestamp}\n{scope}\n"), previous: seed }
    }

    fn verify(&mut self, kind: &str, middle: &str, digest: &str, claimed: &[u8]) -> Result<(), BodyError> {
        let previous = self.previous.as_bytes();
        let context = self.context.as_bytes();
        let parts: [&[u8]; 7] =
            [kind.as_bytes(), b"\n", context, previous, b"\n", middle.as_bytes(), digest.as_bytes()];
        let expected = self.key.sign(&parts);
        if !bool::from(expected.as_bytes().ct_eq(claimed)) {
            return Err(BodyError::Signature);
        }
        self.previous = expected;
        Ok(())
    }

    fn verify_chunk(&mut self, digest: &str, claimed: &[u8]) -> Result<(), BodyError> {
        self.verify("AWS4-HMAC-SHA256-PAYLOAD", EMPTY_SHA256_LINE, digest, claimed)
    }

    fn verify_trailers(&mut self, digest: &str, claimed: &[u8]) -> Result<(), BodyError> {
        self.verify("AWS4-HMAC-SHA256-TRAILER", "", digest, claimed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the line with size and signature.
    Size,
    /// In the bytes of a chunk.
    Data,
    /// Before the line end behind a chunk; how many of its two bytes were seen.
    DataEnd(u8),
    /// Among the trailers.
    Trailers,
    /// Before the line end that closes a body without trailers.
    Close(u8),
    /// Behind everything.
    Done,
}

/// Decodes one body.
pub(crate) struct ChunkDecoder {
    plan: ChunkPlan,
    state: State,
    line: Vec<u8>,
    claimed: [u8; SIGNATURE_LENGTH],
    hasher: Sha256,
    chunk_remaining: u64,
    decoded: u64,
    trailers: HeaderMap,
    trailer_text: Vec<u8>,
    trailer_bytes: usize,
    trailer_signature: Option<Vec<u8>>,
    trailer_gap: bool,
}

impl ChunkDecoder {
    pub(crate) fn new(plan: ChunkPlan) -> Self {
        Self {
            plan,
            state: State::Size,
            line: Vec::new(),
            claimed: [0; SIGNATURE_LENGTH],
            hasher: Sha256::new(),
            chunk_remaining: 0,
            decoded: 0,
            trailers: HeaderMap::new(),
            trailer_text: Vec::new(),
            trailer_bytes: 0,
            trailer_signature: None,
            trailer_gap: false,
        }
    }

    /// Takes from `input` until there are payload bytes to give back or it is used up. The bytes of a chunk are
    /// given back before its signature is known, all but the last ones: the body counts only when its end is reached.
    pub(crate) fn decode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, BodyError> {
        while !input.is_empty() {
            match self.state {
                State::Size => {
                    if self.read_line(input, SIZE_LINE_BYTES_MAX, BodyError::Framing)? {
                        self.begin_chunk()?;
                    }
                }
                State::Data => return self.take_data(input).map(Some),
                State::DataEnd(seen) => {
                    self.state = line_end(input, seen)?.map_or(State::Size, State::DataEnd);
                }
                State::Trailers => {
                    if self.read_line(input, TRAILER_BYTES_MAX, BodyError::Trailers)? {
                        self.take_trailer()?;
                    }
                }
                State::Close(seen) => self.state = line_end(input, seen)?.map_or(State::Done, State::Close),
                State::Done => return Err(BodyError::Incomplete),
            }
        }
        Ok(None)
    }

    /// The input has ended: checks that the body has too. Some clients leave out the very last line end.
    pub(crate) fn finish(&mut self) -> Result<HeaderMap, BodyError> {
        match self.state {
            State::Done | State::Close(0) => {}
            State::Trailers if self.line.is_empty() => self.end_trailers()?,
            _ => return Err(BodyError::Incomplete),
        }
        if self.decoded != self.plan.decoded_length {
            return Err(BodyError::Incomplete);
        }
        Ok(std::mem::take(&mut self.trailers))
    }

    /// Gathers a line into `self.line`, without its line end; false when `input` ended before it did.
    fn read_line(&mut self, input: &mut Bytes, limit: usize, excess: BodyError) -> Result<bool, BodyError> {
        let end = memchr::memchr(b'\n', input);
        let part = input.split_to(end.map_or(input.len(), |at| at + 1));
        if self.line.len() + part.len() > limit {
            return Err(excess);
        }
        self.line.extend_from_slice(&part);
        if end.is_none() {
            return Ok(false);
        }
        self.line.pop();
        Ok(true)
    }

    fn begin_chunk(&mut self) -> Result<(), BodyError> {
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\r").ok_or(BodyError::Framing)?;
        let (size, extension) = match memchr::memchr(b';', text) {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, &[][..]),
        };
        let size = parse_size(size)?;
        if self.plan.signer.is_some() {
            let claimed = extension.strip_prefix(b"chunk-signature=").ok_or(BodyError::Signature)?;
            self.claimed = claimed.try_into().map_err(|_| BodyError::Signature)?;
        }
        self.line = line;
        self.line.clear();
        let total = self.decoded.checked_add(size).ok_or(BodyError::Framing)?;
        if total > self.plan.decoded_length {
            return Err(BodyError::Incomplete);
        }
        self.chunk_remaining = size;
        self.state = State::Data;
        if size == 0 {
            self.end_chunk()?;
            self.state = if self.plan.trailers.is_some() { State::Trailers } else { State::Close(0) };
        }
        Ok(())
    }

    fn take_data(&mut self, input: &mut Bytes) -> Result<Bytes, BodyError> {
        let length = usize::try_from(self.chunk_remaining).unwrap_or(usize::MAX).min(input.len());
        let piece = input.split_to(length);
        if self.plan.signer.is_some() {
            self.hasher.update(&piece);
        }
        self.chunk_remaining -= length as u64;
        self.decoded += length as u64;
        if self.chunk_remaining == 0 {
            self.end_chunk()?;
            self.state = State::DataEnd(0);
        }
        Ok(piece)
    }

    fn end_chunk(&mut self) -> Result<(), BodyError> {
        let Some(signer) = &mut self.plan.signer else { return Ok(()) };
        let digest = SignatureHex::of(self.hasher.finalize_reset().as_ref());
        signer.verify_chunk(digest.as_str(), &self.claimed)
    }

    fn take_trailer(&mut self) -> Result<(), BodyError> {
        let line = std::mem::take(&mut self.line);
        self.trailer_bytes += line.len() + 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(BodyError::Trailers);
        }
        let text = std::str::from_utf8(&line).map_err(|_| BodyError::Trailers)?;
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            // AWS's own example has an empty line between the trailers and their signature.
            if self.plan.signer.is_some() && self.trailer_signature.is_none() && !self.trailer_gap {
                self.trailer_gap = true;
                return Ok(());
            }
            self.end_trailers()?;
            self.state = State::Done;
            return Ok(());
        }
        let (name, value) = text.split_once(':').ok_or(BodyError::Trailers)?;
        let name = name.trim_matches(SPACES).to_ascii_lowercase();
        let value = value.trim_matches(SPACES);
        if self.trailer_signature.is_some() {
            return Err(BodyError::Trailers);
        }
        if name == TRAILER_SIGNATURE && self.plan.signer.is_some() {
            self.trailer_signature = Some(value.as_bytes().to_vec());
            return Ok(());
        }
        if self.trailer_gap {
            return Err(BodyError::Trailers);
        }
        for part in [name.as_bytes(), b":", value.as_bytes(), b"\n"] {
            self.trailer_text.extend_from_slice(part);
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| BodyError::Trailers)?;
        let value = HeaderValue::from_str(value).map_err(|_| BodyError::Trailers)?;
        let announced = self.plan.trailers.as_ref().is_some_and(|names| names.contains(&name));
        if !announced || self.trailers.insert(name, value).is_some() {
            return Err(BodyError::Trailers);
        }
        Ok(())
    }

    fn end_trailers(&mut self) -> Result<(), BodyError> {
        let announced = self.plan.trailers.as_deref().unwrap_or_default();
        if announced.iter().any(|name| !self.trailers.contains_key(name)) {
            return Err(BodyError::Trailers);
        }
        if let Some(signer) = &mut self.plan.signer {
            let claimed = self.trailer_signature.take().ok_or(BodyError::Signature)?;
            let digest = SignatureHex::of(Sha256::digest(&self.trailer_text).as_ref());
            signer.verify_trailers(digest.as_str(), &claimed)?;
        }
        Ok(())
    }
}

/// Takes what is left of a line end; `None` when it is complete.
fn line_end(input: &mut Bytes, seen: u8) -> Result<Option<u8>, BodyError> {
    let wanted = if seen == 0 { b'\r' } else { b'\n' };
    match input.split_to(1).first() {
        Some(byte) if *byte == wanted => Ok((seen == 0).then_some(1)),
        _ => Err(BodyError::Framing),
    }
}

fn parse_size(digits: &[u8]) -> Result<u64, BodyError> {
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(BodyError::Framing);
    }
    let text = std::str::from_utf8(digits).map_err(|_| BodyError::Framing)?;
    u64::from_str_radix(text, 16).map_err(|_| BodyError::Framing)
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
