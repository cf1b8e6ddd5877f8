//! How the cost grows as the work grows: many objects in one bucket, many buckets, many parts, one endless upload.
//!
//! It starts a cluster of its own, so that it can restart it and look at its folders.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use karri_tests_cluster::Cluster;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::body::Noise;
use crate::client::{Connection, Keep, Request};
use crate::process::Usage;
use crate::work::Draws;

const BUCKET: &str = "growth";
/// Objects at which the first measurements are made, to compare with.
const OBJECTS_FIRST: u64 = 10_000;
const OBJECT_BYTES: u64 = 1024;
/// Of what all parts of an upload are copies.
const PART_SOURCE: &str = "/growth/part-source";
/// The least that a part may be that is not the last.
const PART_BYTES: u64 = 5 << 20;
/// Keys of one DeleteObjects.
const DELETE_KEYS: usize = 1000;
/// Pages that are listed for one figure.
const PAGES: u64 = 300;
/// Of so many objects one is kept when the others are deleted.
const KEPT_ONE_OF: u64 = 10;

/// Settings of a scale run.
#[derive(Args, Clone, Debug)]
pub(crate) struct GrowthOptions {
    /// Objects of 1 KiB in one bucket
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Requests at once
    #[arg(long, default_value_t = 32)]
    connections: u64,
    /// Buckets that are made
    #[arg(long, default_value_t = 1000)]
    buckets: u64,
    /// Parts of one upload
    #[arg(long, default_value_t = 10_000)]
    parts: u32,
    /// Size of the upload that is streamed in one go, in parts of 5 GiB at most
    #[arg(long, default_value = "5GiB", value_parser = crate::sizes::bytes)]
    stream: u64,
    /// File for the figures, as JSON
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

/// The figures of a scale run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Growth {
    objects: u64,
    put_per_second_first: f64,
    put_per_second_last: f64,
    list_p99_ms_first: f64,
    list_p99_ms_last: f64,
    list_p99_ms_after_deletes: f64,
    /// Of all nodes' metadata and logs, over the inline bytes.
    metadata_bytes_per_object: f64,
    resident_mib: f64,
    restart_seconds: f64,
    buckets_per_second: f64,
    complete_seconds: f64,
    stream_resident_mib_growth: f64,
}

/// Runs it and prints the figures.
pub(crate) fn run(options: &GrowthOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let growth = runtime.block_on(grow(options))?;
    println!("{growth}");
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&growth)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

async fn grow(options: &GrowthOptions) -> Result<Growth> {
    let mut cluster = Cluster::start(options.nodes).await?;
    cluster.client(0).create_bucket(BUCKET).await?;
    let mut growth = Growth { objects: options.objects, ..Growth::default() };
    let first = OBJECTS_FIRST.min(options.objects);
    let run = Arc::new(Run::new(&cluster, options.connections));

    growth.put_per_second_first = run.put(0, first).await?;
    growth.list_p99_ms_first = run.list_p99(first).await?;
    tell("loading", options.objects);
    run.put(first, options.objects.saturating_sub(first)).await?;
    growth.list_p99_ms_last = run.list_p99(options.objects).await?;
    growth.put_per_second_last = run.put(options.objects, first).await?;
    growth.resident_mib = resident_mib(&cluster)?;
    growth.restart_seconds = restart(&mut cluster).await?;
    growth.metadata_bytes_per_object = metadata_bytes_per_object(&cluster, options.objects + first)?;

    let run = Arc::new(Run::new(&cluster, options.connections));
    tell("deleting nine of ten of", options.objects);
    run.delete(options.objects).await?;
    growth.list_p99_ms_after_deletes = run.list_p99(options.objects).await?;
    growth.buckets_per_second = run.buckets(options.buckets).await?;
    growth.complete_seconds = run.complete(options.parts).await?;
    let before = resident_mib(&cluster)?;
    run.stream(options.stream).await?;
    growth.stream_resident_mib_growth = resident_mib(&cluster)? - before;
    Ok(growth)
}

fn tell(what: &str, objects: u64) {
    eprintln!("{what} {objects} objects");
}

/// A cluster under load.
struct Run {
    hosts: Vec<String>,
    credentials: karri_tests_cluster::Credentials,
    noise: Noise,
    connections: u64,
}

fn key(number: u64) -> String {
    // Spread over the key space, as real keys arrive, and recomputable.
    format!("{:016x}", Draws::new(number).next())
}

impl Run {
    fn new(cluster: &Cluster, connections: u64) -> Self {
        let hosts = (0..cluster.len()).map(|index| cluster.host(index)).collect();
        Self { hosts, credentials: cluster.credentials().clone(), noise: Noise::new(1), connections }
    }

    fn connection(&self, number: u64) -> Connection {
        Connection::new(&self.hosts[number as usize % self.hosts.len()], self.credentials.clone())
    }

    /// Puts objects `from..from + count` and returns how many a second.
    async fn put(self: &Arc<Self>, from: u64, count: u64) -> Result<f64> {
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

    /// p99 of a page of 1,000 from random places.
    async fn list_p99(self: &Arc<Self>, objects: u64) -> Result<f64> {
        let mut latencies_us = Histogram::<u64>::new(3)?;
        let mut connection = self.connection(0);
        for page in 0..PAGES {
            let after = key(Draws::new(page).next() % objects.max(1));
            let path = format!("/{BUCKET}");
            let query = [("list-type", "2"), ("max-keys", "1000"), ("start-after", after.as_str())];
            let start = Instant::now();
            let answer = connection.send(Request { query: &query, ..Request::new("GET", &path) }).await?;
            ensure!(answer.status == 200, "a listing: {}", answer.code());
            latencies_us.record(u64::try_from(start.elapsed().as_micros())?.max(1))?;
        }
        Ok(latencies_us.value_at_quantile(0.99) as f64 / 1000.0)
    }

    /// Deletes nine of ten of the first `count` objects.
    async fn delete(self: &Arc<Self>, count: u64) -> Result<()> {
        let mut tasks = JoinSet::new();
        for worker in 0..self.connections {
            let run = self.clone();
            tasks.spawn(async move {
                let mut connection = run.connection(worker);
                let doomed = (worker..count).step_by(run.connections as usize);
                let doomed: Vec<u64> = doomed.filter(|number| number % KEPT_ONE_OF != 0).collect();
                for batch in doomed.chunks(DELETE_KEYS) {
                    run.delete_batch(&mut connection, batch).await?;
                }
                Ok(())
            });
        }
        all(tasks).await
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
    async fn buckets(self: &Arc<Self>, count: u64) -> Result<f64> {
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
    /// Uploads an object of so many parts, each a copy of one, and returns the seconds of its completion.
    async fn complete(self: &Arc<Self>, parts: u32) -> Result<f64> {
        let path = format!("/{BUCKET}/many-parts");
        let mut connection = self.connection(0);
        let body = self.noise.body(0, 0, PART_BYTES);
        let source = connection.send(Request { length: PART_BYTES, body, ..Request::new("PUT", PART_SOURCE) }).await?;
        ensure!(source.status == 200, "the source of the parts: {}", source.code());
        let create = Request { query: &[("uploads", "")], keep: Keep::Bytes, ..Request::new("POST", &path) };
        let upload = connection.send(create).await?.tag("UploadId");
        ensure!(!upload.is_empty(), "no upload was created");
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
        let mut etags: Vec<(u32, String)> = Vec::new();
        while let Some(done) = tasks.join_next().await {
            etags.extend(done??);
        }
        etags.sort();
        let listed: String = etags
            .iter()
            .map(|(part, etag)| format!("<Part><PartNumber>{part}</PartNumber><ETag>\"{etag}\"</ETag></Part>"))
            .collect();
        let text = format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>");
        let (query, length) = ([("uploadId", upload.as_str())], text.len() as u64);
        let body = http_body_util::BodyExt::boxed(http_body_util::Full::from(text));
        let request = Request { query: &query, length, body, keep: Keep::Bytes, ..Request::new("POST", &path) };
        let start = Instant::now();
        let answer = connection.send(request).await?;
        ensure!(answer.status == 200 && !answer.tag("ETag").is_empty(), "the completion: {}", answer.code());
        Ok(start.elapsed().as_secs_f64())
    }

    /// Puts one object of `length` bytes in one request.
    async fn stream(self: &Arc<Self>, length: u64) -> Result<()> {
        let path = format!("/{BUCKET}/stream");
        let body = self.noise.body(0, 0, length);
        let answer = self.connection(0).send(Request { length, body, ..Request::new("PUT", &path) }).await?;
        ensure!(answer.status == 200, "the stream: {}", answer.code());
        let answer = self.connection(0).send(Request::new("DELETE", &path)).await?;
        ensure!(answer.status == 204, "its deletion: {}", answer.code());
        Ok(())
    }
}

async fn all(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Stops the first node, starts it again, and returns the seconds until it is ready.
async fn restart(cluster: &mut Cluster) -> Result<f64> {
    cluster.stop(0).await?;
    let start = Instant::now();
    tokio::time::timeout(Duration::from_secs(600), cluster.restart(0)).await.context("the node came not back")??;
    Ok(start.elapsed().as_secs_f64())
}

fn resident_mib(cluster: &Cluster) -> Result<f64> {
    let pids = (0..cluster.len()).map(|index| cluster.pid(index)).collect::<Result<Vec<u32>>>()?;
    Ok(Usage::of(&pids)?.resident_bytes as f64 / (1 << 20) as f64 / pids.len() as f64)
}

/// Bytes of the first node's applied metadata per object, without the objects' own bytes.
fn metadata_bytes_per_object(cluster: &Cluster, objects: u64) -> Result<f64> {
    let bytes = folder_bytes(&cluster.data_dir(0).join("metadata"))?;
    Ok(bytes as f64 / objects as f64 - OBJECT_BYTES as f64)
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { folder_bytes(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "{name:<44} {value}");
        line("objects", self.objects.to_string())?;
        line("PUT 1 KiB at 10,000 objects", format!("{:.0}/s", self.put_per_second_first))?;
        line("PUT 1 KiB at all", format!("{:.0}/s", self.put_per_second_last))?;
        line("list page p99 at 10,000 objects", format!("{:.2} ms", self.list_p99_ms_first))?;
        line("list page p99 at all", format!("{:.2} ms", self.list_p99_ms_last))?;
        line("list page p99 with nine of ten deleted", format!("{:.2} ms", self.list_p99_ms_after_deletes))?;
        line("metadata on disk above the inline bytes", format!("{:.0} bytes/object", self.metadata_bytes_per_object))?;
        line("RSS per node", format!("{:.0} MiB", self.resident_mib))?;
        line("restart to ready", format!("{:.2} s", self.restart_seconds))?;
        line("buckets", format!("{:.0}/s", self.buckets_per_second))?;
        line("completion of the upload in parts", format!("{:.2} s", self.complete_seconds))?;
        line("growth of RSS by the streamed upload", format!("{:.0} MiB", self.stream_resident_mib_growth))
    }
}
