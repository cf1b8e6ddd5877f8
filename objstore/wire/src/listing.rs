//! Listings of objects, by hand: their thousand lines are printed out of what they are kept in, without a value for
//! each. The generated writers of the same answers are what the tests compare with.

use http::StatusCode;

use crate::response::{Answer, WireResponse};
use crate::time::Timestamp;
use crate::types::{CommonPrefix, ListObjectsOutput, ListObjectsV2Output};
use crate::xml_write::{XmlWriter, escape};

const XMLNS: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// Bytes of a line beside its key, with a checksum and an owner.
const LINE_BYTES: usize = 512;
/// `2009-10-12T`.
const DAY_BYTES: usize = 11;
const DAY_MILLIS: i64 = 86_400_000;
/// 9999-12-31 in days since 1970-01-01.
const LAST_DAY: i64 = 2_932_896;

/// An object in a listing.
#[derive(Clone, Copy, Debug)]
pub struct ObjectLine<'a> {
    /// `Key`.
    pub key: &'a str,
    /// `LastModified`.
    pub last_modified: Timestamp,
    /// `ETag`, without its quotes.
    pub etag: &'a str,
    /// `ChecksumAlgorithm`.
    pub checksum_algorithm: Option<&'a str>,
    /// `ChecksumType`.
    pub checksum_type: Option<&'a str>,
    /// `Size`.
    pub size: u64,
    /// `StorageClass`.
    pub storage_class: &'a str,
    /// `Owner`: display name and id.
    pub owner: Option<(&'a str, &'a str)>,
    /// `RestoreStatus`, of an archived object that was restored.
    pub restored_until: Option<Timestamp>,
}

/// The lines of a page, to be printed one after the other.
pub struct ObjectLines<'a> {
    text: &'a mut String,
    /// The day that was printed last, and how.
    day: (i64, [u8; DAY_BYTES]),
}

impl ObjectLines<'_> {
    fn new(text: &mut String) -> ObjectLines<'_> {
        ObjectLines { text, day: (i64::MIN, [0; DAY_BYTES]) }
    }

    /// Prints an object.
    pub fn push(&mut self, line: &ObjectLine<'_>) {
        self.text.reserve(line.key.len() + LINE_BYTES);
        self.text.push_str("<Contents><Key>");
        escape(self.text, line.key);
        self.text.push_str("</Key><LastModified>");
        self.time(line.last_modified);
        self.text.push_str("</LastModified><ETag>&quot;");
        escape(self.text, line.etag);
        self.text.push_str("&quot;</ETag>");
        if let Some(algorithm) = line.checksum_algorithm {
            self.text.push_str("<ChecksumAlgorithm>");
            escape(self.text, algorithm);
            self.text.push_str("</ChecksumAlgorithm>");
        }
        if let Some(kind) = line.checksum_type {
            self.text.push_str("<ChecksumType>");
            escape(self.text, kind);
            self.text.push_str("</ChecksumType>");
        }
        self.text.push_str("<Size>");
        push_number(self.text, line.size);
        self.text.push_str("</Size><StorageClass>");
        escape(self.text, line.storage_class);
        self.text.push_str("</StorageClass>");
        if let Some((name, id)) = line.owner {
            self.text.push_str("<Owner><DisplayName>");
            escape(self.text, name);
            self.text.push_str("</DisplayName><ID>");
            escape(self.text, id);
            self.text.push_str("</ID></Owner>");
        }
        if let Some(until) = line.restored_until {
            self.text.push_str("<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress><RestoreExpiryDate>");
            self.time(until);
            self.text.push_str("</RestoreExpiryDate></RestoreStatus>");
        }
        self.text.push_str("</Contents>");
    }

    /// As [`Timestamp::iso8601`], which is asked once for each day.
    fn time(&mut self, at: Timestamp) {
        let (day, rest) = (at.millis().div_euclid(DAY_MILLIS), at.millis().rem_euclid(DAY_MILLIS));
        if self.day.0 != day {
            let text = at.iso8601();
            match text.as_bytes().first_chunk() {
                Some(first) if (0..=LAST_DAY).contains(&day) => self.day = (day, *first),
                _ => return self.text.push_str(&text),
            }
        }
        let seconds = (rest / 1000) as u32;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let digit = |number: u32| b'0' + (number % 10) as u8;
        let mut text = *b"2009-10-12T17:50:30.000Z";
        text[..DAY_BYTES].copy_from_slice(&self.day.1);
        for (at, number) in [(11, hour), (14, minute), (17, second)] {
            (text[at], text[at + 1]) = (digit(number / 10), digit(number));
        }
        self.text.push_str(str::from_utf8(&text).unwrap_or_default());
    }
}

fn push_number(text: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// As `write_list_objects`, with `contents` printing the objects instead of the output's. `bytes` is how large the page
/// will be, about.
pub fn write_list_objects_lines(
    output: &ListObjectsOutput,
    bytes: usize,
    contents: impl FnOnce(&mut ObjectLines<'_>),
) -> WireResponse {
    let mut xml = XmlWriter::with_capacity(XMLNS, bytes);
    xml.open("ListBucketResult");
    xml.optional("IsTruncated", output.is_truncated.as_ref());
    xml.optional("Marker", output.marker.as_ref());
    xml.optional("NextMarker", output.next_marker.as_ref());
    contents(&mut ObjectLines::new(xml.text()));
    xml.optional("Name", output.name.as_ref());
    xml.optional("Prefix", output.prefix.as_ref());
    xml.optional("Delimiter", output.delimiter.as_ref());
    xml.optional("MaxKeys", output.max_keys.as_ref());
    common_prefixes(&mut xml, &output.common_prefixes);
    xml.optional("EncodingType", output.encoding_type.as_ref());
    xml.close("ListBucketResult");
    page(output.request_charged.as_ref(), xml)
}

/// As `write_list_objects_v2`, with `contents` printing the objects instead of the output's. `bytes` is how large the
/// page will be, about.
pub fn write_list_objects_v2_lines(
    output: &ListObjectsV2Output,
    bytes: usize,
    contents: impl FnOnce(&mut ObjectLines<'_>),
) -> WireResponse {
    let mut xml = XmlWriter::with_capacity(XMLNS, bytes);
    xml.open("ListBucketResult");
    xml.optional("IsTruncated", output.is_truncated.as_ref());
    contents(&mut ObjectLines::new(xml.text()));
    xml.optional("Name", output.name.as_ref());
    xml.optional("Prefix", output.prefix.as_ref());
    xml.optional("Delimiter", output.delimiter.as_ref());
    xml.optional("MaxKeys", output.max_keys.as_ref());
    common_prefixes(&mut xml, &output.common_prefixes);
    xml.optional("EncodingType", output.encoding_type.as_ref());
    xml.optional("KeyCount", output.key_count.as_ref());
    xml.optional("ContinuationToken", output.continuation_token.as_ref());
    xml.optional("NextContinuationToken", output.next_continuation_token.as_ref());
    xml.optional("StartAfter", output.start_after.as_ref());
    xml.close("ListBucketResult");
    page(output.request_charged.as_ref(), xml)
}

fn common_prefixes(xml: &mut XmlWriter, prefixes: &[CommonPrefix]) {
    for common in prefixes {
        xml.open("CommonPrefixes");
        xml.optional("Prefix", common.prefix.as_ref());
        xml.close("CommonPrefixes");
    }
}

fn page(charged: Option<&String>, xml: XmlWriter) -> WireResponse {
    let mut answer = Answer::new(StatusCode::OK.as_u16());
    answer.header("x-amz-request-charged", charged);
    answer.document(xml);
    answer.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{ChecksumAlgorithm, ChecksumType, EncodingType, Object, Owner, RestoreStatus};
    use crate::{write_list_objects, write_list_objects_v2};

    fn object() -> impl Strategy<Value = Object> {
        let millis = prop_oneof![any::<i64>(), 0_i64..4_000_000_000_000, Just(-1), Just(86_399_999), Just(86_400_000)];
        let owner = prop::option::of((".{0,9}", ".{0,9}"));
        let algorithm = prop::option::of(prop_oneof![
            Just(ChecksumAlgorithm::Crc32C),
            Just(ChecksumAlgorithm::Crc64Nvme),
            Just(ChecksumAlgorithm::Sha256)
        ]);
        let kind = prop::option::of(prop_oneof![Just(ChecksumType::Composite), Just(ChecksumType::FullObject)]);
        (".{0,99}", millis, "[0-9a-f]{32}(-[0-9]{1,5})?", algorithm, kind, 0..=i64::MAX, "[A-Z_]{1,20}", owner)
            .prop_map(|(key, millis, etag, algorithm, kind, size, class, owner)| Object {
                key: Some(key),
                last_modified: Some(Timestamp::from_millis(millis)),
                etag: Some(format!("\"{etag}\"")),
                checksum_algorithm: algorithm.into_iter().collect(),
                checksum_type: kind,
                size: Some(size),
                storage_class: Some(class),
                owner: owner.map(|(name, id)| Owner { display_name: Some(name), id: Some(id) }),
                restore_status: (size % 3 == 0).then(|| RestoreStatus {
                    is_restore_in_progress: Some(false),
                    restore_expiry_date: Some(Timestamp::from_millis(millis)),
                }),
            })
    }

    fn print(lines: &mut ObjectLines<'_>, objects: &[Object]) {
        for object in objects {
            let owner = object.owner.as_ref();
            lines.push(&ObjectLine {
                key: object.key.as_deref().expect("a key"),
                last_modified: object.last_modified.expect("a time"),
                etag: object.etag.as_deref().expect("a tag").trim_matches('"'),
                checksum_algorithm: object.checksum_algorithm.first().map(|algorithm| algorithm.as_str()),
                checksum_type: object.checksum_type.as_ref().map(|kind| kind.as_str()),
                size: object.size.expect("a size") as u64,
                storage_class: object.storage_class.as_deref().expect("a class"),
                owner: owner
                    .map(|owner| (owner.display_name.as_deref().expect("a name"), owner.id.as_deref().expect("an id"))),
                restored_until: object.restore_status.as_ref().and_then(|status| status.restore_expiry_date),
            });
        }
    }

    proptest! {
        #[test]
        fn pages_are_as_the_generated_writers_print_them(
            contents in prop::collection::vec(object(), 0..5),
            texts in prop::collection::vec(prop::option::of(".{0,9}"), 8),
            common in prop::collection::vec(".{0,9}", 0..3),
            count in prop::option::of(any::<i32>()),
            url: bool,
        ) {
            let common_prefixes: Vec<_> = common.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect();
            let text = |at: usize| texts[at].clone();
            let first = ListObjectsOutput {
                is_truncated: count.map(|count| count > 0),
                marker: text(0),
                next_marker: text(1),
                contents: contents.clone(),
                name: text(2),
                prefix: text(3),
                delimiter: text(4),
                max_keys: count,
                common_prefixes: common_prefixes.clone(),
                encoding_type: url.then_some(EncodingType::Url),
                request_charged: url.then(|| "requester".to_owned()),
            };
            let by_hand = write_list_objects_lines(&first, 0, |lines| print(lines, &contents));
            prop_assert_eq!(by_hand, write_list_objects(&first));
            let second = ListObjectsV2Output {
                is_truncated: first.is_truncated,
                contents: contents.clone(),
                name: text(2),
                prefix: text(3),
                delimiter: text(4),
                max_keys: count,
                common_prefixes,
                encoding_type: first.encoding_type,
                key_count: count,
                continuation_token: text(5),
                next_continuation_token: text(6),
                start_after: text(7),
                request_charged: first.request_charged.clone(),
            };
            let by_hand = write_list_objects_v2_lines(&second, 99, |lines| print(lines, &contents));
            prop_assert_eq!(by_hand, write_list_objects_v2(&second));
        }
    }
}
