//! Access control lists that every later version must read.

use karri_tests_golden::Book;

use super::{Acl, FORMAT};

#[test]
fn lists_are_as_they_were() {
    let mut book = Book::open(env!("CARGO_MANIFEST_DIR"), FORMAT);
    book.add::<Acl>(Acl::encode, Acl::decode);
    book.close(&[]);
}
