//! Configuration documents of buckets over HTTP, and the answers to browsers of other origins.

use crate::node::start;

/// Sub-resource, document, and the elements that a read of it must have.
type Example = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const DOCUMENTS: [Example; 9] = [
    (
        "cors",
        "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://*.example\
         </AllowedOrigin><ExposeHeader>ETag</ExposeHeader></CORSRule></CORSConfiguration>",
        &[("AllowedMethod", "GET"), ("AllowedOrigin", "https://*.example"), ("ExposeHeader", "ETag")],
    ),
    ("tagging", "<Tagging><TagSet><Tag><Key>a + b</Key><Value>1</Value></Tag></TagSet></Tagging>", &[("Key", "a + b")]),
    (
        "website",
        "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument><RoutingRules><RoutingRule>\
         <Redirect><ReplaceKeyWith>x</ReplaceKeyWith></Redirect></RoutingRule></RoutingRules></WebsiteConfiguration>",
        &[("Suffix", "index.html"), ("ReplaceKeyWith", "x")],
    ),
    (
        "encryption",
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256\
         </SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
        &[("SSEAlgorithm", "AES256"), ("BucketKeyEnabled", "false")],
    ),
    (
        "ownershipControls",
        "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
        &[("ObjectOwnership", "ObjectWriter")],
    ),
    (
        "publicAccessBlock",
        "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>",
        &[("BlockPublicAcls", "true"), ("BlockPublicPolicy", "false")],
    ),
    (
        "requestPayment",
        "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>",
        &[("Payer", "Requester")],
    ),
    (
        "accelerate",
        "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>",
        &[("Status", "Enabled")],
    ),
    ("abac", "<AbacStatus><Status>Enabled</Status></AbacStatus>", &[("Status", "Enabled")]),
];

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_kept_and_read_and_deleted() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    for (name, document, elements) in DOCUMENTS {
        let target = format!("/one?{name}");
        s3.put(&format!("/none?{name}"), &[], document.as_bytes()).await.expect_error(404, "NoSuchBucket");
        s3.put(&target, &[], b"<Nonsense/>").await.expect_error(400, "MalformedXML");
        let kept = s3.put(&target, &[], document.as_bytes()).await;
        assert!([200, 204].contains(&kept.status), "{name}: {}", kept.text());
        let read = s3.get(&target).await.expect(200);
        for (element, value) in elements {
            assert_eq!(read.element(element).as_deref(), Some(*value), "{name}: {}", read.text());
        }
        // What was read can be put again.
        let again = s3.put(&target, &[], &read.body).await;
        assert_eq!(again.status, kept.status, "{name}: {}", again.text());
        assert_eq!(s3.get(&target).await.expect(200).body, read.body);
        if !["requestPayment", "accelerate", "abac"].contains(&name) {
            s3.send("DELETE", &target, &[], b"").await.expect(204);
            s3.send("DELETE", &target, &[], b"").await.expect(204);
            s3.get(&target).await.expect(404);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_set_of_tags_takes_all_tags_away() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    s3.put("/one/k", &[("x-amz-tagging", "a=b")], b"x").await.expect(200);
    let tag = b"<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    s3.put("/one?tagging", &[], tag).await.expect(204);
    for target in ["/one?tagging", "/one/k?tagging"] {
        s3.put(target, &[], b"<Tagging/>").await.expect_error(400, "MalformedXML");
        assert!(s3.get(target).await.expect(200).element("Key").is_some(), "{target}");
    }
    let none = b"<Tagging><TagSet/></Tagging>";
    s3.put("/one?tagging", &[], none).await.expect(204);
    s3.get("/one?tagging").await.expect_error(404, "NoSuchTagSet");
    s3.put("/one/k?tagging", &[], none).await.expect(200);
    assert_eq!(s3.get("/one/k?tagging").await.expect(200).element("Key"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_refused() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let rule = |inner: &str| format!("<CORSConfiguration><CORSRule>{inner}</CORSRule></CORSConfiguration>");
    let website = |inner: &str| format!("<WebsiteConfiguration>{inner}</WebsiteConfiguration>");
    let tags = |inner: &str| format!("<Tagging><TagSet>{inner}</TagSet></Tagging>");
    let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
    let origin = "<AllowedOrigin>*</AllowedOrigin>";
    let index = "<IndexDocument><Suffix>i</Suffix></IndexDocument>";
    let sse = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256\
               </SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule>\
               </ServerSideEncryptionConfiguration>";
    let event = "<NotificationConfiguration><TopicConfiguration><Topic>t</Topic><Event>s3:ObjectCreated:*</Event>\
                 </TopicConfiguration></NotificationConfiguration>";
    for (name, document, status, code) in [
        ("cors", rule(&format!("<AllowedMethod>PATCH</AllowedMethod>{origin}")), 400, "InvalidRequest"),
        ("cors", rule("<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*a*</AllowedOrigin>"), 400, "InvalidRequest"),
        ("cors", rule("<AllowedMethod>GET</AllowedMethod>"), 400, "MalformedXML"),
        ("tagging", tags(&tag.repeat(2)), 400, "InvalidTag"),
        ("tagging", tags("<Tag><Key></Key><Value>v</Value></Tag>"), 400, "InvalidTag"),
        ("website", website(""), 400, "InvalidArgument"),
        ("website", website("<IndexDocument><Suffix>a/b</Suffix></IndexDocument>"), 400, "InvalidArgument"),
        (
            "website",
            website(&format!(
                "{index}<RoutingRules><RoutingRule><Redirect><HttpRedirectCode>200</HttpRedirectCode></Redirect>\
                 </RoutingRule></RoutingRules>"
            )),
            400,
            "InvalidRequest",
        ),
        ("encryption", sse.to_owned(), 400, "InvalidArgument"),
        ("notification", event.to_owned(), 501, "NotImplemented"),
        ("policy", "[]".to_owned(), 400, "MalformedPolicy"),
        ("policy", policy("two"), 400, "MalformedPolicy"),
    ] {
        let answer = s3.put(&format!("/one?{name}"), &[], document.as_bytes()).await;
        assert_eq!((answer.status, answer.element("Code").as_deref()), (status, Some(code)), "{document}");
    }
    s3.put("/one?notification", &[], b"<NotificationConfiguration/>").await.expect(200);
    s3.put("/one?logging", &[], b"<BucketLoggingStatus/>").await.expect(200);
}

fn policy(bucket: &str) -> String {
    format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Principal\":\"*\",\
         \"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::{bucket}/*\"}}]}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_read_as_it_was_put() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    assert_eq!(s3.get("/one?policyStatus").await.expect(200).element("IsPublic").as_deref(), Some("false"));
    s3.put("/one?policy", &[], policy("one").as_bytes()).await.expect(204);
    let read = s3.get("/one?policy").await.expect(200);
    assert_eq!((read.header("content-type"), read.text()), (Some("application/json"), policy("one")));
    assert_eq!(s3.get("/one?policyStatus").await.expect(200).element("IsPublic").as_deref(), Some("true"));
    s3.send("DELETE", "/one?policy", &[], b"").await.expect(204);
    let block =
        b"<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>";
    s3.put("/one?publicAccessBlock", &[], block).await.expect(200);
    s3.put("/one?policy", &[], policy("one").as_bytes()).await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_what_their_pages_may_see() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let ask = |target: &'static str, headers: Vec<(&'static str, &'static str)>| {
        let s3 = &s3;
        async move { s3.anonymous_with("OPTIONS", target, &headers, b"").await }
    };
    let origin = ("origin", "https://a.example");
    let method = ("access-control-request-method", "GET");
    ask("/one/k", vec![]).await.expect_error(400, "BadRequest");
    ask("/one/k", vec![origin]).await.expect_error(400, "BadRequest");
    ask("/one/k", vec![origin, method]).await.expect_error(403, "AccessForbidden");
    ask("/none/k", vec![origin, method]).await.expect_error(403, "AccessForbidden");
    let (_, document, _) = DOCUMENTS[0];
    s3.put("/one?cors", &[], document.as_bytes()).await.expect(200);
    let allowed = ask("/one/k", vec![origin, method]).await.expect(200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(allowed.header("access-control-allow-methods"), Some("GET"));
    assert!(allowed.header("vary").is_some_and(|vary| vary.contains("Origin")));
    // The URL of the request that follows may be signed, for another method than OPTIONS.
    let presigned = "/one/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0";
    ask(presigned, vec![origin, method]).await.expect(200);
    ask("/one/k", vec![("origin", "https://a.other"), method]).await.expect_error(403, "AccessForbidden");
    ask("/one/k", vec![origin, ("access-control-request-method", "PUT")]).await.expect_error(403, "AccessForbidden");
    let missing = s3.send("GET", "/one/k", &[origin], b"").await.expect_error(404, "NoSuchKey");
    assert_eq!(missing.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(missing.header("access-control-expose-headers"), Some("ETag"));
    let other = s3.send("GET", "/one/k", &[("origin", "https://a.other")], b"").await.expect(404);
    assert_eq!(other.header("access-control-allow-origin"), None);
}

/// What the gateway refuses by itself is told to the pages that may see it.
#[tokio::test(flavor = "multi_thread")]
async fn refused_signatures_are_told_to_other_origins() {
    let (_node, s3) = start().await;
    s3.put("/one", &[], b"").await.expect(200);
    let cors = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://a.test\
                </AllowedOrigin></CORSRule></CORSConfiguration>";
    s3.put("/one?cors", &[], cors.as_bytes()).await.expect(200);
    let stranger = s3.with_key("AKIANOBODY");
    for (origin, told) in [("https://a.test", Some("https://a.test")), ("https://b.test", None)] {
        let refused = stranger.send("GET", "/one/k", &[("origin", origin)], b"").await;
        let refused = refused.expect_error(403, "InvalidAccessKeyId");
        assert_eq!(refused.header("access-control-allow-origin"), told, "{origin}");
        assert!(refused.header("vary").is_some());
    }
    let refused = stranger.send("GET", "/none/k", &[("origin", "https://a.test")], b"").await.expect(403);
    assert_eq!(refused.header("access-control-allow-origin"), None);
}

/// Callers from outside have to say that they pay.
#[tokio::test(flavor = "multi_thread")]
async fn requesters_pay() {
    let (_node, s3) = start().await;
    s3.put("/one", &[("x-amz-acl", "public-read")], b"").await.expect(200);
    s3.put("/one/k", &[("x-amz-acl", "public-read")], b"k").await.expect(200);
    let other = s3.with_key(crate::people::OTHER_KEY);
    let requester = b"<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>";
    s3.put("/one?requestPayment", &[], requester).await.expect(200);
    for target in ["/one/k", "/one?list-type=2"] {
        other.get(target).await.expect_error(403, "AccessDenied");
        s3.anonymous_with("GET", target, &[("x-amz-request-payer", "requester")], b"").await.expect(403);
        let paid = other.send("GET", target, &[("x-amz-request-payer", "requester")], b"").await.expect(200);
        assert_eq!(paid.header("x-amz-request-charged"), Some("requester"));
        let own = s3.send("GET", target, &[("x-amz-request-payer", "requester")], b"").await.expect(200);
        assert_eq!(own.header("x-amz-request-charged"), None);
        s3.get(target).await.expect(200);
    }
    s3.put("/two", &[], b"").await.expect(200);
    s3.put("/two/mine", &[("x-amz-copy-source", "one/k")], b"").await.expect(200);
}
