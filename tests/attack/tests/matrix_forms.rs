//! Uploads by forms x what can be wrong with them; every digit of a signature; chunks out of order.

use anyhow::{Result, ensure};
use karri_tests_attack::{FORM_KEY, Form, Keys, Kind, Request, Sent, Signer, Stage, changes, text, told};

const OTHER_POLICY: &str = "eyJleHBpcmF0aW9uIjoiMjA5OS0wMS0wMVQwMDowMDowMFoiLCJjb25kaXRpb25zIjpbXX0=";

/// What is wrong, the form, and how it is refused.
fn cells(stage: &Stage) -> Vec<(String, Form, &'static str)> {
    let good = || Form::signed(&stage.friend, 300);
    let wrong = Keys { secret_key: "wrong".to_owned(), ..stage.friend.clone() };
    let unknown = Keys { access_key: "NOSUCHKEYATALL".to_owned(), ..stage.friend.clone() };
    let session = &stage.session;
    let without = Keys { token: None, ..session.clone() };
    let made_up = Keys { token: Some("x".repeat(300)), ..session.clone() };
    let mixed = Keys { token: session.token.clone(), ..stage.friend.clone() };
    let elsewhere = Signer { region: "eu-west-9", ..Signer::new(&stage.friend, Kind::Header) };
    let unsigned = Form { fields: vec![("key".to_owned(), FORM_KEY.to_owned())] };
    let mismatch = "403 SignatureDoesNotMatch";
    let mut cells = vec![
        ("missing", unsigned, "403 AccessDenied"),
        ("signature left out", good().without("x-amz-signature"), "400 InvalidArgument"),
        ("credential left out", good().without("x-amz-credential"), "400 InvalidArgument"),
        ("date left out", good().without("x-amz-date"), "400 InvalidArgument"),
        ("algorithm left out", good().without("x-amz-algorithm"), "400 InvalidArgument"),
        ("policy left out", good().without("policy"), "400 InvalidArgument"),
        ("another policy", good().with("policy", OTHER_POLICY), mismatch),
        ("wrong secret", Form::signed(&wrong, 300), mismatch),
        ("unknown key", Form::signed(&unknown, 300), "403 InvalidAccessKeyId"),
        ("another region", Form::signed_by(&elsewhere, 300), "400 InvalidArgument"),
        ("expired", Form::signed(&stage.friend, -1), "403 AccessDenied"),
        ("a key that the policy does not allow", good().with("key", "key"), "403 AccessDenied"),
        ("a field that the policy does not allow", good().with("acl", "public-read"), "403 AccessDenied"),
        ("denied by policy", Form::signed(&stage.denied, 300), "403 AccessDenied"),
        ("allowed nothing", Form::signed(&stage.nobody, 300), "403 AccessDenied"),
        ("another account's", Form::signed(&stage.stranger, 300), "403 AccessDenied"),
        ("token left out", Form::signed(&without, 300), "403 InvalidAccessKeyId"),
        ("token made up", Form::signed(&made_up, 300), "400 InvalidToken"),
        ("another's token", Form::signed(&mixed, 300), "400 InvalidToken"),
    ];
    let form = good();
    for at in 0..form.get("x-amz-signature").len() {
        let signature = flipped(form.get("x-amz-signature"), at);
        cells.push(("a digit of the signature", form.clone().with("x-amz-signature", &signature), mismatch));
    }
    let name = |(fault, form, wanted): (&str, _, _)| (fault.to_owned(), form, wanted);
    cells.into_iter().map(name).collect()
}

/// One digit is another.
fn flipped(text: &str, at: usize) -> String {
    let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_form_gets_past_its_signature_and_its_policy() -> Result<()> {
    let stage = Stage::start().await?;
    let before = stage.fingerprint().await?;
    let cells = cells(&stage);
    let sent: Vec<Sent> = cells.iter().map(|(_, form, _)| form.send(&stage.host)).collect();
    let answers = stage.send_all(&sent).await?;
    let mut failures = Vec::new();
    for ((fault, _, wanted), answer) in cells.iter().zip(&answers) {
        if told(answer) != *wanted {
            failures.push(format!("{fault}: wanted {wanted}, got {} {}", answer.status, text(answer)));
        }
    }
    failures.extend(changes(&before, &stage.fingerprint().await?));
    ensure!(failures.is_empty(), "{} of {} cells:\n{}", failures.len(), cells.len(), failures.join("\n"));
    for keys in [&stage.friend, &stage.session] {
        let answer = stage.send(&Form::signed(keys, 300).send(&stage.host)).await?;
        ensure!(answer.status == 204, "a good form: {} {}", answer.status, text(&answer));
    }
    println!("matrix: {} forms", cells.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_digit_of_a_signature_counts() -> Result<()> {
    let stage = Stage::start().await?;
    let put = Request::new("PUT", "/victim/flipped").body("not to be stored");
    let before = stage.fingerprint().await?;
    let mut count = 0;
    for kind in Kind::ALL {
        let good = Signer::new(&stage.root, kind).sign(&put, &stage.host);
        let measured = std::cell::Cell::new(0);
        let _ = good.clone().with_signature(|signature| {
            measured.set(signature.len());
            signature.to_owned()
        });
        let length = measured.get();
        ensure!(length >= 28, "{kind:?} has a signature of {length}");
        // In version 2 the last characters stand for no byte of it, or are escaped.
        let digits = if kind.is_v2() { 0..length - 4 } else { 0..length };
        let spoilt = |at: usize| good.clone().with_signature(|signature| flipped(signature, at));
        let requests: Vec<Sent> = digits.filter(|at| at % 3 == 0 || !kind.is_v2()).map(spoilt).collect();
        count += requests.len();
        for (number, answer) in stage.send_all(&requests).await?.iter().enumerate() {
            let is_refused = answer.status == 403 || (kind.is_v2() && answer.status == 400);
            ensure!(is_refused, "{kind:?} {number}: {} {}", answer.status, text(answer));
        }
    }
    let changed = changes(&before, &stage.fingerprint().await?);
    ensure!(changed.is_empty(), "{}", changed.join("\n"));
    println!("{count} signatures with one digit changed");
    Ok(())
}

/// The frames of a chunked body.
fn frames(body: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let line = rest.windows(2).position(|pair| pair == b"\r\n").expect("a size");
        let head = std::str::from_utf8(&rest[..line]).expect("text");
        let size = usize::from_str_radix(head.split(';').next().expect("a size"), 16).expect("hexadecimal");
        let end = (line + 2 + size + 2).min(rest.len());
        frames.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_taken_in_their_order_and_whole() -> Result<()> {
    let stage = Stage::start().await?;
    let put = Request::new("PUT", "/victim/chunked").body(&"first half, second half ".repeat(10_000));
    let good = Signer::new(&stage.root, Kind::Chunked).sign(&put, &stage.host);
    let before = stage.fingerprint().await?;
    let parts = frames(&good.body);
    ensure!(parts.len() == 3, "{} chunks", parts.len());
    let spoilt = |name: &'static str, body: Vec<u8>| (name, Sent { body, ..good.clone() });
    let mut changed_byte = good.body.clone();
    let middle = changed_byte.len() / 2;
    changed_byte[middle] ^= 1;
    let cells = [
        spoilt("swapped", [&parts[1][..], &parts[0], &parts[2]].concat()),
        spoilt("one twice", [&parts[0][..], &parts[0], &parts[2]].concat()),
        spoilt("the first left out", [&parts[1][..], &parts[2]].concat()),
        spoilt("the second left out", [&parts[0][..], &parts[2]].concat()),
        spoilt("the last left out", [&parts[0][..], &parts[1]].concat()),
        spoilt("the last cut", good.body[..good.body.len() - 10].to_vec()),
        spoilt("cut in a chunk", good.body[..good.body.len() / 3].to_vec()),
        spoilt("a byte changed", changed_byte),
        spoilt("another behind the last", [&good.body[..], &parts[0]].concat()),
    ];
    let trailer = Signer::new(&stage.root, Kind::Trailer).sign(&put, &stage.host);
    let cut = Sent { body: trailer.body[..trailer.body.len() - 20].to_vec(), ..trailer.clone() };
    let mut other = trailer.clone();
    other.body[100] ^= 1;
    let cells = cells.into_iter().chain([("a trailer cut", cut), ("a byte changed under a trailer", other)]);
    for (fault, sent) in cells {
        let answer = stage.send(&sent).await?;
        ensure!((400..500).contains(&answer.status), "{fault}: {} {}", answer.status, text(&answer));
        println!("{fault}: {}", told(&answer));
    }
    let changed = changes(&before, &stage.fingerprint().await?);
    ensure!(changed.is_empty(), "{}", changed.join("\n"));
    for sent in [good, trailer] {
        ensure!(stage.send(&sent).await?.status == 200, "a good body is refused");
    }
    Ok(())
}
