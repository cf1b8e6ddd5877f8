//! Uploads by the form of a browser.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::client::{Answer, Client, REGION};
use crate::node::start;

const CREDENTIAL_DATE: &str = "20260101";

/// A form with these fields, and a file.
fn form(fields: &[(&str, &str)], file: &str) -> String {
    let mut body = String::new();
    for (name, value) in fields {
        body.push_str(&format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    }
    body.push_str("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"cat.txt\"\r\n\r\n");
    format!("{body}{file}\r\n--x--\r\n")
}

async fn post(s3: &Client, fields: &[(&str, &str)], file: &str) -> Answer {
    let content_type = ("content-type", "multipart/form-data; boundary=x");
    s3.anonymous_with("POST", "/one", &[content_type], form(fields, file).as_bytes()).await
}

/// The fields of a form that the client signs, with these conditions.
fn signed(s3: &Client, conditions: &str, expiration: &str) -> Vec<(String, String)> {
    let credential = format!("{}/{CREDENTIAL_DATE}/{REGION}/s3/aws4_request", s3.access_key);
    let date = format!("{CREDENTIAL_DATE}T000000Z");
    let document = format!(
        "{{\"expiration\":\"{expiration}\",\"conditions\":[{{\"bucket\":\"one\"}},{{\"x-amz-credential\":\
         \"{credential}\"}},{{\"x-amz-date\":\"{date}\"}},{{\"x-amz-algorithm\":\"AWS4-HMAC-SHA256\"}},{conditions}]}}"
    );
    let policy = STANDARD.encode(document);
    let signature = s3.sign_text(&policy);
    [
        ("x-amz-credential", credential),
        ("x-amz-date", date),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("x-amz-signature", signature),
        ("policy", policy),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

async fn post_signed(s3: &Client, conditions: &str, expiration: &str, fields: &[(&str, &str)], file: &str) -> Answer {
    let signature = signed(s3, conditions, expiration);
    let mut all: Vec<(&str, &str)> = fields.to_vec();
    all.extend(signature.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    post(s3, &all, file).await
}

const LATER: &str = "2126-01-01T00:00:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_form_puts_an_object() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let conditions = "[\"starts-with\",\"$key\",\"a/\"],[\"starts-with\",\"$x-amz-meta-tone\",\"\"],\
                      [\"content-length-range\",1,100000],[\"starts-with\",\"$success_action_status\",\"\"],\
                      [\"starts-with\",\"$tagging\",\"\"]";
    let tagging = "<Tagging><TagSet><Tag><Key>k</Key><Value>v w</Value></Tag></TagSet></Tagging>";
    let fields =
        [("key", "a/${filename}"), ("x-amz-meta-tone", "low"), ("success_action_status", "201"), ("tagging", tagging)];
    let file = "file\r\n--y\r\n".repeat(5000);
    let created = post_signed(&s3, conditions, LATER, &fields, &file).await.expect(201);
    assert_eq!(created.element("Key").as_deref(), Some("a/cat.txt"));
    let read = s3.get("/one/a/cat.txt").await.expect(200);
    assert_eq!((read.text(), read.header("x-amz-meta-tone")), (file, Some("low")));
    assert_eq!(s3.get("/one/a/cat.txt?tagging").await.expect(200).element("Value").as_deref(), Some("v w"));
    let redirect = "[\"starts-with\",\"$key\",\"\"],[\"starts-with\",\"$success_action_redirect\",\"\"]";
    let fields = [("key", "k"), ("success_action_redirect", "http://a.example/x?y=1")];
    let redirected = post_signed(&s3, redirect, LATER, &fields, "1").await.expect(303);
    let target = redirected.header("location").expect("a location");
    assert!(target.starts_with("http://a.example/x?y=1&bucket=one&key=k&etag=%22"), "{target}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_that_are_refused_leave_nothing() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    post(&s3, &[("key", "k")], "x").await.expect_error(403, "AccessDenied");
    post(&s3, &[("acl", "private")], "x").await.expect_error(400, "InvalidArgument");
    let any = "[\"starts-with\",\"$key\",\"\"]";
    let key = [("key", "k")];
    post_signed(&s3, any, "2020-01-01T00:00:00Z", &key, "x").await.expect_error(403, "AccessDenied");
    post_signed(&s3, any, "soon", &key, "x").await.expect_error(400, "InvalidPolicyDocument");
    post_signed(&s3, any, LATER, &[("key", "k"), ("acl", "private")], "x").await.expect_error(403, "AccessDenied");
    post_signed(&s3, "[\"eq\",\"$key\",\"other\"]", LATER, &key, "x").await.expect_error(403, "AccessDenied");
    let range = format!("{any},[\"content-length-range\",2,40000]");
    post_signed(&s3, &range, LATER, &key, "x").await.expect_error(400, "EntityTooSmall");
    post_signed(&s3, &range, LATER, &key, &"x".repeat(40_001)).await.expect_error(400, "EntityTooLarge");
    let forged: Vec<(String, String)> = signed(&s3, any, LATER)
        .into_iter()
        .map(|(name, value)| if name == "x-amz-signature" { (name, "0".repeat(64)) } else { (name, value) })
        .collect();
    let mut fields = vec![("key", "k")];
    fields.extend(forged.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    post(&s3, &fields, "x").await.expect_error(403, "SignatureDoesNotMatch");
    s3.get("/one/k").await.expect_error(404, "NoSuchKey");
}
