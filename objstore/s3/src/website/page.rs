//! Pages about errors.

use std::fmt::Write;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode};
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse, ErrorContext, ResponseBody};

use crate::response::{escape_xml, set};

const CODE: HeaderName = HeaderName::from_static("x-amz-error-code");
const MESSAGE: HeaderName = HeaderName::from_static("x-amz-error-message");

/// Tells programs what pages tell people.
pub(super) fn tell(headers: &mut HeaderMap, failure: &ApiError) {
    set(headers, CODE, &failure.code);
    set(headers, MESSAGE, &failure.message);
    for (name, value) in &failure.extra {
        if let Ok(name) = HeaderName::try_from(format!("x-amz-error-detail-{}", name.to_ascii_lowercase())) {
            set(headers, name, value);
        }
    }
}

/// The page about `failure`; with `second`, what went wrong when the site's own was looked for.
pub(super) fn of_error(failure: &ApiError, request: &ApiRequest, second: Option<&ApiError>) -> ApiResponse {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = failure.response(&ErrorContext::of(request, ""));
    tell(response.headers_mut(), failure);
    if status != StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        *response.body_mut() = ResponseBody::full(page(status, failure, request, second));
    }
    response
}

fn page(status: StatusCode, failure: &ApiError, request: &ApiRequest, second: Option<&ApiError>) -> String {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let mut page = format!("<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n");
    items(&mut page, failure);
    // Writing to a String cannot fail.
    let _ = writeln!(page, "<li>RequestId: {}</li>", request.request_id);
    let _ = writeln!(page, "<li>HostId: {}</li>\n</ul>", escape_xml(&request.host_id));
    if let Some(second) = second {
        page.push_str("<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n<ul>\n");
        items(&mut page, second);
        page.push_str("</ul>\n");
    }
    page.push_str("<hr/>\n</body>\n</html>\n");
    page
}

fn items(page: &mut String, failure: &ApiError) {
    let _ = writeln!(page, "<li>Code: {}</li>", escape_xml(&failure.code));
    let _ = writeln!(page, "<li>Message: {}</li>", escape_xml(&failure.message));
    for (name, value) in &failure.extra {
        let _ = writeln!(page, "<li>{name}: {}</li>", escape_xml(value));
    }
}
