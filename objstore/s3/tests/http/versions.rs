//! Versions, delete markers and object lock.

use super::client::{Answer, Client};
use super::node::start;
use super::objects::delete_headers;

const ENABLED: &[u8] = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const SUSPENDED: &[u8] = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";

async fn versioned(s3: &Client) {
    s3.put("/vers", &[], b"").await.expect(200);
    s3.put("/vers?versioning", &[], ENABLED).await.expect(200);
}

/// Writes a version and tells its id.
async fn write(s3: &Client, target: &str, body: &[u8]) -> String {
    version_of(&s3.put(target, &[], body).await.expect(200))
}

fn version_of(answer: &Answer) -> String {
    answer.header("x-amz-version-id").expect("a version id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_live_beside_each_other() {
    let (_node, s3) = start().await;
    versioned(&s3).await;
    assert_eq!(s3.get("/vers?versioning").await.expect(200).element("Status").as_deref(), Some("Enabled"));
    let one = write(&s3, "/vers/k", b"one").await;
    let two = write(&s3, "/vers/k", b"two").await;
    assert_ne!(one, two);
    let now = s3.get("/vers/k").await.expect(200);
    assert_eq!((now.text(), version_of(&now)), ("two".to_owned(), two.clone()));
    assert_eq!(s3.get(&format!("/vers/k?versionId={one}")).await.expect(200).text(), "one");
    let copied = s3.put("/vers/k", &[("x-amz-copy-source", &format!("vers/k?versionId={one}"))], b"").await.expect(200);
    assert_eq!(copied.header("x-amz-copy-source-version-id"), Some(one.as_str()));
    assert_eq!(s3.get("/vers/k").await.expect(200).text(), "one");
    let listed = s3.get("/vers?versions").await.expect(200);
    let ids = listed.elements("VersionId");
    assert_eq!(ids, [version_of(&copied), two.clone(), one.clone()]);
    assert_eq!(listed.elements("IsLatest"), ["true", "false", "false"]);
    s3.send("DELETE", "/vers", &[], b"").await.expect_error(409, "BucketNotEmpty");
    for id in ids {
        s3.send("DELETE", &format!("/vers/k?versionId={id}"), &[], b"").await.expect(204);
    }
    s3.get(&format!("/vers/k?versionId={one}")).await.expect_error(404, "NoSuchVersion");
    s3.get("/vers/k?versionId=nonsense").await.expect_error(400, "InvalidArgument");
    s3.send("DELETE", "/vers", &[], b"").await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_markers_hide_what_is_there() {
    let (_node, s3) = start().await;
    versioned(&s3).await;
    let one = write(&s3, "/vers/k", b"one").await;
    let deleted = s3.send("DELETE", "/vers/k", &[], b"").await.expect(204);
    assert_eq!(deleted.header("x-amz-delete-marker"), Some("true"));
    let marker = version_of(&deleted);
    let gone = s3.get("/vers/k").await.expect_error(404, "NoSuchKey");
    assert_eq!(gone.header("x-amz-delete-marker"), Some("true"));
    assert_eq!(version_of(&gone), marker);
    let refused = s3.get(&format!("/vers/k?versionId={marker}")).await.expect_error(405, "MethodNotAllowed");
    assert_eq!((refused.header("x-amz-delete-marker"), refused.header("allow")), (Some("true"), Some("DELETE")));
    let source = format!("vers/k?versionId={marker}");
    s3.put("/vers/copy", &[("x-amz-copy-source", &source)], b"").await.expect_error(400, "InvalidRequest");
    s3.put("/vers/copy", &[("x-amz-copy-source", "vers/k")], b"").await.expect_error(404, "NoSuchKey");
    assert_eq!(s3.get("/vers?list-type=2").await.expect(200).element("KeyCount").as_deref(), Some("0"));
    let listed = s3.get("/vers?versions").await.expect(200);
    assert_eq!((listed.elements("DeleteMarker").len(), listed.elements("Version").len()), (1, 1));
    let removed = s3.send("DELETE", &format!("/vers/k?versionId={marker}"), &[], b"").await.expect(204);
    assert_eq!(removed.header("x-amz-delete-marker"), Some("true"));
    assert_eq!(s3.get("/vers/k").await.expect(200).text(), "one");
    let batch = format!(
        "<Delete><Object><Key>k</Key><VersionId>{one}</VersionId></Object><Object><Key>x</Key></Object></Delete>"
    );
    let md5 = [("content-md5", &*delete_headers(&batch))];
    let done = s3.send("POST", "/vers?delete", &md5, batch.as_bytes()).await.expect(200);
    assert_eq!(done.element("VersionId"), Some(one));
    assert_eq!(done.elements("DeleteMarker"), ["true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_null_version_is_one_of_many() {
    let (_node, s3) = start().await;
    s3.put("/vers", &[], b"").await.expect(200);
    assert_eq!(s3.put("/vers/k", &[], b"zero").await.expect(200).header("x-amz-version-id"), None);
    assert_eq!(s3.get("/vers/k").await.expect(200).header("x-amz-version-id"), None);
    s3.put("/vers?versioning", &[], ENABLED).await.expect(200);
    assert_eq!(version_of(&s3.get("/vers/k").await.expect(200)), "null");
    let one = write(&s3, "/vers/k", b"one").await;
    assert_eq!(s3.get("/vers/k?versionId=null").await.expect(200).text(), "zero");
    s3.put("/vers?versioning", &[], SUSPENDED).await.expect(200);
    assert_eq!(s3.put("/vers/k", &[], b"two").await.expect(200).header("x-amz-version-id"), None);
    assert_eq!(s3.get("/vers/k?versionId=null").await.expect(200).text(), "two");
    assert_eq!(s3.get(&format!("/vers/k?versionId={one}")).await.expect(200).text(), "one");
    let deleted = s3.send("DELETE", "/vers/k", &[], b"").await.expect(204);
    assert_eq!((version_of(&deleted), deleted.header("x-amz-delete-marker")), ("null".to_owned(), Some("true")));
    let listed = s3.get("/vers?versions").await.expect(200);
    assert_eq!(listed.elements("VersionId"), [one, "null".to_owned()]);
    s3.send("DELETE", "/vers/k?versionId=null", &[], b"").await.expect(204);
    assert_eq!(s3.get("/vers/k").await.expect(200).text(), "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_in_pages() {
    let (_node, s3) = start().await;
    versioned(&s3).await;
    let mut written = Vec::new();
    for key in ["a", "b", "d/x", "d/y"] {
        let mut of_key = Vec::new();
        for _ in 0..3 {
            of_key.insert(0, write(&s3, &format!("/vers/{key}"), b"x").await);
        }
        written.extend(of_key);
    }
    let mut seen = Vec::new();
    let mut latest = 0;
    let mut target = "/vers?versions&max-keys=2".to_owned();
    loop {
        let page = s3.get(&target).await.expect(200);
        seen.extend(page.elements("VersionId"));
        latest += page.elements("IsLatest").iter().filter(|latest| *latest == "true").count();
        let Some(key) = page.element("NextKeyMarker") else { break };
        let version = page.element("NextVersionIdMarker").expect("with the key");
        target =
            format!("/vers?versions&max-keys=2&key-marker={}&version-id-marker={version}", key.replace('/', "%2F"));
    }
    assert_eq!((seen, latest), (written, 4));
    let rolled = s3.get("/vers?versions&delimiter=%2F&max-keys=7").await.expect(200);
    assert_eq!(rolled.elements("Version").len(), 6);
    assert_eq!(rolled.element("CommonPrefixes").as_deref(), Some("<Prefix>d/</Prefix>"));
    let after = s3.get("/vers?versions&key-marker=b").await.expect(200);
    assert_eq!(after.elements("Version").len(), 6);
    s3.get("/vers?versions&version-id-marker=x").await.expect_error(400, "InvalidArgument");
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_versions_stay() {
    let (_node, s3) = start().await;
    s3.put("/lock", &[("x-amz-bucket-object-lock-enabled", "true")], b"").await.expect(200);
    s3.put("/lock?versioning", &[], SUSPENDED).await.expect_error(409, "InvalidBucketState");
    let lock =
        [("x-amz-object-lock-mode", "GOVERNANCE"), ("x-amz-object-lock-retain-until-date", "2100-01-01T00:00:00Z")];
    let governed = version_of(&s3.put("/lock/g", &lock, b"g").await.expect(200));
    let head = s3.send("HEAD", "/lock/g", &[], b"").await.expect(200);
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("GOVERNANCE"));
    let target = format!("/lock/g?versionId={governed}");
    s3.send("DELETE", &target, &[], b"").await.expect_error(403, "AccessDenied");
    s3.send("DELETE", "/lock/g", &[], b"").await.expect(204);
    let retention = format!("/lock/g?retention&versionId={governed}");
    let later =
        b"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2101-01-01T00:00:00Z</RetainUntilDate></Retention>";
    let sooner =
        b"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>";
    s3.put(&retention, &[], later).await.expect(200);
    s3.put(&retention, &[], sooner).await.expect_error(403, "AccessDenied");
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    s3.put(&retention, &bypass, sooner).await.expect(200);
    let read = s3.get(&retention).await.expect(200);
    assert_eq!(read.element("RetainUntilDate").as_deref(), Some("2099-01-01T00:00:00.000Z"));
    s3.put(&format!("/lock/g?legal-hold&versionId={governed}"), &[], b"<LegalHold><Status>ON</Status></LegalHold>")
        .await
        .expect(200);
    s3.send("DELETE", &target, &bypass, b"").await.expect_error(403, "AccessDenied");
    s3.put(&format!("/lock/g?legal-hold&versionId={governed}"), &[], b"<LegalHold><Status>OFF</Status></LegalHold>")
        .await
        .expect(200);
    s3.send("DELETE", &target, &bypass, b"").await.expect(204);
    let wrong = b"<Retention><Mode>SOMETIMES</Mode><RetainUntilDate>2101-01-01T00:00:00Z</RetainUntilDate></Retention>";
    s3.put("/lock/c", &[], b"c").await.expect(200);
    s3.put("/lock/c?retention", &[], wrong).await.expect_error(400, "MalformedXML");
    s3.get("/lock/c?retention").await.expect_error(404, "NoSuchObjectLockConfiguration");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_locks_by_default() {
    let (_node, s3) = start().await;
    versioned(&s3).await;
    s3.get("/vers?object-lock").await.expect_error(404, "ObjectLockConfigurationNotFoundError");
    s3.put("/vers/k", &[], b"k").await.expect(200);
    s3.get("/vers/k?retention").await.expect_error(400, "InvalidRequest");
    let config = |inner: &str| {
        format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
             <Mode>COMPLIANCE</Mode>{inner}</DefaultRetention></Rule></ObjectLockConfiguration>"
        )
    };
    for (inner, code) in [
        ("<Days>0</Days>", "InvalidRetentionPeriod"),
        ("<Years>-1</Years>", "InvalidRetentionPeriod"),
        ("<Days>1</Days><Years>1</Years>", "MalformedXML"),
        ("", "MalformedXML"),
    ] {
        s3.put("/vers?object-lock", &[], config(inner).as_bytes()).await.expect_error(400, code);
    }
    s3.put("/vers?object-lock", &[], config("<Days>3</Days>").as_bytes()).await.expect(200);
    let read = s3.get("/vers?object-lock").await.expect(200);
    assert_eq!(read.element("Days").as_deref(), Some("3"));
    let version = write(&s3, "/vers/k", b"kept").await;
    let head = s3.get("/vers/k").await.expect(200);
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    s3.send("DELETE", &format!("/vers/k?versionId={version}"), &bypass, b"").await.expect_error(403, "AccessDenied");
    s3.put("/plain", &[], b"").await.expect(200);
    s3.put("/plain?object-lock", &[], config("<Days>3</Days>").as_bytes())
        .await
        .expect_error(409, "InvalidBucketState");
}
