//! One key is authorised, stored and read: however a path is written, nobody reaches with it what they may not.

use anyhow::{Result, ensure};
use karri_tests_attack::{Keys, Kind, Request, Signer, Stage, text, told};
use karri_tests_cluster::Answer;

/// May read and write below `open/`, and nothing else.
const OPEN_ONLY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["s3:PutObject","s3:GetObject"],"Resource":"arn:aws:s3:::victim/open/*"}]}"#;

/// Paths, and the key that each stands for when it is allowed; `None`: it stands for one that is not, or for none.
const PATHS: [(&str, Option<&str>); 24] = [
    ("/victim/open/plain", Some("open/plain")),
    ("/victim/open%2Fescaped", Some("open/escaped")),
    ("/victim/%6Fpen/letter", Some("open/letter")),
    ("/victim/open//double", Some("open//double")),
    ("/victim/open/%2Fescaped-double", Some("open//escaped-double")),
    ("/victim/open/a+b", Some("open/a+b")),
    ("/victim/open/a%2Bb", Some("open/a+b")),
    ("/victim/open/a%20b", Some("open/a b")),
    ("/victim/open/..%2Fkey", Some("open/../key")),
    ("/victim/open/../key", Some("open/../key")),
    ("/victim/open/%2e%2e/key", Some("open/../key")),
    ("/victim/open/./dot", Some("open/./dot")),
    ("/victim/open/%252e%252e/key", Some("open/%2e%2e/key")),
    ("/victim/open/%C3%A9", Some("open/\u{e9}")),
    ("/victim//open/x", None),
    ("/victim/./open/x", None),
    ("/victim/x/../open/x", None),
    ("/victim/OPEN/x", None),
    ("/victim/open%252Fx", None),
    ("/victim/openx", None),
    ("/victim/open", None),
    ("/other/../victim/open/x", None),
    ("//victim/open/x", None),
    ("/victim%2Fopen/x", None),
];

/// Every key of the bucket.
async fn keys(stage: &Stage) -> Result<Vec<String>> {
    let listed = stage.good(&Request::new("GET", "/victim?list-type=2")).await?;
    let body = String::from_utf8(listed.body.to_vec())?;
    let keys = body.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap_or_default());
    Ok(keys.map(|key| key.replace("&amp;", "&")).collect())
}

async fn ask(stage: &Stage, keys: &Keys, kind: Kind, request: &Request) -> Result<Answer> {
    stage.send(&Signer::new(keys, kind).sign(request, &stage.host)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_authorised_is_what_is_stored() -> Result<()> {
    let stage = Stage::start().await?;
    let limited = stage.user("limited", Some(OPEN_ONLY)).await?;
    let mut failures = Vec::new();
    for kind in [Kind::Header, Kind::Presigned, Kind::Chunked, Kind::Trailer, Kind::HeaderV2] {
        for (number, (path, wanted)) in PATHS.iter().enumerate() {
            let before = keys(&stage).await?;
            let body = format!("{number} by {kind:?}");
            let put = ask(&stage, &limited, kind, &Request::new("PUT", path).body(&body)).await?;
            let after = keys(&stage).await?;
            let new: Vec<_> = after.iter().filter(|key| !before.contains(key)).collect();
            let place = format!("{kind:?} {path}: {} and keys {new:?}", told(&put));
            match wanted {
                Some(key) => {
                    let known = new.is_empty() && after.iter().any(|there| there == key);
                    if put.status != 200 || !(known || new == [key]) {
                        failures.push(format!("{place}, wanted {key:?}; {}", text(&put)));
                        continue;
                    }
                    let got = ask(&stage, &limited, kind, &Request::new("GET", path)).await?;
                    if got.body != body.as_bytes() {
                        failures.push(format!("{place}: read back {} {}", got.status, text(&got)));
                    }
                }
                None if put.status < 400 || !new.is_empty() => failures.push(place),
                None => {
                    let got = ask(&stage, &limited, kind, &Request::new("GET", path)).await?;
                    if got.status < 400 {
                        failures.push(format!("{place}: GET answers {} {}", got.status, text(&got)));
                    }
                }
            }
        }
    }
    let victim = stage.good(&Request::new("GET", "/victim/key")).await?;
    ensure!(&victim.body[..] == b"second", "the victim is {}", text(&victim));
    ensure!(failures.is_empty(), "{} paths:\n{}", failures.len(), failures.join("\n"));
    println!("paths: {}", PATHS.len() * 5);
    Ok(())
}

/// A bucket policy denies reads below `secret/`, to everybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_deny_holds_however_the_path_is_written() -> Result<()> {
    let stage = Stage::start().await?;
    stage.good(&Request::new("PUT", "/victim/secret/x").body("a secret")).await?;
    for path in ["/victim/secret/x", "/victim/secret%2Fx", "/victim/%73ecret/x", "/victim/%73%65%63ret%2f%78"] {
        let denied = ask(&stage, &stage.friend, Kind::Header, &Request::new("GET", path)).await?;
        ensure!(told(&denied) == "403 AccessDenied", "{path}: {} {}", denied.status, text(&denied));
    }
    let around =
        ["//secret/x", "/./secret/x", "/a/../secret/x", "/secret/./x", "/secret//x", "/SECRET/x", "/secret%252Fx"];
    for path in around {
        let path = format!("/victim{path}");
        let answer = ask(&stage, &stage.friend, Kind::Header, &Request::new("GET", &path)).await?;
        ensure!(answer.status >= 400 && !text(&answer).contains("a secret"), "{path}: {}", told(&answer));
    }
    // Bytes that no key has, and keys that no version 4 signature covers twice.
    for path in ["/victim/open/%ff", "/victim/open/%zz", "/victim/%00"] {
        let answer = ask(&stage, &stage.friend, Kind::Header, &Request::new("PUT", path).body("x")).await?;
        println!("{path}: {}", told(&answer));
        ensure!(answer.status < 500, "{path}: {} {}", answer.status, text(&answer));
    }
    // A parameter that is there twice is one thing to the signature and to the operation, or it is refused.
    let twice = Request::new("GET", "/victim/key?versionId=null");
    let sent = Signer::new(&stage.friend, Kind::Presigned).sign(&twice, &stage.host);
    let again = stage.send(&sent.parameter(&format!("versionId={}", stage.names.version))).await?;
    ensure!(told(&again) == "403 SignatureDoesNotMatch", "{} {}", again.status, text(&again));
    Ok(())
}
