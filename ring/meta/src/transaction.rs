//! What goes into the log. It means the same to every version of Karri: no business logic.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::MetaError;
use crate::codec::{FORMAT, Raw, encode_onto};
use crate::row::Bounds;

/// Version of a row that is not there.
pub(crate) const ABSENT: u64 = 0;

/// The row `[table][key]` must still have this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check<'a> {
    #[serde(borrow)]
    pub(crate) row: Raw<'a>,
    pub(crate) version: u64,
}

/// The row `[table][key]` gets this value, or is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Write<'a> {
    #[serde(borrow)]
    pub(crate) row: Raw<'a>,
    pub(crate) value: Option<Raw<'a>>,
}

/// Writes that happen together, and only if all checks hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transaction<'a> {
    #[serde(borrow)]
    pub(crate) checks: Vec<Check<'a>>,
    #[serde(borrow)]
    pub(crate) writes: Vec<Write<'a>>,
}

impl Transaction<'_> {
    pub(crate) fn encode(&self) -> Bytes {
        let bytes = self.writes.iter().map(|w| w.row.0.len() + w.value.map_or(0, |v| v.0.len()) + 12).sum::<usize>()
            + self.checks.iter().map(|c| c.row.0.len() + 16).sum::<usize>();
        encode_onto(Vec::with_capacity(bytes + 8), self).into()
    }
}

/// Name of one leadership of one range, random, never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fence(pub(crate) u64);

/// Where a range lies and from which version its rows count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) bounds: Bounds,
    /// Added to the log index to make a row's version. A range that takes over rows from another starts
    /// above their versions, so that no version is ever given twice to one row.
    pub(crate) version_base: u64,
}

/// A log entry's head; the transactions of a batch follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EntryHead {
    /// First entry of a range; ignored when the range has been described already.
    Describe(Description),
    /// From here on only transactions evaluated under this fence count.
    Fence(Fence),
    /// Transactions evaluated under `fence`.
    Batch { fence: Fence, count: u32 },
}

/// How one transaction of an entry ended: one byte each in the entry's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Verdict {
    /// Its writes are applied.
    Applied = 1,
    /// A check did not hold; nothing was written.
    Conflict = 2,
    /// Another leadership began before the entry; nothing was written.
    Stale = 3,
    /// A write is outside the range; nothing was written.
    OutOfBounds = 4,
}

impl Verdict {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Applied, Self::Conflict, Self::Stale, Self::OutOfBounds].into_iter().find(|v| *v as u8 == byte)
    }
}

/// An entry of `head` and encoded transactions.
pub(crate) fn encode_entry(head: &EntryHead, transactions: &[Bytes]) -> Bytes {
    let bytes = transactions.iter().map(Bytes::len).sum::<usize>();
    let mut entry = Vec::with_capacity(bytes + 32);
    entry.push(FORMAT);
    let mut entry = encode_onto(entry, head);
    for transaction in transactions {
        entry.extend_from_slice(transaction);
    }
    entry.into()
}

/// The head of an entry and the bytes of its transactions.
pub(crate) fn decode_head(entry: &[u8]) -> Result<(EntryHead, &[u8]), MetaError> {
    match entry.split_first() {
        Some((&FORMAT, rest)) => postcard::take_from_bytes(rest).map_err(|_| MetaError::Unreadable("log entry")),
        _ => Err(MetaError::Unreadable("log entry")),
    }
}

/// The next transaction of a batch and what follows it.
pub(crate) fn decode_transaction(bytes: &[u8]) -> Result<(Transaction<'_>, &[u8]), MetaError> {
    postcard::take_from_bytes(bytes).map_err(|_| MetaError::Unreadable("transaction"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_decoded_as_they_were_made() {
        let first = Transaction {
            checks: vec![Check { row: Raw(b"\x10a"), version: 300 }],
            writes: vec![Write { row: Raw(b"\x10a"), value: Some(Raw(&[7; 300])) }],
        };
        let second = Transaction { checks: vec![], writes: vec![Write { row: Raw(b"\x11b"), value: None }] };
        let head = EntryHead::Batch { fence: Fence(u64::MAX), count: 2 };
        let entry = encode_entry(&head, &[first.encode(), second.encode()]);
        let (decoded, rest) = decode_head(&entry).unwrap();
        assert_eq!(decoded, head);
        let (decoded, rest) = decode_transaction(rest).unwrap();
        assert_eq!(decoded, first);
        let (decoded, rest) = decode_transaction(rest).unwrap();
        assert_eq!((decoded, rest.len()), (second, 0));
    }

    #[test]
    fn the_log_format_stays_readable() {
        // Golden bytes: a change here breaks rolling upgrades.
        let transaction = Transaction {
            checks: vec![Check { row: Raw(b"\x10k"), version: 5 }],
            writes: vec![Write { row: Raw(b"\x10k"), value: Some(Raw(b"v")) }],
        };
        let entry = encode_entry(&EntryHead::Batch { fence: Fence(1), count: 1 }, &[transaction.encode()]);
        assert_eq!(&entry[..], b"\x01\x02\x01\x01\x01\x02\x10k\x05\x01\x02\x10k\x01\x01v");
        let describe = Description { bounds: Bounds { start: b"a".to_vec(), end: None }, version_base: 0 };
        assert_eq!(&encode_entry(&EntryHead::Describe(describe), &[])[..], b"\x01\x00\x01a\x00\x00");
        assert_eq!(&encode_entry(&EntryHead::Fence(Fence(9)), &[])[..], b"\x01\x01\x09");
    }

    #[test]
    fn other_formats_are_refused() {
        assert!(decode_head(&[2, 0]).is_err());
        assert!(decode_head(&[]).is_err());
        assert!(decode_transaction(&[9]).is_err());
    }
}
