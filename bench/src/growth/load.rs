//! The same over S3, as clients do it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use karri_tests_cluster::Cluster;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{BUCKET, OBJECT_BYTES};
use crate::body::Noise;
use crate::client::{Connection, Keep, Request};
use crate::work::Draws;

const MIB: f64 = 1024.0 * 1024.0;
/// Of what all parts of an upload are copies.
const PART_SOURCE: &str = "/growth/part-source";
/// A part of the upload that is streamed; as much at a time as one request takes.
const STREAM_PART_BYTES: u64 = 1 << 30;
/// Parts of it that are sent at the same time.
const STREAM_PARTS: u64 = 4;
/// The least that a part may be that is not the last.
const PART_BYTES: u64 = 5 << 20;
/// Keys of one DeleteObjects.
const DELETE_KEYS: usize = 1000;
/// Pages that are listed for one figure.
pub(super) const PAGES: u64 = 300;
/// Of so many objects one is kept when the others are deleted.
const KEPT_ONE_OF: u64 = 10;

/// Whether this object is among the nine of ten that are deleted.
pub(super) fn is_doomed(number: &u64) -> bool {
    !number.is_multiple_of(KEPT_ONE_OF)
}

/// The parts of an upload that is to be completed.
pub(super) struct Upload {
    path: String,
    id: String,
    etags: Vec<(u32, String)>,
}

/// A cluster under load.
pub(super) struct Run {
    hosts: Vec<String>,
    credentials: karri_tests_cluster::Credentials,
    noise: Noise,
    connections: u64,
}

/// The key of an object.
pub(super) fn key(number: u64) -> String {
    // Spread over the key space, as real keys arrive, and recomputable.
    format!("{:016x}", Draws::new(number).next())
}

impl Run {
    pub(super) fn new(cluster: &Cluster, connections: u64) -> Self {
        let hosts = (0..cluster.len()).map(|index| cluster.host(index)).collect();
        Self { hosts, credentials: cluster.credentials().clone(), noise: Noise::new(1), connections }
    }

    fn connection(&self, number: u64) -> Connection {
        Connection::new(&self.hosts[number as usize % self.hosts.len()], self.credentials.clone())
    }

    /// Puts objects `from..from + count` and returns how many a second.
    pub(super) async fn put(self: &Arc<Self>, from: u64, count: u64) -> Result<f64> {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for worker in 0..self.connections {
            let run = self.clone();
            tasks.spawn(async move {
                let mut connection = run.connection(worker);
                for number in (from + worker..from + count).step_by(run.connections as usize) {
                    let body = run.noise.body(number, 0, OBJECT_BYTES);
                    let path = format!("/{BUCKET}/{}", key(number));
                    let put = Request { length: OBJECT_BYTES, body, ..Request::new("PUT", &path) };
                    let answer = connection.send(put).await?;
                    ensure!(answer.status == 200, "PUT of object {number}: {}", answer.code());
                }
                Ok(())
            });
        }
        all(tasks).await?;
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    /// Latencies in microseconds of pages of 1,000 from random places, and how many a second.
    pub(super) async fn list(self: &Arc<Self>, objects: u64, pages: u64) -> Result<(Histogram<u64>, f64)> {
        let mut latencies_us = Histogram::<u64>::new(3)?;
        let mut connection = self.connection(0);
        let begin = Instant::now();
        for page in 0..pages {
            let after = key(Draws::new(page).next() % objects.max(1));
            let path = format!("/{BUCKET}");
            let query = [("list-type", "2"), ("max-keys", "1000"), ("start-after", after.as_str())];
            let start = Instant::now();
            let answer = connection.send(Request { query: &query, ..Request::new("GET", &path) }).await?;
            ensure!(answer.status == 200, "a listing: {}", answer.code());
            latencies_us.record(u64::try_from(start.elapsed().as_micros())?.max(1))?;
        }
        Ok((latencies_us, pages as f64 / begin.elapsed().as_secs_f64()))
    }

    /// Deletes nine of ten of the first `count` objects and returns how many a second.
    pub(super) async fn delete(self: &Arc<Self>, count: u64) -> Result<f64> {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for worker in 0..self.connections {
            let run = self.clone();
            tasks.spawn(async move {
                let mut connection = run.connection(worker);
                let doomed = (worker..count).step_by(run.connections as usize);
                let doomed: Vec<u64> = doomed.filter(is_doomed).collect();
                for batch in doomed.chunks(DELETE_KEYS) {
                    run.delete_batch(&mut connection, batch).await?;
                }
                Ok(())
            });
        }
        all(tasks).await?;
        Ok((0..count).filter(is_doomed).count() as f64 / start.elapsed().as_secs_f64())
    }

    async fn delete_batch(&self, connection: &mut Connection, batch: &[u64]) -> Result<()> {
        use base64::Engine as _;
        use md5::Digest as _;
        let keys: String = batch.iter().map(|number| format!("<Object><Key>{}</Key></Object>", key(*number))).collect();
        let text = format!("<Delete><Quiet>true</Quiet>{keys}</Delete>");
        let md5 = base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(text.as_bytes()));
        let headers = [("content-md5", md5.as_str())];
        let (path, length) = (format!("/{BUCKET}"), text.len() as u64);
        let body = http_body_util::BodyExt::boxed(http_body_util::Full::from(text));
        let query = [("delete", "")];
        let request = Request {
            query: &query,
            headers: &headers,
            length,
            body,
            keep: Keep::Bytes,
            ..Request::new("POST", &path)
        };
        let answer = connection.send(request).await?;
        ensure!(answer.status == 200 && answer.tag("Error").is_empty(), "DeleteObjects: {}", answer.code());
        Ok(())
    }

    /// Makes buckets and returns how many a second.
    pub(super) async fn buckets(self: &Arc<Self>, count: u64) -> Result<f64> {
        let start = Instant::now();
        let mut connection = self.connection(0);
        for number in 0..count {
            let path = format!("/growth-{number:06}");
            let answer = connection.send(Request::new("PUT", &path)).await?;
            ensure!(answer.status == 200, "bucket {number}: {}", answer.code());
        }
        Ok(count as f64 / start.elapsed().as_secs_f64().max(1e-9))
    }
}

impl Run {
    /// Begins an upload and sends it so many parts, each a copy of one.
    pub(super) async fn parts(self: &Arc<Self>, parts: u32) -> Result<Upload> {
        let path = format!("/{BUCKET}/many-parts");
        let mut connection = self.connection(0);
        let body = self.noise.body(0, 0, PART_BYTES);
        let source = connection.send(Request { length: PART_BYTES, body, ..Request::new("PUT", PART_SOURCE) }).await?;
        ensure!(source.status == 200, "the source of the parts: {}", source.code());
        let upload = self.upload(&path).await?;
        let mut tasks = JoinSet::new();
        for worker in 0..self.connections {
            let (run, path, upload) = (self.clone(), path.clone(), upload.clone());
            tasks.spawn(async move {
                let mut connection = run.connection(worker);
                let mut etags = Vec::new();
                for part in (1 + worker as u32..=parts).step_by(run.connections as usize) {
                    let number = part.to_string();
                    let query = [("partNumber", number.as_str()), ("uploadId", upload.as_str())];
                    let headers = [("x-amz-copy-source", PART_SOURCE)];
                    let base = Request::new("PUT", &path);
                    let copy = Request { query: &query, headers: &headers, keep: Keep::Bytes, ..base };
                    let answer = connection.send(copy).await?;
                    let etag = answer.tag("ETag").replace("&quot;", "").replace('"', "");
                    ensure!(answer.status == 200 && !etag.is_empty(), "part {part}: {}", answer.code());
                    etags.push((part, etag));
                }
                Ok(etags)
            });
        }
        Ok(Upload { path, id: upload, etags: gathered(tasks).await? })
    }

    /// Completes an upload and returns the seconds that took.
    pub(super) async fn complete(&self, upload: Upload) -> Result<f64> {
        self.finish(&upload.path, &upload.id, upload.etags).await
    }

    /// Sends `length` bytes in large parts of one upload, of which the last `kept` make the object: a part replaces the
    /// one before it of the same number. Deletes it, and returns MiB per second.
    pub(super) async fn stream(self: &Arc<Self>, length: u64, kept: u64) -> Result<f64> {
        // So many numbers that one worker sends all the parts of a number, one after the other.
        let numbers = kept.div_ceil(STREAM_PART_BYTES).next_multiple_of(STREAM_PARTS).max(STREAM_PARTS);
        let path = format!("/{BUCKET}/stream");
        let upload = self.upload(&path).await?;
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for worker in 0..STREAM_PARTS {
            let (run, path, upload) = (self.clone(), path.clone(), upload.clone());
            tasks.spawn(async move {
                let mut etags = BTreeMap::new();
                for at in (worker * STREAM_PART_BYTES..length).step_by((STREAM_PARTS * STREAM_PART_BYTES) as usize) {
                    let number = (at / STREAM_PART_BYTES % numbers + 1) as u32;
                    let text = number.to_string();
                    let query = [("partNumber", text.as_str()), ("uploadId", upload.as_str())];
                    let length = STREAM_PART_BYTES.min(length - at);
                    let body = run.noise.body(0, at, length);
                    let put = Request { query: &query, length, body, ..Request::new("PUT", &path) };
                    let answer = run.connection(u64::from(number)).send(put).await?;
                    ensure!(answer.status == 200, "part {number} of the stream: {}", answer.code());
                    etags.insert(number, answer.etag());
                }
                Ok(etags.into_iter().collect())
            });
        }
        self.finish(&path, &upload, gathered(tasks).await?).await?;
        let rate = length as f64 / MIB / start.elapsed().as_secs_f64();
        let answer = self.connection(0).send(Request::new("DELETE", &path)).await?;
        ensure!(answer.status == 204, "its deletion: {}", answer.code());
        Ok(rate)
    }

    async fn upload(&self, path: &str) -> Result<String> {
        let create = Request { query: &[("uploads", "")], keep: Keep::Bytes, ..Request::new("POST", path) };
        let upload = self.connection(0).send(create).await?.tag("UploadId");
        ensure!(!upload.is_empty(), "no upload was created");
        Ok(upload)
    }

    /// Completes an upload and returns the seconds that took.
    async fn finish(&self, path: &str, upload: &str, etags: Vec<(u32, String)>) -> Result<f64> {
        let listed: String = etags
            .iter()
            .map(|(part, etag)| format!("<Part><PartNumber>{part}</PartNumber><ETag>\"{etag}\"</ETag></Part>"))
            .collect();
        let text = format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>");
        let (query, length) = ([("uploadId", upload)], text.len() as u64);
        let body = http_body_util::BodyExt::boxed(http_body_util::Full::from(text));
        let request = Request { query: &query, length, body, keep: Keep::Bytes, ..Request::new("POST", path) };
        let start = Instant::now();
        let answer = self.connection(0).send(request).await?;
        ensure!(answer.status == 200 && !answer.tag("ETag").is_empty(), "the completion: {}", answer.code());
        Ok(start.elapsed().as_secs_f64())
    }
}

/// Parts by their numbers.
async fn gathered(mut tasks: JoinSet<Result<Vec<(u32, String)>>>) -> Result<Vec<(u32, String)>> {
    let mut etags = Vec::new();
    while let Some(done) = tasks.join_next().await {
        etags.extend(done??);
    }
    etags.sort();
    Ok(etags)
}

async fn all(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
