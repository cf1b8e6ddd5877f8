//! Tags of objects, and of their versions.

use super::node::start;

fn tags(pairs: &[(&str, &str)]) -> Vec<u8> {
    let tag = |(key, value): &(&str, &str)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
    let tags: String = pairs.iter().map(tag).collect();
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_of_one_version() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    s3.put("/one?versioning", &[], enabled).await.expect(200);
    let first = s3.put("/one/k", &[("x-amz-tagging", "team=a")], b"x").await.expect(200);
    let first = first.header("x-amz-version-id").expect("a version").to_owned();
    let second = s3.put("/one/k", &[], b"y").await.expect(200).header("x-amz-version-id").expect("one").to_owned();
    let put = s3.put("/one/k?tagging", &[], &tags(&[("team", "b"), ("stage", "")])).await.expect(200);
    assert_eq!(put.header("x-amz-version-id"), Some(&*second));
    let read = s3.get("/one/k?tagging").await.expect(200);
    assert_eq!(read.elements("Key"), ["stage", "team"]);
    assert_eq!(read.header("x-amz-version-id"), Some(&*second));
    let old = s3.get(&format!("/one/k?tagging&versionId={first}")).await.expect(200);
    assert_eq!((old.elements("Key"), old.elements("Value")), (vec!["team".to_owned()], vec!["a".to_owned()]));
    assert_eq!(s3.get("/one/k").await.expect(200).header("x-amz-tagging-count"), Some("2"));

    let deleted = s3.send("DELETE", "/one/k?tagging", &[], b"").await.expect(204);
    assert_eq!(deleted.header("x-amz-version-id"), Some(&*second));
    assert_eq!(s3.get("/one/k?tagging").await.expect(200).elements("Key").len(), 0);
    assert_eq!(s3.get(&format!("/one/k?tagging&versionId={first}")).await.expect(200).elements("Key"), ["team"]);
    s3.send("DELETE", &format!("/one/k?tagging&versionId={first}"), &[], b"").await.expect(204);
    assert_eq!(s3.get(&format!("/one/k?tagging&versionId={first}")).await.expect(200).elements("Key").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tags_change_nothing() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    s3.put("/one/k", &[("x-amz-tagging", "team=a")], b"x").await.expect(200);
    let names: Vec<String> = (0..11).map(|at| format!("k{at}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    s3.put("/one/k?tagging", &[], &tags(&many)).await.expect_error(400, "InvalidTag");
    let long = "n".repeat(129);
    for refused in [&[(long.as_str(), "v")][..], &[("aws:x", "v")], &[("a", "1"), ("a", "2")]] {
        s3.put("/one/k?tagging", &[], &tags(refused)).await.expect_error(400, "InvalidTag");
    }
    s3.put("/one/k?tagging", &[], b"<Tagging>").await.expect_error(400, "MalformedXML");
    assert_eq!(s3.get("/one/k?tagging").await.expect(200).elements("Value"), ["a"]);
    for method in ["GET", "DELETE"] {
        s3.send(method, "/one/none?tagging", &[], b"").await.expect_error(404, "NoSuchKey");
    }
    s3.put("/one/none?tagging", &[], &tags(&[])).await.expect_error(404, "NoSuchKey");
}
