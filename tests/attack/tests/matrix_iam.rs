//! Every action of IAM and STS x what can be wrong with its signature: refused before it is looked at.

use anyhow::{Result, ensure};
use karri_iam_wire::{iam, sts};
use karri_tests_attack::{Keys, Kind, Sent, Signer, Stage, changes, form_request, text};

/// The spoilt forms of one action: what is wrong, the request, status and code.
fn cells(
    stage: &Stage,
    service: &'static str,
    version: &str,
    action: &str,
) -> Vec<(&'static str, Sent, u16, &'static str)> {
    let request = form_request(version, &[("Action", action), ("UserName", "friend"), ("AccountName", "stranger")]);
    let sign = |keys: &Keys, skew_seconds: i64| {
        let signer = Signer::new(keys, Kind::Header).service(service);
        Signer { skew_seconds, ..signer }.sign(&request, &stage.host)
    };
    let good = sign(&stage.root, 0);
    let forged = good.clone().with_signature(|signature| {
        format!("{}{}", if signature.starts_with('a') { "b" } else { "a" }, &signature[1..])
    });
    let wrong = Keys { secret_key: "wrong".to_owned(), ..stage.root.clone() };
    let unknown = Keys { access_key: "NOSUCHKEYATALL".to_owned(), ..stage.root.clone() };
    let without = Keys { token: None, ..stage.session.clone() };
    let made_up = Keys { token: Some("x".repeat(300)), ..stage.session.clone() };
    let mixed = Keys { token: stage.session.token.clone(), ..stage.friend.clone() };
    let elsewhere = Signer { region: "eu-nowhere-1", ..Signer::new(&stage.root, Kind::Header).service(service) };
    let tampered = Sent { body: [&good.body[..], b"&Path=%2Fevil%2F"].concat(), ..good.clone() };
    let mut cells = vec![
        ("forged signature", forged, 403, "SignatureDoesNotMatch"),
        ("wrong secret", sign(&wrong, 0), 403, "SignatureDoesNotMatch"),
        ("unknown key", sign(&unknown, 0), 403, "InvalidClientTokenId"),
        ("expired", sign(&stage.root, -3600), 403, "SignatureDoesNotMatch"),
        ("not yet valid", sign(&stage.root, 3600), 403, "SignatureDoesNotMatch"),
        ("unsigned header", good.header("x-amz-unsigned", "x"), 403, "SignatureDoesNotMatch"),
        ("tampered body", tampered, 403, "SignatureDoesNotMatch"),
        ("token left out", sign(&without, 0), 403, "InvalidClientTokenId"),
        ("token made up", sign(&made_up, 0), 403, "InvalidClientTokenId"),
        ("another region", elsewhere.sign(&request, &stage.host), 403, "SignatureDoesNotMatch"),
        ("another's token", sign(&mixed, 0), 403, "InvalidClientTokenId"),
    ];
    // It brings another proof of who asks.
    if action != "AssumeRoleWithWebIdentity" {
        cells.push(("missing", request.unsigned(&stage.host), 403, "MissingAuthenticationToken"));
    }
    cells
}

#[tokio::test(flavor = "multi_thread")]
async fn no_action_is_reached_without_a_signature() -> Result<()> {
    let stage = Stage::start().await?;
    let before = stage.identities().await?;
    let all = iam::Operation::ALL.iter().map(|operation| ("iam", "2010-05-08", operation.as_str()));
    let all = all.chain(sts::Operation::ALL.iter().map(|operation| ("sts", "2011-06-15", operation.as_str())));
    let (mut failures, mut count, mut actions) = (Vec::new(), 0, 0);
    for (service, version, action) in all {
        let cells = cells(&stage, service, version, action);
        let requests: Vec<Sent> = cells.iter().map(|cell| cell.1.clone()).collect();
        for ((fault, _, status, code), answer) in cells.iter().zip(stage.send_all(&requests).await?) {
            if answer.status != *status || answer.tag("Code") != *code {
                failures.push(format!(
                    "{action} / {fault}: wanted {status} {code}, got {} {}",
                    answer.status,
                    text(&answer)
                ));
            }
        }
        count += cells.len();
        actions += 1;
    }
    let changed = changes(&before, &stage.identities().await?);
    failures.extend(changed);
    println!("matrix: {actions} actions of IAM and STS, {count} cells");
    let shown = failures.iter().take(30).map(String::as_str).collect::<Vec<_>>().join("\n");
    ensure!(failures.is_empty(), "{} cells are wrong:\n{shown}", failures.len());
    Ok(())
}
