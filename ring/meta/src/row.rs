//! How rows lie in the one column family of a node's store.
//!
//! `[space][table][key] -> [format][version, 8 bytes LE][value]`. The system range has a space of its own, so that
//! its keys never mix with those of the ranges that share the key space. Space 0 holds what a replica knows
//! about itself.

use bytes::Bytes;
use karri_ring_types::RangeId;
use serde::{Deserialize, Serialize};

use crate::codec::FORMAT;
use crate::{Key, MetaError, SYSTEM_RANGE, Table};

const SPACE_STATE: u8 = 0;
const SPACE_SYSTEM: u8 = 1;
const SPACE_DATA: u8 = 2;

/// Bytes before the value of a row.
const HEADER_BYTES: usize = 9;

/// What a replica keeps about itself, each in a row of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// Raft's blob: what is applied and who is a member.
    Blob = 0,
    /// Bounds and fence ([`crate::machine::RangeState`]).
    State = 1,
    /// An install of a snapshot that has been decided on but is not complete.
    Install = 2,
}

/// Physical key of a row in which range `range` keeps something about itself.
pub(crate) fn own_key(range: RangeId, what: Own) -> Vec<u8> {
    let mut key = Vec::with_capacity(10);
    key.push(SPACE_STATE);
    key.extend_from_slice(&range.0.to_be_bytes());
    key.push(what as u8);
    key
}

/// The range and kind of a key made by [`own_key`].
pub(crate) fn parse_own_key(key: &[u8]) -> Option<(RangeId, u8)> {
    let (&kind, rest) = key.strip_prefix(&[SPACE_STATE])?.split_last()?;
    Some((RangeId(u64::from_be_bytes(rest.try_into().ok()?)), kind))
}

/// First physical key of the rows in which replicas keep something about themselves.
pub(crate) const OWN_KEYS_START: &[u8] = &[SPACE_STATE];

/// The space of a range's rows.
pub(crate) fn space_of(range: RangeId) -> u8 {
    if range == SYSTEM_RANGE { SPACE_SYSTEM } else { SPACE_DATA }
}

/// `[space][table][key]`.
pub(crate) fn physical(space: u8, table: Table, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(2 + key.len());
    row.push(space);
    row.push(table.0);
    row.extend_from_slice(key);
    row
}

/// First physical key behind all keys of `table`.
pub(crate) fn table_end(space: u8, table: Table) -> Vec<u8> {
    match table.0.checked_add(1) {
        Some(next) => vec![space, next],
        None => vec![space + 1],
    }
}

/// Writes a row's stored value into `buffer`.
pub(crate) fn encode_value(buffer: &mut Vec<u8>, version: u64, value: &[u8]) {
    buffer.clear();
    buffer.push(FORMAT);
    buffer.extend_from_slice(&version.to_le_bytes());
    buffer.extend_from_slice(value);
}

/// Version and value of a stored row.
pub(crate) fn decode_value(stored: &[u8]) -> Result<(u64, &[u8]), MetaError> {
    match stored.split_first_chunk::<HEADER_BYTES>() {
        Some(([FORMAT, version @ ..], value)) => Ok((u64::from_le_bytes(*version), value)),
        _ => Err(MetaError::Unreadable("row")),
    }
}

/// A value as `Bytes`.
pub(crate) fn value_bytes(stored: &[u8]) -> Result<(u64, Bytes), MetaError> {
    decode_value(stored).map(|(version, value)| (version, Bytes::copy_from_slice(value)))
}

/// The keys `[start, end)` that a range owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    pub(crate) start: Key,
    pub(crate) end: Option<Key>,
}

impl Bounds {
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// Physical keys `[lower, upper)` of `table` from `start` to `end` (empty: no end), cut to these bounds.
    pub(crate) fn clamp(&self, space: u8, table: Table, start: &[u8], end: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let lower = physical(space, table, start.max(&self.start));
        let own_end = self.end.as_deref();
        let end = match (end.is_empty(), own_end) {
            (true, own_end) => own_end,
            (false, Some(own_end)) => Some(end.min(own_end)),
            (false, None) => Some(end),
        };
        let upper = end.map_or_else(|| table_end(space, table), |end| physical(space, table, end));
        (lower, upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_replicas_are_parsed_back() {
        let key = own_key(RangeId(77), Own::Install);
        assert_eq!(parse_own_key(&key), Some((RangeId(77), Own::Install as u8)));
        assert_eq!(parse_own_key(&physical(SPACE_DATA, Table(1), b"x")), None);
    }

    #[test]
    fn a_scan_stays_in_its_range() {
        let bounds = Bounds { start: b"d".to_vec(), end: Some(b"m".to_vec()) };
        assert_eq!(bounds.clamp(2, Table(9), b"", b""), (b"\x02\x09d".to_vec(), b"\x02\x09m".to_vec()));
        assert_eq!(bounds.clamp(2, Table(9), b"e", b"z"), (b"\x02\x09e".to_vec(), b"\x02\x09m".to_vec()));
        let open = Bounds::default();
        assert_eq!(open.clamp(2, Table(9), b"e", b""), (b"\x02\x09e".to_vec(), b"\x02\x0a".to_vec()));
        assert_eq!(open.clamp(2, Table(255), b"", b"").1, vec![3]);
    }
}
