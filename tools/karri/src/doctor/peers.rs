//! The other nodes: whether they answer, as whom, with which version, epoch and time.

use std::collections::BTreeMap;
use std::time::Duration;

use karri_ring_node::join::Credentials;
use karri_ring_node::membership::kept_addresses;
use karri_ring_rpc::{AddressBook, Lane, Request, Router, RpcError, TlsTransport, Transport as _};
use karri_ring_types::{Clock as _, NodeId, SystemClock};

use super::{Report, limits};
use crate::config::Config;
use crate::node::DataDir;
use crate::open_files;
use crate::status::{PROBE, Probe};

/// How long a peer may take.
const DEADLINE: Duration = Duration::from_secs(4);
/// Clocks that differ by more make timestamps of objects odd.
const SKEW_MS_WARNED: u64 = 1_000;
/// Commands between nodes whose clocks differ by five minutes are refused; signatures of clients by fifteen.
const SKEW_MS_MAX: u64 = 60_000;

/// What one node answered, and by how much its clock is ahead of ours.
struct Answer {
    probe: Probe,
    ahead_ms: i64,
}

/// Asks every node that this one knows of.
pub(super) async fn examine(config: &Config, credentials: &Credentials, running: bool, report: &mut Report) {
    let own = credentials.identity().node;
    let mut addresses = credentials.addresses().clone();
    match kept_addresses(&DataDir(&config.data_dir).addresses()) {
        Ok(kept) => addresses.extend(kept),
        Err(error) => report.error(
            "peers",
            format!("the file of addresses: {error}"),
            "mend or remove it: a line `<node> <host:port>` for each node",
        ),
    }
    addresses.remove(&own);
    let mut answers = BTreeMap::new();
    if running {
        addresses.insert(own, config.rpc.advertised());
    } else {
        limits::open_files(open_files::limit_max(), "a process started here", report);
    }
    for (&node, address) in &addresses {
        match ask(credentials, node, address).await {
            Ok(answer) => {
                answers.insert(node, answer);
            }
            Err(RpcError::UnknownMethod(_)) => {
                report.warn("peers", format!("node {node} at {address} runs an older version"), "upgrade it")
            }
            Err(error) => {
                let found = format!("node {node} at {address}: {error}");
                report.error(
                    "peers",
                    found,
                    "start it, or see to the network, its address (`addresses` in the data folder) and its certificate",
                );
            }
        }
    }
    if let Some(answer) = answers.get(&own) {
        limits::open_files(answer.probe.open_files_max, "the running node", report);
    }
    judge(own, &answers, report);
}

async fn ask(credentials: &Credentials, node: NodeId, address: &str) -> Result<Answer, RpcError> {
    let book = AddressBook::new();
    book.set(node, address.to_owned());
    let unreachable = |error: &dyn std::fmt::Display| RpcError::Unreachable { node, reason: error.to_string() };
    let transport = TlsTransport::new(NodeId(0), credentials.identity(), book, Router::new());
    let transport = transport.map_err(|error| unreachable(&error))?;
    let call = || transport.call(node, Lane::Control, PROBE, Request::default(), DEADLINE);
    // The first makes the connection, which takes longer one way than the other.
    call().await?;
    let clock = SystemClock::default();
    let (before, start) = (clock.now(), clock.monotonic());
    let response = call().await?;
    let half = u64::try_from((clock.monotonic() - start).as_millis() / 2).unwrap_or(0);
    let probe: Probe = serde_json::from_slice(&response.body).map_err(|error| unreachable(&error))?;
    let ours = i64::try_from(before.as_millis() + half).unwrap_or(i64::MAX);
    let ahead_ms = i64::try_from(probe.now_ms).unwrap_or(i64::MAX) - ours;
    Ok(Answer { probe, ahead_ms })
}

fn judge(own: NodeId, answers: &BTreeMap<NodeId, Answer>, report: &mut Report) {
    let newest = answers.values().map(|answer| answer.probe.epoch).max().unwrap_or(0);
    for (node, Answer { probe, ahead_ms }) in answers {
        let name = if *node == own { "this node".to_owned() } else { format!("node {node}") };
        if probe.version == env!("CARGO_PKG_VERSION") {
            report.ok(
                "peers",
                format!("{name} answers, with version {} and layout epoch {}", probe.version, probe.epoch),
            );
        } else {
            let found = format!("{name} runs version {}, this program is {}", probe.version, env!("CARGO_PKG_VERSION"));
            report.warn("peers", found, "finish the upgrade");
        }
        if probe.epoch < newest {
            let found = format!("{name} is at layout epoch {}, another at {newest}", probe.epoch);
            report.warn("peers", found, "look again in some seconds; if it stays, see whether it reaches the others");
        }
        let found = format!("of {name}: {ahead_ms} ms ahead of this machine's");
        let remedy = "run a time service (chrony) on every node";
        match ahead_ms.unsigned_abs() {
            0..SKEW_MS_WARNED => report.ok("clock", found),
            SKEW_MS_WARNED..SKEW_MS_MAX => report.warn("clock", found, remedy),
            _ => report.error("clock", found, remedy),
        }
    }
}
