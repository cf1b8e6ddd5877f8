//! Bytes that are replicated, sent or stored: a format byte, then postcard.

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::MetaError;

/// Version of every record and message of this crate.
pub(crate) const FORMAT: u8 = 1;

/// Borrowed bytes that are encoded and decoded at once instead of byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Raw<'de>, E> {
        Ok(Raw(bytes))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(RawVisitor)
    }
}

/// Encodes `value` behind the format byte.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_onto(vec![FORMAT], value)
}

/// Encodes `value` behind what is in `onto`.
pub(crate) fn encode_onto<T: Serialize>(onto: Vec<u8>, value: &T) -> Vec<u8> {
    // Only types whose encoding cannot fail (no maps of unknown length) are passed in.
    postcard::to_extend(value, onto).expect("plain structs encode")
}

/// Decodes what [`encode`] made; `what` names it in the error.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &'static str) -> Result<T, MetaError> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|_| MetaError::Unreadable(what)),
        _ => Err(MetaError::Unreadable(what)),
    }
}
