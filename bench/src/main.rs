//! `karri-bench`: a load generator for any S3 endpoint that also reads what the server's processes cost.
//!
//! ```text
//! karri-bench put --endpoint 127.0.0.1:9000 --size 4096 --connections 16 --seconds 10 --pid 1234
//! karri-bench mixed --weights get=45,put=15,head=30,list=5,delete=5 --size 1KiB-1MiB --plot mixed.svg
//! karri-bench peers --install
//! ```
//!
//! Keys come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. Server CPU per request and per GiB, and bytes written
//! per byte stored, are steadier than seconds: give the server's processes with `--pid`.

mod body;
mod client;
mod faults;
mod growth;
mod instructions;
mod kills;
mod load;
mod options;
mod peers;
mod plot;
mod process;
mod report;
mod seen;
mod sizes;
mod work;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::faults::FaultOptions;
use crate::growth::GrowthOptions;
use crate::instructions::InstructionOptions;
use crate::kills::KillOptions;
use crate::options::Options;
use crate::peers::PeerOptions;
use crate::work::{Kind, Mix};

/// As the server's, for what of it runs in here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about = "Loads an S3 endpoint and tells what that cost")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put objects
    Put(Options),
    /// Put some objects, then get them, or ranges of them, over and over
    Get(Options),
    /// Put some objects, then ask for their heads
    Head(Options),
    /// Put some objects, then list pages of 1,000
    List(Options),
    /// Put objects, then delete them all
    Delete(Options),
    /// Upload objects in parts
    Multipart(Options),
    /// Put some objects, then copy them within the bucket
    Copy(Options),
    /// Put versions of a few keys and get each again
    Versioned(Options),
    /// Several works at once
    Mixed {
        /// Works and their weights
        #[arg(long, default_value = "get=45,put=15,head=30,list=5,delete=5")]
        weights: Mix,
        #[command(flatten)]
        options: Options,
    },
    /// Run the same works against Karri and its peers, in turns, and write a table of ratios
    Peers(PeerOptions),
    /// Break clusters of Karri and its peers in the same ways under load, and write a table of what clients saw
    Faults(FaultOptions),
    /// Load a bucket with very many objects and tell how the costs grow
    Growth(GrowthOptions),
    /// Count the instructions of a 4 KiB PUT and GET and compare with the recorded ones
    Instructions(InstructionOptions),
    /// Kill the processes of a cluster under load and look for every acknowledged object
    Kills(KillOptions),
}

fn main() -> Result<()> {
    let only = |kind| Mix(vec![(kind, 1)]);
    let (mix, options) = match Arguments::parse().command {
        Command::Put(options) => (only(Kind::Put), options),
        Command::Get(options) => (only(Kind::Get), options),
        Command::Head(options) => (only(Kind::Head), options),
        Command::List(options) => (only(Kind::List), options),
        Command::Delete(options) => (only(Kind::Delete), options),
        Command::Multipart(options) => (only(Kind::Multipart), options),
        Command::Copy(options) => (only(Kind::Copy), options),
        Command::Versioned(options) => (only(Kind::Versioned), options),
        Command::Mixed { weights, options } => (weights, options),
        Command::Peers(options) => return peers::run(&options),
        Command::Faults(options) => return faults::run(&options),
        Command::Growth(options) => return growth::run(&options),
        Command::Instructions(options) => return instructions::run(&options),
        Command::Kills(options) => return kills::run(&options),
    };
    let report = load::run(mix, options.clone())?;
    if let Some(path) = &options.plot {
        std::fs::write(path, plot::svg(&report)).with_context(|| format!("write {}", path.display()))?;
    }
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => println!("{report}"),
    }
    Ok(())
}
