//! `karri fsck`: goes through all metadata and all that nodes hold by way of a running node, and tells what does not
//! agree. Nodes compare page by page; what spans pages (who holds what, sums over buckets) is compared here.
//!
//! The cluster goes on while it is looked at, so what seems wrong is looked at twice: a fault is what was seen both times.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use karri_objstore_maintain::{Fsck, FsckOptions, HeldPage, MetadataPage};
use karri_objstore_service::{Fault, FaultKind, InspectCursor, Inspection};
use karri_ring_node::join::{self, Credentials};
use karri_ring_types::{Digest, ExtentId, NodeId};
use serde::{Deserialize, Serialize};

use crate::cluster;
use crate::config::Config;
use crate::status::FSCK;

/// How long a page may take, whose bytes are read perhaps.
const PAGE_DEADLINE: Duration = Duration::from_secs(600);
/// Pages in a row that may fail before it is given up.
const ATTEMPTS_MAX: u32 = 30;
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks: what is under way comes to its end.
const LOOK_PAUSE: Duration = Duration::from_secs(2);
/// Holdings that are compared at a time, at about 200 bytes each; of more, those beyond are not.
const HOLDINGS_MAX: usize = 1_000_000;
/// Faults that are kept.
const FAULTS_MAX: usize = 10_000;

/// What is asked of the node.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ask {
    deep: bool,
    repair: bool,
    pending_ms: u64,
    stage: Stage,
}

#[derive(Clone, Serialize, Deserialize)]
enum Stage {
    Nodes,
    Metadata(InspectCursor),
    Held(u64, Option<u128>),
}

/// What it answers.
#[derive(Serialize, Deserialize)]
enum Answer {
    Nodes(Vec<u64>),
    Metadata { inspection: Box<Inspection>, extents: u64, copies: u64 },
    Held { extents: u64, pending: u64, faults: Vec<Fault>, next: Option<u128> },
}

/// Carries out one page on the node.
pub(crate) async fn answer(fsck: &Fsck, head: &[u8]) -> Result<Vec<u8>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let Ask { deep, repair, pending_ms, stage } = serde_json::from_slice(head).map_err(|error| text(&error))?;
    let options = FsckOptions { deep, repair, pending_ms };
    let answer = match stage {
        Stage::Nodes => Answer::Nodes(fsck.nodes().iter().map(|node| node.0).collect()),
        Stage::Metadata(cursor) => {
            let page = fsck.metadata(&cursor, options).await.map_err(|error| text(&error))?;
            let MetadataPage { inspection, extents, copies } = page;
            Answer::Metadata { inspection: Box::new(inspection), extents, copies }
        }
        Stage::Held(node, after) => {
            let page = fsck.held(NodeId(node), after.map(ExtentId), options).await.map_err(|error| text(&error))?;
            let HeldPage { extents, pending, faults, next } = page;
            Answer::Held { extents, pending, faults, next: next.map(|id| id.0) }
        }
    };
    serde_json::to_vec(&answer).map_err(|error| text(&error))
}

/// How it is done.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Options {
    /// Read the bytes of every copy and check them
    #[arg(long)]
    deep: bool,
    /// Have copies mended by their holders, and extents that nothing names condemned by their range and deleted
    #[arg(long)]
    repair: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Age in seconds below which an extent that nothing names is taken to be under way
    #[arg(long, default_value_t = 3600)]
    pending_seconds: u64,
}

/// What was looked at.
#[derive(Clone, Debug, Default, Serialize)]
struct Counts {
    rows: u64,
    extents: u64,
    copies: u64,
    holdings: u64,
    held: u64,
    pending: u64,
}

/// One look at everything.
#[derive(Default)]
struct Look {
    counts: Counts,
    faults: BTreeSet<Fault>,
    more: u64,
    /// Holdings that nobody was seen to use yet, by the hash of their row.
    holdings: HashMap<u128, String>,
    sizes: BTreeMap<Vec<u8>, (u64, u64)>,
    meters: Vec<(Vec<u8>, u64, u64)>,
}

impl Look {
    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.insert(fault);
        } else {
            self.more += 1;
        }
    }

    fn add(&mut self, inspection: Inspection) {
        self.counts.rows += inspection.rows;
        inspection.faults.into_iter().for_each(|fault| self.fault(fault));
        for holding in inspection.holdings {
            self.counts.holdings += 1;
            if self.holdings.len() < HOLDINGS_MAX {
                self.holdings.insert(hash(&holding.row), holding.place);
            }
        }
        for row in inspection.loans.iter().map(|loan| &loan.row).chain(&inspection.returned) {
            let row = hash(row);
            self.holdings.remove(&row);
        }
        for (bucket, bytes, versions) in inspection.sizes {
            let size = self.sizes.entry(bucket).or_default();
            *size = (size.0 + bytes, size.1 + versions);
        }
        self.meters.extend(inspection.meters);
    }

    /// What is only known when all was read.
    fn conclude(&mut self) {
        for (_, place) in std::mem::take(&mut self.holdings) {
            let text = "a holding that nobody uses: what it holds is never collected".to_owned();
            self.fault(Fault { kind: FaultKind::References, place, text });
        }
        for (bucket, bytes, versions) in std::mem::take(&mut self.meters) {
            let (counted, number) = self.sizes.get(&bucket).copied().unwrap_or_default();
            if (counted, number) != (bytes, versions) {
                let place = format!("bucket {}", bucket.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
                let text = format!(
                    "its counter says {bytes} bytes in {versions} versions, a recount gives {counted} in {number}"
                );
                self.fault(Fault { kind: FaultKind::Meter, place, text });
            }
        }
    }
}

fn hash(row: &[u8]) -> u128 {
    let digest = Digest::of(row);
    u128::from_le_bytes(digest.0[..16].try_into().expect("16 of 32 bytes"))
}

/// What would be done about a fault, or is with `--repair`.
fn remedy(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Copy => "would have its holder take a good copy from the others",
        FaultKind::Orphan => "would ask its range to condemn it, and delete it when that is committed",
        FaultKind::Lost => "nothing can be done: restore the object from elsewhere",
        FaultKind::Unreadable | FaultKind::Part => "nothing can be done: restore the object from elsewhere",
        FaultKind::Listing | FaultKind::NullVersion => "nothing is done by itself: write the object again",
        FaultKind::Condemned | FaultKind::References => "nothing is done by itself: copy the object and report it",
        FaultKind::Leak => "nothing is done by itself: only space is lost",
        FaultKind::Meter => "nothing is done by itself: report it",
    }
}

struct Asker {
    credentials: Credentials,
    address: String,
    options: Options,
}

impl Asker {
    /// A node that is busy or looks for a leader is asked again.
    async fn ask(&self, stage: Stage, repair: bool) -> Result<Answer> {
        let Options { deep, pending_seconds, .. } = self.options;
        let ask = Ask { deep, repair, pending_ms: pending_seconds.saturating_mul(1000), stage };
        let head = Bytes::from(serde_json::to_vec(&ask)?);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let called =
                join::call_running_within(&self.credentials, &self.address, FSCK, head.clone(), PAGE_DEADLINE).await;
            match called {
                Ok(response) => return serde_json::from_slice(&response.body).context("read the node's answer"),
                Err(error) if attempt == ATTEMPTS_MAX => {
                    return Err(error).with_context(|| format!("ask the node at {}", self.address));
                }
                Err(_) => tokio::time::sleep(ATTEMPT_PAUSE).await,
            }
        }
    }

    /// Reads everything once.
    async fn look(&self, repair: bool) -> Result<Look> {
        let mut look = Look::default();
        let mut cursor = Some(InspectCursor::default());
        while let Some(at) = cursor.take() {
            let Answer::Metadata { inspection, extents, copies } = self.ask(Stage::Metadata(at), repair).await? else {
                bail!("an answer to something else");
            };
            look.counts.extents += extents;
            look.counts.copies += copies;
            cursor = inspection.next.clone();
            look.add(*inspection);
        }
        look.conclude();
        let Answer::Nodes(nodes) = self.ask(Stage::Nodes, false).await? else { bail!("an answer to something else") };
        for node in nodes {
            let mut after = None;
            loop {
                let stage = Stage::Held(node, after);
                let Answer::Held { extents, pending, faults, next } = self.ask(stage, repair).await? else {
                    bail!("an answer to something else");
                };
                look.counts.held += extents;
                look.counts.pending += pending;
                faults.into_iter().for_each(|fault| look.fault(fault));
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(look)
    }

    /// Looks again at what was found.
    async fn confirm(&self, first: Look) -> Result<Look> {
        if first.faults.is_empty() {
            return Ok(first);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
        let mut second = self.look(false).await?;
        second.faults = second.faults.intersection(&first.faults).cloned().collect();
        Ok(second)
    }
}

/// Goes through the cluster of a running node. 0: all agrees, 1: something does not, 2: it could not be finished.
pub(crate) async fn run(config: &Config, options: Options) -> ExitCode {
    match check(config, options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("karri: not finished: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn check(config: &Config, options: Options) -> Result<bool> {
    let credentials = cluster::existing(config)?;
    let asker = Asker { credentials, address: config.rpc.advertised(), options };
    let mut found = asker.confirm(asker.look(false).await?).await?;
    let mut repaired = 0;
    if options.repair && !found.faults.is_empty() {
        let before = found.faults.len();
        asker.look(true).await?;
        tokio::time::sleep(LOOK_PAUSE).await;
        found = asker.confirm(asker.look(false).await?).await?;
        repaired = before.saturating_sub(found.faults.len());
    }
    print(&found, options, repaired)?;
    Ok(found.faults.is_empty())
}

fn print(found: &Look, options: Options, repaired: usize) -> Result<()> {
    if options.json {
        let report = serde_json::json!({ "faults": found.faults, "counts": found.counts, "repaired": repaired });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    for fault in &found.faults {
        println!("{:?} {}: {}; {}", fault.kind, fault.place, fault.text, remedy(fault.kind));
    }
    if found.more > 0 {
        println!("and {} more", found.more);
    }
    let Counts { rows, extents, copies, holdings, held, pending } = &found.counts;
    println!(
        "{rows} rows, {extents} extents with {copies} copies, {holdings} holdings; nodes hold {held}, {pending} of them \
         pending; {repaired} faults repaired, {} faults",
        found.faults.len()
    );
    Ok(())
}
