//! Requests for the tests, written as a client would.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use karri_objstore_wire::WireRequest;

/// A request that owns its parts.
pub(crate) struct Sample {
    method: Method,
    bucket: Option<String>,
    key: Option<String>,
    query: Vec<(String, String)>,
    headers: HeaderMap,
}

impl Sample {
    /// `target` is `/bucket/key?name=value&bare`, without escapes.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (bucket, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self {
            method: method.parse().expect("method"),
            bucket: some(bucket),
            key: some(key),
            query: pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(owned).collect(),
            headers: HeaderMap::new(),
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("value"));
        self
    }

    pub(crate) fn wire(&self) -> WireRequest<'_> {
        WireRequest {
            method: &self.method,
            bucket: self.bucket.as_deref(),
            key: self.key.as_deref(),
            query: &self.query,
            headers: &self.headers,
        }
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
