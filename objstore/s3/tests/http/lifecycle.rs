//! Lifecycle documents, and what is told of them.

use super::node::start;

fn document(rule: &str) -> Vec<u8> {
    format!("<LifecycleConfiguration><Rule>{rule}</Rule></LifecycleConfiguration>").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_kept_and_told() {
    let (_node, s3) = start().await;
    s3.put("/rules", &[], b"").await.expect(200);
    s3.get("/rules?lifecycle").await.expect_error(404, "NoSuchLifecycleConfiguration");
    let rule = "<ID>logs</ID><Filter><And><Prefix>logs/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>\
                <Status>Enabled</Status><Expiration><Days>3</Days></Expiration>";
    let put = s3.put("/rules?lifecycle", &[], &document(rule)).await.expect(200);
    assert_eq!(put.header("x-amz-transition-default-minimum-object-size"), Some("all_storage_classes_128K"));
    let read = s3.get("/rules?lifecycle").await.expect(200);
    assert!(read.text().contains("<ID>logs</ID>") && read.text().contains("<Prefix>logs/</Prefix>"), "{}", read.text());
    let tagged = s3.put("/rules/logs/1", &[("x-amz-tagging", "k=v")], b"x").await.expect(200);
    // Written at midnight on the first of January 2026.
    let ends = Some("expiry-date=\"Sun, 04 Jan 2026 00:00:00 GMT\", rule-id=\"logs\"");
    assert_eq!(tagged.header("x-amz-expiration"), ends);
    assert_eq!(s3.get("/rules/logs/1").await.expect(200).header("x-amz-expiration"), ends);
    assert_eq!(s3.send("HEAD", "/rules/logs/1", &[], b"").await.expect(200).header("x-amz-expiration"), ends);
    assert_eq!(s3.put("/rules/logs/2", &[], b"x").await.expect(200).header("x-amz-expiration"), None);
    s3.send("DELETE", "/rules?lifecycle", &[], b"").await.expect(204);
    s3.send("DELETE", "/rules?lifecycle", &[], b"").await.expect(204);
    assert_eq!(s3.get("/rules/logs/1").await.expect(200).header("x-amz-expiration"), None);
    s3.put("/none?lifecycle", &[], &document(rule)).await.expect_error(404, "NoSuchBucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_are_wrong_are_refused() {
    let (_node, s3) = start().await;
    s3.put("/rules", &[], b"").await.expect(200);
    let enabled = "<Status>Enabled</Status>";
    let days = "<Expiration><Days>1</Days></Expiration>";
    let transition = |days: u32, class: &str| {
        format!("<Transition><Days>{days}</Days><StorageClass>{class}</StorageClass></Transition>")
    };
    for (rule, status, code) in [
        (format!("{enabled}{days}"), 400, "MalformedXML"),
        (format!("<Prefix/><Filter/>{enabled}{days}"), 400, "MalformedXML"),
        (format!("<Prefix/><Status>enabled</Status>{days}"), 400, "MalformedXML"),
        (format!("<Prefix/>{enabled}"), 400, "InvalidRequest"),
        (format!("<Prefix/>{enabled}<Expiration><Days>0</Days></Expiration>"), 400, "InvalidArgument"),
        (format!("<Prefix/>{enabled}<Expiration/>"), 400, "MalformedXML"),
        (
            format!("<Prefix/>{enabled}<Expiration><Date>2026-01-01T10:00:00Z</Date></Expiration>"),
            400,
            "InvalidArgument",
        ),
        (format!("<ID>{}</ID><Prefix/>{enabled}{days}", "i".repeat(256)), 400, "InvalidArgument"),
        (
            format!(
                "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>{enabled}\
                 <AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>\
                 </AbortIncompleteMultipartUpload>"
            ),
            400,
            "InvalidRequest",
        ),
        (format!("<Prefix/>{enabled}{days}{}", transition(1, "GLACIER_IR")), 400, "InvalidArgument"),
        (format!("<Prefix/>{enabled}{}", transition(7, "STANDARD_IA")), 400, "InvalidArgument"),
        (
            format!("<Prefix/>{enabled}{}{}", transition(1, "GLACIER_IR"), transition(2, "GLACIER_IR")),
            400,
            "InvalidRequest",
        ),
    ] {
        let answer = s3.put("/rules?lifecycle", &[], &document(&rule)).await;
        assert_eq!((answer.status, answer.element("Code").as_deref()), (status, Some(code)), "{rule}");
    }
    let twice = document(&format!(
        "<ID>a</ID><Prefix>1</Prefix>{enabled}{days}</Rule><Rule><ID>a</ID><Prefix>2</Prefix>{enabled}{days}"
    ));
    s3.put("/rules?lifecycle", &[], &twice).await.expect_error(400, "InvalidArgument");
    s3.get("/rules?lifecycle").await.expect_error(404, "NoSuchLifecycleConfiguration");
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_objects_are_restored_before_they_are_read() {
    let (_node, s3) = start().await;
    s3.put("/cold", &[], b"").await.expect(200);
    s3.put("/cold/k", &[("x-amz-storage-class", "GLACIER")], b"cold").await.expect(200);
    s3.put("/cold/warm", &[], b"warm").await.expect(200);
    assert_eq!(s3.send("HEAD", "/cold/k", &[], b"").await.expect(200).header("x-amz-restore"), None);
    s3.get("/cold/k").await.expect_error(403, "InvalidObjectState");
    s3.put("/cold/copy", &[("x-amz-copy-source", "cold/k")], b"").await.expect_error(403, "InvalidObjectState");
    let restore = b"<RestoreRequest><Days>2</Days></RestoreRequest>";
    s3.send("POST", "/cold/warm?restore", &[], restore).await.expect_error(403, "InvalidObjectState");
    s3.send("POST", "/cold/k?restore", &[], b"<RestoreRequest><Days>0</Days></RestoreRequest>")
        .await
        .expect_error(400, "InvalidArgument");
    s3.send("POST", "/cold/k?restore", &[], restore).await.expect(202);
    s3.send("POST", "/cold/k?restore", &[], restore).await.expect(200);
    let read = s3.get("/cold/k").await.expect(200);
    let until = Some("ongoing-request=\"false\", expiry-date=\"Sat, 03 Jan 2026 00:00:00 GMT\"");
    assert_eq!((read.text().as_str(), read.header("x-amz-restore")), ("cold", until));
    s3.put("/cold/copy", &[("x-amz-copy-source", "cold/k")], b"").await.expect(200);
    let asked = [("x-amz-optional-object-attributes", "RestoreStatus")];
    let told = "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>\
                <RestoreExpiryDate>2026-01-03T00:00:00.000Z</RestoreExpiryDate></RestoreStatus>";
    s3.put("/cold/k2", &[("x-amz-storage-class", "GLACIER")], b"never restored").await.expect(200);
    for listing in ["/cold", "/cold?list-type=2", "/cold?versions"] {
        let with = s3.send("GET", listing, &asked, b"").await.expect(200).text();
        assert_eq!(with.matches(told).count(), 1, "{listing}: {with}");
        assert_eq!(with.matches("<RestoreStatus>").count(), 1, "{listing}: {with}");
        assert!(!s3.get(listing).await.expect(200).text().contains("RestoreStatus"), "told without being asked");
        let other = [("x-amz-optional-object-attributes", "Colour")];
        s3.send("GET", listing, &other, b"").await.expect_error(400, "InvalidArgument");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_and_read_tells_when_a_rule_ends_it() {
    let (_node, s3) = start().await;
    s3.put("/ends", &[], b"").await.expect(200);
    let rule = document(
        "<ID>soon</ID><Prefix>d/</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>\
         <AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
    );
    s3.put("/ends?lifecycle", &[], &rule).await.expect(200);
    let expected = Some("expiry-date=\"Fri, 02 Jan 2026 00:00:00 GMT\", rule-id=\"soon\"");
    let at_midnight =
        |header: Option<&str>| header.is_some_and(|told| told.ends_with("00:00:00 GMT\", rule-id=\"soon\""));
    let named = "<ID>\"so&amp; on\" \u{e4}</ID><Prefix>n/</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>";
    s3.put("/named", &[], b"").await.expect(200);
    s3.put("/named?lifecycle", &[], &document(named)).await.expect(200);
    let header = s3.put("/named/n/a", &[], b"a").await.expect(200).header("x-amz-expiration").map(str::to_owned);
    assert!(
        header.as_deref().is_some_and(|told| told.ends_with("rule-id=\"%22so%26%20on%22%20%C3%A4\"")),
        "{header:?}"
    );
    let put = s3.put("/ends/d/a", &[], b"a").await.expect(200);
    assert!(at_midnight(put.header("x-amz-expiration")), "{:?} is not like {expected:?}", put.headers);
    let copy = s3.put("/ends/d/b", &[("x-amz-copy-source", "ends/d/a")], b"").await.expect(200);
    let begun = s3.send("POST", "/ends/d/c?uploads", &[], b"").await.expect(200);
    assert_eq!(begun.header("x-amz-abort-rule-id"), Some("soon"));
    assert!(begun.header("x-amz-abort-date").is_some_and(|date| date.ends_with("00:00:00 GMT")), "{:?}", begun.headers);
    let id = begun.element("UploadId").expect("an id");
    let part = s3.put(&format!("/ends/d/c?partNumber=1&uploadId={id}"), &[], b"part").await.expect(200);
    let parts = s3.get(&format!("/ends/d/c?uploadId={id}")).await.expect(200);
    for name in ["x-amz-abort-date", "x-amz-abort-rule-id"] {
        assert_eq!(parts.header(name), begun.header(name), "{name}");
    }
    let etag = part.header("etag").expect("a tag");
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let complete = s3.send("POST", &format!("/ends/d/c?uploadId={id}"), &[], list.as_bytes()).await.expect(200);
    let head = s3.send("HEAD", "/ends/d/c", &[], b"").await.expect(200);
    let get = s3.get("/ends/d/c").await.expect(200);
    for answer in [copy, complete, head, get] {
        assert_eq!(answer.header("x-amz-expiration"), put.header("x-amz-expiration"));
    }
    let other = s3.put("/ends/other", &[("x-amz-copy-source", "ends/d/a")], b"").await.expect(200);
    assert_eq!(other.header("x-amz-expiration"), None);
    assert_eq!(s3.send("POST", "/ends/other?uploads", &[], b"").await.expect(200).header("x-amz-abort-date"), None);
}
