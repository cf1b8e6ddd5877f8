//! Every resource that a request touches is asked for, and before its body is read.

use crate::node::{start, start_with};
use crate::objects::delete_batch;
use crate::people::ANN_KEY;

/// Ann may do everything but touch keys that begin with `secret`.
const GUARDED: &str = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"},
    {"Effect": "Deny", "NotAction": "s3:PutObject", "Resource": "arn:aws:s3:::*/secret*"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn copy_sources_and_batch_keys_are_asked_for() {
    let (_node, s3) = start_with(GUARDED).await;
    let s3 = s3.with_key(ANN_KEY);
    s3.put("/files", &[], b"").await.expect(200);
    s3.put("/files/secret", &[], b"x").await.expect(200);
    s3.put("/files/open", &[], b"x").await.expect(200);
    s3.get("/files/secret").await.expect_error(403, "AccessDenied");
    s3.put("/files/copy", &[("x-amz-copy-source", "files/secret")], b"").await.expect_error(403, "AccessDenied");
    let begun = s3.send("POST", "/files/copy?uploads", &[], b"").await.expect(200);
    let id = begun.element("UploadId").expect("an upload id");
    let part = format!("/files/copy?partNumber=1&uploadId={id}");
    s3.put(&part, &[("x-amz-copy-source", "files/secret")], b"").await.expect_error(403, "AccessDenied");
    let body = "<Delete><Object><Key>secret</Key></Object><Object><Key>open</Key></Object></Delete>";
    let deleted = delete_batch(&s3, body).await.expect(200);
    assert_eq!(deleted.element("Code").as_deref(), Some("AccessDenied"), "{}", deleted.text());
    let left = s3.get("/files?list-type=2").await.expect(200);
    assert_eq!(left.elements("Key"), ["secret"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_is_not_asked_for_its_body() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    s3.expect_continue("/files/k").await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_open_to_the_unsigned() {
    let (_node, s3) = start().await;
    s3.put("/files", &[], b"").await.expect(200);
    s3.put("/files/k", &[], b"x").await.expect(200);
    for target in ["/", "/files", "/files?acl", "/files?list-type=2", "/files?uploads", "/files/k", "/files/k?tagging"]
    {
        s3.anonymous("GET", target, b"").await.expect_error(403, "AccessDenied");
    }
    for target in ["/new", "/files/k", "/files/k?partNumber=1&uploadId=x", "/files?acl"] {
        s3.anonymous("PUT", target, b"y").await.expect_error(403, "AccessDenied");
    }
    for target in ["/files", "/files/k", "/files/k?uploadId=x"] {
        s3.anonymous("DELETE", target, b"").await.expect_error(403, "AccessDenied");
    }
    for target in ["/files?delete", "/files/k?uploads", "/files/k?uploadId=x"] {
        s3.anonymous("POST", target, b"<Delete/>").await.expect_error(403, "AccessDenied");
    }
    assert_eq!(s3.get("/files/k").await.expect(200).body, b"x");
    s3.send("HEAD", "/new", &[], b"").await.expect(404);
}
