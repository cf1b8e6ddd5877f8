//! The canonical request of Signature Version 4.
//!
//! Clients differ in what they leave unencoded, so a signature is tried against the request in AWS's form (decoded
//! and encoded again) and then as its bytes came.

use http::header::{HOST, HeaderMap};
use http::{HeaderName, Method};

use crate::target::Target;

/// Which form of the path, query and header values is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// The path as it came.
    pub(crate) raw_path: bool,
    /// The query as it came, sorted.
    pub(crate) raw_query: bool,
    /// Runs of spaces in header values as they came.
    pub(crate) raw_values: bool,
}

impl Form {
    /// The form that AWS documents.
    pub(crate) const STANDARD: Self = Self { raw_path: false, raw_query: false, raw_values: false };

    /// The other forms, likely ones first.
    pub(crate) fn others() -> impl Iterator<Item = Self> {
        (1..8u8).map(|bits| Self { raw_path: bits & 1 != 0, raw_query: bits & 2 != 0, raw_values: bits & 4 != 0 })
    }
}

/// What a canonical request is made of.
pub(crate) struct Parts<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a Target,
    pub(crate) headers: &'a HeaderMap,
    /// Names of the signed headers, with `;` between them.
    pub(crate) signed_headers: &'a str,
    /// The last line.
    pub(crate) payload: &'a str,
    /// Leave `X-Amz-Signature` out of the query.
    pub(crate) presigned: bool,
    /// The path is that of a service other than S3: normalised, and encoded once more.
    pub(crate) path_twice: bool,
}

/// Writes the canonical request.
pub(crate) fn write_request(out: &mut Vec<u8>, parts: &Parts<'_>, form: Form) {
    out.clear();
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b'\n');
    if parts.path_twice && !form.raw_path {
        write_service_path(out, parts.target.uri.path());
    } else {
        write_path(out, parts.target.uri.path(), form.raw_path);
    }
    out.push(b'\n');
    if form.raw_query {
        write_raw_query(out, parts);
    } else {
        write_query(out, parts);
    }
    out.push(b'\n');
    for name in parts.signed_headers.split(';') {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        write_header_values(out, parts, name, form.raw_values);
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(parts.signed_headers.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(parts.payload.as_bytes());
}

fn write_path(out: &mut Vec<u8>, path: &str, raw: bool) {
    if raw {
        out.extend_from_slice(path.as_bytes());
        return;
    }
    for byte in percent_encoding::percent_decode_str(path) {
        encode_byte(out, byte, true);
    }
}

/// The path without `.`, `..` and empty segments (RFC 3986, section 5.2.4), each byte of the rest encoded as it came.
fn write_service_path(out: &mut Vec<u8>, path: &str) {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    for segment in &segments {
        out.push(b'/');
        for byte in segment.bytes() {
            encode_byte(out, byte, false);
        }
    }
    if segments.is_empty() || path.ends_with('/') {
        out.push(b'/');
    }
}

fn write_query(out: &mut Vec<u8>, parts: &Parts<'_>) {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(parts.target.query.len());
    for (name, value) in &parts.target.query {
        if !(parts.presigned && name == "X-Amz-Signature") {
            pairs.push((encoded(name), encoded(value)));
        }
    }
    pairs.sort_unstable();
    for (index, (name, value)) in pairs.iter().enumerate() {
        write_pair(out, index, name, value);
    }
}

fn write_raw_query(out: &mut Vec<u8>, parts: &Parts<'_>) {
    let raw = parts.target.uri.query().unwrap_or_default();
    let mut pairs: Vec<(&str, &str)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| !(parts.presigned && *name == "X-Amz-Signature"))
        .collect();
    pairs.sort_unstable();
    for (index, (name, value)) in pairs.iter().enumerate() {
        write_pair(out, index, name.as_bytes(), value.as_bytes());
    }
}

fn write_pair(out: &mut Vec<u8>, index: usize, name: &[u8], value: &[u8]) {
    if index > 0 {
        out.push(b'&');
    }
    out.extend_from_slice(name);
    out.push(b'=');
    out.extend_from_slice(value);
}

fn write_header_values(out: &mut Vec<u8>, parts: &Parts<'_>, name: &str, raw: bool) {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else { return };
    if header == HOST {
        out.extend_from_slice(parts.target.host.as_bytes());
        return;
    }
    for (index, value) in parts.headers.get_all(&header).iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let value = value.as_bytes().trim_ascii();
        if raw {
            out.extend_from_slice(value);
        } else {
            write_collapsed(out, value);
        }
    }
}

/// Writes `value` with each run of spaces as one.
fn write_collapsed(out: &mut Vec<u8>, value: &[u8]) {
    let mut spaced = false;
    for &byte in value {
        if byte != b' ' || !spaced {
            out.push(byte);
        }
        spaced = byte == b' ';
    }
}

fn encoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        encode_byte(&mut out, byte, false);
    }
    out
}

/// AWS's `UriEncode`: everything but unreserved characters, with upper-case digits; `/` stays in paths.
fn encode_byte(out: &mut Vec<u8>, byte: u8, keep_slash: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
        b'/' if keep_slash => out.push(byte),
        _ => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
    }
}
