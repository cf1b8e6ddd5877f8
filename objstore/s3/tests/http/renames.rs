//! RenameObject over the wire.

use crate::node::{start, start_with};
use crate::people::ANN_KEY;

#[tokio::test(flavor = "multi_thread")]
async fn objects_get_other_names() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    s3.put("/one/a", &[("x-amz-meta-m", "1"), ("content-type", "text/x")], b"bytes").await.expect(200);
    s3.put("/one/there", &[], b"there").await.expect(200);
    let rename = |from: &'static str| [("x-amz-rename-source", from)];
    s3.put("/one/b%20c?renameObject", &rename("a"), b"").await.expect(200);
    s3.get("/one/a").await.expect_error(404, "NoSuchKey");
    let read = s3.get("/one/b%20c").await.expect(200);
    assert_eq!((read.text().as_str(), read.header("x-amz-meta-m")), ("bytes", Some("1")));
    s3.put("/one/d?renameObject", &rename("/b%20c"), b"").await.expect(200);
    s3.put("/one/e?renameObject", &rename("none"), b"").await.expect_error(404, "NoSuchKey");
    s3.put("/none/e?renameObject", &rename("d"), b"").await.expect_error(404, "NoSuchBucket");
    s3.put("/one/d?renameObject", &rename("d"), b"").await.expect_error(400, "InvalidRequest");
    s3.put("/one/e/?renameObject", &rename("d"), b"").await.expect_error(400, "InvalidRequest");
    for (name, value) in [
        ("if-none-match", "*"),
        ("if-match", "\"0\""),
        ("x-amz-rename-source-if-match", "\"0\""),
        ("x-amz-rename-source-if-unmodified-since", "Thu, 01 Jan 2015 00:00:00 GMT"),
    ] {
        let headers = [("x-amz-rename-source", "d"), (name, value)];
        s3.put("/one/there?renameObject", &headers, b"").await.expect_error(412, "PreconditionFailed");
    }
    // The client did not hear the answer and asks again.
    let token = [("x-amz-rename-source", "d"), ("x-amz-client-token", "t")];
    s3.put("/one/there?renameObject", &token, b"").await.expect(200);
    s3.put("/one/there?renameObject", &token, b"").await.expect(200);
    assert_eq!(s3.get("/one?list-type=2").await.expect(200).elements("Key"), ["there"]);
    assert_eq!(s3.get("/one/there").await.expect(200).text(), "bytes");

    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    s3.put("/one?versioning", &[], enabled).await.expect(200);
    s3.put("/one/x?renameObject", &rename("there"), b"").await.expect_error(501, "NotImplemented");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_renames_reads_writes_and_deletes() {
    for denied in ["s3:GetObject", "s3:DeleteObject", "s3:PutObject"] {
        let statements = format!(
            r#"{{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}},
               {{"Effect": "Deny", "Action": "{denied}", "Resource": "*"}}"#
        );
        let (_node, s3) = start_with(&statements).await;
        s3.put("/one", &[], b"").await.expect(200);
        s3.put("/one/a", &[], b"a").await.expect(200);
        let ann = s3.with_key(ANN_KEY);
        let refused = ann.put("/one/b?renameObject", &[("x-amz-rename-source", "a")], b"").await;
        refused.expect_error(403, "AccessDenied");
        s3.get("/one/a").await.expect(200);
    }
}
