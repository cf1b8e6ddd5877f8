//! What one request is: its kind, its key, and how its answer is judged.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Error, Result, bail, ensure};
use serde::Serialize;

use crate::body::Noise;
use crate::client::{Answer, Connection, Keep, Request};
use crate::options::Options;

/// Keys that the versioned work writes over and over.
const VERSIONED_KEYS: u64 = 64;
/// Keys of one page of a listing.
const PAGE_KEYS: &str = "1000";

/// A kind of request, or of a few that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Put,
    Get,
    Head,
    List,
    Delete,
    /// A whole upload: create, parts, complete.
    Multipart,
    /// CopyObject within the bucket.
    Copy,
    /// A PUT over one of a few keys of a bucket with versions, then a GET of that version.
    Versioned,
}

impl Kind {
    const ALL: [Self; 8] =
        [Self::Put, Self::Get, Self::Head, Self::List, Self::Delete, Self::Multipart, Self::Copy, Self::Versioned];

    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Multipart => "multipart",
            Self::Copy => "copy",
            Self::Versioned => "versioned",
        }
    }

    /// Whether it works on objects that were put before.
    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::List | Self::Copy)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kinds with weights, written `get=45,put=15`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mix(pub(crate) Vec<(Kind, u32)>);

impl Mix {
    /// A kind, for an evenly spread number.
    pub(crate) fn pick(&self, draw: u64) -> Kind {
        let total: u64 = self.0.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut at = draw % total.max(1);
        for (kind, weight) in &self.0 {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return *kind,
            }
        }
        self.0[0].0
    }

    pub(crate) fn has(&self, wanted: impl Fn(Kind) -> bool) -> bool {
        self.0.iter().any(|(kind, weight)| *weight > 0 && wanted(*kind))
    }
}

impl FromStr for Mix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut mix = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').with_context(|| format!("{part} has no weight"))?;
            let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name.trim()) else {
                bail!("there is no work {name}");
            };
            mix.push((kind, weight.trim().parse().with_context(|| format!("weight of {name}"))?));
        }
        ensure!(mix.iter().any(|(_, weight)| *weight > 0), "no work has a weight");
        Ok(Self(mix))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [(kind, _)] => write!(f, "{kind}"),
            kinds => {
                let parts: Vec<String> = kinds.iter().map(|(kind, weight)| format!("{kind}={weight}")).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

/// Numbers that look random and follow from a seed (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What all workers of a run share.
pub(crate) struct Bucket {
    pub(crate) options: Options,
    pub(crate) noise: Noise,
    /// Number of the next new object; also what its bytes follow from.
    next: AtomicU64,
}

impl Bucket {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        let noise = Noise::new(options.seed);
        // Far from the numbers of objects that were put before.
        Arc::new(Self { options, noise, next: AtomicU64::new(1 << 32) })
    }

    /// Size of object `number`.
    pub(crate) fn size(&self, number: u64) -> u64 {
        self.options.size.pick(Draws::new(self.options.seed ^ number).next())
    }

    fn path(&self, name: &str, number: u64) -> String {
        format!("/{}/{name}-{number:012}", self.options.bucket)
    }

    /// Path of one of the objects that are there before the run.
    pub(crate) fn filled(&self, number: u64) -> String {
        self.path("filled", number)
    }
}

/// One worker: a connection and what it put.
pub(crate) struct Worker {
    bucket: Arc<Bucket>,
    connection: Connection,
    draws: Draws,
    /// Objects of its own that a delete may take.
    own: Vec<u64>,
    /// A delete finds nothing more to take, and nothing else is to be done.
    pub(crate) exhausted: bool,
}

/// What a request came to.
pub(crate) enum Outcome {
    /// Bytes of bodies, either way.
    Done(u64),
    /// It was refused with this code.
    Refused(String),
}

impl Worker {
    pub(crate) fn new(bucket: Arc<Bucket>, connection: Connection, number: u64) -> Self {
        let draws = Draws::new(bucket.options.seed.wrapping_mul(1_000_003).wrapping_add(number));
        Self { bucket, connection, draws, own: Vec::new(), exhausted: false }
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.draws.next()
    }

    /// Does one piece of work.
    ///
    /// # Errors
    /// The connection broke, or, when bodies are verified, the answer was wrong.
    pub(crate) async fn one(&mut self, kind: Kind) -> Result<Outcome> {
        match kind {
            Kind::Put => {
                let number = self.bucket.next.fetch_add(1, Ordering::Relaxed);
                self.put(&self.bucket.path("put", number), number).await
            }
            Kind::Get => self.get().await,
            Kind::Head => {
                let number = self.pick_filled();
                let answer = self.connection.send(Request::new("HEAD", &self.bucket.filled(number))).await?;
                Ok(judged(&answer, 0))
            }
            Kind::List => self.list().await,
            Kind::Delete => self.delete().await,
            Kind::Multipart => self.multipart().await,
            Kind::Copy => self.copy().await,
            Kind::Versioned => self.versioned().await,
        }
    }

    fn pick_filled(&mut self) -> u64 {
        self.draws.next() % self.bucket.options.objects.max(1) as u64
    }

    /// Puts object `number` at `path`, and remembers it for a later delete when it is a new one.
    pub(crate) async fn put(&mut self, path: &str, number: u64) -> Result<Outcome> {
        let length = self.bucket.size(number);
        let body = self.bucket.noise.body(number, 0, length);
        let answer = self.connection.send(Request { length, body, ..Request::new("PUT", path) }).await?;
        if answer.status == 200 {
            if self.bucket.options.verify {
                let wanted = hex::encode(self.bucket.noise.md5(number, 0, length));
                ensure!(answer.etag() == wanted, "ETag {} of {path} is not {wanted}", answer.etag());
            }
            if number >= 1 << 32 {
                self.own.push(number);
            }
        }
        Ok(judged(&answer, length))
    }

    async fn get(&mut self) -> Result<Outcome> {
        let number = self.pick_filled();
        let size = self.bucket.size(number);
        let (from, length) = match self.bucket.options.range {
            Some(range) if range < size => (self.draws.next() % (size - range + 1), range),
            _ => (0, size),
        };
        let range = format!("bytes={from}-{}", from + length.max(1) - 1);
        let headers = [("range", range.as_str())];
        let partial = length < size;
        let path = self.bucket.filled(number);
        let keep = if self.bucket.options.verify { Keep::Md5 } else { Keep::Nothing };
        let headers = if partial { &headers[..] } else { &[] };
        let answer = self.connection.send(Request { headers, keep, ..Request::new("GET", &path) }).await?;
        if matches!(answer.status, 200 | 206) {
            ensure!(answer.length == length, "{} bytes of {path} came, not {length}", answer.length);
            if let Some(md5) = answer.md5 {
                ensure!(md5 == self.bucket.noise.md5(number, from, length), "wrong bytes of {path} came");
            }
        }
        Ok(judged(&answer, length))
    }

    async fn list(&mut self) -> Result<Outcome> {
        let path = format!("/{}", self.bucket.options.bucket);
        let after = self.bucket.path("filled", self.draws.next() % self.bucket.options.objects.max(1) as u64);
        // A page from anywhere, of those that have a full page behind them when there are so many.
        let after = if self.bucket.options.objects > 2000 { after.rsplit('/').next().unwrap_or_default() } else { "" };
        let query = [("list-type", "2"), ("prefix", "filled-"), ("max-keys", PAGE_KEYS), ("start-after", after)];
        let query = if after.is_empty() { &query[..3] } else { &query[..] };
        let answer = self.connection.send(Request { query, ..Request::new("GET", &path) }).await?;
        Ok(judged(&answer, answer.length))
    }

    async fn delete(&mut self) -> Result<Outcome> {
        let Some(number) = self.own.pop() else {
            self.exhausted = true;
            let number = self.bucket.next.fetch_add(1, Ordering::Relaxed);
            return self.put(&self.bucket.path("put", number), number).await;
        };
        let answer = self.connection.send(Request::new("DELETE", &self.bucket.path("put", number))).await?;
        Ok(judged(&answer, 0))
    }

    async fn copy(&mut self) -> Result<Outcome> {
        let number = self.pick_filled();
        let source = self.bucket.filled(number);
        let target = self.bucket.path("copy", self.bucket.next.fetch_add(1, Ordering::Relaxed));
        let headers = [("x-amz-copy-source", source.as_str())];
        let answer = self.connection.send(Request { headers: &headers, ..Request::new("PUT", &target) }).await?;
        Ok(judged(&answer, 0))
    }

    async fn versioned(&mut self) -> Result<Outcome> {
        let number = self.bucket.next.fetch_add(1, Ordering::Relaxed);
        let path = self.bucket.path("versioned", number % VERSIONED_KEYS);
        let length = self.bucket.size(number);
        let body = self.bucket.noise.body(number, 0, length);
        let put = self.connection.send(Request { length, body, ..Request::new("PUT", &path) }).await?;
        if put.status != 200 {
            return Ok(judged(&put, 0));
        }
        let version = put.headers.get("x-amz-version-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let query = [("versionId", version)];
        let keep = if self.bucket.options.verify { Keep::Md5 } else { Keep::Nothing };
        let get = self.connection.send(Request { query: &query, keep, ..Request::new("GET", &path) }).await?;
        if let Some(md5) = get.md5.filter(|_| get.status == 200) {
            ensure!(md5 == self.bucket.noise.md5(number, 0, length), "another version of {path} came");
        }
        Ok(judged(&get, 2 * length))
    }
}

impl Worker {
    async fn multipart(&mut self) -> Result<Outcome> {
        let number = self.bucket.next.fetch_add(1, Ordering::Relaxed);
        let path = self.bucket.path("multipart", number);
        let (size, part_size) = (self.bucket.size(number), self.bucket.options.part_size.max(1));
        let create = Request { query: &[("uploads", "")], keep: Keep::Bytes, ..Request::new("POST", &path) };
        let created = self.connection.send(create).await?;
        if created.status != 200 {
            return Ok(judged(&created, 0));
        }
        let upload = created.tag("UploadId");
        let mut parts = String::from("<CompleteMultipartUpload>");
        for (part, from) in (1..).zip((0..size.max(1)).step_by(part_size as usize)) {
            let length = part_size.min(size - from);
            let part = format!("{part}");
            let query = [("partNumber", part.as_str()), ("uploadId", upload.as_str())];
            let body = self.bucket.noise.body(number, from, length);
            let put = Request { query: &query, length, body, ..Request::new("PUT", &path) };
            let answer = self.connection.send(put).await?;
            if answer.status != 200 {
                return Ok(judged(&answer, 0));
            }
            let etag = answer.etag();
            parts += &format!("<Part><PartNumber>{part}</PartNumber><ETag>\"{etag}\"</ETag></Part>");
        }
        parts += "</CompleteMultipartUpload>";
        let query = [("uploadId", upload.as_str())];
        let length = parts.len() as u64;
        let body = http_body_util::BodyExt::boxed(http_body_util::Full::from(parts));
        let complete = Request { query: &query, length, body, keep: Keep::Bytes, ..Request::new("POST", &path) };
        let answer = self.connection.send(complete).await?;
        // A completion can fail after its 200 was sent.
        match answer.status == 200 && answer.tag("ETag").is_empty() {
            true => Ok(Outcome::Refused(answer.code())),
            false => Ok(judged(&answer, size)),
        }
    }
}

fn judged(answer: &Answer, bytes: u64) -> Outcome {
    if (200..300).contains(&answer.status) { Outcome::Done(bytes) } else { Outcome::Refused(answer.code()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_read_and_drawn_by_weight() {
        let mix: Mix = "get=3,put=1,list=0".parse().expect("a mix");
        assert_eq!((0..8).filter(|draw| mix.pick(*draw) == Kind::Get).count(), 6);
        assert!(mix.has(Kind::reads) && !mix.has(|kind| kind == Kind::List));
        assert_eq!(mix.to_string(), "get=3,put=1,list=0");
        for text in ["", "get", "get=x", "fly=1", "get=0"] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }
}
