//! The pages below `/-/`: for probes and metrics, without a signature.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::api::{AdminPages, ApiResponse};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::response::ResponseBody;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

pub(crate) fn answer(
    page: Option<&str>,
    method: &Method,
    pages: &dyn AdminPages,
    metrics: &Metrics,
) -> Result<ApiResponse, ApiError> {
    if method != Method::GET && method != Method::HEAD {
        let message = "The specified method is not allowed against this resource.";
        return Err(ApiError::new("MethodNotAllowed", 405, message));
    }
    match page {
        Some("live") => Ok(probe(pages.live())),
        Some("ready") => Ok(probe(pages.ready())),
        Some("metrics") => Ok(text(StatusCode::OK, METRICS, metrics.page(&pages.metrics()))),
        _ => Err(ApiError::new("NoSuchKey", 404, "The specified key does not exist.")),
    }
}

fn probe(good: bool) -> ApiResponse {
    match good {
        true => text(StatusCode::OK, TEXT, "ok\n".to_owned()),
        false => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n".to_owned()),
    }
}

fn text(status: StatusCode, kind: HeaderValue, content: String) -> ApiResponse {
    let mut response = Response::new(ResponseBody::full(content));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
