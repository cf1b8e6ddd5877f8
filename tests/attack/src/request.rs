//! Requests before and after they are signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::sign::encode;

/// A request that nobody has signed yet.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method.
    pub method: String,
    /// As it stands on the request line.
    pub path: String,
    /// Decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, without framing.
    pub body: Vec<u8>,
}

impl Request {
    /// `target` is a path and, behind `?`, parameters without escapes.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            ..Self::default()
        }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }

    /// With a document and its MD5, which some operations want.
    #[must_use]
    pub fn document(self, body: &str) -> Self {
        let digest = STANDARD.encode(Md5::digest(body.as_bytes()));
        self.header("content-md5", &digest).body(body)
    }

    /// Path and query as they are sent.
    pub(crate) fn target(&self, query: &[(String, String)]) -> String {
        let pairs: Vec<String> = query
            .iter()
            .map(|(name, value)| match value.is_empty() {
                true => encode(name, false),
                false => format!("{}={}", encode(name, false), encode(value, false)),
            })
            .collect();
        if pairs.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, pairs.join("&")) }
    }

    /// As it is, signed by nobody.
    pub fn unsigned(&self, host: &str) -> Sent {
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), host.to_owned()));
        Sent { method: self.method.clone(), target: self.target(&self.query), headers, body: self.body.clone() }
    }
}

/// A request as it goes out.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body with its framing.
    pub body: Vec<u8>,
}

impl Sent {
    /// With a header that is not signed.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a parameter that is not signed.
    #[must_use]
    pub fn parameter(mut self, pair: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(pair);
        self
    }

    /// The same with its signature changed by `change`, which is given the signature alone.
    #[must_use]
    pub fn with_signature(mut self, change: impl Fn(&str) -> String) -> Self {
        for mark in ["X-Amz-Signature=", "&Signature=", "?Signature="] {
            if let Some(at) = self.target.find(mark) {
                let (head, signature) = self.target.split_at(at + mark.len());
                self.target = format!("{head}{}", change(signature));
                return self;
            }
        }
        for (_, value) in self.headers.iter_mut().filter(|(name, _)| name == "authorization") {
            let at = value.find("Signature=").map(|at| at + 10).or_else(|| value.rfind(':').map(|at| at + 1));
            let (head, signature) = value.split_at(at.expect("a signature"));
            *value = format!("{head}{}", change(signature));
        }
        self
    }
}
