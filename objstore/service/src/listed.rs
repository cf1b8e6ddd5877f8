//! Pages of listings between the leader of a range and whoever prints them.
//!
//! The bytes are those of an encoded [`Answer`] of a [`ListedPage`], as every version writes and reads them. For lines of
//! objects, of which a page has a thousand, neither side makes values of them: the leader writes rows out of the store
//! behind each other, and the asker reads what it prints where it lies.

use bytes::Bytes;
use karri_ring_types::Timestamp;
use serde::Serialize;

use crate::api::STORAGE_CLASS_DEFAULT;
use crate::messages::{Answer, Line, ListedPage};
use crate::records::{FORMAT, Unreadable, decode};
use crate::{ChecksumAlgorithm, ChecksumType, ListEntry, ListPage, Owner, ServiceError};

/// Bytes of a line that are made room for; a key of 40 bytes with its row has as many.
const LINE_BYTES_TYPICAL: usize = 112;
/// Lines that are made room for at most.
const LINES_TYPICAL_MAX: usize = 1024;
/// Bytes of a count that is written before it is known: a number of 28 bits, its groups of seven bits not cut short.
const COUNT_BYTES: usize = 4;
/// Most lines of a page.
pub(crate) const LINES_MAX: usize = (1 << (7 * COUNT_BYTES)) - 1;

/// Variants of [`Line`], `Ok` of an answer, and `Some`, as they are encoded.
const OBJECT: u64 = 0;
const PREFIX: u64 = 3;
const OK: u8 = 0;
const SOME: u8 = 1;

/// Writes an [`Answer`] of a [`ListedPage`], line by line.
pub(crate) struct PageWriter {
    bytes: Vec<u8>,
    lines: usize,
}

impl PageWriter {
    /// A page of probably this many lines.
    pub(crate) fn new(lines: usize) -> Self {
        let mut bytes = Vec::with_capacity(64 + lines.min(LINES_TYPICAL_MAX) * LINE_BYTES_TYPICAL);
        bytes.extend_from_slice(&[FORMAT, OK]);
        bytes.extend_from_slice(&[0; COUNT_BYTES]);
        Self { bytes, lines: 0 }
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// A [`Line::Object`].
    pub(crate) fn object(&mut self, key: &[u8], row: &[u8]) {
        self.number(OBJECT);
        self.slice(key);
        self.slice(row);
        self.lines += 1;
    }

    /// A [`Line::Prefix`].
    pub(crate) fn prefix(&mut self, prefix: &str) {
        self.number(PREFIX);
        self.slice(prefix.as_bytes());
        self.lines += 1;
    }

    pub(crate) fn line(&mut self, line: &Line) {
        self.value(line);
        self.lines += 1;
    }

    /// The page, and where it goes on.
    pub(crate) fn finish(mut self, resume: Option<&Vec<u8>>) -> Vec<u8> {
        self.value(&resume);
        for group in 0..COUNT_BYTES {
            let more = if group + 1 < COUNT_BYTES { 0x80 } else { 0 };
            self.bytes[2 + group] = (self.lines >> (7 * group)) as u8 & 0x7f | more;
        }
        self.bytes
    }

    fn value<T: Serialize>(&mut self, value: &T) {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(value, bytes).expect("messages have no maps and do not fail to serialise");
    }

    fn slice(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

/// Reads what postcard wrote, without copying it.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for group in 0..10 {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << (7 * group);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn skip_number(&mut self) -> Option<()> {
        while self.byte()? & 0x80 != 0 {}
        Some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn slice(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.slice()?).ok()
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            SOME => Some(Some(read(self)?)),
            _ => None,
        }
    }
}

/// Where a line begins.
#[derive(Clone, Copy, Debug)]
struct Place {
    answer: usize,
    at: usize,
}

/// A page of a listing of objects as the ranges answered it.
#[derive(Clone, Debug, Default)]
pub struct ListedObjects {
    answers: Vec<Bytes>,
    objects: Vec<Place>,
    prefixes: Vec<Place>,
    /// Whether the last line is a common prefix.
    ends_with_prefix: bool,
    /// The last key or common prefix of this page, for [`crate::ListRequest::after`]; `None`: there is no more.
    pub next: Option<String>,
}

impl ListedObjects {
    /// Takes in what a range answered, and returns where it goes on.
    pub(crate) fn add(&mut self, bytes: Bytes) -> Result<Option<Vec<u8>>, ServiceError> {
        if bytes.get(1) != Some(&OK) {
            // A refusal, or nothing that can be read.
            let page: Answer<ListedPage> = decode(&bytes)?;
            return Ok(page?.resume);
        }
        let answer = self.answers.len();
        let resume = self.places(answer, &bytes).ok_or_else(unreadable)?;
        self.answers.push(bytes);
        Ok(resume)
    }

    fn places(&mut self, answer: usize, bytes: &[u8]) -> Option<Option<Vec<u8>>> {
        let mut reader = Reader(bytes);
        if reader.byte()? != FORMAT || reader.byte()? != OK {
            return None;
        }
        let count = reader.number()?;
        for _ in 0..count {
            let at = bytes.len() - reader.0.len();
            let place = Place { answer, at };
            self.ends_with_prefix = match reader.number()? {
                OBJECT => {
                    reader.slice()?;
                    self.objects.push(place);
                    false
                }
                PREFIX => {
                    self.prefixes.push(place);
                    true
                }
                _ => return None,
            };
            reader.slice()?;
        }
        reader.optional(|reader| reader.slice().map(<[u8]>::to_vec))
    }

    /// The last line, if it is a common prefix.
    pub(crate) fn told(&self) -> Option<String> {
        let last = self.prefixes.last().filter(|_| self.ends_with_prefix)?;
        self.prefix(*last).map(str::to_owned)
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }

    /// Drops lines at the end until there are `limit`.
    pub(crate) fn truncate(&mut self, limit: usize) {
        let ordinal = |place: &Place| (place.answer, place.at);
        while self.len() > limit {
            match self.ends_with_prefix {
                true => self.prefixes.pop(),
                false => self.objects.pop(),
            };
            self.ends_with_prefix = self.prefixes.last().map(ordinal) > self.objects.last().map(ordinal);
        }
    }

    /// The last line's key or common prefix.
    pub(crate) fn last(&self) -> Option<String> {
        match self.told() {
            Some(prefix) => Some(prefix),
            None => self.line(*self.objects.last()?).map(|(key, _)| key.to_owned()),
        }
    }

    fn reader(&self, place: Place) -> Option<Reader<'_>> {
        let mut reader = Reader(self.answers.get(place.answer)?.get(place.at..)?);
        reader.number()?;
        Some(reader)
    }

    fn line(&self, place: Place) -> Option<(&str, &[u8])> {
        let mut reader = self.reader(place)?;
        Some((reader.text()?, reader.slice()?))
    }

    fn prefix(&self, place: Place) -> Option<&str> {
        self.reader(place)?.text()
    }

    /// The objects, ascending.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = Result<ListedObject<'_>, ServiceError>> {
        self.objects.iter().map(|place| {
            let (key, row) = self.line(*place).ok_or_else(unreadable)?;
            ListedObject::read(key, row).ok_or_else(unreadable)
        })
    }

    /// The common prefixes, ascending.
    pub fn common_prefixes(&self) -> impl ExactSizeIterator<Item = Result<&str, ServiceError>> {
        self.prefixes.iter().map(|place| self.prefix(*place).ok_or_else(unreadable))
    }

    /// Bytes of all lines, about.
    pub fn bytes(&self) -> usize {
        self.answers.iter().map(Bytes::len).sum()
    }

    /// The page as values of its own.
    pub(crate) fn into_page(self) -> Result<ListPage, ServiceError> {
        Ok(ListPage {
            entries: self.objects().map(|object| object.map(ListEntry::from)).collect::<Result<_, _>>()?,
            common_prefixes: self
                .common_prefixes()
                .map(|prefix| prefix.map(str::to_owned))
                .collect::<Result<_, _>>()?,
            next: self.next,
        })
    }
}

fn unreadable() -> ServiceError {
    Unreadable("a page of a listing").into()
}

/// An object in a listing, where its range's answer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedObject<'a> {
    /// Key.
    pub key: &'a str,
    /// Bytes.
    pub size: u64,
    /// Entity tag.
    pub etag: EtagText,
    /// When it was written.
    pub last_modified: Timestamp,
    /// Storage class.
    pub storage_class: &'a str,
    /// Algorithm of its checksum, and what that is over.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// Who wrote it, when that is not the bucket's owner.
    pub owner: Option<ListedOwner<'a>>,
}

/// An [`Owner`] in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOwner<'a> {
    /// The account, which decides whether an object is one's own.
    pub account_id: &'a str,
    /// Canonical id, as printed.
    pub user_id: &'a str,
    /// Name, as printed.
    pub display_name: &'a str,
}

impl<'a> ListedObject<'a> {
    /// Reads a [`crate::records::CurrentRecord`]; what a later version wrote behind it is left alone.
    fn read(key: &'a str, row: &'a [u8]) -> Option<Self> {
        let mut row = Reader(row);
        if row.byte()? != FORMAT {
            return None;
        }
        // The version, which is not printed.
        row.skip_number()?;
        let size = row.number()?;
        let etag = match row.number()? {
            0 => EtagText::new(row.take(16)?.try_into().ok()?, None),
            1 => EtagText::new(row.take(16)?.try_into().ok()?, Some(u16::try_from(row.number()?).ok()?)),
            _ => return None,
        };
        let last_modified = Timestamp(row.number()?);
        let storage_class = row.optional(Reader::text)?.unwrap_or(STORAGE_CLASS_DEFAULT);
        let checksum = row.optional(|row| Some((algorithm(row.number()?)?, kind(row.number()?)?)))?;
        let _null = row.byte()?;
        let owner = row.optional(|row| {
            Some(ListedOwner { account_id: row.text()?, user_id: row.text()?, display_name: row.text()? })
        })?;
        Some(Self { key, size, etag, last_modified, storage_class, checksum, owner })
    }
}

/// By the order in which they are declared.
fn algorithm(number: u64) -> Option<ChecksumAlgorithm> {
    use ChecksumAlgorithm::{Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
    [Crc32, Crc32c, Crc64Nvme, Sha1, Sha256].get(usize::try_from(number).ok()?).copied()
}

fn kind(number: u64) -> Option<ChecksumType> {
    [ChecksumType::Composite, ChecksumType::FullObject].get(usize::try_from(number).ok()?).copied()
}

impl From<ListedObject<'_>> for ListEntry {
    fn from(object: ListedObject<'_>) -> Self {
        Self {
            key: object.key.to_owned(),
            size: object.size,
            etag: object.etag.as_str().to_owned(),
            last_modified: object.last_modified,
            storage_class: object.storage_class.to_owned(),
            checksum_algorithm: object.checksum.map(|(algorithm, _)| algorithm),
            checksum_type: object.checksum.map(|(_, kind)| kind),
            owner: object.owner.map(Owner::from),
        }
    }
}

impl From<ListedOwner<'_>> for Owner {
    fn from(owner: ListedOwner<'_>) -> Self {
        Self {
            account_id: owner.account_id.to_owned(),
            user_id: owner.user_id.to_owned(),
            display_name: owner.display_name.to_owned(),
        }
    }
}

/// An entity tag as it is printed, without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtagText {
    text: [u8; Self::LENGTH_MAX],
    length: u8,
}

impl EtagText {
    /// An MD5 and `-65535`.
    const LENGTH_MAX: usize = 38;

    /// Of an MD5, and of how many parts that is.
    pub(crate) fn new(md5: &[u8; 16], parts: Option<u16>) -> Self {
        let mut text = [0; Self::LENGTH_MAX];
        hex::encode_to_slice(md5, &mut text[..32]).expect("two digits for each byte");
        let mut length = 32;
        if let Some(parts) = parts {
            text[length] = b'-';
            length += 1;
            for place in (0..5).rev().map(|power| 10_u16.pow(power)) {
                if parts >= place || place == 1 {
                    text[length] = b'0' + (parts / place % 10) as u8;
                    length += 1;
                }
            }
        }
        Self { text, length: length as u8 }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..usize::from(self.length)]).expect("digits")
    }
}

#[cfg(test)]
#[path = "listed_tests.rs"]
mod tests;
