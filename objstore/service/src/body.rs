//! Bodies on their way in: hashed while they are written, small ones kept in memory.

use std::sync::{Arc, Weak};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use karri_objstore_md5::{Md5, Md5Pool};
use karri_ring_node::{ExtentRef, Owner};
use karri_ring_types::{DataId, ExtentId, INLINE_SIZE_BYTES_MAX, Redundancy};
use tokio::task::JoinHandle;

use crate::checksum::ChecksumHasher;
use crate::cipher::{BodyKey, SealingSink, seal_small, sealed_size};
use crate::ports::Sink;
use crate::records::Data;
use crate::{ByteSource, Checksum, ChecksumAlgorithm, ObjectService, ServiceError, UPLOAD_SIZE_BYTES_MAX};

/// Bytes that are hashed by one task beside the network.
const HASH_BATCH_BYTES: usize = 512 << 10;
/// Fewer bytes are hashed where they are; handing them over costs more than it saves.
const POOLED_BYTES_MIN: usize = 64 << 10;

/// What a body must be.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub(crate) length: Option<u64>,
    pub(crate) md5: Option<[u8; 16]>,
    /// The checksum to keep.
    pub(crate) algorithm: Option<ChecksumAlgorithm>,
    /// Another algorithm that the client sends a value of.
    pub(crate) also: Option<ChecksumAlgorithm>,
    /// The value, when it is known before the end.
    pub(crate) checksum: Option<Checksum>,
}

/// A body that is durable, or in memory if it is small, and is what it was claimed to be.
pub(crate) struct Body {
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) checksum: Checksum,
    pub(crate) data: Data,
    /// The bytes of inline data.
    pub(crate) inline: Bytes,
    /// Of data that no commit names yet.
    pub(crate) unpublished: Option<Unpublished>,
}

/// Extents that no commit names. Unless they get published they are condemned and deleted, even when the request
/// is dropped in its midst.
pub(crate) struct Unpublished {
    service: Weak<ObjectService>,
    owner_route: Vec<u8>,
    data: DataId,
    sink: Option<Box<dyn Sink>>,
}

impl Unpublished {
    pub(crate) fn sink(&mut self) -> Result<&mut dyn Sink, ServiceError> {
        match self.sink.as_deref_mut() {
            Some(sink) => Ok(sink),
            None => Err(ServiceError::Internal("no writer".to_owned())),
        }
    }

    /// A commit named the extents. Those that an interrupted write left behind are thrown away.
    pub(crate) fn publish(mut self, data: &Data) {
        let published = match data {
            Data::Extents { extents, .. } => extents.len(),
            _ => 0,
        };
        if self.sink.as_ref().is_some_and(|sink| sink.begun().len() <= published) {
            self.sink = None;
        }
    }

    /// Nothing will name them.
    pub(crate) async fn discard(mut self) {
        let (Some(sink), Some(service)) = (self.sink.take(), self.service.upgrade()) else { return };
        let begun = sink.begun();
        sink.abort().await;
        service.throw_away(&self.owner_route, self.data, begun).await;
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        let (Some(sink), Some(service)) = (self.sink.take(), self.service.upgrade()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (owner_route, data) = (std::mem::take(&mut self.owner_route), self.data);
        runtime.spawn(async move {
            let begun = sink.begun();
            sink.abort().await;
            service.throw_away(&owner_route, data, begun).await;
        });
    }
}

/// The checksums of one body. `also` is for a claimed one of another algorithm than the one that is kept.
struct Sums {
    kept: ChecksumHasher,
    also: Option<ChecksumHasher>,
}

impl Sums {
    fn update(&mut self, bytes: &[u8]) {
        self.kept.update(bytes);
        if let Some(also) = &mut self.also {
            also.update(bytes);
        }
    }

    /// Whether they take no time to speak of.
    fn are_light(&self) -> bool {
        self.kept.is_crc() && self.also.as_ref().is_none_or(ChecksumHasher::is_crc)
    }
}

/// The hashes of one body.
struct Hashes {
    md5: Md5,
    sums: Sums,
}

impl Hashes {
    fn new(kept: ChecksumAlgorithm, claimed: Option<ChecksumAlgorithm>) -> Self {
        let also = claimed.filter(|claimed| *claimed != kept).map(ChecksumHasher::new);
        Self { md5: Md5::default(), sums: Sums { kept: ChecksumHasher::new(kept), also } }
    }

    fn update(&mut self, bytes: &[u8]) {
        // Piece by piece, so that the second hash finds the bytes in the cache.
        const PIECE_BYTES: usize = 16 << 10;
        for piece in bytes.chunks(PIECE_BYTES) {
            self.md5.update(piece);
            self.sums.update(piece);
        }
    }

    /// Hashes together with other bodies; `None` when the process is ending.
    async fn update_pooled(self, pool: Arc<Md5Pool>, batch: Vec<Bytes>) -> Option<Self> {
        let Self { md5, mut sums } = self;
        if sums.are_light() {
            batch.iter().for_each(|bytes| sums.update(bytes));
            return Some(Self { md5: pool.update(md5, batch).await?, sums });
        }
        let pieces = batch.clone();
        let summing = karri_ring_types::blocking(move || {
            pieces.iter().for_each(|bytes| sums.update(bytes));
            sums
        });
        let md5 = pool.update(md5, batch).await?;
        Some(Self { md5, sums: summing.await.ok()? })
    }

    fn finish(self) -> Hashed {
        let Sums { kept, also } = self.sums;
        Hashed { md5: self.md5.finish(), kept: kept.finish(), also: also.map(ChecksumHasher::finish) }
    }
}

pub(crate) struct Hashed {
    pub(crate) md5: [u8; 16],
    pub(crate) kept: Checksum,
    also: Option<Checksum>,
}

impl Hashed {
    fn check(&self, claims: &Claims, trailing: Vec<Checksum>) -> Result<(), ServiceError> {
        if let Some(expected) = claims.md5.filter(|expected| *expected != self.md5) {
            return Err(ServiceError::BadDigest { expected: base64(&expected), calculated: base64(&self.md5) });
        }
        for claimed in claims.checksum.iter().chain(&trailing) {
            let computed = [Some(&self.kept), self.also.as_ref()];
            let computed = computed.into_iter().flatten().find(|sum| sum.algorithm == claimed.algorithm);
            if computed != Some(claimed) {
                return Err(ServiceError::ChecksumMismatch { algorithm: claimed.algorithm });
            }
        }
        Ok(())
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Hashes a large body beside the network: at most one batch is being hashed while the next is collected. No thread
/// is held while nothing arrives.
pub(crate) struct HashPipeline {
    pool: Arc<Md5Pool>,
    idle: Option<Hashes>,
    busy: Option<JoinHandle<Option<Hashes>>>,
    batch: Vec<Bytes>,
    batch_bytes: usize,
}

impl HashPipeline {
    pub(crate) fn new(pool: &Arc<Md5Pool>, kept: ChecksumAlgorithm) -> Self {
        Self::of(pool, Hashes::new(kept, None))
    }

    fn of(pool: &Arc<Md5Pool>, hashes: Hashes) -> Self {
        Self { pool: pool.clone(), idle: Some(hashes), busy: None, batch: Vec::new(), batch_bytes: 0 }
    }

    pub(crate) async fn update(&mut self, bytes: Bytes) -> Result<(), ServiceError> {
        self.batch_bytes += bytes.len();
        self.batch.push(bytes);
        if self.batch_bytes < HASH_BATCH_BYTES {
            return Ok(());
        }
        let hashes = self.take().await?;
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.busy = Some(tokio::spawn(hashes.update_pooled(self.pool.clone(), batch)));
        Ok(())
    }

    async fn take(&mut self) -> Result<Hashes, ServiceError> {
        match (self.idle.take(), self.busy.take()) {
            (Some(hashes), _) => Ok(hashes),
            (None, Some(busy)) => busy.await.ok().flatten().ok_or_else(cut_off),
            (None, None) => Err(ServiceError::Internal("hashing failed before".to_owned())),
        }
    }

    pub(crate) async fn finish(mut self) -> Result<Hashed, ServiceError> {
        let mut hashes = self.take().await?;
        if self.batch_bytes >= POOLED_BYTES_MIN {
            hashes = hashes.update_pooled(self.pool, self.batch).await.ok_or_else(cut_off)?;
        } else {
            self.batch.iter().for_each(|bytes| hashes.update(bytes));
        }
        Ok(hashes.finish())
    }
}

fn cut_off() -> ServiceError {
    ServiceError::Internal("hashing was cut off".to_owned())
}

/// Bytes at the beginning of a body, and whether they are all.
struct Head {
    pieces: Vec<Bytes>,
    size: usize,
    ended: bool,
}

impl ObjectService {
    /// Takes a body in. When this fails nothing is left of it.
    pub(crate) async fn take_body(
        &self,
        source: &mut dyn ByteSource,
        claims: &Claims,
        data: DataId,
        owner_route: &[u8],
        key: Option<&BodyKey>,
        redundancy: Redundancy,
    ) -> Result<Body, ServiceError> {
        if claims.length.is_some_and(|length| length > UPLOAD_SIZE_BYTES_MAX) {
            return Err(ServiceError::EntityTooLarge);
        }
        let kept = claims.algorithm.unwrap_or(ChecksumAlgorithm::Crc64Nvme);
        let claimed = claims.checksum.as_ref().map(|claimed| claimed.algorithm);
        let hashes = Hashes::new(kept, claims.also.or(claimed));
        let head = read_head(source).await?;
        if head.ended {
            let mut body = take_small(source, claims, head, hashes)?;
            if let Some(key) = key {
                body.inline = seal_small(key, &body.inline)?;
            }
            return Ok(body);
        }
        let owner = Owner { data, route: owner_route.to_vec() };
        let expected = claims.length.map(|length| disk_size(length, key.is_some()));
        let mut unpublished = self.unpublished(owner, expected, redundancy);
        let sink = unpublished.sink()?;
        let pipeline = HashPipeline::of(&self.md5, hashes);
        let taken = match key {
            Some(key) => take_large(source, claims, head, pipeline, &mut SealingSink::new(key, sink)).await,
            None => take_large(source, claims, head, pipeline, sink).await,
        };
        let taken = taken.and_then(|(size, hashed, extents)| {
            let written: u64 = extents.iter().map(|extent| extent.length_bytes).sum();
            match written == disk_size(size, key.is_some()) {
                true => Ok((size, hashed, extents)),
                false => Err(ServiceError::Internal(format!("extents hold {written} bytes for {size}"))),
            }
        });
        match taken {
            Ok((size, hashed, extents)) => Ok(Body {
                size,
                md5: hashed.md5,
                checksum: hashed.kept,
                data: Data::Extents { data, loan: None, extents, skip: 0 },
                inline: Bytes::new(),
                unpublished: Some(unpublished),
            }),
            Err(failure) => {
                unpublished.discard().await;
                Err(failure)
            }
        }
    }

    /// A writer of extents that are thrown away unless they are published.
    pub(crate) fn unpublished(&self, owner: Owner, expected: Option<u64>, redundancy: Redundancy) -> Unpublished {
        let (owner_route, data) = (owner.route.clone(), owner.data);
        let sink = Some(self.extents.writer(owner, expected, redundancy));
        Unpublished { service: self.this.clone(), owner_route, data, sink }
    }

    /// Condemns and deletes extents that no commit will name. What cannot be done now is found again as an orphan.
    pub(crate) async fn throw_away(&self, owner_route: &[u8], data: DataId, extents: Vec<ExtentId>) {
        if extents.is_empty() {
            return;
        }
        if let Err(error) = self.condemn_and_delete(owner_route, data, extents).await {
            tracing::info!(%error, %data, "extents of a failed write stay for now");
        }
    }
}

/// Bytes on disk of a body.
pub(crate) fn disk_size(size: u64, encrypted: bool) -> u64 {
    if encrypted { sealed_size(size) } else { size }
}

/// Reads as much as may be inline, and a bit.
async fn read_head(source: &mut dyn ByteSource) -> Result<Head, ServiceError> {
    let mut head = Head { pieces: Vec::new(), size: 0, ended: false };
    while head.size <= INLINE_SIZE_BYTES_MAX {
        match source.next().await {
            Some(piece) => {
                let piece = piece?;
                head.size += piece.len();
                if !piece.is_empty() {
                    head.pieces.push(piece);
                }
            }
            None => {
                head.ended = true;
                break;
            }
        }
    }
    Ok(head)
}

fn check_length(claims: &Claims, size: u64) -> Result<(), ServiceError> {
    match claims.length {
        Some(length) if length != size => Err(crate::SourceError::new(format!("{size} bytes came of {length}")).into()),
        _ => Ok(()),
    }
}

fn take_small(
    source: &mut dyn ByteSource,
    claims: &Claims,
    head: Head,
    mut hashes: Hashes,
) -> Result<Body, ServiceError> {
    let Head { mut pieces, size, .. } = head;
    check_length(claims, size as u64)?;
    let inline = match (pieces.len(), pieces.pop()) {
        (0 | 1, last) => last.unwrap_or_default(),
        (_, last) => {
            let mut joined = BytesMut::with_capacity(size);
            pieces.iter().chain(&last).for_each(|piece| joined.extend_from_slice(piece));
            joined.freeze()
        }
    };
    hashes.update(&inline);
    let hashed = hashes.finish();
    hashed.check(claims, source.trailing_checksums())?;
    Ok(Body {
        size: size as u64,
        md5: hashed.md5,
        checksum: hashed.kept,
        data: Data::Inline,
        inline,
        unpublished: None,
    })
}

/// The next piece of a body. While the client sends nothing, what others need meanwhile is not held.
async fn next_piece(source: &mut dyn ByteSource, sink: &mut dyn Sink) -> Result<Option<Bytes>, ServiceError> {
    let mut next = source.next();
    let piece = loop {
        // Mostly it is there.
        if let Poll::Ready(piece) = futures::poll!(&mut next) {
            break piece;
        }
        tokio::select! {
            biased;
            piece = &mut next => break piece,
            () = sink.wanted() => sink.shed().await?,
        }
    };
    Ok(piece.transpose()?)
}

async fn take_large(
    source: &mut dyn ByteSource,
    claims: &Claims,
    head: Head,
    mut pipeline: HashPipeline,
    sink: &mut dyn Sink,
) -> Result<(u64, Hashed, Vec<ExtentRef>), ServiceError> {
    let mut size = head.size as u64;
    for piece in head.pieces {
        pipeline.update(piece.clone()).await?;
        sink.write(piece).await?;
    }
    while let Some(piece) = next_piece(source, sink).await? {
        size += piece.len() as u64;
        if size > UPLOAD_SIZE_BYTES_MAX {
            return Err(ServiceError::EntityTooLarge);
        }
        pipeline.update(piece.clone()).await?;
        sink.write(piece).await?;
    }
    check_length(claims, size)?;
    let hashed = pipeline.finish().await?;
    hashed.check(claims, source.trailing_checksums())?;
    let extents = sink.finish().await?;
    Ok((size, hashed, extents))
}
