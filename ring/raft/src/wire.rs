//! Messages between the hosts. Heads are postcard behind a format byte; payloads of entries and chunks of
//! snapshots travel in bodies.

use std::io;

use bytes::{Bytes, BytesMut};
use karri_ring_rpc::Method;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::codec::{self, AppliedState, LogIdRecord, VoteRecord, corrupt};
use crate::types::{LogId, SnapshotMeta, TypeConfig, log_id};

pub(crate) const APPEND: Method = Method(1);
pub(crate) const VOTE: Method = Method(2);
pub(crate) const PRE_VOTE: Method = Method(3);
pub(crate) const TRANSFER: Method = Method(4);
pub(crate) const SNAPSHOT_BEGIN: Method = Method(5);
pub(crate) const SNAPSHOT_CHUNK: Method = Method(6);
pub(crate) const SNAPSHOT_FINISH: Method = Method(7);
/// Asks a host, not a group; the answer is a `bool`.
pub(crate) const ROOM: Method = Method(8);

/// Entries of one append call.
pub(crate) const APPEND_ENTRIES_MAX: u64 = 4096;
/// About the most bytes of entries of one append call; one larger entry goes alone.
pub(crate) const APPEND_BYTES_MAX: usize = 4 << 20;

#[derive(Serialize, Deserialize)]
struct EntryHead {
    term: u64,
    kind: u8,
    bytes: u32,
}

/// Entries follow `prev` without holes; their payloads follow one another in the body.
#[derive(Serialize, Deserialize)]
struct AppendHead {
    vote: VoteRecord,
    prev: Option<LogIdRecord>,
    commit: Option<LogIdRecord>,
    first_index: u64,
    entries: Vec<EntryHead>,
}

#[derive(Serialize, Deserialize)]
enum AppendReply {
    Success,
    Partial(Option<LogIdRecord>),
    Conflict,
    HigherVote(VoteRecord),
}

#[derive(Serialize, Deserialize)]
struct VoteHead {
    vote: VoteRecord,
    last: Option<LogIdRecord>,
    transfer: bool,
}

#[derive(Serialize, Deserialize)]
struct VoteReply {
    vote: VoteRecord,
    granted: bool,
    last: Option<LogIdRecord>,
}

#[derive(Serialize, Deserialize)]
struct TransferHead {
    from: VoteRecord,
    to: u64,
    last: Option<LogIdRecord>,
}

#[derive(Serialize, Deserialize)]
enum TransferReply {
    Ok,
    VoteChanged { expected: VoteRecord, actual: VoteRecord },
    LogNotFlushed { expected: Option<LogIdRecord>, actual: Option<LogIdRecord> },
}

/// Opens a snapshot's transfer.
#[derive(Serialize, Deserialize)]
pub(crate) struct SnapshotHead {
    pub(crate) vote: VoteRecord,
    pub(crate) transfer: u64,
    /// [`AppliedState`]: the last entry and the membership that the snapshot includes.
    applied: Vec<u8>,
}

/// Names a chunk, or with the number of all chunks the end.
#[derive(Serialize, Deserialize)]
pub(crate) struct ChunkHead {
    pub(crate) transfer: u64,
    pub(crate) number: u64,
}

/// The receiver's vote: higher than the sender's when the snapshot is refused.
#[derive(Serialize, Deserialize)]
pub(crate) struct SnapshotReply {
    pub(crate) vote: VoteRecord,
}

fn record(id: Option<LogId>) -> Option<LogIdRecord> {
    id.map(Into::into)
}

fn id(record: Option<LogIdRecord>) -> Option<LogId> {
    record.map(Into::into)
}

pub(crate) fn head<T: Serialize>(message: &T) -> Bytes {
    Bytes::from(codec::encode(message))
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(head: &[u8]) -> io::Result<T> {
    codec::decode(head)
}

impl SnapshotHead {
    pub(crate) fn new(vote: VoteRecord, transfer: u64, meta: &SnapshotMeta) -> Self {
        let state = AppliedState { last: meta.last_log_id, membership: meta.last_membership.clone() };
        Self { vote, transfer, applied: state.encode() }
    }

    pub(crate) fn meta(&self) -> io::Result<SnapshotMeta> {
        let state = AppliedState::decode(&self.applied)?;
        Ok(SnapshotMeta { last_log_id: state.last, last_membership: state.membership })
    }
}

/// Head and body of an append call. A single payload becomes the body as it is.
pub(crate) fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> (Bytes, Bytes) {
    let parts: Vec<(u8, Bytes)> = request.entries.iter().map(codec::entry_parts).collect();
    let entries = request.entries.iter().zip(&parts).map(|(entry, (kind, payload))| EntryHead {
        term: entry.log_id.leader_id.term,
        kind: *kind,
        bytes: u32::try_from(payload.len()).expect("entries are limited to a few MiB"),
    });
    let message = AppendHead {
        vote: request.vote.into(),
        prev: record(request.prev_log_id),
        commit: record(request.leader_commit),
        first_index: request.entries.first().map_or(0, |entry| entry.log_id.index),
        entries: entries.collect(),
    };
    let total: usize = parts.iter().map(|(_, payload)| payload.len()).sum();
    let body = match parts.iter().find(|(_, payload)| !payload.is_empty()) {
        Some((_, payload)) if payload.len() == total => payload.clone(),
        Some(_) => {
            let mut body = BytesMut::with_capacity(total);
            parts.iter().for_each(|(_, payload)| body.extend_from_slice(payload));
            body.freeze()
        }
        None => Bytes::new(),
    };
    (head(&message), body)
}

/// The append call of a head and a body, whose slices the payloads are.
pub(crate) fn decode_append(head: &[u8], mut body: Bytes) -> io::Result<AppendEntriesRequest<TypeConfig>> {
    let message: AppendHead = parse(head)?;
    let mut entries = Vec::with_capacity(message.entries.len());
    for (index, entry) in (message.first_index..).zip(message.entries) {
        let bytes = entry.bytes as usize;
        if bytes > body.len() {
            return Err(corrupt("raft append is cut short"));
        }
        entries.push(codec::entry_from_parts(log_id(entry.term, index), entry.kind, body.split_to(bytes))?);
    }
    Ok(AppendEntriesRequest {
        vote: message.vote.into(),
        prev_log_id: id(message.prev),
        entries,
        leader_commit: id(message.commit),
    })
}

pub(crate) fn encode_append_reply(reply: AppendEntriesResponse<TypeConfig>) -> Bytes {
    head(&match reply {
        AppendEntriesResponse::Success => AppendReply::Success,
        AppendEntriesResponse::PartialSuccess(last) => AppendReply::Partial(record(last)),
        AppendEntriesResponse::Conflict => AppendReply::Conflict,
        AppendEntriesResponse::HigherVote(vote) => AppendReply::HigherVote(vote.into()),
    })
}

pub(crate) fn decode_append_reply(head: &[u8]) -> io::Result<AppendEntriesResponse<TypeConfig>> {
    Ok(match parse(head)? {
        AppendReply::Success => AppendEntriesResponse::Success,
        AppendReply::Partial(last) => AppendEntriesResponse::PartialSuccess(id(last)),
        AppendReply::Conflict => AppendEntriesResponse::Conflict,
        AppendReply::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote.into()),
    })
}

pub(crate) fn encode_vote(request: &VoteRequest<TypeConfig>) -> Bytes {
    head(&VoteHead {
        vote: request.vote.into(),
        last: record(request.last_log_id),
        transfer: request.leadership_transfer,
    })
}

pub(crate) fn decode_vote(head: &[u8]) -> io::Result<VoteRequest<TypeConfig>> {
    let message: VoteHead = parse(head)?;
    let mut request = VoteRequest::new(message.vote.into(), id(message.last));
    request.leadership_transfer = message.transfer;
    Ok(request)
}

pub(crate) fn encode_vote_reply(reply: &VoteResponse<TypeConfig>) -> Bytes {
    head(&VoteReply { vote: reply.vote.into(), granted: reply.vote_granted, last: record(reply.last_log_id) })
}

pub(crate) fn decode_vote_reply(head: &[u8]) -> io::Result<VoteResponse<TypeConfig>> {
    let reply: VoteReply = parse(head)?;
    Ok(VoteResponse { vote: reply.vote.into(), vote_granted: reply.granted, last_log_id: id(reply.last) })
}

pub(crate) fn encode_transfer(request: &TransferLeaderRequest<TypeConfig>) -> Bytes {
    let last = request.last_log_id().copied();
    head(&TransferHead { from: (*request.from_leader()).into(), to: *request.to_node_id(), last: record(last) })
}

pub(crate) fn decode_transfer(head: &[u8]) -> io::Result<TransferLeaderRequest<TypeConfig>> {
    let message: TransferHead = parse(head)?;
    Ok(TransferLeaderRequest::new(message.from.into(), message.to, id(message.last)))
}

pub(crate) fn encode_transfer_reply(reply: TransferLeaderResponse<TypeConfig>) -> Bytes {
    head(&match reply {
        Ok(()) => TransferReply::Ok,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            TransferReply::VoteChanged { expected: expected.into(), actual: actual.into() }
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            TransferReply::LogNotFlushed { expected: record(expected), actual: record(actual) }
        }
    })
}

pub(crate) fn decode_transfer_reply(head: &[u8]) -> io::Result<TransferLeaderResponse<TypeConfig>> {
    Ok(match parse(head)? {
        TransferReply::Ok => Ok(()),
        TransferReply::VoteChanged { expected, actual } => {
            Err(TransferLeaderError::VoteChanged { expected: expected.into(), actual: actual.into() })
        }
        TransferReply::LogNotFlushed { expected, actual } => {
            Err(TransferLeaderError::LogNotFlushed { expected: id(expected), actual: id(actual) })
        }
    })
}

#[cfg(test)]
mod golden_tests;

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::*;
    use crate::types::{Entry, LeaderId, Membership, Proposal, Vote};

    fn request(
        payloads: Vec<EntryPayload<Proposal, u64, openraft::impls::EmptyNode>>,
    ) -> AppendEntriesRequest<TypeConfig> {
        AppendEntriesRequest {
            vote: Vote { leader_id: LeaderId { term: 4, voted_for: 2 }, committed: true },
            prev_log_id: Some(log_id(3, 9)),
            entries: (10..).zip(payloads).map(|(index, payload)| Entry { log_id: log_id(4, index), payload }).collect(),
            leader_commit: Some(log_id(3, 8)),
        }
    }

    fn normal(text: &'static str) -> EntryPayload<Proposal, u64, openraft::impls::EmptyNode> {
        EntryPayload::Normal(Proposal(Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn append_calls_survive_the_wire() {
        let membership = Membership::new_with_defaults(vec![[1, 2].into()], [1, 2, 3]);
        for payloads in [
            vec![],
            vec![normal("alone")],
            vec![EntryPayload::Blank, normal("one"), EntryPayload::Membership(membership), normal(""), normal("two")],
        ] {
            let sent = request(payloads);
            let (head, body) = encode_append(&sent);
            let got = decode_append(&head, body).unwrap();
            assert_eq!(
                (got.vote, got.prev_log_id, got.leader_commit),
                (sent.vote, sent.prev_log_id, sent.leader_commit)
            );
            assert_eq!(got.entries, sent.entries);
        }
    }

    #[test]
    fn a_single_payload_is_not_copied() {
        let sent = request(vec![EntryPayload::Blank, normal("alone")]);
        let (head, body) = encode_append(&sent);
        assert_eq!(body.as_ptr(), codec::entry_parts(&sent.entries[1]).1.as_ptr());
        let got = decode_append(&head, body.clone()).unwrap();
        assert_eq!(codec::entry_parts(&got.entries[1]).1.as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_short_body_is_refused() {
        let (head, body) = encode_append(&request(vec![normal("one"), normal("two")]));
        assert!(decode_append(&head, body.slice(..5)).is_err());
        assert!(decode_append(&[9, 9], body).is_err());
    }
}
