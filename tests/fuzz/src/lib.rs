//! What fuzzers drive: every parser that a client's bytes reach. Each target takes any bytes and panics where
//! something is wrong. `cargo xtask fuzz <target> --seconds N` runs one under libFuzzer; tests run what is kept in
//! `corpus/`. The targets of the gateway's own parsers are in `karri_objstore_gateway::fuzz`, those of what S3 checks
//! behind its parsers in `karri_objstore_s3::fuzz`.

mod iam_parsers;
#[path = "../../../iam/service/src/sts/jwt.rs"]
#[allow(dead_code, reason = "the other half of it is used by STS")]
mod jwt;
mod s3_parsers;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{HeaderMap as Headers, Method};
use karri_iam_policy::{Context, Policies, Policy, PolicyKind, Principal, Request, evaluate};
use karri_iam_wire::{Form, iam, sts};
use karri_objstore_wire::{WireRequest, route};

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets of this crate.
pub const TARGETS: &[Target] =
    &[("s3_document", s3_document), ("s3_head", s3_head), ("iam_form", iam_form), ("policy", policy), ("jwt", jwt)];

fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The XML documents of S3: the first byte chooses the operation.
pub fn s3_document(data: &[u8]) {
    let [choice, body @ ..] = data else { return };
    let headers = Headers::new();
    let request =
        WireRequest { method: &Method::PUT, bucket: Some("bucket"), key: Some("key"), query: &[], headers: &headers };
    let parse = s3_parsers::DOCUMENTS[usize::from(*choice) % s3_parsers::DOCUMENTS.len()];
    parse(&request, body);
}

/// The heads of S3's requests: the first line is method and query, each further one a header.
pub fn s3_head(data: &[u8]) {
    let [choice, rest @ ..] = data else { return };
    let text = String::from_utf8_lossy(rest);
    let mut lines = text.split('\n');
    let (method, query) = lines.next().unwrap_or_default().split_once(' ').unwrap_or(("GET", ""));
    let Ok(method) = method.parse::<Method>() else { return };
    let query = pairs(query);
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value.trim())) {
            headers.append(name, value);
        }
    }
    let key = (choice & 1 == 0).then_some("key");
    let request = WireRequest { method: &method, bucket: Some("bucket"), key, query: &query, headers: &headers };
    // Any verdict will do, as long as there is one.
    let _ = route(&request);
    let parse = s3_parsers::HEADS[usize::from(*choice) % s3_parsers::HEADS.len()];
    parse(&request, b"");
}

/// The forms of IAM and STS, decoded: the first byte chooses the action.
pub fn iam_form(data: &[u8]) {
    let [choice, rest @ ..] = data else { return };
    let Ok(form) = Form::parse(&pairs(&String::from_utf8_lossy(rest))) else { return };
    // Any verdict will do, as long as there is one.
    let _ = (iam::route(&form), sts::route(&form));
    iam_parsers::PARSERS[usize::from(*choice) % iam_parsers::PARSERS.len()](&form);
}

/// Policies of every kind, and a decision by what was taken of them: nobody is allowed what nothing allows.
pub fn policy(data: &[u8]) {
    let [kind, rest @ ..] = data else { return };
    let kinds = [PolicyKind::Identity, PolicyKind::Resource, PolicyKind::Trust];
    let kind = kinds[usize::from(*kind) % kinds.len()];
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let Ok(policy) = Policy::parse(text, kind) else { return };
    let allows = policy.statements().iter().any(|statement| statement.effect() == karri_iam_policy::Effect::Allow);
    let _ = policy.is_public();
    let mut context = Context::new(1_369_353_600);
    context.set("aws:SourceIp", "192.0.2.7");
    context.set("s3:prefix", "home/");
    let principal = Principal::anonymous();
    let asked = Request {
        principal: &principal,
        action: "s3:GetObject",
        resource: "arn:aws:s3:::bucket/home/key",
        resource_account: "123456789012",
        context: &context,
    };
    let decision = evaluate(&asked, &Policies::default(), Some(&policy));
    assert!(allows || !decision.is_allowed(), "allowed by a policy without Allow");
}

/// Tokens of identity providers and their keys: the first line is the token, the rest the keys.
pub fn jwt(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let token = std::str::from_utf8(parts.next().unwrap_or_default()).ok().and_then(jwt::Token::parse);
    let keys = jwt::KeySet::parse(parts.next().unwrap_or_default());
    if let (Some(token), Some(keys)) = (token, keys) {
        for claim in ["iss", "sub", "aud", "exp"] {
            let _ = (token.text(claim), token.seconds(claim), token.texts(claim));
        }
        let _ = keys.may_have(&token) && keys.verifies(&token);
    }
}
