//! Bucket, key and query of a request: decoded once, for the signature and for storage alike.

use http::header::{HOST, HeaderMap};
use http::{Uri, Version};
use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// Bytes of a key, at most.
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// What a request is about.
#[derive(Debug)]
pub(crate) struct Target {
    /// Path and query as they came.
    pub(crate) uri: Uri,
    /// Host as the client sent it, with port.
    pub(crate) host: String,
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) query: Vec<(String, String)>,
    /// The bucket is in the host name.
    pub(crate) virtual_host: bool,
    /// The host name is a website's.
    pub(crate) website: bool,
}

/// Domains of host names that stand for buckets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Domains<'a> {
    /// Below them, for the API.
    pub(crate) base: &'a [String],
    /// Below them and themselves, for websites.
    pub(crate) website: &'a [String],
}

/// The bucket of a host name.
struct Named {
    bucket: String,
    website: bool,
}

impl Target {
    /// Reads host, path and query. Nothing is normalised: `//`, `.` and `..` are parts of a key like others.
    pub(crate) fn parse(
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        domains: Domains<'_>,
    ) -> Result<Self, ApiError> {
        let host = host(uri, version, headers)?;
        let raw = uri.path().strip_prefix('/').ok_or_else(ApiError::invalid_uri)?;
        let named = bucket_of_host(&host, domains);
        let virtual_host = named.is_some();
        let website = named.as_ref().is_some_and(|named| named.website);
        let (bucket, raw_key) = match named {
            Some(named) => (Some(named.bucket), raw),
            None if raw.is_empty() => (None, ""),
            None => {
                let (bucket, rest) = raw.split_once('/').unwrap_or((raw, ""));
                (Some(decode(bucket)?), rest)
            }
        };
        let key = if raw_key.is_empty() { None } else { Some(decode(raw_key)?) };
        let query = parse_query(uri.query().unwrap_or_default())?;
        Ok(Self { uri: uri.clone(), host, bucket, key, query, virtual_host, website })
    }

    /// Errors that only a signed request hears of.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if let Some(bucket) = &self.bucket
            && (bucket.is_empty() || bucket.contains('/'))
        {
            let message = "The specified bucket is not valid.";
            return Err(ApiError::new("InvalidBucketName", 400, message).with("BucketName", bucket));
        }
        match &self.key {
            Some(key) if key.len() > KEY_BYTES_MAX => {
                Err(ApiError::new("KeyTooLongError", 400, "Your key is too long")
                    .with("Size", key.len().to_string())
                    .with("MaxSizeAllowed", KEY_BYTES_MAX.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// The first value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Path of bucket and key, decoded.
    pub(crate) fn resource(&self) -> String {
        let bucket = self.bucket.as_deref().unwrap_or_default();
        match &self.key {
            Some(key) => format!("/{bucket}/{key}"),
            None => format!("/{bucket}"),
        }
    }
}

/// The one host of a request: that of the request line where there is one (HTTP/2, absolute form), else of the
/// header; if both are there, they must agree.
fn host(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<String, ApiError> {
    let mut given = headers.get_all(HOST).iter();
    let header = given.next();
    if given.next().is_some() {
        return Err(ApiError::invalid_request("The request has more than one Host header."));
    }
    let header =
        header.map(|value| value.to_str().map_err(|_| ApiError::invalid_request("The Host header is invalid.")));
    let header = header.transpose()?;
    let authority = uri.authority().map(|authority| authority.as_str());
    match (authority, header) {
        (Some(authority), Some(header)) if !authority.eq_ignore_ascii_case(header) => {
            Err(ApiError::invalid_request("The Host header differs from the host of the request line."))
        }
        (_, Some(host)) | (Some(host), None) => Ok(host.to_owned()),
        (None, None) if version < Version::HTTP_11 => Ok(String::new()),
        (None, None) => Err(ApiError::invalid_request("The request has no Host header.")),
    }
}

/// A host name without its port.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The bucket that a host name stands for. Of all domains that it is in, the longest decides.
fn bucket_of_host(host: &str, domains: Domains<'_>) -> Option<Named> {
    if domains.base.is_empty() && domains.website.is_empty() {
        return None;
    }
    let name = without_port(host).to_ascii_lowercase();
    let base = longest(&name, domains.base);
    let website = longest(&name, domains.website);
    match (base, website) {
        (Some(base), website) if website.is_none_or(|website| base.len() >= website.len()) => {
            below(&name, base).map(|bucket| Named { bucket, website: false })
        }
        (_, Some(domain)) => {
            // A domain itself is the website of the bucket that is called so.
            let bucket = below(&name, domain).unwrap_or_else(|| name.clone());
            Some(Named { bucket, website: true })
        }
        _ => None,
    }
}

/// The longest of the domains that `name` is, or is below.
fn longest<'a>(name: &str, domains: &'a [String]) -> Option<&'a str> {
    let is_in = |domain: &&String| domain.eq_ignore_ascii_case(name) || below(name, domain).is_some();
    domains.iter().filter(is_in).max_by_key(|domain| domain.len()).map(String::as_str)
}

/// What stands before a domain in a name below it.
fn below(name: &str, domain: &str) -> Option<String> {
    let rest = name.strip_suffix(&domain.to_ascii_lowercase())?;
    rest.strip_suffix('.').filter(|bucket| !bucket.is_empty()).map(str::to_owned)
}

/// Decodes percent escapes; refuses bad ones, what is not UTF-8, and NUL.
fn decode(text: &str) -> Result<String, ApiError> {
    if !text.contains('%') {
        return if text.contains('\0') { Err(ApiError::invalid_uri()) } else { Ok(text.to_owned()) };
    }
    if !escapes_are_complete(text.as_bytes()) {
        return Err(ApiError::invalid_uri());
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| ApiError::invalid_uri())?;
    if decoded.contains('\0') {
        return Err(ApiError::invalid_uri());
    }
    Ok(decoded.into_owned())
}

fn escapes_are_complete(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes)
        .all(|at| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// Parameters in order, duplicates kept. As S3 does, `+` is a space here, and only here.
pub(crate) fn parse_query(raw: &str) -> Result<Vec<(String, String)>, ApiError> {
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    let part = |text: &str| if text.contains('+') { decode(&text.replace('+', " ")) } else { decode(text) };
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((part(name)?, part(value)?))
        })
        .collect()
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
