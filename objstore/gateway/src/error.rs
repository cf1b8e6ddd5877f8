//! Errors as S3 clients read them.

use std::borrow::Cow;
use std::fmt::Write;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Method, StatusCode};
use karri_ring_types::RequestId;

use crate::api::{ApiRequest, ApiResponse};
use crate::response::ResponseBody;

/// An error of the AWS API: code, status, message and the elements that clients read beside them.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The code that clients match, as `NoSuchKey`.
    pub code: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// Text for people.
    pub message: String,
    /// Further elements of the body, in order.
    pub extra: Vec<(&'static str, String)>,
    /// Further headers of the answer. Boxed to keep `Result<_, ApiError>` small.
    pub headers: Box<HeaderMap>,
}

impl ApiError {
    /// An error without further elements or headers.
    pub fn new(code: impl Into<Cow<'static, str>>, status: u16, message: impl Into<String>) -> Self {
        Self { code: code.into(), status, message: message.into(), extra: Vec::new(), headers: Box::default() }
    }

    /// Adds an element to the body.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.extra.push((name, value.into()));
        self
    }

    /// 403 `AccessDenied`.
    pub fn access_denied(message: impl Into<String>) -> Self {
        Self::new("AccessDenied", 403, message)
    }

    /// 400 `InvalidRequest`.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new("InvalidRequest", 400, message)
    }

    /// 400 `InvalidArgument` naming the argument and the value that was sent.
    pub fn invalid_argument(name: &str, value: &str, message: impl Into<String>) -> Self {
        Self::new("InvalidArgument", 400, message).with("ArgumentName", name).with("ArgumentValue", value)
    }

    /// 501 for a feature that a header asks for.
    pub fn header_not_implemented(header: &str) -> Self {
        let message = "A header you provided implies functionality that is not implemented";
        Self::new("NotImplemented", 501, message).with("Header", header)
    }

    /// 400 for a path or query that cannot be decoded.
    pub fn invalid_uri() -> Self {
        Self::new("InvalidURI", 400, "Couldn't parse the specified URI.")
    }

    /// 503 that asks the client to come back later.
    pub fn slow_down() -> Self {
        let mut error = Self::new("SlowDown", 503, "Please reduce your request rate.");
        error.headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        error
    }

    /// 500 without a cause: internal text never reaches a client.
    pub fn internal() -> Self {
        Self::new("InternalError", 500, "We encountered an internal error. Please try again.")
    }

    /// The answer: AWS's XML document, or nothing but headers for HEAD and 304.
    pub fn response(&self, context: &ErrorContext) -> ApiResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let bodiless = context.method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
        let body = if bodiless { ResponseBody::empty() } else { ResponseBody::full(self.document(context)) };
        let mut response = http::Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = (*self.headers).clone();
        if !bodiless {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        }
        response.extensions_mut().insert(ErrorCode(self.code.clone()));
        response
    }

    fn document(&self, context: &ErrorContext) -> Bytes {
        let mut xml = String::with_capacity(512);
        xml.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
        element(&mut xml, "Code", &self.code);
        element(&mut xml, "Message", &self.message);
        for (name, value) in &self.extra {
            element(&mut xml, name, value);
        }
        let named = |name: &str| self.extra.iter().any(|(given, _)| *given == name);
        if let Some(bucket) = &context.bucket
            && !named("BucketName")
        {
            element(&mut xml, "BucketName", bucket);
        }
        if let Some(key) = &context.key
            && !named("Key")
            && matches!(self.code.as_ref(), "NoSuchKey" | "NoSuchVersion" | "MethodNotAllowed")
        {
            element(&mut xml, "Key", key);
        }
        if REGION_CODES.contains(&self.code.as_ref()) && !named("Region") {
            element(&mut xml, "Region", &context.region);
        }
        element(&mut xml, "Resource", &context.resource);
        element(&mut xml, "RequestId", &context.request_id.to_string());
        element(&mut xml, "HostId", &context.host_id);
        xml.push_str("</Error>");
        Bytes::from(xml)
    }
}

/// Codes whose `<Region>` tells clients where to sign for.
const REGION_CODES: [&str; 3] =
    ["AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"];

/// In a response's extensions: the error it carries, for the access log.
#[derive(Clone, Debug)]
pub(crate) struct ErrorCode(pub(crate) Cow<'static, str>);

/// What an error body says about its request.
#[derive(Clone, Debug)]
pub struct ErrorContext {
    /// The request.
    pub request_id: RequestId,
    /// The host that answered, opaque.
    pub host_id: std::sync::Arc<str>,
    /// HEAD gets no body.
    pub method: Method,
    /// Path of the bucket or object, decoded.
    pub resource: String,
    /// Bucket that the request names.
    pub bucket: Option<String>,
    /// Key that the request names.
    pub key: Option<String>,
    /// The region of the cluster.
    pub region: String,
}

impl ErrorContext {
    /// The context of `request`, answered in `region`.
    pub fn of(request: &ApiRequest, region: &str) -> Self {
        Self {
            request_id: request.request_id,
            host_id: request.host_id.clone(),
            method: request.method.clone(),
            resource: request.resource.clone(),
            bucket: request.bucket.clone(),
            key: request.key.clone(),
            region: region.to_owned(),
        }
    }
}

pub(crate) fn element(xml: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = write!(xml, "<{name}>");
    for character in value.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\r' => xml.push_str("&#13;"),
            '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'.. => xml.push(character),
            _ => xml.push('\u{fffd}'),
        }
    }
    let _ = write!(xml, "</{name}>");
}
