//! The examples of the AWS documentation, and what must be refused.

use async_trait::async_trait;
use futures::executor::block_on;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};

use super::{Authenticated, Authenticator, Head};
use crate::api::{AuthKind, Credential, CredentialRefusal, Credentials, Principal, Secret};
use crate::error::ApiError;
use crate::target::{Domains, Target};

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// 2013-05-24T00:00:00Z, the time of the version 4 examples.
const THEN: u64 = 1_369_353_600;
const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F\
    us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&\
    X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

struct Keys(Option<Secret>);

#[async_trait]
impl Credentials for Keys {
    async fn lookup(&self, access_key: &str, token: Option<&str>) -> Result<Credential, CredentialRefusal> {
        let principal = Principal::account_root("123456789012", "u", "root");
        match (&self.0, token) {
            _ if access_key != ACCESS_KEY => Err(CredentialRefusal::UnknownKey),
            (_, Some("old")) => Err(CredentialRefusal::ExpiredToken),
            (None, None) => Ok(Credential::new(SECRET, principal)),
            (Some(known), Some(given)) if known.reveal() == given => Ok(Credential::new(SECRET, principal)),
            _ => Err(CredentialRefusal::InvalidToken),
        }
    }
}

#[derive(Clone)]
struct Call {
    method: Method,
    host: &'static str,
    uri: String,
    headers: Vec<(&'static str, String)>,
    now: u64,
    token: Option<Secret>,
}

impl Call {
    fn new(method: Method, uri: &str, headers: &[(&'static str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let host = "examplebucket.s3.amazonaws.com";
        Self { method, host, uri: uri.to_owned(), headers, now: THEN, token: None }
    }

    fn signed(method: Method, uri: &str, signed: &str, signature: &str, headers: &[(&'static str, &str)]) -> Self {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},\
             Signature={signature}"
        );
        let mut call = Self::new(method, uri, headers);
        call.headers.push(("x-amz-date", "20130524T000000Z".to_owned()));
        call.headers.push(("authorization", authorization));
        call
    }

    fn replace(mut self, from: &str, to: &str) -> Self {
        self.uri = self.uri.replace(from, to);
        for (_, value) in &mut self.headers {
            *value = value.replace(from, to);
        }
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn at(mut self, now: u64) -> Self {
        self.now = now;
        self
    }

    /// Hands `then` the head and what it claims.
    fn read<T>(
        &self,
        authenticator: &Authenticator,
        then: impl FnOnce(&super::Scheme<'_>, &Head<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static(self.host));
        for (name, value) in &self.headers {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let uri: Uri = self.uri.parse().unwrap();
        let domains = ["s3.amazonaws.com".to_owned()];
        let target = Target::parse(&uri, Version::HTTP_11, &headers, Domains { base: &domains, website: &[] })?;
        let head = Head { method: &self.method, target: &target, headers: &headers };
        then(&authenticator.scheme(&head)?, &head)
    }

    fn verify_by(&self, authenticator: &Authenticator) -> Result<Authenticated, ApiError> {
        self.read(authenticator, |scheme, head| {
            if let super::Scheme::V4(claim) = scheme {
                authenticator.check_scope(claim, &[])?;
            }
            block_on(authenticator.verify(scheme, head, &Keys(self.token.clone()), self.now, None))
        })
    }

    fn scoped(&self, authenticator: &Authenticator, served: &[&'static str]) -> Result<(), ApiError> {
        self.read(authenticator, |scheme, _| {
            let super::Scheme::V4(claim) = scheme else { panic!("not of version 4") };
            authenticator.check_scope(claim, served)
        })
    }

    fn verify(&self) -> Result<Authenticated, ApiError> {
        self.verify_by(&Authenticator::new("us-east-1".to_owned(), true))
    }

    fn refused(&self) -> ApiError {
        match self.verify() {
            Ok(_) => panic!("accepted: {} {:?}", self.uri, self.headers),
            Err(error) => error,
        }
    }
}

fn get_object() -> Call {
    Call::signed(
        Method::GET,
        "/test.txt",
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        &[("range", "bytes=0-9"), ("x-amz-content-sha256", EMPTY)],
    )
}

fn put_object() -> Call {
    Call::signed(
        Method::PUT,
        "/test$file.text",
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        &[
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
        ],
    )
}

fn listing(uri: &str, signature: &str) -> Call {
    let signed = "host;x-amz-content-sha256;x-amz-date";
    Call::signed(Method::GET, uri, signed, signature, &[("x-amz-content-sha256", EMPTY)])
}

fn presigned() -> Call {
    Call::new(Method::GET, PRESIGNED, &[])
}

/// `uri` signed as the documentation says, for requests that it has no example of.
fn sign(uri: &str, canonical_path: &str, canonical_query: &str) -> Call {
    let canonical = format!(
        "GET\n{canonical_path}\n{canonical_query}\nhost:examplebucket.s3.amazonaws.com\nx-amz-content-sha256:{EMPTY}\n\
         x-amz-date:20130524T000000Z\n\nhost;x-amz-content-sha256;x-amz-date\n{EMPTY}"
    );
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(canonical));
    let text = format!("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n{digest}");
    let key = super::SigningKey::derive(&Secret::from(SECRET), "20130524", "us-east-1", "s3");
    listing(uri, key.sign(&[text.as_bytes()]).as_str())
}

#[test]
fn the_documented_requests_are_accepted() {
    let documented = [
        get_object(),
        put_object(),
        listing("/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        listing("/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        presigned(),
    ];
    let authenticator = Authenticator::new("us-east-1".to_owned(), false);
    // Twice: the second time with the cached key.
    for call in documented.iter().chain(&documented) {
        let verified = call.verify_by(&authenticator).unwrap_or_else(|error| panic!("{}: {error:?}", call.uri));
        let kind = if call.uri == PRESIGNED { AuthKind::PresignedV4 } else { AuthKind::HeaderV4 };
        assert_eq!(verified.kind, kind);
        assert!(verified.caller.principal().is_some());
    }
}

#[test]
fn version_2_is_accepted_when_it_is_on() {
    let mut header = Call::new(
        Method::GET,
        "/photos/puppy.jpg",
        &[
            ("date", "Tue, 27 Mar 2007 19:36:42 +0000"),
            ("authorization", "AWS AKIAIOSFODNN7EXAMPLE:bWq2s1WEIj+Ydj0vQ697zp+IXMU="),
        ],
    )
    .at(1_175_024_202);
    header.host = "johnsmith.s3.amazonaws.com";
    assert_eq!(header.verify().unwrap().kind, AuthKind::HeaderV2);
    let uri = "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&\
               Expires=1175139620";
    let mut query = Call::new(Method::GET, uri, &[]).at(1_175_024_202);
    query.host = "johnsmith.s3.amazonaws.com";
    assert_eq!(query.verify().unwrap().kind, AuthKind::PresignedV2);

    let added = query.clone().replace("?AWS", "?x-amz-copy-source=other/key&AWS").refused();
    assert_eq!(added.extra, [("HeadersNotSigned", "x-amz-copy-source".to_owned())]);

    let off = Authenticator::new("us-east-1".to_owned(), false);
    for call in [&header, &query] {
        assert_eq!(call.verify_by(&off).err().unwrap().code, "InvalidRequest");
    }
    assert_eq!(query.clone().at(1_175_139_621).refused().code, "AccessDenied");
    assert_eq!(query.clone().replace("puppy", "kitty").refused().code, "SignatureDoesNotMatch");
    assert_eq!(header.clone().at(1_175_024_202 + 901).refused().code, "RequestTimeTooSkewed");
    assert_eq!(header.clone().with("x-amz-meta-a", "b").refused().code, "SignatureDoesNotMatch");
    assert_eq!(header.clone().replace("bWq2", "bWq3").refused().code, "SignatureDoesNotMatch");
}

#[test]
fn every_flipped_digit_of_a_signature_is_refused() {
    for (call, signature) in [
        (get_object(), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        (presigned(), "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"),
    ] {
        for at in 0..signature.len() {
            let mut forged = signature.as_bytes().to_vec();
            forged[at] ^= 1;
            let forged = call.clone().replace(signature, std::str::from_utf8(&forged).unwrap());
            assert_eq!(forged.refused().code, "SignatureDoesNotMatch", "digit {at}");
        }
        assert_eq!(call.clone().replace(signature, "").refused().code, "SignatureDoesNotMatch");
        assert_eq!(call.clone().replace(signature, &signature[..63]).refused().code, "SignatureDoesNotMatch");
    }
}

#[test]
fn whatever_is_changed_is_noticed() {
    for (from, to) in [("/test.txt", "/Test.txt"), ("bytes=0-9", "bytes=0-8"), (EMPTY, &EMPTY.replace('e', "f"))] {
        assert_eq!(get_object().replace(from, to).refused().code, "SignatureDoesNotMatch", "{from}");
    }
    let mut put = get_object();
    put.method = Method::PUT;
    assert_eq!(put.refused().code, "SignatureDoesNotMatch");
    let mut elsewhere = get_object();
    elsewhere.host = "otherbucket.s3.amazonaws.com";
    assert_eq!(elsewhere.refused().code, "SignatureDoesNotMatch");
    assert_eq!(get_object().replace("/test.txt", "/test.txt?acl").refused().code, "SignatureDoesNotMatch");
    assert_eq!(get_object().with("range", "bytes=0-1").refused().code, "SignatureDoesNotMatch", "a second value");
    assert_eq!(presigned().replace("86400", "86401").refused().code, "SignatureDoesNotMatch");
    assert_eq!(presigned().replace("X-Amz-Sig", "versionId=a&X-Amz-Sig").refused().code, "SignatureDoesNotMatch");
}

#[test]
fn a_mismatch_shows_what_was_signed() {
    let error = get_object().replace("/test.txt", "/other").refused();
    let value = |name: &str| error.extra.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str());
    assert_eq!(value("AWSAccessKeyId"), Some(ACCESS_KEY));
    assert!(value("StringToSign").unwrap().starts_with("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/"));
    assert!(value("CanonicalRequest").unwrap().starts_with("GET\n/other\n\nhost:examplebucket.s3.amazonaws.com\n"));
    assert!(!format!("{error:?}").contains(SECRET));
}

#[test]
fn skew_and_expiry_are_held() {
    assert!(get_object().at(THEN + 900).verify().is_ok());
    assert!(get_object().at(THEN - 900).verify().is_ok());
    for now in [THEN + 901, THEN - 901] {
        assert_eq!(get_object().at(now).refused().code, "RequestTimeTooSkewed");
    }
    assert!(presigned().at(THEN + 86_400).verify().is_ok());
    assert!(presigned().at(THEN - 900).verify().is_ok());
    let expired = presigned().at(THEN + 86_401).refused();
    assert_eq!((expired.code.as_ref(), expired.message.as_str()), ("AccessDenied", "Request has expired"));
    assert_eq!(presigned().at(THEN - 901).refused().message, "Request is not yet valid");
    for expires in ["-1", "604801", "99999999999999999999", "1e3", ""] {
        let error = presigned().replace("Expires=86400", &format!("Expires={expires}")).refused();
        assert_eq!(error.code, "AuthorizationQueryParametersError", "{expires}");
    }
}

#[test]
fn unsigned_headers_are_refused() {
    for call in [get_object(), put_object(), presigned()] {
        let error = call.with("x-amz-acl", "public-read").refused();
        assert_eq!(error.message, "There were headers present in the request which were not signed");
        assert_eq!(error.extra, [("HeadersNotSigned", "x-amz-acl".to_owned())]);
    }
    let without_host = get_object().replace("SignedHeaders=host;", "SignedHeaders=").refused();
    assert_eq!(without_host.extra, [("HeadersNotSigned", "host".to_owned())]);
}

#[test]
fn scopes_are_checked_with_the_words_of_aws() {
    let region = get_object().replace("us-east-1", "eu-west-1").refused();
    assert_eq!(region.code, "AuthorizationHeaderMalformed");
    assert_eq!(
        region.message,
        "The authorization header is malformed; the region 'eu-west-1' is wrong; expecting 'us-east-1'"
    );
    assert_eq!(region.extra, [("Region", "us-east-1".to_owned())]);
    // IAM and STS are signed for the region of their own or for the cluster's.
    let authenticator = Authenticator::new("eu-west-1".to_owned(), true);
    for (region, service, is_served) in [
        ("us-east-1", "iam", true),
        ("eu-west-1", "iam", true),
        ("us-west-2", "iam", false),
        ("us-east-1", "sts", true),
        ("us-west-2", "sts", false),
        ("us-east-1", "s3", false),
    ] {
        let call = get_object().replace("us-east-1/s3", &format!("{region}/{service}"));
        let scope = call.scoped(&authenticator, &["iam", "sts"]);
        assert_eq!(scope.is_ok(), is_served, "{region} {service}");
    }
    let query = presigned().replace("us-east-1", "eu-west-1").refused();
    assert_eq!(query.code, "AuthorizationQueryParametersError");
    for (from, to, code) in [
        ("/s3/", "/iam/", "NotImplemented"),
        ("/s3/", "/sts/", "NotImplemented"),
        ("/s3/", "/unknown/", "AuthorizationHeaderMalformed"),
        ("aws4_request", "aws3_request", "AuthorizationHeaderMalformed"),
        ("/20130524/", "/20130523/", "AuthorizationHeaderMalformed"),
        (",Signature=", ",Signatur=", "AuthorizationHeaderMalformed"),
        (",SignedHeaders=host;", ",SignedHeaders=HOST;", "AuthorizationHeaderMalformed"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLF", "InvalidAccessKeyId"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "NotImplemented"),
        ("AWS4-HMAC-SHA256", "Bearer", "InvalidArgument"),
    ] {
        assert_eq!(get_object().replace(from, to).refused().code, code, "{to}");
    }
}

#[test]
fn required_parts_may_not_be_missing_or_doubled() {
    let mut undated = get_object();
    undated.headers.retain(|(name, _)| *name != "x-amz-date");
    assert_eq!(undated.refused().message, "AWS authentication requires a valid Date or x-amz-date header");
    let mut unhashed = get_object();
    unhashed.headers.retain(|(name, _)| *name != "x-amz-content-sha256");
    assert_eq!(unhashed.refused().message, "Missing required header for this request: x-amz-content-sha256");
    for name in ["X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"] {
        let missing = presigned().replace(name, "X-Amz-Other").refused();
        assert_eq!(missing.code, "AuthorizationQueryParametersError", "{name}");
        let doubled = presigned().replace("/test.txt?", &format!("/test.txt?{name}=1&")).refused();
        assert_eq!(doubled.code, "AuthorizationQueryParametersError", "{name}");
    }
    let both = presigned().with("authorization", "AWS4-HMAC-SHA256 Credential=a").refused();
    assert_eq!(both.code, "InvalidArgument");
    assert!(get_object().with("authorization", "AWS4-HMAC-SHA256 x").verify().is_err());
}

#[test]
fn session_tokens_belong_to_their_key() {
    let unknown =
        get_object().replace("x-amz-date,", "x-amz-date;x-amz-security-token,").with("x-amz-security-token", "abc");
    assert_eq!(unknown.refused().code, "InvalidToken");
    let mut missing = get_object();
    missing.token = Some(Secret::from("abc"));
    assert_eq!(missing.refused().code, "InvalidToken");
    let mut wrong = unknown.clone();
    wrong.token = Some(Secret::from("abd"));
    assert_eq!(wrong.refused().code, "InvalidToken");
    assert_eq!(unknown.clone().replace("abc", "old").refused().code, "ExpiredToken");
    let mut right = unknown;
    right.token = Some(Secret::from("abc"));
    assert_eq!(right.refused().code, "SignatureDoesNotMatch", "the token itself is right");
}

#[test]
fn paths_and_queries_match_raw_and_encoded_again() {
    // As AWS writes it, and as clients do that leave characters alone or encode more than needed.
    assert!(sign("/a%20b", "/a%20b", "").verify().is_ok());
    assert!(sign("/a+b=(c)", "/a%2Bb%3D%28c%29", "").verify().is_ok(), "encoded again");
    assert!(sign("/a+b=(c)", "/a+b=(c)", "").verify().is_ok(), "raw");
    assert!(sign("/%e2%82%ac", "/%E2%82%AC", "").verify().is_ok(), "lower-case digits");
    assert!(sign("/a%2Fb", "/a%2Fb", "").verify().is_ok(), "raw");
    assert!(sign("/a//../b", "/a//../b", "").verify().is_ok(), "not normalised");
    assert!(sign("/?prefix=a+b&list-type=2", "/", "list-type=2&prefix=a%20b").verify().is_ok());
    assert!(sign("/?prefix=a/b&list-type=2", "/", "list-type=2&prefix=a/b").verify().is_ok(), "raw");
    assert!(sign("/?a=2&a=1&b", "/", "a=1&a=2&b=").verify().is_ok(), "duplicates sort by value");
    assert_eq!(sign("/a/b", "/a%2Fb", "").refused().code, "SignatureDoesNotMatch");
    assert_eq!(sign("/?a=2&a=1", "/", "a=1").refused().code, "SignatureDoesNotMatch");
}

#[test]
fn a_rotated_secret_is_not_served_from_the_cache() {
    let keys = super::KeyCache::new();
    let text = format!("{ACCESS_KEY}/20130524/us-east-1/s3/aws4_request");
    let scope = super::crypto::Scope::parse(&text).unwrap();
    let old = keys.get(&Secret::from("old"), &scope).sign(&[b"x"]);
    let new = keys.get(&Secret::from("new"), &scope).sign(&[b"x"]);
    assert!(old != new);
    assert!(new == keys.get(&Secret::from("new"), &scope).sign(&[b"x"]));
}

#[test]
#[ignore = "a measurement, not a check of behaviour"]
fn the_cost_of_a_signature() {
    const ROUNDS: u32 = 20_000;
    let authenticator = Authenticator::new("us-east-1".to_owned(), false);
    let call = put_object();
    let started = tokio::time::Instant::now();
    for _ in 0..ROUNDS {
        assert!(call.verify_by(&authenticator).is_ok());
    }
    // Building the request's headers is in it too.
    let each = started.elapsed() / ROUNDS;
    println!("parse and verify: {each:?}");
    assert!(each < std::time::Duration::from_micros(60), "{each:?}");
}
