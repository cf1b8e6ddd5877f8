//! From a request of the gateway to the handler of its operation.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use karri_objstore_gateway::{
    ApiError, ApiRequest, ApiResponse, AuthKind, Backend, Caller, Crossing, ErrorContext, OperationName, Principal,
};
use karri_objstore_service::{BucketInfo, BucketSettings, ObjectService};
use karri_objstore_wire::{Operation, WireRequest, route};
use karri_ring_types::Clock;
use tracing::Instrument;

use crate::access_log::{self, AccessLog, Seen};
use crate::authorize::{Identities, says_that_it_pays};
use crate::error::{S3Result, access_denied, error_with, internal, invalid_argument};
use crate::fault::{Subject, from_service, from_wire};
use crate::headers::text;
use crate::key_service::KeyService;
use crate::{
    acl, attributes, bucket, config, copy, delete, get, lifecycle, list, list_versions, multipart, multipart_list,
    names, object_lock, post, put, rename, restore, subresource, tagging, versioning, website,
};

const REQUEST_CHARGED: HeaderName = HeaderName::from_static("x-amz-request-charged");

/// Settings of the S3 front.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// The one region of this cluster, as in signatures and `LocationConstraint`.
    pub region: String,
    /// Take clients' own encryption keys over connections without TLS too, where others may read them.
    pub customer_keys_over_http: bool,
}

impl S3Config {
    /// As AWS does it, in `region`.
    pub fn new(region: impl Into<String>) -> Self {
        Self { region: region.into(), customer_keys_over_http: false }
    }
}

/// The S3 operations over an object service.
pub struct S3 {
    pub(crate) service: Arc<ObjectService>,
    pub(crate) identities: Arc<dyn Identities>,
    pub(crate) keys: Arc<dyn KeyService>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) region: String,
    pub(crate) customer_keys_over_http: bool,
    pub(crate) access_log: Arc<AccessLog>,
}

#[async_trait]
impl Backend for S3 {
    async fn call(&self, mut request: ApiRequest) -> ApiResponse {
        if request.website {
            let span = tracing::error_span!("request", id = %request.request_id, operation = "Website");
            return website::answer(self, request).instrument(span).await;
        }
        if matches!(request.auth, AuthKind::PresignedV4 | AuthKind::PresignedV2) {
            lower_hoisted_headers(&mut request);
        }
        if request.method == Method::OPTIONS {
            let answer = config::cors::preflight(self, &request).await;
            let mut response = self.answered("Preflight", answer, &request);
            access_log::watch(self, Seen::Preflight, &request, &mut response).await;
            return response;
        }
        let is_form = request.form.is_some();
        // As far as permissions go, a form is a PUT.
        let operation = if is_form { Ok(Operation::PutObject) } else { operation(&request) };
        let named = match &operation {
            _ if is_form => "PostObject",
            Ok(operation) => operation.as_str(),
            Err(_) => "Unknown",
        };
        let seen = operation.as_ref().map_or(Seen::Unknown, |operation| Seen::Operation(*operation));
        let answer = match operation {
            Ok(operation) => {
                // Every line that is logged below here names the request.
                let span = tracing::error_span!("request", id = %request.request_id, operation = named);
                self.answer(operation, &mut request).instrument(span).await
            }
            Err(refusal) => Err(refusal),
        };
        let is_missing = matches!(&answer, Err(failure) if failure.code == "NoSuchBucket");
        let mut response = self.answered(named, answer, &request);
        config::cors::decorate(self, &request, &mut response).await;
        if !is_missing {
            access_log::watch(self, seen, &request, &mut response).await;
        }
        response
    }

    async fn tell_origin(&self, request: Crossing<'_>, response: &mut ApiResponse) {
        config::cors::tell_origin(self, request, response).await;
    }
}

impl S3 {
    /// Serves `service` to the principals that `identities` knows; named keys of encryption are those of `keys`.
    pub fn new(
        service: Arc<ObjectService>,
        identities: Arc<dyn Identities>,
        keys: Arc<dyn KeyService>,
        clock: Arc<dyn Clock>,
        config: S3Config,
    ) -> Self {
        Self {
            service,
            identities,
            keys,
            clock,
            customer_keys_over_http: config.customer_keys_over_http,
            region: config.region,
            access_log: Arc::default(),
        }
    }

    fn answered(&self, named: &'static str, answer: S3Result<ApiResponse>, request: &ApiRequest) -> ApiResponse {
        let mut response = match answer {
            Ok(response) => response,
            Err(failure) => failure.response(&ErrorContext::of(request, &self.region)),
        };
        response.extensions_mut().insert(OperationName(named));
        response
    }

    /// Authorises and carries out one operation.
    pub(crate) async fn answer(&self, operation: Operation, request: &mut ApiRequest) -> S3Result<ApiResponse> {
        if let Some(bucket) = &request.bucket {
            names::check_bucket_name(bucket)?;
        }
        if let Some(key) = &request.key {
            names::check_key(key)?;
        }
        self.authorize_operation(operation, request).await?;
        self.check_expected_owner(operation, request).await?;
        let is_read = matches!(operation, Operation::GetObject | Operation::HeadObject);
        match self.handle(operation, request).await {
            Err(failure) if is_read && failure.code == "NoSuchKey" => Err(self.hide_missing(request, failure).await),
            Ok(mut response) if says_that_it_pays(request) => {
                self.tell_charge(request, &mut response).await;
                Ok(response)
            }
            answer => answer,
        }
    }

    /// Tells a caller from outside that it was it who paid.
    async fn tell_charge(&self, request: &ApiRequest, response: &mut ApiResponse) {
        let (Some(bucket), Some(caller)) = (request.bucket.as_deref(), request.caller.principal()) else { return };
        let Ok(rules) = self.rules(bucket).await else { return };
        if rules.has_requesters_pay() && rules.settings().info().owner.account_id != caller.account_id {
            response.headers_mut().insert(REQUEST_CHARGED, HeaderValue::from_static("requester"));
        }
    }

    /// Without the right to list a bucket, a key that is not there looks like one that may not be read.
    async fn hide_missing(&self, request: &ApiRequest, failure: ApiError) -> ApiError {
        let (Some(bucket), Some(key)) = (request.bucket.as_deref(), request.key.as_deref()) else { return failure };
        if self.may_know_missing(request, bucket, key).await { failure } else { access_denied() }
    }

    /// The record of `bucket`, which must exist.
    pub(crate) async fn bucket_info(&self, bucket: &str) -> S3Result<BucketInfo> {
        self.service.head_bucket(bucket).await.map_err(|failure| from_service(failure, Subject::bucket(bucket)))
    }

    /// Settings of `bucket` for what comes after the answer, if they are to be had: who was just told that the metadata
    /// cannot be reached does not wait for them once more.
    pub(crate) async fn settings_after(&self, bucket: &str, answered: StatusCode) -> Option<Arc<BucketSettings>> {
        let settings = self.service.bucket_settings(bucket);
        match answered {
            StatusCode::SERVICE_UNAVAILABLE => settings.now_or_never()?.ok(),
            _ => settings.await.ok(),
        }
    }

    async fn check_expected_owner(&self, operation: Operation, request: &ApiRequest) -> S3Result<()> {
        if operation == Operation::CreateBucket {
            return Ok(());
        }
        let Some(bucket) = request.bucket.as_deref() else { return Ok(()) };
        self.check_owner(request, "x-amz-expected-bucket-owner", bucket).await
    }

    /// Refuses when the account in `header` does not own `bucket`.
    pub(crate) async fn check_owner(&self, request: &ApiRequest, header: &str, bucket: &str) -> S3Result<()> {
        let Some(expected) = text(&request.headers, header)? else { return Ok(()) };
        match self.bucket_info(bucket).await?.owner.account_id == expected {
            true => Ok(()),
            false => Err(access_denied()),
        }
    }

    async fn handle(&self, operation: Operation, request: &mut ApiRequest) -> S3Result<ApiResponse> {
        match operation {
            Operation::PutObject if request.form.is_some() => post::post_object(self, request).await,
            Operation::PutObject => put::put_object(self, request).await,
            Operation::GetObject => get::get_object(self, request).await,
            Operation::HeadObject => get::head_object(self, request).await,
            Operation::DeleteObject => delete::delete_object(self, request).await,
            Operation::DeleteObjects => delete::delete_objects(self, request).await,
            Operation::CopyObject => copy::copy_object(self, request).await,
            Operation::RenameObject => rename::rename_object(self, request).await,
            Operation::GetObjectAttributes => attributes::get_object_attributes(self, request).await,
            Operation::ListObjects => list::list_objects(self, request).await,
            Operation::ListObjectsV2 => list::list_objects_v2(self, request).await,
            Operation::ListObjectVersions => list_versions::list_object_versions(self, request).await,
            Operation::CreateMultipartUpload => multipart::create_multipart_upload(self, request).await,
            Operation::UploadPart => put::upload_part(self, request).await,
            Operation::UploadPartCopy => copy::upload_part_copy(self, request).await,
            Operation::CompleteMultipartUpload => multipart::complete_multipart_upload(self, request).await,
            Operation::AbortMultipartUpload => multipart::abort_multipart_upload(self, request).await,
            Operation::ListParts => multipart_list::list_parts(self, request).await,
            Operation::ListMultipartUploads => multipart_list::list_multipart_uploads(self, request).await,
            Operation::ListBuckets => bucket::list_buckets(self, request).await,
            Operation::CreateBucket => bucket::create_bucket(self, request).await,
            Operation::HeadBucket => bucket::head_bucket(self, request).await,
            Operation::DeleteBucket => bucket::delete_bucket(self, request).await,
            Operation::GetBucketLocation => bucket::get_bucket_location(self, request).await,
            Operation::GetBucketVersioning => versioning::get_bucket_versioning(self, request).await,
            Operation::PutBucketVersioning => versioning::put_bucket_versioning(self, request).await,
            Operation::GetBucketLifecycleConfiguration => lifecycle::get(self, request).await,
            Operation::PutBucketLifecycleConfiguration => lifecycle::put(self, request).await,
            Operation::DeleteBucketLifecycle => lifecycle::delete(self, request).await,
            Operation::RestoreObject => restore::restore_object(self, request).await,
            Operation::GetObjectLockConfiguration => object_lock::get_configuration(self, request).await,
            Operation::PutObjectLockConfiguration => object_lock::put_configuration(self, request).await,
            Operation::GetObjectRetention => object_lock::get_retention(self, request).await,
            Operation::PutObjectRetention => object_lock::put_retention(self, request).await,
            Operation::GetObjectLegalHold => object_lock::get_legal_hold(self, request).await,
            Operation::PutObjectLegalHold => object_lock::put_legal_hold(self, request).await,
            Operation::GetBucketAcl | Operation::GetObjectAcl => acl::get_acl(self, operation, request).await,
            Operation::PutBucketAcl | Operation::PutObjectAcl => acl::put_acl(self, operation, request).await,
            Operation::GetObjectTagging => tagging::get(self, request).await,
            Operation::PutObjectTagging => tagging::put(self, request).await,
            Operation::DeleteObjectTagging => tagging::delete(self, request).await,
            other => match config::handle(self, other, request).await {
                Some(answer) => answer,
                None => subresource::read(self, other, request).await,
            },
        }
    }
}

/// The operation that a request names, and no other.
fn operation(request: &ApiRequest) -> S3Result<Operation> {
    route(&wire_request(request)).map_err(|refusal| match request.key.as_deref() {
        // No object has a torrent here, as in most regions of AWS.
        Some(key) if request.method == Method::GET && parameter(request, "torrent").is_some() => {
            error_with("NoSuchKey", 404, "The specified key does not exist.", [("Key", key.to_owned())])
        }
        _ => from_wire(refusal.into()),
    })
}

/// Presigned URLs may carry `x-amz-*` headers as signed query parameters: they count as headers.
fn lower_hoisted_headers(request: &mut ApiRequest) {
    for (name, value) in &request.query {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("x-amz-") {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()))
            && !request.headers.contains_key(&name)
        {
            request.headers.insert(name, value);
        }
    }
}

/// The request as the wire layer's parsers read it.
pub(crate) fn wire_request(request: &ApiRequest) -> WireRequest<'_> {
    WireRequest {
        method: &request.method,
        bucket: request.bucket.as_deref(),
        key: request.key.as_deref(),
        query: &request.query,
        headers: &request.headers,
    }
}

/// A request as the parser of a document wants it, for a document that was kept.
pub(crate) fn stored_request<T>(parse: impl FnOnce(&WireRequest<'_>) -> T) -> T {
    let headers = HeaderMap::new();
    parse(&WireRequest { method: &Method::PUT, bucket: Some(""), key: Some(""), query: &[], headers: &headers })
}

/// The bucket of a routed bucket or object operation.
pub(crate) fn bucket_of(request: &ApiRequest) -> S3Result<&str> {
    request.bucket.as_deref().ok_or_else(internal)
}

/// Bucket and key of a routed object operation.
pub(crate) fn object_of(request: &ApiRequest) -> S3Result<(&str, &str)> {
    match (request.bucket.as_deref(), request.key.as_deref()) {
        (Some(bucket), Some(key)) => Ok((bucket, key)),
        _ => Err(internal()),
    }
}

/// The first value of a query parameter.
pub(crate) fn parameter<'a>(request: &'a ApiRequest, name: &str) -> Option<&'a str> {
    request.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// As [`parameter`], without an empty value.
pub(crate) fn filled<'a>(request: &'a ApiRequest, name: &str) -> Option<&'a str> {
    parameter(request, name).filter(|value| !value.is_empty())
}

/// A whole number from 0 to 2^31-1, as in `max-keys`.
pub(crate) fn number(request: &ApiRequest, name: &'static str) -> S3Result<Option<u32>> {
    let Some(value) = filled(request, name) else { return Ok(None) };
    match value.parse::<i64>() {
        Ok(number) if (0..=i64::from(i32::MAX)).contains(&number) => Ok(u32::try_from(number).ok()),
        Ok(_) => {
            let message = format!("Argument {name} must be an integer between 0 and 2147483647");
            Err(invalid_argument(name, value, message))
        }
        Err(_) => {
            let message = format!("Provided {name} not an integer or within integer range");
            Err(invalid_argument(name, value, message))
        }
    }
}

/// Who calls; anonymous callers own nothing.
pub(crate) fn principal(request: &ApiRequest) -> Result<&Principal, ApiError> {
    match &request.caller {
        Caller::Principal(principal) => Ok(principal),
        Caller::Anonymous => Err(access_denied()),
    }
}
