//! What the clients asked and were answered.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use karri_objstore_service::VersionRef;
use karri_tests_linearizability::{Done, Input, Operation, Output, Value};
use parking_lot::Mutex;

/// Bytes before the filling of a body: its value and its length.
pub(crate) const HEAD_BYTES: usize = 16;

/// Bodies up to this size are kept in rows.
const INLINE_BYTES_MAX: usize = 32 << 10;

/// A body that somebody tried to write.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) length: usize,
    /// Whether its upload in parts was asked to be completed; `None`: it was a PUT.
    pub(crate) completed: Option<bool>,
}

impl Body {
    /// Whether it is too large to be kept in a row.
    pub(crate) fn has_extents(&self) -> bool {
        self.length > INLINE_BYTES_MAX
    }
}

/// What the history has beside the operations on each key.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) keys: BTreeMap<String, Vec<Operation<Input, Output>>>,
    pub(crate) bodies: BTreeMap<Value, Body>,
    pub(crate) etags: BTreeMap<String, Value>,
    pub(crate) listings: Vec<Listing>,
    /// Those whose writes were acknowledged.
    pub(crate) versions: Vec<(Version, Value)>,
    /// Those whose deletion somebody asked for.
    pub(crate) deleting: HashSet<Version>,
    /// Those of which it was acknowledged.
    pub(crate) deleted: HashSet<Version>,
    pub(crate) violations: Vec<String>,
    pub(crate) answered: u64,
    pub(crate) unknown: u64,
    pub(crate) refused: u64,
    last_value: Value,
}

/// A version of a key, where they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Version {
    pub(crate) key: String,
    pub(crate) version: VersionRef,
}

/// A listing that was answered.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) bucket: &'static str,
    pub(crate) called: u64,
    pub(crate) done: u64,
    pub(crate) keys: Vec<(String, Option<Value>)>,
}

/// Shared by the clients.
pub(crate) type SharedHistory = Arc<Mutex<History>>;

impl History {
    /// A value that nobody has written.
    pub(crate) fn new_value(&mut self, length: usize, completed: Option<bool>) -> Value {
        self.last_value += 1;
        self.bodies.insert(self.last_value, Body { length, completed });
        self.last_value
    }

    /// Notes an operation; its place for [`History::done`].
    pub(crate) fn called(&mut self, client: u64, key: &str, input: Input, called: u64) -> usize {
        let operations = self.keys.entry(key.to_owned()).or_default();
        operations.push(Operation { client, input, called, done: None });
        operations.len() - 1
    }

    /// Notes an answer.
    pub(crate) fn done(&mut self, key: &str, place: usize, at: u64, output: Output) {
        self.answered += 1;
        if let Some(operation) = self.keys.get_mut(key).and_then(|operations| operations.get_mut(place)) {
            operation.done = Some(Done { at, output });
        }
    }

    /// An operation of which it is certain that it was not carried out changes nothing: it becomes a read without an
    /// answer.
    pub(crate) fn not_done(&mut self, key: &str, place: usize) {
        self.refused += 1;
        if let Some(operation) = self.keys.get_mut(key).and_then(|operations| operations.get_mut(place)) {
            operation.input = Input::Read;
        }
    }

    /// Notes which value has which entity tag; one tag is of one value.
    pub(crate) fn tag(&mut self, etag: &str, value: Value) {
        let known = *self.etags.entry(etag.to_owned()).or_insert(value);
        if known != value {
            self.violations.push(format!("I1: entity tag {etag} is of the values {known} and {value}"));
        }
    }
}

/// The bytes of a value.
pub(crate) fn body_of(value: Value, length: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes.extend_from_slice(&(length as u64).to_le_bytes());
    let block: Vec<u8> = blake3::hash(&value.to_le_bytes()).as_bytes().to_vec();
    while bytes.len() < length {
        let rest = length - bytes.len();
        bytes.extend_from_slice(&block[..rest.min(block.len())]);
    }
    bytes.into()
}

/// The value whose bytes these are, or what is wrong with them.
pub(crate) fn value_of(bytes: &[u8]) -> Result<Value, String> {
    let head = bytes.get(..HEAD_BYTES).ok_or_else(|| format!("a body of {} bytes", bytes.len()))?;
    let value = Value::from_le_bytes(head[..8].try_into().expect("8 bytes"));
    if body_of(value, bytes.len()) == bytes { Ok(value) } else { Err(format!("bytes of value {value} are damaged")) }
}
