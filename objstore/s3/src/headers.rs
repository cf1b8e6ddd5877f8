//! Request headers that several operations share, and refusal of those that ask for what Karri does not do yet:
//! nothing that was asked for is silently left undone.

use std::borrow::Cow;

use http::header::{CONTENT_ENCODING, HeaderMap};
use karri_objstore_service::STORAGE_CLASSES;

use crate::config::tags;
use crate::error::{S3Result, error, error_with, header_not_implemented, invalid_argument};

/// Most bytes of names and values of user metadata together.
pub(crate) const USER_METADATA_SIZE_BYTES_MAX: usize = 2 << 10;

/// Most bytes of a website redirect location.
const REDIRECT_SIZE_BYTES_MAX: usize = 2 << 10;

/// Prefix of user metadata headers.
pub(crate) const USER_METADATA_PREFIX: &str = "x-amz-meta-";

/// Storage classes that another product serves.
const STORAGE_CLASSES_NOT_SERVED: [&str; 3] = ["OUTPOSTS", "SNOW", "EXPRESS_ONEZONE"];

/// Value of `name` as text; not UTF-8 is refused.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> S3Result<Option<&'a str>> {
    match headers.get(name) {
        None => Ok(None),
        Some(value) => std::str::from_utf8(value.as_bytes())
            .map(Some)
            .map_err(|_| invalid_argument(name, "", "Header value must be UTF-8")),
    }
}

/// As [`text`], owned, without an empty value.
pub(crate) fn owned(headers: &HeaderMap, name: &str) -> S3Result<Option<String>> {
    Ok(text(headers, name)?.filter(|value| !value.is_empty()).map(str::to_owned))
}

/// User metadata in the order of the names, several headers of one name joined by commas.
pub(crate) fn user_metadata(headers: &HeaderMap) -> S3Result<Vec<(String, String)>> {
    let mut metadata: Vec<(String, String)> = Vec::new();
    let mut size = 0;
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(USER_METADATA_PREFIX) else { continue };
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| invalid_argument(name, "", "Header value must be UTF-8"))?;
        match metadata.last_mut() {
            Some((last, joined)) if last == name => {
                joined.push(',');
                joined.push_str(value);
                size += value.len() + 1;
            }
            _ => {
                size += name.len() + value.len();
                metadata.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    if size > USER_METADATA_SIZE_BYTES_MAX {
        return Err(error_with(
            "MetadataTooLarge",
            400,
            "Your metadata headers exceed the maximum allowed metadata size",
            [("Size", size.to_string()), ("MaxSizeAllowed", USER_METADATA_SIZE_BYTES_MAX.to_string())],
        ));
    }
    metadata.sort();
    Ok(metadata)
}

/// `Content-Encoding` without the `aws-chunked` of the transfer.
pub(crate) fn content_encoding(headers: &HeaderMap) -> S3Result<Option<String>> {
    let mut kept: Vec<Cow<'_, str>> = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| invalid_argument("Content-Encoding", "", "Header value must be UTF-8"))?;
        let chunked = |token: &str| token.trim().eq_ignore_ascii_case("aws-chunked");
        // Commas and spaces stay as the client wrote them, unless a token between them goes.
        match value.split(',').any(chunked) {
            false => kept.push(value.trim().into()),
            true => kept.extend(value.split(',').filter(|token| !chunked(token)).map(|token| token.trim().into())),
        }
    }
    kept.retain(|value| !value.is_empty());
    Ok((!kept.is_empty()).then(|| kept.join(", ")))
}

/// The asked storage class; `None` for the default.
pub(crate) fn storage_class(headers: &HeaderMap) -> S3Result<Option<&'static str>> {
    let Some(asked) = text(headers, "x-amz-storage-class")? else { return Ok(None) };
    if STORAGE_CLASSES_NOT_SERVED.contains(&asked) {
        return Err(header_not_implemented("x-amz-storage-class"));
    }
    match STORAGE_CLASSES.into_iter().find(|class| *class == asked) {
        Some(class) => Ok(Some(class)),
        None => Err(error_with(
            "InvalidStorageClass",
            400,
            "The storage class you specified is not valid",
            [("StorageClassRequested", asked.to_owned())],
        )),
    }
}

/// `x-amz-tagging`: names and values as in a query string.
pub(crate) fn tags(headers: &HeaderMap) -> S3Result<Vec<(String, String)>> {
    text(headers, "x-amz-tagging")?.map_or_else(|| Ok(Vec::new()), tags::of_header)
}

/// The checked website redirect.
pub(crate) fn website_redirect(headers: &HeaderMap) -> S3Result<Option<String>> {
    let Some(location) = owned(headers, "x-amz-website-redirect-location")? else { return Ok(None) };
    let prefixed = ["/", "http://", "https://"].iter().any(|prefix| location.starts_with(prefix));
    if !prefixed {
        let message = "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.";
        return Err(error("InvalidRedirectLocation", 400, message));
    }
    if location.len() > REDIRECT_SIZE_BYTES_MAX {
        let message = "The length of website redirect location cannot exceed 2,048 characters.";
        return Err(error("InvalidRedirectLocation", 400, message));
    }
    Ok(Some(location))
}

/// What a write may ask for and Karri cannot do: appends, annotations, locks until an event.
const WRITES_NOT_SERVED: [&str; 5] = [
    "x-amz-write-offset-bytes",
    "x-amz-object-annotation-directive",
    "x-amz-object-lock-event-hold",
    "x-amz-object-lock-event-hold-duration-days",
    "x-amz-object-lock-event-hold-duration-years",
];

/// Refuses a write that asks for what Karri cannot do.
pub(crate) fn refuse_unsupported_write(headers: &HeaderMap) -> S3Result<()> {
    match WRITES_NOT_SERVED.into_iter().find(|name| headers.contains_key(*name)) {
        Some(name) => Err(header_not_implemented(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("value"));
        }
        headers
    }

    #[test]
    fn aws_chunked_is_not_stored() {
        let encoding = |pairs: &[(&str, &str)]| content_encoding(&map(pairs)).expect("readable");
        assert_eq!(encoding(&[("content-encoding", "aws-chunked")]), None);
        assert_eq!(encoding(&[("content-encoding", "gzip,aws-chunked")]).as_deref(), Some("gzip"));
        assert_eq!(encoding(&[("content-encoding", "AWS-chunked, gzip , br")]).as_deref(), Some("gzip, br"));
        assert_eq!(encoding(&[("content-encoding", "deflate,  gzip")]).as_deref(), Some("deflate,  gzip"));
        assert_eq!(encoding(&[("content-encoding", "")]), None);
    }

    #[test]
    fn user_metadata_has_a_limit() {
        let value = "v".repeat(USER_METADATA_SIZE_BYTES_MAX - 1);
        assert_eq!(user_metadata(&map(&[("x-amz-meta-k", &value)])).expect("fits").len(), 1);
        let error = user_metadata(&map(&[("x-amz-meta-kk", &value)])).expect_err("too large");
        assert_eq!((error.code.as_ref(), error.status), ("MetadataTooLarge", 400));
    }

    #[test]
    fn repeated_metadata_is_joined_and_utf8_kept() {
        let headers = map(&[("x-amz-meta-b", "1"), ("x-amz-meta-b", "2"), ("x-amz-meta-a", "grün")]);
        let metadata = user_metadata(&headers).expect("readable");
        assert_eq!(metadata, [("a".into(), "grün".into()), ("b".into(), "1,2".into())]);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let code = |name: &str, value: &str| {
            refuse_unsupported_write(&map(&[(name, value)])).expect_err(name).code.into_owned()
        };
        assert_eq!(code("x-amz-write-offset-bytes", "1"), "NotImplemented");
        assert_eq!(code("x-amz-object-lock-event-hold", "ON"), "NotImplemented");
        assert!(refuse_unsupported_write(&map(&[("x-amz-acl", "private")])).is_ok());
    }

    #[test]
    fn storage_classes_are_checked() {
        let class = |value: &str| storage_class(&map(&[("x-amz-storage-class", value)]));
        assert_eq!(class("STANDARD_IA").expect("known"), Some("STANDARD_IA"));
        assert_eq!(class("standard").expect_err("case matters").code, "InvalidStorageClass");
        assert_eq!(class("OUTPOSTS").expect_err("not served").code, "NotImplemented");
    }

    #[test]
    fn redirects_need_a_known_prefix() {
        let redirect = |value: &str| website_redirect(&map(&[("x-amz-website-redirect-location", value)]));
        assert_eq!(redirect("/x").expect("fine").as_deref(), Some("/x"));
        assert_eq!(redirect("ftp://x").expect_err("refused").code, "InvalidRedirectLocation");
    }
}
