//! Forms in pieces of every size.

use proptest::prelude::*;

use super::*;
use crate::body::Source;

const FORM: &str = "preamble\r\n--b\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\na/${filename}\r\n--b\r\n\
    content-disposition: form-data; name=\"acl\"; filename=\"acl\"\r\n\r\nprivate\r\n--b\r\n\
    Content-Disposition: form-data; name=\"file\"; filename=\"ca%22t\\\".jpg\"\r\nContent-Type: image/jpeg\r\n\r\n";
const TAIL: &str = "\r\n--b\r\nContent-Disposition: form-data; name=\"late\"\r\n\r\nx\r\n--b--\r\n";

/// A body that comes in pieces of these sizes, in turn.
fn body(bytes: &[u8], sizes: &[usize]) -> RequestBody {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).clamp(1, rest.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        rest = after;
    }
    RequestBody::new(Source::pieces(pieces), None)
}

async fn file_of(mut file: FilePart) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    while let Some(piece) = file.next().await? {
        assert!(!piece.is_empty());
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
}

proptest! {
    #[test]
    fn pieces_make_no_difference(file in "(\r\n--?b?|\r|\n|-|x){0,40}", sizes in prop::collection::vec(1usize..40, 1..5)) {
        prop_assume!(!file.contains("\r\n--b"));
        let form = [FORM, &file, TAIL].concat();
        run(async {
            let parts = read(body(form.as_bytes(), &sizes), "b").await.expect("well-formed");
            assert_eq!(parts.fields, [("key".into(), "a/${filename}".into()), ("acl".into(), "private".into())]);
            assert_eq!(parts.file_name, "ca\"t\".jpg");
            assert_eq!(parts.file_type.as_deref(), Some("image/jpeg"));
            assert_eq!(file_of(parts.file).await.expect("whole"), file.as_bytes());
        });
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..400) {
        let whole = [FORM, "file", TAIL].concat();
        let spoilt = [&whole.as_bytes()[..cut.min(whole.len())], &bytes[..]].concat();
        run(async {
            if let Ok(parts) = read(body(&spoilt, &[7]), "b").await {
                let _ = file_of(parts.file).await;
            }
        });
    }
}

#[test]
fn a_form_that_is_cut_off_is_incomplete() {
    let whole = [FORM, "file", TAIL].concat();
    run(async {
        for cut in 0..FORM.len() + 6 {
            match read(body(&whole.as_bytes()[..cut], &[9]), "b").await {
                Err(refused) => assert_eq!(refused.status, 400),
                Ok(parts) => assert_eq!(file_of(parts.file).await, Err(BodyError::Incomplete), "{cut}"),
            }
        }
    });
}

#[test]
fn bounds_hold() {
    let field =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let code = |form: String| run(async { read(body(form.as_bytes(), &[1000]), "b").await.expect_err("refused").code });
    assert_eq!(code(field("a", &"x".repeat(FIELDS_BYTES_MAX))), "MaxPostPreDataLengthExceeded");
    assert_eq!(code("x".repeat(FIELDS_BYTES_MAX + 100)), "MaxPostPreDataLengthExceeded");
    assert_eq!(code(field("a", "1") + &field("A", "2") + "--b--"), "InvalidArgument");
    assert_eq!(code(field("a", "1") + "--b--"), "InvalidArgument");
    assert_eq!(code("--b\r\nContent-Disposition: form-data\r\n\r\n".into()), "MalformedPOSTRequest");
}

#[test]
fn the_length_of_the_file_is_held_to_its_range() {
    let form = [FORM, "12345", TAIL].concat();
    let outcome = |min, max| {
        run(async {
            let parts = read(body(form.as_bytes(), &[3]), "b").await.expect("well-formed");
            file_of(parts.file.limited(Some(LengthRange { min, max }))).await.map(|bytes| bytes.len())
        })
    };
    assert_eq!(outcome(5, 5), Ok(5));
    assert!(matches!(outcome(0, 4), Err(BodyError::FormTooLarge { max: 4, .. })));
    assert!(matches!(outcome(6, 9), Err(BodyError::FormTooSmall { size: 5, min: 6 })));
}
