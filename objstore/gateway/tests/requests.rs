//! Whole requests over a socket: ids, targets, errors, bodies.

mod common;

use common::sign::{request, signed_chunks, unsigned_chunks};
use common::{Running, sign};

const TRAILER: &str = "x-amz-checksum-crc32c:sOO8/Q==";

#[tokio::test]
async fn every_answer_carries_its_ids() {
    let gateway = Running::start(|_| {}).await;
    let mut wire = gateway.connect().await;
    let good = wire.call(request("GET", "/bucket/key?size=3").head(), "").await;
    let bad = wire.call("GET /bucket HTTP/1.1\r\nhost: localhost\r\n\r\n", "").await;
    assert_eq!((good.status, good.body.len(), bad.status), (200, 3, 403));
    let ids = [&good, &bad].map(|reply| reply.header("x-amz-request-id").expect("an id").to_owned());
    assert_ne!(ids[0], ids[1]);
    assert_eq!(good.header("x-amz-id-2"), bad.header("x-amz-id-2"));
    assert_eq!(bad.element("RequestId").as_ref(), Some(&ids[1]));
    assert_eq!(bad.element("HostId").as_deref(), bad.header("x-amz-id-2"));
    assert_eq!(bad.header("content-type"), Some("application/xml"));
    gateway.stop().await;
}

#[tokio::test]
async fn error_documents_are_exact() {
    let gateway = Running::start(|_| {}).await;
    let mut wire = gateway.connect().await;
    let reply = wire.call(request("GET", "/bucket/refused%26%3C%C3%A9").head(), "").await;
    let (id, host) = (reply.element("RequestId").unwrap(), reply.element("HostId").unwrap());
    let expected = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message>\
         <BucketName>bucket</BucketName><Resource>/bucket/refused&amp;&lt;\u{e9}</Resource><RequestId>{id}</RequestId>\
         <HostId>{host}</HostId></Error>"
    );
    assert_eq!(reply.text(), expected);
    gateway.stop().await;
}

#[tokio::test]
async fn head_answers_have_headers_only() {
    let gateway = Running::start(|_| {}).await;
    let mut wire = gateway.connect().await;
    let good = wire.call(request("HEAD", "/bucket/key").head(), "").await;
    assert_eq!((good.status, good.header("content-length")), (200, Some("12345")));
    let bad = wire.call(request("HEAD", "/bucket/refused").head(), "").await;
    assert_eq!(bad.status, 403);
    assert!(bad.header("x-amz-request-id").is_some());
    // The next answer on the same connection is in its place: there was no body.
    assert_eq!(wire.call(request("GET", "/bucket/key").head(), "").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn keys_arrive_as_they_were_signed() {
    let gateway = Running::start(|_| {}).await;
    let mut wire = gateway.connect().await;
    for (path, target) in [
        ("/bucket/a//b/../c", "Some(\"bucket\") Some(\"a//b/../c\") []"),
        ("/bucket/a%2Bb%20c", "Some(\"bucket\") Some(\"a+b c\") []"),
        ("/bucket?acl", "Some(\"bucket\") None [(\"acl\", \"\")]"),
        ("/bucket?a=1&a=2", "Some(\"bucket\") None [(\"a\", \"1\"), (\"a\", \"2\")]"),
    ] {
        let reply = wire.call(request("GET", path).head(), "").await;
        assert_eq!(reply.header("x-test-target"), Some(target), "{}", reply.text());
    }
    let reply = wire.call(request("GET", "/bucket/key").host("photos.s3.test").head(), "").await;
    assert_eq!(reply.header("x-test-target"), Some("Some(\"photos\") Some(\"bucket/key\") []"));
    for (path, code) in [("/b/%ff", "InvalidURI"), ("/b/a%00", "InvalidURI"), ("/b%2Fc/d", "InvalidBucketName")] {
        assert_eq!(wire.call(request("GET", path).head(), "").await.code(), code, "{path}");
    }
    let long = format!("/bucket/{}", "k".repeat(1025));
    assert_eq!(wire.call(request("GET", &long).head(), "").await.code(), "KeyTooLongError");
    gateway.stop().await;
}

#[tokio::test]
async fn hashed_bodies_are_checked() {
    let gateway = Running::start(|_| {}).await;
    let mut wire = gateway.connect().await;
    let body = vec![7; 100_000];
    let reply = wire.call(request("PUT", "/bucket/key").body(&body).head(), &body).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "100000 {}"));
    let mut forged = body.clone();
    forged[99_999] ^= 1;
    let reply = wire.call(request("PUT", "/bucket/key").body(&body).head(), &forged).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "XAmzContentSHA256Mismatch"));
    assert_eq!(reply.element("ClientComputedContentSHA256"), Some(sign::hash(&body)));
    assert_eq!(reply.element("S3ComputedContentSHA256"), Some(sign::hash(&forged)));
    let mut other = gateway.connect().await;
    let reply = other.call(request("PUT", "/bucket/empty").head(), "").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "0 {}"), "no length, no body");
    gateway.stop().await;
}

fn streaming(form: &str, decoded: usize, encoded: usize) -> sign::Request {
    request("PUT", "/bucket/key")
        .payload(form)
        .header("content-encoding", "aws-chunked,gzip")
        .header("x-amz-decoded-content-length", decoded)
        .unsigned("content-length", encoded)
}

#[tokio::test]
async fn signed_chunks_and_trailers_are_checked() {
    let gateway = Running::start(|_| {}).await;
    let data = vec![b'x'; 300_000];
    for (form, trailer) in [
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", None),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", Some(("x-amz-checksum-crc32c", "sOO8/Q=="))),
    ] {
        for (size, forge) in [(65_536, None), (1000, None), (300_000, None), (65_536, Some(200_000)), (1000, Some(5))] {
            let length = signed_chunks(&data, size, "", trailer).len();
            let mut request = streaming(form, data.len(), length);
            if trailer.is_some() {
                request = request.header("x-amz-trailer", "x-amz-checksum-crc32c");
            }
            let (head, seed) = request.head_and_seed();
            let mut body = signed_chunks(&data, size, &seed, trailer);
            assert_eq!(body.len(), length);
            if let Some(at) = forge {
                body[at] ^= 1;
            }
            let reply = gateway.connect().await.call(head, &body).await;
            let expected = if forge.is_some() { 403 } else { 200 };
            assert_eq!(reply.status, expected, "{form} {size} {forge:?}: {}", reply.text());
            if forge.is_none() {
                assert!(reply.text().starts_with("300000 "));
                assert_eq!(reply.header("x-test-encoding"), Some("gzip"), "aws-chunked is not the object's");
                assert_eq!(reply.text().contains("sOO8/Q=="), trailer.is_some());
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn unsigned_trailers_are_read() {
    let gateway = Running::start(|_| {}).await;
    let form = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let data = vec![b'x'; 50_000];
    for size in [1, 4096, 50_000] {
        let body = unsigned_chunks(&data, size, TRAILER);
        let request = streaming(form, data.len(), body.len()).header("x-amz-trailer", "x-amz-checksum-crc32c");
        let reply = gateway.connect().await.call(request.head(), &body).await;
        assert!(reply.text().starts_with("50000 {\"x-amz-checksum-crc32c\": \"sOO8/Q==\"}"), "{}", reply.text());
    }
    let body = unsigned_chunks(&data, 4096, TRAILER);
    let announced =
        |decoded: usize, name: &str| streaming(form, decoded, body.len()).header("x-amz-trailer", name).head();
    for (head, code) in [
        (announced(50_000, "x-amz-checksum-sha256"), "MalformedTrailerError"),
        (announced(50_001, "x-amz-checksum-crc32c"), "IncompleteBody"),
        (announced(49_999, "x-amz-checksum-crc32c"), "IncompleteBody"),
        (announced(50_000, "content-type"), "InvalidRequest"),
    ] {
        assert_eq!(gateway.connect().await.call(head, &body).await.code(), code);
    }
    let unsized_head = request("PUT", "/bucket/key").payload(form).unsigned("content-length", body.len()).head();
    let reply = gateway.connect().await.call(unsized_head, &body).await;
    assert_eq!((reply.status, reply.code().as_str()), (411, "MissingContentLength"));
    gateway.stop().await;
}

#[tokio::test]
async fn framing_is_seen_without_its_name() {
    // Some clients sign UNSIGNED-PAYLOAD and tell the framing in two other headers only.
    let gateway = Running::start(|_| {}).await;
    let body = unsigned_chunks(b"hello", 5, TRAILER);
    let request = streaming("UNSIGNED-PAYLOAD", 5, body.len()).header("x-amz-trailer", "x-amz-checksum-crc32c");
    assert!(gateway.connect().await.call(request.head(), &body).await.text().starts_with("5 "));
    gateway.stop().await;
}

#[tokio::test]
async fn a_refused_upload_is_not_asked_for() {
    let gateway = Running::start(|_| {}).await;
    let body = b"hello";
    let expecting = |path: &str| request("PUT", path).body(body).unsigned("expect", "100-continue");
    let mut wire = gateway.connect().await;
    assert_eq!(wire.call(expecting("/bucket/key").head(), "").await.status, 100);
    wire.send(body).await;
    assert_eq!(wire.reply().await.unwrap().status, 200);
    assert_eq!(wire.call(expecting("/bucket/refused").head(), "").await.status, 403, "no 100 before it");
    let forged = expecting("/bucket/key").head().replace("Signature=", "Signature=0");
    assert_eq!(gateway.connect().await.call(forged, "").await.code(), "SignatureDoesNotMatch");
    gateway.stop().await;
}

#[tokio::test]
async fn the_answer_to_a_refused_body_is_seen() {
    let gateway = Running::start(|_| {}).await;
    let body = vec![1; 4 << 20];
    let mut wire = gateway.connect().await;
    let reply = wire.call(request("PUT", "/bucket/refused").body(&body).head(), &body).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDenied"));
    // The rest was read and dropped, so the connection is still good.
    assert_eq!(wire.call(request("GET", "/bucket/key").head(), "").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_read_in_one() {
    let gateway = Running::start(|_| {}).await;
    let mut wire = gateway.connect().await;
    let doubled = request("GET", "/bucket/key").unsigned("host", "localhost").head();
    assert_eq!(wire.call(doubled, "").await.code(), "InvalidRequest");
    // A length beside a transfer coding: what follows the body is not served as a request.
    let smuggled = request("PUT", "/bucket/key")
        .payload("UNSIGNED-PAYLOAD")
        .unsigned("content-length", 4)
        .unsigned("transfer-encoding", "chunked")
        .head();
    let behind = request("GET", "/bucket/key").head();
    wire.send(format!("{smuggled}0\r\n\r\n{behind}")).await;
    let reply = wire.reply().await.unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "0 {}"), "the coding holds, not the length");
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(wire.reply().await.is_none(), "the request behind it is not answered");
    gateway.stop().await;
}

#[tokio::test]
async fn pages_of_the_gateway_need_no_signature() {
    let gateway = Running::start(|_| {}).await;
    let mut wire = gateway.connect().await;
    let get = |page: &str| format!("GET /-/{page} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(wire.call(get("live"), "").await.text(), "ok\n");
    assert_eq!(wire.call(get("ready"), "").await.status, 503);
    assert_eq!(wire.call(get("other"), "").await.status, 404);
    wire.call(request("GET", "/bucket/key").head(), "").await;
    let page = wire.call(get("metrics"), "").await.text();
    assert!(page.starts_with("cluster_figure 1\n"), "{page}");
    assert!(page.contains("karri_http_requests_total{operation=\"TestOperation\",status=\"2xx\"} 1"), "{page}");
    gateway.stop().await;
}
