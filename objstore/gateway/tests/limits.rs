//! Slow, idle, large and many clients; and the end of the gateway.

mod common;

use std::time::Duration;

use common::Running;
use common::sign::{request, unsigned_chunks};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_head_that_drips_is_cut() {
    let gateway = Running::with_limits(|limits| limits.header_read_timeout_ms = 200).await;
    let mut wire = gateway.connect().await;
    wire.send("GET /bucket/key HTTP/1.1\r\nhost: localhost\r\n").await;
    let mut drip = gateway.connect().await;
    let dripping = async {
        use tokio::io::AsyncWriteExt;
        while drip.stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (ended, _) = tokio::join!(wire.ends(), timeout(SOON, dripping));
    assert!(ended);
    assert!(drip.ends().await, "each byte buys no more time");
    gateway.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let gateway = Running::with_limits(|limits| limits.idle_timeout_ms = 300).await;
    let mut never_used = gateway.connect().await;
    let mut used = gateway.connect().await;
    let mut busy = gateway.connect().await;
    assert_eq!(used.call(request("GET", "/bucket/key").head(), "").await.status, 200);
    busy.send(request("GET", "/bucket/wait").head()).await;
    gateway.service.entered.notified().await;
    assert!(never_used.ends().await);
    assert!(used.ends().await);
    gateway.service.go.notify_one();
    assert_eq!(busy.reply().await.unwrap().status, 200, "work is not idleness");
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_stalls_is_refused() {
    let gateway = Running::with_limits(|limits| {
        limits.body_idle_timeout_ms = 200;
        limits.body_progress_bytes_min = 100;
    })
    .await;
    let head = request("PUT", "/bucket/key").body(&[0; 1000]).head();
    let mut stalled = gateway.connect().await;
    stalled.send(&head).await;
    stalled.send([0; 10]).await;
    let reply = stalled.reply().await.unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (400, "RequestTimeout"));

    let mut dripping = gateway.connect().await;
    dripping.send(&head).await;
    let reply = loop {
        tokio::select! {
            reply = dripping.reply() => break reply.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        dripping.send([0]).await;
    };
    assert_eq!(reply.code(), "RequestTimeout", "progress is more than a byte");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let gateway = Running::with_limits(|limits| limits.write_idle_timeout_ms = 200).await;
    let mut wire = gateway.connect().await;
    let endless = request("GET", "/bucket/key?size=1000000000000").head();
    wire.send(&endless).await;
    gateway.shutdown.cancel();
    // The drain ends because the connection was cut, long before its own limit.
    timeout(SOON, gateway.task).await.expect("cut in time").unwrap();
}

/// What the kernel had taken beforehand once hid that a slow client reads.
#[tokio::test]
async fn a_client_that_reads_slowly_is_not_cut() {
    const SIZE: usize = 12 << 20;
    let gateway = Running::with_limits(|limits| limits.write_idle_timeout_ms = 2000).await;
    let mut wire = gateway.connect().await;
    wire.send(request("GET", &format!("/bucket/key?size={SIZE}")).head()).await;
    let mut piece = vec![0; 64 << 10];
    let mut got = 0;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let length = wire.stream.read(&mut piece).await.expect("the answer goes on");
        assert!(length > 0, "cut after {got} bytes");
        got += length;
    }
    while got < SIZE {
        let length = timeout(SOON, wire.stream.read(&mut piece)).await.expect("in time").expect("the answer goes on");
        assert!(length > 0, "cut after {got} bytes");
        got += length;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn more_requests_than_allowed_are_slowed_down() {
    let gateway = Running::with_limits(|limits| limits.concurrent_requests_max = 1).await;
    let mut first = gateway.connect().await;
    first.send(request("GET", "/bucket/wait").head()).await;
    gateway.service.entered.notified().await;
    let mut second = gateway.connect().await;
    let reply = second.call(request("GET", "/bucket/key").head(), "").await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "SlowDown"));
    assert!(reply.header("retry-after").is_some());
    let live = second.call("GET /-/live HTTP/1.1\r\nhost: localhost\r\n\r\n", "").await;
    assert_eq!(live.status, 200, "probes are not requests");
    gateway.service.go.notify_one();
    assert_eq!(first.reply().await.unwrap().status, 200);
    assert_eq!(second.call(request("GET", "/bucket/key").head(), "").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait() {
    let gateway = Running::with_limits(|limits| limits.connections_max = 1).await;
    let mut first = gateway.connect().await;
    assert_eq!(first.call(request("GET", "/bucket/key").head(), "").await.status, 200);
    let mut second = gateway.connect().await;
    second.send(request("GET", "/bucket/key").head()).await;
    assert!(timeout(Duration::from_millis(200), second.reply()).await.is_err());
    drop(first);
    assert_eq!(second.reply().await.unwrap().status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn large_heads_are_refused() {
    let gateway = Running::start(|_| {}).await;
    let large = request("GET", "/bucket/key").header("x-amz-meta-a", "v".repeat(40_000)).head();
    let mut many = request("GET", "/bucket/key");
    for index in 0..250 {
        many = many.unsigned(&format!("h{index}"), "v");
    }
    for head in [large, many.head()] {
        let reply = gateway.connect().await.call(head, "").await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "RequestHeaderSectionTooLarge"));
    }
    let long = request("GET", &format!("/bucket/{}", "k".repeat(40_000))).head();
    assert_eq!(gateway.connect().await.call(long, "").await.code(), "InvalidURI");
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_may_not_last_for_ever() {
    let gateway = Running::with_limits(|limits| limits.request_time_max_ms = 200).await;
    let reply = gateway.connect().await.call(request("GET", "/bucket/wait").head(), "").await;
    assert_eq!(reply.code(), "RequestTimeout");
    gateway.stop().await;
}

#[tokio::test]
async fn a_drain_lets_an_upload_finish() {
    let gateway = Running::start(|_| {}).await;
    let body = vec![3; 100_000];
    let mut upload = gateway.connect().await;
    let mut idle = gateway.connect().await;
    assert_eq!(idle.call(request("GET", "/bucket/key").head(), "").await.status, 200);
    upload.send(request("PUT", "/bucket/key").body(&body).head()).await;
    upload.send(&body[..50_000]).await;
    gateway.service.entered.notified().await;
    gateway.shutdown.cancel();
    assert!(idle.ends().await, "idle connections end at once");
    upload.send(&body[50_000..]).await;
    let reply = upload.reply().await.unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "100000 {}"));
    timeout(SOON, gateway.task).await.expect("a drain in time").unwrap();
    assert!(tokio::net::TcpStream::connect(gateway.address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let gateway = Running::with_limits(|limits| limits.drain_timeout_ms = 200).await;
    let mut wire = gateway.connect().await;
    wire.send(request("GET", "/bucket/wait").head()).await;
    gateway.service.entered.notified().await;
    gateway.shutdown.cancel();
    timeout(SOON, gateway.task).await.expect("the drain's own limit").unwrap();
    assert!(wire.ends().await);
}

#[tokio::test]
async fn tiny_and_huge_chunks_pass_in_bounded_memory() {
    // 64 MiB as one chunk, sent while it is read: nothing on the way may wait for its end.
    let gateway = Running::start(|_| {}).await;
    const LENGTH: usize = 64 << 20;
    let head = request("PUT", "/bucket/key")
        .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        .header("x-amz-decoded-content-length", LENGTH)
        .unsigned("transfer-encoding", "chunked")
        .head();
    let mut wire = gateway.connect().await;
    wire.send(&head).await;
    let piece = vec![0; 1 << 20];
    wire.send(format!("9\r\n{LENGTH:x}\r\n\r\n")).await;
    for index in 0..64 {
        wire.send(format!("{:x}\r\n", piece.len())).await;
        wire.send(&piece).await;
        wire.send("\r\n").await;
        if index == 0 {
            timeout(SOON, gateway.service.entered.notified()).await.expect("bytes pass before their chunk ends");
        }
    }
    wire.send("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n").await;
    let reply = wire.reply().await.unwrap();
    assert_eq!(reply.text(), format!("{LENGTH} {{}}"));

    let data = vec![1; 20_000];
    let body = unsigned_chunks(&data, 1, "");
    let head = request("PUT", "/bucket/key")
        .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        .header("x-amz-decoded-content-length", data.len())
        .unsigned("content-length", body.len() - 2)
        .head();
    let reply = gateway.connect().await.call(head, &body[..body.len() - 2]).await;
    assert_eq!(reply.text(), "20000 {}");
    gateway.stop().await;
}
