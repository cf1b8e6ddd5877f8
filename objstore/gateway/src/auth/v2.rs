//! Signature Version 2, for old clients: HMAC-SHA1 over a few lines of the request. It binds neither the body nor
//! the host, so it is off unless the configuration asks for it.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_TYPE, DATE, HeaderMap};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use crate::api::Credential;
use crate::auth::Head;
use crate::auth::claim::{missing_date, single};
use crate::auth::time::{format_extended, parse_basic, parse_http};
use crate::auth::v4::{check_skew, signature_mismatch};
use crate::error::ApiError;

/// Query parameters that are part of the signed resource, in order.
const SIGNED_PARAMETERS: [&str; 34] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "delete",
    "encryption",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// The one header that clients move into the query of a presigned request; it is signed as a header.
const TOKEN: &str = "x-amz-security-token";

/// Parameters that make another request of a path and are not signed: they are younger than the version.
const UNSIGNED_SUB_RESOURCES: [&str; 13] = [
    "abac",
    "attributes",
    "intelligent-tiering",
    "legal-hold",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "ownershipControls",
    "renameObject",
    "retention",
    "select",
    "session",
];

/// What a request claims.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) access_key: &'a str,
    signature: &'a str,
    /// Seconds since 1970, as text, for presigned requests.
    expires: Option<&'a str>,
}

impl Claim<'_> {
    pub(crate) fn presigned(&self) -> bool {
        self.expires.is_some()
    }
}

/// Reads `Authorization: AWS <access key>:<signature>`.
pub(crate) fn from_header(authorization: &str) -> Result<Claim<'_>, ApiError> {
    let rest = authorization.strip_prefix("AWS ").unwrap_or_default().trim();
    match rest.rsplit_once(':') {
        Some((access_key, signature)) if !access_key.is_empty() => Ok(Claim { access_key, signature, expires: None }),
        _ => {
            let message = "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature";
            Err(ApiError::new("InvalidArgument", 400, message).with("ArgumentName", "Authorization"))
        }
    }
}

/// Reads the parameters of a presigned request.
pub(crate) fn from_query<'a>(head: &Head<'a>) -> Result<Claim<'a>, ApiError> {
    let once = |name: &str| {
        let mut values = head.target.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    };
    match (once("AWSAccessKeyId"), once("Signature"), once("Expires")) {
        (Some(access_key), Some(signature), Some(expires)) => {
            Ok(Claim { access_key, signature, expires: Some(expires) })
        }
        _ => Err(ApiError::access_denied(
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
        )),
    }
}

/// Version 2 signs `x-amz-*` headers but not parameters of such names, which services take for headers, and not the
/// younger sub-resources: whoever has a presigned URL could add some.
pub(crate) fn check_parameters(claim: &Claim<'_>, head: &Head<'_>) -> Result<(), ApiError> {
    let is_header =
        |name: &str| name != TOKEN && name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
    let makes_another = |name: &str| claim.presigned() && UNSIGNED_SUB_RESOURCES.contains(&name);
    let names = head.target.query.iter().map(|(name, _)| name.as_str());
    let unsigned: Vec<&str> = names.filter(|name| is_header(name) || makes_another(name)).collect();
    if unsigned.is_empty() {
        return Ok(());
    }
    Err(ApiError::access_denied("There were headers present in the request which were not signed")
        .with("HeadersNotSigned", unsigned.join(", ")))
}

/// The session token of the header or of the query.
pub(crate) fn token<'a>(head: &Head<'a>) -> Result<Option<&'a str>, ApiError> {
    let mut given = head.target.query.iter().filter(|(name, _)| name == TOKEN).map(|(_, value)| value.as_str());
    match (single(head.headers, TOKEN)?, given.next(), given.next()) {
        (header, None, _) => Ok(header),
        (None, Some(parameter), None) => Ok(Some(parameter)),
        _ => Err(ApiError::invalid_argument(TOKEN, "", "The security token was given more than once.")),
    }
}

/// Time: signed lately, or presigned and not yet over.
pub(crate) fn check_time(claim: &Claim<'_>, headers: &HeaderMap, now: u64) -> Result<(), ApiError> {
    if let Some(expires) = claim.expires {
        let invalid = || ApiError::access_denied(format!("Invalid date (should be seconds since epoch): {expires}"));
        let end: u64 = expires.parse().map_err(|_| invalid())?;
        if now > end {
            return Err(ApiError::access_denied("Request has expired")
                .with("Expires", format_extended(end))
                .with("ServerTime", format_extended(now)));
        }
        return Ok(());
    }
    let text = match single(headers, "x-amz-date")? {
        Some(text) => text,
        None => single(headers, DATE.as_str())?.ok_or_else(missing_date)?,
    };
    let signed_at = parse_http(text).or_else(|| parse_basic(text)).ok_or_else(missing_date)?;
    check_skew(text, signed_at, now)
}

/// Compares the signature with ours.
pub(crate) fn verify(claim: &Claim<'_>, head: &Head<'_>, credential: &Credential) -> Result<(), ApiError> {
    let text = string_to_sign(claim, head, head.target.uri.path());
    if is_signature_of(&text, claim, credential) {
        return Ok(());
    }
    // botocore signs the path of a bucket with a slash at its end and asks without.
    let path = head.target.uri.path();
    if head.target.key.is_none() && !path.ends_with('/') {
        let slashed = string_to_sign(claim, head, &format!("{path}/"));
        if is_signature_of(&slashed, claim, credential) {
            return Ok(());
        }
    }
    Err(signature_mismatch(claim.access_key, &text, claim.signature))
}

fn is_signature_of(text: &str, claim: &Claim<'_>, credential: &Credential) -> bool {
    let key = credential.secret_key.reveal().as_bytes();
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    let expected = STANDARD.encode(mac.finalize().into_bytes());
    expected.as_bytes().ct_eq(claim.signature.as_bytes()).into()
}

fn string_to_sign(claim: &Claim<'_>, head: &Head<'_>, path: &str) -> String {
    let value = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut text = String::with_capacity(512);
    text.push_str(head.method.as_str());
    text.push('\n');
    text.push_str(value("content-md5"));
    text.push('\n');
    text.push_str(value(CONTENT_TYPE.as_str()));
    text.push('\n');
    match claim.expires {
        Some(expires) => text.push_str(expires),
        None if head.headers.contains_key("x-amz-date") => {}
        None => text.push_str(value(DATE.as_str())),
    }
    text.push('\n');
    push_amz_headers(&mut text, head);
    push_resource(&mut text, head, path);
    text
}

fn push_amz_headers(text: &mut String, head: &Head<'_>) {
    let mut names: Vec<&str> =
        head.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-amz-")).collect();
    let moved = head.target.parameter(TOKEN);
    names.extend(moved.map(|_| TOKEN));
    names.sort_unstable();
    for name in names {
        text.push_str(name);
        text.push(':');
        if let (TOKEN, Some(moved)) = (name, moved) {
            text.push_str(moved);
            text.push('\n');
            continue;
        }
        for (index, value) in head.headers.get_all(name).iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(String::from_utf8_lossy(value.as_bytes()).trim());
        }
        text.push('\n');
    }
}

fn push_resource(text: &mut String, head: &Head<'_>, path: &str) {
    if let (true, Some(bucket)) = (head.target.virtual_host, &head.target.bucket) {
        text.push('/');
        text.push_str(bucket);
    }
    text.push_str(path);
    let mut separator = '?';
    for name in SIGNED_PARAMETERS {
        for (_, value) in head.target.query.iter().filter(|(key, _)| key == name) {
            text.push(separator);
            text.push_str(name);
            if !value.is_empty() {
                text.push('=');
                text.push_str(value);
            }
            separator = '&';
        }
    }
}
