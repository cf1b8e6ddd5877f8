//! Encryption of bodies at rest: a stage of its own between the hashes and the disks.
//!
//! Each object has a random key. It is kept with the object, sealed under a key of the cluster (SSE-S3) or the client's
//! own (SSE-C), or wrapped by the key service under a named key (SSE-KMS). The bytes are cut into chunks of [`CHUNK_BYTES`], each sealed by itself
//! (ChaCha20-Poly1305, the chunk's number as nonce), so that a range is read without what stands before it. The body of
//! each part has a key of its own, derived from the object's, so no nonce is ever used twice.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use futures::stream::{self, StreamExt};
use karri_ring_node::ExtentRef;
use karri_ring_types::{ClusterKey, DataId, ExtentId, Rng};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::api::Content;
use crate::ports::{CallerKeys, Sink};
use crate::{ObjectService, ServiceError};

/// Plain bytes of a chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes that sealing adds to a chunk.
const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;

/// Purpose of the cluster's key.
const PURPOSE_S3: &str = "karri 2026 sse: keys of objects";

/// Which derived key seals object keys; kept with each, so that a later one can follow.
const GENERATION: u32 = 1;

/// A key that a client sends with its requests, and that is never kept.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerKey([u8; KEY_BYTES]);

impl CustomerKey {
    /// From its bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// MD5 of the key, by which clients check that it arrived.
    pub fn md5(&self) -> [u8; 16] {
        Md5::digest(self.0).into()
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey(..)")
    }
}

/// A key of the key service, and what one object is encrypted under it with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedKey {
    /// Its ARN.
    pub key_id: String,
    /// What the key service must be told again to open what it wrapped.
    pub context: Vec<(String, String)>,
    /// Whether the writer wanted a bucket key: it is told again, and decides what the context says.
    pub bucket_key: bool,
}

/// How a writer wants an object to be encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Under a key of the cluster.
    S3,
    /// Under a named key of the key service.
    Kms(NamedKey),
    /// Under the client's own key.
    Customer(CustomerKey),
}

/// How an object is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncryptionMode {
    /// Under a key of the cluster.
    S3,
    /// Under a named key of the key service.
    Kms(NamedKey),
    /// Under a key that its readers must send.
    Customer,
}

impl Encryption {
    fn mode(&self) -> EncryptionMode {
        match self {
            Self::S3 => EncryptionMode::S3,
            Self::Kms(key) => EncryptionMode::Kms(key.clone()),
            Self::Customer(_) => EncryptionMode::Customer,
        }
    }
}

/// The encryption of an object or upload, as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EncryptionRecord {
    pub(crate) mode: EncryptionMode,
    generation: u32,
    /// Nonce, sealed key, tag.
    sealed: Vec<u8>,
}

impl fmt::Debug for EncryptionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionRecord({:?})", self.mode)
    }
}

impl EncryptionRecord {
    /// Whether a copy that is to be encrypted so may share the bytes.
    pub(crate) fn serves(&self, asked: Option<&Encryption>) -> bool {
        match (&self.mode, asked) {
            (EncryptionMode::S3, Some(Encryption::S3)) => true,
            // The object's key is wrapped again for the copy.
            (EncryptionMode::Kms(ours), Some(Encryption::Kms(theirs))) => ours.key_id == theirs.key_id,
            // The client's key is not kept, and a copy gets another.
            _ => false,
        }
    }

    /// Whether it is what is asked for, to the last detail.
    pub(crate) fn is(&self, asked: Option<&Encryption>) -> bool {
        asked.is_some_and(|asked| asked.mode() == self.mode)
    }
}

/// The open key of an object or upload.
#[derive(Clone)]
pub(crate) struct ObjectKey {
    key: [u8; KEY_BYTES],
    /// Whether entity tags must not be MD5s of the bytes.
    opaque_tags: bool,
}

/// The open key of one body.
#[derive(Clone)]
pub(crate) struct BodyKey([u8; KEY_BYTES]);

impl ObjectKey {
    fn derive(&self, purpose: &[u8], id: &[u8]) -> [u8; KEY_BYTES] {
        *blake3::keyed_hash(&self.key, &[purpose, id].concat()).as_bytes()
    }

    /// The key of the body of an object that was written at once.
    pub(crate) fn whole(&self) -> BodyKey {
        BodyKey(self.derive(b"body", &[]))
    }

    /// The key of one writing of a part.
    pub(crate) fn part(&self, data: DataId) -> BodyKey {
        BodyKey(self.derive(b"part", &data.to_bytes()))
    }

    /// What the entity tag is made of.
    pub(crate) fn tag(&self, md5: [u8; 16]) -> [u8; 16] {
        if !self.opaque_tags {
            return md5;
        }
        let mut tag = [0; 16];
        tag.copy_from_slice(&self.derive(b"etag", &md5)[..16]);
        tag
    }
}

fn cipher(key: &[u8; KEY_BYTES]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.into())
}

fn nonce_of(chunk: u64) -> Nonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce[NONCE_BYTES - 8..].copy_from_slice(&chunk.to_be_bytes());
    nonce.into()
}

/// What is told to those who do not show the key that is needed.
pub(crate) const KEY_MISSING: &str = "The object was stored using a form of Server Side Encryption. The correct \
                                      parameters must be provided to retrieve the object.";

/// The key that seals keys of objects.
fn sealing_key(
    cluster: Option<&ClusterKey>,
    mode: &EncryptionMode,
    generation: u32,
    customer: Option<&CustomerKey>,
) -> Result<[u8; KEY_BYTES], ServiceError> {
    match (mode, customer) {
        (EncryptionMode::S3, None) => {
            let cluster = cluster.ok_or_else(|| ServiceError::Internal("this node has no cluster key".to_owned()))?;
            let root = cluster.derive(PURPOSE_S3);
            Ok(*blake3::keyed_hash(&root, &generation.to_be_bytes()).as_bytes())
        }
        (EncryptionMode::Kms(_), None) => Err(ServiceError::Internal("the key service seals this key".to_owned())),
        (EncryptionMode::Customer, Some(key)) => Ok(key.0),
        (EncryptionMode::Customer, None) => Err(ServiceError::InvalidRequest(KEY_MISSING.to_owned())),
        (_, Some(_)) => Err(not_applicable()),
    }
}

/// A key that was sent for an object that has none of a client's.
pub(crate) fn not_applicable() -> ServiceError {
    ServiceError::InvalidRequest("The encryption parameters are not applicable to this object.".to_owned())
}

fn seal_key(rng: &dyn Rng, sealing: &[u8; KEY_BYTES], key: &[u8; KEY_BYTES]) -> Vec<u8> {
    let mut sealed = vec![0; NONCE_BYTES];
    rng.fill(&mut sealed);
    let nonce = *Nonce::from_slice(&sealed);
    let mut bytes = *key;
    let tag = cipher(sealing).encrypt_in_place_detached(&nonce, b"", &mut bytes).expect("32 bytes are not too many");
    sealed.extend_from_slice(&bytes);
    sealed.extend_from_slice(&tag);
    sealed
}

fn open_key(sealing: &[u8; KEY_BYTES], sealed: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES)?;
    let (key, tag) = rest.split_at_checked(KEY_BYTES)?;
    let mut key: [u8; KEY_BYTES] = key.try_into().ok()?;
    let tag: [u8; TAG_BYTES] = tag.try_into().ok()?;
    let opened = cipher(sealing).decrypt_in_place_detached(Nonce::from_slice(nonce), b"", &mut key, &tag.into());
    opened.ok().map(|()| key)
}

impl ObjectService {
    /// A new object key, open and as it is kept.
    pub(crate) async fn new_key(
        &self,
        asked: Option<&Encryption>,
        keys: &CallerKeys,
    ) -> Result<Option<(EncryptionRecord, ObjectKey)>, ServiceError> {
        let Some(asked) = asked else { return Ok(None) };
        let mut key = [0; KEY_BYTES];
        self.rng.fill(&mut key);
        let record = self.keep_key(asked, keys, &key).await?;
        let opaque_tags = record.mode != EncryptionMode::S3;
        Ok(Some((record, ObjectKey { key, opaque_tags })))
    }

    /// An object key as it is kept.
    async fn keep_key(
        &self,
        asked: &Encryption,
        keys: &CallerKeys,
        key: &[u8; KEY_BYTES],
    ) -> Result<EncryptionRecord, ServiceError> {
        let mode = asked.mode();
        if let Encryption::Kms(named) = asked {
            let sealed = keys.of_caller()?.wrap(named, key).await?;
            return Ok(EncryptionRecord { mode, generation: GENERATION, sealed });
        }
        let customer = match asked {
            Encryption::Customer(key) => Some(key),
            _ => None,
        };
        let sealing = sealing_key(self.config.cluster_key.as_ref(), &mode, GENERATION, customer)?;
        let sealed = seal_key(&*self.rng, &sealing, key);
        Ok(EncryptionRecord { mode, generation: GENERATION, sealed })
    }

    /// The open key of an object as it is kept for a copy that shares its bytes.
    pub(crate) async fn keep_again(
        &self,
        kept: &EncryptionRecord,
        asked: Option<&Encryption>,
        keys: &CallerKeys,
        key: Option<&ObjectKey>,
    ) -> Result<EncryptionRecord, ServiceError> {
        match (asked, key) {
            (Some(asked @ Encryption::Kms(_)), Some(key)) => self.keep_key(asked, keys, &key.key).await,
            _ => Ok(kept.clone()),
        }
    }

    /// The key of what is kept, if it is encrypted.
    ///
    /// # Errors
    /// `InvalidRequest` for a client's key that is missing, wrong, or not applicable; `Key` for a named key that the
    /// caller may not use, or nobody.
    pub(crate) async fn open_key(
        &self,
        record: Option<&EncryptionRecord>,
        customer: Option<&CustomerKey>,
        keys: &CallerKeys,
    ) -> Result<Option<ObjectKey>, ServiceError> {
        let Some(record) = record else {
            return if customer.is_some() { Err(not_applicable()) } else { Ok(None) };
        };
        if let (EncryptionMode::Kms(named), None) = (&record.mode, customer) {
            let key = keys.of_caller()?.unwrap(named, &record.sealed).await?;
            return Ok(Some(ObjectKey { key, opaque_tags: true }));
        }
        let cluster = self.config.cluster_key.as_ref();
        let sealing = sealing_key(cluster, &record.mode, record.generation, customer)?;
        let opaque_tags = record.mode != EncryptionMode::S3;
        match open_key(&sealing, &record.sealed) {
            Some(key) => Ok(Some(ObjectKey { key, opaque_tags })),
            None if customer.is_some() => Err(ServiceError::InvalidRequest(
                "The provided encryption parameters did not match the ones used originally.".to_owned(),
            )),
            None => Err(ServiceError::Internal("the key of an object cannot be opened".to_owned())),
        }
    }
}

/// Bytes on disk of a body.
pub(crate) fn sealed_size(plain: u64) -> u64 {
    plain + plain.div_ceil(CHUNK_BYTES as u64) * TAG_BYTES as u64
}

/// The sealed bytes that a range of a body of this size is in.
pub(crate) fn sealed_range(range: &Range<u64>, size: u64) -> Range<u64> {
    let chunk = CHUNK_BYTES as u64;
    let sealed = chunk + TAG_BYTES as u64;
    let first = range.start / chunk * sealed;
    let last = (range.end.div_ceil(chunk) * sealed).min(sealed_size(size));
    first..last
}

/// Seals a body on its way in.
pub(crate) struct BodySealer {
    cipher: ChaCha20Poly1305,
    chunk: u64,
    buffer: BytesMut,
}

impl BodySealer {
    pub(crate) fn new(key: &BodyKey) -> Self {
        Self { cipher: cipher(&key.0), chunk: 0, buffer: BytesMut::new() }
    }

    /// Takes bytes in; gives the chunks that are complete.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<Vec<Bytes>, ServiceError> {
        let mut sealed = Vec::new();
        let mut rest = piece;
        while !rest.is_empty() {
            if self.buffer.is_empty() {
                self.buffer.reserve(CHUNK_BYTES + TAG_BYTES);
            }
            let (fits, after) = rest.split_at(rest.len().min(CHUNK_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(fits);
            rest = after;
            if self.buffer.len() == CHUNK_BYTES {
                sealed.push(self.seal()?);
            }
        }
        Ok(sealed)
    }

    /// The last chunk, if there is a part of one.
    pub(crate) fn finish(mut self) -> Result<Option<Bytes>, ServiceError> {
        if self.buffer.is_empty() { Ok(None) } else { self.seal().map(Some) }
    }

    fn seal(&mut self) -> Result<Bytes, ServiceError> {
        let mut chunk = self.buffer.split();
        let tag = self.cipher.encrypt_in_place_detached(&nonce_of(self.chunk), b"", &mut chunk);
        let tag = tag.map_err(|_| ServiceError::Internal("a chunk cannot be sealed".to_owned()))?;
        chunk.extend_from_slice(&tag);
        self.chunk += 1;
        Ok(chunk.freeze())
    }
}

/// A sink that seals what is written to it.
pub(crate) struct SealingSink<'a> {
    sink: &'a mut dyn Sink,
    sealer: Option<BodySealer>,
}

impl<'a> SealingSink<'a> {
    pub(crate) fn new(key: &BodyKey, sink: &'a mut dyn Sink) -> Self {
        Self { sink, sealer: Some(BodySealer::new(key)) }
    }
}

#[async_trait]
impl Sink for SealingSink<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ServiceError> {
        let Some(sealer) = &mut self.sealer else { return Err(ServiceError::Internal("written after its end".into())) };
        for chunk in sealer.push(&bytes)? {
            self.sink.write(chunk).await?;
        }
        Ok(())
    }

    async fn wanted(&self) {
        self.sink.wanted().await;
    }

    async fn shed(&mut self) -> Result<(), ServiceError> {
        self.sink.shed().await
    }

    async fn finish(&mut self) -> Result<Vec<ExtentRef>, ServiceError> {
        if let Some(last) = self.sealer.take().map(BodySealer::finish).transpose()?.flatten() {
            self.sink.write(last).await?;
        }
        self.sink.finish().await
    }

    fn begun(&self) -> Vec<ExtentId> {
        self.sink.begun()
    }

    /// The sink below is its owner's to abort.
    async fn abort(self: Box<Self>) {}
}

/// Seals a small body.
pub(crate) fn seal_small(key: &BodyKey, plain: &[u8]) -> Result<Bytes, ServiceError> {
    let mut sealer = BodySealer::new(key);
    let mut sealed = BytesMut::new();
    for chunk in sealer.push(plain)? {
        sealed.extend_from_slice(&chunk);
    }
    if let Some(last) = sealer.finish()? {
        sealed.extend_from_slice(&last);
    }
    Ok(sealed.freeze())
}

/// Opens the chunks of a range on their way out.
struct BodyOpener {
    content: Content,
    cipher: ChaCha20Poly1305,
    chunk: u64,
    /// Plain bytes of the body.
    size: u64,
    range: Range<u64>,
    buffer: BytesMut,
}

/// The plain bytes of `range`, of a body of `size` bytes, from its [`sealed_range`].
pub(crate) fn open_body(content: Content, key: &BodyKey, range: Range<u64>, size: u64) -> Content {
    let chunk = range.start / CHUNK_BYTES as u64;
    let opener = BodyOpener { content, cipher: cipher(&key.0), chunk, size, range, buffer: BytesMut::new() };
    stream::try_unfold(opener, BodyOpener::next).boxed()
}

impl BodyOpener {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ServiceError> {
        let start = self.chunk * CHUNK_BYTES as u64;
        if start >= self.range.end {
            return Ok(None);
        }
        let plain = usize::try_from((self.size - start).min(CHUNK_BYTES as u64)).unwrap_or(CHUNK_BYTES);
        while self.buffer.len() < plain + TAG_BYTES {
            match self.content.next().await {
                Some(piece) => self.buffer.extend_from_slice(&piece?),
                None => return Err(ServiceError::Internal("an encrypted body ends early".to_owned())),
            }
        }
        let mut chunk = self.buffer.split_to(plain);
        let tag = self.buffer.split_to(TAG_BYTES);
        let opened =
            self.cipher.decrypt_in_place_detached(&nonce_of(self.chunk), b"", &mut chunk, Tag::from_slice(&tag));
        opened.map_err(|_| ServiceError::Internal("a chunk of an encrypted body does not open".to_owned()))?;
        self.chunk += 1;
        let place = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(plain).min(plain);
        let piece = chunk.freeze().slice(place(self.range.start)..place(self.range.end));
        Ok(Some((piece, self)))
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use karri_ring_types::SeededRng;

    use super::*;

    fn bytes(size: usize) -> Bytes {
        (0..size).map(|at| u8::try_from(at * 7 % 251).expect("small")).collect()
    }

    async fn read(sealed: &Bytes, key: &BodyKey, range: Range<u64>, size: u64) -> Result<Vec<u8>, ServiceError> {
        let within = sealed_range(&range, size);
        let place = |at: u64| usize::try_from(at).expect("small");
        let part = sealed.slice(place(within.start)..place(within.end));
        let pieces: Vec<Result<Bytes, ServiceError>> =
            part.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let pieces: Vec<Bytes> = open_body(stream::iter(pieces).boxed(), key, range, size).try_collect().await?;
        Ok(pieces.concat())
    }

    #[tokio::test]
    async fn any_range_of_any_size_is_read() {
        let key = BodyKey([7; KEY_BYTES]);
        for size in [1, 100, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17] {
            let plain = bytes(size);
            let sealed = seal_small(&key, &plain).expect("sealed");
            assert_eq!(sealed.len() as u64, sealed_size(size as u64));
            for (first, end) in [(0, size), (0, 1), (size - 1, size), (size / 2, size), (size / 3, size / 2 + 1)] {
                let read = read(&sealed, &key, first as u64..end as u64, size as u64).await.expect("opened");
                assert_eq!(read, plain[first..end], "{first}..{end} of {size}");
            }
        }
    }

    #[tokio::test]
    async fn what_was_changed_or_moved_does_not_open() {
        let key = BodyKey([7; KEY_BYTES]);
        let size = 2 * CHUNK_BYTES;
        let sealed = seal_small(&key, &bytes(size)).expect("sealed");
        let mut flipped = sealed.to_vec();
        flipped[100] ^= 1;
        assert!(read(&flipped.into(), &key, 0..size as u64, size as u64).await.is_err());
        let (one, two) = sealed.split_at(CHUNK_BYTES + TAG_BYTES);
        assert!(read(&[two, one].concat().into(), &key, 0..size as u64, size as u64).await.is_err());
        assert!(read(&sealed, &BodyKey([8; KEY_BYTES]), 0..1, size as u64).await.is_err());
    }

    #[test]
    fn keys_open_only_with_what_sealed_them() {
        let rng = SeededRng::new(1);
        let sealed = seal_key(&rng, &[1; KEY_BYTES], &[9; KEY_BYTES]);
        assert_eq!(open_key(&[1; KEY_BYTES], &sealed), Some([9; KEY_BYTES]));
        assert_eq!(open_key(&[2; KEY_BYTES], &sealed), None);
        assert_eq!(open_key(&[1; KEY_BYTES], &sealed[..50]), None);
        assert_eq!(format!("{:?}", CustomerKey::new([0xa7; 32])), "CustomerKey(..)");
    }
}
