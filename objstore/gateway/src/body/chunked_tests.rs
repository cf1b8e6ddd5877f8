//! The examples of the AWS documentation, and what can be wrong with a framed body.

use bytes::Bytes;
use http::HeaderName;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, proptest};

use super::{ChunkDecoder, ChunkPlan, ChunkSigner};
use crate::api::Secret;
use crate::auth::{SignatureHex, SigningKey};
use crate::body::BodyError;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TIMESTAMP: &str = "20130524T000000Z";
const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
const CHUNKS: [(usize, &str); 3] = [
    (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
];
const TRAILER_SEED: &str = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
const TRAILER_CHUNKS: [(usize, &str); 3] = [
    (65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
    (1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
    (0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
];
const TRAILER: &str = "x-amz-checksum-crc32c:sOO8/Q==";
const TRAILER_SIGNATURE: &str = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
const LENGTH: u64 = 66560;

fn key() -> SigningKey {
    SigningKey::derive(&Secret::from(SECRET), "20130524", "us-east-1", "s3")
}

fn signer(seed: &str) -> ChunkSigner {
    ChunkSigner::new(key(), TIMESTAMP, SCOPE, SignatureHex::of(&hex::decode(seed).unwrap()))
}

fn crc32c() -> Option<Vec<HeaderName>> {
    Some(vec![HeaderName::from_static("x-amz-checksum-crc32c")])
}

fn framed(chunks: &[(usize, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (size, signature) in chunks {
        out.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        if *size > 0 {
            out.extend(std::iter::repeat_n(b'a', *size));
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

fn signed_example() -> Vec<u8> {
    let mut out = framed(&CHUNKS);
    out.extend_from_slice(b"\r\n");
    out
}

fn trailer_example(line_end: &str) -> Vec<u8> {
    let mut out = framed(&TRAILER_CHUNKS);
    let tail = format!("{TRAILER}{line_end}x-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n");
    out.extend_from_slice(tail.as_bytes());
    out
}

fn signed_plan() -> ChunkPlan {
    ChunkPlan { signer: Some(signer(SEED)), trailers: None, decoded_length: LENGTH }
}

fn trailer_plan() -> ChunkPlan {
    ChunkPlan { signer: Some(signer(TRAILER_SEED)), trailers: crc32c(), decoded_length: LENGTH }
}

fn unsigned_plan(decoded_length: u64) -> ChunkPlan {
    ChunkPlan { signer: None, trailers: crc32c(), decoded_length }
}

/// Decodes `input`, cut at `cuts`.
fn decode(plan: ChunkPlan, input: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, http::HeaderMap), BodyError> {
    let mut decoder = ChunkDecoder::new(plan);
    let mut decoded = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([input.len()]) {
        let mut piece = Bytes::copy_from_slice(&input[from..to]);
        while let Some(data) = decoder.decode(&mut piece)? {
            decoded.extend_from_slice(&data);
        }
        assert!(piece.is_empty());
        from = to;
    }
    let trailers = decoder.finish()?;
    Ok((decoded, trailers))
}

#[test]
fn the_documented_signed_chunks_decode() {
    let (decoded, _) = decode(signed_plan(), &signed_example(), &[]).unwrap();
    assert_eq!(decoded, vec![b'a'; 66560]);
}

#[test]
fn the_documented_signed_trailer_decodes() {
    for line_end in ["\r\n", "\n\r\n", "\n"] {
        let (decoded, trailers) = decode(trailer_plan(), &trailer_example(line_end), &[]).unwrap();
        assert_eq!(decoded.len(), 66560);
        assert_eq!(trailers["x-amz-checksum-crc32c"], "sOO8/Q==");
    }
}

#[test]
fn a_chunk_is_never_gathered() {
    let mut decoder = ChunkDecoder::new(unsigned_plan(1 << 40));
    let mut input = Bytes::from_static(b"10000000000\r\nabc");
    assert_eq!(decoder.decode(&mut input).unwrap().unwrap(), "abc");
    let mut input = Bytes::from(vec![7; 100_000]);
    let start = input.as_ptr();
    assert_eq!(decoder.decode(&mut input).unwrap().unwrap().as_ptr(), start, "passed on without a copy");
}

#[test]
fn every_flipped_byte_is_refused() {
    // Framing, signatures and a sample of the data, of both signed forms.
    for (plan, example) in
        [(signed_plan as fn() -> ChunkPlan, signed_example()), (trailer_plan, trailer_example("\r\n"))]
    {
        let interesting =
            |at: usize| at < 100 || at.is_multiple_of(997) || (65_600..65_800).contains(&at) || at > 66_800;
        for at in (0..example.len()).filter(|at| interesting(*at)) {
            let mut forged = example.clone();
            forged[at] ^= 1;
            assert!(decode(plan(), &forged, &[]).is_err(), "byte {at} of {}", example.len());
        }
    }
}

#[test]
fn truncated_bodies_are_refused_at_every_length() {
    let example = trailer_example("\r\n");
    // Without the very last line end, everything that counts is there.
    let complete = example.len() - 2;
    for length in (0..200).chain(65_500..65_800).chain(66_600..complete) {
        assert!(decode(trailer_plan(), &example[..length], &[]).is_err(), "{length}");
    }
    assert!(decode(trailer_plan(), &example[..complete], &[]).is_ok());
    let without_last_chunk = framed(&CHUNKS[..2]);
    assert_eq!(decode(signed_plan(), &without_last_chunk, &[]), Err(BodyError::Incomplete));
}

#[test]
fn chunks_in_another_order_are_refused() {
    let swapped = framed(&[CHUNKS[1], CHUNKS[0], CHUNKS[2]]);
    assert_eq!(decode(signed_plan(), &swapped, &[]), Err(BodyError::Signature));
    let dropped = framed(&[CHUNKS[0], CHUNKS[2]]);
    assert_eq!(decode(signed_plan(), &dropped, &[]), Err(BodyError::Signature));
}

#[test]
fn extra_bytes_are_refused() {
    let mut example = signed_example();
    example.push(b'x');
    assert_eq!(decode(signed_plan(), &example, &[]), Err(BodyError::Incomplete));
    assert_eq!(decode(unsigned_plan(2), b"3\r\nabc\r\n", &[]), Err(BodyError::Incomplete));
}

#[test]
fn a_decoded_length_that_is_not_reached_is_refused() {
    let body = b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32c:AAAAAA==\r\n\r\n";
    assert!(decode(unsigned_plan(3), body, &[]).is_ok());
    assert_eq!(decode(unsigned_plan(4), body, &[]), Err(BodyError::Incomplete));
}

#[test]
fn trailers_must_be_those_announced() {
    for (tail, why) in [
        ("\r\n", "missing"),
        ("x-amz-checksum-crc32:AAAAAA==\r\n\r\n", "another"),
        ("x-amz-checksum-crc32c:AAAAAA==\r\nx-amz-meta-a:b\r\n\r\n", "one more"),
        ("x-amz-checksum-crc32c:AAAAAA==\r\nx-amz-checksum-crc32c:BBBBBB==\r\n\r\n", "twice"),
        ("x-amz-checksum-crc32c\r\n\r\n", "no colon"),
    ] {
        let body = format!("3\r\nabc\r\n0\r\n{tail}");
        assert_eq!(decode(unsigned_plan(3), body.as_bytes(), &[]), Err(BodyError::Trailers), "{why}");
    }
    let unsigned = trailer_example("\r\n");
    let end = unsigned.windows(10).position(|window| window == b"x-amz-trai").unwrap();
    let mut stripped = unsigned[..end].to_vec();
    stripped.extend_from_slice(b"\r\n");
    assert_eq!(decode(trailer_plan(), &stripped, &[]), Err(BodyError::Signature), "trailer without its signature");
}

#[test]
fn malformed_sizes_are_refused() {
    for line in ["\r\n", "-1\r\n", "+3\r\n", "0x3\r\n", " 3\r\n", "3 \r\n", "3\n", "11111111111111111\r\n", "g\r\n"] {
        let body = format!("{line}abc\r\n0\r\n\r\n");
        assert_eq!(decode(unsigned_plan(3), body.as_bytes(), &[]), Err(BodyError::Framing), "{line:?}");
    }
    let endless = vec![b'0'; 10_000];
    assert_eq!(decode(unsigned_plan(3), &endless, &[]), Err(BodyError::Framing));
}

/// A framed body of any chunk sizes, and what it decodes to.
fn unsigned_body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..12).prop_map(|chunks| {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\nx-amz-checksum-crc32c:AAAAAA==\r\n\r\n");
        (body, chunks.concat())
    })
}

proptest! {
    #[test]
    fn any_split_decodes_the_same(
        (body, decoded, cuts) in unsigned_body().prop_flat_map(|(body, decoded)| {
            let length = body.len();
            (Just(body), Just(decoded), prop::collection::vec(0..=length, 0..40))
        })
    ) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        let (got, _) = decode(unsigned_plan(decoded.len() as u64), &body, &cuts).unwrap();
        prop_assert_eq!(got, decoded);
    }

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = decode(unsigned_plan(1000), &body, &[]);
        let _ = decode(signed_plan(), &body, &[]);
    }

    #[test]
    fn signed_chunks_decode_at_any_split(cuts in prop::collection::vec(0..66_800usize, 0..20)) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        prop_assert_eq!(decode(signed_plan(), &signed_example(), &cuts).unwrap().0.len(), 66_560);
    }
}
