//! GetObject and HeadObject.

use futures::{StreamExt, stream};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderMap, HeaderName, LAST_MODIFIED, RANGE,
};
use http::{HeaderValue, StatusCode};
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse, Caller, ResponseBody};
use karri_objstore_service::{
    CallerKeys, GetRequest, ObjectInfo, PART_NUMBER_MAX, READ_AHEAD_BYTES_MAX, RangeSpec, STORAGE_CLASS_DEFAULT,
    Served, ServiceError, VersionRef,
};

use crate::S3;
use crate::checksum::{object_text, type_name};
use crate::conditions::read_conditions;
use crate::dispatch::{object_of, parameter};
use crate::encoding::http_date;
use crate::encryption;
use crate::error::{S3Result, error_with, invalid_argument, invalid_request};
use crate::fault::{Subject, from_service};
use crate::headers::{USER_METADATA_PREFIX, text};
use crate::key_service::keys_of;
use crate::lifecycle::{Ending, tell_expiration};
use crate::lock::describe_lock;
use crate::put::{CHECKSUM_TYPE, set_checksum};
use crate::range::{ByteRange, parse_range};
use crate::response::{empty, quoted, set, set_some};
use crate::version::{DELETE_MARKER, named_version, tell_version, with_version};

const PARTS_COUNT: HeaderName = HeaderName::from_static("x-amz-mp-parts-count");
const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");
const TAGGING_COUNT: HeaderName = HeaderName::from_static("x-amz-tagging-count");
const REDIRECT: HeaderName = HeaderName::from_static("x-amz-website-redirect-location");
const RESTORE: HeaderName = HeaderName::from_static("x-amz-restore");
const DEFAULT_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("binary/octet-stream");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// Query parameters that replace a header of the response.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-content-type", CONTENT_TYPE),
    ("response-content-language", CONTENT_LANGUAGE),
    ("response-expires", EXPIRES),
    ("response-cache-control", CACHE_CONTROL),
    ("response-content-disposition", CONTENT_DISPOSITION),
    ("response-content-encoding", CONTENT_ENCODING),
];

/// GetObject.
pub(crate) async fn get_object(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    let get = get_request(s3, request, (bucket, key), true)?;
    let customer_key = get.customer_key.clone();
    let outcome = match s3.service.get_object(get).await {
        Ok(outcome) => outcome,
        Err(failure) => return refused(failure, request, bucket, key),
    };
    s3.authorize_read(request, &outcome.info).await?;
    let mut response = empty(StatusCode::OK);
    *response.status_mut() = describe(response.headers_mut(), request, &outcome.info, &outcome.served)?;
    encryption::tell(response.headers_mut(), outcome.info.encryption.as_ref(), customer_key.as_ref());
    tell_end(s3, request, response.headers_mut(), &outcome.info).await;
    let length = outcome.served.length();
    request.room.reserve(length.min(READ_AHEAD_BYTES_MAX))?;
    let mut content = outcome.content;
    // What fails at once is told as an error; afterwards there is only the connection to cut.
    let first = content.next().await.transpose();
    let first = first.map_err(|failure| from_service(failure, Subject::object(bucket, key)))?;
    let content = stream::iter(first.map(Ok)).chain(content).map(|piece| piece.map_err(std::io::Error::other));
    *response.body_mut() = ResponseBody::stream(content.boxed(), Some(length));
    Ok(response)
}

/// HeadObject.
pub(crate) async fn head_object(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    // What is known of an object can be told without its key, but for the checksum.
    let needs_key = request.headers.contains_key("x-amz-checksum-mode");
    let get = get_request(s3, request, (bucket, key), needs_key)?;
    let customer_key = get.customer_key.clone();
    let outcome = match s3.service.head_object(get).await {
        Ok(outcome) => outcome,
        Err(failure) => return refused(failure, request, bucket, key),
    };
    s3.authorize_read(request, &outcome.info).await?;
    let mut response = empty(StatusCode::OK);
    *response.status_mut() = describe(response.headers_mut(), request, &outcome.info, &outcome.served)?;
    encryption::tell(response.headers_mut(), outcome.info.encryption.as_ref(), customer_key.as_ref());
    tell_end(s3, request, response.headers_mut(), &outcome.info).await;
    Ok(response)
}

/// Tells when a rule will end the object, unless a version was named.
async fn tell_end(s3: &S3, request: &ApiRequest, headers: &mut HeaderMap, info: &ObjectInfo) {
    if let (Ok((bucket, key)), None) = (object_of(request), parameter(request, "versionId")) {
        let ending = Ending { bucket, key, size: info.size, tags: &info.tags, modified: info.last_modified };
        tell_expiration(s3, headers, ending).await;
    }
}

fn get_request(s3: &S3, request: &ApiRequest, (bucket, key): (&str, &str), needs_key: bool) -> S3Result<GetRequest> {
    let version = named_version(request)?;
    encryption::refuse_on_read(&request.headers)?;
    let overrides = OVERRIDES.iter().any(|(name, _)| parameter(request, name).is_some());
    if overrides && matches!(request.caller, Caller::Anonymous) {
        let message = "Request specific response headers cannot be used for anonymous GET requests.";
        return Err(invalid_request(message));
    }
    let range = request.headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range);
    let part_number = part_number(request)?;
    if part_number.is_some() && request.headers.contains_key(RANGE) {
        return Err(invalid_request("Cannot specify both Range header and partNumber query parameter"));
    }
    Ok(GetRequest {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version,
        range: range.map(range_spec),
        part_number,
        conditions: read_conditions(&request.headers)?,
        customer_key: encryption::customer_key(s3, request)?,
        keys: if needs_key { keys_of(s3, request) } else { CallerKeys::default() },
    })
}

fn range_spec(range: ByteRange) -> RangeSpec {
    match range {
        ByteRange::Between { first, last } => RangeSpec::Between { first, last },
        ByteRange::From { first } => RangeSpec::From { first },
        ByteRange::Suffix { length } => RangeSpec::Suffix { length },
    }
}

fn part_number(request: &ApiRequest) -> S3Result<Option<u16>> {
    let Some(text) = parameter(request, "partNumber") else { return Ok(None) };
    match text.parse() {
        Ok(number @ 1..=PART_NUMBER_MAX) => Ok(Some(number)),
        _ => {
            let message = "Part number must be an integer between 1 and 10000, inclusive";
            Err(invalid_argument("partNumber", text, message))
        }
    }
}

/// 304 and 416 carry headers; the rest is an error document.
fn refused(failure: ServiceError, request: &ApiRequest, bucket: &str, key: &str) -> S3Result<ApiResponse> {
    match failure {
        ServiceError::NotModified { etag, last_modified } => {
            let mut response = empty(StatusCode::NOT_MODIFIED);
            set(response.headers_mut(), ETAG, &quoted(&etag));
            set(response.headers_mut(), LAST_MODIFIED, &http_date(last_modified));
            Ok(response)
        }
        ServiceError::InvalidRange { size } => {
            let asked = request.headers.get(RANGE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            Err(range_not_satisfiable(asked.unwrap_or_default(), size))
        }
        failure => {
            let nothing = matches!(failure, ServiceError::NoSuchKey);
            let mut told = with_version(from_service(failure, Subject::object(bucket, key)), request);
            if nothing {
                set(&mut told.headers, DELETE_MARKER, "false");
            }
            Err(told)
        }
    }
}

fn range_not_satisfiable(asked: String, size: u64) -> ApiError {
    let extra = [("RangeRequested", asked), ("ActualObjectSize", size.to_string())];
    let mut error = error_with("InvalidRange", 416, "The requested range is not satisfiable", extra);
    set(&mut error.headers, CONTENT_RANGE, &format!("bytes */{size}"));
    error
}

/// Writes the headers of an object; returns the status.
fn describe(headers: &mut HeaderMap, request: &ApiRequest, info: &ObjectInfo, served: &Served) -> S3Result<StatusCode> {
    headers.reserve(16 + info.user_metadata.len());
    headers.insert(ACCEPT_RANGES, BYTES);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(served.length()));
    set(headers, LAST_MODIFIED, &http_date(info.last_modified));
    set(headers, ETAG, &quoted(&info.etag));
    describe_content(headers, info);
    // A bucket that has never kept versions has its null versions all the same, for who asks.
    let asked = parameter(request, "versionId").and(Some(VersionRef::Null));
    tell_version(headers, info.version.or(asked));
    describe_lock(headers, &info.lock);
    if let Some(until) = info.restored_until {
        set(headers, RESTORE, &format!("ongoing-request=\"false\", expiry-date=\"{}\"", http_date(until)));
    }
    for (name, replaced) in &OVERRIDES {
        if let Some(value) = parameter(request, name) {
            set(headers, replaced.clone(), value);
        }
    }
    let partial = served.is_partial();
    if partial && let Some((first, last)) = served.bounds() {
        set(headers, CONTENT_RANGE, &format!("bytes {first}-{last}/{}", info.size));
    }
    if parameter(request, "partNumber").is_some()
        && let Some(parts) = info.parts_count
    {
        headers.insert(PARTS_COUNT, HeaderValue::from(parts));
    }
    if text(&request.headers, "x-amz-checksum-mode")?.is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED")) {
        describe_checksum(headers, info, served);
    }
    Ok(if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK })
}

fn describe_content(headers: &mut HeaderMap, info: &ObjectInfo) {
    let content = &info.content;
    headers.insert(CONTENT_TYPE, DEFAULT_CONTENT_TYPE);
    set_some(headers, CONTENT_TYPE, content.content_type.as_deref());
    set_some(headers, CONTENT_ENCODING, content.content_encoding.as_deref());
    set_some(headers, CONTENT_DISPOSITION, content.content_disposition.as_deref());
    set_some(headers, CONTENT_LANGUAGE, content.content_language.as_deref());
    set_some(headers, CACHE_CONTROL, content.cache_control.as_deref());
    set_some(headers, EXPIRES, content.expires.as_deref());
    set_some(headers, REDIRECT, content.website_redirect.as_deref());
    if info.storage_class != STORAGE_CLASS_DEFAULT {
        set(headers, STORAGE_CLASS, &info.storage_class);
    }
    if info.tags_count > 0 {
        headers.insert(TAGGING_COUNT, HeaderValue::from(info.tags_count));
    }
    for (name, value) in &info.user_metadata {
        let name = format!("{USER_METADATA_PREFIX}{name}");
        if let Ok(name) = HeaderName::try_from(name) {
            set(headers, name, value);
        }
    }
}

/// A range has no checksum of its own; a part has, and so has the whole.
fn describe_checksum(headers: &mut HeaderMap, info: &ObjectInfo, served: &Served) {
    let whole = served.length() == info.size;
    match (served.part(), &info.checksum) {
        (Some(part), _) => {
            let Some(checksum) = &part.checksum else { return };
            set_checksum(headers, checksum, &checksum.text());
        }
        (None, Some(checksum)) if whole => {
            set_checksum(headers, checksum, &object_text(checksum, info.checksum_type, &info.etag));
        }
        _ => return,
    }
    if let Some(kind) = info.checksum_type {
        set(headers, CHECKSUM_TYPE, type_name(kind));
    }
}
