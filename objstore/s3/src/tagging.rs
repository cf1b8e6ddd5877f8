//! Tags of objects: GetObjectTagging, PutObjectTagging, DeleteObjectTagging.

use http::StatusCode;
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_service::ServiceError;
use karri_objstore_wire::{Operation, parse_put_object_tagging, types, write_get_object_tagging};

use crate::S3;
use crate::body::{document, verify_claims};
use crate::config::tags;
use crate::dispatch::{object_of, wire_request};
use crate::error::S3Result;
use crate::fault::{Subject, from_service, from_wire};
use crate::response::{empty, wire};
use crate::version::{named_object, tell_version, with_version};

/// GetObjectTagging.
pub(crate) async fn get(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let info = s3.service.object_info(&named_object(request)?).await.map_err(|failure| told(failure, request))?;
    let tag_set = info.tags.into_iter().map(|(key, value)| types::Tag { key, value }).collect();
    let mut response = wire(write_get_object_tagging(&types::GetObjectTaggingOutput { tag_set, ..Default::default() }));
    tell_version(response.headers_mut(), info.version);
    Ok(response)
}

/// PutObjectTagging.
pub(crate) async fn put(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let body = document(request, Operation::PutObjectTagging).await?;
    verify_claims(request, &body)?;
    let tagging = parse_put_object_tagging(&wire_request(request), &body).map_err(from_wire)?.tagging;
    let tags = tags::of_object(tagging)?;
    s3.authorize_tagging(request, &tags).await?;
    replace(s3, request, tags, StatusCode::OK).await
}

/// DeleteObjectTagging.
pub(crate) async fn delete(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    replace(s3, request, Vec::new(), StatusCode::NO_CONTENT).await
}

async fn replace(s3: &S3, request: &ApiRequest, tags: Vec<tags::Tag>, status: StatusCode) -> S3Result<ApiResponse> {
    let version = s3.service.set_tags(&named_object(request)?, tags).await;
    let version = version.map_err(|failure| told(failure, request))?;
    let mut response = empty(status);
    tell_version(response.headers_mut(), version);
    Ok(response)
}

fn told(failure: ServiceError, request: &ApiRequest) -> ApiError {
    let (bucket, key) = object_of(request).unwrap_or_default();
    with_version(from_service(failure, Subject::object(bucket, key)), request)
}
