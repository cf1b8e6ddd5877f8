//! Documents that attack the parser: each is refused with S3's own error, and none costs more than its size.

use karri_objstore_wire::types::{CompletedMultipartUpload, Delete};
use karri_objstore_wire::{ErrorCode, WireError, parse_complete_multipart_upload, parse_delete_objects};
use proptest::prelude::{ProptestConfig, any, prop, proptest};

use crate::support::Sample;

fn delete(body: &[u8]) -> Result<Delete, WireError> {
    parse_delete_objects(&Sample::new("POST", "/b?delete").wire(), body).map(|input| input.delete)
}

fn complete(body: &[u8]) -> Result<Option<CompletedMultipartUpload>, WireError> {
    let sample = Sample::new("POST", "/b/k?uploadId=u");
    parse_complete_multipart_upload(&sample.wire(), body).map(|input| input.multipart_upload)
}

#[test]
fn malformed_documents_are_malformed_xml() {
    let bodies = [
        "<",
        "text",
        "<Delete>",
        "<Delete/>",
        "<Delete></Delet>",
        "<Delete><Object></Object></Delete>",
        "<Delete><Object><Key>a</Key></Object>",
        "<Delete><Object><Key>a</Key></Object></Delete><Delete/>",
        "<Delete><Object><Key>a</Key></Object></Delete>tail",
        "<Delete>text<Object><Key>a</Key></Object></Delete>",
        "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        "<Delete><Object><Key>a<b/></Key></Object></Delete>",
        "<Delete><Object><Key>a</Key><Unknown/></Object></Delete>",
        "<Delete><Object><Key>&unknown;</Key></Object></Delete>",
        "<Delete><Object><Key>&#xD800;</Key></Object></Delete>",
        "<Delete><Object><Key>&#0;</Key></Object></Delete>",
        "<Delete><Object><Key>\0</Key></Object></Delete>",
        "<Delete><Object><Key>\u{1f}</Key></Object></Delete>",
        "<Delete>\u{b}<Object><Key>a</Key></Object></Delete>",
        "<Delete><Object><Key>a</Key><Size>many</Size></Object></Delete>",
        "<Delete><Quiet>perhaps</Quiet><Object><Key>a</Key></Object></Delete>",
        "<Remove><Object><Key>a</Key></Object></Remove>",
        "<!DOCTYPE d [<!ENTITY a \"aa\">]><Delete><Object><Key>&a;</Key></Object></Delete>",
        "<!DOCTYPE d SYSTEM \"file:///etc/passwd\"><Delete><Object><Key>a</Key></Object></Delete>",
    ];
    for body in bodies {
        assert_eq!(delete(body.as_bytes()).map_err(|error| error.code), Err(ErrorCode::MalformedXML), "{body}");
    }
    assert_eq!(delete(b"<Delete>\xff</Delete>").map_err(|error| error.code), Err(ErrorCode::MalformedXML));
    assert_eq!(delete(b"").map_err(|error| error.code), Err(ErrorCode::MissingRequestBodyError));
}

#[test]
fn what_is_not_served_is_named_as_such() {
    let body =
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ChecksumXXHASH64>a</ChecksumXXHASH64></Part>\
        </CompleteMultipartUpload>";
    assert_eq!(complete(body).map_err(|error| error.code), Err(ErrorCode::NotImplemented));
}

#[test]
fn lists_and_documents_have_bounds() {
    let object = "<Object><Key>k</Key></Object>";
    assert_eq!(
        delete(format!("<Delete>{}</Delete>", object.repeat(1000)).as_bytes()).expect("1000").objects.len(),
        1000
    );
    let over = delete(format!("<Delete>{}</Delete>", object.repeat(1001)).as_bytes());
    assert_eq!(over.map_err(|error| error.code), Err(ErrorCode::MalformedXML));

    let part = "<Part><PartNumber>1</PartNumber><ETag>d41d8cd98f00b204e9800998ecf8427e</ETag></Part>";
    let body = |count| format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", part.repeat(count));
    assert_eq!(complete(body(10_000).as_bytes()).expect("10,000").map(|upload| upload.parts.len()), Some(10_000));
    assert_eq!(complete(body(10_001).as_bytes()).map_err(|error| error.code), Err(ErrorCode::MalformedXML));

    let padded = format!("<Delete>{}{object}</Delete>", " ".repeat(8 << 20));
    assert_eq!(delete(padded.as_bytes()).map_err(|error| error.code), Err(ErrorCode::MaxMessageLengthExceeded));
}

#[test]
fn depth_is_bounded() {
    for depth in [2, 17, 1_000, 100_000] {
        for tag in ["Delete", "Object", "Key"] {
            let body = format!("{}{}", format!("<{tag}>").repeat(depth), format!("</{tag}>").repeat(depth));
            assert!(delete(body.as_bytes()).is_err());
        }
        let body = format!("<Delete><Object>{}", "<Object>".repeat(depth));
        assert_eq!(delete(body.as_bytes()).map_err(|error| error.code), Err(ErrorCode::MalformedXML));
    }
}

/// Pieces that, put together at random, come near to a document.
const PIECES: &[&str] = &[
    "<Delete>",
    "</Delete>",
    "<Object>",
    "</Object>",
    "<Key>",
    "</Key>",
    "<Quiet>",
    "</Quiet>",
    "<Key/>",
    "true",
    "k",
    " ",
    "&amp;",
    "&#1;",
    "&#x110000;",
    "&",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?x",
    "?>",
    "<!DOCTYPE",
    ">",
    "<",
    "\"",
    " a=\"b\"",
    "</",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = delete(&body);
        let _ = complete(&body);
    }

    #[test]
    fn any_shuffle_of_markup_is_read_or_refused(picks in prop::collection::vec(0..PIECES.len(), 0..40)) {
        let body: String = picks.into_iter().map(|pick| PIECES[pick]).collect();
        match delete(body.as_bytes()) {
            Ok(read) => assert!(!read.objects.is_empty() && body.starts_with('<')),
            Err(error) => assert!(matches!(error.code, ErrorCode::MalformedXML | ErrorCode::MissingRequestBodyError)),
        }
    }

    #[test]
    fn every_key_survives_its_escaping(key in "\\PC{1,40}") {
        let escaped: String = key.chars().map(|c| format!("&#x{:x};", u32::from(c))).collect();
        let body = format!("<Delete><Object><Key>{escaped}</Key></Object></Delete>");
        assert_eq!(delete(body.as_bytes()).expect("parse").objects[0].key, key);
    }
}
