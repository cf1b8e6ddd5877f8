//! Response bodies.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::BoxStream;
use http_body::{Body, Frame, SizeHint};

/// The body of a response: nothing, bytes at hand, or a stream. Bytes go to the socket as they are, without a copy.
pub struct ResponseBody(Kind);

enum Kind {
    Empty,
    Full(Bytes),
    Stream { stream: BoxStream<'static, io::Result<Bytes>>, remaining: Option<u64> },
}

impl ResponseBody {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body that is at hand.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Full(bytes)) }
    }

    /// A body that comes in pieces. With `length`, it becomes the `Content-Length`; a stream that fails or ends
    /// before it cuts the connection, so that the client sees the loss.
    pub fn stream(stream: BoxStream<'static, io::Result<Bytes>>, length: Option<u64>) -> Self {
        Self(Kind::Stream { stream, remaining: length })
    }

    /// Bytes that are still to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Kind::Empty => Some(0),
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Stream { remaining, .. } => *remaining,
        }
    }
}

impl Default for ResponseBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ResponseBody({:?})", self.length())
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut self.0 {
            Kind::Empty => None,
            Kind::Full(bytes) => Some(Ok(std::mem::take(bytes))),
            Kind::Stream { stream, remaining } => {
                let piece = std::task::ready!(stream.as_mut().poll_next(cx));
                match (piece, remaining) {
                    (Some(Ok(bytes)), Some(remaining)) => match remaining.checked_sub(bytes.len() as u64) {
                        Some(rest) => {
                            *remaining = rest;
                            return Poll::Ready(Some(Ok(Frame::data(bytes))));
                        }
                        None => Some(Err(io::Error::other("the body is longer than its stated length"))),
                    },
                    (None, Some(missing)) if *missing > 0 => {
                        Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body ended too early")))
                    }
                    (Some(Ok(bytes)), None) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    (other, _) => other,
                }
            }
        };
        self.0 = Kind::Empty;
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
