//! Multipart uploads: begin, complete, abort.

use http::StatusCode;
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_service::{
    CompleteRequest, CompletedPart, CreateUploadRequest, ObjectRef, PART_NUMBER_MAX, ServiceError, UploadRef,
};
use karri_objstore_wire::{
    Operation, parse_complete_multipart_upload, types, write_complete_multipart_upload, write_create_multipart_upload,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::S3;
use crate::acl;
use crate::body::document;
use crate::checksum::{object_checksum, object_text, parse_algorithm, parse_type};
use crate::conditions::write_conditions;
use crate::convert::{fill_checksum, take_checksum, wire_algorithm, wire_type};
use crate::dispatch::{object_of, parameter, wire_request};
use crate::encryption;
use crate::error::{S3Result, error, invalid_request, malformed_xml};
use crate::fault::{Subject, from_service, from_wire};
use crate::headers::{self, text};
use crate::key_service::keys_of;
use crate::lifecycle::{tell_abort, tell_expiration_of};
use crate::lock::asked_lock;
use crate::put::content_headers;
use crate::response::{empty, quoted, unquoted, wire};
use crate::version::new_version;

/// What a URL's path keeps.
const PATH_KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// CreateMultipartUpload.
pub(crate) async fn create_multipart_upload(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    headers::refuse_unsupported_write(&request.headers)?;
    let algorithm = match text(&request.headers, "x-amz-checksum-algorithm")? {
        Some(name) if !name.is_empty() => Some(parse_algorithm(name)?),
        _ => None,
    };
    let kind = match text(&request.headers, "x-amz-checksum-type")? {
        Some(name) if !name.is_empty() => Some(parse_type(name)?),
        _ => None,
    };
    match (algorithm, kind) {
        (None, Some(_)) => {
            let message = "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
            return Err(invalid_request(message));
        }
        (Some(algorithm), Some(kind)) if !algorithm.allows(kind) => {
            let message = format!(
                "The {} checksum type cannot be used with the {} checksum algorithm.",
                crate::checksum::type_name(kind),
                crate::checksum::algorithm_name(algorithm).to_ascii_lowercase(),
            );
            return Err(invalid_request(message));
        }
        _ => {}
    }
    let access = acl::new_object(s3, request, bucket).await?;
    let encryption = encryption::asked(s3, request, bucket).await?.encryption;
    let customer_key = encryption::customer_key(s3, request)?;
    let asked = CreateUploadRequest {
        keys: keys_of(s3, request),
        encryption,
        content: content_headers(&request.headers)?,
        user_metadata: headers::user_metadata(&request.headers)?,
        storage_class: headers::storage_class(&request.headers)?.map(str::to_owned),
        tags: headers::tags(&request.headers)?,
        checksum_algorithm: algorithm,
        checksum_type: kind,
        lock: asked_lock(&request.headers)?,
        owner: access.owner,
        acl: access.acl,
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    };
    let outcome = s3.service.create_upload(asked).await;
    let outcome = outcome.map_err(|failure| from_service(failure, Subject::object(bucket, key)))?;
    let mut response = wire(write_create_multipart_upload(&types::CreateMultipartUploadOutput {
        bucket: Some(bucket.to_owned()),
        key: Some(key.to_owned()),
        upload_id: Some(outcome.upload_id),
        checksum_algorithm: outcome.checksum_algorithm.map(wire_algorithm),
        checksum_type: outcome.checksum_type.map(wire_type),
        ..Default::default()
    }));
    encryption::tell(response.headers_mut(), outcome.encryption.as_ref(), customer_key.as_ref());
    tell_abort(s3, response.headers_mut(), bucket, key, s3.clock.now()).await;
    Ok(response)
}

/// An upload as the service names it.
pub(crate) fn upload_ref(bucket: &str, key: &str, upload_id: &str) -> UploadRef {
    UploadRef { bucket: bucket.to_owned(), key: key.to_owned(), upload_id: upload_id.to_owned() }
}

/// AbortMultipartUpload.
pub(crate) async fn abort_multipart_upload(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    let upload_id = parameter(request, "uploadId").unwrap_or_default();
    let aborted = s3.service.abort_upload(upload_ref(bucket, key, upload_id)).await;
    aborted.map_err(|failure| from_service(failure, Subject::upload(bucket, key, upload_id)))?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// CompleteMultipartUpload. The parts are not rewritten, so the answer comes at once and with its true status.
pub(crate) async fn complete_multipart_upload(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let customer_key = encryption::customer_key(s3, request)?;
    let body = document(request, Operation::CompleteMultipartUpload).await?;
    if body.is_empty() {
        return Err(malformed_xml());
    }
    let input = parse_complete_multipart_upload(&wire_request(request), &body).map_err(from_wire)?;
    let (bucket, key) = object_of(request)?;
    let upload_id = parameter(request, "uploadId").unwrap_or_default();
    let parts = input.multipart_upload.map(|upload| upload.parts).unwrap_or_default();
    if parts.is_empty() {
        return Err(malformed_xml());
    }
    let asked = CompleteRequest {
        parts: parts.iter().map(part).collect::<S3Result<_>>()?,
        conditions: write_conditions(&request.headers)?,
        checksum: object_checksum(&request.headers)?,
        checksum_type: text(&request.headers, "x-amz-checksum-type")?.map(parse_type).transpose()?,
        size: object_size(request)?,
        customer_key: customer_key.clone(),
        upload_id: upload_id.to_owned(),
        quota: s3.write_quota(request, bucket, key),
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    };
    let outcome = s3.service.complete_upload(asked).await;
    let outcome = outcome.map_err(|failure| complete_failure(failure, Subject::upload(bucket, key, upload_id)))?;
    let mut output = types::CompleteMultipartUploadOutput {
        location: Some(location(request, bucket, key)),
        bucket: Some(bucket.to_owned()),
        key: Some(key.to_owned()),
        etag: Some(quoted(&outcome.etag)),
        version_id: new_version(outcome.version).map(|version| version.to_string()),
        checksum_type: outcome.checksum_type.map(wire_type),
        ..Default::default()
    };
    fill_checksum!(output, &outcome.checksum, |sum| object_text(sum, outcome.checksum_type, &outcome.etag));
    let mut response = wire(write_complete_multipart_upload(&output));
    encryption::tell(response.headers_mut(), outcome.encryption.as_ref(), customer_key.as_ref());
    let written = ObjectRef { bucket: bucket.to_owned(), key: key.to_owned(), version: outcome.version };
    tell_expiration_of(s3, response.headers_mut(), written).await;
    Ok(response)
}

fn part(listed: &types::CompletedPart) -> S3Result<CompletedPart> {
    let number = listed.part_number.and_then(|number| u16::try_from(number).ok());
    let (Some(part_number @ 1..=PART_NUMBER_MAX), Some(etag)) = (number, listed.etag.as_deref()) else {
        return Err(malformed_xml());
    };
    Ok(CompletedPart { part_number, etag: unquoted(etag).to_owned(), checksum: take_checksum!(listed)? })
}

/// `x-amz-mp-object-size`.
fn object_size(request: &ApiRequest) -> S3Result<Option<u64>> {
    const HEADER: &str = "x-amz-mp-object-size";
    match text(&request.headers, HEADER)? {
        None => Ok(None),
        Some(value) => {
            let invalid = || invalid_request(format!("Value for {HEADER} header is invalid."));
            value.parse().map(Some).map_err(|_| invalid())
        }
    }
}

/// Where the object can be read.
fn location(request: &ApiRequest, bucket: &str, key: &str) -> String {
    let scheme = if request.secure { "https" } else { "http" };
    let host = request.host.as_str();
    let key = utf8_percent_encode(key, PATH_KEPT);
    match host.strip_prefix(bucket).is_some_and(|rest| rest.starts_with('.')) {
        true => format!("{scheme}://{host}/{key}"),
        false => format!("{scheme}://{host}/{bucket}/{key}"),
    }
}

fn complete_failure(failure: ServiceError, subject: Subject<'_>) -> ApiError {
    match failure {
        // AWS does not repeat the claimed value here.
        ServiceError::ChecksumMismatch { .. } => {
            error("BadDigest", 400, "The checksum you specified did not match the calculated checksum.")
        }
        failure => from_service(failure, subject),
    }
}
