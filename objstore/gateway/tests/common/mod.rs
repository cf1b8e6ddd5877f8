//! A gateway on a real socket with a small service behind it, and a client that sees every byte.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its part")]

pub mod sign;
pub mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Method};
use karri_objstore_gateway::{
    AdminPages, ApiError, ApiRequest, ApiResponse, Backend, Caller, Credential, CredentialRefusal, Credentials,
    ErrorContext, FormBackend, FormRequest, FormResponse, Gateway, GatewayConfig, Limits, OperationName, Principal,
    ResponseBody,
};
use karri_ring_types::{ManualClock, SystemRng, Timestamp};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const REGION: &str = "us-east-1";
/// 2013-05-24T00:00:00Z, which all requests are signed at.
pub const NOW_MS: u64 = 1_369_353_600_000;

pub struct Keys;

#[async_trait]
impl Credentials for Keys {
    async fn lookup(&self, access_key: &str, token: Option<&str>) -> Result<Credential, CredentialRefusal> {
        let principal = Principal::account_root("123456789012", "root-id", "root");
        match token {
            _ if access_key != sign::ACCESS_KEY => Err(CredentialRefusal::UnknownKey),
            None => Ok(Credential::new(sign::SECRET_KEY, principal)),
            Some("expired") => Err(CredentialRefusal::ExpiredToken),
            Some(_) => Err(CredentialRefusal::InvalidToken),
        }
    }
}

/// PUT reads the body and tells its length and trailers; GET sends `size` bytes; keys that begin with `refused` are
/// refused before the body is read, `wait` waits for `go`.
#[derive(Default)]
pub struct Service {
    pub entered: Notify,
    pub go: Notify,
}

#[async_trait]
impl Backend for Service {
    async fn call(&self, mut request: ApiRequest) -> ApiResponse {
        match self.answer(&mut request).await {
            Ok(response) => response,
            Err(error) => error.response(&ErrorContext::of(&request, REGION)),
        }
    }
}

impl Service {
    async fn answer(&self, request: &mut ApiRequest) -> Result<ApiResponse, ApiError> {
        let key = request.key.clone().unwrap_or_default();
        if request.caller == Caller::Anonymous || key.starts_with("refused") {
            return Err(ApiError::access_denied("Access Denied"));
        }
        if key == "wait" {
            self.entered.notify_one();
            self.go.notified().await;
        }
        let parameter =
            |name: &str| request.query.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone());
        let size = parameter("size").and_then(|text| text.parse::<u64>().ok());
        let shown = format!("{:?} {:?} {:?}", request.bucket, request.key, request.query);
        let mut response = match request.method {
            Method::PUT | Method::POST => {
                let mut length = 0;
                while let Some(piece) = request.body.next().await {
                    if length == 0 {
                        self.entered.notify_one();
                    }
                    length += piece?.len();
                }
                let text = format!("{length} {:?}", request.body.trailers());
                http::Response::new(ResponseBody::full(text))
            }
            Method::HEAD => {
                let mut response = http::Response::new(ResponseBody::empty());
                response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("12345"));
                response
            }
            _ => http::Response::new(zeros(size.unwrap_or(0))),
        };
        response.headers_mut().insert("x-test-target", HeaderValue::from_str(&shown).unwrap());
        if let Some(encoding) = request.headers.get(http::header::CONTENT_ENCODING) {
            response.headers_mut().insert("x-test-encoding", encoding.clone());
        }
        if let Some(version) = request.tls_version {
            response.headers_mut().insert("x-test-tls", HeaderValue::from_static(version));
        }
        response.extensions_mut().insert(OperationName("TestOperation"));
        Ok(response)
    }
}

/// A form service that tells what it was handed.
pub struct Echo;

#[async_trait]
impl FormBackend for Echo {
    async fn call(&self, request: FormRequest) -> FormResponse {
        let who = request.caller.principal().map_or("nobody", |principal| principal.arn.as_str());
        FormResponse::xml("Echo", format!("{} {who} {:?}", request.service, request.parameters))
    }
}

fn zeros(size: u64) -> ResponseBody {
    const PIECE: u64 = 64 << 10;
    let pieces = (0..size.div_ceil(PIECE)).map(move |index| PIECE.min(size - index * PIECE));
    let stream = futures::stream::iter(pieces).map(|length| Ok(Bytes::from(vec![0; length as usize])));
    ResponseBody::stream(stream.boxed(), Some(size))
}

pub struct Pages;

impl AdminPages for Pages {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> bool {
        false
    }

    fn metrics(&self) -> String {
        "cluster_figure 1\n# EOF\n".to_owned()
    }
}

pub struct Running {
    pub address: SocketAddr,
    pub service: Arc<Service>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Running {
    pub async fn start(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let mut config = GatewayConfig::new(([127, 0, 0, 1], 0).into(), REGION);
        config.base_domains = vec!["s3.test".to_owned()];
        change(&mut config);
        let service = Arc::new(Service::default());
        let clock = Arc::new(ManualClock::new(Timestamp(NOW_MS)));
        let gateway =
            Gateway::bind(config, Arc::new(Keys), service.clone(), Arc::new(Pages), clock, Arc::new(SystemRng))
                .await
                .unwrap();
        let gateway = gateway.with_form_service("sts", Arc::new(Echo)).with_form_service("iam", Arc::new(Echo));
        let address = gateway.local_addr();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(gateway.serve(shutdown.clone()));
        Self { address, service, shutdown, task }
    }

    pub async fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        Self::start(|config| change(&mut config.limits)).await
    }

    pub async fn connect(&self) -> wire::Wire<tokio::net::TcpStream> {
        wire::Wire::new(tokio::net::TcpStream::connect(self.address).await.unwrap())
    }

    /// Ends the gateway, which must happen soon.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("a drain in time").unwrap();
    }
}
