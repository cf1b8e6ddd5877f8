//! Golden bytes of messages, log entries and rows: what one version of Karri wrote, every later one must read.
//!
//! A [`Book`] is a file of lines, each the shape of a value and its bytes. A test of the crate that has the messages adds each
//! type; samples are made from its `Deserialize` ([`sample`]), one for each variant of each enum in it. A type whose
//! bytes or shape are not in the book fails the test, and so does a line of the book that cannot be read any more, or whose
//! bytes mean something else now.
//!
//! After a change that keeps to what `docs/reliability.md` says of it, `KARRI_GOLDEN=add` adds the new lines; old ones stay.
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! #[derive(Serialize, Deserialize)]
//! struct Seal { extent: u64, chunks: Vec<u32> }
//! let sample = &karri_tests_golden::samples::<Seal>()[0];
//! assert_eq!(sample.shape, "Seal{extent:u64,chunks:[u32]}");
//! ```

mod book;
mod sample;
mod source;
#[cfg(test)]
mod tests;

pub use book::Book;
pub use sample::{Sample, samples};

/// Adds types to a book, by generic functions that encode and decode.
#[macro_export]
macro_rules! add_all {
    ($book:expr, $encode:path, $decode:path, [$($message:ty),+ $(,)?]) => {
        $( $book.add::<$message>(|value| $encode(value).to_vec(), |bytes| $decode(bytes).ok()); )+
    };
}
