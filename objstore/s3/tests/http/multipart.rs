//! Multipart uploads and object attributes over HTTP, on one real node.

use crate::client::Client;
use crate::node::start;

const MIB: usize = 1 << 20;

async fn begin(s3: &Client, target: &str, headers: &[(&str, &str)]) -> String {
    let begun = s3.send("POST", &format!("{target}?uploads"), headers, b"").await.expect(200);
    begun.element("UploadId").expect("an upload id")
}

fn completion(parts: &[(u16, &str)]) -> String {
    let part =
        |(number, etag): &(u16, &str)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    let parts: String = parts.iter().map(part).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

async fn upload(s3: &Client, target: &str, id: &str, number: u16, body: &[u8]) -> String {
    let put = s3.put(&format!("{target}?partNumber={number}&uploadId={id}"), &[], body).await.expect(200);
    put.header("etag").expect("an etag").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_an_object() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let id = begin(&s3, "/one/big", &[("x-amz-meta-a", "b"), ("content-type", "text/x")]).await;
    let (first, second) = (vec![1u8; 5 * MIB], vec![2u8; 100]);
    let one = upload(&s3, "/one/big", &id, 1, &first).await;
    let two = upload(&s3, "/one/big", &id, 3, &second).await;

    let listed = s3.get(&format!("/one/big?max-parts=1&uploadId={id}")).await.expect(200);
    assert_eq!(listed.elements("PartNumber"), ["1"]);
    assert_eq!(listed.element("IsTruncated").as_deref(), Some("true"));
    assert_eq!(listed.element("NextPartNumberMarker").as_deref(), Some("1"));
    let rest = s3.get(&format!("/one/big?part-number-marker=1&uploadId={id}")).await.expect(200);
    assert_eq!(rest.elements("PartNumber"), ["3"]);
    let uploads = s3.get("/one?uploads").await.expect(200);
    assert_eq!(uploads.elements("UploadId"), [id.as_str()]);
    s3.get("/one/big").await.expect_error(404, "NoSuchKey");

    let target = format!("/one/big?uploadId={id}");
    let body = completion(&[(1, &one), (3, &two)]);
    let done = s3.send("POST", &target, &[], body.as_bytes()).await.expect(200);
    assert!(done.element("ETag").expect("an etag").contains("-2"), "{}", done.text());
    let got = s3.get("/one/big").await.expect(200);
    assert_eq!(got.body, [first.clone(), second.clone()].concat());
    assert_eq!((got.header("x-amz-meta-a"), got.header("content-type")), (Some("b"), Some("text/x")));

    let part = s3.get("/one/big?partNumber=3").await;
    assert!([206, 416].contains(&part.status), "parts are numbered as they were uploaded or in order");
    let part = s3.get("/one/big?partNumber=1").await.expect(206);
    assert_eq!((part.body.len(), part.header("x-amz-mp-parts-count")), (5 * MIB, Some("2")));
    s3.get("/one/big?partNumber=9").await.expect_error(400, "InvalidPart");
    s3.get("/one/big?partNumber=0").await.expect_error(400, "InvalidArgument");

    let wanted = [("x-amz-object-attributes", "ETag,ObjectSize,ObjectParts,StorageClass")];
    let attributes = s3.send("GET", "/one/big?attributes", &wanted, b"").await.expect(200);
    assert_eq!(attributes.element("ObjectSize"), Some((5 * MIB + 100).to_string()));
    assert_eq!(attributes.element("PartsCount").as_deref(), Some("2"));
    assert!(!attributes.element("ETag").expect("an etag").contains("&quot;"));
    s3.send("GET", "/one/big?attributes", &[], b"").await.expect_error(400, "InvalidRequest");
    let unknown = [("x-amz-object-attributes", "Colour")];
    s3.send("GET", "/one/big?attributes", &unknown, b"").await.expect_error(400, "InvalidArgument");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_that_are_refused() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let id = begin(&s3, "/one/k", &[]).await;
    let small = upload(&s3, "/one/k", &id, 1, b"small").await;
    let last = upload(&s3, "/one/k", &id, 2, b"last").await;
    let target = format!("/one/k?uploadId={id}");
    let complete = async |body: &str| s3.send("POST", &target, &[], body.as_bytes()).await;
    complete(&completion(&[(1, &small), (2, &last)])).await.expect_error(400, "EntityTooSmall");
    complete(&completion(&[(2, &last), (1, &small)])).await.expect_error(400, "InvalidPartOrder");
    let missing = complete(&completion(&[(7, &small)])).await.expect_error(400, "InvalidPart");
    assert_eq!(missing.element("PartNumber").as_deref(), Some("7"));
    complete(&completion(&[(1, "\"ffffffffffffffffffffffffffffffff\"")])).await.expect_error(400, "InvalidPart");
    complete(&completion(&[])).await.expect_error(400, "MalformedXML");
    complete("<Complete").await.expect_error(400, "MalformedXML");

    s3.put(&format!("/one/k?partNumber=0&uploadId={id}"), &[], b"").await.expect_error(400, "InvalidArgument");
    s3.put(&format!("/one/k?partNumber=10001&uploadId={id}"), &[], b"").await.expect_error(400, "InvalidArgument");
    s3.put("/one/k?partNumber=1&uploadId=none", &[], b"x").await.expect_error(404, "NoSuchUpload");
    s3.send("DELETE", &target, &[], b"").await.expect(204);
    complete(&completion(&[(1, &small)])).await.expect_error(404, "NoSuchUpload");
    s3.get(&target).await.expect_error(404, "NoSuchUpload");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_copied_from_objects() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let body: Vec<u8> = (0..6 * MIB).map(|n| (n % 253) as u8).collect();
    s3.put("/one/source", &[], &body).await.expect(200);
    let id = begin(&s3, "/one/copy", &[]).await;
    let target = |number: u16| format!("/one/copy?partNumber={number}&uploadId={id}");
    let source = ("x-amz-copy-source", "one/source");
    let first = s3.put(&target(1), &[source], b"").await.expect(200).element("ETag").expect("an etag");
    let range = ("x-amz-copy-source-range", "bytes=10-19");
    let second = s3.put(&target(2), &[source, range], b"").await.expect(200).element("ETag").expect("an etag");
    let wrong = ("x-amz-copy-source-range", "bytes=10-");
    s3.put(&target(3), &[source, wrong], b"").await.expect_error(400, "InvalidArgument");
    let beyond = ("x-amz-copy-source-range", "bytes=0-99999999");
    s3.put(&target(3), &[source, beyond], b"").await.expect_error(416, "InvalidRange");
    let done = completion(&[(1, &first), (2, &second)]);
    s3.send("POST", &format!("/one/copy?uploadId={id}"), &[], done.as_bytes()).await.expect(200);
    let got = s3.get("/one/copy").await.expect(200);
    assert!(got.body == [&body[..], &body[10..20]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_of_parts() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let alone = [("x-amz-checksum-type", "FULL_OBJECT")];
    s3.send("POST", "/one/k?uploads", &alone, b"").await.expect_error(400, "InvalidRequest");
    let wrong = [("x-amz-checksum-algorithm", "SHA256"), ("x-amz-checksum-type", "FULL_OBJECT")];
    s3.send("POST", "/one/k?uploads", &wrong, b"").await.expect_error(400, "InvalidRequest");
    let begun = s3.send("POST", "/one/k?uploads", &[("x-amz-checksum-algorithm", "CRC32")], b"").await.expect(200);
    assert_eq!(begun.header("x-amz-checksum-type"), Some("COMPOSITE"));
    let id = begun.element("UploadId").expect("an id");
    let put = [("x-amz-checksum-crc32", "y/Q5Jg==")];
    let put = s3.put(&format!("/one/k?partNumber=1&uploadId={id}"), &put, b"123456789").await.expect(200);
    assert_eq!(put.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    let etag = put.header("etag").expect("an etag");
    let listed = s3.get(&format!("/one/k?uploadId={id}")).await.expect(200);
    assert_eq!(listed.element("ChecksumCRC32").as_deref(), Some("y/Q5Jg=="));
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>\
         <ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part></CompleteMultipartUpload>"
    );
    let done = s3.send("POST", &format!("/one/k?uploadId={id}"), &[], body.as_bytes()).await.expect(200);
    assert_eq!(done.element("ChecksumType").as_deref(), Some("COMPOSITE"));
    assert!(done.element("ChecksumCRC32").expect("a checksum").ends_with("-1"), "{}", done.text());
}
