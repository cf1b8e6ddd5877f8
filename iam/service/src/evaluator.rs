//! Evaluator 64: IAM's rows in tables 64 to 68 of the system range.
//!
//! What a change means was decided on the node that serves the request, on its view; here it is checked that nothing
//! relevant has changed since, and the change is numbered and logged, so that all nodes can follow.

use bytes::Bytes;
use karri_ring_meta::{EvaluateError, Evaluator, EvaluatorId, Key, Latches, MetaError, Table, View};
use karri_ring_types::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::messages::{Changes, Command, Commit, LastUsedAnswer, Page, Query, Reply, RowKey, decode, encode};
use crate::model::LastUsed;

/// IAM's evaluator.
pub const IAM_EVALUATOR: EvaluatorId = EvaluatorId(64);

/// Accounts and what is in them. `scope | 0 | kind | name`.
const ROWS: Table = Table(64);
/// The newest sequence number.
const HEAD: Table = Table(65);
/// Changed keys by sequence number.
const LOG: Table = Table(66);
/// Sequence numbers by operation, for commits that arrive again.
const OPERATIONS: Table = Table(67);
/// When access keys were last used.
const LAST_USED: Table = Table(68);
const HEAD_KEY: &[u8] = b"head";

/// Changes that the log keeps: a node that is further behind takes a snapshot.
pub(crate) const LOG_LENGTH_MAX: u64 = 4096;
/// Bytes of rows after which an answer ends.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Keys whose use one command may note.
pub(crate) const TOUCHED_MAX: usize = 1024;

/// The rows that a decision reads and writes: a [`View`], or a map in tests.
pub(crate) trait Rows {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, MetaError>;
    /// Rows from `start` on while `visit` says true.
    fn scan(&mut self, table: Table, start: &[u8], visit: &mut dyn FnMut(Key, Bytes) -> bool) -> Result<(), MetaError>;
    fn put(&mut self, table: Table, key: Key, value: Vec<u8>);
    fn delete(&mut self, table: Table, key: Key);
}

impl Rows for View<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        View::get(self, table, key)
    }

    fn scan(&mut self, table: Table, start: &[u8], visit: &mut dyn FnMut(Key, Bytes) -> bool) -> Result<(), MetaError> {
        for row in View::scan(self, table, start, &[])? {
            let (key, value) = row?;
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn put(&mut self, table: Table, key: Key, value: Vec<u8>) {
        View::put(self, table, key, value);
    }

    fn delete(&mut self, table: Table, key: Key) {
        View::delete(self, table, key);
    }
}

/// What the log keeps of a change.
#[derive(Serialize, Deserialize)]
pub(crate) struct LogRecord {
    operation: u128,
    keys: Vec<RowKey>,
}

/// Checks and numbers changes.
#[derive(Debug, Default)]
pub struct IamEvaluator;

impl Evaluator for IamEvaluator {
    fn latches(&self, command: &[u8]) -> Latches {
        // Changes are rare, and each takes the next number: one after the other.
        let name = match decode::<Command>(command) {
            Ok(Command::Touch(_)) => b"iam last used".to_vec(),
            _ => b"iam".to_vec(),
        };
        Latches { shared: Vec::new(), exclusive: vec![name] }
    }

    fn evaluate(&self, view: &mut View<'_>, command: &[u8], _: Timestamp) -> Result<Vec<u8>, EvaluateError> {
        let reply = match decoded(command)? {
            Command::Commit(commit) => self::commit(view, commit)?,
            Command::Touch(uses) => touch(view, uses)?,
        };
        Ok(encode(&reply))
    }

    fn query(&self, view: &mut View<'_>, query: &[u8]) -> Result<Vec<u8>, EvaluateError> {
        answer(view, decoded(query)?)
    }
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, EvaluateError> {
    decode(bytes).map_err(|error| EvaluateError::Malformed(error.to_string()))
}

/// Answers a query.
pub(crate) fn answer(rows: &mut impl Rows, query: Query) -> Result<Vec<u8>, EvaluateError> {
    Ok(match query {
        Query::Changes { since } => encode(&changes(rows, since)?),
        Query::Snapshot { after } => encode(&page(rows, after)?),
        Query::LastUsed { keys } => {
            let read = |key: &String| read::<LastUsed>(rows, LAST_USED, key.as_bytes());
            encode(&keys.iter().map(read).collect::<Result<LastUsedAnswer, _>>()?)
        }
    })
}

/// The key of a row that keeps the number of its scope's last change.
pub(crate) fn version_key(scope: &str) -> RowKey {
    [scope.as_bytes(), &[0, VERSION_KIND]].concat()
}

/// Kind of the rows of [`version_key`].
pub(crate) const VERSION_KIND: u8 = 0xff;

/// Carries out a change, if all of its scopes are as it says.
pub(crate) fn commit(rows: &mut impl Rows, commit: Commit) -> Result<Reply, EvaluateError> {
    let operation = commit.operation.to_be_bytes();
    if let Some(before) = read::<u64>(rows, OPERATIONS, &operation)? {
        return Ok(Reply::Committed(before));
    }
    for (scope, seen) in &commit.scopes {
        if read::<u64>(rows, ROWS, &version_key(scope))?.unwrap_or(0) != *seen {
            return Ok(Reply::Conflict);
        }
    }
    let sequence = read::<u64>(rows, HEAD, HEAD_KEY)?.unwrap_or(0) + 1;
    let mut keys = Vec::with_capacity(commit.writes.len() + commit.scopes.len());
    for (key, value) in commit.writes {
        match value {
            Some(value) => rows.put(ROWS, key.clone(), value),
            None => rows.delete(ROWS, key.clone()),
        }
        keys.push(key);
    }
    for (scope, _) in &commit.scopes {
        let key = version_key(scope);
        rows.put(ROWS, key.clone(), encode(&sequence));
        keys.push(key);
    }
    rows.put(HEAD, HEAD_KEY.to_vec(), encode(&sequence));
    let record = LogRecord { operation: commit.operation, keys };
    rows.put(LOG, sequence.to_be_bytes().to_vec(), encode(&record));
    rows.put(OPERATIONS, operation.to_vec(), encode(&sequence));
    if let Some(old) = sequence.checked_sub(LOG_LENGTH_MAX)
        && let Some(record) = read::<LogRecord>(rows, LOG, &old.to_be_bytes())?
    {
        rows.delete(LOG, old.to_be_bytes().to_vec());
        rows.delete(OPERATIONS, record.operation.to_be_bytes().to_vec());
    }
    Ok(Reply::Committed(sequence))
}

fn touch(rows: &mut impl Rows, uses: Vec<(String, LastUsed)>) -> Result<Reply, EvaluateError> {
    if uses.len() > TOUCHED_MAX {
        return Err(EvaluateError::Malformed("too many keys".to_owned()));
    }
    for (key, used) in uses {
        let before = read::<LastUsed>(rows, LAST_USED, key.as_bytes())?;
        if before.is_none_or(|before| before.at < used.at) {
            rows.put(LAST_USED, key.into_bytes(), encode(&used));
        }
    }
    Ok(Reply::Touched)
}

fn changes(rows: &mut impl Rows, since: u64) -> Result<Changes, EvaluateError> {
    let head = read::<u64>(rows, HEAD, HEAD_KEY)?.unwrap_or(0);
    if since > head {
        return Ok(Changes::Forgotten);
    }
    let mut keys = std::collections::BTreeSet::new();
    let (mut changed, mut bytes, mut through) = (Vec::new(), 0, since);
    while through < head && bytes < ANSWER_BYTES_MAX {
        let Some(record) = read::<LogRecord>(rows, LOG, &(through + 1).to_be_bytes())? else {
            return Ok(Changes::Forgotten);
        };
        through += 1;
        for key in record.keys {
            if keys.insert(key.clone()) {
                let value = rows.get(ROWS, &key)?.map(|value| value.to_vec());
                bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                changed.push((key, value));
            }
        }
    }
    Ok(Changes::Rows { rows: changed, through, head })
}

fn page(rows: &mut impl Rows, after: RowKey) -> Result<Page, EvaluateError> {
    let head = read::<u64>(rows, HEAD, HEAD_KEY)?.unwrap_or(0);
    let (mut found, mut bytes, mut more) = (Vec::new(), 0, false);
    rows.scan(ROWS, &after, &mut |key, value| {
        if key == after {
            return true;
        }
        more = bytes >= ANSWER_BYTES_MAX;
        if !more {
            bytes += key.len() + value.len();
            found.push((key, value.to_vec()));
        }
        !more
    })?;
    Ok(Page { rows: found, head, more })
}

fn read<T: DeserializeOwned>(rows: &mut impl Rows, table: Table, key: &[u8]) -> Result<Option<T>, EvaluateError> {
    let Some(value) = rows.get(table, key)? else { return Ok(None) };
    Ok(Some(decode(&value).map_err(MetaError::from)?))
}

#[cfg(test)]
#[path = "evaluator_tests.rs"]
mod tests;
