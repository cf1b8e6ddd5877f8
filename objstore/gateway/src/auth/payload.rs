//! What the client says about its body: hash, framing, trailers, length.

use http::header::{CONTENT_ENCODING, HeaderMap, HeaderName};
use http::{HeaderValue, Version};

use crate::auth::Seed;
use crate::body::{ChunkPlan, ChunkSigner, RequestBody};
use crate::error::ApiError;

pub(crate) const CONTENT_SHA256: &str = "x-amz-content-sha256";
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";
const TRAILER: &str = "x-amz-trailer";
/// Names in `x-amz-trailer`, at most.
const TRAILERS_MAX: usize = 16;

/// How a body is framed and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// As it is.
    Unsigned,
    /// With a SHA-256 of the whole.
    Hashed(String),
    /// In `aws-chunked` framing.
    Chunked {
        /// Each chunk is signed.
        signed: bool,
        /// Trailers follow the last chunk.
        trailers: bool,
    },
}

impl Payload {
    /// Reads the value of `x-amz-content-sha256`.
    pub(crate) fn parse(value: &str) -> Result<Self, ApiError> {
        match value {
            UNSIGNED => Ok(Self::Unsigned),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Self::Chunked { signed: true, trailers: false }),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Self::Chunked { signed: true, trailers: true }),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Self::Chunked { signed: false, trailers: true }),
            _ if value.starts_with("STREAMING-AWS4-ECDSA-") => Err(ApiError::header_not_implemented(CONTENT_SHA256)),
            _ if value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Ok(Self::Hashed(value.to_ascii_lowercase()))
            }
            _ => {
                let message = "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                               STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a \
                               valid sha256 value.";
                Err(ApiError::invalid_argument(CONTENT_SHA256, value, message))
            }
        }
    }

    /// Some clients frame the body and say so only in `Content-Encoding` and `x-amz-decoded-content-length`.
    pub(crate) fn or_framed(self, headers: &HeaderMap) -> Result<Self, ApiError> {
        let framed = headers.contains_key(DECODED_LENGTH) && has_chunked_encoding(headers);
        match self {
            Self::Unsigned if framed => Ok(Self::Chunked { signed: false, trailers: true }),
            Self::Hashed(_) if framed => {
                Err(ApiError::invalid_request("An aws-chunked body needs a streaming value of x-amz-content-sha256."))
            }
            other => Ok(other),
        }
    }
}

/// Prepares `body` to be decoded and verified. `seed` is the request's own signature, which those of chunks continue.
pub(crate) fn prepare(
    body: RequestBody,
    payload: Payload,
    seed: Option<Seed>,
    headers: &HeaderMap,
    version: Version,
) -> Result<RequestBody, ApiError> {
    let (signed, trailers) = match payload {
        Payload::Chunked { signed, trailers } => (signed, trailers),
        Payload::Unsigned => return require_length(body, version),
        Payload::Hashed(claimed) => return Ok(require_length(body, version)?.hashed(claimed)),
    };
    let signer = match (signed, seed) {
        (false, _) => None,
        (true, Some(seed)) => Some(ChunkSigner::new(seed.key, &seed.timestamp, &seed.scope, seed.signature)),
        (true, None) => {
            return Err(ApiError::access_denied("Signed chunks need a request signed with Signature Version 4."));
        }
    };
    let decoded_length = decoded_length(headers)?;
    let trailers = if trailers { Some(announced(headers)?) } else { None };
    Ok(body.chunked(ChunkPlan { signer, trailers, decoded_length }))
}

/// A body in `Transfer-Encoding: chunked` ends where its last chunk does; hyper drops a length beside the coding.
fn require_length(body: RequestBody, version: Version) -> Result<RequestBody, ApiError> {
    match body.decoded_length() {
        None if version != Version::HTTP_11 => Err(missing_length()),
        _ => Ok(body),
    }
}

fn missing_length() -> ApiError {
    ApiError::new("MissingContentLength", 411, "You must provide the Content-Length HTTP header.")
}

fn decoded_length(headers: &HeaderMap) -> Result<u64, ApiError> {
    let mut values = headers.get_all(DECODED_LENGTH).iter();
    let value = values.next().ok_or_else(missing_length)?;
    let text = value.to_str().unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(length) if digits && values.next().is_none() => Ok(length),
        _ => Err(ApiError::invalid_argument(DECODED_LENGTH, text, "x-amz-decoded-content-length is not a length.")),
    }
}

/// The names in `x-amz-trailer`.
fn announced(headers: &HeaderMap) -> Result<Vec<HeaderName>, ApiError> {
    let refused = || {
        let message = "The value specified in the x-amz-trailer header is not supported";
        ApiError::invalid_request(message)
    };
    let mut names = Vec::new();
    for value in headers.get_all(TRAILER) {
        let text = value.to_str().map_err(|_| refused())?;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
            if names.len() == TRAILERS_MAX || !name.as_str().starts_with("x-amz-") {
                return Err(refused());
            }
            names.push(name);
        }
    }
    Ok(names)
}

fn has_chunked_encoding(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(is_chunked_token)
}

fn is_chunked_token(token: &str) -> bool {
    token.trim().eq_ignore_ascii_case("aws-chunked")
}

/// Takes `aws-chunked` out of `Content-Encoding`: it describes the request and not the object.
pub(crate) fn strip_chunked_encoding(headers: &mut HeaderMap) {
    if !has_chunked_encoding(headers) {
        return;
    }
    let values = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let rest: Vec<&str> =
        values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !is_chunked_token(token)).collect();
    match HeaderValue::from_str(&rest.join(", ")) {
        Ok(value) if !value.is_empty() => {
            headers.insert(CONTENT_ENCODING, value);
        }
        _ => {
            headers.remove(CONTENT_ENCODING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunked_token_is_stripped_and_others_stay() {
        for (given, left) in [
            ("aws-chunked", None),
            ("gzip, AWS-Chunked", Some("gzip")),
            ("gzip,br", Some("gzip,br")),
            ("a,aws-chunked,b", Some("a, b")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(given));
            strip_chunked_encoding(&mut headers);
            assert_eq!(headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap()), left);
        }
    }

    #[test]
    fn asymmetric_signatures_are_not_implemented() {
        let error = Payload::parse("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD").unwrap_err();
        assert_eq!((error.code.as_ref(), error.status), ("NotImplemented", 501));
    }
}
