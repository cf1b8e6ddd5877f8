//! Websites of buckets, as AWS's website endpoint serves them: documents and redirects for anybody, pages for people
//! instead of documents for programs.

mod page;
mod rules;

use std::sync::Arc;

use http::header::{ALLOW, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse, OperationName, ResponseBody};
use karri_objstore_service::{BucketConfigKind, ObjectRef, ServiceError};
use karri_objstore_wire::Operation;

#[cfg(any(test, fuzzing))]
pub(crate) use self::rules::try_site;
use self::rules::{Asked, Move, Site};
use crate::S3;
use crate::access_log::{self, Seen};
use crate::config::cors;
use crate::dispatch::bucket_of;
use crate::error::{S3Result, error_with};
use crate::fault::{Subject, from_service};
use crate::names::is_bucket_name;
use crate::response::{empty, set};

const REDIRECT: HeaderName = HeaderName::from_static("x-amz-website-redirect-location");
/// Headers by which a visitor asks for less than the document.
const OF_ONE_DOCUMENT: [HeaderName; 6] =
    [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

/// Answers a visitor.
pub(crate) async fn answer(s3: &S3, mut request: ApiRequest) -> ApiResponse {
    take_out_api_headers(&mut request.headers);
    find_bucket(s3, &mut request).await;
    let mut response = match request.method {
        Method::OPTIONS => match cors::preflight(s3, &request).await {
            Ok(allowed) => allowed,
            Err(refusal) => page::of_error(&refusal, &request, None),
        },
        _ => match visit(s3, &mut request).await {
            Ok(shown) => shown,
            Err(failure) => page::of_error(&failure, &request, None),
        },
    };
    response.extensions_mut().insert(OperationName("Website"));
    cors::decorate(s3, &request, &mut response).await;
    access_log::watch(s3, Seen::Website, &request, &mut response).await;
    response
}

/// A website knows nothing of the API's headers, signatures among them.
fn take_out_api_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-amz-")).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(http::header::AUTHORIZATION);
}

/// The bucket before the domain, else the one that is called as the whole host.
async fn find_bucket(s3: &S3, request: &mut ApiRequest) {
    let host = request.host.rsplit_once(':').map_or(request.host.as_str(), |(name, _)| name).to_ascii_lowercase();
    let Some(named) = request.bucket.as_deref() else { return };
    if named != host
        && matches!(s3.service.bucket_settings(named).await, Err(ServiceError::NoSuchBucket))
        && s3.service.bucket_settings(&host).await.is_ok()
    {
        request.bucket = Some(host);
    }
}

async fn visit(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let site = site_of(s3, bucket_of(request)?).await?;
    let key = request.key.clone().unwrap_or_default();
    if request.method != Method::GET && request.method != Method::HEAD {
        return Err(method_not_allowed(request, &key));
    }
    let asked = Asked { key: &key, host: request.host.clone(), secure: request.secure, uri: request.uri.clone() };
    if let Some(all) = site.redirect_of_all(&asked) {
        return Ok(moved(&all));
    }
    if let Some(redirect) = site.redirect(&asked, None) {
        return Ok(moved(&redirect));
    }
    let document = match key.is_empty() || key.ends_with('/') {
        true => format!("{key}{}", site.index()),
        false => key.clone(),
    };
    let failure = match fetch(s3, request, &document).await {
        Ok(shown) => return Ok(shown),
        Err(failure) => failure,
    };
    if failure.code == "NoSuchKey" && document == key {
        let index = format!("{key}/{}", site.index());
        if is_there(s3, request, &index).await? {
            return Ok(moved(&Move { status: StatusCode::FOUND, location: folder(&asked) }));
        }
    }
    if let Some(redirect) = site.redirect(&asked, Some(failure.status)) {
        return Ok(moved(&redirect));
    }
    request.key = Some(key);
    Ok(error_document(s3, request, &site, failure).await)
}

async fn site_of(s3: &S3, bucket: &str) -> S3Result<Arc<Site>> {
    if !is_bucket_name(bucket) {
        return Err(from_service(ServiceError::NoSuchBucket, Subject::bucket(bucket)));
    }
    let settings = s3.service.bucket_settings(bucket).await;
    let settings = settings.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    let read = settings.compiled(BucketConfigKind::Website, Site::read);
    let site = read.and_then(|site| (*site).clone());
    site.ok_or_else(|| {
        let message = "The specified bucket does not have a website configuration";
        error_with("NoSuchWebsiteConfiguration", 404, message, [("BucketName", bucket.to_owned())])
    })
}

fn method_not_allowed(request: &ApiRequest, key: &str) -> ApiError {
    let kind = if key.is_empty() { "BUCKET" } else { "OBJECT" };
    let extra = [("Method", request.method.to_string()), ("ResourceType", kind.to_owned())];
    let mut told =
        error_with("MethodNotAllowed", 405, "The specified method is not allowed against this resource.", extra);
    told.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    told
}

/// The object `key`, or where it says that it is. To visitors what is not there is missing, whether or not they may
/// list the bucket.
async fn fetch(s3: &S3, request: &mut ApiRequest, key: &str) -> S3Result<ApiResponse> {
    request.key = Some(key.to_owned());
    request.resource = format!("/{}/{key}", bucket_of(request)?);
    let operation = if request.method == Method::HEAD { Operation::HeadObject } else { Operation::GetObject };
    match s3.answer(operation, request).await {
        Ok(shown) => Ok(match shown.headers().get(REDIRECT) {
            Some(location) if shown.status().is_success() => {
                let mut response = empty(StatusCode::MOVED_PERMANENTLY);
                response.headers_mut().insert(LOCATION, location.clone());
                response
            }
            _ => shown,
        }),
        Err(failure) if failure.code == "AccessDenied" && !is_there(s3, request, key).await? => {
            let bucket = bucket_of(request)?;
            Err(from_service(ServiceError::NoSuchKey, Subject::object(bucket, key)))
        }
        Err(failure) => Err(failure),
    }
}

async fn is_there(s3: &S3, request: &ApiRequest, key: &str) -> S3Result<bool> {
    let bucket = bucket_of(request)?;
    let object = ObjectRef { bucket: bucket.to_owned(), key: key.to_owned(), version: None };
    match s3.service.object_info(&object).await {
        Ok(_) => Ok(true),
        Err(ServiceError::NoSuchKey | ServiceError::DeleteMarker { .. } | ServiceError::KeyTooLong) => Ok(false),
        Err(failure) => Err(from_service(failure, Subject::object(bucket, key))),
    }
}

/// The page that the site shows for an error, with the status of the error; else one that is made here.
async fn error_document(s3: &S3, request: &mut ApiRequest, site: &Site, failure: ApiError) -> ApiResponse {
    let Some(document) = site.error_document().filter(|_| (400..500).contains(&failure.status)) else {
        return page::of_error(&failure, request, None);
    };
    let asked = request.key.take();
    for name in OF_ONE_DOCUMENT {
        request.headers.remove(name);
    }
    let fetched = fetch(s3, request, document).await;
    request.key = asked;
    match fetched {
        Ok(mut shown) => {
            if shown.status() == StatusCode::OK {
                *shown.status_mut() = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::NOT_FOUND);
                page::tell(shown.headers_mut(), &failure);
            }
            shown
        }
        Err(second) => page::of_error(&failure, request, Some(&second)),
    }
}

fn moved(redirect: &Move) -> ApiResponse {
    let mut response = empty(redirect.status);
    set(response.headers_mut(), LOCATION, &redirect.location);
    *response.body_mut() = ResponseBody::empty();
    response
}

/// The same path as a folder. Two slashes at its beginning would be a host.
fn folder(asked: &Asked<'_>) -> String {
    let path = asked.uri.path();
    match path.strip_prefix("//") {
        Some(rest) => format!("/%2F{rest}/"),
        None => format!("{path}/"),
    }
}
