use http::header::{HOST, HeaderMap, HeaderValue};
use http::{Uri, Version};

use super::{Domains, Target};
use crate::error::ApiError;

fn parse_on(host: &'static str, uri: &str) -> Result<Target, ApiError> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static(host));
    let base = ["s3.example.org".to_owned(), "example.org".to_owned()];
    let website = ["web.example.org".to_owned(), "www.own.test".to_owned()];
    let domains = Domains { base: &base, website: &website };
    Target::parse(&uri.parse::<Uri>().unwrap(), Version::HTTP_11, &headers, domains)
}

fn named(host: &'static str, uri: &str) -> (Option<String>, Option<String>) {
    let target = parse_on(host, uri).unwrap();
    (target.bucket, target.key)
}

fn owned(bucket: &str, key: &str) -> (Option<String>, Option<String>) {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (some(bucket), some(key))
}

#[test]
fn path_style_splits_at_the_first_slash() {
    for (uri, bucket, key) in [
        ("/", "", ""),
        ("/bucket", "bucket", ""),
        ("/bucket/", "bucket", ""),
        ("/bucket/key", "bucket", "key"),
        ("/bucket//key", "bucket", "/key"),
        ("/bucket/a/../b/./c//", "bucket", "a/../b/./c//"),
        ("/bucket/a+b%20c%2Bd", "bucket", "a+b c+d"),
        ("/bucket/a%2Fb%252F", "bucket", "a/b%2F"),
        ("/bucket/%E2%82%AC", "bucket", "\u{20ac}"),
    ] {
        assert_eq!(named("localhost:9000", uri), owned(bucket, key), "{uri}");
    }
}

#[test]
fn buckets_below_a_base_domain_are_host_names() {
    assert_eq!(named("photos.s3.example.org", "/a/b"), owned("photos", "a/b"));
    assert_eq!(named("Photos.S3.example.org:9000", "//a"), owned("photos", "/a"));
    assert_eq!(named("a.b.s3.example.org", "/"), owned("a.b", ""));
    assert_eq!(named("s3.example.org", "/photos/a"), owned("photos", "a"));
    assert_eq!(named("notexample.org", "/photos/a"), owned("photos", "a"));
    assert_eq!(named("[::1]:9000", "/photos/a"), owned("photos", "a"));
}

#[test]
fn what_cannot_be_decoded_is_refused() {
    for uri in ["/b/%", "/b/%1", "/b/%zz", "/b/%ff", "/b/a%00b", "/%c0%af/k", "/b?prefix=%ff", "/b?a%0=1"] {
        assert_eq!(parse_on("h", uri).unwrap_err().code, "InvalidURI", "{uri}");
    }
}

#[test]
fn bucket_names_with_a_slash_are_no_path() {
    let error = parse_on("h", "/bucket%2Fkey").unwrap().check().unwrap_err();
    assert_eq!(error.code, "InvalidBucketName");
    assert_eq!(parse_on("h", "//key").unwrap().check().unwrap_err().code, "InvalidBucketName");
}

#[test]
fn long_keys_are_refused() {
    let key = "%E2%82%AC".repeat(341);
    assert!(parse_on("h", &format!("/b/{key}a")).unwrap().check().is_ok(), "1,024 bytes");
    assert_eq!(parse_on("h", &format!("/b/{key}aa")).unwrap().check().unwrap_err().code, "KeyTooLongError");
}

#[test]
fn queries_keep_order_and_duplicates() {
    let target = parse_on("h", "/b?b=1&a&b=2+3&c=%2B&&=x").unwrap();
    let pairs: Vec<(&str, &str)> = target.query.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(pairs, [("b", "1"), ("a", ""), ("b", "2 3"), ("c", "+"), ("", "x")]);
}

#[test]
fn hosts_must_agree() {
    let uri: Uri = "http://other/b".parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("h"));
    assert_eq!(Target::parse(&uri, Version::HTTP_11, &headers, Domains::default()).unwrap_err().code, "InvalidRequest");
    headers.insert(HOST, HeaderValue::from_static("other"));
    assert!(Target::parse(&uri, Version::HTTP_11, &headers, Domains::default()).is_ok());
    headers.append(HOST, HeaderValue::from_static("other"));
    assert_eq!(Target::parse(&uri, Version::HTTP_11, &headers, Domains::default()).unwrap_err().code, "InvalidRequest");
    assert!(Target::parse(&"/b".parse().unwrap(), Version::HTTP_11, &HeaderMap::new(), Domains::default()).is_err());
}

#[test]
fn websites_have_domains_of_their_own() {
    for (host, bucket, website) in [
        ("shop.web.example.org:8080", "shop", true),
        ("SHOP.Web.Example.Org", "shop", true),
        ("a.b.web.example.org", "a.b", true),
        ("web.example.org", "web.example.org", true),
        ("www.own.test", "www.own.test", true),
        ("blog.www.own.test", "blog", true),
        ("shop.example.org", "shop", false),
        ("web.s3.example.org", "web", false),
    ] {
        let target = parse_on(host, "/key").unwrap();
        assert_eq!((target.bucket.as_deref(), target.website), (Some(bucket), website), "{host}");
        assert_eq!(target.key.as_deref(), Some("key"));
    }
    for host in ["other.test", "example.org", "xweb.test", "notwww.own.tests"] {
        assert!(!parse_on(host, "/b/k").unwrap().website, "{host}");
    }
}
