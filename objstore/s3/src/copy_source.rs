//! `x-amz-copy-source`.

use std::borrow::Cow;

use karri_objstore_gateway::ApiError;
use percent_encoding::percent_decode;

use crate::error::invalid_argument;

/// The object that a copy reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopySource {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) version: Option<String>,
}

const ARGUMENT: &str = "x-amz-copy-source";

/// Reads `[/]bucket/key[?versionId=id]`, of which bucket and key are percent-encoded (a `+` is a space there, as AWS
/// has it). An access point's ARN names nothing here and is refused as a bucket name later.
pub(crate) fn parse_copy_source(header: &[u8]) -> Result<CopySource, ApiError> {
    let (path, version) = split_version(header);
    let decoded = decode(path).ok_or_else(|| {
        invalid_argument(ARGUMENT, &String::from_utf8_lossy(header), "Copy source encoding must be UTF-8")
    })?;
    let decoded = decoded.strip_prefix('/').unwrap_or(&decoded);
    match decoded.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
            Ok(CopySource { bucket: bucket.to_owned(), key: key.to_owned(), version })
        }
        _ => Err(invalid_argument(
            ARGUMENT,
            &String::from_utf8_lossy(header),
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        )),
    }
}

/// Splits off the last raw `?versionId=`; any other question mark belongs to the key.
fn split_version(header: &[u8]) -> (&[u8], Option<String>) {
    const MARK: &[u8] = b"?versionId=";
    let at = header.windows(MARK.len()).rposition(|window| window == MARK);
    match at {
        Some(at) => (&header[..at], decode(&header[at + MARK.len()..])),
        None => (header, None),
    }
}

fn decode(text: &[u8]) -> Option<String> {
    let spaced: Cow<'_, [u8]> = if text.contains(&b'+') {
        text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect::<Vec<u8>>().into()
    } else {
        text.into()
    };
    String::from_utf8(percent_decode(&spaced).collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String, Option<String>) {
        let source = parse_copy_source(text.as_bytes()).expect("valid");
        (source.bucket, source.key, source.version)
    }

    #[test]
    fn encoded_keys_and_versions_are_read() {
        let plain = |key: &str| ("b".to_owned(), key.to_owned(), None);
        assert_eq!(read("b/k"), plain("k"));
        assert_eq!(read("/b/dir/k%20x"), plain("dir/k x"));
        assert_eq!(read("b%2Fdir%2Fk"), plain("dir/k"));
        assert_eq!(read("b/a%2Bb+c%3FversionId=1"), plain("a+b c?versionId=1"));
        assert_eq!(read("b/k?x"), plain("k?x"));
        assert_eq!(read("b/k?versionId=null"), ("b".into(), "k".into(), Some("null".into())));
        assert_eq!(read("b//k"), plain("/k"));
        assert_eq!(read("b/%C3%BC"), plain("ü"));
    }

    #[test]
    fn a_source_without_key_is_refused() {
        for text in ["", "/", "b", "b/", "/b/", "//k"] {
            let error = parse_copy_source(text.as_bytes()).expect_err(text);
            assert_eq!(error.code, "InvalidArgument");
        }
        assert!(parse_copy_source(b"b/%FF").is_err());
    }
}
