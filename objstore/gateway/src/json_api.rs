//! What the gateway hands to the services whose requests are JSON documents (KMS). They answer as those of forms do.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use karri_ring_types::RequestId;

use crate::api::Principal;
use crate::form_api::FormResponse;

/// The media type of requests and answers.
pub const JSON_MEDIA_TYPE: &str = "application/x-amz-json-1.1";

/// A request whose signature and body were verified.
pub struct JsonRequest {
    /// Also in `x-amzn-RequestId` and on log lines.
    pub request_id: RequestId,
    /// `X-Amz-Target`: the service's prefix, a dot, the operation.
    pub target: Option<String>,
    /// The document, not read yet.
    pub body: Bytes,
    /// Who asks.
    pub caller: Principal,
    /// The access key that signed.
    pub access_key: Option<String>,
    /// Address of the peer of this connection.
    pub remote: IpAddr,
    /// Whether the request came over TLS.
    pub secure: bool,
    /// `User-Agent`, for condition keys.
    pub user_agent: Option<String>,
}

// Documents hold plain texts and keys.
impl fmt::Debug for JsonRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonRequest({} {:?})", self.request_id, self.target)
    }
}

/// A service behind the gateway whose requests are JSON documents.
#[async_trait]
pub trait JsonBackend: Send + Sync + 'static {
    /// Answers one request.
    async fn call(&self, request: JsonRequest) -> FormResponse;
}
