//! Where a body's bytes come from, and how slowly they may.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use crate::body::BodyError;
use crate::form::FilePart;

/// How long the rest of a refused body is read.
const LINGER_TIME: Duration = Duration::from_secs(10);

/// The bytes of a request's body as they come.
pub(crate) enum Source {
    Bytes(Option<Bytes>),
    #[cfg(any(test, fuzzing))]
    Pieces(std::vec::IntoIter<Bytes>),
    Network(Box<Network>),
    /// The file of a form.
    Form(Box<FilePart>),
}

/// A body on a connection.
pub(crate) struct Network {
    /// `None` behind its end.
    incoming: Option<Incoming>,
    pace: Pace,
    received: Arc<AtomicU64>,
    linger: Option<Linger>,
}

/// What to do with the rest of a body that nobody reads.
///
/// Closing a connection with unread bytes resets it, and the client may never see the answer: so they are read and
/// dropped, up to a bound.
#[derive(Clone, Copy)]
pub(crate) struct Linger {
    /// Bytes to read at most.
    pub(crate) bytes_max: u64,
    /// The client sends nothing until the body is read from: then the answer alone is enough.
    pub(crate) awaits_continue: bool,
}

/// The least speed of a body. Only time in which the server waits counts.
pub(crate) struct Pace {
    window: Duration,
    bytes_min: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(window: Duration, bytes_min: u64) -> Self {
        Self { window, bytes_min, waited: Duration::ZERO, bytes: 0 }
    }

    /// Time that may still be waited in this window.
    fn allowance(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Some time was waited; an error when the window is over and brought too little.
    fn waited(&mut self, time: Duration) -> Result<(), BodyError> {
        self.waited += time;
        if self.waited < self.window {
            return Ok(());
        }
        if self.bytes < self.bytes_min {
            return Err(BodyError::TimedOut);
        }
        self.waited = Duration::ZERO;
        self.bytes = 0;
        Ok(())
    }
}

impl Source {
    pub(crate) fn bytes(bytes: Bytes) -> Self {
        Self::Bytes(Some(bytes))
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn pieces(pieces: Vec<Bytes>) -> Self {
        Self::Pieces(pieces.into_iter())
    }

    pub(crate) fn network(incoming: Incoming, pace: Pace, received: Arc<AtomicU64>, linger: Option<Linger>) -> Self {
        if incoming.is_end_stream() {
            return Self::Bytes(None);
        }
        Self::Network(Box::new(Network { incoming: Some(incoming), pace, received, linger }))
    }

    /// The next bytes, never none of them.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.take().filter(|bytes| !bytes.is_empty())),
            #[cfg(any(test, fuzzing))]
            Self::Pieces(pieces) => Ok(pieces.next()),
            Self::Network(network) => network.read().await,
            // A file reads from the network, never from another form; the box ends the type's recursion.
            Self::Form(file) => Box::pin(file.next()).await,
        }
    }
}

impl Network {
    async fn read(&mut self) -> Result<Option<Bytes>, BodyError> {
        if let Some(linger) = &mut self.linger {
            linger.awaits_continue = false;
        }
        loop {
            // Most reads find bytes at hand and need no timer.
            if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(self.poll_data(cx))).await {
                return read;
            }
            let started = Instant::now();
            let read = timeout(self.pace.allowance(), poll_fn(|cx| self.poll_data(cx))).await;
            let time = started.elapsed().max(if read.is_err() { self.pace.allowance() } else { Duration::ZERO });
            if let Err(error) = self.pace.waited(time) {
                // Whoever is too slow is not waited for once more.
                self.incoming = None;
                return Err(error);
            }
            if let Ok(read) = read {
                return read;
            }
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(Ok(None)) };
            let frame = match ready!(Pin::new(incoming).poll_frame(cx)) {
                None => {
                    self.incoming = None;
                    return Poll::Ready(Ok(None));
                }
                Some(Err(_)) => {
                    self.incoming = None;
                    return Poll::Ready(Err(BodyError::Disconnected));
                }
                Some(Ok(frame)) => frame,
            };
            // HTTP trailers are not what S3 means by trailers, and nobody signed them.
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            let length = data.len() as u64;
            self.pace.bytes += length;
            self.received.fetch_add(length, Ordering::Relaxed);
            return Poll::Ready(Ok(Some(data)));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let (Some(incoming), Some(linger)) = (self.incoming.take(), self.linger) else { return };
        if linger.awaits_continue || incoming.is_end_stream() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(LINGER_TIME, drain(incoming, linger.bytes_max)));
        }
    }
}

async fn drain(mut incoming: Incoming, bytes_max: u64) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > bytes_max {
            return;
        }
    }
}
