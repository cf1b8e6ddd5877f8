//! How the cost grows as the work grows: many objects in one bucket, many buckets, many parts, one endless upload.
//!
//! It starts a cluster of its own, so that it can restart it and look at its folders. Parts of the run can be made alone,
//! and the figures are written after each.

mod figures;
mod inside;
mod load;
mod node;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use karri_tests_cluster::{Cluster, ClusterOptions};

use crate::growth::figures::{Figures, Work};
use crate::growth::inside::Inside;
use crate::growth::load::{Run, is_doomed};
use crate::growth::node::{forget_peaks, metadata_bytes, resident_mib, resident_peak_mib, restart, settled, usage};

/// The bucket that everything is in.
const BUCKET: &str = "growth";
/// Objects at which the first measurements are made, to compare with, and objects that are put for each.
const OBJECTS_FIRST: u64 = 10_000;
const OBJECT_BYTES: u64 = 1024;

/// A part of a scale run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Objects of 1 KiB in one bucket: PUT, listing, bytes, memory, restart, and all that with nine of ten deleted
    Objects,
    /// Many buckets
    Buckets,
    /// One upload of many parts
    Parts,
    /// One endless upload
    Stream,
}

/// How the bucket is loaded and emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Over S3, as clients do
    S3,
    /// The stopped node's store is opened in this process and each object goes through the object service: the same
    /// commands, log entries and syncs, without HTTP and signatures. One node only
    Inside,
}

/// Settings of a scale run.
#[derive(Args, Clone, Debug)]
pub(crate) struct GrowthOptions {
    /// Objects of 1 KiB in one bucket
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Folder for the first node's data instead of a temporary one; it must not be there
    #[arg(long)]
    data: Option<PathBuf>,
    /// Parts of the run, all if none is named
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Stage>,
    /// How the bucket is loaded and emptied, which is not measured by request; inside, unless there are several nodes
    #[arg(long, value_enum)]
    way: Option<Way>,
    /// Requests at once
    #[arg(long, default_value_t = 32)]
    connections: u64,
    /// Requests at once while the bucket is loaded and emptied: the more share a sync
    #[arg(long, default_value_t = 1024)]
    load_connections: u64,
    /// Buckets that are made
    #[arg(long, default_value_t = 1000)]
    buckets: u64,
    /// Parts of one upload
    #[arg(long, default_value_t = 10_000)]
    parts: u32,
    /// Size of the upload that is streamed, in parts of 1 GiB
    #[arg(long, default_value = "8GiB", value_parser = crate::sizes::length)]
    stream: u64,
    /// How much of the streamed upload is kept: further parts replace former ones, so that the disk need hold no more,
    /// but for what the collector has not come to yet
    #[arg(long, value_parser = crate::sizes::length)]
    stream_kept: Option<u64>,
    /// File for the figures, as JSON; written after each part of the run
    #[arg(long)]
    json: Option<PathBuf>,
}

impl GrowthOptions {
    fn has(&self, stage: Stage) -> bool {
        self.only.is_empty() || self.only.contains(&stage)
    }

    fn way(&self) -> Way {
        self.way.unwrap_or(if self.nodes == 1 { Way::Inside } else { Way::S3 })
    }
}

/// Runs it and prints the figures.
pub(crate) fn run(options: &GrowthOptions) -> Result<()> {
    ensure!(options.nodes == 1 || options.way() == Way::S3, "only a cluster of one node is loaded from inside");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = Figures::new(options.json.clone());
    let outcome = runtime.block_on(grow(options, &mut figures));
    println!("{}", figures.growth);
    outcome
}

async fn grow(options: &GrowthOptions, figures: &mut Figures) -> Result<()> {
    let cluster = ClusterOptions { data_dirs: options.data.iter().cloned().collect(), ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(options.nodes, cluster).await?;
    cluster.client(0).create_bucket(BUCKET).await?;
    if options.has(Stage::Objects) {
        objects(options, &mut cluster, figures).await?;
    }
    let run = Arc::new(Run::new(&cluster, options.connections));
    if options.has(Stage::Buckets) {
        let rate = run.buckets(options.buckets).await?;
        figures.note(|growth| growth.buckets_per_second = Some(rate))?;
    }
    if options.has(Stage::Parts) {
        let before = usage(&cluster)?;
        let upload = run.parts(options.parts).await?;
        let between = usage(&cluster)?;
        let seconds = run.complete(upload).await?;
        let after = usage(&cluster)?;
        figures.note(|growth| {
            growth.part_copies_cpu_ms =
                Some((between.cpu_seconds - before.cpu_seconds) * 1000.0 / f64::from(options.parts));
            growth.complete_seconds = Some(seconds);
            growth.complete_cpu_seconds = Some(after.cpu_seconds - between.cpu_seconds);
        })?;
    }
    if options.has(Stage::Stream) {
        settled(&cluster).await?;
        let before = resident_mib(&cluster)?;
        forget_peaks(&cluster)?;
        let rate = run.stream(options.stream, options.stream_kept.unwrap_or(options.stream)).await?;
        let peak = resident_peak_mib(&cluster)?;
        figures.note(|growth| {
            growth.stream_bytes = Some(options.stream);
            growth.stream_mib_per_second = Some(rate);
            growth.stream_resident_mib_before = Some(before);
            growth.stream_resident_mib_growth = Some(peak - before);
        })?;
    }
    Ok(())
}

/// Everything about very many objects in one bucket.
async fn objects(options: &GrowthOptions, cluster: &mut Cluster, figures: &mut Figures) -> Result<()> {
    let first = OBJECTS_FIRST.min(options.objects / 2);
    let run = Arc::new(Run::new(cluster, options.connections));
    run.put(0, first).await?;
    let list = measured_list(cluster, &run, first).await?;
    let put = measured_put(cluster, &run, first, first).await?;
    let resident = resident_mib(cluster)?;
    figures.note(|growth| {
        growth.objects = options.objects;
        (growth.put_first, growth.list_first) = (Some(put), Some(list));
        growth.resident_mib_first = Some(resident);
    })?;

    tell("loading", options.objects);
    let rate = load(options, cluster, 2 * first..options.objects).await?;
    figures.note(|growth| growth.load_per_second = Some(rate))?;
    let run = Arc::new(Run::new(cluster, options.connections));
    let settling = settled(cluster).await?;
    let list = measured_list(cluster, &run, options.objects).await?;
    // The first PUTs after a start read filters and indexes that nobody has read.
    run.put(options.objects, first).await?;
    let put = measured_put(cluster, &run, options.objects + first, first).await?;
    let resident = resident_mib(cluster)?;
    let bytes = metadata_bytes(cluster)? as f64 / (options.objects + 2 * first) as f64 - OBJECT_BYTES as f64;
    let seconds = restart(cluster).await?;
    figures.note(|growth| {
        growth.settling_seconds = Some(settling);
        (growth.put_last, growth.list_last) = (Some(put), Some(list));
        growth.resident_mib = Some(resident);
        growth.metadata_bytes_per_object = Some(bytes);
        growth.restart_seconds = Some(seconds);
    })?;

    tell("deleting nine of ten of", options.objects);
    let rate = empty(options, cluster).await?;
    let run = Arc::new(Run::new(cluster, options.connections));
    // At once: what deletions leave behind is in the way now, if ever.
    let list = measured_list(cluster, &run, options.objects).await?;
    let resident = resident_mib(cluster)?;
    figures.note(|growth| {
        growth.delete_per_second = Some(rate);
        growth.list_after_deletes = Some(list);
        growth.resident_mib_after_deletes = Some(resident);
    })
}

fn tell(what: &str, objects: u64) {
    eprintln!("{what} {objects} objects");
}

/// Puts objects over S3, and what that cost the nodes.
async fn measured_put(cluster: &Cluster, run: &Arc<Run>, from: u64, count: u64) -> Result<Work> {
    let before = usage(cluster)?;
    let per_second = run.put(from, count).await?;
    let cpu_seconds = usage(cluster)?.cpu_seconds - before.cpu_seconds;
    Ok(Work { per_second, cpu_ms: cpu_seconds * 1000.0 / count as f64, p99_ms: None })
}

async fn measured_list(cluster: &Cluster, run: &Arc<Run>, objects: u64) -> Result<Work> {
    // The first pages after a start wait for leaders and read files that nobody has read.
    run.list(objects, 1).await?;
    let before = usage(cluster)?;
    let (latencies, per_second) = run.list(objects, load::PAGES).await?;
    let cpu_seconds = usage(cluster)?.cpu_seconds - before.cpu_seconds;
    let p99_ms = Some(latencies.value_at_quantile(0.99) as f64 / 1000.0);
    Ok(Work { per_second, cpu_ms: cpu_seconds * 1000.0 / load::PAGES as f64, p99_ms })
}

/// Puts these objects and returns how many a second.
async fn load(options: &GrowthOptions, cluster: &mut Cluster, numbers: std::ops::Range<u64>) -> Result<f64> {
    let (from, count) = (numbers.start, numbers.end.saturating_sub(numbers.start));
    match options.way() {
        Way::S3 => Arc::new(Run::new(cluster, options.load_connections)).put(from, count).await,
        Way::Inside => {
            cluster.stop(0).await?;
            let inside = Inside::open(cluster.data_dir(0)).await?;
            let rate = inside.put(from..from + count, options.load_connections).await;
            inside.close().await;
            cluster.restart(0).await?;
            rate
        }
    }
}

/// Deletes nine of ten objects and returns how many a second.
async fn empty(options: &GrowthOptions, cluster: &mut Cluster) -> Result<f64> {
    match options.way() {
        Way::S3 => Arc::new(Run::new(cluster, options.connections)).delete(options.objects).await,
        Way::Inside => {
            cluster.stop(0).await?;
            let inside = Inside::open(cluster.data_dir(0)).await?;
            let rate = inside.delete((0..options.objects).filter(is_doomed), options.load_connections).await;
            inside.close().await;
            cluster.restart(0).await?;
            rate
        }
    }
}
