//! The wire format of one message, and the handshake before the first.
//!
//! A connection begins with [`HELLO`] and the range of versions that the caller speaks; the peer answers with the one
//! it chose. Then frames go both ways: a fixed header, the head, the body.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::message::{BODY_BYTES_MAX, HEAD_BYTES_MAX};

const HELLO: &[u8; 6] = b"KARRI\0";
/// Versions of the frame format that this program speaks.
const VERSION_MIN: u16 = 1;
const VERSION_MAX: u16 = 1;
const HEADER_BYTES: usize = 28;
/// Frames with a body from this size on are written by themselves instead of being gathered.
const GATHER_BYTES_MAX: usize = 64 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    /// The head is the error's text.
    Failure,
    /// The peer has no handler.
    UnknownMethod,
}

/// One message on the wire.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) method: u16,
    pub(crate) id: u64,
    pub(crate) group: u64,
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
}

impl Frame {
    fn put_header(&self, out: &mut BytesMut) {
        out.put_u8(match self.kind {
            Kind::Request => 1,
            Kind::Response => 2,
            Kind::Failure => 3,
            Kind::UnknownMethod => 4,
        });
        out.put_u8(0);
        out.put_u16(self.method);
        out.put_u32(u32::try_from(self.head.len()).expect("bounded"));
        out.put_u32(u32::try_from(self.body.len()).expect("bounded"));
        out.put_u64(self.id);
        out.put_u64(self.group);
    }
}

/// Gathers small frames so that many leave in one write, and passes large bodies through uncopied.
pub(crate) struct FrameWriter<W> {
    stream: W,
    gathered: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(crate) fn new(stream: W) -> Self {
        Self { stream, gathered: BytesMut::with_capacity(GATHER_BYTES_MAX) }
    }

    /// Takes a frame; it is sure to have left only after [`FrameWriter::flush`].
    pub(crate) async fn write(&mut self, frame: &Frame) -> io::Result<()> {
        frame.put_header(&mut self.gathered);
        self.gathered.extend_from_slice(&frame.head);
        if frame.body.len() < GATHER_BYTES_MAX {
            self.gathered.extend_from_slice(&frame.body);
            if self.gathered.len() >= GATHER_BYTES_MAX {
                self.write_gathered().await?;
            }
            return Ok(());
        }
        self.write_gathered().await?;
        self.stream.write_all(&frame.body).await
    }

    async fn write_gathered(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.gathered).await?;
        self.gathered.clear();
        Ok(())
    }

    /// Tells the peer that no more frames come.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.write_gathered().await?;
        self.stream.flush().await
    }
}

/// Most bytes that a frame may have.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head_bytes_max: usize,
    pub(crate) body_bytes_max: usize,
}

impl Limits {
    /// Between nodes.
    pub(crate) const NODE: Self = Self { head_bytes_max: HEAD_BYTES_MAX, body_bytes_max: BODY_BYTES_MAX };
    /// From a caller without a certificate.
    pub(crate) const STRANGER: Self = Self { head_bytes_max: 4 << 10, body_bytes_max: 0 };
}

/// Reads one frame; `None` at a clean end between frames.
pub(crate) async fn read_frame<R: AsyncRead + Unpin>(stream: &mut R, limits: Limits) -> io::Result<Option<Frame>> {
    let mut header = [0; HEADER_BYTES];
    match stream.read_exact(&mut header[..1]).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    stream.read_exact(&mut header[1..]).await?;
    let mut fields = &header[..];
    let kind = match fields.get_u8() {
        1 => Kind::Request,
        2 => Kind::Response,
        3 => Kind::Failure,
        4 => Kind::UnknownMethod,
        other => return Err(invalid(format!("frame of kind {other}"))),
    };
    fields.advance(1);
    let method = fields.get_u16();
    let head_length = fields.get_u32() as usize;
    let body_length = fields.get_u32() as usize;
    let (id, group) = (fields.get_u64(), fields.get_u64());
    if head_length > limits.head_bytes_max || body_length > limits.body_bytes_max {
        return Err(invalid(format!("frame of {head_length} and {body_length} bytes")));
    }
    let head = read_bytes(stream, head_length).await?;
    let body = read_bytes(stream, body_length).await?;
    Ok(Some(Frame { kind, method, id, group, head, body }))
}

async fn read_bytes<R: AsyncRead + Unpin>(stream: &mut R, length: usize) -> io::Result<Bytes> {
    if length == 0 {
        return Ok(Bytes::new());
    }
    let mut buffer = BytesMut::with_capacity(length);
    let mut limited = stream.take(length as u64);
    while buffer.len() < length {
        if limited.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.freeze())
}

/// The caller's half of the handshake; returns the version to speak.
pub(crate) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<u16> {
    let mut hello = BytesMut::from(&HELLO[..]);
    hello.put_u16(VERSION_MIN);
    hello.put_u16(VERSION_MAX);
    stream.write_all(&hello).await?;
    stream.flush().await?;
    let version = stream.read_u16().await?;
    if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
        return Err(invalid(format!("the peer speaks none of the versions {VERSION_MIN} to {VERSION_MAX}")));
    }
    Ok(version)
}

/// The called side's half; version 0 tells the caller that there is none in common.
pub(crate) async fn answer_greeting<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<u16> {
    let mut hello = [0; HELLO.len()];
    stream.read_exact(&mut hello).await?;
    if &hello != HELLO {
        return Err(invalid("not a Karri node".to_owned()));
    }
    let (min, max) = (stream.read_u16().await?, stream.read_u16().await?);
    let version = if min <= VERSION_MAX && max >= VERSION_MIN { max.min(VERSION_MAX) } else { 0 };
    stream.write_u16(version).await?;
    stream.flush().await?;
    if version == 0 { Err(invalid(format!("the caller speaks versions {min} to {max}"))) } else { Ok(version) }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod golden_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(head: usize, body: usize) -> Frame {
        let (head, body) = (Bytes::from(vec![1; head]), Bytes::from(vec![2; body]));
        Frame { kind: Kind::Request, method: 7, id: 1 << 40, group: 3, head, body }
    }

    #[tokio::test]
    async fn frames_of_all_sizes_arrive_as_they_left() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let sizes = [(0, 0), (1, 0), (0, GATHER_BYTES_MAX - 1), (5, GATHER_BYTES_MAX), (0, 1), (HEAD_BYTES_MAX, 9)];
        let writing = tokio::spawn(async move {
            let mut writer = FrameWriter::new(near);
            for (head, body) in sizes {
                writer.write(&frame(head, body)).await.unwrap();
            }
            writer.flush().await.unwrap();
            writer.close().await.unwrap();
        });
        for (head, body) in sizes {
            let (read, sent) = (read_frame(&mut far, Limits::NODE).await.unwrap().unwrap(), frame(head, body));
            assert_eq!((read.kind, read.method, read.id, read.group), (sent.kind, sent.method, sent.id, sent.group));
            assert!(read.head == sent.head && read.body == sent.body, "{head} and {body} bytes");
        }
        assert!(read_frame(&mut far, Limits::NODE).await.unwrap().is_none());
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_frame_over_its_bound_or_cut_short_is_an_error() {
        for (limits, cut) in [(Limits::STRANGER, false), (Limits::NODE, true)] {
            let mut bytes = BytesMut::new();
            frame(10, 10).put_header(&mut bytes);
            bytes.extend_from_slice(&[1; 20][..if cut { 19 } else { 20 }]);
            let error = read_frame(&mut &bytes[..], limits).await.unwrap_err();
            let expected = if cut { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::InvalidData };
            assert_eq!(error.kind(), expected);
        }
        let unknown_kind = [9; HEADER_BYTES];
        assert!(read_frame(&mut &unknown_kind[..], Limits::NODE).await.is_err());
    }

    /// What the called side answers to a caller that speaks versions `min` to `max`.
    async fn answer(min: u16, max: u16) -> u16 {
        let (mut near, mut far) = tokio::io::duplex(1024);
        let answering = tokio::spawn(async move { answer_greeting(&mut far).await });
        near.write_all(HELLO).await.unwrap();
        near.write_u16(min).await.unwrap();
        near.write_u16(max).await.unwrap();
        let version = near.read_u16().await.unwrap();
        assert_eq!(answering.await.unwrap().ok().unwrap_or(0), version);
        version
    }

    #[tokio::test]
    async fn the_newest_common_version_is_spoken() {
        assert_eq!(answer(VERSION_MIN, VERSION_MAX).await, VERSION_MAX);
        assert_eq!(answer(VERSION_MIN, VERSION_MAX + 1).await, VERSION_MAX);
        assert_eq!(answer(VERSION_MAX + 1, VERSION_MAX + 2).await, 0);
        let (mut near, mut far) = tokio::io::duplex(1024);
        let (greeted, answered) = tokio::join!(greet(&mut near), answer_greeting(&mut far));
        assert_eq!((greeted.unwrap(), answered.unwrap()), (VERSION_MAX, VERSION_MAX));
    }
}
