//! CopyObject and UploadPartCopy.

use http::header::HeaderMap;
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_service::{
    ChecksumAlgorithm, CopyRequest, MetadataDirective, ObjectRef, PartCopyRequest, ServiceError, VersionRef,
};
use karri_objstore_wire::{types, write_copy_object, write_upload_part_copy};

use crate::S3;
use crate::acl;
use crate::authorize::Target;
use crate::checksum::{object_text, parse_algorithm};
use crate::conditions::{copy_conditions, write_conditions};
use crate::convert::{fill_checksum, timestamp, wire_type};
use crate::copy_source::{CopySource, parse_copy_source};
use crate::dispatch::object_of;
use crate::encryption;
use crate::error::{S3Result, error, error_with, header_not_implemented, invalid_argument, invalid_request};
use crate::fault::{Subject, from_service};
use crate::headers::{self, text};
use crate::key_service::keys_of;
use crate::lifecycle::tell_expiration_of;
use crate::lock::asked_lock;
use crate::names::{check_bucket_name, check_key};
use crate::put::{content_headers, part_address};
use crate::range::parse_copy_range;
use crate::response::{quoted, wire};
use crate::version::{new_version, parse_version};

const SOURCE: &str = "x-amz-copy-source";
const RANGE: &str = "x-amz-copy-source-range";

/// CopyObject. No byte moves: the copy shares the data of its source.
pub(crate) async fn copy_object(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    headers::refuse_unsupported_write(&request.headers)?;
    let replaces_metadata = directive(&request.headers, "x-amz-metadata-directive", "Unknown metadata directive.")?;
    let replaces_tags = directive(&request.headers, "x-amz-tagging-directive", "Unknown tagging directive.")?;
    let (source, source_version) = admitted_source(s3, request, !replaces_tags).await?;
    let storage_class = headers::storage_class(&request.headers)?;
    let website_redirect = headers::website_redirect(&request.headers)?;
    let encrypts = request.headers.keys().any(|name| name.as_str().starts_with("x-amz-server-side-encryption"));
    let changes = encrypts || replaces_metadata || storage_class.is_some() || website_redirect.is_some();
    if source.bucket == bucket && source.key == key && source_version.is_none() && !changes {
        return Err(invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    if website_redirect.is_some() && !replaces_metadata {
        return Err(header_not_implemented("x-amz-website-redirect-location"));
    }
    let metadata = match replaces_metadata {
        true => replacement(&request.headers)?,
        false => MetadataDirective::Copy,
    };
    let access = acl::new_object(s3, request, bucket).await?;
    let encryption::Asked { encryption, by_request } = encryption::asked(s3, request, bucket).await?;
    let customer_key = encryption::customer_key(s3, request)?;
    let asked = CopyRequest {
        encryption,
        encryption_asked: by_request,
        keys: keys_of(s3, request),
        source_customer_key: encryption::source_customer_key(s3, request)?,
        source_conditions: copy_conditions(&request.headers)?,
        metadata,
        source_version,
        tags: if replaces_tags { Some(headers::tags(&request.headers)?) } else { None },
        storage_class: storage_class.map(str::to_owned),
        checksum_algorithm: asked_algorithm(&request.headers)?,
        lock: asked_lock(&request.headers)?,
        owner: access.owner,
        acl: access.acl,
        conditions: write_conditions(&request.headers)?,
        source_bucket: source.bucket.clone(),
        source_key: source.key.clone(),
        quota: s3.write_quota(request, bucket, key),
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    };
    let outcome = s3.service.copy_object(asked).await;
    let outcome = outcome.map_err(|failure| copy_failure(failure, &source, Subject::object(bucket, key)))?;
    let object = outcome.object;
    let mut result = types::CopyObjectResult {
        etag: Some(quoted(&object.etag)),
        last_modified: Some(timestamp(object.last_modified)),
        checksum_type: object.checksum_type.map(wire_type),
        ..Default::default()
    };
    fill_checksum!(result, &object.checksum, |sum| object_text(sum, object.checksum_type, &object.etag));
    let mut response = wire(write_copy_object(&types::CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: outcome.source_version.map(|version| version.to_string()),
        version_id: new_version(object.version).map(|version| version.to_string()),
        ..Default::default()
    }));
    encryption::tell(response.headers_mut(), object.encryption.as_ref(), customer_key.as_ref());
    let written = ObjectRef { bucket: bucket.to_owned(), key: key.to_owned(), version: object.version };
    tell_expiration_of(s3, response.headers_mut(), written).await;
    Ok(response)
}

/// UploadPartCopy.
pub(crate) async fn upload_part_copy(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    let (upload_id, part_number) = part_address(request)?;
    let customer_key = encryption::customer_key(s3, request)?;
    let (source, source_version) = admitted_source(s3, request, false).await?;
    let range = match text(&request.headers, RANGE)? {
        None => None,
        Some(header) => Some(parse_copy_range(header).ok_or_else(|| malformed_range(header))?),
    };
    let asked = PartCopyRequest {
        keys: keys_of(s3, request),
        customer_key: customer_key.clone(),
        source_customer_key: encryption::source_customer_key(s3, request)?,
        source_conditions: copy_conditions(&request.headers)?,
        range,
        part_number,
        source_version,
        source_bucket: source.bucket.clone(),
        source_key: source.key.clone(),
        upload_id: upload_id.clone(),
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    };
    let outcome = s3.service.upload_part_copy(asked).await;
    let subject = Subject::upload(bucket, key, &upload_id);
    let outcome = outcome.map_err(|failure| copy_failure(failure, &source, subject))?;
    let part = outcome.part;
    let mut result = types::CopyPartResult {
        etag: Some(quoted(&part.etag)),
        last_modified: Some(timestamp(part.last_modified)),
        ..Default::default()
    };
    fill_checksum!(result, &part.checksum);
    let mut response = wire(write_upload_part_copy(&types::UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: outcome.source_version.map(|version| version.to_string()),
        ..Default::default()
    }));
    encryption::tell(response.headers_mut(), part.encryption.as_ref(), customer_key.as_ref());
    Ok(response)
}

/// The source, which the caller may read, and its tags too if they come along.
async fn admitted_source(s3: &S3, request: &ApiRequest, with_tags: bool) -> S3Result<(CopySource, Option<VersionRef>)> {
    let header = request.headers.get(SOURCE).map(|value| value.as_bytes()).unwrap_or_default();
    let source = parse_copy_source(header)?;
    check_bucket_name(&source.bucket)?;
    check_key(&source.key)?;
    let version = source.version.as_deref().map(parse_version).transpose()?;
    let target = Target { bucket: &source.bucket, key: Some(&source.key), version };
    s3.authorize_source(request, &target, with_tags).await?;
    s3.check_owner(request, "x-amz-source-expected-bucket-owner", &source.bucket).await?;
    Ok((source, version))
}

/// Whether a directive says REPLACE.
fn directive(headers: &HeaderMap, name: &str, message: &'static str) -> S3Result<bool> {
    match text(headers, name)? {
        None | Some("" | "COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(invalid_argument(name, other, message)),
    }
}

fn replacement(map: &HeaderMap) -> S3Result<MetadataDirective> {
    Ok(MetadataDirective::Replace { content: content_headers(map)?, user_metadata: headers::user_metadata(map)? })
}

fn asked_algorithm(headers: &HeaderMap) -> S3Result<Option<ChecksumAlgorithm>> {
    match text(headers, "x-amz-checksum-algorithm")? {
        Some(name) if !name.is_empty() => parse_algorithm(name).map(Some),
        _ => Ok(None),
    }
}

fn malformed_range(header: &str) -> ApiError {
    let message = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are \
                   the zero-based offsets of the first and last bytes to copy";
    invalid_argument(RANGE, header, message)
}

/// What is wrong with the source is told of the source.
fn copy_failure(failure: ServiceError, source: &CopySource, subject: Subject<'_>) -> ApiError {
    match failure {
        ServiceError::NoSuchKey | ServiceError::NoSuchVersion => {
            from_service(failure, Subject::object(&source.bucket, &source.key))
        }
        // AWS: a copy of a delete marker is a bad request when the marker was named, else nothing is there.
        ServiceError::DeleteMarker { named: true, .. } => {
            invalid_request("The source of a copy request may not specifically refer to a delete marker by version id.")
        }
        ServiceError::DeleteMarker { .. } => {
            from_service(ServiceError::NoSuchKey, Subject::object(&source.bucket, &source.key))
        }
        ServiceError::NotModified { .. } => {
            let condition = [("Condition", "x-amz-copy-source-If-None-Match".to_owned())];
            let message = "At least one of the pre-conditions you specified did not hold";
            error_with("PreconditionFailed", 412, message, condition)
        }
        ServiceError::EntityTooLarge => error(
            "InvalidRequest",
            400,
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
        ),
        ServiceError::InvalidRange { size } => {
            let message = format!("Range specified is not valid for source object of size: {size}");
            error_with("InvalidRange", 416, message, [("ActualObjectSize", size.to_string())])
        }
        failure => from_service(failure, subject),
    }
}
