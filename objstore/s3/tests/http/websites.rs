//! Websites of buckets, as a browser visits them.

use crate::client::{Answer, Client};
use crate::node::start;

const SITE: &str = "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument>\
    <ErrorDocument><Key>errors/sorry.html</Key></ErrorDocument><RoutingRules>\
    <RoutingRule><Condition><KeyPrefixEquals>old/</KeyPrefixEquals></Condition>\
    <Redirect><ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith></Redirect></RoutingRule>\
    <RoutingRule><Condition><HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals>\
    <KeyPrefixEquals>lost/</KeyPrefixEquals></Condition><Redirect><HostName>found.test</HostName>\
    <Protocol>https</Protocol><HttpRedirectCode>307</HttpRedirectCode></Redirect></RoutingRule>\
    </RoutingRules></WebsiteConfiguration>";

async fn site(s3: &Client, bucket: &str, document: &str) {
    s3.put(&format!("/{bucket}"), &[], b"").await.expect(200);
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::{bucket}/*"}}, {{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::{bucket}/secret*",
            "Condition": {{"StringNotEquals": {{"aws:PrincipalType": "Account"}}}}}}]}}"#
    );
    s3.put(&format!("/{bucket}?policy"), &[], policy.as_bytes()).await.expect(204);
    s3.put(&format!("/{bucket}?website"), &[], document.as_bytes()).await.expect(200);
    for (key, body) in [("index.html", "home"), ("docs/index.html", "docs"), ("page", "a page"), ("secret", "secret")] {
        s3.put(&format!("/{bucket}/{key}"), &[("content-type", "text/html")], body.as_bytes()).await.expect(200);
    }
}

async fn visit(s3: &Client, method: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("host", host)];
    all.extend_from_slice(headers);
    s3.anonymous_with(method, path, &all, b"").await
}

async fn get(s3: &Client, host: &str, path: &str) -> Answer {
    visit(s3, "GET", host, path, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_folders_errors_and_redirects() {
    let (_node, s3) = start().await;
    let host = "shop.web.test";
    site(&s3, "shop", SITE).await;
    for (path, body) in [("/", "home"), ("/docs/", "docs"), ("/page", "a page"), ("/page?versionId=x&acl", "a page")] {
        let shown = get(&s3, host, path).await.expect(200);
        assert_eq!((shown.text().as_str(), shown.header("content-type")), (body, Some("text/html")), "{path}");
    }
    let head = visit(&s3, "HEAD", host, "/page", &[]).await.expect(200);
    assert_eq!((head.header("content-length"), head.body.len()), (Some("6"), 0));
    let part = visit(&s3, "GET", host, "/page", &[("range", "bytes=2-5")]).await.expect(206);
    assert_eq!(part.text(), "page");
    let etag = head.header("etag").expect("a tag").to_owned();
    visit(&s3, "GET", host, "/page", &[("if-none-match", &etag)]).await.expect(304);
    // A signature counts for nothing here.
    let forged = [("authorization", "AWS4-HMAC-SHA256 nonsense"), ("x-amz-date", "now")];
    visit(&s3, "GET", host, "/page", &forged).await.expect(200);

    for (path, status, location) in [
        ("/docs", 302, "/docs/"),
        ("/old/a%20b", 301, "http://shop.web.test/new/a%20b"),
        ("/lost/x", 307, "https://found.test/lost/x"),
    ] {
        let moved = get(&s3, host, path).await.expect(status);
        assert_eq!(moved.header("location"), Some(location), "{path}");
    }
    s3.put("/shop/here", &[("x-amz-website-redirect-location", "/page")], b"").await.expect(200);
    let moved = get(&s3, host, "/here").await.expect(301);
    assert_eq!((moved.header("location"), moved.body.len()), (Some("/page"), 0));

    // The site's own page about errors is missing, then is there.
    let missing = get(&s3, host, "/none").await.expect(404);
    assert_eq!(missing.header("x-amz-error-code"), Some("NoSuchKey"));
    assert!(missing.text().contains("Custom Error Document"), "{}", missing.text());
    s3.put("/shop/errors/sorry.html", &[], b"sorry").await.expect(200);
    let missing = visit(&s3, "GET", host, "/none", &[("range", "bytes=0-0")]).await.expect(404);
    assert_eq!(missing.text(), "sorry");
    let refused = get(&s3, host, "/secret").await.expect(403);
    assert_eq!((refused.text().as_str(), refused.header("x-amz-error-code")), ("sorry", Some("AccessDenied")));
    for method in ["PUT", "POST", "DELETE"] {
        let refused = visit(&s3, method, host, "/page", &[]).await.expect(405);
        assert!(refused.text().contains("<li>Code: MethodNotAllowed</li>"), "{}", refused.text());
    }
    s3.get("/shop/page").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_name_buckets() {
    let (_node, s3) = start().await;
    let plain =
        "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument></WebsiteConfiguration>";
    site(&s3, "www.own.test", plain).await;
    site(&s3, "blog.web.test", plain).await;
    for host in ["www.own.test", "WWW.Own.Test:8080", "blog.web.test"] {
        assert_eq!(get(&s3, host, "/").await.expect(200).text(), "home", "{host}");
    }
    let all = "<WebsiteConfiguration><RedirectAllRequestsTo><HostName>new.test</HostName><Protocol>https</Protocol>\
               </RedirectAllRequestsTo></WebsiteConfiguration>";
    site(&s3, "moved", all).await;
    let moved = get(&s3, "moved.web.test", "/a/b?c=d").await.expect(301);
    assert_eq!(moved.header("location"), Some("https://new.test/a/b?c=d"));

    s3.put("/plain", &[], b"").await.expect(200);
    for (host, code) in [
        ("plain.web.test", "NoSuchWebsiteConfiguration"),
        ("none.web.test", "NoSuchBucket"),
        ("No_Bucket.web.test", "NoSuchBucket"),
    ] {
        let refused = get(&s3, host, "/").await.expect(404);
        assert_eq!(refused.header("x-amz-error-code"), Some(code), "{host}");
        assert!(refused.text().contains("<h1>404 Not Found</h1>"), "{}", refused.text());
    }
    let script = get(&s3, "blog.web.test", "/%3Cscript%3E").await.expect(404);
    assert!(script.text().contains("&lt;script&gt;") && !script.text().contains("<script>"), "{}", script.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_of_other_origins_are_told() {
    let (_node, s3) = start().await;
    site(&s3, "shop", SITE).await;
    let cors = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://a.test\
                </AllowedOrigin></CORSRule></CORSConfiguration>";
    s3.put("/shop?cors", &[], cors.as_bytes()).await.expect(200);
    let origin = [("origin", "https://a.test"), ("access-control-request-method", "GET")];
    for (method, path, status) in [("OPTIONS", "/page", 200), ("GET", "/page", 200), ("GET", "/none", 404)] {
        let told = visit(&s3, method, "shop.web.test", path, &origin).await.expect(status);
        assert_eq!(told.header("access-control-allow-origin"), Some("https://a.test"), "{method} {path}");
    }
}
