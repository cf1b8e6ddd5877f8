//! How busy a connection is, and when that is too little.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::config::Limits;

/// What a connection did last. Times are milliseconds since it was accepted; 0 stands for never.
#[derive(Debug)]
pub(crate) struct Activity {
    accepted: Instant,
    in_flight: AtomicUsize,
    head_since: AtomicU64,
    idle_since: AtomicU64,
    write_blocked_since: AtomicU64,
    http2: AtomicBool,
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is in order.
    Keep,
    /// It was without a request for too long.
    Retire,
    /// The client withholds the rest of a request's head, or does not read.
    Cut,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            accepted: Instant::now(),
            in_flight: AtomicUsize::new(0),
            head_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(1),
            write_blocked_since: AtomicU64::new(0),
            http2: AtomicBool::new(false),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// The head of a request is complete.
    pub(crate) fn request_begins(&self, http2: bool) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.head_since.store(0, Ordering::Release);
        if http2 {
            self.http2.store(true, Ordering::Release);
        }
    }

    /// The answer was sent, or given up.
    pub(crate) fn request_ends(&self) {
        self.idle_since.store(self.now_ms(), Ordering::Release);
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn verdict(&self, limits: &Limits) -> Verdict {
        let now = self.now_ms();
        let over = |since: u64, limit: Duration| since > 0 && u128::from(now.saturating_sub(since)) > limit.as_millis();
        if over(self.write_blocked_since.load(Ordering::Acquire), limits.write_idle_timeout()) {
            return Verdict::Cut;
        }
        if self.in_flight.load(Ordering::Acquire) > 0 {
            return Verdict::Keep;
        }
        // Behind its first request, an HTTP/2 connection carries frames that belong to no head.
        let in_head = !self.http2.load(Ordering::Acquire);
        if in_head && over(self.head_since.load(Ordering::Acquire), limits.header_read_timeout()) {
            return Verdict::Cut;
        }
        if over(self.idle_since.load(Ordering::Acquire), limits.idle_timeout()) {
            Verdict::Retire
        } else {
            Verdict::Keep
        }
    }

    fn bytes_read(&self) {
        if self.in_flight.load(Ordering::Acquire) == 0 && self.head_since.load(Ordering::Acquire) == 0 {
            self.head_since.store(self.now_ms(), Ordering::Release);
        }
    }

    fn write_polled<T>(&self, poll: &Poll<io::Result<T>>) {
        let blocked = self.write_blocked_since.load(Ordering::Acquire);
        match (poll.is_pending(), blocked) {
            (true, 0) => self.write_blocked_since.store(self.now_ms(), Ordering::Release),
            (false, 1..) => self.write_blocked_since.store(0, Ordering::Release),
            _ => {}
        }
    }
}

/// A stream that notes what it does.
pub(crate) struct TrackedIo<S> {
    inner: S,
    activity: std::sync::Arc<Activity>,
}

impl<S> TrackedIo<S> {
    pub(crate) fn new(inner: S, activity: std::sync::Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_read();
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.activity.write_polled(&poll);
        poll
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.activity.write_polled(&poll);
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        self.activity.write_polled(&poll);
        poll
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.activity.write_polled(&poll);
        poll
    }
}
