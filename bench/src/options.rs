//! What a run is told on the command line.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use karri_tests_cluster::Credentials;

use crate::sizes::Sizes;

/// Settings that all works share.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Host and port; several for the nodes of a cluster, taken in turn by the connections
    #[arg(long, default_value = "127.0.0.1:9000", value_delimiter = ',')]
    pub(crate) endpoint: Vec<String>,
    /// Bucket; made when missing
    #[arg(long, default_value = "karri-bench")]
    pub(crate) bucket: String,
    /// Size of each object: `4096`, `64KiB`, `1KiB-1MiB` (evenly by logarithm) or `4KiB*80,1MiB*20` (by weight)
    #[arg(long, default_value = "4096")]
    pub(crate) size: Sizes,
    /// Size of each part of a multipart upload
    #[arg(long, default_value = "8MiB", value_parser = crate::sizes::bytes)]
    pub(crate) part_size: u64,
    /// Requests at once
    #[arg(long, default_value_t = 16)]
    pub(crate) connections: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Seconds before, which are not
    #[arg(long, default_value_t = 2)]
    pub(crate) warm_up: u64,
    /// Requests per second, over all connections; as many as the server takes when absent
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Objects that are put before a work that reads
    #[arg(long, default_value_t = 1000)]
    pub(crate) objects: usize,
    /// Bytes that `get` asks for of each object, at a random place; the whole object when absent
    #[arg(long, value_parser = crate::sizes::bytes)]
    pub(crate) range: Option<u64>,
    /// Check each body and ETag
    #[arg(long)]
    pub(crate) verify: bool,
    /// Number that the choice of keys and sizes follows from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Process of the server; several for a cluster
    #[arg(long, value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write throughput and latency over time as an SVG picture
    #[arg(long)]
    pub(crate) plot: Option<PathBuf>,
    /// No line of progress
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// The keys of the environment.
///
/// # Errors
/// One of them is not set.
pub(crate) fn credentials() -> Result<Credentials> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    Ok(Credentials { access_key: variable("AWS_ACCESS_KEY_ID")?, secret_key: variable("AWS_SECRET_ACCESS_KEY")? })
}
