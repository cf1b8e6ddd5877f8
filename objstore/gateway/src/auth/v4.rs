//! Checking a claim of Signature Version 4.

use http::header::HOST;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api::Credential;
use crate::auth::canonical::{Form, Parts, write_request};
use crate::auth::claim::{ALGORITHM, Claim, malformed, parameters};
use crate::auth::crypto::{KeyCache, SignatureHex, SigningKey};
use crate::auth::payload::CONTENT_SHA256;
use crate::auth::time::format_extended;
use crate::auth::{Head, Seed};
use crate::error::ApiError;

/// How far the clock of a client may be off.
pub(crate) const SKEW_SECONDS_MAX: u64 = 15 * 60;
/// A canonical request with a usual set of headers.
const CANONICAL_BYTES_USUAL: usize = 1024;

/// Region: a wrong one is told with the right one, and clients sign again.
pub(crate) fn check_region(claim: &Claim<'_>, region: &str) -> Result<(), ApiError> {
    let given = claim.scope.region;
    if given == region {
        return Ok(());
    }
    let detail = format!("the region '{given}' is wrong; expecting '{region}'");
    Err(refuse_scope(claim, &detail).with("Region", region))
}

/// The service is none that this port serves.
pub(crate) fn unknown_service(claim: &Claim<'_>) -> ApiError {
    let given = claim.scope.service;
    refuse_scope(claim, &format!("incorrect service \"{given}\". This endpoint belongs to \"s3\"."))
}

fn refuse_scope(claim: &Claim<'_>, detail: &str) -> ApiError {
    if claim.expires.is_none() {
        malformed(detail)
    } else {
        parameters(format!("Error parsing the X-Amz-Credential parameter; {detail}"))
    }
}

/// Time: signed lately, or presigned and not yet over.
pub(crate) fn check_time(claim: &Claim<'_>, now: u64) -> Result<(), ApiError> {
    let Some(expires) = claim.expires else {
        return check_skew(&claim.timestamp, claim.signed_at, now);
    };
    if claim.signed_at > now + SKEW_SECONDS_MAX {
        return Err(ApiError::access_denied("Request is not yet valid")
            .with("X-Amz-Date", claim.timestamp.as_ref())
            .with("ServerTime", format_extended(now)));
    }
    let end = claim.signed_at + expires;
    if now > end {
        return Err(ApiError::access_denied("Request has expired")
            .with("X-Amz-Expires", expires.to_string())
            .with("Expires", format_extended(end))
            .with("ServerTime", format_extended(now)));
    }
    Ok(())
}

/// 403 when a request was signed too long ago or too far ahead.
pub(crate) fn check_skew(given: &str, signed_at: u64, now: u64) -> Result<(), ApiError> {
    if signed_at.abs_diff(now) <= SKEW_SECONDS_MAX {
        return Ok(());
    }
    let message = "The difference between the request time and the current time is too large.";
    Err(ApiError::new("RequestTimeTooSkewed", 403, message)
        .with("RequestTime", given)
        .with("ServerTime", format_extended(now))
        .with("MaxAllowedSkewMilliseconds", (SKEW_SECONDS_MAX * 1000).to_string()))
}

/// Host and every `x-amz-*` header must be signed, else whoever sees the request could add some.
pub(crate) fn check_signed_headers(claim: &Claim<'_>, head: &Head<'_>) -> Result<(), ApiError> {
    let signed = |name: &str| claim.signed_headers.split(';').any(|signed| signed == name);
    let mut missing: Vec<&str> = Vec::new();
    if !signed(HOST.as_str()) {
        missing.push(HOST.as_str());
    }
    for name in head.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-amz-")) {
        // The payload hash is the last line of the canonical request, signed by name or not.
        if !signed(name) && name != CONTENT_SHA256 {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(ApiError::access_denied("There were headers present in the request which were not signed")
        .with("HeadersNotSigned", missing.join(", ")))
}

/// Compares the signature with ours, over AWS's form of the request and then over others that clients use.
pub(crate) fn verify(
    claim: &Claim<'_>,
    head: &Head<'_>,
    payload: &str,
    credential: &Credential,
    keys: &KeyCache,
) -> Result<Seed, ApiError> {
    let key = keys.get(&credential.secret_key, &claim.scope);
    let parts = Parts {
        method: head.method,
        target: head.target,
        headers: head.headers,
        signed_headers: claim.signed_headers,
        payload,
        presigned: claim.expires.is_some(),
        path_twice: claim.scope.service != "s3",
    };
    let mut standard = Vec::with_capacity(CANONICAL_BYTES_USUAL);
    write_request(&mut standard, &parts, Form::STANDARD);
    let mut matched = compare(&key, claim, &standard);
    if matched.is_none() {
        let mut other = Vec::with_capacity(standard.len());
        matched = Form::others().find_map(|form| {
            write_request(&mut other, &parts, form);
            if other == standard { None } else { compare(&key, claim, &other) }
        });
    }
    match matched {
        Some(signature) => Ok(Seed {
            key,
            signature,
            timestamp: claim.timestamp.as_ref().to_owned(),
            scope: claim.scope.text().to_owned(),
        }),
        None => Err(mismatch(claim, &standard)),
    }
}

fn compare(key: &SigningKey, claim: &Claim<'_>, canonical: &[u8]) -> Option<SignatureHex> {
    let digest = SignatureHex::of(Sha256::digest(canonical).as_ref());
    let expected = key.sign(&[
        ALGORITHM.as_bytes(),
        b"\n",
        claim.timestamp.as_bytes(),
        b"\n",
        claim.scope.text().as_bytes(),
        b"\n",
        digest.as_bytes(),
    ]);
    bool::from(expected.as_bytes().ct_eq(claim.signature.as_bytes())).then_some(expected)
}

/// 403 with what we signed, so that the author of a client can compare.
fn mismatch(claim: &Claim<'_>, canonical: &[u8]) -> ApiError {
    let digest = SignatureHex::of(Sha256::digest(canonical).as_ref());
    let scope = claim.scope.text();
    let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{}", claim.timestamp, digest.as_str());
    let shown = without_secrets(&String::from_utf8_lossy(canonical));
    signature_mismatch(claim.scope.access_key, &to_sign, claim.signature)
        .with("CanonicalRequestBytes", spaced_hex(shown.as_bytes()))
        .with("CanonicalRequest", shown)
}

/// Headers and parameters whose values no error shows: they open what is encrypted, or stand for an identity.
const SECRET_FIELDS: [&str; 3] = [
    "x-amz-security-token",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key",
];

/// A text to sign without what is secret in it: lines `name:value`, and one of parameters.
fn without_secrets(text: &str) -> String {
    let is_secret = |name: &str| SECRET_FIELDS.iter().any(|secret| secret.eq_ignore_ascii_case(name));
    let line = |line: &str| match line.split_once(':') {
        Some((name, _)) if is_secret(name) => format!("{name}:(left out)"),
        _ if !SECRET_FIELDS.iter().any(|secret| line.len() > secret.len() && contains(line, secret)) => line.to_owned(),
        _ => {
            let pairs = line.split('&').map(|pair| match pair.split_once('=') {
                Some((name, _)) if is_secret(name) => format!("{name}=(left out)"),
                _ => pair.to_owned(),
            });
            pairs.collect::<Vec<_>>().join("&")
        }
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn contains(line: &str, name: &str) -> bool {
    line.as_bytes().windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()))
}

/// 403 for a wrong signature of either version.
pub(crate) fn signature_mismatch(access_key: &str, to_sign: &str, signature: &str) -> ApiError {
    let message = "The request signature we calculated does not match the signature you provided. Check your key and \
                   signing method.";
    let to_sign = &without_secrets(to_sign);
    ApiError::new("SignatureDoesNotMatch", 403, message)
        .with("AWSAccessKeyId", access_key)
        .with("StringToSign", to_sign)
        .with("SignatureProvided", signature)
        .with("StringToSignBytes", spaced_hex(to_sign.as_bytes()))
}

fn spaced_hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn errors_show_no_secrets() {
        let text = "GET\n/key\nX-Amz-Expires=3&X-Amz-Security-Token=TOKEN&a=b\nhost:h\nx-amz-security-token:TOKEN\n\
            x-amz-server-side-encryption-customer-key:KEY\nx-amz-server-side-encryption-customer-key-md5:MD5\n\n\
            host;x-amz-security-token\nUNSIGNED";
        let shown = without_secrets(text);
        assert!(!shown.contains("TOKEN") && !shown.contains("KEY"), "{shown}");
        let rest = "GET\n/key\nX-Amz-Expires=3&X-Amz-Security-Token=(left out)&a=b\nhost:h\n\
            x-amz-security-token:(left out)\nx-amz-server-side-encryption-customer-key:(left out)\n\
            x-amz-server-side-encryption-customer-key-md5:MD5\n\nhost;x-amz-security-token\nUNSIGNED";
        assert_eq!(shown, rest);
    }
}
