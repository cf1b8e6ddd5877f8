//! Buckets, their sub-resources and listings over HTTP, on one real node.

use crate::node::start;

#[tokio::test(flavor = "multi_thread")]
async fn buckets_come_and_go() {
    let (_node, s3) = start().await;
    s3.put("/Bad_Name", &[], b"").await.expect_error(400, "InvalidBucketName");
    let created = s3.put("/one", &[], b"").await.expect(200);
    assert_eq!(created.header("location"), Some("/one"));
    s3.put("/one", &[], b"").await.expect(200);
    let elsewhere = b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>\
                      </CreateBucketConfiguration>";
    s3.put("/two", &[], elsewhere).await.expect_error(400, "IllegalLocationConstraintException");
    let nowhere =
        b"<CreateBucketConfiguration><LocationConstraint>nowhere</LocationConstraint></CreateBucketConfiguration>";
    s3.put("/two", &[], nowhere).await.expect_error(400, "InvalidLocationConstraint");
    s3.put("/two", &[], b"<CreateBucket").await.expect_error(400, "MalformedXML");
    let here =
        b"<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>";
    s3.put("/two", &[], here).await.expect(200);

    assert_eq!(s3.get("/").await.expect(200).elements("Name"), ["one", "two"]);
    assert_eq!(s3.get("/?prefix=t").await.expect(200).elements("Name"), ["two"]);
    let page = s3.get("/?max-buckets=1").await.expect(200);
    assert_eq!(page.elements("Name"), ["one"]);
    let token = page.element("ContinuationToken").expect("more");
    let rest = s3.get(&format!("/?continuation-token={token}&max-buckets=1")).await.expect(200);
    assert_eq!((rest.elements("Name"), rest.element("ContinuationToken")), (vec!["two".to_owned()], None));

    let head = s3.send("HEAD", "/one", &[], b"").await.expect(200);
    assert_eq!(head.header("x-amz-bucket-region"), Some("us-east-1"));
    assert!(s3.send("HEAD", "/none", &[], b"").await.expect(404).body.is_empty());
    s3.put("/one/k", &[], b"").await.expect(200);
    s3.send("DELETE", "/one", &[], b"").await.expect_error(409, "BucketNotEmpty");
    s3.send("DELETE", "/one/k", &[], b"").await.expect(204);
    s3.send("DELETE", "/one", &[], b"").await.expect(204);
    s3.send("DELETE", "/one", &[], b"").await.expect_error(404, "NoSuchBucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_resources_that_nobody_configured() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    for (name, code) in [
        ("policy", "NoSuchBucketPolicy"),
        ("cors", "NoSuchCORSConfiguration"),
        ("tagging", "NoSuchTagSet"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
        ("ownershipControls", "OwnershipControlsNotFoundError"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("replication", "ReplicationConfigurationNotFoundError"),
    ] {
        s3.get(&format!("/one?{name}")).await.expect_error(404, code);
        s3.get(&format!("/none?{name}")).await.expect_error(404, "NoSuchBucket");
    }
    for (name, root) in [
        ("versioning", "VersioningConfiguration"),
        ("logging", "BucketLoggingStatus"),
        ("notification", "NotificationConfiguration"),
        ("accelerate", "AccelerateConfiguration"),
        ("requestPayment", "RequestPaymentConfiguration"),
        ("location", "LocationConstraint"),
        ("acl", "AccessControlPolicy"),
    ] {
        let answer = s3.get(&format!("/one?{name}")).await.expect(200);
        assert!(answer.text().contains(&format!("<{root} xmlns=")), "{}", answer.text());
        s3.get(&format!("/none?{name}")).await.expect_error(404, "NoSuchBucket");
    }
    let acl = s3.get("/one?acl").await.expect(200);
    assert_eq!(acl.element("Permission").as_deref(), Some("FULL_CONTROL"));
    s3.put("/one?acl", &[], &acl.body).await.expect(200);
    s3.put("/one?acl", &[("x-amz-acl", "everybody")], b"").await.expect_error(400, "InvalidArgument");
    s3.send("DELETE", "/one?notification", &[], b"").await.expect_error(501, "NotImplemented");
    s3.put("/one?versioning", &[], b"<x/>").await.expect_error(400, "MalformedXML");
    s3.send("HEAD", "/one", &[], b"").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn listings() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    for key in ["a", "d/1", "d/2", "e%20f", "g%2Bh"] {
        s3.put(&format!("/one/{key}"), &[], b"x").await.expect(200);
    }
    let all = s3.get("/one?list-type=2").await.expect(200);
    assert_eq!(all.elements("Key"), ["a", "d/1", "d/2", "e f", "g+h"]);
    assert_eq!((all.element("KeyCount").as_deref(), all.element("IsTruncated").as_deref()), (Some("5"), Some("false")));
    assert!(all.element("Owner").is_none());
    assert!(s3.get("/one?list-type=2&fetch-owner=true").await.expect(200).element("Owner").is_some());
    assert!(s3.get("/one").await.expect(200).element("Owner").is_some());

    let encoded = s3.get("/one?list-type=2&encoding-type=url&prefix=e%20").await.expect(200);
    assert_eq!((encoded.elements("Key"), encoded.element("EncodingType")), (vec!["e%20f".into()], Some("url".into())));
    s3.get("/one?list-type=2&encoding-type=rot13").await.expect_error(400, "InvalidArgument");

    let folded = s3.get("/one?list-type=2&delimiter=%2F").await.expect(200);
    assert_eq!(folded.elements("CommonPrefixes"), ["<Prefix>d/</Prefix>"]);
    assert_eq!(folded.elements("Key"), ["a", "e f", "g+h"]);
    assert_eq!(s3.get("/one?list-type=2&delimiter=").await.expect(200).elements("Key").len(), 5);

    let mut seen = Vec::new();
    let mut target = "/one?list-type=2&max-keys=2".to_owned();
    loop {
        let page = s3.get(&target).await.expect(200);
        seen.extend(page.elements("Key"));
        let Some(token) = page.element("NextContinuationToken") else { break };
        target = format!("/one?continuation-token={token}&list-type=2&max-keys=2");
    }
    assert_eq!(seen, ["a", "d/1", "d/2", "e f", "g+h"]);
    s3.get("/one?list-type=2&continuation-token=forged").await.expect_error(400, "InvalidArgument");
    s3.get("/one?list-type=2&max-keys=-1").await.expect_error(400, "InvalidArgument");
    s3.get("/one?list-type=2&max-keys=x").await.expect_error(400, "InvalidArgument");
    let none = s3.get("/one?list-type=2&max-keys=0").await.expect(200);
    assert_eq!((none.elements("Key").len(), none.element("IsTruncated").as_deref()), (0, Some("false")));
    let after = s3.get("/one?list-type=2&start-after=d%2F1").await.expect(200);
    assert_eq!(after.elements("Key"), ["d/2", "e f", "g+h"]);

    let first = s3.get("/one?delimiter=%2F&max-keys=2").await.expect(200);
    assert_eq!(first.element("NextMarker").as_deref(), Some("d/"));
    let second = s3.get("/one?delimiter=%2F&marker=d%2F").await.expect(200);
    assert_eq!(second.elements("Key"), ["e f", "g+h"]);
    assert!(second.elements("CommonPrefixes").is_empty());

    let versions = s3.get("/one?versions").await.expect(200);
    assert_eq!(versions.elements("VersionId"), ["null"; 5]);
    s3.get("/one?version-id-marker=null&versions").await.expect_error(400, "InvalidArgument");
    s3.get("/none?list-type=2").await.expect_error(404, "NoSuchBucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_begins_with_all_that_was_asked_for() {
    let (_node, s3) = start().await;
    let tagged = |tags: &str| format!("<CreateBucketConfiguration><Tags>{tags}</Tags></CreateBucketConfiguration>");
    let tag = |name: &str| format!("<Tag><Key>{name}</Key><Value>v</Value></Tag>");
    let headers = [
        ("x-amz-object-ownership", "BucketOwnerPreferred"),
        ("x-amz-acl", "public-read"),
        ("x-amz-bucket-object-lock-enabled", "true"),
    ];
    s3.put("/full", &headers, tagged(&tag("team")).as_bytes()).await.expect(200);
    assert_eq!(s3.get("/full?tagging").await.expect(200).element("Key").as_deref(), Some("team"));
    let ownership = s3.get("/full?ownershipControls").await.expect(200);
    assert_eq!(ownership.element("ObjectOwnership").as_deref(), Some("BucketOwnerPreferred"));
    assert_eq!(s3.get("/full?acl").await.expect(200).elements("Permission").len(), 2);
    assert_eq!(s3.get("/full?object-lock").await.expect(200).element("ObjectLockEnabled").as_deref(), Some("Enabled"));
    assert_eq!(s3.get("/full?versioning").await.expect(200).element("Status").as_deref(), Some("Enabled"));
    // What is configured later replaces what it began with.
    s3.send("DELETE", "/full?tagging", &[], b"").await.expect(204);
    s3.get("/full?tagging").await.expect_error(404, "NoSuchTagSet");

    for (tags, code) in [(tag("aws:x"), "InvalidTag"), (format!("{0}{0}", tag("x")), "InvalidTag")] {
        s3.put("/bad", &[], tagged(&tags).as_bytes()).await.expect_error(400, code);
        s3.send("HEAD", "/bad", &[], b"").await.expect(404);
    }
}
