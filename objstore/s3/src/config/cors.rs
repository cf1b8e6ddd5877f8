//! Cross-origin rules of a bucket: which they are, and what a browser is told.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderName, Method, StatusCode};
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse, Crossing};
use karri_objstore_service::{BucketConfigKind, BucketSettings, ServiceError};
use karri_objstore_wire::{parse_put_bucket_cors, types, write_get_bucket_cors};

use super::kept;
use crate::S3;
use crate::dispatch::{bucket_of, stored_request, wire_request};
use crate::error::{S3Result, error, error_with, invalid_request};
use crate::fault::{Subject, from_service, from_wire};
use crate::response::{empty, set};

/// Most rules of a bucket.
const RULES_MAX: usize = 100;
/// Most characters of a rule's name.
const ID_LENGTH_MAX: usize = 255;
const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];
const VARIES: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Headers, Access-Control-Request-Method");

/// The rules to keep.
pub(super) fn check(request: &ApiRequest, body: &[u8]) -> S3Result<Bytes> {
    let configuration = parse_put_bucket_cors(&wire_request(request), body).map_err(from_wire)?.cors_configuration;
    let cors_rules = configuration.cors_rules;
    if cors_rules.len() > RULES_MAX {
        return Err(invalid_request("The number of CORS rules should not exceed allowed limit of 100 rules."));
    }
    cors_rules.iter().try_for_each(check_rule)?;
    kept(write_get_bucket_cors(&types::GetBucketCorsOutput { cors_rules }))
}

fn check_rule(rule: &types::CorsRule) -> S3Result<()> {
    if rule.id.as_ref().is_some_and(|id| id.chars().count() > ID_LENGTH_MAX) {
        return Err(invalid_request("The ID of a CORS rule must not be longer than 255 characters."));
    }
    for method in &rule.allowed_methods {
        if !METHODS.contains(&method.as_str()) {
            let message = format!("Found unsupported HTTP method in CORS config. Unsupported method is {method}");
            return Err(invalid_request(message));
        }
    }
    let several = |text: &&String| text.matches('*').count() > 1;
    if let Some(origin) = rule.allowed_origins.iter().find(several) {
        return Err(invalid_request(format!("AllowedOrigin \"{origin}\" can not have more than one wildcard.")));
    }
    if let Some(header) = rule.allowed_headers.iter().find(several) {
        return Err(invalid_request(format!("AllowedHeader \"{header}\" can not have more than one wildcard.")));
    }
    match rule.expose_headers.iter().find(|header| header.contains('*')) {
        Some(header) => Err(invalid_request(format!(
            "ExposeHeader \"{header}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
        ))),
        None => Ok(()),
    }
}

/// The rules of a bucket, ready to be asked.
#[derive(Debug, Default)]
struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    origins: Vec<String>,
    methods: Vec<String>,
    /// In lower case.
    headers: Vec<String>,
    expose: String,
    max_age_seconds: Option<i32>,
}

/// What a browser asks.
struct Question<'a> {
    origin: &'a str,
    method: &'a str,
    /// Of `Access-Control-Request-Headers`, in lower case.
    headers: Vec<String>,
}

impl<'a> Question<'a> {
    fn new(headers: &'a HeaderMap, origin: &'a str, method: &'a str) -> Self {
        let asked = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|value| value.to_str().ok());
        let names = asked.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
        Self { origin, method, headers: names.filter(|name| !name.is_empty()).collect() }
    }
}

impl Rules {
    fn compile(document: &[u8]) -> Self {
        let Ok(input) = stored_request(|request| parse_put_bucket_cors(request, document)) else {
            return Self::default();
        };
        let rule = |rule: types::CorsRule| Rule {
            origins: rule.allowed_origins,
            methods: rule.allowed_methods,
            headers: rule.allowed_headers.iter().map(|header| header.to_ascii_lowercase()).collect(),
            expose: rule.expose_headers.join(", "),
            max_age_seconds: rule.max_age_seconds,
        };
        Self(input.cors_configuration.cors_rules.into_iter().map(rule).collect())
    }

    /// The first rule that allows it, with the origin as the rule spells it.
    fn find(&self, question: &Question<'_>) -> Option<(&Rule, &str)> {
        self.0.iter().find_map(|rule| {
            let origin = rule.origins.iter().find(|pattern| matches(pattern, question.origin))?;
            let method = rule.methods.iter().any(|method| method == question.method);
            let header = |name: &String| rule.headers.iter().any(|pattern| matches(pattern, name));
            (method && question.headers.iter().all(header)).then_some((rule, origin.as_str()))
        })
    }
}

/// Whether `text` is as a pattern with at most one `*` has it.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end),
    }
}

impl Rule {
    fn tell(&self, pattern: &str, question: &Question<'_>, headers: &mut HeaderMap) {
        if pattern == "*" {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            set(headers, ACCESS_CONTROL_ALLOW_ORIGIN, question.origin);
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        set(headers, ACCESS_CONTROL_ALLOW_METHODS, &self.methods.join(", "));
        let mut when_filled = |name: HeaderName, value: &str| {
            if !value.is_empty() {
                set(headers, name, value);
            }
        };
        when_filled(ACCESS_CONTROL_ALLOW_HEADERS, &question.headers.join(", "));
        when_filled(ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose);
        if let Some(seconds) = self.max_age_seconds {
            set(headers, ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
        }
    }
}

fn rules(settings: &BucketSettings) -> Option<std::sync::Arc<Rules>> {
    settings.compiled(BucketConfigKind::Cors, Rules::compile)
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Answers a preflight, which nobody signs.
pub(crate) async fn preflight(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let headers = &request.headers;
    let bad = |message: String| error("BadRequest", 400, message);
    let Some(origin) = header(headers, ORIGIN) else {
        return Err(bad("Insufficient information. Origin request header needed.".to_owned()));
    };
    let method = header(headers, ACCESS_CONTROL_REQUEST_METHOD).unwrap_or("null");
    if !METHODS.contains(&method) {
        return Err(bad(format!("Invalid Access-Control-Request-Method: {method}")));
    }
    let forbidden = |message: &str| forbidden(request, method, message);
    let bucket = bucket_of(request).map_err(|_| forbidden("CORSResponse: CORS is not enabled for this bucket."))?;
    let settings = match s3.service.bucket_settings(bucket).await {
        Ok(settings) => settings,
        Err(ServiceError::NoSuchBucket) => return Err(forbidden("CORSResponse: Bucket not found")),
        Err(failure) => return Err(from_service(failure, Subject::bucket(bucket))),
    };
    let Some(rules) = rules(&settings) else {
        return Err(forbidden("CORSResponse: CORS is not enabled for this bucket."));
    };
    let question = Question::new(headers, origin, method);
    let Some((rule, pattern)) = rules.find(&question) else {
        return Err(forbidden(
            "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request \
             method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the \
             resource's CORS spec.",
        ));
    };
    let mut response = empty(StatusCode::OK);
    rule.tell(pattern, &question, response.headers_mut());
    response.headers_mut().insert(VARY, VARIES);
    Ok(response)
}

fn forbidden(request: &ApiRequest, method: &str, message: &str) -> ApiError {
    let kind = if request.key.is_some() { "OBJECT" } else { "BUCKET" };
    let extra = [("Method", method.to_owned()), ("ResourceType", kind.to_owned())];
    error_with("AccessForbidden", 403, message, extra)
}

/// Tells the browser behind an actual request whether its page may see the answer.
pub(crate) async fn decorate(s3: &S3, request: &ApiRequest, response: &mut ApiResponse) {
    let crossing = Crossing {
        bucket: request.bucket.as_deref().unwrap_or_default(),
        method: &request.method,
        headers: &request.headers,
    };
    tell_origin(s3, crossing, response).await;
}

/// As [`decorate`], of a request of which only this is known.
pub(crate) async fn tell_origin(s3: &S3, request: Crossing<'_>, response: &mut ApiResponse) {
    let (Some(origin), bucket) = (header(request.headers, ORIGIN), request.bucket) else { return };
    if *request.method == Method::OPTIONS || bucket.is_empty() {
        return;
    }
    let Some(settings) = s3.settings_after(bucket, response.status()).await else { return };
    let Some(rules) = rules(&settings) else { return };
    let method = header(request.headers, ACCESS_CONTROL_REQUEST_METHOD).unwrap_or(request.method.as_str());
    let question = Question::new(request.headers, origin, method);
    if let Some((rule, pattern)) = rules.find(&question) {
        rule.tell(pattern, &question, response.headers_mut());
    }
    response.headers_mut().append(VARY, VARIES);
}

/// Asks kept rules, for a fuzzer: nobody is told of an origin that no rule names.
#[cfg(any(test, fuzzing))]
pub(crate) fn try_rules(document: &[u8]) {
    let rules = Rules::compile(document);
    for origin in ["https://a.example", "null", ""] {
        for method in ["GET", "PUT", "DELETE"] {
            let mut asked = HeaderMap::new();
            asked.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-amz-date, Content-Type"));
            let question = Question::new(&asked, origin, method);
            let Some((rule, pattern)) = rules.find(&question) else { continue };
            assert!(matches(pattern, origin) && METHODS.contains(&method), "a rule that does not fit");
            let mut told = HeaderMap::new();
            rule.tell(pattern, &question, &mut told);
            let told = told.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(HeaderValue::as_bytes);
            assert!(told == Some(b"*") || told == Some(origin.as_bytes()), "another origin is told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wildcard_stands_for_anything() {
        for (pattern, text, expected) in [
            ("*suffix", "foo.suffix", true),
            ("*suffix", "foo.suffix.get", false),
            ("start*end", "startend", true),
            ("start*end", "start12end", true),
            ("start*end", "0start12end", false),
            ("start*tend", "startend", false),
            ("prefix*", "prefix", true),
            ("*", "", true),
            ("http://a.b", "http://a.b", true),
            ("http://a.b", "http://A.b", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_answers() {
        let document = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>\
            <AllowedOrigin>https://a.example</AllowedOrigin><AllowedHeader>X-Amz-*</AllowedHeader>\
            <ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>30</MaxAgeSeconds></CORSRule><CORSRule>\
            <AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedOrigin>*</AllowedOrigin>\
            </CORSRule></CORSConfiguration>";
        let rules = Rules::compile(document.as_bytes());
        let mut asked = HeaderMap::new();
        asked.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("X-Amz-Date, x-amz-acl"));
        let question = Question::new(&asked, "https://a.example", "GET");
        let (rule, pattern) = rules.find(&question).expect("allowed");
        let mut told = HeaderMap::new();
        rule.tell(pattern, &question, &mut told);
        assert_eq!(told[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(told[ACCESS_CONTROL_ALLOW_HEADERS], "x-amz-date, x-amz-acl");
        assert_eq!(told[ACCESS_CONTROL_MAX_AGE], "30");
        assert!(rules.find(&Question::new(&asked, "https://b.example", "GET")).is_none(), "no header is allowed");
        let none = HeaderMap::new();
        let (_, pattern) = rules.find(&Question::new(&none, "https://b.example", "PUT")).expect("allowed");
        assert_eq!(pattern, "*");
        assert!(rules.find(&Question::new(&none, "https://b.example", "DELETE")).is_none());
    }
}
