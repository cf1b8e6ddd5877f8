//! PUT, GET, HEAD, DELETE and copies over HTTP, on one real node.

use crate::client::{Answer, Client};
use crate::node::start;

const KIB: usize = 1024;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_read() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    let put =
        s3.put("/files/a%20b.txt", &[("content-type", "text/plain"), ("x-amz-meta-mtime", "1.5")], b"hello").await;
    let put = put.expect(200);
    assert_eq!(put.header("etag"), Some("\"5d41402abc4b2a76b9719d911017c592\""));

    let got = s3.get("/files/a%20b.txt").await.expect(200);
    assert_eq!(got.body, b"hello");
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-length", "5"),
        ("accept-ranges", "bytes"),
        ("x-amz-meta-mtime", "1.5"),
        ("etag", "\"5d41402abc4b2a76b9719d911017c592\""),
    ] {
        assert_eq!(got.header(name), Some(value), "{name}");
    }
    assert_eq!(got.header("x-amz-version-id"), None);
    let null = s3.get("/files/a%20b.txt?versionId=null").await.expect(200);
    assert_eq!(null.header("x-amz-version-id"), Some("null"));

    let head = s3.send("HEAD", "/files/a%20b.txt", &[], b"").await.expect(200);
    assert_eq!((head.header("content-length"), head.body.len()), (Some("5"), 0));

    s3.send("DELETE", "/files/a%20b.txt", &[], b"").await.expect(204);
    s3.send("DELETE", "/files/a%20b.txt", &[], b"").await.expect(204);
    let gone = s3.get("/files/a%20b.txt").await.expect_error(404, "NoSuchKey");
    assert_eq!(gone.element("Key").as_deref(), Some("a b.txt"));
    assert!(s3.send("HEAD", "/files/a%20b.txt", &[], b"").await.expect(404).body.is_empty());
    s3.get("/nofiles/x").await.expect_error(404, "NoSuchBucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    let body: Vec<u8> = (0..100 * KIB).map(|n| (n % 251) as u8).collect();
    s3.put("/files/k", &[], &body).await.expect(200);
    s3.put("/files/empty", &[], b"").await.expect(200);
    for (range, first, last) in
        [("bytes=0-0", 0, 0), ("bytes=5-9", 5, 9), ("bytes=102390-", 102_390, 102_399), ("bytes=-10", 102_390, 102_399)]
    {
        let got = s3.send("GET", "/files/k", &[("range", range)], b"").await.expect(206);
        assert_eq!(got.body, &body[first..=last], "{range}");
        assert_eq!(got.header("content-range"), Some(format!("bytes {first}-{last}/102400").as_str()));
    }
    for range in ["bytes=9-5", "lines=1-2", "bytes=a-b"] {
        let got = s3.send("GET", "/files/k", &[("range", range)], b"").await.expect(200);
        assert_eq!(got.body.len(), body.len(), "{range} is ignored");
    }
    for (key, range, size) in
        [("k", "bytes=102400-", "102400"), ("empty", "bytes=0-", "0"), ("k", "bytes=-0", "102400")]
    {
        let got = s3.send("GET", &format!("/files/{key}"), &[("range", range)], b"").await;
        let got = got.expect_error(416, "InvalidRange");
        assert_eq!(got.header("content-range"), Some(format!("bytes */{size}").as_str()));
        assert_eq!(got.element("ActualObjectSize").as_deref(), Some(size));
    }
    let head = s3.send("HEAD", "/files/k", &[("range", "bytes=1-4")], b"").await.expect(206);
    assert_eq!(head.header("content-length"), Some("4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_reads_and_writes() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    let etag = s3.put("/files/k", &[("if-none-match", "*")], b"1").await.expect(200);
    let etag = etag.header("etag").expect("an etag").to_owned();
    s3.put("/files/k", &[("if-none-match", "*")], b"2").await.expect_error(412, "PreconditionFailed");
    s3.put("/files/k", &[("if-match", "\"other\"")], b"2").await.expect_error(412, "PreconditionFailed");
    s3.put("/files/none", &[("if-match", &etag)], b"2").await.expect_error(404, "NoSuchKey");
    s3.put("/files/k", &[("if-none-match", &etag)], b"2").await.expect_error(412, "PreconditionFailed");
    s3.put("/files/k", &[("if-none-match", "\"x\"")], b"1").await.expect(200);

    let same = s3.send("GET", "/files/k", &[("if-none-match", &etag)], b"").await.expect(304);
    assert_eq!((same.header("etag"), same.body.len()), (Some(etag.as_str()), 0));
    s3.send("GET", "/files/k", &[("if-match", "\"other\"")], b"").await.expect_error(412, "PreconditionFailed");
    let past = ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT");
    s3.send("GET", "/files/k", &[past], b"").await.expect(200);
    let past = ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT");
    s3.send("GET", "/files/k", &[past], b"").await.expect_error(412, "PreconditionFailed");
    s3.send("GET", "/files/k", &[past, ("if-match", &etag)], b"").await.expect(200);

    s3.put("/files/k", &[("if-match", &etag)], b"2").await.expect(200);
    s3.send("DELETE", "/files/k", &[("if-match", &etag)], b"").await.expect_error(412, "PreconditionFailed");
    assert_eq!(s3.get("/files/k").await.expect(200).body, b"2");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_must_match_what_was_claimed() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    let put = async |headers: &[(&str, &str)]| s3.put("/files/k", headers, b"123456789").await;
    put(&[("content-md5", "nonsense")]).await.expect_error(400, "InvalidDigest");
    put(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]).await.expect_error(400, "BadDigest");
    put(&[("x-amz-checksum-crc32", "AAAAAA==")]).await.expect_error(400, "BadDigest");
    put(&[("x-amz-checksum-crc32", "AAAA")]).await.expect_error(400, "BadDigest");
    put(&[("x-amz-sdk-checksum-algorithm", "CRC32")]).await.expect_error(400, "InvalidRequest");
    s3.get("/files/k").await.expect_error(404, "NoSuchKey");

    let stored =
        put(&[("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-sdk-checksum-algorithm", "CRC32")]).await.expect(200);
    assert_eq!(stored.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    let head = s3.send("HEAD", "/files/k", &[("x-amz-checksum-mode", "ENABLED")], b"").await.expect(200);
    assert_eq!(head.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    assert_eq!(head.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    let plain = s3.send("HEAD", "/files/k", &[], b"").await.expect(200);
    assert_eq!(plain.header("x-amz-checksum-crc32"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_karri_cannot_do_is_refused_and_leaves_nothing() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    let long = "v".repeat(2049);
    for (name, value, status, code) in [
        ("x-amz-acl", "everybody", 400, "InvalidArgument"),
        ("x-amz-storage-class", "BEST", 400, "InvalidStorageClass"),
        ("x-amz-object-lock-legal-hold", "ON", 400, "InvalidRequest"),
        ("x-amz-object-lock-mode", "GOVERNANCE", 400, "InvalidArgument"),
        ("x-amz-meta-long", &long, 400, "MetadataTooLarge"),
        ("x-amz-expected-bucket-owner", "111111111111", 403, "AccessDenied"),
        ("x-amz-website-redirect-location", "here", 400, "InvalidRedirectLocation"),
        ("x-amz-object-lock-event-hold", "ON", 501, "NotImplemented"),
    ] {
        s3.put("/files/k", &[(name, value)], b"x").await.expect_error(status, code);
    }
    s3.get("/files/k").await.expect_error(404, "NoSuchKey");
    // Sub-resources that S3 got later than the others are none of a read's ordinary parameters.
    s3.get("/files/k?annotation&annotationName=a").await.expect_error(501, "NotImplemented");
    s3.anonymous("PUT", "/files/k", b"x").await.expect_error(403, "AccessDenied");
    s3.anonymous("GET", "/files/k", b"").await.expect_error(403, "AccessDenied");
    let key = "k".repeat(1025);
    s3.put(&format!("/files/{key}"), &[], b"x").await.expect_error(400, "KeyTooLongError");
    s3.get("/files/k?versionId=wrong").await.expect_error(400, "InvalidArgument");
}

#[tokio::test(flavor = "multi_thread")]
async fn response_headers_can_be_replaced() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    s3.put("/files/k", &[("content-encoding", "gzip,aws-chunked")], b"x").await.expect(200);
    let got = s3.get("/files/k?response-content-type=a%2Fb&response-content-disposition=inline").await.expect(200);
    assert_eq!(got.header("content-type"), Some("a/b"));
    assert_eq!(got.header("content-disposition"), Some("inline"));
    assert_eq!(got.header("content-encoding"), Some("gzip"));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    let body = vec![7u8; 100 * KIB];
    s3.put("/files/a%2Bb", &[("x-amz-meta-mtime", "1"), ("content-type", "text/x")], &body).await.expect(200);
    let source = ("x-amz-copy-source", "/files/a%2Bb");
    let copied = s3.put("/files/copy", &[source], b"").await.expect(200);
    assert!(copied.element("LastModified").is_some(), "{}", copied.text());
    let got = s3.get("/files/copy").await.expect(200);
    assert_eq!((got.body.len(), got.header("x-amz-meta-mtime")), (body.len(), Some("1")));

    s3.put("/files/a%2Bb", &[source], b"").await.expect_error(400, "InvalidRequest");
    let replace = [source, ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-mtime", "2")];
    s3.put("/files/a%2Bb", &replace, b"").await.expect(200);
    let got = s3.get("/files/a%2Bb").await.expect(200);
    assert_eq!((got.body == body, got.header("x-amz-meta-mtime")), (true, Some("2")));
    assert_eq!(got.header("content-type"), Some("binary/octet-stream"));

    s3.put("/files/b", &[("x-amz-copy-source", "files")], b"").await.expect_error(400, "InvalidArgument");
    s3.put("/files/b", &[("x-amz-copy-source", "files/none")], b"").await.expect_error(404, "NoSuchKey");
    let failing = [source, ("x-amz-copy-source-if-match", "\"x\"")];
    s3.put("/files/b", &failing, b"").await.expect_error(412, "PreconditionFailed");
    s3.put("/files/b", &[source, ("x-amz-metadata-directive", "KEEP")], b"").await.expect_error(400, "InvalidArgument");
    s3.send("DELETE", "/files/a%2Bb", &[], b"").await.expect(204);
    assert_eq!(s3.get("/files/copy").await.expect(200).body, body, "a copy outlives its source");
}

pub(crate) fn delete_headers(body: &str) -> String {
    use base64::Engine;
    use md5::Digest;
    base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(body.as_bytes()))
}

pub(crate) async fn delete_batch(s3: &Client, body: &str) -> Answer {
    s3.send("POST", "/files?delete", &[("content-md5", &delete_headers(body))], body.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_deletes() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    s3.put("/files/a", &[], b"1").await.expect(200);
    s3.put("/files/b%26", &[], b"1").await.expect(200);
    let body = "<Delete><Object><Key>a</Key></Object><Object><Key>b&amp;</Key></Object>\
                <Object><Key>missing</Key></Object></Delete>";
    s3.send("POST", "/files?delete", &[], body.as_bytes()).await.expect_error(400, "InvalidRequest");
    let wrong = [("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")];
    s3.send("POST", "/files?delete", &wrong, body.as_bytes()).await.expect_error(400, "BadDigest");
    let deleted = delete_batch(&s3, body).await.expect(200);
    assert_eq!(deleted.elements("Key"), ["a", "b&amp;", "missing"]);
    s3.get("/files/a").await.expect_error(404, "NoSuchKey");

    let quiet =
        delete_batch(&s3, "<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object></Delete>").await.expect(200);
    assert!(quiet.elements("Key").is_empty());
    delete_batch(&s3, "<Delete></Delete>").await.expect_error(400, "MalformedXML");
    delete_batch(&s3, "<Delete><Object>").await.expect_error(400, "MalformedXML");
    let many: String = (0..1001).map(|n| format!("<Object><Key>{n}</Key></Object>")).collect();
    delete_batch(&s3, &format!("<Delete>{many}</Delete>")).await.expect_error(400, "MalformedXML");
    let long = format!("<Delete><Object><Key>{}</Key></Object></Delete>", "k".repeat(1025));
    let refused = delete_batch(&s3, &long).await.expect(200);
    assert_eq!(refused.element("Code").as_deref(), Some("KeyTooLongError"));
}

/// A PUT of `body` in one chunk, as SDKs send it: its checksum comes in the trailer.
async fn put_with_trailer(s3: &Client, body: &str, crc32: &str) -> Answer {
    let length = body.len().to_string();
    let framed = format!("{:x}\r\n{body}\r\n0\r\nx-amz-checksum-crc32:{crc32}\r\n\r\n", body.len());
    let headers = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", length.as_str()),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ("content-encoding", "aws-chunked"),
    ];
    s3.put("/files/k", &headers, framed.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_in_trailers() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    put_with_trailer(&s3, "123456789", "AAAAAA==").await.expect_error(400, "BadDigest");
    let refused = put_with_trailer(&s3, "123456789", "nonsense").await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    s3.get("/files/k").await.expect_error(404, "NoSuchKey");
    let stored = put_with_trailer(&s3, "123456789", "y/Q5Jg==").await.expect(200);
    assert_eq!(stored.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    let got = s3.get("/files/k").await.expect(200);
    assert_eq!((got.body.as_slice(), got.header("content-encoding")), (b"123456789".as_slice(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_writers_race_for_one_key() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    let s3 = std::sync::Arc::new(s3);
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..32u8 {
        let s3 = s3.clone();
        writers.spawn(async move { s3.put("/files/k", &[("if-none-match", "*")], &[n]).await.status });
    }
    let statuses = writers.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409, 412].contains(status)), "{statuses:?}");
}
