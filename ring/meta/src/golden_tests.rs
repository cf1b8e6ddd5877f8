//! Log entries, rows and messages that every later version must read.

use karri_tests_golden::{Book, add_all};

use crate::codec::{FORMAT, decode as decode_named, encode};
use crate::directory::{Command, Entry, Page, Query};
use crate::machine::RangeState;
use crate::message::{Answer, CallHead, Progress};
use crate::row::{decode_value, encode_value};
use crate::snapshot::Install;
use crate::transaction::{EntryHead, Transaction, decode_head, decode_transaction, encode_entry};

fn decode<T: serde::Deserialize<'static>>(bytes: &'static [u8]) -> Result<T, crate::MetaError> {
    decode_named(bytes, "golden bytes")
}

#[test]
fn entries_rows_and_messages_are_as_they_were() {
    let mut book = Book::open(env!("CARGO_MANIFEST_DIR"), FORMAT);
    add_all!(book, encode, decode, [CallHead, Answer, Progress, RangeState, Install, Entry, Command, Query, Page]);
    book.add::<EntryHead>(
        |head| encode_entry(head, &[]).to_vec(),
        |bytes| decode_head(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(head, _)| head),
    );
    book.add_value(
        "row",
        "version 258 with a value",
        &(258, b"value".to_vec()),
        |(version, value)| {
            let mut stored = Vec::new();
            encode_value(&mut stored, *version, value);
            stored
        },
        |bytes| decode_value(bytes).ok().map(|(version, value)| (version, value.to_vec())),
    );
    book.set_format(None);
    book.add::<Transaction<'static>>(
        |transaction| transaction.encode().to_vec(),
        |bytes| decode_transaction(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(read, _)| read),
    );
    // The first is part of messages of others, the second is shown to administrators.
    book.close(&["Table", "RangeStatus"]);
}
