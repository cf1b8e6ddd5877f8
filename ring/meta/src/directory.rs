//! The directory of ranges: table 1 of the system range, one row per range under its first key.

use std::collections::BTreeMap;

use bytes::Bytes;
use karri_ring_types::{NodeId, RangeId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::codec::{decode, encode};
use crate::row::Bounds;
use crate::{EvaluateError, Evaluator, EvaluatorId, Key, Latches, Table, View};

/// The directory's evaluator.
pub(crate) const DIRECTORY: EvaluatorId = EvaluatorId(0);
const TABLE: Table = Table(1);
/// Ranges in one answer.
const PAGE: usize = 1000;

/// A range as the directory knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: RangeId,
    pub(crate) bounds: Bounds,
    /// Where replicas were when it was written: a hint.
    pub(crate) voters: Vec<NodeId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Writes these ranges unless there is a directory already.
    Begin(Vec<Entry>),
    /// Writes where a range is now; ignored when no such range begins at `start`.
    SetVoters { start: Key, id: RangeId, voters: Vec<NodeId> },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Query {
    /// Ranges from the first that begins at or after `start`, up to a page.
    List { start: Key },
}

/// Answer to [`Query::List`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    pub(crate) more: bool,
}

pub(crate) fn encode_command(command: &Command) -> Bytes {
    encode(command).into()
}

pub(crate) fn encode_query(query: &Query) -> Bytes {
    encode(query).into()
}

/// Keeps the directory.
pub(crate) struct Directory;

impl Evaluator for Directory {
    fn latches(&self, _command: &[u8]) -> Latches {
        Latches { shared: Vec::new(), exclusive: vec![b"directory".to_vec()] }
    }

    fn evaluate(&self, view: &mut View<'_>, command: &[u8], _now: Timestamp) -> Result<Vec<u8>, EvaluateError> {
        match decode::<Command>(command, "directory command")? {
            Command::Begin(entries) => {
                if view.scan(TABLE, b"", b"")?.next().transpose()?.is_none() {
                    for entry in entries {
                        view.put(TABLE, entry.bounds.start.clone(), encode(&entry));
                    }
                }
            }
            Command::SetVoters { start, id, voters } => {
                if let Some(stored) = view.get(TABLE, &start)? {
                    let mut entry: Entry = decode(&stored, "directory entry")?;
                    if entry.id == id && entry.voters != voters {
                        entry.voters = voters;
                        view.put(TABLE, start, encode(&entry));
                    }
                }
            }
        }
        Ok(Vec::new())
    }

    fn query(&self, view: &mut View<'_>, query: &[u8]) -> Result<Vec<u8>, EvaluateError> {
        let Query::List { start } = decode(query, "directory query")?;
        let mut entries = Vec::new();
        for row in view.scan(TABLE, &start, b"")? {
            if entries.len() == PAGE {
                return Ok(encode(&Page { entries, more: true }));
            }
            entries.push(decode(&row?.1, "directory entry")?);
        }
        Ok(encode(&Page { entries, more: false }))
    }
}

/// A client's copy of the directory.
#[derive(Debug, Default)]
pub(crate) struct Cached {
    by_start: BTreeMap<Key, Entry>,
}

impl Cached {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        Self { by_start: entries.into_iter().map(|entry| (entry.bounds.start.clone(), entry)).collect() }
    }

    /// The range that owns `key`, as far as this copy knows.
    pub(crate) fn find(&self, key: &[u8]) -> Option<&Entry> {
        let range = (std::ops::Bound::Unbounded, std::ops::Bound::Included(key));
        let (_, entry) = self.by_start.range::<[u8], _>(range).next_back()?;
        entry.bounds.contains(key).then_some(entry)
    }
}

/// Bounds of `count` ranges that cut the keys evenly by their first two bytes.
pub(crate) fn even_bounds(count: u16) -> Vec<Bounds> {
    let cut = |at: u16| -> Key {
        let place = u32::from(at) * (1 << 16) / u32::from(count.max(1));
        let mut key = place.to_be_bytes()[2..].to_vec();
        while key.last() == Some(&0) {
            key.pop();
        }
        key
    };
    (0..count).map(|at| Bounds { start: cut(at), end: (at + 1 < count).then(|| cut(at + 1)) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_bounds_cover_every_key_once() {
        for count in [1, 2, 3, 16, 255, 1000] {
            let all = even_bounds(count);
            assert_eq!(all.len(), usize::from(count));
            assert_eq!((all[0].start.as_slice(), &all[all.len() - 1].end), (&b""[..], &None));
            assert!(all.windows(2).all(|two| two[0].end.as_ref() == Some(&two[1].start)));
            assert!(all.windows(2).all(|two| two[0].start < two[1].start));
        }
        assert_eq!(even_bounds(16)[1].start, [0x10]);
    }

    #[test]
    fn the_copy_finds_the_range_of_a_key() {
        let entries = even_bounds(3).into_iter().zip(1..);
        let entries = entries.map(|(bounds, id)| Entry { id: RangeId(id), bounds, voters: vec![] }).collect();
        let cached = Cached::new(entries);
        assert_eq!(cached.find(b"").map(|e| e.id), Some(RangeId(1)));
        assert_eq!(cached.find(&[0x55, 0x54, 0xff]).map(|e| e.id), Some(RangeId(1)));
        assert_eq!(cached.find(&[0x55, 0x55]).map(|e| e.id), Some(RangeId(2)));
        assert_eq!(cached.find(&[0xff; 20]).map(|e| e.id), Some(RangeId(3)));
        assert_eq!(Cached::default().find(b"x").map(|e| e.id), None);
    }
}
