//! Tags of buckets and objects, in documents and in the header `x-amz-tagging`.

use std::borrow::Cow;

use bytes::Bytes;
use karri_objstore_gateway::{ApiError, ApiRequest};
use karri_objstore_wire::{parse_put_bucket_tagging, types, write_get_bucket_tagging};

use super::kept;
use crate::dispatch::wire_request;
use crate::error::{S3Result, error, error_with, invalid_argument};
use crate::fault::from_wire;

/// Most tags of an object.
const OBJECT_TAGS_MAX: usize = 10;
/// Most tags of a bucket.
const BUCKET_TAGS_MAX: usize = 50;
/// Most characters of a name.
const TAG_NAME_LENGTH_MAX: usize = 128;
/// Most characters of a value.
const TAG_VALUE_LENGTH_MAX: usize = 256;

/// A name and a value.
pub(crate) type Tag = (String, String);

/// The tags of a bucket, as they are kept.
pub(super) fn check_of_bucket(request: &ApiRequest, body: &[u8]) -> S3Result<Bytes> {
    of_bucket(parse_put_bucket_tagging(&wire_request(request), body).map_err(from_wire)?.tagging)
}

/// Whether the document has no tags, which takes away those that there are.
pub(super) fn is_empty(request: &ApiRequest, body: &[u8]) -> S3Result<bool> {
    Ok(parse_put_bucket_tagging(&wire_request(request), body).map_err(from_wire)?.tagging.tag_set.is_empty())
}

/// As [`check_of_bucket`], of tags that were read already.
pub(crate) fn of_bucket(tagging: types::Tagging) -> S3Result<Bytes> {
    let tags = pairs(tagging);
    check(&tags)?;
    if tags.len() > BUCKET_TAGS_MAX {
        return Err(error("BadRequest", 400, "Bucket tag count cannot be greater than 50"));
    }
    let tag_set = tags.into_iter().map(|(key, value)| types::Tag { key, value }).collect();
    kept(write_get_bucket_tagging(&types::GetBucketTaggingOutput { tag_set }))
}

/// The tags of an object, in the order of their names, from a document.
pub(crate) fn of_object(tagging: types::Tagging) -> S3Result<Vec<Tag>> {
    let tags = pairs(tagging);
    check(&tags)?;
    limited(tags, "InvalidTag")
}

/// The tags in `x-amz-tagging`: names and values as in a query string.
pub(crate) fn of_header(text: &str) -> S3Result<Vec<Tag>> {
    const NAME: &str = "x-amz-tagging";
    let mut tags = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters \
                       without tag name duplicates.";
        let invalid = || invalid_argument(NAME, text, message);
        let (name, value) = decode(name).zip(decode(value)).ok_or_else(invalid)?;
        if tags.iter().any(|(known, _)| *known == name) {
            return Err(invalid());
        }
        tags.push((name, value));
    }
    check(&tags)?;
    limited(tags, "BadRequest")
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
}

fn pairs(tagging: types::Tagging) -> Vec<Tag> {
    tagging.tag_set.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

fn limited(mut tags: Vec<Tag>, code: &'static str) -> S3Result<Vec<Tag>> {
    if tags.len() > OBJECT_TAGS_MAX {
        return Err(error(code, 400, "Object tags cannot be greater than 10"));
    }
    tags.sort();
    Ok(tags)
}

fn check(tags: &[Tag]) -> S3Result<()> {
    for (at, (name, value)) in tags.iter().enumerate() {
        let length = name.chars().count();
        if !(1..=TAG_NAME_LENGTH_MAX).contains(&length) || !name.chars().all(is_allowed) {
            return Err(invalid_tag("The TagKey you have provided is invalid", name));
        }
        if value.chars().count() > TAG_VALUE_LENGTH_MAX || !value.chars().all(is_allowed) {
            let message = "The TagValue you have provided is invalid";
            return Err(error_with(
                "InvalidTag",
                400,
                message,
                [("TagKey", name.clone()), ("TagValue", value.clone())],
            ));
        }
        if name.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid_tag("System tags cannot be added/updated by requester", name));
        }
        if tags[..at].iter().any(|(known, _)| known == name) {
            return Err(invalid_tag("Cannot provide multiple Tags with the same key", name));
        }
    }
    Ok(())
}

fn is_allowed(character: char) -> bool {
    character.is_alphanumeric() || character == ' ' || "_.:/=+-@".contains(character)
}

fn invalid_tag(message: &str, name: &str) -> ApiError {
    error_with("InvalidTag", 400, message, [("TagKey", name.to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(pairs: &[(&str, &str)]) -> types::Tagging {
        let tag = |(key, value): &(&str, &str)| types::Tag { key: (*key).into(), value: (*value).into() };
        types::Tagging { tag_set: pairs.iter().map(tag).collect() }
    }

    #[test]
    fn the_header_is_a_query_string() {
        let expected = [("a b".to_owned(), "1/2".to_owned()), ("c".to_owned(), String::new())];
        assert_eq!(of_header("c&a+b=1%2F2").expect("fine"), expected);
        assert_eq!(of_header("").expect("fine"), []);
        assert_eq!(of_header("a=1&a=2").expect_err("twice").code, "InvalidArgument");
        assert_eq!(of_header("a=%ff").expect_err("not UTF-8").code, "InvalidArgument");
        assert_eq!(of_header("=1").expect_err("no name").code, "InvalidTag");
        assert_eq!(of_header("a=%00").expect_err("NUL").code, "InvalidTag");
        let many = (0..11).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&");
        assert_eq!(of_header(&many).expect_err("too many").code, "BadRequest");
    }

    #[test]
    fn limits_count_characters() {
        let (name, value) = ("\u{e4}".repeat(128), "\u{e4}".repeat(256));
        assert_eq!(of_object(document(&[(&name, &value)])).expect("fits").len(), 1);
        let code = |name: &str, value: &str| of_object(document(&[(name, value)])).expect_err("refused").code;
        assert_eq!(code(&"k".repeat(129), "v"), "InvalidTag");
        assert_eq!(code("k", &"v".repeat(257)), "InvalidTag");
        assert_eq!(code("aws:k", "v"), "InvalidTag");
        assert_eq!(code("k<", "v"), "InvalidTag");
        assert_eq!(of_object(document(&[("k", "1"), ("k", "2")])).expect_err("twice").code, "InvalidTag");
    }
}
