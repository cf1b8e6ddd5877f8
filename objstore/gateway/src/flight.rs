//! One request from its head to the end of its answer: what it holds, and what is written down of it.

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Uri};
use http_body::{Body, Frame, SizeHint};
use karri_ring_types::{Clock, RequestId};
use tokio::time::Instant;

use crate::activity::Activity;
use crate::admission::{Room, Slot};
use crate::api::{Done, TlsSession, WhenDone};
use crate::error::ApiError;
use crate::handler::Peer;
use crate::metrics::Metrics;
use crate::response::ResponseBody;

/// The status of a request whose client went away before there was an answer.
const STATUS_CLIENT_GONE: u16 = 499;

/// A request in work. Dropping it counts and logs the request.
pub(crate) struct Flight {
    pub(crate) request_id: RequestId,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) remote: IpAddr,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) access_key: Option<String>,
    pub(crate) operation: &'static str,
    pub(crate) status: u16,
    pub(crate) error: Option<Cow<'static, str>>,
    pub(crate) received: Arc<AtomicU64>,
    pub(crate) slot: Option<Arc<Slot>>,
    /// The service in whose form errors are told, where it is not S3.
    pub(crate) form_service: Option<&'static str>,
    /// The bucket that the request names, whoever sent it.
    pub(crate) bucket: Option<String>,
    /// Whom the backend wants told how the request ended.
    pub(crate) when_done: Option<WhenDone>,
    version: http::Version,
    tls: Option<Arc<TlsSession>>,
    answered_after: Duration,
    sent: u64,
    started: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    activity: Arc<Activity>,
}

impl Flight {
    pub(crate) fn new(
        request_id: RequestId,
        head: &http::request::Parts,
        peer: &Peer,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let activity = peer.activity.clone();
        activity.request_begins(head.version == http::Version::HTTP_2);
        metrics.in_flight.inc();
        Self {
            request_id,
            method: head.method.clone(),
            uri: head.uri.clone(),
            remote: peer.remote,
            user_agent: head.headers.get(http::header::USER_AGENT).cloned(),
            access_key: None,
            operation: "none",
            status: STATUS_CLIENT_GONE,
            error: None,
            received: Arc::default(),
            slot: None,
            form_service: None,
            bucket: None,
            when_done: None,
            version: head.version,
            tls: peer.tls.clone(),
            answered_after: Duration::ZERO,
            sent: 0,
            started: clock.monotonic(),
            clock,
            metrics,
            activity,
        }
    }

    /// The request was signed with the key: it counts for its share.
    pub(crate) fn signed_with(&mut self, access_key: Option<&str>) -> Result<(), ApiError> {
        self.access_key = access_key.map(str::to_owned);
        match (&self.slot, access_key) {
            (Some(slot), Some(access_key)) => slot.belongs_to(access_key),
            _ => Ok(()),
        }
    }

    /// Memory for the answer of a request that was let in.
    pub(crate) fn room(&self) -> Result<Room, ApiError> {
        self.slot.clone().map(Room).ok_or_else(ApiError::internal)
    }

    /// The head of the answer is ready.
    pub(crate) fn answered(&mut self) {
        self.answered_after = self.clock.monotonic().saturating_sub(self.started);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.activity.request_ends();
        let time = self.clock.monotonic().saturating_sub(self.started);
        let received = self.received.load(Ordering::Relaxed);
        self.metrics.request(self.operation, self.status, time, received, self.sent);
        if let Some(WhenDone(tell)) = self.when_done.take() {
            tell(&Done {
                status: self.status,
                error: self.error.as_deref(),
                bytes_received: received,
                bytes_sent: self.sent,
                time,
                answered_after: self.answered_after,
                version: self.version,
                tls: self.tls.as_deref(),
            });
        }
        // The query is left out: it may hold a signature or token.
        tracing::info!(
            target: "access",
            request_id = %self.request_id,
            remote = %self.remote,
            method = %self.method,
            path = self.uri.path(),
            operation = self.operation,
            status = self.status,
            error = self.error.as_deref(),
            bytes_in = received,
            bytes_out = self.sent,
            ms = time.as_secs_f64() * 1000.0,
            user_agent = self.user_agent.as_ref().and_then(|value| value.to_str().ok()),
            access_key = self.access_key.as_deref(),
            "request"
        );
    }
}

/// A response body that keeps its request in flight until it was sent.
pub(crate) struct FlightBody {
    inner: ResponseBody,
    deadline: Instant,
    flight: Flight,
}

impl FlightBody {
    pub(crate) fn new(inner: ResponseBody, deadline: Instant, flight: Flight) -> Self {
        Self { inner, deadline, flight }
    }
}

impl Body for FlightBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(data)) => {
                self.flight.sent += data.data_ref().map_or(0, |data| data.len() as u64);
                if Instant::now() > self.deadline {
                    self.flight.error = Some(Cow::Borrowed("RequestTimeout"));
                    return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
                }
            }
            Some(Err(error)) => {
                tracing::warn!(request_id = %self.flight.request_id, %error, "answer cut short");
                self.flight.error = Some(Cow::Borrowed("Aborted"));
            }
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
