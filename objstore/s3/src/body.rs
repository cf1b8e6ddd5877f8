//! Request bodies: small documents, and the stream of an upload.

use async_trait::async_trait;
use bytes::Bytes;
use karri_objstore_gateway::{ApiError, ApiRequest, BodyError, RequestBody};
use karri_objstore_service::{ByteSource, Checksum, ChecksumAlgorithm, SourceError};
use karri_objstore_wire::{BodyKind, Operation};

use crate::checksum::{algorithm_header, claims, decode_value, verify};
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
    failure: Option<ApiError>,
}

impl<'a> Upload<'a> {
    /// Reads `body`, whose trailer is to hold a checksum of the algorithm `trailing`.
    pub(crate) fn new(body: &'a mut RequestBody, trailing: Option<ChecksumAlgorithm>) -> Self {
        Self { body, trailing, failure: None }
    }

    /// Why the body could not be read to its end.
    pub(crate) fn into_failure(self) -> Option<ApiError> {
        self.failure
    }
}

#[async_trait]
impl ByteSource for Upload<'_> {
    async fn next(&mut self) -> Option<Result<Bytes, SourceError>> {
        match self.body.next().await? {
            Ok(piece) => Some(Ok(piece)),
            Err(failure) => Some(Err(self.fail(failure))),
        }
    }

    fn trailing_checksums(&self) -> Vec<Checksum> {
        let Some(algorithm) = self.trailing else { return Vec::new() };
        let value = self.body.trailers().get(algorithm_header(algorithm));
        let text = value.and_then(|value| value.to_str().ok());
        text.and_then(|text| decode_value(algorithm, text)).into_iter().collect()
    }
}

impl Upload<'_> {
    fn fail(&mut self, failure: BodyError) -> SourceError {
        let reason = failure.to_string();
        self.failure = Some(ApiError::from(failure));
        SourceError::new(reason)
    }
}

/// Checks a document that was read against `Content-MD5` and checksums, where the client gave any; says whether it did.
pub(crate) fn verify_claims(request: &ApiRequest, body: &[u8]) -> S3Result<bool> {
    let claims = claims(&request.headers)?;
    let trailing = || {
        let value = claims.algorithm.and_then(|algorithm| request.body.trailers().get(algorithm_header(algorithm)))?;
        decode_value(claims.algorithm?, value.to_str().ok()?)
    };
    let value = claims.value.clone().or_else(trailing);
    verify(body, claims.md5, value.as_ref())?;
    Ok(claims.md5.is_some() || claims.algorithm.is_some())
}

/// As [`document`], of an operation that wants its body protected by `Content-MD5` or a checksum.
pub(crate) async fn checked_document(request: &mut ApiRequest, operation: Operation) -> S3Result<Bytes> {
    let claims = claims(&request.headers)?;
    if claims.md5.is_none() && claims.algorithm.is_none() {
        let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
        return Err(invalid_request(message));
    }
    let body = document(request, operation).await?;
    verify_claims(request, &body)?;
    Ok(body)
}
