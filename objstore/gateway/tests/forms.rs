//! Services whose requests are forms: who gets a request, what is verified, and how refusals read.

mod common;

use common::sign::{Request, request};
use common::{Running, wire};

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const WHO: &str = "Action=GetCallerIdentity&Version=2011-06-15";

fn post(service: &str, body: &str) -> Request {
    request("POST", "/").service(service).header("content-type", FORM).body(body.as_bytes())
}

async fn call(request: &Request, body: &str) -> wire::Reply {
    let gateway = Running::start(|_| {}).await;
    let reply = gateway.connect().await.call(request.head(), body).await;
    gateway.stop().await;
    reply
}

fn code(reply: &wire::Reply) -> (u16, String) {
    (reply.status, reply.element("Code").unwrap_or_default())
}

#[tokio::test]
async fn the_scope_names_the_service_and_the_body_is_the_form() {
    let body = "Action=A&Name=a+b%2Bc&Path=%2F";
    for service in ["iam", "sts"] {
        let reply = call(&post(service, body), body).await;
        let root = "arn:aws:iam::123456789012:root";
        let expected = format!(r#"{service} {root} [("Action", "A"), ("Name", "a b+c"), ("Path", "/")]"#);
        assert_eq!((reply.status, reply.text()), (200, expected));
        assert!(reply.header("x-amzn-requestid").is_some() && reply.header("x-amz-id-2").is_none());
    }
    let get = request("GET", &format!("/?{WHO}")).service("sts");
    let reply = call(&get, "").await;
    assert!(reply.text().contains("GetCallerIdentity"), "{}", reply.text());
}

#[tokio::test]
async fn the_body_is_part_of_the_signature() {
    let changed = WHO.replace("Get", "Set");
    let reply = call(&post("sts", WHO), &changed).await;
    assert_eq!(code(&reply), (403, "SignatureDoesNotMatch".to_owned()));
    // A hash that is said is one thing, the body another.
    let said = request("POST", "/").scope("20130524/us-east-1/sts/aws4_request").header("content-type", FORM);
    let reply = call(&said.body(WHO.as_bytes()), &changed).await;
    assert_eq!(code(&reply), (403, "SignatureDoesNotMatch".to_owned()));
    let unsigned = request("POST", "/").scope("20130524/us-east-1/sts/aws4_request").header("content-type", FORM);
    let unsigned = unsigned.body(WHO.as_bytes()).payload("UNSIGNED-PAYLOAD");
    assert_eq!(code(&call(&unsigned, WHO).await), (403, "SignatureDoesNotMatch".to_owned()));
}

#[tokio::test]
async fn paths_are_normalised_and_encoded_twice() {
    let to = |path: &str, canonical: &str| {
        let request = request("POST", path).service("iam").header("content-type", FORM).canonical_path(canonical);
        request.body(WHO.as_bytes())
    };
    for (path, canonical) in [("/services/Euare", "/services/Euare"), ("/a/../b//c", "/b/c"), ("/a%20b/", "/a%2520b/")]
    {
        assert_eq!(call(&to(path, canonical), WHO).await.status, 200, "{path}");
    }
    assert_eq!(call(&to("/a/../b", "/c"), WHO).await.status, 403);
}

#[tokio::test]
async fn refusals_are_in_the_form_of_the_service() {
    let token = |value: &str| post("sts", WHO).header("x-amz-security-token", value);
    let old = post("sts", WHO);
    let cases = [
        (token("forged"), 403, "InvalidClientTokenId"),
        (token("expired"), 403, "ExpiredToken"),
        (old.unsigned("x-amz-meta", "1"), 403, "SignatureDoesNotMatch"),
        (post("iam", WHO).scope("20130524/us-east-1/iam/aws4"), 400, "IncompleteSignature"),
    ];
    for (request, status, expected) in cases {
        let reply = call(&request, WHO).await;
        assert_eq!(code(&reply), (status, expected.to_owned()), "{}", reply.text());
        assert_eq!(reply.element("Type").as_deref(), Some("Sender"));
        assert_eq!(reply.element("RequestId").as_deref(), reply.header("x-amzn-requestid"));
        assert_eq!(reply.header("content-type"), Some("text/xml"));
    }
    let reply = call(&request("DELETE", "/").service("iam"), "").await;
    assert_eq!(code(&reply), (405, "MethodNotAllowed".to_owned()));
    // What nobody here serves is refused in S3's form, by name.
    let reply = call(&request("POST", "/x").service("ec2"), "").await;
    assert_eq!(code(&reply), (501, "NotImplemented".to_owned()));
}

#[tokio::test]
async fn only_some_actions_go_unsigned() {
    let gateway = Running::start(|_| {}).await;
    let mut wire = gateway.connect().await;
    let mut unsigned = async |body: &str| {
        let length = body.len();
        let head =
            format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: {FORM}\r\ncontent-length: {length}\r\n\r\n");
        wire.call(head, body).await
    };
    let reply = unsigned("Action=AssumeRoleWithWebIdentity&Version=2011-06-15").await;
    assert!(reply.text().starts_with("sts nobody"), "{}", reply.text());
    for body in [WHO, "Action=ListUsers&Version=2010-05-08", "", "x=%zz", "x=\u{0}"] {
        let (status, code) = code(&unsigned(body).await);
        assert!(
            status == 403 && code == "MissingAuthenticationToken" || code == "MalformedQueryString",
            "{body}: {code}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_has_a_bound() {
    let body = format!("Action={}", "a".repeat(1 << 20));
    let reply = call(&post("iam", &body), &body).await;
    assert_eq!(code(&reply), (413, "RequestEntityTooLarge".to_owned()));
}
