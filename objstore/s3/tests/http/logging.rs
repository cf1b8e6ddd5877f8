//! Access logs of buckets: what may be configured, and that each request has its line.

use std::time::Duration;

use super::client::Client;
use super::node::{Node, start};
use super::people::{OTHER_KEY, other_id, root_id};

const FIELDS: usize = 27;

fn status(target: &str, rest: &str) -> Vec<u8> {
    format!(
        "<BucketLoggingStatus><LoggingEnabled><TargetBucket>{target}</TargetBucket><TargetPrefix>log/</TargetPrefix>\
         {rest}</LoggingEnabled></BucketLoggingStatus>"
    )
    .into_bytes()
}

fn policy(principal: &str, resource: &str, source: &str) -> Vec<u8> {
    format!(
        r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Principal": {{"Service": "{principal}"}},
        "Action": "s3:PutObject", "Resource": "arn:aws:s3:::{resource}",
        "Condition": {{"ArnLike": {{"aws:SourceArn": "arn:aws:s3:::{source}"}},
        "StringEquals": {{"aws:SourceAccount": "000000000000"}}}}}}}}"#
    )
    .into_bytes()
}

const DELIVERY: &str = "logging.s3.amazonaws.com";

async fn buckets() -> (Node, Client) {
    let (node, s3) = start().await;
    s3.put("/source", &[], b"").await.expect(200);
    s3.put("/logs", &[], b"").await.expect(200);
    (node, s3)
}

/// The fields of a line; what stands in quotes or brackets is one.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (field, after) = match rest.as_bytes()[0] {
            b'"' => rest[1..].split_once('"').expect("a closing quote"),
            b'[' => rest[1..].split_once(']').expect("a closing bracket"),
            _ => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        fields.push(field.to_owned());
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    fields
}

/// Has logs written until there are `count` lines below `prefix`; keys of the objects and the lines.
async fn lines(node: &Node, s3: &Client, prefix: &str, count: usize) -> (Vec<String>, Vec<Vec<String>>) {
    // A record is made when the answer has been sent, which its reader may see a moment earlier.
    for _ in 0..200 {
        node.s3.deliver_access_logs().await;
        let keys = s3.get(&format!("/logs?list-type=2&prefix={prefix}")).await.expect(200).elements("Key");
        let mut lines = Vec::new();
        for key in &keys {
            let text = s3.get(&format!("/logs/{key}")).await.expect(200).text();
            assert!(text.ends_with('\n'), "{text}");
            lines.extend(text.lines().map(fields));
        }
        if lines.len() >= count {
            return (keys, lines);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not {count} lines below {prefix}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_log_where() {
    let (_node, s3) = buckets().await;
    let refused = s3.put("/source?logging", &[], &status("none", "")).await;
    refused.expect_error(400, "InvalidTargetBucketForLogging");
    s3.put("/none?logging", &[], &status("logs", "")).await.expect_error(404, "NoSuchBucket");
    // Nothing lets the service write yet; then what does is about something else.
    s3.put("/source?logging", &[], &status("logs", "")).await.expect_error(403, "AccessDenied");
    for (principal, resource, source) in [
        ("ec2.amazonaws.com", "logs/log/*", "source"),
        (DELIVERY, "logs/other/*", "source"),
        (DELIVERY, "logs/log/*", "other"),
    ] {
        s3.put("/logs?policy", &[], &policy(principal, resource, source)).await.expect(204);
        s3.put("/source?logging", &[], &status("logs", "")).await.expect_error(403, "AccessDenied");
    }
    // What is open to everybody was not opened for logs.
    let everybody = String::from_utf8(policy(DELIVERY, "logs/*", "*")).expect("text").replace("Service", "AWS");
    let everybody = everybody.replace(DELIVERY, "*");
    s3.put("/logs?policy", &[], everybody.as_bytes()).await.expect(204);
    s3.put("/source?logging", &[], &status("logs", "")).await.expect_error(403, "AccessDenied");
    s3.put("/logs?policy", &[], &policy(DELIVERY, "logs/log/*", "sour*")).await.expect(204);
    s3.put("/source?logging", &[], &status("logs", "")).await.expect(200);
    let simple = "<TargetObjectKeyFormat><SimplePrefix/></TargetObjectKeyFormat>";
    s3.put("/source?logging", &[], &status("logs", simple)).await.expect(200);
    let read = s3.get("/source?logging").await.expect(200).text();
    assert!(read.contains("<SimplePrefix></SimplePrefix>") && !read.contains("TargetGrants"), "{read}");
    let by_day = "<TargetObjectKeyFormat><PartitionedPrefix/></TargetObjectKeyFormat>";
    s3.put("/source?logging", &[], &status("logs", by_day)).await.expect(200);
    let read = s3.get("/source?logging").await.expect(200);
    assert_eq!(read.element("PartitionDateSource").as_deref(), Some("EventTime"));
    let both = "<TargetObjectKeyFormat><SimplePrefix/><PartitionedPrefix/></TargetObjectKeyFormat>";
    let unknown = "<TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>Never</PartitionDateSource>\
                   </PartitionedPrefix></TargetObjectKeyFormat>";
    for malformed in [both, unknown, "<TargetObjectKeyFormat/>"] {
        s3.put("/source?logging", &[], &status("logs", malformed)).await.expect_error(400, "MalformedXML");
    }
    // Neither may another account have this bucket logged, nor this account in the other's.
    let everybody = br#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*",
        "Action": "s3:PutBucketLogging", "Resource": "arn:aws:s3:::source"}}"#;
    s3.put("/source?policy", &[], everybody).await.expect(204);
    let other = s3.with_key(OTHER_KEY);
    other.put("/source?logging", &[], b"<BucketLoggingStatus/>").await.expect_error(403, "AccessDenied");
    other.put("/theirs", &[("x-amz-acl", "log-delivery-write")], b"").await.expect(200);
    let refused = s3.put("/source?logging", &[], &status("theirs", "")).await;
    refused.expect_error(400, "InvalidTargetBucketForLogging");
    assert_eq!(s3.get("/source?logging").await.expect(200).element("TargetBucket").as_deref(), Some("logs"));
    s3.put("/source?logging", &[], b"<BucketLoggingStatus/>").await.expect(200);
    assert_eq!(s3.get("/source?logging").await.expect(200).element("LoggingEnabled"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_its_line() {
    let (node, s3) = buckets().await;
    s3.put("/logs?acl", &[("x-amz-acl", "log-delivery-write")], b"").await.expect(200);
    s3.put("/plain", &[], b"").await.expect(200);
    s3.put("/source?logging", &[], &status("logs", "")).await.expect(200);
    s3.put("/source/a%20b", &[("user-agent", "it's \"me\""), ("referer", "http://x/")], b"hello").await.expect(200);
    s3.send("GET", "/source/a%20b", &[("range", "bytes=1-2")], b"").await.expect(206);
    s3.anonymous("GET", "/source/a%20b?X-Amz-Security-Token=t0ken", b"").await.expect_error(403, "AccessDenied");
    s3.get("/source/none").await.expect_error(404, "NoSuchKey");
    s3.put("/plain/copy", &[("x-amz-copy-source", "/source/a%20b")], b"").await.expect(200);
    let (keys, lines) = lines(&node, &s3, "log/", 6).await;
    assert!(keys.iter().all(|key| key.starts_with("log/2026-01-01-00-00-00-")), "{keys:?}");
    assert!(lines.iter().all(|line| line.len() == FIELDS), "{lines:?}");
    let of = |operation: &str, status: &str| {
        let line = lines.iter().find(|line| line[6] == operation && line[9] == status);
        line.unwrap_or_else(|| panic!("no {operation} {status} in {lines:?}"))
    };
    of("REST.PUT.LOGGING_STATUS", "200");
    let put = of("REST.PUT.OBJECT", "200");
    let expected = [&*root_id(), "source", "01/Jan/2026:00:00:00 +0000", "127.0.0.1", &*root_id()];
    assert_eq!(put[..5], expected);
    assert_eq!(put[7..9], ["a%20b", "PUT /source/a%20b HTTP/1.1"]);
    assert_eq!([&*put[10], &*put[11], &*put[12]], ["-", "-", "5"]);
    assert_eq!(put[15..18], ["http://x/", "it's %22me%22", "-"]);
    assert_eq!(put[19..22], ["SigV4", "-", "AuthHeader"]);
    assert_eq!(put[23..], ["-", "-", "-", "us-east-1"]);
    let get = of("REST.GET.OBJECT", "206");
    assert_eq!(get[11..13], ["2", "5"]);
    let refused = of("REST.GET.OBJECT", "403");
    assert_eq!([&*refused[4], &*refused[10], &*refused[19], &*refused[21]], ["-", "AccessDenied", "-", "-"]);
    assert_eq!(refused[8], "GET /source/a%20b?X-Amz-Security-Token=REDACTED HTTP/1.1");
    assert_eq!(of("REST.GET.OBJECT", "404")[10], "NoSuchKey");
    assert_eq!(of("REST.COPY.OBJECT_GET", "200")[7], "a%20b");
    assert_eq!(node.s3.access_log_counts().lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_by_day_are_readable_by_whom_the_owner_names() {
    let (node, s3) = buckets().await;
    s3.put("/logs?policy", &[], &policy(DELIVERY, "logs/log/000000000000/*", "source")).await.expect(204);
    // The prefix alone is not what is written; the policy must let the whole format pass.
    s3.put("/source?logging", &[], &status("logs", "")).await.expect_error(403, "AccessDenied");
    s3.put("/logs?policy", &[], &policy(DELIVERY, "logs/log/*", "source")).await.expect(204);
    let rest = "<TargetGrants><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xsi:type=\"AmazonCustomerByEmail\"><EmailAddress>other@example.com</EmailAddress></Grantee>\
         <Permission>READ</Permission></Grant></TargetGrants><TargetObjectKeyFormat><PartitionedPrefix>\
         <PartitionDateSource>EventTime</PartitionDateSource></PartitionedPrefix></TargetObjectKeyFormat>";
    s3.put("/source?logging", &[], &status("logs", rest)).await.expect(200);
    assert_eq!(s3.get("/source?logging").await.expect(200).element("ID"), Some(other_id()));
    s3.put("/source/k", &[], b"x").await.expect(200);
    let (keys, _) = lines(&node, &s3, "log/", 3).await;
    let folder = "log/000000000000/us-east-1/source/2026/01/01/2026-01-01-00-00-00-";
    assert!(keys.iter().all(|key| key.starts_with(folder)), "{keys:?}");
    s3.with_key(OTHER_KEY).get(&format!("/logs/{}", keys[0])).await.expect(200);
    // Who may not be given lists cannot be given grants either.
    let enforced = b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>\
                     </OwnershipControls>";
    s3.put("/logs?ownershipControls", &[], enforced).await.expect(200);
    let refused = s3.put("/source?logging", &[], &status("logs", rest)).await;
    refused.expect_error(400, "AccessControlListNotSupported");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_counted() {
    let (node, s3) = buckets().await;
    s3.put("/logs?acl", &[("x-amz-acl", "log-delivery-write")], b"").await.expect(200);
    s3.put("/source?logging", &[], &status("logs", "")).await.expect(200);
    s3.put("/logs?acl", &[("x-amz-acl", "private")], b"").await.expect(200);
    s3.put("/source/k", &[], b"x").await.expect(200);
    for _ in 0..200 {
        node.s3.deliver_access_logs().await;
        if node.s3.access_log_counts().lost >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((node.s3.access_log_counts().lost, node.s3.access_log_counts().delivered), (2, 0));
    assert_eq!(s3.get("/logs?list-type=2").await.expect(200).element("KeyCount").as_deref(), Some("0"));
}
