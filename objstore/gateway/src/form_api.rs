//! What the gateway hands to the services whose requests are forms (IAM, STS, EC2), and what comes back.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use karri_ring_types::RequestId;

use crate::api::{AuthKind, Caller, OperationName};
use crate::response::ResponseBody;

/// A request whose signature and body were verified.
pub struct FormRequest {
    /// Also in `x-amzn-RequestId` and on log lines.
    pub request_id: RequestId,
    /// The service of the credential scope, or `sts` for requests that are not signed.
    pub service: &'static str,
    /// Parameters of the body, or of the query where there is no body: decoded, in order, without those of a signature.
    pub parameters: Vec<(String, String)>,
    /// Who asks; nobody only where the action may be asked for without a signature.
    pub caller: Caller,
    /// How the request was signed.
    pub auth: AuthKind,
    /// The access key that signed.
    pub access_key: Option<String>,
    /// Address of the peer of this connection.
    pub remote: IpAddr,
    /// Whether the request came over TLS.
    pub secure: bool,
    /// The region of the cluster.
    pub region: String,
    /// Host name as the client sent it, with port.
    pub host: String,
    /// `User-Agent`, for condition keys.
    pub user_agent: Option<String>,
    /// `Referer`, for condition keys.
    pub referer: Option<String>,
}

// Parameters hold passwords and tokens.
impl fmt::Debug for FormRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FormRequest({} {})", self.request_id, self.service)
    }
}

/// An answer. The gateway adds the request id.
#[derive(Clone, Debug)]
pub struct FormResponse {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The document.
    pub body: Bytes,
    /// The operation that was served, for metrics and the access log.
    pub operation: Option<&'static str>,
    /// The error that the document tells, for the access log.
    pub error: Option<&'static str>,
}

impl FormResponse {
    /// An XML document of a served operation.
    pub fn xml(operation: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: 200, content_type: "text/xml", body: body.into(), operation: Some(operation), error: None }
    }

    /// An XML document that tells an error.
    pub fn error(operation: Option<&'static str>, status: u16, code: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "text/xml", body: body.into(), operation, error: Some(code) }
    }

    pub(crate) fn into_response(self) -> crate::api::ApiResponse {
        let mut response = http::Response::new(ResponseBody::full(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(operation) = self.operation {
            response.extensions_mut().insert(OperationName(operation));
        }
        if let Some(code) = self.error {
            response.extensions_mut().insert(crate::error::ErrorCode(code.into()));
        }
        response
    }
}

/// A service behind the gateway whose requests are forms.
#[async_trait]
pub trait FormBackend: Send + Sync + 'static {
    /// Answers one request.
    async fn call(&self, request: FormRequest) -> FormResponse;
}
