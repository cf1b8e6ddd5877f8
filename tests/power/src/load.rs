//! Clients that write objects with known bytes and remember what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use karri_tests_cluster::{Answer, S3Client, test_bytes};
use md5::{Digest as _, Md5};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::disk::Disk;

/// The bucket.
const BUCKET: &str = "power";
/// Clients; each has keys of its own, and writes one after the other.
const WORKERS: u64 = 6;
/// Keys of each client.
const KEYS: u64 = 24;
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long answers may be under way when the power has gone: they count as well.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Stands for a body; `None` is no object.
type Value = Option<u64>;

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default)]
struct Key {
    /// As acknowledged or read.
    settled: Value,
    /// What is being written: it may have happened when there was no answer.
    maybe: Option<Value>,
}

/// What was acknowledged.
#[derive(Debug, Default)]
pub struct Model {
    keys: Mutex<BTreeMap<String, Key>>,
    values: AtomicU64,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

/// The body that stands for a value: small ones are rows, larger ones extents, some of several chunks.
fn body_of(value: u64) -> Vec<u8> {
    let length = match value % 8 {
        0 => 40_000 + value as usize % 90_000,
        1 => 1_100_000 + value as usize % 900_000,
        _ => value as usize % 4000,
    };
    let mut body = value.to_be_bytes().to_vec();
    body.extend(test_bytes(value, length));
    body
}

/// Whether a value is written as an upload of one part.
fn in_parts(value: u64) -> bool {
    value % 16 == 8
}

fn etag_of(value: u64) -> String {
    let digest = Md5::digest(body_of(value));
    if in_parts(value) {
        return format!("\"{}-1\"", hex::encode(Md5::digest(digest)));
    }
    format!("\"{}\"", hex::encode(digest))
}

fn path_of(key: &str) -> String {
    format!("/{BUCKET}/{key}")
}

impl Model {
    /// Operations that were acknowledged, and those that were not answered.
    pub fn outcomes(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::Relaxed), self.unknown.load(Ordering::Relaxed))
    }

    /// Makes the bucket.
    ///
    /// # Errors
    /// When it was not acknowledged.
    pub async fn begin(&self, client: &S3Client) -> Result<()> {
        client.create_bucket(BUCKET).await.map(drop)
    }

    /// Writes until the power goes. A key of which a write was not answered is left alone until it was looked at.
    ///
    /// # Errors
    /// An answer that nobody should get.
    pub async fn work(self: &Arc<Self>, client: &S3Client, disk: &Arc<Disk>, rng: &mut StdRng) -> Result<()> {
        let client = client.clone().with_timeout(ANSWER_MAX);
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            workers.spawn(self.clone().one_worker(worker, client.clone(), StdRng::seed_from_u64(rng.random())));
        }
        let disk = disk.clone();
        let mut died = tokio::task::spawn_blocking(move || disk.wait_dead());
        loop {
            tokio::select! {
                died = &mut died => break died.context("wait for the power cut")?,
                Some(ended) = workers.join_next() => ended.context("a client panicked")??,
            }
        }
        tokio::time::sleep(LAST_ANSWERS).await;
        workers.shutdown().await;
        Ok(())
    }

    async fn one_worker(self: Arc<Self>, worker: u64, client: S3Client, mut rng: StdRng) -> Result<()> {
        loop {
            let key = format!("{worker}-{}", rng.random_range(0..KEYS));
            let known = self.keys.lock().get(&key).copied().unwrap_or_default();
            match rng.random_range(0..10_u32) {
                _ if known.maybe.is_some() => tokio::time::sleep(Duration::from_millis(20)).await,
                0..2 if known.settled.is_some() => self.write(&client, &key, None).await?,
                2..4 => {
                    let answer = client.get(BUCKET, &key).await;
                    if let Some(found) = answer.ok().filter(|answer| answer.status < 500) {
                        let found = value_of(&found).with_context(|| key.clone())?;
                        ensure!(found == known.settled, "{key}: acknowledged was {known:?}, and {found:?} is read");
                    }
                }
                _ => {
                    let value = self.values.fetch_add(1, Ordering::Relaxed);
                    self.write(&client, &key, Some(value)).await?;
                }
            }
        }
    }

    /// Writes or deletes, and notes the answer.
    async fn write(&self, client: &S3Client, key: &str, value: Value) -> Result<()> {
        self.keys.lock().entry(key.to_owned()).or_default().maybe = Some(value);
        let answer = match value {
            None => client.send("DELETE", &path_of(key), &[], &[], "").await,
            Some(value) if in_parts(value) => upload(client, key, body_of(value)).await,
            Some(value) => client.send("PUT", &path_of(key), &[], &[], body_of(value)).await,
        };
        match answer {
            Ok(answer) if matches!(answer.status, 200 | 204) => {
                self.keys.lock().insert(key.to_owned(), Key { settled: value, maybe: None });
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Ok(answer) if answer.status < 500 => {
                bail!("{key}: {} {}", answer.status, String::from_utf8_lossy(&answer.body))
            }
            _ => Ok(()),
        }
    }

    /// Reads everything: what was acknowledged is there, what was not answered is there as a whole or not at all, and
    /// nothing else is. From then on what was read counts as acknowledged.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn verify(&self, client: &S3Client) -> Result<()> {
        let client = client.clone().with_timeout(ANSWER_MAX);
        let bucket = client.send("HEAD", &format!("/{BUCKET}"), &[], &[], "").await?;
        ensure!(bucket.status != 404, "the bucket was acknowledged and is gone");
        let keys: Vec<_> = self.keys.lock().iter().map(|(key, known)| (key.clone(), *known)).collect();
        let reads = keys.into_iter().map(|(key, known)| {
            let client = &client;
            async move {
                let answer = client.get(BUCKET, &key).await?;
                ensure!(answer.status < 500, "{key} cannot be read: {}", String::from_utf8_lossy(&answer.body));
                let found = value_of(&answer).with_context(|| key.clone())?;
                let right = found == known.settled || Some(found) == known.maybe;
                ensure!(right, "{key}: acknowledged was {known:?}, and {found:?} is read");
                anyhow::Ok((key, found, known.maybe.is_some()))
            }
        });
        let found: Vec<_> = futures::stream::iter(reads).buffer_unordered(WORKERS as usize).try_collect().await?;
        let listed: BTreeSet<String> = client.list_keys(BUCKET, "", 50).await?.into_iter().collect();
        let there = found.iter().filter(|(_, value, _)| value.is_some()).map(|(key, _, _)| key.clone());
        let there: BTreeSet<String> = there.collect();
        ensure!(listed == there, "the listing has {listed:?}, and {there:?} can be read");
        for (key, settled, was_unknown) in found {
            self.unknown.fetch_add(u64::from(was_unknown), Ordering::Relaxed);
            self.keys.lock().insert(key, Key { settled, maybe: None });
        }
        Ok(())
    }
}

/// The value of an answer to a read.
fn value_of(answer: &Answer) -> Result<Value> {
    if answer.status == 404 {
        return Ok(None);
    }
    let Some((head, _)) = answer.body.split_first_chunk::<8>() else { bail!("a body of {}", answer.body.len()) };
    let value = u64::from_be_bytes(*head);
    ensure!(answer.status == 200 && answer.body == body_of(value), "a body that nobody wrote: value {value}");
    ensure!(answer.header("etag") == etag_of(value), "the entity tag of {value} is {}", answer.header("etag"));
    Ok(Some(value))
}

/// An upload of one part; the last answer, or the first that was not good.
async fn upload(client: &S3Client, key: &str, body: Vec<u8>) -> Result<Answer> {
    let path = path_of(key);
    let begun = client.send("POST", &path, &[("uploads", "")], &[], "").await?;
    if begun.status != 200 {
        return Ok(begun);
    }
    let upload = begun.tag("UploadId");
    let part = client.send("PUT", &path, &[("partNumber", "1"), ("uploadId", &upload)], &[], body).await?;
    if part.status != 200 {
        return Ok(part);
    }
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag")
    );
    let answer = client.send("POST", &path, &[("uploadId", &upload)], &[], list).await?;
    ensure!(answer.tag("Code").is_empty(), "an error behind 200: {}", answer.tag("Code"));
    Ok(answer)
}
