//! GetBucketVersioning and PutBucketVersioning.

use http::StatusCode;
use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::{ServiceError, Versioning};
use karri_objstore_wire::{Operation, parse_put_bucket_versioning, types, write_get_bucket_versioning};

use crate::S3;
use crate::body::{document, verify_claims};
use crate::dispatch::{bucket_of, wire_request};
use crate::error::{S3Result, error, header_not_implemented, malformed_xml};
use crate::fault::{Subject, from_service, from_wire};
use crate::response::{empty, wire};

/// GetBucketVersioning: a bucket that has never kept versions says nothing.
pub(crate) async fn get_bucket_versioning(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let state = s3.service.bucket_state(bucket).await;
    let state = state.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    let status = match state.versioning {
        Versioning::Unversioned => None,
        Versioning::Enabled => Some(types::BucketVersioningStatus::Enabled),
        Versioning::Suspended => Some(types::BucketVersioningStatus::Suspended),
    };
    Ok(wire(write_get_bucket_versioning(&types::GetBucketVersioningOutput { status, ..Default::default() })))
}

/// PutBucketVersioning.
pub(crate) async fn put_bucket_versioning(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let body = document(request, Operation::PutBucketVersioning).await?;
    verify_claims(request, &body)?;
    let input = parse_put_bucket_versioning(&wire_request(request), &body).map_err(from_wire)?;
    let asked = input.versioning_configuration;
    if asked.mfa_delete == Some(types::MfaDelete::Enabled) {
        return Err(header_not_implemented("x-amz-mfa"));
    }
    let versioning = match asked.status {
        Some(types::BucketVersioningStatus::Enabled) => Versioning::Enabled,
        Some(types::BucketVersioningStatus::Suspended) => Versioning::Suspended,
        None => return Err(malformed_xml()),
    };
    let bucket = bucket_of(request)?;
    s3.service.set_versioning(bucket, versioning).await.map_err(|failure| match failure {
        ServiceError::LockNeedsVersioning => error(
            "InvalidBucketState",
            409,
            "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
        ),
        failure => from_service(failure, Subject::bucket(bucket)),
    })?;
    Ok(empty(StatusCode::OK))
}
