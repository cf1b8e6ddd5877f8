//! Frames and greetings that every later version must understand.

use bytes::{Bytes, BytesMut};
use karri_tests_golden::Book;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Frame, HELLO, Kind, Limits, answer_greeting, greet, read_frame};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn encode(frame: &Frame) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame.put_header(&mut bytes);
    [&bytes[..], &frame.head, &frame.body].concat()
}

#[test]
fn frames_are_as_they_were() {
    let mut book = Book::open(env!("CARGO_MANIFEST_DIR"), 1);
    let kinds = [
        ("request", Kind::Request),
        ("response", Kind::Response),
        ("failure", Kind::Failure),
        ("unknown method", Kind::UnknownMethod),
    ];
    for (shape, kind) in kinds {
        let (head, body) = (Bytes::from_static(b"head"), Bytes::from_static(b"the body"));
        let frame = Frame { kind, method: 0x0102, id: 0x0304, group: 0x0506, head, body };
        let decode = |mut bytes: &'static [u8]| wait(read_frame(&mut bytes, Limits::NODE)).ok().flatten();
        book.add_value("frame", shape, &frame, encode, decode);
    }
    book.close(&[]);
}

#[tokio::test]
async fn greetings_are_as_they_were() {
    let (mut near, mut far) = tokio::io::duplex(64);
    let greeting = tokio::spawn(async move { greet(&mut near).await });
    let mut hello = [0; 10];
    far.read_exact(&mut hello).await.unwrap();
    // Versions 1 to 1: a program that speaks more may greet with a higher end, never with a higher beginning.
    assert_eq!(&hello, b"KARRI\0\x00\x01\x00\x01");
    far.write_all(&[0, 1]).await.unwrap();
    assert_eq!(greeting.await.unwrap().unwrap(), 1);
}

/// A node that also speaks the next version calls one that does not: they speak the older one, in frames of that one.
#[tokio::test]
async fn a_later_node_is_spoken_to_in_this_version() {
    let (mut later, mut this) = tokio::io::duplex(1024);
    let serving = tokio::spawn(async move {
        let version = answer_greeting(&mut this).await.unwrap();
        (version, read_frame(&mut this, Limits::NODE).await.unwrap().unwrap().method)
    });
    later.write_all(&[HELLO, &[0, 1, 0, 2][..]].concat()).await.unwrap();
    assert_eq!(later.read_u16().await.unwrap(), 1);
    let frame = Frame { kind: Kind::Request, method: 9, id: 1, group: 0, head: Bytes::new(), body: Bytes::new() };
    later.write_all(&encode(&frame)).await.unwrap();
    assert_eq!(serving.await.unwrap(), (1, 9));
}

/// And the other way: one that answers by a version that was not offered is not believed.
#[tokio::test]
async fn a_version_that_was_not_offered_is_refused() {
    for version in [0_u16, 2] {
        let (mut near, mut far) = tokio::io::duplex(64);
        let greeting = tokio::spawn(async move { greet(&mut near).await });
        far.write_all(&version.to_be_bytes()).await.unwrap();
        assert!(greeting.await.unwrap().is_err(), "version {version}");
    }
}
