//! `karri-bench`: a load generator for any S3 endpoint that also reads what the server's processes cost.
//!
//! ```text
//! karri-bench put --endpoint 127.0.0.1:9000 --size 4096 --connections 16 --seconds 10 --pid 1234
//! ```
//!
//! Keys come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. Server CPU per request and per GiB, and bytes written
//! per byte stored, are steadier than seconds: give the server's processes with `--pid`.

mod load;
mod process;
mod report;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use karri_tests_cluster::Credentials;

use crate::load::{Load, Work};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put objects
    Put(Options),
    /// Put some objects, then get them over and over
    Get(Options),
    /// Put some objects, then list pages of 1,000
    List(Options),
}

#[derive(Args, Clone)]
struct Options {
    /// Host and port; several for the nodes of a cluster
    #[arg(long, default_value = "127.0.0.1:9000", value_delimiter = ',')]
    endpoint: Vec<String>,
    /// Bucket; made when missing
    #[arg(long, default_value = "karri-bench")]
    bucket: String,
    /// Bytes of each object
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Requests at once
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds before
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// Objects that `get` and `list` work on
    #[arg(long, default_value_t = 1000)]
    objects: usize,
    /// Process of the server; several for a cluster
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let (work, options) = match Arguments::parse().command {
        Command::Put(options) => (Work::Put, options),
        Command::Get(options) => (Work::Get, options),
        Command::List(options) => (Work::List, options),
    };
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let credentials =
        Credentials { access_key: variable("AWS_ACCESS_KEY_ID")?, secret_key: variable("AWS_SECRET_ACCESS_KEY")? };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(Load::new(work, options.clone(), credentials).run())?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}
