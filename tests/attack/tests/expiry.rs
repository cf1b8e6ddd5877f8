//! A session that has come to its end, by the clock of the node.

use std::path::Path;

use anyhow::{Result, ensure};
use karri_tests_attack::{Form, Kind, Request, Signer, Stage, form_request, text, told};

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// Longer than the session of an hour.
const LATER_SECONDS: i64 = 3_700;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_time_is_over() -> Result<()> {
    ensure!(Path::new(FAKETIME).exists(), "faketime is missing: `cargo xtask setup` installs it");
    let clock = std::env::temp_dir().join(format!("karri-expiry-{}", std::process::id()));
    std::fs::write(&clock, "+0")?;
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let stage = Stage::start_in(vec![
        variable("LD_PRELOAD", FAKETIME),
        variable("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string()),
        variable("FAKETIME_NO_CACHE", "1"),
        variable("DONT_FAKE_MONOTONIC", "1"),
    ])
    .await?;
    let get = Request::new("GET", "/victim/key");
    let put = Request::new("PUT", "/victim/late").body("too late");
    let who = form_request("2011-06-15", &[("Action", "GetCallerIdentity")]);
    let users = form_request("2010-05-08", &[("Action", "ListUsers")]);
    // Signed for the node's time, so that nothing but the session is over.
    let signer = |kind, skew_seconds| Signer { skew_seconds, ..Signer::new(&stage.session, kind) };
    for kind in Kind::ALL {
        let answer = stage.send(&signer(kind, 0).sign(&get, &stage.host)).await?;
        ensure!(answer.status == 200, "{kind:?}: {} {}", answer.status, text(&answer));
    }
    std::fs::write(&clock, format!("+{LATER_SECONDS}"))?;
    for kind in Kind::ALL {
        for request in [&get, &put] {
            let answer = stage.send(&signer(kind, LATER_SECONDS).sign(request, &stage.host)).await?;
            ensure!(told(&answer) == "400 ExpiredToken", "{kind:?}: {} {}", answer.status, text(&answer));
        }
    }
    let form = Form::signed_by(&signer(Kind::Header, LATER_SECONDS), LATER_SECONDS + 300).send(&stage.host);
    let answer = stage.send(&form).await?;
    ensure!(told(&answer) == "400 ExpiredToken", "a form: {} {}", answer.status, text(&answer));
    for (service, request) in [("sts", &who), ("iam", &users)] {
        let signed = signer(Kind::Header, LATER_SECONDS).service(service).sign(request, &stage.host);
        let answer = stage.send(&signed).await?;
        ensure!(told(&answer) == "403 ExpiredToken", "{service}: {} {}", answer.status, text(&answer));
    }
    let friend = Signer { skew_seconds: LATER_SECONDS, ..Signer::new(&stage.friend, Kind::Header) };
    let answer = stage.send(&friend.sign(&Request::new("GET", "/victim/late"), &stage.host)).await?;
    ensure!(told(&answer) == "404 NoSuchKey", "{} {}", answer.status, text(&answer));
    let answer = stage.send(&friend.sign(&get, &stage.host)).await?;
    ensure!(answer.status == 200, "a user's own keys: {} {}", answer.status, text(&answer));
    std::fs::remove_file(&clock)?;
    Ok(())
}
