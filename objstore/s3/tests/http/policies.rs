//! Bucket policies over the wire: who gets in, by which keys, and what they cannot do.

use crate::client::Client;
use crate::node::{Node, start, start_with};
use crate::objects::delete_batch;
use crate::people::{ANN_KEY, OTHER_ACCOUNT, OTHER_KEY};

async fn put_policy(s3: &Client, statements: &str) {
    let policy = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
    s3.put("/site?policy", &[], policy.as_bytes()).await.expect(204);
}

async fn site() -> (Node, Client, Client) {
    let (node, s3) = start().await;
    s3.put("/site", &[], b"").await.expect(200);
    s3.put("/site/public/a", &[], b"a").await.expect(200);
    s3.put("/site/private/b", &[("x-amz-tagging", "team=red")], b"b").await.expect(200);
    let other = s3.with_key(OTHER_KEY);
    (node, s3, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_lets_in_whom_it_names() {
    let (_node, s3, other) = site().await;
    put_policy(
        &s3,
        r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::site/public/*"}"#,
    )
    .await;
    s3.anonymous("GET", "/site/public/a", b"").await.expect(200);
    other.get("/site/public/a").await.expect(200);
    s3.anonymous("GET", "/site/private/b", b"").await.expect_error(403, "AccessDenied");
    s3.anonymous("GET", "/site/public/missing", b"").await.expect_error(403, "AccessDenied");
    s3.anonymous("GET", "/site?list-type=2", b"").await.expect_error(403, "AccessDenied");
    s3.anonymous("DELETE", "/site/public/a", b"").await.expect_error(403, "AccessDenied");
    assert_eq!(s3.get("/site?policyStatus").await.expect(200).element("IsPublic").as_deref(), Some("true"));

    let account = format!(
        r#"{{"Effect": "Allow", "Principal": {{"AWS": "{OTHER_ACCOUNT}"}}, "Action": "s3:ListBucket",
            "Resource": "arn:aws:s3:::site", "Condition": {{"StringLike": {{"s3:prefix": "public/*"}}}}}}"#
    );
    put_policy(&s3, &account).await;
    assert_eq!(s3.get("/site?policyStatus").await.expect(200).element("IsPublic").as_deref(), Some("false"));
    other.get("/site?list-type=2&prefix=public/").await.expect(200);
    other.get("/site?list-type=2").await.expect_error(403, "AccessDenied");
    other.get("/site/public/a").await.expect_error(403, "AccessDenied");
    other.get("/site/public/missing").await.expect_error(404, "NoSuchKey");
    other.get("/site/private/missing").await.expect_error(403, "AccessDenied");
    s3.anonymous("GET", "/site?list-type=2&prefix=public/", b"").await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn deny_holds_against_lists_and_owners_but_never_locks_the_root_user_out() {
    let (_node, s3, other) = site().await;
    s3.put("/site?acl", &[("x-amz-acl", "public-read")], b"").await.expect(200);
    other.get("/site?list-type=2").await.expect(200);
    put_policy(&s3, r#"{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::site", "arn:aws:s3:::site/*"]}"#).await;
    other.get("/site?list-type=2").await.expect_error(403, "AccessDenied");
    s3.get("/site/public/a").await.expect_error(403, "AccessDenied");
    s3.get("/site?policy").await.expect(200);
    s3.send("DELETE", "/site?policy", &[], b"").await.expect(204);
    s3.get("/site/public/a").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_of_the_object_and_of_the_request_decide() {
    let (_node, s3, other) = site().await;
    put_policy(
        &s3,
        r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::site/*",
            "Condition": {"StringEquals": {"s3:ExistingObjectTag/team": "red"}}},
           {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::site/*",
            "Condition": {"StringEquals": {"s3:RequestObjectTag/team": "blue"},
            "ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["team"]}}}"#,
    )
    .await;
    other.get("/site/private/b").await.expect(200);
    other.get("/site/public/a").await.expect_error(403, "AccessDenied");
    other.put("/site/new", &[], b"").await.expect_error(403, "AccessDenied");
    other.put("/site/new", &[("x-amz-tagging", "team=blue&more=1")], b"").await.expect_error(403, "AccessDenied");
    other.put("/site/new", &[("x-amz-tagging", "team=blue")], b"").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_never_stand_for_what_the_server_knows() {
    let (_node, s3, other) = site().await;
    put_policy(
        &s3,
        r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::site/*",
            "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}},
           {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::site/*",
            "Condition": {"Bool": {"aws:SecureTransport": "true"}}},
           {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::site/*",
            "Condition": {"StringEquals": {"aws:username": "ann"}}}"#,
    )
    .await;
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("aws-sourceip", "192.0.2.1"),
        ("x-amz-username", "ann"),
    ] {
        other.send("GET", "/site/public/a", &[(name, value)], b"").await.expect_error(403, "AccessDenied");
    }
    other.get("/site/public/a?aws:SourceIp=192.0.2.1&aws:username=ann").await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_policies_are_blocked_or_kept_to_the_account() {
    let (_node, s3, other) = site().await;
    let open = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::site/*"}}"#;
    let block =
        |name: &str| format!("<PublicAccessBlockConfiguration><{name}>true</{name}></PublicAccessBlockConfiguration>");
    s3.put("/site?policy", &[], open.as_bytes()).await.expect(204);
    s3.put("/site?publicAccessBlock", &[], block("RestrictPublicBuckets").as_bytes()).await.expect(200);
    s3.anonymous("GET", "/site/public/a", b"").await.expect_error(403, "AccessDenied");
    other.get("/site/public/a").await.expect_error(403, "AccessDenied");
    s3.get("/site/public/a").await.expect(200);
    s3.put("/site?publicAccessBlock", &[], block("BlockPublicPolicy").as_bytes()).await.expect(200);
    s3.anonymous("GET", "/site/public/a", b"").await.expect(200);
    s3.put("/site?policy", &[], open.as_bytes()).await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_what_a_write_asks_for_have_actions_of_their_own() {
    let (_node, s3) = start_with(
        r#"{"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"], "Resource": "*"}"#,
    )
    .await;
    s3.put("/site", &[], b"").await.expect(200);
    let ann = s3.with_key(ANN_KEY);
    ann.put("/site/k", &[], b"x").await.expect(200);
    ann.get("/site/k").await.expect(200);
    ann.get("/site/k?versionId=null").await.expect_error(403, "AccessDenied");
    ann.get("/site/k?tagging").await.expect_error(403, "AccessDenied");
    ann.put("/site/k", &[("x-amz-tagging", "a=b")], b"x").await.expect_error(403, "AccessDenied");
    ann.put("/site/k", &[("x-amz-acl", "public-read")], b"x").await.expect_error(403, "AccessDenied");
    ann.put("/site/copy", &[("x-amz-copy-source", "site/k?versionId=null")], b"")
        .await
        .expect_error(403, "AccessDenied");
    let body = "<Delete><Object><Key>k</Key><VersionId>null</VersionId></Object></Delete>";
    let deleted = delete_batch(&ann.with_key(ANN_KEY), body).await;
    assert!(deleted.status == 404 || deleted.element("Code").as_deref() == Some("AccessDenied"), "{}", deleted.text());
    ann.send("DELETE", "/site/k?versionId=null", &[], b"").await.expect_error(403, "AccessDenied");
    ann.send("DELETE", "/site/k", &[], b"").await.expect(204);
}
