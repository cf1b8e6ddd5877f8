//! Access control lists: who gets in by them, who owns what is written, and what switches them off.

use crate::client::Client;
use crate::node::start;
use crate::people::{ANN_KEY, OTHER_KEY, other_id, root_id};

async fn enabled() -> (crate::node::Node, Client, Client) {
    let (node, s3) = start().await;
    s3.put("/shared", &[], b"").await.expect(200);
    let other = s3.with_key(OTHER_KEY);
    (node, s3, other)
}

fn document(grants: &[(&str, &str)]) -> String {
    let grant = |(grantee, permission): &(&str, &str)| {
        format!(
            "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" {grantee}</Grantee>\
             <Permission>{permission}</Permission></Grant>"
        )
    };
    let grants: String = grants.iter().map(grant).collect();
    format!(
        "<AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>{}</ID></Owner>\
         <AccessControlList>{grants}</AccessControlList></AccessControlPolicy>",
        root_id()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn canned_lists_open_what_they_say_and_no_more() {
    let (_node, s3, other) = enabled().await;
    s3.put("/shared/private", &[], b"a").await.expect(200);
    s3.put("/shared/open", &[("x-amz-acl", "public-read")], b"b").await.expect(200);
    s3.put("/shared/known", &[("x-amz-acl", "authenticated-read")], b"c").await.expect(200);
    for caller in ["/shared/private", "/shared/missing"] {
        other.get(caller).await.expect_error(403, "AccessDenied");
        s3.anonymous("GET", caller, b"").await.expect_error(403, "AccessDenied");
    }
    assert_eq!(s3.anonymous("GET", "/shared/open", b"").await.expect(200).body, b"b");
    assert_eq!(other.get("/shared/open").await.expect(200).body, b"b");
    assert_eq!(other.get("/shared/known").await.expect(200).body, b"c");
    s3.anonymous("GET", "/shared/known", b"").await.expect_error(403, "AccessDenied");
    other.get("/shared/open?acl").await.expect_error(403, "AccessDenied");
    other.put("/shared/open", &[], b"x").await.expect_error(403, "AccessDenied");
    // A user of the owner's account has what its own policies give it, and what everybody has.
    s3.with_key(ANN_KEY).get("/shared/open").await.expect_error(403, "AccessDenied");

    s3.put("/shared?acl", &[("x-amz-acl", "public-read")], b"").await.expect(200);
    let listed = s3.anonymous("GET", "/shared?list-type=2", b"").await.expect(200);
    assert_eq!(listed.elements("Key").len(), 3);
    // Whoever may list may know that a key is not there.
    s3.anonymous("GET", "/shared/missing", b"").await.expect_error(404, "NoSuchKey");
    other.put("/shared/new", &[], b"x").await.expect_error(403, "AccessDenied");
    let acl = s3.get("/shared?acl").await.expect(200);
    assert_eq!(acl.elements("Permission"), ["READ", "FULL_CONTROL"]);
    s3.put("/shared?acl", &[("x-amz-acl", "private")], b"").await.expect(200);
    s3.anonymous("GET", "/shared?list-type=2", b"").await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_owns() {
    let (_node, s3, other) = enabled().await;
    s3.put("/shared?acl", &[("x-amz-acl", "public-read-write")], b"").await.expect(200);
    other.put("/shared/theirs", &[], b"x").await.expect(200);
    s3.get("/shared/theirs").await.expect_error(403, "AccessDenied");
    s3.get("/shared/theirs?acl").await.expect_error(403, "AccessDenied");
    assert_eq!(other.get("/shared/theirs").await.expect(200).body, b"x");
    assert_eq!(other.get("/shared/theirs?acl").await.expect(200).element("ID"), Some(other_id()));
    other.put("/shared/given", &[("x-amz-acl", "bucket-owner-full-control")], b"y").await.expect(200);
    assert_eq!(s3.get("/shared/given").await.expect(200).body, b"y");
    let given = s3.get("/shared/given?acl").await.expect(200);
    assert_eq!(given.elements("Permission"), ["FULL_CONTROL", "FULL_CONTROL"]);
    s3.anonymous("PUT", "/shared/nobodys", b"z").await.expect(200);
    assert_eq!(s3.get("/shared/nobodys").await.expect(200).body, b"z");
    // The bucket's owner may always delete.
    s3.send("DELETE", "/shared/theirs", &[], b"").await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_by_header_and_document() {
    let (_node, s3, other) = enabled().await;
    let id = format!("id=\"{}\"", other_id());
    s3.put("/shared/k", &[("x-amz-grant-read", &id)], b"x").await.expect(200);
    other.get("/shared/k").await.expect(200);
    s3.put("/shared/k", &[("x-amz-grant-read", "emailAddress=\"other@example.com\"")], b"x").await.expect(200);
    other.get("/shared/k").await.expect(200);
    let by_id = format!("xsi:type=\"CanonicalUser\"><ID>{}</ID>", other_id());
    s3.put("/shared/k?acl", &[], document(&[(&by_id, "READ_ACP")]).as_bytes()).await.expect(200);
    other.get("/shared/k").await.expect_error(403, "AccessDenied");
    other.get("/shared/k?acl").await.expect(200);
    s3.put("/shared?acl", &[], document(&[(&by_id, "WRITE")]).as_bytes()).await.expect(200);
    other.put("/shared/new", &[], b"x").await.expect(200);
    other.get("/shared?list-type=2").await.expect_error(403, "AccessDenied");

    let stranger = "xsi:type=\"CanonicalUser\"><ID>_foo</ID>";
    s3.put("/shared?acl", &[], document(&[(stranger, "READ")]).as_bytes()).await.expect_error(400, "InvalidArgument");
    let lost = "xsi:type=\"AmazonCustomerByEmail\"><EmailAddress>no@example.com</EmailAddress>";
    let refused = s3.put("/shared?acl", &[], document(&[(lost, "READ")]).as_bytes()).await;
    refused.expect_error(400, "UnresolvableGrantByEmailAddress");
    let both = [("x-amz-acl", "private"), ("x-amz-grant-read", id.as_str())];
    s3.put("/shared/k", &both, b"").await.expect_error(400, "InvalidRequest");
    s3.put("/shared?acl", &[], b"").await.expect_error(400, "MissingSecurityHeader");
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_switches_lists_off() {
    let (_node, s3, other) = enabled().await;
    s3.put("/shared/k", &[("x-amz-acl", "public-read")], b"x").await.expect(200);
    s3.put("/shared?acl", &[("x-amz-acl", "public-read")], b"").await.expect(200);
    let enforced = b"<OwnershipControls xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ObjectOwnership>\
                     BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>";
    let refused = s3.put("/shared?ownershipControls", &[], enforced).await;
    refused.expect_error(400, "InvalidBucketAclWithObjectOwnership");
    s3.put("/shared?acl", &[("x-amz-acl", "private")], b"").await.expect(200);
    s3.put("/shared?ownershipControls", &[], enforced).await.expect(200);
    other.get("/shared/k").await.expect_error(403, "AccessDenied");
    let code = "AccessControlListNotSupported";
    s3.put("/shared/k", &[("x-amz-acl", "public-read")], b"x").await.expect_error(400, code);
    s3.put("/shared?acl", &[("x-amz-acl", "public-read")], b"").await.expect_error(400, code);
    s3.put("/shared/k", &[("x-amz-acl", "bucket-owner-full-control")], b"x").await.expect(200);

    let strict = [("x-amz-object-ownership", "BucketOwnerEnforced")];
    s3.put("/strict", &strict, b"").await.expect(200);
    let told = s3.get("/strict?ownershipControls").await.expect(200);
    assert_eq!(told.element("ObjectOwnership").as_deref(), Some("BucketOwnerEnforced"));
    let wrong = [("x-amz-object-ownership", "BucketOwnerEnforced"), ("x-amz-acl", "public-read")];
    s3.put("/wrong", &wrong, b"").await.expect_error(400, code);
    s3.put("/open", &[("x-amz-acl", "public-read")], b"").await.expect(200);
    s3.anonymous("GET", "/open?list-type=2", b"").await.expect(200);
    s3.put("/open", &[], b"").await.expect_error(409, "BucketAlreadyExists");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_access_block_holds_against_lists() {
    let (_node, s3, other) = enabled().await;
    s3.put("/shared/k", &[("x-amz-acl", "public-read")], b"x").await.expect(200);
    other.get("/shared/k").await.expect(200);
    let block = |name: &str| {
        format!(
            "<PublicAccessBlockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><{name}>true</{name}>\
             </PublicAccessBlockConfiguration>"
        )
    };
    s3.put("/shared?publicAccessBlock", &[], block("BlockPublicAcls").as_bytes()).await.expect(200);
    other.get("/shared/k").await.expect(200);
    for acl in ["public-read", "public-read-write", "authenticated-read"] {
        s3.put("/shared?acl", &[("x-amz-acl", acl)], b"").await.expect_error(403, "AccessDenied");
        s3.put("/shared/new", &[("x-amz-acl", acl)], b"").await.expect_error(403, "AccessDenied");
    }
    s3.put("/shared/new", &[("x-amz-acl", "private")], b"").await.expect(200);
    s3.put("/shared?publicAccessBlock", &[], block("IgnorePublicAcls").as_bytes()).await.expect(200);
    other.get("/shared/k").await.expect_error(403, "AccessDenied");
}
