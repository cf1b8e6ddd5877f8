//! PutObject and UploadPart: the uploads.

use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderMap, HeaderName,
};
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_service::{
    Checksum, ContentHeaders, PART_NUMBER_MAX, PartRequest, PutRequest, ServiceError, UPLOAD_SIZE_BYTES_MAX,
};

use crate::S3;
use crate::acl;
use crate::body::Upload;
use crate::checksum::{Claims, algorithm_header, claims, type_name};
use crate::conditions::write_conditions;
use crate::dispatch::{object_of, parameter};
use crate::encryption;
use crate::error::{S3Result, error_with, invalid_argument};
use crate::fault::{Subject, from_service};
use crate::headers::{self, owned};
use crate::key_service::keys_of;
use crate::lifecycle::{Ending, tell_expiration};
use crate::lock::asked_lock;
use crate::response::{empty, quoted, set};
use crate::version::tell_new_version;

/// PutObject.
pub(crate) async fn put_object(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    headers::refuse_unsupported_write(&request.headers)?;
    let length = declared_length(request)?;
    let Claims { md5, algorithm, value } = claims(&request.headers)?;
    let trailing = if value.is_none() { algorithm } else { None };
    let tags = headers::tags(&request.headers)?;
    let access = acl::new_object(s3, request, &bucket).await?;
    let asked = encryption::asked(s3, request, &bucket).await?;
    let customer_key = encryption::customer_key(s3, request)?;
    let put = PutRequest {
        content: content_headers(&request.headers)?,
        user_metadata: headers::user_metadata(&request.headers)?,
        storage_class: headers::storage_class(&request.headers)?.map(str::to_owned),
        tags: tags.clone(),
        conditions: write_conditions(&request.headers)?,
        length,
        md5,
        checksum_algorithm: algorithm,
        checksum: value,
        lock: asked_lock(&request.headers)?,
        owner: access.owner,
        acl: access.acl,
        encryption: asked.encryption,
        keys: keys_of(s3, request),
        quota: s3.write_quota(request, &bucket, &key),
        bucket: bucket.clone(),
        key: key.clone(),
    };
    let mut upload = Upload::new(&mut request.body, trailing);
    let outcome = s3.service.put_object(put, &mut upload).await;
    let outcome = outcome.map_err(|failure| upload_failure(failure, upload, Subject::object(&bucket, &key)))?;
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    set(headers, ETAG, &quoted(&outcome.etag));
    if let Some(checksum) = &outcome.checksum {
        set_checksum(headers, checksum, &checksum.text());
    }
    if let Some(kind) = outcome.checksum_type {
        set(headers, CHECKSUM_TYPE, type_name(kind));
    }
    tell_new_version(headers, outcome.version);
    encryption::tell(headers, outcome.encryption.as_ref(), customer_key.as_ref());
    let (size, modified) = (outcome.size, outcome.last_modified);
    tell_expiration(s3, headers, Ending { bucket: &bucket, key: &key, size, tags: &tags, modified }).await;
    Ok(response)
}

/// UploadPart.
pub(crate) async fn upload_part(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    let (upload_id, part_number) = part_address(request)?;
    let customer_key = encryption::customer_key(s3, request)?;
    let length = declared_length(request)?;
    let Claims { md5, algorithm, value } = claims(&request.headers)?;
    let trailing = if value.is_none() { algorithm } else { None };
    let part = PartRequest {
        upload_id: upload_id.clone(),
        part_number,
        length,
        md5,
        checksum_algorithm: algorithm,
        checksum: value,
        customer_key: customer_key.clone(),
        keys: keys_of(s3, request),
        bucket: bucket.clone(),
        key: key.clone(),
    };
    let subject = Subject::upload(&bucket, &key, &upload_id);
    let mut upload = Upload::new(&mut request.body, trailing);
    let outcome = s3.service.upload_part(part, &mut upload).await;
    let outcome = outcome.map_err(|failure| upload_failure(failure, upload, subject))?;
    let mut response = empty(StatusCode::OK);
    set(response.headers_mut(), ETAG, &quoted(&outcome.etag));
    if let Some(checksum) = &outcome.checksum {
        set_checksum(response.headers_mut(), checksum, &checksum.text());
    }
    encryption::tell(response.headers_mut(), outcome.encryption.as_ref(), customer_key.as_ref());
    Ok(response)
}

pub(crate) const CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");

/// `x-amz-checksum-<algorithm>`.
pub(crate) fn set_checksum(headers: &mut HeaderMap, checksum: &Checksum, text: &str) {
    set(headers, HeaderName::from_static(algorithm_header(checksum.algorithm)), text);
}

/// Bytes of the body as the client declared them; `None` for one that ends with its last transfer chunk.
fn declared_length(request: &ApiRequest) -> S3Result<Option<u64>> {
    match request.body.decoded_length() {
        Some(length) if length > UPLOAD_SIZE_BYTES_MAX => Err(error_with(
            "EntityTooLarge",
            400,
            "Your proposed upload exceeds the maximum allowed size",
            [("ProposedSize", length.to_string()), ("MaxSizeAllowed", UPLOAD_SIZE_BYTES_MAX.to_string())],
        )),
        length => Ok(length),
    }
}

/// `uploadId` and `partNumber`.
pub(crate) fn part_address(request: &ApiRequest) -> S3Result<(String, u16)> {
    let upload_id = parameter(request, "uploadId").unwrap_or_default().to_owned();
    let text = parameter(request, "partNumber").unwrap_or_default();
    match text.parse() {
        Ok(number @ 1..=PART_NUMBER_MAX) => Ok((upload_id, number)),
        _ => Err(invalid_argument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive")),
    }
}

/// The system headers that are kept with an object.
pub(crate) fn content_headers(map: &HeaderMap) -> S3Result<ContentHeaders> {
    Ok(ContentHeaders {
        content_type: owned(map, CONTENT_TYPE.as_str())?,
        content_encoding: headers::content_encoding(map)?,
        content_disposition: owned(map, CONTENT_DISPOSITION.as_str())?,
        content_language: owned(map, CONTENT_LANGUAGE.as_str())?,
        cache_control: owned(map, CACHE_CONTROL.as_str())?,
        expires: owned(map, EXPIRES.as_str())?,
        website_redirect: headers::website_redirect(map)?,
    })
}

/// What the client did wrong with its body is told in the gateway's words.
fn upload_failure(failure: ServiceError, upload: Upload<'_>, subject: Subject<'_>) -> ApiError {
    match (failure, upload.into_failure()) {
        (ServiceError::Source(_), Some(told)) => told,
        (failure, _) => from_service(failure, subject),
    }
}
