//! Request bodies: small documents, and the stream of an upload.

use async_trait::async_trait;
use bytes::Bytes;
use karri_objstore_gateway::{ApiError, ApiRequest, BodyError, RequestBody};
use karri_objstore_service::{ByteSource, Checksum, ChecksumAlgorithm, SourceError};
use karri_objstore_wire::{BodyKind, Operation};

use crate::checksum::{Claims, algorithm_header, claims, decode_value, verify};
use crate::error::{S3Result, error_with, invalid_request};

/// The whole body of a request that carries a document, which the wire layer limits by operation.
pub(crate) async fn document(request: &mut ApiRequest, operation: Operation) -> S3Result<Bytes> {
    let limit = match operation.body() {
        BodyKind::Document { limit_bytes } => limit_bytes,
        BodyKind::None | BodyKind::Stream => 0,
    };
    request.body.gather(limit).await.map_err(|failure| match failure {
        BodyError::TooLarge { limit } => {
            let extra = [("MaxMessageLengthBytes", limit.to_string())];
            error_with("MaxMessageLengthExceeded", 400, "Your request was too big.", extra)
        }
        failure => ApiError::from(failure),
    })
}

/// The body of an upload as the service reads it. It keeps the gateway's own error, which says more to the client
/// than the service needs to know.
pub(crate) struct Upload<'a> {
    body: &'a mut RequestBody,
    trailing: Option<ChecksumAlgorithm>,
    trailer: Option<Checksum>,
    failure: Option<ApiError>,
}

impl<'a> Upload<'a> {
    /// Reads `body`, whose trailer is to hold a checksum of the algorithm `trailing`.
    pub(crate) fn new(body: &'a mut RequestBody, trailing: Option<ChecksumAlgorithm>) -> Self {
        Self { body, trailing, trailer: None, failure: None }
    }

    /// Why the body could not be read to its end.
    pub(crate) fn into_failure(self) -> Option<ApiError> {
        self.failure
    }

    fn fail(&mut self, failure: ApiError) -> SourceError {
        let reason = failure.to_string();
        self.failure = Some(failure);
        SourceError::new(reason)
    }
}

#[async_trait]
impl ByteSource for Upload<'_> {
    async fn next(&mut self) -> Option<Result<Bytes, SourceError>> {
        match self.body.next().await {
            Some(Ok(piece)) => Some(Ok(piece)),
            Some(Err(failure)) => Some(Err(self.fail(ApiError::from(failure)))),
            None => {
                let algorithm = self.trailing.take()?;
                match trailing_checksum(self.body, algorithm) {
                    Ok(checksum) => {
                        self.trailer = Some(checksum);
                        None
                    }
                    Err(failure) => Some(Err(self.fail(failure))),
                }
            }
        }
    }

    fn trailing_checksums(&self) -> Vec<Checksum> {
        self.trailer.iter().cloned().collect()
    }
}

/// The checksum that was announced for the trailer of a body that was read to its end.
fn trailing_checksum(body: &RequestBody, algorithm: ChecksumAlgorithm) -> S3Result<Checksum> {
    let header = algorithm_header(algorithm);
    let value = body.trailers().get(header).and_then(|value| value.to_str().ok());
    let invalid = || invalid_request(format!("Value for {header} trailing header is invalid."));
    value.and_then(|value| decode_value(algorithm, value)).ok_or_else(invalid)
}

/// Checks a document that was read against `Content-MD5` and checksums, where the client gave any; says whether it did.
pub(crate) fn verify_claims(request: &ApiRequest, body: &[u8]) -> S3Result<bool> {
    let Claims { md5, algorithm, value } = claims(&request.headers)?;
    let value = match (value, algorithm) {
        (None, Some(algorithm)) => Some(trailing_checksum(&request.body, algorithm)?),
        (value, _) => value,
    };
    verify(body, md5, value.as_ref())?;
    Ok(md5.is_some() || value.is_some())
}

/// As [`document`], of an operation that wants its body protected by `Content-MD5` or a checksum.
pub(crate) async fn checked_document(request: &mut ApiRequest, operation: Operation) -> S3Result<Bytes> {
    let body = document(request, operation).await?;
    match verify_claims(request, &body)? {
        true => Ok(body),
        false => Err(invalid_request("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")),
    }
}
