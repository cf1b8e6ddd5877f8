//! Reading what a Signature Version 4 request claims, from its headers or its query. Nothing is believed yet.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, DATE, HeaderMap};

use crate::auth::crypto::Scope;
use crate::auth::payload::{CONTENT_SHA256, UNSIGNED};
use crate::auth::time::{format_basic, parse_basic, parse_http};
use crate::error::ApiError;
use crate::target::Target;

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(crate) const ALGORITHM_ECDSA: &str = "AWS4-ECDSA-P256-SHA256";
/// A presigned request is good for a week.
const EXPIRES_SECONDS_MAX: u64 = 604_800;
/// Names in `SignedHeaders`, at most.
const SIGNED_HEADERS_MAX: usize = 256;
const REQUIRED_PARAMETERS: [&str; 6] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"];

/// What a request claims.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) scope: Scope<'a>,
    pub(crate) signed_headers: &'a str,
    pub(crate) signature: &'a str,
    /// As in the string to sign.
    pub(crate) timestamp: Cow<'a, str>,
    pub(crate) signed_at: u64,
    /// Seconds, for presigned requests.
    pub(crate) expires: Option<u64>,
    /// The last line of the canonical request.
    pub(crate) payload: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
}

/// Reads the `Authorization` header.
pub(crate) fn from_header<'a>(authorization: &'a str, headers: &'a HeaderMap) -> Result<Claim<'a>, ApiError> {
    let rest = authorization.strip_prefix(ALGORITHM).unwrap_or_default();
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for component in rest.split(',').map(str::trim) {
        let slot = match component.split_once('=') {
            Some(("Credential", value)) => (&mut credential, value),
            Some(("SignedHeaders", value)) => (&mut signed_headers, value),
            Some(("Signature", value)) => (&mut signature, value),
            _ => return Err(malformed(format!("the authorization component \"{component}\" is malformed."))),
        };
        if slot.0.replace(slot.1).is_some() {
            return Err(malformed(format!("the authorization component \"{component}\" is malformed.")));
        }
    }
    let (Some(credential), Some(signed_headers), Some(signature)) = (credential, signed_headers, signature) else {
        return Err(malformed(
            "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
        ));
    };
    let scope = Scope::parse(credential).ok_or_else(|| {
        malformed("the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
    })?;
    check_signed_headers(signed_headers).map_err(malformed)?;
    let (timestamp, signed_at) = header_time(headers)?;
    if timestamp.get(..8) != Some(scope.date) {
        let date = scope.date;
        return Err(malformed(format!(
            "Invalid credential date \"{date}\". This date is not the same as X-Amz-Date: \"{}\".",
            timestamp.get(..8).unwrap_or_default()
        )));
    }
    let payload = single(headers, CONTENT_SHA256)?;
    let token = single(headers, "x-amz-security-token")?;
    Ok(Claim { scope, signed_headers, signature, timestamp, signed_at, expires: None, payload, token })
}

/// Reads the parameters of a presigned request.
pub(crate) fn from_query<'a>(target: &'a Target, headers: &'a HeaderMap) -> Result<Claim<'a>, ApiError> {
    let mut found = [None; 6];
    for (slot, name) in found.iter_mut().zip(REQUIRED_PARAMETERS) {
        let mut values = target.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        *slot = values.next();
        if slot.is_none() || values.next().is_some() {
            return Err(parameters(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                 X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            ));
        }
    }
    let [algorithm, credential, signature, date, signed_headers, expires] = found.map(Option::unwrap_or_default);
    match algorithm {
        ALGORITHM => {}
        ALGORITHM_ECDSA => return Err(ApiError::header_not_implemented("X-Amz-Algorithm")),
        _ => {
            let message = "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"";
            return Err(parameters(message));
        }
    }
    let scope = Scope::parse(credential).ok_or_else(|| {
        parameters(
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \
             \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        )
    })?;
    let signed_at = parse_basic(date)
        .ok_or_else(|| parameters("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""))?;
    if &date[..8] != scope.date {
        return Err(parameters(format!(
            "Error parsing the X-Amz-Credential parameter; incorrect date \"{}\". This date is not the same as \
             X-Amz-Date: \"{}\".",
            scope.date,
            &date[..8]
        )));
    }
    check_signed_headers(signed_headers).map_err(parameters)?;
    let expires = Some(parse_expires(expires)?);
    let payload = match single(headers, CONTENT_SHA256)? {
        Some(value) => value,
        None => target.parameter("X-Amz-Content-Sha256").unwrap_or(UNSIGNED),
    };
    let token = match target.parameter("X-Amz-Security-Token") {
        Some(token) => Some(token),
        None => single(headers, "x-amz-security-token")?,
    };
    let timestamp = Cow::Borrowed(date);
    Ok(Claim { scope, signed_headers, signature, timestamp, signed_at, expires, payload: Some(payload), token })
}

/// The value of a header that may be there once.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(ApiError::invalid_argument(name, "", format!("The {name} header is invalid."))),
    }
}

/// The value of `Authorization`.
pub(crate) fn authorization(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    single(headers, AUTHORIZATION.as_str())
}

fn header_time(headers: &HeaderMap) -> Result<(Cow<'_, str>, u64), ApiError> {
    if let Some(text) = single(headers, "x-amz-date")? {
        if let Some(seconds) = parse_basic(text) {
            return Ok((Cow::Borrowed(text), seconds));
        }
        return parse_http(text).map(|seconds| (Cow::Owned(format_basic(seconds)), seconds)).ok_or_else(missing_date);
    }
    let text = single(headers, DATE.as_str())?.ok_or_else(missing_date)?;
    if let Some(seconds) = parse_basic(text) {
        return Ok((Cow::Borrowed(text), seconds));
    }
    let seconds = parse_http(text).ok_or_else(missing_date)?;
    Ok((Cow::Owned(format_basic(seconds)), seconds))
}

/// 403 for a signed request without a time.
pub(crate) fn missing_date() -> ApiError {
    ApiError::access_denied("AWS authentication requires a valid Date or x-amz-date header")
}

fn check_signed_headers(names: &str) -> Result<(), &'static str> {
    let valid = |name: &str| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase() || byte <= b' ');
    match names.split(';').all(valid) && names.split(';').count() <= SIGNED_HEADERS_MAX {
        true => Ok(()),
        false => Err("SignedHeaders must be lower-case header names separated by semicolons."),
    }
}

fn parse_expires(text: &str) -> Result<u64, ApiError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(parameters("X-Amz-Expires should be a number"));
    }
    if text.starts_with('-') {
        return Err(never_valid("X-Amz-Expires must be non-negative"));
    }
    match text.parse() {
        Ok(0) => Err(never_valid("X-Amz-Expires must be at least a second")),
        Ok(seconds) if seconds <= EXPIRES_SECONDS_MAX => Ok(seconds),
        _ => Err(never_valid(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than \
             604800 seconds",
        )),
    }
}

/// 403, as for a URL that has expired: there is no moment at which this one is good.
fn never_valid(message: &str) -> ApiError {
    ApiError::new("AuthorizationQueryParametersError", 403, message)
}

/// 400 about the `Authorization` header.
pub(crate) fn malformed(detail: impl AsRef<str>) -> ApiError {
    let message = format!("The authorization header is malformed; {}", detail.as_ref());
    ApiError::new("AuthorizationHeaderMalformed", 400, message)
}

/// 400 about the parameters of a presigned request.
pub(crate) fn parameters(message: impl Into<String>) -> ApiError {
    ApiError::new("AuthorizationQueryParametersError", 400, message)
}
