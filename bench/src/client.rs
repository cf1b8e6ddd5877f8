//! One connection to an S3 endpoint, as thin as can be: the generator must cost less than what it measures.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use karri_tests_cluster::{Credentials, sign_request};
use md5::{Digest as _, Md5};
use tokio::net::TcpStream;

/// Longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Most bytes of an answer that are kept to be looked at.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// A body to send.
pub(crate) type RequestBody = BoxBody<Bytes, Infallible>;

/// What is done with the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It is counted.
    Nothing,
    /// It is counted and its MD5 taken.
    Md5,
    /// It is kept, as far as it is small.
    Bytes,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    /// Bytes of the body.
    pub(crate) length: u64,
    /// MD5 of the body, when it was asked for.
    pub(crate) md5: Option<[u8; 16]>,
    /// The body, when it was asked for, and of every error.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The ETag without its quotes.
    pub(crate) fn etag(&self) -> String {
        let header = self.headers.get("etag").and_then(|value| value.to_str().ok()).unwrap_or_default();
        header.trim_matches('"').to_owned()
    }

    /// Text of the first `<tag>`, or "".
    pub(crate) fn tag(&self, tag: &str) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let inside = text.split_once(&format!("<{tag}>")).map_or("", |(_, rest)| rest);
        inside.split_once(&format!("</{tag}>")).map_or("", |(inside, _)| inside).to_owned()
    }

    /// What an error is counted under: its code, else its status.
    pub(crate) fn code(&self) -> String {
        let code = self.tag("Code");
        if code.is_empty() { self.status.to_string() } else { code }
    }
}

/// One request.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) length: u64,
    pub(crate) body: RequestBody,
    pub(crate) keep: Keep,
}

impl<'a> Request<'a> {
    /// A request without a body.
    pub(crate) fn new(method: &'a str, path: &'a str) -> Self {
        let body = http_body_util::Empty::new().boxed();
        Self { method, path, query: &[], headers: &[], length: 0, body, keep: Keep::Nothing }
    }
}

/// One worker's connection; made again when it breaks.
pub(crate) struct Connection {
    host: String,
    credentials: Credentials,
    sender: Option<SendRequest<RequestBody>>,
}

impl Connection {
    /// To `host` ("127.0.0.1:9000"); nothing is sent yet.
    pub(crate) fn new(host: &str, credentials: Credentials) -> Self {
        Self { host: host.to_owned(), credentials, sender: None }
    }

    /// Signs and sends one request and reads the answer to its end.
    ///
    /// # Errors
    /// The connection broke or the answer did not come in time. An error status is no error here.
    pub(crate) async fn send(&mut self, request: Request<'_>) -> Result<Answer> {
        let keep = request.keep;
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => connect(&self.host).await?,
        };
        let request = signed(&self.credentials, &self.host, request)?;
        let exchange = async {
            sender.ready().await?;
            read(sender.send_request(request).await?, keep).await
        };
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, exchange).await.context("no answer in time")??;
        self.sender = Some(sender);
        Ok(answer)
    }
}

async fn connect(host: &str) -> Result<SendRequest<RequestBody>> {
    let stream = TcpStream::connect(host).await.with_context(|| format!("connect to {host}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with the sender; what goes wrong in it is told by the request.
    tokio::spawn(connection);
    Ok(sender)
}

fn signed(credentials: &Credentials, host: &str, request: Request<'_>) -> Result<http::Request<RequestBody>> {
    let Request { method, path, query, headers, length, body, .. } = request;
    let signed = sign_request(credentials, method, host, path, query, headers, "UNSIGNED-PAYLOAD");
    let mut built = http::Request::builder().method(method).uri(signed.target);
    for (name, value) in signed.headers {
        built = built.header(name, value);
    }
    if length > 0 || matches!(method, "PUT" | "POST") {
        built = built.header("content-length", length);
    }
    built.body(body).context("build the request")
}

async fn read(response: http::Response<hyper::body::Incoming>, keep: Keep) -> Result<Answer> {
    let (parts, mut incoming) = response.into_parts();
    let kept = keep == Keep::Bytes || !parts.status.is_success();
    let mut md5 = (keep == Keep::Md5).then(Md5::new);
    let (mut length, mut body) = (0, Vec::new());
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len() as u64;
        if let Some(md5) = &mut md5 {
            md5.update(&data);
        }
        if kept {
            ensure!(body.len() + data.len() <= KEPT_BYTES_MAX, "an answer is longer than anyone looks at");
            body.extend_from_slice(&data);
        }
    }
    let md5 = md5.map(|md5| md5.finalize().into());
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, length, md5, body })
}
