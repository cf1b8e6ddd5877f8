//! The condition keys of a request.
//!
//! What the server knows is set; what the request says of itself is offered, and never replaces what was set.

use http::header::{REFERER, USER_AGENT};
use karri_iam_policy::Context;
use karri_objstore_gateway::{ApiRequest, AuthKind};
use karri_ring_types::Timestamp;

use crate::config::tags;
use crate::copy_source::parse_copy_source;
use crate::dispatch::parameter;

/// Headers that are condition keys, as `s3:` and their name.
const HEADER_KEYS: [&str; 18] = [
    "x-amz-acl",
    "x-amz-grant-read",
    "x-amz-grant-write",
    "x-amz-grant-read-acp",
    "x-amz-grant-write-acp",
    "x-amz-grant-full-control",
    "x-amz-content-sha256",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "x-amz-tagging-directive",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
];

/// Parameters that are condition keys, with the name of each.
const PARAMETER_KEYS: [(&str, &str); 4] = [
    ("s3:prefix", "prefix"),
    ("s3:delimiter", "delimiter"),
    ("s3:max-keys", "max-keys"),
    ("s3:VersionId", "versionId"),
];

/// The same header under the key that AWS gives it.
const LOCK_KEYS: [(&str, &str); 3] = [
    ("s3:object-lock-mode", "x-amz-object-lock-mode"),
    ("s3:object-lock-retain-until-date", "x-amz-object-lock-retain-until-date"),
    ("s3:object-lock-legal-hold", "x-amz-object-lock-legal-hold"),
];

const MILLIS_PER_SECOND: i64 = 1_000;
const DAY_MILLIS: i64 = 24 * 60 * 60 * MILLIS_PER_SECOND;

/// The keys of `request`, in a cluster of `region`.
pub(super) fn of_request<'a>(request: &'a ApiRequest, now: Timestamp, region: &'a str) -> Context<'a> {
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let mut context = Context::new(now_ms / MILLIS_PER_SECOND);
    context.set("aws:SourceIp", request.remote.to_string());
    context.set("aws:SecureTransport", if request.secure { "true" } else { "false" });
    if let Some(version) = request.tls_version {
        context.set("s3:TlsVersion", version);
    }
    context.set("aws:RequestedRegion", region);
    context.set("aws:ViaAWSService", "false");
    signature(request, now_ms, &mut context);
    if let Some(agent) = request.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()) {
        context.offer("aws:UserAgent", agent);
    }
    if let Some(referer) = request.headers.get(REFERER).and_then(|value| value.to_str().ok()) {
        context.offer("aws:Referer", referer);
    }
    for (key, name) in PARAMETER_KEYS {
        if let Some(value) = parameter(request, name) {
            context.offer(key, value);
        }
    }
    for (key, name) in LOCK_KEYS {
        if let Some(value) = header(request, name) {
            context.offer(key, value);
        }
    }
    for name in HEADER_KEYS {
        if let Some(value) = header(request, name) {
            context.offer(format!("s3:{name}"), value);
        }
    }
    remaining_retention(request, now_ms, &mut context);
    let source = request.headers.get("x-amz-copy-source").map(|value| parse_copy_source(value.as_bytes()));
    if let Some(Ok(source)) = source {
        // Without the slash that may stand before it, and decoded: one object has one name.
        context.offer("s3:x-amz-copy-source", format!("{}/{}", source.bucket, source.key));
    }
    if let Some(Ok(given)) = header(request, "x-amz-tagging").map(tags::of_header) {
        request_tags(&given, &mut context);
    }
    context
}

/// The tags that a request gives an object.
pub(super) fn request_tags(tags: &[(String, String)], context: &mut Context<'_>) {
    for (name, value) in tags {
        context.offer(format!("s3:RequestObjectTag/{name}"), value.clone());
    }
    context.offer_all("s3:RequestObjectTagKeys", tags.iter().map(|(name, _)| name.clone()));
}

/// The tags that an object has.
pub(super) fn existing_tags(tags: &[(String, String)], context: &mut Context<'_>) {
    for (name, value) in tags {
        context.set(format!("s3:ExistingObjectTag/{name}"), value.clone());
    }
}

fn header<'a>(request: &'a ApiRequest, name: &str) -> Option<&'a str> {
    request.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

fn signature(request: &ApiRequest, now_ms: i64, context: &mut Context<'_>) {
    let (auth_type, version) = match request.auth {
        AuthKind::HeaderV4 => ("REST-HEADER", "AWS4-HMAC-SHA256"),
        AuthKind::PresignedV4 => ("REST-QUERY-STRING", "AWS4-HMAC-SHA256"),
        AuthKind::HeaderV2 => ("REST-HEADER", "AWS"),
        AuthKind::PresignedV2 => ("REST-QUERY-STRING", "AWS"),
        AuthKind::PostForm => {
            context.set("s3:authType", "POST");
            return;
        }
        // Whatever else there is says nothing here that a policy could count on.
        _ => return,
    };
    context.set("s3:authType", auth_type);
    context.set("s3:signatureversion", version);
    // From the verified signature: a name or a date that is written in another way must not hide it.
    if let Some(signed) = request.signed_at_seconds.and_then(|seconds| i64::try_from(seconds).ok()) {
        let age_ms = now_ms.saturating_sub(signed.saturating_mul(MILLIS_PER_SECOND));
        context.set("s3:signatureAge", age_ms.max(0).to_string());
    }
}

/// Whole days for which a lock that is asked for would last.
fn remaining_retention(request: &ApiRequest, now_ms: i64, context: &mut Context<'_>) {
    let until = header(request, "x-amz-object-lock-retain-until-date");
    if let Some(until) = until.and_then(karri_objstore_wire::Timestamp::parse_iso8601) {
        let days = until.millis().saturating_sub(now_ms) / DAY_MILLIS;
        context.offer("s3:object-lock-remaining-retention-days", days.to_string());
    }
}
