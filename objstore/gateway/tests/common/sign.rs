//! Signature Version 4 from the client's side, for requests on a host `localhost`.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub const TIMESTAMP: &str = "20130524T000000Z";
pub const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
pub const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub fn hash(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn signature(text: &str) -> String {
    signature_in(SCOPE, text)
}

fn signature_in(scope: &str, text: &str) -> String {
    let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
    for part in scope.split('/') {
        key = mac(&key, part.as_bytes());
    }
    hex::encode(mac(&key, text.as_bytes()))
}

/// A request to be signed. Path and query are as on the wire, which must be canonical.
pub struct Request {
    method: String,
    path: String,
    query: String,
    host: String,
    headers: Vec<(String, String)>,
    unsigned: Vec<(String, String)>,
    payload: String,
    scope: String,
    /// The path of the canonical request where it is not that of the request.
    canonical_path: Option<String>,
    says_hash: bool,
}

pub fn request(method: &str, path: &str) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        host: "localhost".to_owned(),
        headers: Vec::new(),
        unsigned: Vec::new(),
        payload: EMPTY_HASH.to_owned(),
        scope: SCOPE.to_owned(),
        canonical_path: None,
        says_hash: true,
    }
}

impl Request {
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn unsigned(mut self, name: &str, value: impl ToString) -> Self {
        self.unsigned.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The value of `x-amz-content-sha256`.
    pub fn payload(mut self, payload: &str) -> Self {
        payload.clone_into(&mut self.payload);
        self
    }

    /// Signed for another service, whose clients do not say the hash of the body.
    pub fn service(mut self, service: &str) -> Self {
        self.scope = SCOPE.replace("/s3/", &format!("/{service}/"));
        self.says_hash = false;
        self
    }

    pub fn scope(mut self, scope: &str) -> Self {
        scope.clone_into(&mut self.scope);
        self
    }

    pub fn canonical_path(mut self, path: &str) -> Self {
        self.canonical_path = Some(path.to_owned());
        self
    }

    /// A body with its length and hash.
    pub fn body(self, body: &[u8]) -> Self {
        self.payload(&hash(body)).unsigned("content-length", body.len())
    }

    /// All headers, with the one that signs them.
    pub fn headers_and_seed(&self) -> (Vec<(String, String)>, String) {
        let mut signed = self.headers.clone();
        signed.push(("host".to_owned(), self.host.clone()));
        if self.says_hash {
            signed.push(("x-amz-content-sha256".to_owned(), self.payload.clone()));
        }
        signed.push(("x-amz-date".to_owned(), TIMESTAMP.to_owned()));
        signed.sort();
        let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let query = if self.query.is_empty() || self.query.contains('=') {
            self.query.clone()
        } else {
            format!("{}=", self.query)
        };
        let path = self.canonical_path.as_ref().unwrap_or(&self.path);
        let scope = &self.scope;
        let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{}", self.method, self.payload);
        let text = format!("AWS4-HMAC-SHA256\n{TIMESTAMP}\n{scope}\n{}", hash(canonical));
        let seed = signature_in(scope, &text);
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={seed}");
        signed.push(("authorization".to_owned(), authorization));
        signed.extend(self.unsigned.iter().cloned());
        (signed, seed)
    }

    /// The request's head for HTTP/1.1, and the seed of chunk signatures.
    pub fn head_and_seed(&self) -> (String, String) {
        let (headers, seed) = self.headers_and_seed();
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        (format!("{} {}{query} HTTP/1.1\r\n{lines}\r\n", self.method, self.path), seed)
    }

    pub fn head(&self) -> String {
        self.head_and_seed().0
    }
}

/// Frames `data` in signed chunks of `size` bytes, with a signed trailer if there is one.
pub fn signed_chunks(data: &[u8], size: usize, seed: &str, trailer: Option<(&str, &str)>) -> Vec<u8> {
    let mut previous = seed.to_owned();
    let mut out = Vec::new();
    for chunk in data.chunks(size).chain([&[][..]]) {
        let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{TIMESTAMP}\n{SCOPE}\n{previous}\n{EMPTY_HASH}\n{}", hash(chunk));
        previous = signature(&text);
        out.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", chunk.len()).as_bytes());
        if !chunk.is_empty() {
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
    }
    if let Some((name, value)) = trailer {
        let digest = hash(format!("{name}:{value}\n"));
        let text = format!("AWS4-HMAC-SHA256-TRAILER\n{TIMESTAMP}\n{SCOPE}\n{previous}\n{digest}");
        let signed = signature(&text);
        out.extend_from_slice(format!("{name}:{value}\r\nx-amz-trailer-signature:{signed}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Frames `data` in chunks of `size` bytes with a trailer.
pub fn unsigned_chunks(data: &[u8], size: usize, trailer: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in data.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("0\r\n{trailer}\r\n\r\n").as_bytes());
    out
}
