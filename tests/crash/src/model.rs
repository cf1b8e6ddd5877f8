//! What must be on a node: what was acknowledged is, and of the rest all or nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use karri_ring_extent::{ExtentHeader, Owner, Run};
use karri_ring_types::{CHUNK_SIZE_BYTES, DataId, Digest, ExtentId, Timestamp};

use crate::node::Node;

/// How exactly the node must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// After a power cut: everything that was acknowledged is there.
    Complete,
    /// After a bit was flipped: things may be missing or unreadable, but nothing is wrong.
    NothingWrong,
}

/// A pair of rows.
#[derive(Debug, Default)]
pub struct Pair {
    /// The last value that was acknowledged or read.
    known: Option<Bytes>,
    /// A later one of which that is not known.
    maybe: Option<Option<Bytes>>,
    /// All that were ever written.
    ever: Vec<Option<Bytes>>,
}

/// An extent, and how far it is.
#[derive(Debug)]
pub struct Extent {
    /// Its header when sealed.
    pub header: ExtentHeader,
    /// Its chunks.
    pub chunks: Vec<Bytes>,
    /// All its runs were acknowledged.
    pub written: bool,
    /// Its seal was acknowledged.
    pub sealed: bool,
    /// A deletion was begun.
    pub maybe_deleted: bool,
    /// A deletion was acknowledged.
    pub deleted: bool,
}

impl Extent {
    /// An extent of these chunks of which nothing is written yet.
    pub fn new(chunks: Vec<Bytes>) -> Self {
        let header = ExtentHeader {
            owner: owner(),
            length_bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            chunk_digests: chunks.iter().map(|chunk| Digest::of(chunk)).collect(),
            created: Timestamp(1),
            stripe: None,
        };
        Self { header, chunks, written: false, sealed: false, maybe_deleted: false, deleted: false }
    }

    /// A run of it.
    pub fn run(&self, id: ExtentId, first: usize, end: usize) -> Run {
        debug_assert!(self.chunks[first..end].iter().rev().skip(1).all(|chunk| chunk.len() == CHUNK_SIZE_BYTES));
        Run { extent: id, owner: owner(), first_chunk: first as u32, chunks: self.chunks[first..end].to_vec() }
    }
}

fn owner() -> Owner {
    Owner { data: DataId(1), route: b"key".to_vec() }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Model {
    /// Pairs of rows by their keys.
    pub pairs: BTreeMap<Vec<u8>, Pair>,
    /// Extents that were begun.
    pub extents: BTreeMap<ExtentId, Extent>,
}

impl Model {
    /// A write of a pair begins.
    pub fn write_begins(&mut self, key: &[u8], value: Option<Bytes>) {
        let pair = self.pairs.entry(key.to_vec()).or_default();
        pair.ever.push(value.clone());
        pair.maybe = Some(value);
    }

    /// It was acknowledged.
    pub fn write_is_done(&mut self, key: &[u8]) {
        let pair = self.pairs.get_mut(key).expect("it began");
        pair.known = pair.maybe.take().expect("it began");
    }

    /// Compares everything. What may have been or not is afterwards what was found.
    pub async fn check(&mut self, node: &Node, strictness: Strictness) -> Result<()> {
        for (key, pair) in &mut self.pairs {
            check_pair(node, key, pair, strictness).await.with_context(|| format!("pair {key:?}"))?;
        }
        let mut sealed = 0;
        for (&id, extent) in &mut self.extents {
            let checked = check_extent(node, id, extent, strictness).await;
            sealed += u64::from(checked.with_context(|| format!("extent {id}, {}", state(extent)))?);
        }
        let mut after = None;
        loop {
            let found = match node.store.scan(after, 100).await {
                Err(_) if strictness == Strictness::NothingWrong => return Ok(()),
                found => found.context("list the extents")?,
            };
            let Some((last, _)) = found.last() else { break };
            after = Some(*last);
            for (id, extent) in &found {
                let known = self.extents.get(id).with_context(|| format!("extent {id} was never written"))?;
                ensure!(extent.is_err() || !known.deleted, "deleted extent {id} is back");
            }
        }
        let counted = node.store.usage().extents;
        ensure!(strictness != Strictness::Complete || counted == sealed, "{counted} extents are counted, not {sealed}");
        Ok(())
    }
}

fn state(extent: &Extent) -> String {
    let Extent { written, sealed, maybe_deleted, deleted, header, .. } = extent;
    format!("{} bytes, written {written} sealed {sealed} deleted {deleted}/{maybe_deleted}", header.length_bytes)
}

async fn check_pair(node: &Node, key: &[u8], pair: &mut Pair, strictness: Strictness) -> Result<()> {
    let [a, b] = match node.read_pair(key).await {
        Err(_) if strictness == Strictness::NothingWrong => return Ok(()),
        read => read?,
    };
    ensure!(a == b, "one row is of another write than the other: half of a transaction");
    let known = a == pair.known || pair.maybe.as_ref() == Some(&a);
    let ever = a.is_none() || pair.ever.contains(&a);
    match strictness {
        Strictness::Complete if known => {}
        Strictness::NothingWrong if ever => {}
        _ if ever => bail!("an acknowledged write is lost: an older value is there"),
        _ => bail!("a value is there that was never written"),
    }
    pair.known = a;
    pair.maybe = None;
    Ok(())
}

/// True when the extent is there and sealed.
async fn check_extent(node: &Node, id: ExtentId, extent: &mut Extent, strictness: Strictness) -> Result<bool> {
    if strictness == Strictness::NothingWrong {
        // What cannot be read is read around, and mended.
        let Ok(Some(found)) = node.store.header(id).await else { return Ok(false) };
        ensure!(found == extent.header, "a header that was never written");
        return Ok(false);
    }
    let found = node.store.header(id).await.context("read the header")?;
    let buried = node.store.is_tombstoned(id).await?;
    ensure!(!(buried && found.is_some()), "deleted and there");
    ensure!(!extent.deleted || buried, "an acknowledged deletion is lost");
    if buried {
        ensure!(extent.maybe_deleted, "nobody deleted it");
        extent.deleted = true;
        return Ok(false);
    }
    extent.maybe_deleted = false;
    match found {
        Some(found) => ensure!(found == extent.header, "a header that was never written"),
        None if extent.sealed => bail!("an acknowledged seal is lost"),
        // What was written can be sealed after a crash.
        None if extent.written => {
            node.store.seal(id, extent.header.clone()).await.context("an acknowledged run is lost")?;
        }
        None => return Ok(false),
    }
    (extent.written, extent.sealed) = (true, true);
    for (index, digest) in (0..).zip(&extent.header.chunk_digests) {
        let good = node.store.verify_chunk(id, index, *digest).await?;
        ensure!(good, "chunk {index} of a sealed extent is lost or wrong");
    }
    Ok(true)
}
