//! A small S3 client that shows exactly what the server answered.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use md5::{Digest as _, Md5};
use rustls::{ClientConfig, RootCertStore};

use crate::sign::{Credentials, sign_request};

/// One answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// A header's text, or "".
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Text of the first `<tag>` in the body, or "".
    pub fn tag(&self, tag: &str) -> String {
        self.tags(tag).into_iter().next().unwrap_or_default()
    }

    /// Texts of all `<tag>` in the body.
    pub fn tags(&self, tag: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        let open = format!("<{tag}>");
        let close = format!("</{tag}>");
        text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).map(str::to_owned).collect()
    }

    /// The answer when its status is `status`, else an error that shows it.
    pub fn expect(self, status: u16) -> Result<Self> {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(600)]).into_owned();
        ensure!(self.status == status, "wanted {status}, got {} {:?}: {text}", self.status, self.headers);
        Ok(self)
    }
}

/// A client of one endpoint; cheap to clone.
#[derive(Clone)]
pub struct S3Client {
    host: String,
    scheme: &'static str,
    credentials: Credentials,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl S3Client {
    /// A client of `host` ("127.0.0.1:9000").
    pub fn new(host: &str, credentials: Credentials) -> Self {
        let nobody = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        Self::over("http", host, credentials, nobody)
    }

    /// As [`S3Client::new`], over TLS.
    pub fn over_tls(host: &str, credentials: Credentials, trust: ClientConfig) -> Self {
        Self::over("https", host, credentials, trust)
    }

    fn over(scheme: &'static str, host: &str, credentials: Credentials, trust: ClientConfig) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new().with_tls_config(trust).https_or_http().enable_http1();
        let http = Client::builder(TokioExecutor::new()).build(connector.wrap_connector(tcp));
        Self { host: host.to_owned(), scheme, credentials, http, timeout: Duration::from_secs(120) }
    }

    /// The same client with another bound on the time of a request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Signs and sends one request, without retries.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let signed = sign_request(&self.credentials, method, &self.host, path, query, headers, "UNSIGNED-PAYLOAD");
        self.send_raw(method, &signed.target, &signed.headers, body.into()).await
    }

    /// Sends a request exactly as given.
    pub async fn send_raw(
        &self,
        method: &str,
        target: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<Answer> {
        let mut request =
            http::Request::builder().method(method).uri(format!("{}://{}{target}", self.scheme, self.host));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).context("build the request")?;
        let exchange = async {
            let response = self.http.request(request).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        tokio::time::timeout(self.timeout, exchange).await.context("the server did not answer in time")?
    }

    /// Sends until the answer is neither a 5xx nor a broken connection, at most `attempts` times.
    pub async fn send_retrying(
        &self,
        attempts: u32,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let body = body.into();
        let mut last = None;
        for _ in 0..attempts {
            match self.send(method, path, query, headers, body.clone()).await {
                Ok(answer) if answer.status < 500 => return Ok(answer),
                other => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        last.context("no attempt was made")?
    }

    /// `CreateBucket`.
    pub async fn create_bucket(&self, bucket: &str) -> Result<Answer> {
        self.send("PUT", &format!("/{bucket}"), &[], &[], "").await?.expect(200)
    }

    /// `PutObject`; checks that the ETag is the MD5.
    pub async fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) -> Result<Answer> {
        let body = body.into();
        let etag = format!("\"{}\"", hex::encode(Md5::digest(&body)));
        let answer = self.send("PUT", &format!("/{bucket}/{key}"), &[], &[], body).await?.expect(200)?;
        ensure!(answer.header("etag") == etag, "ETag {} is not {etag}", answer.header("etag"));
        Ok(answer)
    }

    /// `GetObject`, whole.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Answer> {
        self.send("GET", &format!("/{bucket}/{key}"), &[], &[], "").await
    }

    /// `DeleteObject`.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<Answer> {
        self.send("DELETE", &format!("/{bucket}/{key}"), &[], &[], "").await?.expect(204)
    }

    /// Every key of a bucket, by `ListObjectsV2` in pages of `page`.
    pub async fn list_keys(&self, bucket: &str, prefix: &str, page: u32) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut token = String::new();
        loop {
            let page = page.to_string();
            let mut query = vec![("list-type", "2"), ("max-keys", &page), ("prefix", prefix)];
            if !token.is_empty() {
                query.push(("continuation-token", &token));
            }
            let answer = self.send("GET", &format!("/{bucket}"), &query, &[], "").await?.expect(200)?;
            keys.extend(answer.tags("Key"));
            if answer.tag("IsTruncated") != "true" {
                return Ok(keys);
            }
            token = answer.tag("NextContinuationToken");
        }
    }
}
