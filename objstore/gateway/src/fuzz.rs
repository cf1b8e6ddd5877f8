//! What a fuzzer drives of this crate (`tests/fuzz`): each function takes any bytes, and panics where something is
//! wrong. Only tests and fuzzers are compiled with it.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::executor::block_on;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};

use crate::api::{Caller, Credential, CredentialRefusal, Credentials, Principal, Secret};
use crate::auth::{Authenticator, Head, Scheme, SignatureHex, SigningKey};
use crate::body::{BodyError, ChunkDecoder, ChunkPlan, ChunkSigner, RequestBody, Source};
use crate::form;
use crate::target::{Domains, Target};

/// 2013-05-24T00:00:00Z, the time of the examples of AWS, from which the seeds are made.
const NOW: u64 = 1_369_353_600;
/// Nothing that is signed with it is among the seeds.
const SECRET: &str = "a secret that no seed was signed with";
const FORM_BOUNDARY: &str = "b";

struct OneKey;

#[async_trait]
impl Credentials for OneKey {
    async fn lookup(&self, _access_key: &str, token: Option<&str>) -> Result<Credential, CredentialRefusal> {
        match token {
            None | Some("token") => Ok(Credential::new(SECRET, Principal::account_root("123456789012", "u", "root"))),
            Some(_) => Err(CredentialRefusal::InvalidToken),
        }
    }
}

/// What came out of a framed body, and how it ended.
fn decoded(data: &[u8], plan: ChunkPlan, piece: usize) -> (Vec<u8>, Result<HeaderMap, BodyError>) {
    let mut decoder = ChunkDecoder::new(plan);
    let mut out = Vec::new();
    for part in data.chunks(piece) {
        let mut input = Bytes::copy_from_slice(part);
        while !input.is_empty() {
            match decoder.decode(&mut input) {
                Ok(Some(bytes)) => out.extend_from_slice(&bytes),
                Ok(None) => {}
                Err(error) => return (out, Err(error)),
            }
        }
    }
    (out, decoder.finish())
}

/// The `aws-chunked` framing: where the bytes are cut makes no difference, and no signed body is taken that was not
/// signed with the key.
pub fn chunked(data: &[u8]) {
    let [flags, piece, rest @ ..] = data else { return };
    let signed = flags & 1 != 0;
    let plan = || {
        let key = SigningKey::derive(&Secret::from(SECRET), "20130524", "us-east-1", "s3");
        let signer = ChunkSigner::new(key, "20130524T000000Z", "s", SignatureHex::of(&[7; 32]));
        let trailers = (flags & 2 != 0).then(|| vec![HeaderName::from_static("x-amz-checksum-crc32c")]);
        ChunkPlan { signer: signed.then_some(signer), trailers, decoded_length: u64::from(flags >> 2) }
    };
    let (whole, end) = decoded(rest, plan(), rest.len().max(1));
    let (pieces, end_of_pieces) = decoded(rest, plan(), usize::from(*piece).max(1));
    assert_eq!(end.is_ok(), end_of_pieces.is_ok(), "cutting decides whether the body is whole");
    if let (Ok(trailers), Ok(others)) = (&end, &end_of_pieces) {
        assert!(whole == pieces && trailers == others, "cutting changes the body");
        assert!(!signed, "a forged body was taken");
    }
}

/// A request's head: the first line is method and target, each further one a header.
fn authenticate(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (method, uri) = first.split_once(' ').unwrap_or(("GET", &first));
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), uri.parse::<Uri>()) else { return };
    let mut headers = HeaderMap::new();
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let domains = ["s3.amazonaws.com".to_owned()];
    let Ok(target) = Target::parse(&uri, Version::HTTP_11, &headers, Domains { base: &domains, website: &[] }) else {
        return;
    };
    // What storage is given and what was signed are one: it holds no NUL, and encoding it again gives it back.
    for part in target.bucket.iter().chain(&target.key) {
        assert!(!part.contains('\0'), "a NUL in {part:?}");
    }
    // Any verdict will do, as long as there is one.
    let _ = target.check();
    let authenticator = Authenticator::new("us-east-1".to_owned(), true);
    let head = Head { method: &method, target: &target, headers: &headers };
    let Ok(scheme) = authenticator.scheme(&head) else { return };
    if let Scheme::V4(claim) = &scheme
        && authenticator.check_scope(claim, &["iam", "sts"]).is_err()
    {
        return;
    }
    if let Ok(verified) = block_on(authenticator.verify(&scheme, &head, &OneKey, NOW, None)) {
        assert_eq!(verified.caller, Caller::Anonymous, "a forged signature was taken");
        assert!(matches!(scheme, Scheme::Anonymous), "a signature was passed over");
    }
}

/// Signatures in headers, and the canonical form of what they sign.
pub fn sigv4_header(data: &[u8]) {
    authenticate(data);
}

/// Presigned requests: the bytes are the target of one, with a few headers.
pub fn sigv4_query(data: &[u8]) {
    authenticate(&[b"GET ".as_slice(), data].concat());
}

/// The form of a browser's upload, in pieces; the first byte says how long they are.
pub fn form(data: &[u8]) {
    let [piece, rest @ ..] = data else { return };
    let outcome = |size: usize| {
        let pieces = rest.chunks(size.max(1)).map(Bytes::copy_from_slice).collect();
        let body = RequestBody::new(Source::pieces(pieces), None);
        let headers = HeaderMap::new();
        let sent = form::Sent { boundary: FORM_BOUNDARY, bucket: "bucket", headers: &headers };
        let authenticator = Authenticator::new("us-east-1".to_owned(), true);
        block_on(async {
            let mut verified = form::verify(&authenticator, &OneKey, NOW, sent, body).await.ok()?;
            assert_eq!(verified.caller, Caller::Anonymous, "a forged form was taken");
            let mut file = Vec::new();
            while let Some(piece) = verified.body.next().await {
                file.extend_from_slice(&piece.ok()?);
            }
            Some((verified.key, file))
        })
    };
    assert_eq!(outcome(usize::from(*piece)), outcome(rest.len()), "cutting changes the form");
}

/// The policy of a form, and a few fields to check by it.
pub fn form_policy(data: &[u8]) {
    let Ok(policy) = form::FormPolicy::parse(&STANDARD.encode(data)) else { return };
    let fields = [("key", "a/b"), ("bucket", "bucket"), ("acl", "private"), ("x-amz-date", "20130524T000000Z")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    // Any verdict will do, as long as there is one.
    let _ = policy.check(&fields, NOW);
}

#[cfg(test)]
mod tests {
    /// Runs `target` over what is kept of it.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = format!("{}/../../tests/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).expect("the corpus is in the tree") {
            target(&std::fs::read(entry.expect("an entry").path()).expect("an input"));
            inputs += 1;
        }
        assert!(inputs > 0, "{folder} is empty");
        println!("{name}: {inputs} inputs");
    }

    #[test]
    fn the_corpora_pass() {
        replay("chunked", super::chunked);
        replay("sigv4_header", super::sigv4_header);
        replay("sigv4_query", super::sigv4_query);
        replay("form", super::form);
        replay("form_policy", super::form_policy);
    }
}
