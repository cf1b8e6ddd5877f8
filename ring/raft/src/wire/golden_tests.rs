//! Messages and log records that every later version must read.

use bytes::Bytes;
use karri_tests_golden::{Book, add_all};
use openraft::EntryPayload;

use super::{
    AppendHead, AppendReply, ChunkHead, SnapshotHead, SnapshotReply, TransferHead, TransferReply, VoteHead, VoteReply,
};
use crate::codec::{self, AppliedRecord, LogIdRecord, MembershipRecord, VoteRecord};
use crate::types::{Entry, Membership, Payload, Proposal, log_id};

const INDEX: u64 = 42;

#[test]
fn messages_and_records_are_as_they_were() {
    let mut book = Book::open(env!("CARGO_MANIFEST_DIR"), codec::FORMAT);
    add_all!(
        book,
        codec::encode,
        codec::decode,
        [
            AppendHead,
            AppendReply,
            VoteHead,
            VoteReply,
            TransferHead,
            TransferReply,
            SnapshotHead,
            ChunkHead,
            SnapshotReply,
            LogIdRecord,
            VoteRecord,
            MembershipRecord,
            AppliedRecord,
        ]
    );
    let membership = Membership::new_with_defaults(vec![[1, 2].into(), [2, 3].into()], [1, 2, 3, 9]);
    let payloads: [(&str, Payload); 3] = [
        ("blank", EntryPayload::Blank),
        ("with a proposal", EntryPayload::Normal(Proposal(Bytes::from_static(b"proposal")))),
        ("with a membership", EntryPayload::Membership(membership)),
    ];
    for (shape, payload) in payloads {
        let entry = Entry { log_id: log_id(7, INDEX), payload };
        let encode = |entry: &Entry| {
            let mut record = Vec::new();
            codec::encode_entry(entry, &mut record);
            record
        };
        book.add_value("entry", shape, &entry, encode, |bytes| codec::decode_entry(INDEX, Bytes::from(bytes)).ok());
    }
    // Payloads travel as they are; the last is shown to administrators.
    book.close(&["Proposal", "Reply", "GroupStatus"]);
}
