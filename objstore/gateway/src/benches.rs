//! What the front door costs by itself: signatures and framing. Timed by
//! `cargo xtask cargo test -p karri-objstore-gateway --lib benches -- --ignored --nocapture`: they are inside the crate
//! because what they time is nobody else's.

use std::hint::black_box;

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use futures::executor::block_on;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};
use sha2::{Digest, Sha256};

use crate::api::{Credential, CredentialRefusal, Credentials, Principal, Secret};
use crate::auth::{Authenticator, Head, SignatureHex, SigningKey};
use crate::body::{ChunkDecoder, ChunkPlan, ChunkSigner};
use crate::target::{Domains, Target};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const TIMESTAMP: &str = "20130524T000000Z";
const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
/// The same time in seconds.
const NOW: u64 = 1_369_353_600;
/// AWS's example of a GET with a range.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
    SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
    Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
const CHUNK_BYTES: usize = 64 << 10;
const BODY_BYTES: usize = 1 << 20;
/// What one read of a socket gives.
const PIECE_BYTES: usize = 256 << 10;

struct OneKey;

#[async_trait]
impl Credentials for OneKey {
    async fn lookup(&self, _access_key: &str, _token: Option<&str>) -> Result<Credential, CredentialRefusal> {
        Ok(Credential::new(SECRET, Principal::account_root("123456789012", "u", "root")))
    }
}

fn verified(authenticator: &Authenticator, uri: &Uri, headers: &HeaderMap) -> bool {
    let domains = ["s3.amazonaws.com".to_owned()];
    let target = Target::parse(uri, Version::HTTP_11, headers, Domains { base: &domains, website: &[] });
    let target = target.expect("a target");
    let head = Head { method: &Method::GET, target: &target, headers };
    let scheme = authenticator.scheme(&head).expect("a scheme");
    block_on(authenticator.verify(&scheme, &head, &OneKey, NOW, None)).is_ok()
}

fn signature(criterion: &mut Criterion) {
    let uri = Uri::from_static("/test.txt");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "examplebucket.s3.amazonaws.com"),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", EMPTY),
        ("x-amz-date", TIMESTAMP),
        ("authorization", AUTHORIZATION),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let authenticator = Authenticator::new("us-east-1".to_owned(), false);
    assert!(verified(&authenticator, &uri, &headers), "AWS's example");
    criterion.bench_function("SigV4: check of a header's signature", |bencher| {
        bencher.iter(|| verified(&authenticator, black_box(&uri), black_box(&headers)));
    });
}

fn key() -> SigningKey {
    SigningKey::derive(&Secret::from(SECRET), "20130524", "us-east-1", "s3")
}

fn seed() -> SignatureHex {
    SignatureHex::of(&[7; 32])
}

/// A body in chunks, with signatures or without.
fn framed(signed: bool) -> Bytes {
    let (key, mut previous) = (key(), seed());
    let mut out = Vec::new();
    for chunk in vec![b'a'; BODY_BYTES].chunks(CHUNK_BYTES).chain([&[][..]]) {
        let extension = if signed {
            let digest = hex::encode(Sha256::digest(chunk));
            let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{TIMESTAMP}\n{SCOPE}\n");
            previous = key.sign(&[text.as_bytes(), previous.as_bytes(), format!("\n{EMPTY}\n{digest}").as_bytes()]);
            format!(";chunk-signature={}", String::from_utf8_lossy(previous.as_bytes()))
        } else {
            String::new()
        };
        out.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        if !chunk.is_empty() {
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
    }
    if !signed {
        out.extend_from_slice(b"x-amz-checksum-crc32c:sOO8/Q==\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Bytes::from(out)
}

fn decode(body: &Bytes, signed: bool) -> usize {
    let signer = signed.then(|| ChunkSigner::new(key(), TIMESTAMP, SCOPE, seed()));
    let trailers = (!signed).then(|| vec![HeaderName::from_static("x-amz-checksum-crc32c")]);
    let mut decoder = ChunkDecoder::new(ChunkPlan { signer, trailers, decoded_length: BODY_BYTES as u64 });
    let mut decoded = 0;
    for at in (0..body.len()).step_by(PIECE_BYTES) {
        let mut piece = body.slice(at..body.len().min(at + PIECE_BYTES));
        while !piece.is_empty() {
            decoded += decoder.decode(&mut piece).expect("well framed").map_or(0, |bytes| bytes.len());
        }
    }
    decoder.finish().expect("whole");
    decoded
}

fn chunks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("aws-chunked: 1 MiB in chunks of 64 KiB");
    group.throughput(Throughput::Bytes(BODY_BYTES as u64));
    for (name, signed) in [("signed", true), ("unsigned, with a trailer", false)] {
        let body = framed(signed);
        assert_eq!(decode(&body, signed), BODY_BYTES);
        group.bench_function(name, |bencher| bencher.iter(|| decode(black_box(&body), signed)));
    }
    group.finish();
}

#[test]
#[ignore = "takes time and asserts little; run it to see the figures"]
fn benches() {
    let mut criterion = Criterion::default();
    signature(&mut criterion);
    chunks(&mut criterion);
    criterion.final_summary();
}
