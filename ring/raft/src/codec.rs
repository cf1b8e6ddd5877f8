//! Records on disk, which calls between nodes reuse. None depends on how openraft lays out its own types, so
//! that an upgrade of openraft does not change the format.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use openraft::EntryPayload;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{Entry, LeaderId, LogId, Membership, Payload, Proposal, StoredMembership, Vote, log_id};

/// Version of every record and message of this crate.
pub(crate) const FORMAT: u8 = 1;

/// Bytes of an entry's record before its payload: format, kind, term.
const ENTRY_HEAD_BYTES: usize = 10;

const KIND_BLANK: u8 = 0;
const KIND_NORMAL: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// Term and index of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdRecord {
    term: u64,
    index: u64,
}

impl From<LogId> for LogIdRecord {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> Self {
        log_id(record.term, record.index)
    }
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRecord {
    pub(crate) term: u64,
    pub(crate) voted_for: u64,
    pub(crate) committed: bool,
}

impl From<Vote> for VoteRecord {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, voted_for: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Self {
        Vote { leader_id: LeaderId { term: record.term, voted_for: record.voted_for }, committed: record.committed }
    }
}

/// Voters (two sets while they change) and all nodes that get the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeSet<u64>,
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        Self { configs: membership.get_joint_config().clone(), nodes: membership.nodes().map(|(id, _)| *id).collect() }
    }
}

impl From<MembershipRecord> for Membership {
    fn from(record: MembershipRecord) -> Self {
        if record.configs.is_empty() && record.nodes.is_empty() {
            return Membership::default();
        }
        Membership::new_with_defaults(record.configs, record.nodes)
    }
}

/// What raft keeps in the machine's blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AppliedState {
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct AppliedRecord {
    last: Option<LogIdRecord>,
    membership_at: Option<LogIdRecord>,
    membership: MembershipRecord,
}

impl AppliedState {
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(&AppliedRecord {
            last: self.last.map(Into::into),
            membership_at: (*self.membership.log_id()).map(Into::into),
            membership: self.membership.membership().into(),
        })
    }

    /// The state of a blob; an empty blob is the empty state.
    pub(crate) fn decode(blob: &[u8]) -> io::Result<Self> {
        if blob.is_empty() {
            return Ok(Self::default());
        }
        let record: AppliedRecord = decode(blob)?;
        Ok(Self {
            last: record.last.map(Into::into),
            membership: StoredMembership::new(record.membership_at.map(Into::into), record.membership.into()),
        })
    }
}

/// A record with its format byte.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![FORMAT]).expect("plain structs always encode")
}

/// The record behind a format byte.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|e| corrupt(&format!("raft record: {e}"))),
        Some((other, _)) => Err(corrupt(&format!("raft record of unknown format {other}"))),
        None => Err(corrupt("raft record is empty")),
    }
}

pub(crate) fn corrupt(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Kind and payload bytes of an entry; a proposal's bytes are shared, not copied.
pub(crate) fn entry_parts(entry: &Entry) -> (u8, Bytes) {
    match &entry.payload {
        EntryPayload::Blank => (KIND_BLANK, Bytes::new()),
        EntryPayload::Normal(proposal) => (KIND_NORMAL, proposal.0.clone()),
        EntryPayload::Membership(membership) => {
            (KIND_MEMBERSHIP, Bytes::from(encode(&MembershipRecord::from(membership))))
        }
    }
}

/// The entry of its parts.
pub(crate) fn entry_from_parts(id: LogId, kind: u8, payload: Bytes) -> io::Result<Entry> {
    let payload: Payload = match kind {
        KIND_BLANK => EntryPayload::Blank,
        KIND_NORMAL => EntryPayload::Normal(Proposal(payload)),
        KIND_MEMBERSHIP => EntryPayload::Membership(decode::<MembershipRecord>(&payload)?.into()),
        other => return Err(corrupt(&format!("raft entry of unknown kind {other}"))),
    };
    Ok(Entry { log_id: id, payload })
}

/// Writes an entry's record into `record`, which is emptied first.
pub(crate) fn encode_entry(entry: &Entry, record: &mut Vec<u8>) {
    let (kind, payload) = entry_parts(entry);
    record.clear();
    record.push(FORMAT);
    record.push(kind);
    record.extend_from_slice(&entry.log_id.leader_id.term.to_be_bytes());
    record.extend_from_slice(&payload);
}

/// The entry at `index` of its record; the payload is a slice of `record`.
pub(crate) fn decode_entry(index: u64, record: Bytes) -> io::Result<Entry> {
    if record.len() < ENTRY_HEAD_BYTES {
        return Err(corrupt("raft entry is too short"));
    }
    if record[0] != FORMAT {
        return Err(corrupt(&format!("raft entry of unknown format {}", record[0])));
    }
    let mut term = [0; 8];
    term.copy_from_slice(&record[2..ENTRY_HEAD_BYTES]);
    entry_from_parts(log_id(u64::from_be_bytes(term), index), record[1], record.slice(ENTRY_HEAD_BYTES..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        Membership::new_with_defaults(vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])], [1, 2, 3, 9])
    }

    #[test]
    fn entries_survive_their_records() {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal(Bytes::from_static(b"abc"))),
            EntryPayload::Membership(membership()),
        ];
        for payload in payloads {
            let entry = Entry { log_id: log_id(7, 42), payload };
            let mut record = b"left over".to_vec();
            encode_entry(&entry, &mut record);
            assert_eq!(decode_entry(42, Bytes::from(record)).unwrap(), entry);
        }
    }

    #[test]
    fn unknown_formats_are_refused() {
        let mut record = Vec::new();
        encode_entry(&Entry { log_id: log_id(1, 1), payload: EntryPayload::Blank }, &mut record);
        record[0] = FORMAT + 1;
        assert!(decode_entry(1, Bytes::from(record.clone())).is_err());
        record[0] = FORMAT;
        record[1] = 9;
        assert!(decode_entry(1, Bytes::from(record)).is_err());
        assert!(decode_entry(1, Bytes::from_static(b"short")).is_err());
        assert!(AppliedState::decode(&[FORMAT + 1, 0]).is_err());
    }

    #[test]
    fn the_applied_state_survives_its_blob() {
        let state = AppliedState {
            last: Some(log_id(3, 12)),
            membership: StoredMembership::new(Some(log_id(2, 5)), membership()),
        };
        assert_eq!(AppliedState::decode(&state.encode()).unwrap(), state);
        assert_eq!(AppliedState::decode(&AppliedState::default().encode()).unwrap(), AppliedState::default());
        assert_eq!(AppliedState::decode(&[]).unwrap(), AppliedState::default());
    }
}
