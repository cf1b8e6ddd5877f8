//! Messages and records that every later version must read.

use karri_tests_golden::{Book, add_all};

use super::record;
use crate::join::{CreateTokenRequest, Credentials, JoinReply, JoinRequest, Token};
use crate::wire;

fn encode_message<T: serde::Serialize>(message: &T) -> bytes::Bytes {
    wire::encode(message).expect("encodes")
}

#[test]
fn messages_and_records_are_as_they_were() {
    let mut book = Book::open(env!("CARGO_MANIFEST_DIR"), 1);
    add_all!(
        book,
        encode_message,
        wire::decode,
        [
            wire::WriteRun,
            wire::Seal,
            wire::Read,
            wire::ReadReply,
            wire::Ids,
            wire::List,
            wire::ListReply,
            wire::Summaries,
            wire::SummariesReply,
            wire::ReportBad,
            wire::Examine,
            wire::ExamineReply,
            wire::ScanAll,
            wire::ScanReply,
            wire::Nothing,
            wire::UsageReply,
            wire::Refusal,
        ]
    );
    add_all!(
        book,
        record::encode,
        record::decode,
        [
            record::NodeInfo,
            record::ClusterRecord,
            record::TokenRecord,
            record::Command,
            record::Reply,
            record::Query,
            record::ClusterState,
            Token,
            JoinRequest,
            CreateTokenRequest,
            JoinReply,
            Credentials,
        ]
    );
    // Shown to administrators.
    book.close(&["ReplicaReport", "NodeReport"]);
}
