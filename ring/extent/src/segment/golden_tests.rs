//! Rows and segments that every later version must read.

use karri_tests_golden::Book;

use super::record::{Description, Place};
use crate::records::Row;

#[test]
fn rows_and_descriptions_are_as_they_were() {
    let mut book = Book::open(env!("CARGO_MANIFEST_DIR"), 1);
    book.add::<Row>(|row| row.encode().expect("encodes"), |bytes| Row::decode(bytes).ok());
    book.set_format(None);
    book.add::<Description>(|description| description.encode().expect("encodes"), Description::decode);
    book.add::<Place>(|place| place.encode().expect("encodes"), |bytes| Place::decode(bytes).ok());
    // Told by the store, and never sent as it is.
    book.close(&["OpenExtent"]);
}
