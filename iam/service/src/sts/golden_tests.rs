//! Rows and messages that every later version must read.

use karri_tests_golden::{Book, add_all};

use super::session::Content;
use crate::evaluator::LogRecord;
use crate::kms_model::{KmsAlias, KmsGrant, KmsKey, KmsMaterial};
use crate::messages::{Changes, Command, LastUsedAnswer, Page, Query, Reply, decode, encode};
use crate::model::{
    AccountRecord, Group, InstanceProfile, LastUsed, ManagedPolicy, MfaDevice, OidcProvider, Role, ServerCertificate,
    User,
};

#[test]
fn rows_and_messages_are_as_they_were() {
    let mut book = Book::open(env!("CARGO_MANIFEST_DIR"), 1);
    add_all!(book, encode, decode, [Command, Reply, Query, Changes, Page, LastUsedAnswer, LogRecord, u64]);
    add_all!(
        book,
        encode,
        decode,
        [
            AccountRecord,
            User,
            Group,
            Role,
            ManagedPolicy,
            InstanceProfile,
            ServerCertificate,
            OidcProvider,
            MfaDevice,
            LastUsed,
            KmsKey,
            KmsMaterial,
            KmsGrant,
            KmsAlias,
        ]
    );
    // The form of a token stands before what is sealed.
    book.set_format(None);
    book.add::<Content>(
        |content| postcard::to_stdvec(content).expect("encodes"),
        |bytes| postcard::from_bytes(bytes).ok(),
    );
    // Documents of identity providers, which are JSON.
    book.close(&["Header", "KeyDocument", "Discovery"]);
}
