//! Each change that would part an old node from a new one is found.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use crate::Book;

const FORMAT: u8 = 1;

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![FORMAT]).unwrap()
}

fn decode<T: Deserialize<'static>>(bytes: &'static [u8]) -> Result<T, ()> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(drop),
        _ => Err(()),
    }
}

/// The versions of a message, each in a module so that its name is the same.
mod first {
    use super::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(super) struct Message {
        pub(super) at: u64,
        pub(super) until: u64,
        pub(super) kind: Kind,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) enum Kind {
        Put(String),
        Delete,
    }
}

macro_rules! version {
    ($module:ident, { $($fields:tt)* }, { $($variants:tt)* }) => {
        mod $module {
            use super::{Deserialize, Serialize};

            #[derive(Serialize, Deserialize)]
            pub(super) struct Message { $($fields)* }

            #[derive(Serialize, Deserialize)]
            pub(super) enum Kind { $($variants)* }
        }
    };
}

version!(variant_added, { at: u64, until: u64, kind: Kind }, { Put(String), Delete, Copy(u64) });
version!(field_added, { at: u64, until: u64, kind: Kind, why: u64 }, { Put(String), Delete });
version!(fields_swapped, { until: u64, at: u64, kind: Kind }, { Put(String), Delete });
version!(variant_inserted, { at: u64, until: u64, kind: Kind }, { Copy(u64), Put(String), Delete });
version!(variants_swapped, { at: u64, until: u64, kind: Kind }, { Delete, Put(String) });
version!(type_changed, { at: u32, until: u64, kind: Kind }, { Put(String), Delete });

/// Fills a crate's book by the first version, then adds another version; what is said against it.
fn against<T: Serialize + Deserialize<'static>>(add: bool) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("src")).unwrap();
    let name = folder.path().to_str().unwrap();
    let mut book = Book::open(name, FORMAT);
    book.add_as::<first::Message>("Message", encode, |bytes| decode(bytes).ok());
    book.finish(&[], true);
    let mut book = Book::open(name, FORMAT);
    book.add_as::<T>("Message", encode, |bytes| decode(bytes).ok());
    let faults = catch_unwind(AssertUnwindSafe(|| book.finish(&[], add))).err()?;
    faults.downcast_ref::<String>().cloned()
}

#[test]
fn the_same_version_has_nothing_against_it() {
    assert_eq!(against::<first::Message>(false), None);
    let fields = crate::samples::<first::Message>().into_iter().map(|sample| match sample.value {
        first::Message { at, until, kind: first::Kind::Put(text) } => format!("{at} {until} {text}"),
        first::Message { at, until, kind: first::Kind::Delete } => format!("{at} {until} deleted"),
    });
    assert_eq!(fields.collect::<Vec<_>>(), ["1 2 s3", "1 2 deleted"]);
}

#[test]
fn a_change_without_new_golden_bytes_is_found() {
    let text = against::<variant_added::Message>(false).unwrap();
    assert!(
        text.contains("not in golden/messages.txt: Message Message{at:u64,until:u64,kind:Kind::Copy(u64)}"),
        "{text}"
    );
    assert_eq!(against::<variant_added::Message>(true), None, "a variant at the end may be added");
}

#[test]
fn planted_changes_that_part_nodes_are_found_even_with_new_golden_bytes() {
    let faults = [
        ("a field added", against::<field_added::Message>(true), "is not read any more"),
        ("fields swapped", against::<fields_swapped::Message>(true), "the same bytes meant"),
        ("a variant inserted", against::<variant_inserted::Message>(true), "is not read any more"),
        ("variants swapped", against::<variants_swapped::Message>(true), "is not read any more"),
        ("a type changed", against::<type_changed::Message>(true), "the same bytes meant"),
    ];
    for (change, found, expected) in faults {
        assert!(found.as_ref().is_some_and(|text| text.contains(expected)), "{change}: {found:?}");
    }
}
