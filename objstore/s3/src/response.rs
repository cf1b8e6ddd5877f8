//! Building responses.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode};
use karri_objstore_gateway::{ApiResponse, ResponseBody};
use karri_objstore_wire::WireResponse;

const XML: HeaderValue = HeaderValue::from_static("application/xml");

/// A response without body.
pub(crate) fn empty(status: StatusCode) -> ApiResponse {
    let mut response = http::Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    response
}

/// 200 with an XML document.
pub(crate) fn xml(document: impl Into<Bytes>) -> ApiResponse {
    let mut response = http::Response::new(ResponseBody::full(document.into()));
    response.headers_mut().insert(CONTENT_TYPE, XML);
    response
}

/// The response that the wire layer wrote.
pub(crate) fn wire(written: WireResponse) -> ApiResponse {
    let mut response = match written.body {
        Some(document) => http::Response::new(ResponseBody::full(document)),
        None => empty(StatusCode::OK),
    };
    *response.status_mut() = written.status;
    *response.headers_mut() = written.headers;
    response
}

/// Sets a header from text that a client once sent; what no header can carry is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// As [`set`], when there is a value.
pub(crate) fn set_some(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value {
        set(headers, name, value);
    }
}

/// `ETag` in its quotes.
pub(crate) fn quoted(etag: &str) -> String {
    ["\"", etag, "\""].concat()
}

/// An entity tag without its quotes, as a header or document gives it.
pub(crate) fn unquoted(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(etag)
}

/// Text as XML content.
pub(crate) fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | ' '.. => escaped.push(character),
            control => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "&#x{:x};", u32::from(control));
            }
        }
    }
    escaped
}
