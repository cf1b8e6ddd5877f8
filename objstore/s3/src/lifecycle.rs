//! Lifecycle configuration of buckets: its document in and out, and `x-amz-expiration`.

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::{BucketConfigKind, Lifecycle, ObjectRef, TransitionMinimum};
use karri_objstore_wire::{
    Operation, parse_put_bucket_lifecycle_configuration, types, write_get_bucket_lifecycle_configuration,
    write_put_bucket_lifecycle_configuration,
};
use karri_ring_types::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::S3;
use crate::body::{document, verify_claims};
use crate::dispatch::{bucket_of, wire_request};
use crate::encoding::http_date;
use crate::error::{S3Result, error_with, internal, malformed_xml};
use crate::fault::{Subject, from_service, from_wire};
use crate::lifecycle_rules::compile;
use crate::response::{empty, set, wire, xml};

const EXPIRATION: HeaderName = HeaderName::from_static("x-amz-expiration");
const ABORT_DATE: HeaderName = HeaderName::from_static("x-amz-abort-date");
const ABORT_RULE: HeaderName = HeaderName::from_static("x-amz-abort-rule-id");
const MINIMUM: HeaderName = HeaderName::from_static("x-amz-transition-default-minimum-object-size");

/// What a rule's name keeps in `x-amz-expiration`, where AWS has it URL-encoded.
const RULE_KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// PutBucketLifecycleConfiguration.
pub(crate) async fn put(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let body = document(request, Operation::PutBucketLifecycleConfiguration).await?;
    verify_claims(request, &body)?;
    let input = parse_put_bucket_lifecycle_configuration(&wire_request(request), &body).map_err(from_wire)?;
    let mut rules = input.lifecycle_configuration.ok_or_else(malformed_xml)?.rules;
    if rules.is_empty() {
        return Err(malformed_xml());
    }
    for (number, rule) in rules.iter_mut().enumerate() {
        if rule.id.as_deref().is_none_or(str::is_empty) {
            rule.id = Some(format!("{}-{number}", request.request_id));
        }
    }
    let minimum = match input.transition_default_minimum_object_size {
        Some(types::TransitionDefaultMinimumObjectSize::VariesByStorageClass) => TransitionMinimum::ByClass,
        _ => TransitionMinimum::All128KiB,
    };
    let compiled = compile(&rules)?;
    let output = types::GetBucketLifecycleConfigurationOutput { rules, ..Default::default() };
    let printed = write_get_bucket_lifecycle_configuration(&output).body.ok_or_else(internal)?;
    let lifecycle = Lifecycle { rules: compiled, minimum, document: printed.to_vec() };
    let bucket = bucket_of(request)?;
    let done = s3.service.put_bucket_config(bucket, BucketConfigKind::Lifecycle, lifecycle.to_bytes()).await;
    done.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    Ok(wire(write_put_bucket_lifecycle_configuration(&types::PutBucketLifecycleConfigurationOutput {
        transition_default_minimum_object_size: Some(wire_minimum(minimum)),
    })))
}

fn wire_minimum(minimum: TransitionMinimum) -> types::TransitionDefaultMinimumObjectSize {
    match minimum {
        TransitionMinimum::All128KiB => types::TransitionDefaultMinimumObjectSize::AllStorageClasses128K,
        TransitionMinimum::ByClass => types::TransitionDefaultMinimumObjectSize::VariesByStorageClass,
    }
}

/// GetBucketLifecycleConfiguration.
pub(crate) async fn get(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let found = s3.service.bucket_config(bucket, BucketConfigKind::Lifecycle).await;
    let Some(bytes) = found.map_err(|failure| from_service(failure, Subject::bucket(bucket)))? else {
        let extra = [("BucketName", bucket.to_owned())];
        let message = "The lifecycle configuration does not exist";
        return Err(error_with("NoSuchLifecycleConfiguration", 404, message, extra));
    };
    let lifecycle = Lifecycle::from_bytes(&bytes).map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    let mut response = xml(Bytes::from(lifecycle.document));
    set(response.headers_mut(), MINIMUM, wire_minimum(lifecycle.minimum).as_str());
    Ok(response)
}

/// DeleteBucketLifecycle.
pub(crate) async fn delete(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let done = s3.service.delete_bucket_config(bucket, BucketConfigKind::Lifecycle).await;
    done.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// A current version, as rules see it.
pub(crate) struct Ending<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    pub(crate) size: u64,
    pub(crate) tags: &'a [(String, String)],
    pub(crate) modified: Timestamp,
}

/// As [`tell_expiration`], of an object that was written just now and is looked up, if there are rules at all.
pub(crate) async fn tell_expiration_of(s3: &S3, headers: &mut HeaderMap, object: ObjectRef) {
    let Ok(settings) = s3.service.bucket_settings(&object.bucket).await else { return };
    if !settings.has(BucketConfigKind::Lifecycle) {
        return;
    }
    let Ok(info) = s3.service.object_info(&object).await else { return };
    let (bucket, key) = (object.bucket.as_str(), object.key.as_str());
    let ending = Ending { bucket, key, size: info.size, tags: &info.tags, modified: info.last_modified };
    tell_expiration(s3, headers, ending).await;
}

/// Tells when a rule will abort an upload.
pub(crate) async fn tell_abort(s3: &S3, headers: &mut HeaderMap, bucket: &str, key: &str, initiated: Timestamp) {
    let Ok(settings) = s3.service.bucket_settings(bucket).await else { return };
    let read = |bytes: &[u8]| Lifecycle::from_bytes(bytes).unwrap_or_default();
    let Some(lifecycle) = settings.compiled(BucketConfigKind::Lifecycle, read) else { return };
    if let Some((end, rule)) = lifecycle.upload_end(key, initiated) {
        set(headers, ABORT_DATE, &http_date(end));
        set(headers, ABORT_RULE, rule);
    }
}

/// Tells when a rule will end a current version. That it cannot be told now is no reason to fail.
pub(crate) async fn tell_expiration(s3: &S3, headers: &mut HeaderMap, ending: Ending<'_>) {
    let Ending { bucket, key, size, tags, modified } = ending;
    let Ok(settings) = s3.service.bucket_settings(bucket).await else { return };
    let read = |bytes: &[u8]| Lifecycle::from_bytes(bytes).unwrap_or_default();
    let Some(lifecycle) = settings.compiled(BucketConfigKind::Lifecycle, read) else { return };
    if let Some((end, rule)) = lifecycle.expiry(key, size, tags, modified) {
        let rule = utf8_percent_encode(rule, RULE_KEPT);
        set(headers, EXPIRATION, &format!("expiry-date=\"{}\", rule-id=\"{rule}\"", http_date(end)));
    }
}
