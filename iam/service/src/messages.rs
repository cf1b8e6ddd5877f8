//! What nodes and the leader of the system range say to each other about IAM's rows.

use karri_ring_meta::MetaError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::LastUsed;

/// First byte of every record: a later version can tell old ones apart.
const FORMAT: u8 = 1;

/// Bytes that this version cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable {0}")]
pub struct Unreadable(pub(crate) &'static str);

impl From<Unreadable> for MetaError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable.0)
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![FORMAT]).expect("records do not fail to serialise")
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let unreadable = || Unreadable(std::any::type_name::<T>());
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|_| unreadable()),
        _ => Err(unreadable()),
    }
}

/// A row's key: `scope | 0 | kind | name`.
pub(crate) type RowKey = Vec<u8>;

/// What an account's rows and their version are filed under: its id. What is unique in the whole cloud (names of
/// accounts) has the empty scope.
pub(crate) type Scope = String;

/// The scope of what is unique in the whole cloud.
pub(crate) const CLOUD: &str = "";

/// A change of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    Commit(Commit),
    /// When keys were last used.
    Touch(Vec<(String, LastUsed)>),
}

/// A decision that was made on what its node knew: it holds if that was the newest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    /// Random; a commit that arrives again finds its own.
    pub(crate) operation: u128,
    /// The scopes that were read or are written, at the versions that were seen; 0: never written.
    pub(crate) scopes: Vec<(Scope, u64)>,
    pub(crate) writes: Vec<(RowKey, Option<Vec<u8>>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The change has this sequence number.
    Committed(u64),
    /// Another change came first: nothing happened.
    Conflict,
    Touched,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Query {
    /// What changed after this sequence number.
    Changes {
        since: u64,
    },
    /// All rows behind this key, in pages.
    Snapshot {
        after: RowKey,
    },
    LastUsed {
        keys: Vec<String>,
    },
}

/// Answer to [`Query::Changes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Changes {
    /// Rows that changed, as they are now; all changes up to `through` are among them, and there is nothing newer when
    /// that is `head`.
    Rows { rows: Vec<(RowKey, Option<Vec<u8>>)>, through: u64, head: u64 },
    /// It is not known any more: take a snapshot.
    Forgotten,
}

/// Answer to [`Query::Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) rows: Vec<(RowKey, Vec<u8>)>,
    /// The newest change at the time of this page.
    pub(crate) head: u64,
    pub(crate) more: bool,
}

/// Answer to [`Query::LastUsed`].
pub(crate) type LastUsedAnswer = Vec<Option<LastUsed>>;
