//! Settings of the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of one gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// With it, the port speaks TLS and nothing else.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// Domains below which buckets are host names (`bucket.s3.example.org` for `s3.example.org`).
    #[serde(default)]
    pub base_domains: Vec<String>,
    /// Domains whose host names are websites: of the bucket before the domain, or of the one that is called as the
    /// whole host.
    #[serde(default)]
    pub website_domains: Vec<String>,
    /// The region that clients must sign for.
    pub region: String,
    /// Whether Signature Version 2 is accepted.
    #[serde(default)]
    pub sigv2: bool,
    /// Bounds of everything.
    #[serde(default)]
    pub limits: Limits,
}

impl GatewayConfig {
    /// Plain HTTP on `listen` for `region`, with default limits.
    pub fn new(listen: SocketAddr, region: impl Into<String>) -> Self {
        Self {
            listen,
            tls: None,
            base_domains: Vec::new(),
            website_domains: Vec::new(),
            region: region.into(),
            sigv2: false,
            limits: Limits::default(),
        }
    }
}

/// PEM files of the service port's certificate. They are read again when they change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificate chain, the host's own first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Bounds of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections; more wait in the listen queue. An address that has its share is not let in.
    pub connections_max: usize,
    /// Requests in work; more, and more than a client's share of them, are answered 503 `SlowDown`.
    pub concurrent_requests_max: usize,
    /// Memory for bodies of requests and answers in work, counted by what each may hold at most; what would take more is
    /// answered 503 `SlowDown`.
    pub memory_bytes_max: u64,
    /// Names and values of all headers of a request.
    pub header_bytes_max: usize,
    /// Headers of a request.
    pub header_count_max: usize,
    /// Path and query of a request.
    pub uri_bytes_max: usize,
    /// From the first byte of a request's head to its last, and for the TLS handshake.
    pub header_read_timeout_ms: u64,
    /// How long a connection without a request stays open.
    pub idle_timeout_ms: u64,
    /// The window in which a request's body must bring `body_progress_bytes_min`; time in which the server does not
    /// read does not count.
    pub body_idle_timeout_ms: u64,
    /// Bytes that a body must bring in each window.
    pub body_progress_bytes_min: u64,
    /// How long a client may leave the answer unread.
    pub write_idle_timeout_ms: u64,
    /// Everything from a request's head to the end of its answer.
    pub request_time_max_ms: u64,
    /// How long requests in work may go on after shutdown began.
    pub drain_timeout_ms: u64,
    /// Bytes of the unread rest of a refused body that are read and dropped, so that the client sees the answer.
    pub linger_bytes_max: u64,
    /// Body of a request to a service other than S3 that signs its body without naming the hash.
    pub query_body_bytes_max: usize,
    /// HTTP/2 streams of one connection.
    pub http2_streams_max: u32,
    /// Most bytes that are read from a connection at once, and kept of it: also of one that is refused. A head must fit.
    pub read_buffer_bytes_max: usize,
    /// How often the TLS files are looked at.
    pub tls_reload_interval_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 8192,
            concurrent_requests_max: 2048,
            memory_bytes_max: 512 << 20,
            header_bytes_max: 32 << 10,
            header_count_max: 200,
            uri_bytes_max: 32 << 10,
            header_read_timeout_ms: 15_000,
            idle_timeout_ms: 75_000,
            body_idle_timeout_ms: 30_000,
            body_progress_bytes_min: 1 << 10,
            write_idle_timeout_ms: 60_000,
            request_time_max_ms: 12 * 3_600_000,
            drain_timeout_ms: 30_000,
            linger_bytes_max: 8 << 20,
            query_body_bytes_max: 1 << 20,
            http2_streams_max: 128,
            read_buffer_bytes_max: 128 << 10,
            tls_reload_interval_ms: 10_000,
        }
    }
}

impl Limits {
    pub(crate) fn header_read_timeout(&self) -> Duration {
        Duration::from_millis(self.header_read_timeout_ms)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    pub(crate) fn body_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.body_idle_timeout_ms)
    }

    pub(crate) fn write_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.write_idle_timeout_ms)
    }

    pub(crate) fn request_time_max(&self) -> Duration {
        Duration::from_millis(self.request_time_max_ms)
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }

    pub(crate) fn tls_reload_interval(&self) -> Duration {
        Duration::from_millis(self.tls_reload_interval_ms)
    }
}
