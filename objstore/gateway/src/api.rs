//! What the gateway hands to a service, and what it needs from outside.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Method, Uri, Version};
use karri_ring_types::RequestId;

use crate::admission::Room;
use crate::body::RequestBody;
use crate::form::PostForm;
use crate::response::ResponseBody;

/// A request whose signature was verified. Its body is verified while it is read.
pub struct ApiRequest {
    /// Also in `x-amz-request-id` and on log lines.
    pub request_id: RequestId,
    /// Opaque name of this host, in `x-amz-id-2` and error bodies.
    pub host_id: Arc<str>,
    /// HTTP method.
    pub method: Method,
    /// Bucket of the path or of the host name, decoded.
    pub bucket: Option<String>,
    /// Object key, decoded once from the bytes that were signed, and otherwise as it came.
    pub key: Option<String>,
    /// Query parameters, decoded, in order, without those of the signature itself.
    pub query: Vec<(String, String)>,
    /// Headers; `aws-chunked` is already taken out of `Content-Encoding`.
    pub headers: HeaderMap,
    /// Who asks.
    pub caller: Caller,
    /// How the request was signed.
    pub auth: AuthKind,
    /// When, in seconds since 1970; of Signature Version 4 in the header or the query only.
    pub signed_at_seconds: Option<u64>,
    /// Of an upload by form: what it says beside headers and key.
    pub form: Option<Box<PostForm>>,
    /// The body. Reading from it sends `100 Continue` to a client that waits for it.
    pub body: RequestBody,
    /// Path of bucket and key for error bodies, decoded.
    pub resource: String,
    /// Address of the peer of this connection.
    pub remote: IpAddr,
    /// Whether the request came over TLS.
    pub secure: bool,
    /// The version of TLS, as `1.3`.
    pub tls_version: Option<&'static str>,
    /// Path and query as they came. The query may hold a signature: not for logs.
    pub uri: Uri,
    /// Host name as the client sent it, with port.
    pub host: String,
    /// The host is a website's: nobody signed, and browsers are answered.
    pub website: bool,
    /// Memory for what is read for the answer.
    pub room: Room,
}

impl ApiRequest {
    /// Path as it came, encoded.
    pub fn raw_path(&self) -> &str {
        self.uri.path()
    }
}

impl fmt::Debug for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiRequest({} {} {})", self.request_id, self.method, self.resource)
    }
}

/// Who made a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The owner of the access key that signed.
    Principal(Principal),
    /// Nobody signed.
    Anonymous,
}

impl Caller {
    /// The principal, unless nobody signed.
    pub fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Principal(principal) => Some(principal),
            Self::Anonymous => None,
        }
    }
}

/// The owner of an access key.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Twelve digits.
    pub account_id: String,
    /// Canonical user id, as in `<Owner><ID>`.
    pub user_id: String,
    /// Amazon resource name.
    pub arn: String,
    /// Name for people, as in `<Owner><DisplayName>`.
    pub display_name: String,
    /// The same as policies see it.
    pub identity: Arc<karri_iam_policy::Principal>,
}

impl Principal {
    /// The root user of an account.
    pub fn account_root(account_id: &str, user_id: &str, display_name: &str) -> Self {
        let identity = karri_iam_policy::Principal::account_root(account_id, user_id);
        Self {
            account_id: account_id.to_owned(),
            user_id: user_id.to_owned(),
            arn: identity.arn.clone(),
            display_name: display_name.to_owned(),
            identity: Arc::new(identity),
        }
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        let names = |one: &Self| [one.account_id.clone(), one.user_id.clone(), one.arn.clone()];
        names(self) == names(other)
    }
}

impl Eq for Principal {}

/// How a request was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthKind {
    /// Not at all.
    Anonymous,
    /// Signature Version 4 in the `Authorization` header.
    HeaderV4,
    /// Signature Version 4 in the query.
    PresignedV4,
    /// Signature Version 2 in the `Authorization` header.
    HeaderV2,
    /// Signature Version 2 in the query.
    PresignedV2,
    /// A browser's form, signed or not.
    PostForm,
}

/// A secret text; it cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The secret itself, to compute with.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// What belongs to an access key.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The key that signatures are made with.
    pub secret_key: Secret,
    /// The owner.
    pub principal: Principal,
}

impl Credential {
    /// What belongs to a key.
    pub fn new(secret_key: impl Into<Secret>, principal: Principal) -> Self {
        Self { secret_key: secret_key.into(), principal }
    }
}

/// Why there is no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialRefusal {
    /// There is no such key, or it is not active.
    #[error("the access key is unknown")]
    UnknownKey,
    /// The session token is not one of this cluster, is of another key, or is missing where one is needed.
    #[error("the session token is not valid")]
    InvalidToken,
    /// The session is over.
    #[error("the session is over")]
    ExpiredToken,
    /// It cannot be known now.
    #[error("the credentials cannot be read now")]
    Unavailable,
}

/// Finds access keys.
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// The credential of an active `access_key`; of a temporary one only with its session token, of a permanent one
    /// only without.
    async fn lookup(&self, access_key: &str, session_token: Option<&str>) -> Result<Credential, CredentialRefusal>;
}

/// A service behind the gateway.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Answers one request. It decides whether the caller may before it reads from the body.
    async fn call(&self, request: ApiRequest) -> ApiResponse;

    /// Tells the page of another origin, whose request was refused before [`Self::call`], whether it may see why.
    async fn tell_origin(&self, _request: Crossing<'_>, _response: &mut ApiResponse) {}
}

/// A request that a browser sends for a page of another origin.
#[derive(Clone, Copy, Debug)]
pub struct Crossing<'a> {
    /// Bucket that it names.
    pub bucket: &'a str,
    /// HTTP method.
    pub method: &'a Method,
    /// Headers, as they came.
    pub headers: &'a HeaderMap,
}

/// An answer. The gateway adds request id, host id and length.
pub type ApiResponse = http::Response<ResponseBody>;

/// Put into a response's extensions by a backend: the operation that was served, for metrics and the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperationName(pub &'static str);

/// Put into a response's extensions by a backend that wants to hear how the request ended.
#[derive(Clone)]
pub struct WhenDone(pub Arc<dyn Fn(&Done<'_>) + Send + Sync>);

/// How a request ended: its answer was sent, or given up.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// Status of the answer.
    pub status: u16,
    /// Code of the error that it told.
    pub error: Option<&'a str>,
    /// Bytes of the request's body as they came.
    pub bytes_received: u64,
    /// Bytes of the answer's body.
    pub bytes_sent: u64,
    /// From the head of the request to the end of the answer.
    pub time: Duration,
    /// From the head of the request to the head of the answer.
    pub answered_after: Duration,
    /// Version of HTTP.
    pub version: Version,
    /// How the connection is protected.
    pub tls: Option<&'a TlsSession>,
}

/// What was agreed on for a connection, in the names that AWS's logs have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// As in `TLSv1.3`.
    pub version: &'static str,
    /// As in `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher_suite: String,
}

/// The pages below `/-/`.
pub trait AdminPages: Send + Sync + 'static {
    /// Whether the process works at all.
    fn live(&self) -> bool;
    /// Whether requests can be served now.
    fn ready(&self) -> bool;
    /// Metrics in the Prometheus text format, beside the gateway's own.
    fn metrics(&self) -> String;
}
