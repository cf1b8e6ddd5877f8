//! What a client says about the content it sends: `Content-MD5`, `x-amz-checksum-*`, trailers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use karri_objstore_gateway::ApiError;
use karri_objstore_service::{Checksum, ChecksumAlgorithm, ChecksumType};

use crate::error::{S3Result, error, error_with, invalid_request};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::headers::text;

/// Bytes of an MD5.
const MD5_SIZE_BYTES: usize = 16;

/// Every algorithm with its name in XML and headers, its header, and the bytes of its value.
pub(crate) const ALGORITHMS: [(ChecksumAlgorithm, &str, &str, usize); 5] = [
    (ChecksumAlgorithm::Crc32, "CRC32", "x-amz-checksum-crc32", 4),
    (ChecksumAlgorithm::Crc32c, "CRC32C", "x-amz-checksum-crc32c", 4),
    (ChecksumAlgorithm::Crc64Nvme, "CRC64NVME", "x-amz-checksum-crc64nvme", 8),
    (ChecksumAlgorithm::Sha1, "SHA1", "x-amz-checksum-sha1", 20),
    (ChecksumAlgorithm::Sha256, "SHA256", "x-amz-checksum-sha256", 32),
];

/// What an upload must match.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// `Content-MD5`.
    pub(crate) md5: Option<[u8; MD5_SIZE_BYTES]>,
    /// The algorithm to compute and keep.
    pub(crate) algorithm: Option<ChecksumAlgorithm>,
    /// The value from a header; absent when it comes in the trailer, or when the server is to compute it.
    pub(crate) value: Option<Checksum>,
}

/// Name of `algorithm` in XML.
pub(crate) fn algorithm_name(algorithm: ChecksumAlgorithm) -> &'static str {
    entry(algorithm).1
}

/// Header that carries a value of `algorithm`.
pub(crate) fn algorithm_header(algorithm: ChecksumAlgorithm) -> &'static str {
    entry(algorithm).2
}

fn entry(algorithm: ChecksumAlgorithm) -> &'static (ChecksumAlgorithm, &'static str, &'static str, usize) {
    ALGORITHMS.iter().find(|entry| entry.0 == algorithm).expect("the table has every algorithm")
}

/// An algorithm by its name in a header or in XML; S3 takes both cases.
pub(crate) fn parse_algorithm(name: &str) -> S3Result<ChecksumAlgorithm> {
    match ALGORITHMS.iter().find(|entry| entry.1.eq_ignore_ascii_case(name)) {
        Some(entry) => Ok(entry.0),
        None => Err(invalid_request(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
             [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )),
    }
}

/// `x-amz-checksum-type`.
pub(crate) fn parse_type(name: &str) -> S3Result<ChecksumType> {
    match name {
        "COMPOSITE" => Ok(ChecksumType::Composite),
        "FULL_OBJECT" => Ok(ChecksumType::FullObject),
        _ => Err(invalid_request("Value for x-amz-checksum-type header is invalid.")),
    }
}

/// Name of `kind` in XML and headers.
pub(crate) fn type_name(kind: ChecksumType) -> &'static str {
    match kind {
        ChecksumType::Composite => "COMPOSITE",
        ChecksumType::FullObject => "FULL_OBJECT",
    }
}

/// Reads all that a PUT claims about its body.
pub(crate) fn claims(headers: &HeaderMap) -> S3Result<Claims> {
    let md5 = content_md5(headers)?;
    let value = header_checksum(headers)?;
    let trailing = trailing_algorithm(headers)?;
    if value.is_some() && trailing.is_some() {
        return Err(several());
    }
    let sent = value.as_ref().map(|checksum| checksum.algorithm).or(trailing);
    let announced = match text(headers, "x-amz-sdk-checksum-algorithm")? {
        Some(name) if !name.is_empty() => Some(parse_algorithm(name)?),
        _ => None,
    };
    match (announced, sent) {
        (Some(_), None) => Err(invalid_request(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers \
             were found.",
        )),
        (Some(announced), Some(sent)) if announced != sent => {
            Err(invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid."))
        }
        _ => Ok(Claims { md5, algorithm: sent, value }),
    }
}

/// `Content-MD5`, decoded.
pub(crate) fn content_md5(headers: &HeaderMap) -> S3Result<Option<[u8; MD5_SIZE_BYTES]>> {
    let Some(value) = headers.get("content-md5") else { return Ok(None) };
    let digest = STANDARD.decode(value.as_bytes().trim_ascii()).ok().and_then(|bytes| bytes.try_into().ok());
    match digest {
        Some(digest) => Ok(Some(digest)),
        None => Err(error_with(
            "InvalidDigest",
            400,
            "The Content-MD5 you specified was invalid.",
            [("Content-MD5", String::from_utf8_lossy(value.as_bytes()).into_owned())],
        )),
    }
}

/// The one `x-amz-checksum-<algorithm>` header.
pub(crate) fn header_checksum(headers: &HeaderMap) -> S3Result<Option<Checksum>> {
    let mut found = None;
    for (algorithm, _, header, _) in ALGORITHMS {
        let Some(value) = text(headers, header)? else { continue };
        if found.is_some() {
            return Err(several());
        }
        found = Some(decode_value(algorithm, value).ok_or_else(|| invalid_value(header))?);
    }
    Ok(found)
}

/// The value of an object's checksum as headers and documents have it: one over the checksums of parts ends with
/// their count, as the entity tag of the object does.
pub(crate) fn object_text(checksum: &Checksum, kind: Option<ChecksumType>, etag: &str) -> String {
    match (kind, etag.rsplit_once('-')) {
        (Some(ChecksumType::Composite), Some((_, parts))) => format!("{}-{parts}", checksum.text()),
        _ => checksum.text(),
    }
}

/// As [`header_checksum`], of a whole multipart object: a composite value may end with the count of parts.
pub(crate) fn object_checksum(headers: &HeaderMap) -> S3Result<Option<Checksum>> {
    let mut plain = HeaderMap::new();
    for (_, _, header, _) in ALGORITHMS {
        let Some(value) = text(headers, header)? else { continue };
        let value = match value.rsplit_once('-') {
            Some((value, parts)) if parts.parse::<u16>().is_ok() => value,
            _ => value,
        };
        let value = HeaderValue::from_str(value).map_err(|_| invalid_value(header))?;
        plain.insert(HeaderName::from_static(header), value);
    }
    header_checksum(&plain)
}

/// No content matches a value that is not one.
fn invalid_value(header: &str) -> ApiError {
    error("BadDigest", 400, format!("Value for {header} header is invalid."))
}

/// A base64 value of the right size.
pub(crate) fn decode_value(algorithm: ChecksumAlgorithm, value: &str) -> Option<Checksum> {
    let bytes = STANDARD.decode(value.trim()).ok()?;
    (bytes.len() == entry(algorithm).3).then(|| Checksum { algorithm, value: bytes.into() })
}

/// The one checksum among values in the order of [`ALGORITHMS`].
pub(crate) fn one_of(values: [Option<&str>; 5]) -> S3Result<Option<Checksum>> {
    let mut found = None;
    for ((algorithm, name, _, _), value) in ALGORITHMS.into_iter().zip(values) {
        let Some(value) = value else { continue };
        if found.is_some() {
            return Err(several());
        }
        let invalid = || invalid_request(format!("Value for Checksum{name} is invalid."));
        found = Some(decode_value(algorithm, value).ok_or_else(invalid)?);
    }
    Ok(found)
}

/// The algorithm that `x-amz-trailer` announces.
fn trailing_algorithm(headers: &HeaderMap) -> S3Result<Option<ChecksumAlgorithm>> {
    let mut found = None;
    for value in headers.get_all("x-amz-trailer") {
        let names = std::str::from_utf8(value.as_bytes()).unwrap_or_default();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let known = ALGORITHMS.iter().find(|entry| entry.2.eq_ignore_ascii_case(name));
            let Some(known) = known else {
                return Err(invalid_request("The value specified in the x-amz-trailer header is not supported"));
            };
            if found.replace(known.0).is_some() {
                return Err(several());
            }
        }
    }
    Ok(found)
}

fn several() -> ApiError {
    invalid_request("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

/// 400 for content that does not match a checksum.
pub(crate) fn checksum_mismatch(algorithm: ChecksumAlgorithm) -> ApiError {
    let name = algorithm_name(algorithm);
    error("BadDigest", 400, format!("The {name} you specified did not match the calculated checksum."))
}

/// Checks a document against what was claimed of it.
pub(crate) fn verify(content: &[u8], md5: Option<[u8; MD5_SIZE_BYTES]>, value: Option<&Checksum>) -> S3Result<()> {
    if let Some(expected) = md5 {
        let calculated: [u8; MD5_SIZE_BYTES] = Md5::digest(content).into();
        if calculated != expected {
            return Err(digest_mismatch(STANDARD.encode(expected), STANDARD.encode(calculated)));
        }
    }
    match value {
        Some(expected) if calculate(expected.algorithm, content) != expected.value => {
            Err(checksum_mismatch(expected.algorithm))
        }
        _ => Ok(()),
    }
}

fn calculate(algorithm: ChecksumAlgorithm, content: &[u8]) -> Vec<u8> {
    let crc = |kind: CrcAlgorithm, size: usize| crc_fast::checksum(kind, content).to_be_bytes()[8 - size..].to_vec();
    match algorithm {
        ChecksumAlgorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc, 4),
        ChecksumAlgorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi, 4),
        ChecksumAlgorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme, 8),
        ChecksumAlgorithm::Sha1 => Sha1::digest(content).to_vec(),
        ChecksumAlgorithm::Sha256 => Sha256::digest(content).to_vec(),
    }
}

/// 400 for content that does not match its `Content-MD5`.
pub(crate) fn digest_mismatch(expected: String, calculated: String) -> ApiError {
    error_with(
        "BadDigest",
        400,
        "The Content-MD5 you specified did not match what we received.",
        [("ExpectedDigest", expected), ("CalculatedDigest", calculated)],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("name"), HeaderValue::from_static(value))).collect()
    }

    fn refused(pairs: &[(&'static str, &'static str)]) -> ApiError {
        claims(&map(pairs)).expect_err("refused")
    }

    #[test]
    fn values_and_trailers_are_read() {
        let found = claims(&map(&[("x-amz-checksum-crc32", "AAAAAQ=="), ("x-amz-sdk-checksum-algorithm", "CRC32")]));
        let found = found.expect("valid");
        assert_eq!(found.algorithm, Some(ChecksumAlgorithm::Crc32));
        assert_eq!(found.value.expect("in the header").value.as_ref(), [0, 0, 0, 1]);
        let found = claims(&map(&[("x-amz-trailer", "x-amz-checksum-crc64nvme")])).expect("valid");
        assert_eq!(found.algorithm, Some(ChecksumAlgorithm::Crc64Nvme));
        assert!(found.value.is_none());
        let found = claims(&map(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")])).expect("valid");
        assert_eq!(found.md5.map(hex::encode).as_deref(), Some("d41d8cd98f00b204e9800998ecf8427e"));
    }

    /// The check value of each algorithm: over "123456789".
    #[test]
    fn documents_are_verified() {
        for (algorithm, value) in [
            (ChecksumAlgorithm::Crc32, "y/Q5Jg=="),
            (ChecksumAlgorithm::Crc32c, "4waSgw=="),
            (ChecksumAlgorithm::Crc64Nvme, "rosUhgp5mIg="),
            (ChecksumAlgorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (ChecksumAlgorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        ] {
            let checksum = decode_value(algorithm, value).expect("well-formed");
            assert!(verify(b"123456789", None, Some(&checksum)).is_ok(), "{algorithm:?}");
            assert_eq!(verify(b"12345678", None, Some(&checksum)).expect_err("differs").code, "BadDigest");
        }
        let md5 = Some(Md5::digest(b"x").into());
        assert!(verify(b"x", md5, None).is_ok());
        assert_eq!(verify(b"y", md5, None).expect_err("differs").code, "BadDigest");
    }

    #[test]
    fn composite_values_carry_the_count_of_parts() {
        let found = object_checksum(&map(&[("x-amz-checksum-crc32", "AAAAAQ==-12")])).expect("valid").expect("there");
        assert_eq!(object_text(&found, Some(ChecksumType::Composite), "abc-12"), "AAAAAQ==-12");
        assert_eq!(object_text(&found, Some(ChecksumType::FullObject), "abc-12"), "AAAAAQ==");
        assert!(object_checksum(&map(&[("x-amz-checksum-crc32", "AAAAAQ==-x")])).is_err());
        assert!(header_checksum(&map(&[("x-amz-checksum-crc32", "AAAAAQ==-12")])).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(refused(&[("content-md5", "")]).code, "InvalidDigest");
        assert_eq!(refused(&[("content-md5", "AAAA")]).code, "InvalidDigest");
        assert_eq!(refused(&[("x-amz-checksum-sha256", "AAAA")]).code, "BadDigest");
        assert_eq!(refused(&[("x-amz-checksum-crc32", "?")]).code, "BadDigest");
        assert_eq!(refused(&[("x-amz-sdk-checksum-algorithm", "CRC32")]).code, "InvalidRequest");
        assert_eq!(refused(&[("x-amz-trailer", "x-amz-meta-late")]).code, "InvalidRequest");
        let two = [("x-amz-checksum-crc32", "AAAAAQ=="), ("x-amz-checksum-crc32c", "AAAAAQ==")];
        assert!(refused(&two).message.starts_with("Expecting a single"));
        let both = [("x-amz-checksum-crc32", "AAAAAQ=="), ("x-amz-trailer", "x-amz-checksum-crc32")];
        assert!(refused(&both).message.starts_with("Expecting a single"));
        let differ = [("x-amz-checksum-crc32", "AAAAAQ=="), ("x-amz-sdk-checksum-algorithm", "SHA256")];
        assert_eq!(refused(&differ).code, "InvalidRequest");
    }
}
