//! Encryption at rest, over HTTP.

use crate::client::Client;
use crate::node::start;

const SSE: &str = "x-amz-server-side-encryption";
const ALGORITHM: (&str, &str) = ("x-amz-server-side-encryption-customer-algorithm", "AES256");
const KEY: (&str, &str) = ("x-amz-server-side-encryption-customer-key", "pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs=");
const MD5: (&str, &str) = ("x-amz-server-side-encryption-customer-key-md5", "DWygnHRtgiJ77HCm+1rvHw==");

async fn get_with(s3: &Client, target: &str, headers: &[(&str, &str)]) -> crate::client::Answer {
    s3.send("GET", target, headers, b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_key_comes_with_every_request() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let own = [ALGORITHM, KEY, MD5];
    let put = s3.put("/one/k", &own, b"secret").await.expect(200);
    assert_eq!((put.header(ALGORITHM.0), put.header(MD5.0)), (Some("AES256"), Some(MD5.1)));
    assert_eq!(put.header(KEY.0), None);
    assert_eq!(get_with(&s3, "/one/k", &own).await.expect(200).text(), "secret");
    s3.get("/one/k").await.expect_error(400, "InvalidRequest");
    s3.send("HEAD", "/one/k", &[], b"").await.expect(400);
    s3.send("HEAD", "/one/k", &own, b"").await.expect(200);
    s3.put("/one/l", &[ALGORITHM, KEY], b"x").await.expect_error(400, "InvalidArgument");
    s3.put("/one/l", &[ALGORITHM, MD5], b"x").await.expect_error(400, "InvalidArgument");
    s3.put("/one/l", &[KEY, MD5], b"x").await.expect_error(400, "InvalidArgument");
    let other_md5 = (MD5.0, "AAAAAAAAAAAAAAAAAAAAAA==");
    s3.put("/one/l", &[ALGORITHM, KEY, other_md5], b"x").await.expect_error(400, "InvalidArgument");
    let both = [ALGORITHM, KEY, MD5, (SSE, "AES256")];
    s3.put("/one/l", &both, b"x").await.expect_error(400, "InvalidArgument");
    s3.get("/one/l").await.expect_error(404, "NoSuchKey");
    // A copy may be read without the key if nobody asks for one.
    let source = [
        ("x-amz-copy-source", "/one/k"),
        ("x-amz-copy-source-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-copy-source-server-side-encryption-customer-key", KEY.1),
        ("x-amz-copy-source-server-side-encryption-customer-key-md5", MD5.1),
    ];
    s3.put("/one/c", &source[..1], b"").await.expect_error(400, "InvalidRequest");
    s3.put("/one/c", &source, b"").await.expect(200);
    assert_eq!(s3.get("/one/c").await.expect(200).text(), "secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_keeps_keys_and_buckets_have_a_default() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let put = s3.put("/one/s3", &[(SSE, "AES256")], b"x").await.expect(200);
    assert_eq!(put.header(SSE), Some("AES256"));
    assert_eq!(put.header("etag"), Some("\"9dd4e461268c8034f5c8564e155c67a6\""), "the MD5");
    assert_eq!(s3.get("/one/s3").await.expect(200).header(SSE), Some("AES256"));
    let kms = [(SSE, "aws:kms"), ("x-amz-server-side-encryption-aws-kms-key-id", "key-1")];
    let put = s3.put("/one/kms", &kms, b"x").await.expect(200);
    assert_ne!(put.header("etag"), Some("\"9dd4e461268c8034f5c8564e155c67a6\""));
    let read = s3.get("/one/kms").await.expect(200);
    assert_eq!((read.header(SSE), read.header(kms[1].0)), (Some("aws:kms"), Some("key-1")));
    get_with(&s3, "/one/kms", &kms[..1]).await.expect_error(400, "InvalidArgument");
    s3.put("/one/l", &kms[1..], b"x").await.expect_error(400, "InvalidArgument");
    s3.put("/one/l", &[(SSE, "rot13")], b"x").await.expect_error(400, "InvalidArgument");
    s3.put("/one/l", &[kms[0], (kms[1].0, "none")], b"x").await.expect_error(400, "KMS.NotFoundException");
    s3.put("/one/l", &[(SSE, "aws:kms:dsse")], b"x").await.expect_error(501, "NotImplemented");
    // Without a name, the account's own; with an encryption context and a bucket key, both are kept.
    let context = ("x-amz-server-side-encryption-context", "eyJhIjoiYiJ9");
    let bucket_key = ("x-amz-server-side-encryption-bucket-key-enabled", "true");
    let put = s3.put("/one/own", &[kms[0], context, bucket_key], b"own").await.expect(200);
    assert_eq!((put.header(kms[1].0), put.header(bucket_key.0)), (Some("aws/s3"), Some("true")));
    let read = s3.get("/one/own").await.expect(200);
    assert_eq!((read.text().as_str(), read.header(bucket_key.0)), ("own", Some("true")));
    for bad in ["e", "W10=", "eyJhIjoxfQ==", "eyJhd3M6czM6YXJuIjoiYXJuOmF3czpzMzo6Om90aGVyL2tleSJ9"] {
        s3.put("/one/l", &[kms[0], (context.0, bad)], b"x").await.expect_error(400, "InvalidArgument");
    }
    s3.put("/one/l", &[(SSE, "AES256"), context], b"x").await.expect_error(400, "InvalidArgument");
    let copy = [("x-amz-copy-source", "/one/own"), kms[0], kms[1]];
    s3.put("/one/copy", &copy, b"").await.expect(200);
    assert_eq!(s3.get("/one/copy").await.expect(200).text(), "own");
    let default = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms\
                   </SSEAlgorithm><KMSMasterKeyID>key-2</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule>\
                   </ServerSideEncryptionConfiguration>";
    s3.put("/one?encryption", &[], default.as_bytes()).await.expect(200);
    s3.put("/one/d", &[], b"by default").await.expect(200);
    let read = s3.get("/one/d").await.expect(200);
    assert_eq!((read.text().as_str(), read.header(kms[1].0)), ("by default", Some("key-2")));
    let created = s3.send("POST", "/one/m?uploads", &[], b"").await.expect(200);
    assert_eq!(created.header(SSE), Some("aws:kms"));
    let upload = created.element("UploadId").expect("an id");
    let part = s3.put(&format!("/one/m?partNumber=1&uploadId={upload}"), &[], b"part").await.expect(200);
    let etag = part.header("etag").expect("a tag");
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let done = s3.send("POST", &format!("/one/m?uploadId={upload}"), &[], list.as_bytes()).await.expect(200);
    assert_eq!(done.header(SSE), Some("aws:kms"));
    assert_eq!(s3.get("/one/m").await.expect(200).text(), "part");
}
