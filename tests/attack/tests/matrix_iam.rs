//! Every action of IAM and STS x what can be wrong with its signature: refused before it is looked at.

use anyhow::{Result, ensure};
use karri_iam_wire::{iam, sts};
use karri_tests_attack::{ALLOW_ALL, Keys, Kind, Sent, Signer, Stage, changes, form_request, text};

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

/// Parameters of every action: each takes those that it knows.
fn parameters() -> Vec<(String, String)> {
    let trust =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"}]}"#;
    let arn = |rest: &str| format!("arn:aws:iam::000000000000:{rest}");
    let pairs = [
        ("UserName", "friend".to_owned()),
        ("RoleName", "all".to_owned()),
        ("GroupName", "group".to_owned()),
        ("PolicyName", "p".to_owned()),
        ("PolicyArn", arn("policy/p")),
        ("PolicyDocument", ALLOW_ALL.to_owned()),
        ("PolicyInputList.member.1", ALLOW_ALL.to_owned()),
        ("AssumeRolePolicyDocument", trust.to_owned()),
        ("PermissionsBoundary", "arn:aws:iam::aws:policy/ReadOnlyAccess".to_owned()),
        ("PolicySourceArn", arn("user/friend")),
        ("ActionNames.member.1", "s3:GetObject".to_owned()),
        ("SerialNumber", arn("mfa/device")),
        ("VirtualMFADeviceName", "device".to_owned()),
        ("AuthenticationCode1", "123456".to_owned()),
        ("AuthenticationCode2", "654321".to_owned()),
        ("OpenIDConnectProviderArn", arn("oidc-provider/idp.example")),
        ("Url", "https://idp.example".to_owned()),
        ("ClientID", "client".to_owned()),
        ("ThumbprintList.member.1", "a".repeat(40)),
        ("InstanceProfileName", "profile".to_owned()),
        ("ServerCertificateName", "certificate".to_owned()),
        ("CertificateBody", "x".to_owned()),
        ("PrivateKey", "x".to_owned()),
        ("CertificateId", "A".repeat(24)),
        ("AccountName", "stranger".to_owned()),
        ("AccountAlias", "stranger".to_owned()),
        ("VersionId", "v1".to_owned()),
        ("Status", "Inactive".to_owned()),
        ("Description", "described".to_owned()),
        ("Password", "An0ther-Password".to_owned()),
        ("OldPassword", "An0ther-Password".to_owned()),
        ("NewPassword", "An0ther-Passw0rd".to_owned()),
        ("Tags.member.1.Key", "k".to_owned()),
        ("Tags.member.1.Value", "v".to_owned()),
        ("TagKeys.member.1", "k".to_owned()),
        ("Name", "federated".to_owned()),
        ("RoleArn", arn("role/all")),
        ("RoleSessionName", "shift".to_owned()),
        ("EncodedMessage", "x".to_owned()),
        ("WebIdentityToken", "x.y.z".to_owned()),
        ("TemplateName", "ReadOnlyAuditor".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What AWS lets everybody do: who one is, and sessions that are no more than oneself.
const FREE: [&str; 4] = ["GetCallerIdentity", "GetSessionToken", "GetAccessKeyInfo", "AssumeRoleWithWebIdentity"];

/// Each action by a user with an explicit deny, by one without a policy, and by the root user of another account.
#[tokio::test(flavor = "multi_thread")]
async fn no_action_is_reached_without_a_permission() -> Result<()> {
    let stage = Stage::start().await?;
    let all = iam::Operation::ALL.iter().map(|operation| ("iam", "2010-05-08", operation.as_str()));
    let all: Vec<_> =
        all.chain(sts::Operation::ALL.iter().map(|operation| ("sts", "2011-06-15", operation.as_str()))).collect();
    let mut form = parameters();
    form.push(("AccessKeyId".to_owned(), stage.friend.access_key.clone()));
    let ask = |keys: &Keys, (service, version, action): (&'static str, &str, &str)| {
        // STS takes a device with its code only.
        let known = form.iter().filter(|(name, _)| service == "iam" || name != "SerialNumber");
        let pairs = known.map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs: Vec<_> = std::iter::once(("Action", action)).chain(pairs).collect();
        Signer::new(keys, Kind::Header).service(service).sign(&form_request(version, &pairs), &stage.host)
    };
    let before = stage.identities().await?;
    let mut failures = Vec::new();
    let mut count = 0;
    for (who, keys) in [("denied", &stage.denied), ("nobody", &stage.nobody), ("stranger", &stage.stranger)] {
        for known in &all {
            let action = known.2;
            // The alias of its own account is the other account's to drop, and the cloud's administrator sees it.
            if (who, action) == ("stranger", "DeleteAccountAlias") {
                continue;
            }
            let answer = stage.send(&ask(keys, *known)).await?;
            count += 1;
            let is_right = match (who, action) {
                (_, action) if FREE.contains(&action) => answer.status < 500,
                // They do it in their own account, where nothing has these names.
                ("stranger", _) if answer.status == 200 => !text(&answer).contains("000000000000"),
                ("stranger", _) => answer.status < 500,
                _ => answer.status == 403 && answer.tag("Code") == "AccessDenied",
            };
            if !is_right {
                failures.push(format!("{action} by {who}: {} {}", answer.status, text(&answer)));
            }
        }
        failures.extend(changes(&before, &stage.identities().await?));
    }
    println!("permissions of IAM and STS: {} actions, {count} cells", all.len());
    let shown = failures.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n");
    ensure!(failures.is_empty(), "{} cells are wrong:\n{shown}", failures.len());
    Ok(())
}

/// What an action needs beside the permission of its own name, with the parameters of [`parameters`].
fn also(action: &str) -> &'static [&'static str] {
    match action {
        "AddRoleToInstanceProfile" => &["iam:PassRole"],
        "CompareRoleTemplate" => &["iam:GetRolePolicy"],
        "InstallRoleTemplate" => &["iam:PutRolePolicy"],
        "CreateInstanceProfile" => &["iam:TagInstanceProfile"],
        "CreateOpenIDConnectProvider" => &["iam:TagOpenIDConnectProvider"],
        "CreatePolicy" => &["iam:TagPolicy"],
        "CreateRole" => &["iam:TagRole"],
        "CreateUser" => &["iam:TagUser"],
        "CreateVirtualMFADevice" => &["iam:TagMFADevice"],
        "UploadServerCertificate" => &["iam:TagServerCertificate"],
        _ => &[],
    }
}

/// Actions that no permission is asked for, or that sessions of roles may not call; and AssumeRole, whose trust policy
/// lets everybody in here.
const OF_NO_PERMISSION: [&str; 6] = [
    "AssumeRole",
    "AssumeRoleWithWebIdentity",
    "ChangePassword",
    "GetCallerIdentity",
    "GetFederationToken",
    "GetSessionToken",
];

/// Each action needs the permission of its name, those that [`also`] lists, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn each_action_needs_its_own_permissions() -> Result<()> {
    let stage = Stage::start().await?;
    // What is allowed is done: to those who are not needed any more.
    let spare = stage.user("spare", None).await?;
    let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"}}"#;
    stage.iam(&[("Action", "CreateRole"), ("RoleName", "spare"), ("AssumeRolePolicyDocument", trust)]).await?;
    let kept = [("RoleName", "spare"), ("PolicyName", "kept"), ("PolicyDocument", ALLOW_ALL)];
    stage.iam(&[&[("Action", "PutRolePolicy")], &kept[..]].concat()).await?;
    let mut form = parameters();
    for (name, value) in &mut form {
        match name.as_str() {
            "UserName" | "RoleName" => *value = "spare".to_owned(),
            "PolicySourceArn" => *value = "arn:aws:iam::000000000000:user/spare".to_owned(),
            _ => {}
        }
    }
    form.push(("AccessKeyId".to_owned(), spare.access_key.clone()));
    let all = iam::Operation::ALL.iter().map(|operation| ("iam", "2010-05-08", operation.as_str()));
    let all = all.chain(sts::Operation::ALL.iter().map(|operation| ("sts", "2011-06-15", operation.as_str())));
    let (mut failures, mut count) = (Vec::new(), 0);
    for (service, version, action) in all.filter(|(_, _, action)| !OF_NO_PERMISSION.contains(action)) {
        let pairs = form.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs: Vec<_> = std::iter::once(("Action", action)).chain(pairs).collect();
        let request = form_request(version, &pairs);
        let own = format!("{service}:{action}");
        let needed: Vec<&str> = std::iter::once(own.as_str()).chain(also(action).iter().copied()).collect();
        let lacking = needed.iter().map(|missing| (format!(r#""NotAction":"{missing}""#), true));
        let enough = (format!(r#""Action":["{}"]"#, needed.join("\",\"")), false);
        for (actions, is_refused) in lacking.chain([enough]) {
            let policy =
                format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow",{actions},"Resource":"*"}}}}"#);
            let keys = stage.assume(Some(&policy)).await?;
            let signed = Signer::new(&keys, Kind::Header).service(service).sign(&request, &stage.host);
            let answer = stage.send(&signed).await?;
            count += 1;
            if (answer.tag("Code") == "AccessDenied") != is_refused {
                failures.push(format!("{action} with {actions}: {} {}", answer.status, text(&answer)));
            }
        }
    }
    println!("permissions of sessions: {count} cells");
    let shown = failures.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n");
    ensure!(failures.is_empty(), "{} cells are wrong:\n{shown}", failures.len());
    Ok(())
}
