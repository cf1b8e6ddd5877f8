//! Condition keys of S3: each holds for the requests that it is about and for no others, and none can be hidden or made up.

use anyhow::{Result, ensure};
use karri_tests_attack::{Kind, Request, Signer, Stage, told};

const NOBODY: &str = "arn:aws:iam::000000000000:user/nobody";

/// A policy of the bucket: one statement about everything in it.
fn policy(effect: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"{effect}","Principal":{{"AWS":"{NOBODY}"}},"Action":"s3:*",
        "Resource":["arn:aws:s3:::victim","arn:aws:s3:::victim/*"],"Condition":{condition}}}]}}"#
    )
}

/// A condition, and requests of which it must hold or not.
struct Row {
    condition: String,
    asked: Vec<(Request, Kind, bool)>,
}

fn row(condition: &str, asked: &[(&Request, bool)]) -> Row {
    signed(condition, &asked.iter().map(|(request, holds)| (*request, Kind::Header, *holds)).collect::<Vec<_>>())
}

fn signed(condition: &str, asked: &[(&Request, Kind, bool)]) -> Row {
    let asked = asked.iter().map(|(request, kind, holds)| ((*request).clone(), *kind, *holds)).collect();
    Row { condition: condition.to_owned(), asked }
}

fn list(parameters: &str) -> Request {
    Request::new("GET", &format!("/victim?list-type=2{parameters}"))
}

fn get() -> Request {
    Request::new("GET", "/victim/key")
}

fn put(headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(Request::new("PUT", "/victim/new").body("x"), |put, (name, value)| put.header(name, value))
}

fn copy(source: &str, more: &[(&str, &str)]) -> Request {
    let copy = Request::new("PUT", "/victim/copied").header("x-amz-copy-source", source);
    more.iter().fold(copy, |copy, (name, value)| copy.header(name, value))
}

/// Keys that the request's parameters and headers give.
fn of_parameters_and_headers(stage: &Stage) -> Vec<Row> {
    let version = &stage.names.version;
    let other = Request::new("GET", "/victim/key?versionId=null");
    let named = Request::new("GET", &format!("/victim/key?versionId={version}"));
    let acl = |value| put(&[("x-amz-acl", value)]);
    let hoisted = |value: &str| Request::new("PUT", &format!("/victim/new?x-amz-acl={value}")).body("x");
    let everybody = [("x-amz-grant-read", "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\"")];
    let lock =
        [("x-amz-object-lock-mode", "GOVERNANCE"), ("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z")];
    let lock = lock.iter().fold(Request::new("PUT", "/victim/locked").document("x"), |put, (n, v)| put.header(n, v));
    vec![
        row(
            r#"{"StringEquals":{"s3:prefix":"open/"}}"#,
            &[(&list("&prefix=open/"), true), (&list("&prefix=open"), false), (&list(""), false)],
        ),
        row(r#"{"StringEquals":{"s3:delimiter":"/"}}"#, &[(&list("&delimiter=/"), true), (&list(""), false)]),
        row(
            r#"{"NumericLessThanEquals":{"s3:max-keys":"10"}}"#,
            &[(&list("&max-keys=10"), true), (&list("&max-keys=11"), false), (&list(""), false)],
        ),
        row(
            r#"{"StringEquals":{"s3:x-amz-acl":"private"}}"#,
            &[(&acl("private"), true), (&acl("public-read"), false), (&put(&[]), false)],
        ),
        signed(
            r#"{"StringEquals":{"s3:x-amz-acl":"private"}}"#,
            &[(&hoisted("private"), Kind::Presigned, true), (&hoisted("public-read"), Kind::Presigned, false)],
        ),
        row(r#"{"StringLike":{"s3:x-amz-grant-read":"*AllUsers*"}}"#, &[(&put(&everybody), true), (&put(&[]), false)]),
        row(
            r#"{"StringEquals":{"s3:x-amz-copy-source":"victim/large"}}"#,
            &[
                (&copy("/victim/large", &[]), true),
                (&copy("victim/%6carge", &[]), true),
                (&copy("/victim/key", &[]), false),
            ],
        ),
        row(
            r#"{"StringEquals":{"s3:x-amz-metadata-directive":"REPLACE"}}"#,
            &[
                (&copy("/victim/large", &[("x-amz-metadata-directive", "REPLACE")]), true),
                (&copy("/victim/large", &[]), false),
            ],
        ),
        row(
            r#"{"StringEquals":{"s3:x-amz-storage-class":"STANDARD_IA"}}"#,
            &[(&put(&[("x-amz-storage-class", "STANDARD_IA")]), true), (&put(&[]), false)],
        ),
        row(
            r#"{"StringEquals":{"s3:x-amz-server-side-encryption":"AES256"}}"#,
            &[(&put(&[("x-amz-server-side-encryption", "AES256")]), true), (&put(&[]), false)],
        ),
        signed(
            r#"{"StringEquals":{"s3:x-amz-content-sha256":"STREAMING-UNSIGNED-PAYLOAD-TRAILER"}}"#,
            &[(&put(&[]), Kind::Trailer, true), (&put(&[]), Kind::Header, false), (&put(&[]), Kind::Presigned, false)],
        ),
        row(
            &format!(r#"{{"StringEquals":{{"s3:VersionId":"{version}"}}}}"#),
            &[(&named, true), (&other, false), (&get(), false)],
        ),
        row(r#"{"StringEquals":{"s3:object-lock-mode":"GOVERNANCE"}}"#, &[(&lock, true), (&put(&[]), false)]),
        row(
            r#"{"StringEquals":{"s3:RequestObjectTag/team":"blue"}}"#,
            &[(&put(&[("x-amz-tagging", "team=blue")]), true), (&put(&[("x-amz-tagging", "team=red")]), false)],
        ),
        row(
            r#"{"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["team"]}}"#,
            &[(&put(&[("x-amz-tagging", "team=1")]), true), (&put(&[("x-amz-tagging", "team=1&x=2")]), false)],
        ),
        row(
            r#"{"StringEquals":{"s3:ExistingObjectTag/secret":"project"}}"#,
            &[(&Request::new("GET", "/victim/labelled"), true), (&get(), false)],
        ),
    ]
}

/// Keys of the connection, the signature and whoever signed.
fn of_the_rest() -> Vec<Row> {
    let referred = |value| get().header("referer", value);
    let one = |condition: &str, holds| row(condition, &[(&get(), holds)]);
    vec![
        row(
            r#"{"StringLike":{"aws:Referer":"https://a.example/*"}}"#,
            &[(&referred("https://a.example/x"), true), (&referred("https://b.example/"), false), (&get(), false)],
        ),
        row(
            r#"{"StringLike":{"aws:UserAgent":"karri*"}}"#,
            &[(&get().header("user-agent", "karri/1"), true), (&get().header("user-agent", "other"), false)],
        ),
        signed(
            r#"{"StringEquals":{"s3:authType":"REST-QUERY-STRING"}}"#,
            &[(&get(), Kind::Presigned, true), (&get(), Kind::PresignedV2, true), (&get(), Kind::Header, false)],
        ),
        signed(
            r#"{"StringEquals":{"s3:signatureversion":"AWS4-HMAC-SHA256"}}"#,
            &[(&get(), Kind::Header, true), (&get(), Kind::Presigned, true), (&get(), Kind::HeaderV2, false)],
        ),
        one(r#"{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}"#, true),
        one(r#"{"NotIpAddress":{"aws:SourceIp":"127.0.0.0/8"}}"#, false),
        one(r#"{"Bool":{"aws:SecureTransport":"false"}}"#, true),
        one(r#"{"Bool":{"aws:SecureTransport":"true"}}"#, false),
        one(r#"{"Null":{"s3:TlsVersion":"true"}}"#, true),
        one(r#"{"StringEquals":{"aws:PrincipalTag/team":"blue"}}"#, true),
        one(r#"{"StringEquals":{"aws:PrincipalTag/team":"red"}}"#, false),
        one(r#"{"StringEquals":{"aws:username":"nobody"}}"#, true),
        one(r#"{"StringEquals":{"aws:username":"friend"}}"#, false),
        one(r#"{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::000000000000:user/nobody"}}"#, true),
        one(r#"{"StringEquals":{"aws:PrincipalType":"User"}}"#, true),
        one(r#"{"StringLike":{"aws:userid":"AIDA*"}}"#, true),
        one(r#"{"StringEquals":{"aws:PrincipalAccount":"000000000000"}}"#, true),
        one(r#"{"StringEquals":{"s3:ResourceAccount":"000000000000"}}"#, true),
        one(r#"{"StringEquals":{"aws:ResourceAccount":"000000000001"}}"#, false),
        one(r#"{"StringEquals":{"aws:RequestedRegion":"us-east-1"}}"#, true),
        one(r#"{"DateGreaterThan":{"aws:CurrentTime":"2999-01-01T00:00:00Z"}}"#, false),
        // A key of long-term credentials that is not there, and one that nobody has.
        one(r#"{"Bool":{"aws:MultiFactorAuthPresent":"false"}}"#, false),
        one(r#"{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}"#, true),
        one(r#"{"StringEquals":{"aws:NoSuchKey":"x"}}"#, false),
        one(r#"{"StringNotEquals":{"aws:NoSuchKey":"x"}}"#, true),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_holds_for_its_requests_and_no_others() -> Result<()> {
    let stage = Stage::start().await?;
    let tag =
        [("Action", "TagUser"), ("UserName", "nobody"), ("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "blue")];
    stage.iam(&tag).await?;
    let mut rows = of_parameters_and_headers(&stage);
    rows.extend(of_the_rest());
    let (mut failures, mut count) = (Vec::new(), 0);
    for Row { condition, asked } in &rows {
        stage.good(&Request::new("PUT", "/victim?policy").document(&policy("Allow", condition))).await?;
        for (request, kind, holds) in asked {
            let answer = stage.send(&Signer::new(&stage.nobody, *kind).sign(request, &stage.host)).await?;
            count += 1;
            let is_right = if *holds { answer.status < 300 } else { told(&answer) == "403 AccessDenied" };
            if !is_right {
                failures.push(format!(
                    "{condition}: {} {} by {kind:?}: {}",
                    request.method,
                    request.path,
                    told(&answer)
                ));
            }
        }
    }
    println!("condition keys: {} conditions, {count} requests", rows.len());
    ensure!(failures.is_empty(), "{} are wrong:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// Whoever has a URL cannot hide how old its signature is, though the signature stays good when an escape is written
/// for a letter.
#[tokio::test(flavor = "multi_thread")]
async fn the_age_of_a_signature_cannot_be_hidden() -> Result<()> {
    let stage = Stage::start().await?;
    let keys = stage.user("holder", Some(karri_tests_attack::ALLOW_ALL)).await?;
    let deny =
        policy("Deny", r#"{"NumericGreaterThan":{"s3:signatureAge":"60000"}}"#).replace("user/nobody", "user/holder");
    stage.good(&Request::new("PUT", "/victim?policy").document(&deny)).await?;
    let sign = |kind, skew_seconds| Signer { skew_seconds, ..Signer::new(&keys, kind) }.sign(&get(), &stage.host);
    for kind in [Kind::Header, Kind::Presigned] {
        let fresh = stage.send(&sign(kind, 0)).await?;
        ensure!(fresh.status == 200, "fresh by {kind:?}: {}", told(&fresh));
        let old = stage.send(&sign(kind, -120)).await?;
        ensure!(told(&old) == "403 AccessDenied", "old by {kind:?}: {}", told(&old));
    }
    for (plain, written) in [
        ("X-Amz-Date=2", "X-Amz-%44ate=2"),
        ("X-Amz-Date=2", "%58-Amz-Date=2"),
        ("X-Amz-Date=2", "X-Amz-Date=%32"),
        ("X-Amz-Expires", "X-Amz-Expire%73"),
    ] {
        for (skew_seconds, wanted) in [(0, "200 "), (-120, "403 AccessDenied")] {
            let mut sent = sign(Kind::Presigned, skew_seconds);
            ensure!(sent.target.contains(plain), "{}", sent.target);
            sent.target = sent.target.replace(plain, written);
            let answer = stage.send(&sent).await?;
            ensure!(told(&answer) == wanted, "{written} at {skew_seconds} s: {}", told(&answer));
        }
    }
    Ok(())
}
