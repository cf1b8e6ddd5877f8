//! Every way in which S3 lets a request be signed, with knobs to spoil it.
//!
//! Sources: AWS, "Authenticating Requests (AWS Signature Version 4)", "Signature Calculations for the Authorization
//! Header: Transferring Payload in Multiple Chunks", "Signing and authenticating REST requests" (version 2).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::request::{Request, Sent};

/// An access key, its secret and, of a session, its token.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Access key id.
    pub access_key: String,
    /// Secret.
    pub secret_key: String,
    /// Session token.
    pub token: Option<String>,
}

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Authorization: AWS4-HMAC-SHA256`, with the hash of the body.
    Header,
    /// In the query, version 4.
    Presigned,
    /// In the header, with signed chunks.
    Chunked,
    /// In the header, with chunks that are not signed and a checksum behind them.
    Trailer,
    /// `Authorization: AWS`, version 2.
    HeaderV2,
    /// In the query, version 2.
    PresignedV2,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Header, Self::Presigned, Self::Chunked, Self::Trailer, Self::HeaderV2, Self::PresignedV2];

    /// Whether it is version 2.
    pub fn is_v2(self) -> bool {
        matches!(self, Self::HeaderV2 | Self::PresignedV2)
    }

    /// Whether the signature is in the query.
    pub fn is_query(self) -> bool {
        matches!(self, Self::Presigned | Self::PresignedV2)
    }
}

/// Who signs, when and for what.
#[derive(Clone, Debug)]
pub struct Signer {
    /// With what.
    pub keys: Keys,
    /// How.
    pub kind: Kind,
    /// Added to the clock, in seconds.
    pub skew_seconds: i64,
    /// How long a presigned request is good.
    pub expires_seconds: i64,
    /// Region of the scope.
    pub region: &'static str,
    /// Service of the scope.
    pub service: &'static str,
}

impl Signer {
    /// As an honest client does it.
    pub fn new(keys: &Keys, kind: Kind) -> Self {
        Self { keys: keys.clone(), kind, skew_seconds: 0, expires_seconds: 300, region: "us-east-1", service: "s3" }
    }

    /// For another service.
    #[must_use]
    pub fn service(mut self, service: &'static str) -> Self {
        self.service = service;
        self
    }

    /// Signs `request` for `host`.
    pub fn sign(&self, request: &Request, host: &str) -> Sent {
        match self.kind {
            Kind::Header | Kind::Chunked | Kind::Trailer => self.header_v4(request, host),
            Kind::Presigned => self.presigned_v4(request, host),
            Kind::HeaderV2 => self.header_v2(request, host),
            Kind::PresignedV2 => self.presigned_v2(request, host),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a client signs with the machine's clock")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + time::Duration::seconds(self.skew_seconds)
    }

    /// The time of the signature, its day, and the scope.
    fn scope(&self) -> (String, String, String) {
        let date = self
            .now()
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .expect("a date can be written");
        let day = date[..8].to_owned();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        (date, day, scope)
    }

    /// The key of a day, a region and a service.
    fn key(&self, day: &str) -> Vec<u8> {
        let mut key = mac256(format!("AWS4{}", self.keys.secret_key).as_bytes(), day);
        for part in [self.region, self.service, "aws4_request"] {
            key = mac256(&key, part);
        }
        key
    }

    /// The signature of `text` in the scope of now, as of a form's policy; the credential and the date beside it.
    pub fn sign_policy(&self, policy: &str) -> (String, String, String) {
        let (date, day, scope) = self.scope();
        let signature = hex::encode(mac256(&self.key(&day), policy));
        (format!("{}/{scope}", self.keys.access_key), date, signature)
    }

    fn header_v4(&self, request: &Request, host: &str) -> Sent {
        let (date, day, scope) = self.scope();
        let mut headers = request.headers.clone();
        let mut body = request.body.clone();
        let payload = match self.kind {
            Kind::Chunked => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned(),
            Kind::Trailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned(),
            _ => hex::encode(Sha256::digest(&body)),
        };
        if self.kind != Kind::Header {
            headers.push(("content-encoding".to_owned(), "aws-chunked".to_owned()));
            headers.push(("x-amz-decoded-content-length".to_owned(), body.len().to_string()));
        }
        if self.kind == Kind::Trailer {
            headers.push(("x-amz-trailer".to_owned(), "x-amz-checksum-sha256".to_owned()));
        }
        headers.push(("host".to_owned(), host.to_owned()));
        headers.push(("x-amz-date".to_owned(), date.clone()));
        headers.push(("x-amz-content-sha256".to_owned(), payload.clone()));
        if let Some(token) = &self.keys.token {
            headers.push(("x-amz-security-token".to_owned(), token.clone()));
        }
        headers.sort();
        let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let canonical = canonical(request, &request.query, &headers, &names, &payload, self.service);
        let key = self.key(&day);
        let signature = signature(&key, &date, &scope, &canonical);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.keys.access_key
        );
        headers.push(("authorization".to_owned(), authorization));
        match self.kind {
            Kind::Chunked => body = signed_chunks(&key, &date, &scope, &signature, &body),
            Kind::Trailer => body = trailing_checksum(&body),
            _ => {}
        }
        Sent { method: request.method.clone(), target: request.target(&request.query), headers, body }
    }

    fn presigned_v4(&self, request: &Request, host: &str) -> Sent {
        let (date, day, scope) = self.scope();
        let mut headers = request.headers.clone();
        headers.push(("host".to_owned(), host.to_owned()));
        headers.sort();
        let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let mut query = request.query.clone();
        let mut add = |name: &str, value: &str| query.push((name.to_owned(), value.to_owned()));
        add("X-Amz-Algorithm", "AWS4-HMAC-SHA256");
        add("X-Amz-Credential", &format!("{}/{scope}", self.keys.access_key));
        add("X-Amz-Date", &date);
        add("X-Amz-Expires", &self.expires_seconds.to_string());
        add("X-Amz-SignedHeaders", &names);
        if let Some(token) = &self.keys.token {
            add("X-Amz-Security-Token", token);
        }
        let payload = if self.service == "s3" {
            "UNSIGNED-PAYLOAD".to_owned()
        } else {
            hex::encode(Sha256::digest(&request.body))
        };
        let canonical = canonical(request, &query, &headers, &names, &payload, self.service);
        query.push(("X-Amz-Signature".to_owned(), signature(&self.key(&day), &date, &scope, &canonical)));
        Sent { method: request.method.clone(), target: request.target(&query), headers, body: request.body.clone() }
    }

    fn header_v2(&self, request: &Request, host: &str) -> Sent {
        let format =
            format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
        let date = self.now().format(format).expect("a date can be written");
        let mut headers = request.headers.clone();
        headers.push(("host".to_owned(), host.to_owned()));
        headers.push(("date".to_owned(), date.clone()));
        if let Some(token) = &self.keys.token {
            headers.push(("x-amz-security-token".to_owned(), token.clone()));
        }
        let text = text_v2(request, &headers, &date);
        let signature = STANDARD.encode(mac1(self.keys.secret_key.as_bytes(), &text));
        headers.push(("authorization".to_owned(), format!("AWS {}:{signature}", self.keys.access_key)));
        let target = request.target(&request.query);
        Sent { method: request.method.clone(), target, headers, body: request.body.clone() }
    }

    fn presigned_v2(&self, request: &Request, host: &str) -> Sent {
        let expires = (self.now().unix_timestamp() + self.expires_seconds).to_string();
        let mut headers = request.headers.clone();
        let mut query = request.query.clone();
        if let Some(token) = &self.keys.token {
            headers.push(("x-amz-security-token".to_owned(), token.clone()));
        }
        let signature = STANDARD.encode(mac1(self.keys.secret_key.as_bytes(), &text_v2(request, &headers, &expires)));
        headers.push(("host".to_owned(), host.to_owned()));
        for (name, value) in
            [("AWSAccessKeyId", &self.keys.access_key), ("Expires", &expires), ("Signature", &signature)]
        {
            query.push((name.to_owned(), value.clone()));
        }
        Sent { method: request.method.clone(), target: request.target(&query), headers, body: request.body.clone() }
    }
}

/// Percent-encodes as version 4 wants it; `/` stays when `keep_slash`.
pub fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string");
        }
    }
    out
}

fn canonical(
    request: &Request,
    query: &[(String, String)],
    headers: &[(String, String)],
    names: &str,
    payload: &str,
    service: &str,
) -> String {
    let mut pairs: Vec<_> = query.iter().map(|(name, value)| (encode(name, false), encode(value, false))).collect();
    pairs.sort();
    let query = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    // All services but S3 encode the path once more.
    let path = if service == "s3" { request.path.clone() } else { encode(&request.path, true) };
    let mut text = format!("{}\n{path}\n{query}\n", request.method);
    for (name, value) in headers {
        writeln!(text, "{name}:{}", value.trim()).expect("writing to a string");
    }
    write!(text, "\n{names}\n{payload}").expect("writing to a string");
    text
}

fn signature(key: &[u8], date: &str, scope: &str, canonical: &str) -> String {
    let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
    hex::encode(mac256(key, &format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}")))
}

/// Two chunks and the empty one.
fn signed_chunks(key: &[u8], date: &str, scope: &str, seed: &str, body: &[u8]) -> Vec<u8> {
    let empty = hex::encode(Sha256::digest(b""));
    let mut previous = seed.to_owned();
    let mut out = Vec::new();
    let (first, second) = body.split_at(body.len() / 2);
    let parts = [first, second].into_iter().filter(|part| !part.is_empty());
    for chunk in parts.chain([b"".as_slice()]) {
        let digest = hex::encode(Sha256::digest(chunk));
        let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{previous}\n{empty}\n{digest}");
        previous = hex::encode(mac256(key, &text));
        out.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn trailing_checksum(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if !body.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
    }
    let digest = STANDARD.encode(Sha256::digest(body));
    out.extend_from_slice(format!("0\r\nx-amz-checksum-sha256:{digest}\r\n\r\n").as_bytes());
    out
}

/// Parameters that version 2 signs, in order.
const SIGNED_V2: [&str; 23] = [
    "accelerate",
    "acl",
    "cors",
    "delete",
    "encryption",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "restore",
    "tagging",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
];

fn text_v2(request: &Request, headers: &[(String, String)], date: &str) -> String {
    let header = |wanted: &str| {
        headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let mut text = format!("{}\n{}\n{}\n{date}\n", request.method, header("content-md5"), header("content-type"));
    let mut amz: Vec<_> = headers.iter().filter(|(name, _)| name.starts_with("x-amz-")).collect();
    amz.sort();
    for (name, value) in amz {
        writeln!(text, "{name}:{}", value.trim()).expect("writing to a string");
    }
    text.push_str(&request.path);
    let mut separator = '?';
    for name in SIGNED_V2.iter().chain(&["website"]) {
        for (_, value) in request.query.iter().filter(|(given, _)| given == name) {
            text.push(separator);
            text.push_str(name);
            if !value.is_empty() {
                write!(text, "={value}").expect("writing to a string");
            }
            separator = '&';
        }
    }
    text
}

fn mac256(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length is taken");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn mac1(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any key length is taken");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
