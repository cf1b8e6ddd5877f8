//! Evaluator 1: the cluster's nodes, join tokens and layout, in tables 2 to 9 of the system range.

use bytes::Bytes;
use karri_ring_meta::{EvaluateError, Evaluator, EvaluatorId, Key, Latches, MetaError, Table, View};
use karri_ring_placement::Layout;
use karri_ring_types::{DATA_SHARDS_MAX, Digest, NodeId, PARITY_SHARDS_MAX, Timestamp};
use serde::de::DeserializeOwned;

use super::record::{
    ClusterRecord, ClusterState, Command, NodeInfo, Query, Refusal, Reply, TokenRecord, decode, encode,
};

/// The cluster's evaluator.
pub const CLUSTER_EVALUATOR: EvaluatorId = EvaluatorId(1);

const CLUSTER: Table = Table(2);
const NODES: Table = Table(3);
const LAYOUTS: Table = Table(4);
const TOKENS: Table = Table(5);
const ATTEMPTS: Table = Table(6);
const CLUSTER_KEY: &[u8] = b"cluster";

/// Layouts that are kept: extents of older ones have long been moved.
const LAYOUTS_MAX: u64 = 8;
/// Most bytes of a zone's name or an address.
const NAME_BYTES_MAX: usize = 256;
/// Most copies.
const REPLICAS_MAX: u8 = 7;

/// Most schemes of a node with different numbers of holders.
const WIDTHS_MAX: usize = 16;

/// The rows that a decision reads and writes: a [`View`], or a map in tests.
pub(super) trait Rows {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, MetaError>;
    fn all(&mut self, table: Table) -> Result<Vec<(Key, Bytes)>, MetaError>;
    fn put(&mut self, table: Table, key: Key, value: Bytes);
    fn delete(&mut self, table: Table, key: Key);
}

impl Rows for View<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        View::get(self, table, key)
    }

    fn all(&mut self, table: Table) -> Result<Vec<(Key, Bytes)>, MetaError> {
        self.scan(table, &[], &[])?.collect()
    }

    fn put(&mut self, table: Table, key: Key, value: Bytes) {
        View::put(self, table, key, value);
    }

    fn delete(&mut self, table: Table, key: Key) {
        View::delete(self, table, key);
    }
}

/// Decides on the cluster's commands.
pub(super) struct ClusterEvaluator;

impl Evaluator for ClusterEvaluator {
    fn latches(&self, _: &[u8]) -> Latches {
        // Commands are rare and some rest on scans: one after the other.
        Latches { shared: Vec::new(), exclusive: vec![CLUSTER_KEY.to_vec()] }
    }

    fn evaluate(&self, view: &mut View<'_>, command: &[u8], now: Timestamp) -> Result<Vec<u8>, EvaluateError> {
        let command = decode(command).map_err(|error| EvaluateError::Malformed(error.to_string()))?;
        Ok(encode(&decide(view, command, now)?).to_vec())
    }

    fn query(&self, view: &mut View<'_>, query: &[u8]) -> Result<Vec<u8>, EvaluateError> {
        let Query { known_version } = decode(query).map_err(|error| EvaluateError::Malformed(error.to_string()))?;
        Ok(encode(&state(view, known_version)?).to_vec())
    }
}

/// The state, unless it is at `known_version` or there is none yet.
pub(super) fn state(rows: &mut impl Rows, known_version: u64) -> Result<Option<ClusterState>, EvaluateError> {
    let Some(record) = read::<ClusterRecord>(rows, CLUSTER, CLUSTER_KEY)? else { return Ok(None) };
    if record.version == known_version {
        return Ok(None);
    }
    let mut layouts: Vec<Layout> = read_all(rows, LAYOUTS)?;
    layouts.reverse();
    if layouts.is_empty() {
        layouts.push(Layout::empty(record.replicas));
    }
    Ok(Some(ClusterState { record, nodes: read_all(rows, NODES)?, layouts }))
}

/// Carries out one command. What it writes always includes the record with a new version.
pub(super) fn decide(rows: &mut impl Rows, command: Command, now: Timestamp) -> Result<Reply, EvaluateError> {
    let found = read::<ClusterRecord>(rows, CLUSTER, CLUSTER_KEY)?;
    let mut record = match (found, &command) {
        (Some(record), Command::Initialise { cluster, .. }) if record.cluster != *cluster => {
            return Ok(Reply::Refused(Refusal::OtherCluster));
        }
        (Some(_), Command::Initialise { .. }) => return Ok(Reply::Done),
        (Some(record), _) => record,
        (None, Command::Initialise { replicas, .. }) if *replicas == 0 || *replicas > REPLICAS_MAX => {
            return Ok(Reply::Refused(Refusal::Invalid));
        }
        (None, Command::Initialise { cluster, replicas }) => {
            ClusterRecord { cluster: *cluster, version: 0, next_node: NodeId(2), replicas: *replicas }
        }
        (None, _) => return Ok(Reply::Refused(Refusal::NotInitialised)),
    };
    let reply = match command {
        Command::Initialise { .. } => Reply::Done,
        Command::Register(info) => register(rows, &record, info, now)?,
        Command::CreateToken { token, secret_digest, expires, uses } => {
            put(rows, TOKENS, &token.to_be_bytes(), &TokenRecord { secret_digest, expires, uses_left: uses });
            Reply::Done
        }
        Command::Redeem { token, secret_digest, attempt } => {
            redeem(rows, &mut record, token, secret_digest, attempt, now)?
        }
        Command::InstallLayout(layout) => install(rows, layout)?,
        Command::SetReplicas(0) => Reply::Refused(Refusal::Invalid),
        Command::SetReplicas(replicas) if replicas > REPLICAS_MAX => Reply::Refused(Refusal::Invalid),
        Command::SetReplicas(replicas) => {
            record.replicas = replicas;
            Reply::Done
        }
    };
    if !matches!(reply, Reply::Refused(_)) {
        record.version += 1;
        put(rows, CLUSTER, CLUSTER_KEY, &record);
    }
    Ok(reply)
}

fn register(
    rows: &mut impl Rows,
    record: &ClusterRecord,
    mut info: NodeInfo,
    now: Timestamp,
) -> Result<Reply, EvaluateError> {
    let names = [&info.zone, &info.rpc_address, &info.s3_address];
    let width_max = DATA_SHARDS_MAX + PARITY_SHARDS_MAX;
    let widths_fit = info.widths.len() <= WIDTHS_MAX && info.widths.iter().all(|width| (1..=width_max).contains(width));
    if names.iter().any(|name| name.len() > NAME_BYTES_MAX) || !widths_fit {
        return Ok(Reply::Refused(Refusal::Invalid));
    }
    if info.id.0 == 0 || info.id >= record.next_node {
        return Ok(Reply::Refused(Refusal::UnknownNode));
    }
    let key = info.id.0.to_be_bytes();
    info.joined = read::<NodeInfo>(rows, NODES, &key)?.map_or(now, |before| before.joined);
    put(rows, NODES, &key, &info);
    Ok(Reply::Done)
}

fn redeem(
    rows: &mut impl Rows,
    record: &mut ClusterRecord,
    token: u128,
    secret_digest: Digest,
    attempt: u128,
    now: Timestamp,
) -> Result<Reply, EvaluateError> {
    let key = token.to_be_bytes();
    let Some(mut found) = read::<TokenRecord>(rows, TOKENS, &key)? else {
        return Ok(Reply::Refused(Refusal::Token));
    };
    if found.secret_digest != secret_digest {
        return Ok(Reply::Refused(Refusal::Token));
    }
    // The attempt is looked up after the secret, or it would be a way around it; and under its token's key.
    let attempt_key = [key, attempt.to_be_bytes()].concat();
    if let Some(node) = read::<NodeId>(rows, ATTEMPTS, &attempt_key)? {
        return Ok(Reply::Node(node));
    }
    if now >= found.expires || found.uses_left == Some(0) {
        return Ok(Reply::Refused(Refusal::Token));
    }
    found.uses_left = found.uses_left.map(|uses| uses - 1);
    let node = record.next_node;
    record.next_node = NodeId(node.0 + 1);
    put(rows, TOKENS, &key, &found);
    put(rows, ATTEMPTS, &attempt_key, &node);
    Ok(Reply::Node(node))
}

fn install(rows: &mut impl Rows, layout: Layout) -> Result<Reply, EvaluateError> {
    let kept: Vec<Layout> = read_all(rows, LAYOUTS)?;
    if let Some(current) = kept.last() {
        if *current == layout {
            return Ok(Reply::Done);
        }
        if current.epoch >= layout.epoch {
            return Ok(Reply::Refused(Refusal::LayoutMoved(current.epoch)));
        }
    }
    for old in kept.iter().filter(|old| old.epoch.0 + LAYOUTS_MAX <= layout.epoch.0) {
        rows.delete(LAYOUTS, old.epoch.0.to_be_bytes().to_vec());
    }
    put(rows, LAYOUTS, &layout.epoch.0.to_be_bytes(), &layout);
    Ok(Reply::Done)
}

fn read<T: DeserializeOwned>(rows: &mut impl Rows, table: Table, key: &[u8]) -> Result<Option<T>, EvaluateError> {
    let Some(value) = rows.get(table, key)? else { return Ok(None) };
    Ok(Some(decode(&value).map_err(|_| MetaError::Unreadable("membership row"))?))
}

fn read_all<T: DeserializeOwned>(rows: &mut impl Rows, table: Table) -> Result<Vec<T>, EvaluateError> {
    let unreadable = |_| EvaluateError::from(MetaError::Unreadable("membership row"));
    rows.all(table)?.iter().map(|(_, value)| decode(value).map_err(unreadable)).collect()
}

fn put<T: serde::Serialize>(rows: &mut impl Rows, table: Table, key: &[u8], value: &T) {
    rows.put(table, key.to_vec(), encode(value));
}

#[cfg(test)]
#[path = "evaluator_tests.rs"]
mod tests;
