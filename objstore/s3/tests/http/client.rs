//! A small signing S3 client: one connection per request, so that a test sees exactly what is answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DATE: &str = "20260101";
const TIME: &str = "20260101T000000Z";
pub(crate) const REGION: &str = "us-east-1";

/// Signs with one access key.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Content of the first element called `name`.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let start = text.find(&open)? + open.len();
        let end = text[start..].find(&close)? + start;
        Some(text[start..end].to_owned())
    }

    /// Contents of every element called `name`.
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        text.split(&open)
            .skip(1)
            .filter_map(|rest| rest.split_once(&close).map(|(inner, _)| inner.to_owned()))
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Panics with the body unless the status is `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }

    /// Panics unless this is the error `code`.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.element("Code").as_deref(), Some(code), "{}", answer.text());
        answer
    }
}

impl Client {
    /// The same client with another key.
    pub(crate) fn with_key(&self, access_key: &str) -> Self {
        Self { address: self.address, access_key: access_key.to_owned(), secret_key: self.secret_key.clone() }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"").await
    }

    pub(crate) async fn put(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("PUT", target, headers, body).await
    }

    /// Sends a signed request; `target` is path and query, encoded. A header `x-amz-content-sha256` replaces the hash.
    pub(crate) async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all: BTreeMap<String, String> =
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        all.insert("host".to_owned(), self.address.to_string());
        all.insert("x-amz-date".to_owned(), TIME.to_owned());
        all.entry("x-amz-content-sha256".to_owned()).or_insert_with(|| hex::encode(Sha256::digest(body)));
        let authorization = self.sign(method, target, &all);
        all.insert("authorization".to_owned(), authorization);
        self.exchange(method, target, &all, body).await
    }

    /// Sends the head of an unsigned PUT that waits for `100 Continue`, and no body; what comes first.
    pub(crate) async fn expect_continue(&self, target: &str) -> Answer {
        let head = format!(
            "PUT {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nexpect: 100-continue\r\n\
             content-length: 1000000\r\n\r\n",
            self.address
        );
        let mut socket = TcpStream::connect(self.address).await.expect("connect");
        socket.write_all(head.as_bytes()).await.expect("send head");
        let mut received = Vec::new();
        let _ = socket.read_to_end(&mut received).await;
        parse(&received)
    }

    /// Sends a request that nobody signed.
    pub(crate) async fn anonymous(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        self.anonymous_with(method, target, &[], body).await
    }

    /// As [`Self::anonymous`], with headers.
    pub(crate) async fn anonymous_with(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut all = BTreeMap::from([("host".to_owned(), self.address.to_string())]);
        all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.exchange(method, target, &all, body).await
    }

    async fn exchange(&self, method: &str, target: &str, headers: &BTreeMap<String, String>, body: &[u8]) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "PUT" || method == "POST" {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut socket = TcpStream::connect(self.address).await.expect("connect");
        socket.write_all(request.as_bytes()).await.expect("send head");
        // The server may answer and close before it has read a body that it refuses.
        let _ = socket.write_all(body).await;
        let mut received = Vec::new();
        let _ = socket.read_to_end(&mut received).await;
        parse(&received)
    }

    /// Signs a text as it is, as the policy of a form is signed.
    pub(crate) fn sign_text(&self, text: &str) -> String {
        let mut key = mac(format!("AWS4{}", self.secret_key).as_bytes(), DATE);
        for part in [REGION, "s3", "aws4_request"] {
            key = mac(&key, part);
        }
        hex::encode(mac(&key, text))
    }

    fn sign(&self, method: &str, target: &str, headers: &BTreeMap<String, String>) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
            .collect();
        pairs.sort();
        let canonical_headers: String =
            headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let signed: Vec<&str> = headers.keys().map(String::as_str).collect();
        let signed = signed.join(";");
        let hash = &headers["x-amz-content-sha256"];
        let canonical = format!("{method}\n{path}\n{}\n{canonical_headers}\n{signed}\n{hash}", pairs.join("&"));
        let scope = format!("{DATE}/{REGION}/s3/aws4_request");
        let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{TIME}\n{scope}\n{digest}");
        let mut key = mac(format!("AWS4{}", self.secret_key).as_bytes(), DATE);
        for part in [REGION, "s3", "aws4_request"] {
            key = mac(&key, part);
        }
        let signature = hex::encode(mac(&key, &text));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            self.access_key
        )
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn parse(received: &[u8]) -> Answer {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&received[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status: status.expect("a status"), headers, body: received[end + 4..].to_vec() }
}
