//! Sessions, with aws-cli: on a cluster, each call through another node.

mod oidc;

use anyhow::{Context, Result, ensure};
use karri_tests_clients::{Workbench, python_client};
use oidc::Provider;

/// Whom a command is signed by.
#[derive(Clone)]
struct Keys {
    access_key: String,
    secret_key: String,
    token: Option<String>,
}

impl Keys {
    /// From three columns of text: key, secret, and a token or nothing.
    fn read(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace().map(str::to_owned);
        let (access_key, secret_key) = (words.next().context("a key")?, words.next().context("a secret")?);
        Ok(Self { access_key, secret_key, token: words.next() })
    }
}

struct Clients {
    bench: Workbench,
    calls: std::cell::Cell<usize>,
}

impl Clients {
    /// Success, output and errors of a command, as root where no keys are given.
    async fn aws(&self, keys: Option<&Keys>, args: &[&str]) -> Result<(bool, String, String)> {
        self.calls.set(self.calls.get() + 1);
        let mut command = self.bench.command(&python_client("aws")?);
        if let Some(keys) = keys {
            command.env("AWS_ACCESS_KEY_ID", &keys.access_key).env("AWS_SECRET_ACCESS_KEY", &keys.secret_key);
            if let Some(token) = &keys.token {
                command.env("AWS_SESSION_TOKEN", token);
            }
        }
        command.args(["--endpoint-url", &self.bench.endpoint(self.calls.get())]).args(args);
        let output = command.output().await.context("run aws")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
    }

    async fn good(&self, keys: Option<&Keys>, args: &[&str]) -> Result<String> {
        let (success, output, errors) = self.aws(keys, args).await?;
        ensure!(success, "{args:?} failed: {errors}");
        Ok(output)
    }

    async fn refused(&self, keys: Option<&Keys>, args: &[&str], code: &str) -> Result<()> {
        let (success, output, errors) = self.aws(keys, args).await?;
        ensure!(!success && errors.contains(&format!("({code})")), "{args:?}: not {code}: {output}{errors}");
        Ok(())
    }

    async fn user(&self, name: &str, policy: &str) -> Result<Keys> {
        self.good(None, &["iam", "create-user", "--user-name", name]).await?;
        let put = ["iam", "put-user-policy", "--policy-name", "p", "--user-name", name, "--policy-document", policy];
        self.good(None, &put).await?;
        let query = "AccessKey.[AccessKeyId,SecretAccessKey]";
        let make = ["iam", "create-access-key", "--user-name", name, "--output", "text", "--query", query];
        Keys::read(&self.good(None, &make).await?)
    }

    async fn role(&self, name: &str, trust: &str, policy: &str) -> Result<String> {
        let create = ["iam", "create-role", "--role-name", name, "--assume-role-policy-document", trust];
        self.good(None, &create).await?;
        let put = ["iam", "put-role-policy", "--policy-name", "p", "--role-name", name, "--policy-document", policy];
        self.good(None, &put).await?;
        Ok(format!("arn:aws:iam::000000000000:role/{name}"))
    }

    /// The credentials that a call of STS gives out.
    async fn session(&self, keys: Option<&Keys>, args: &[&str]) -> Result<Keys> {
        let query = "Credentials.[AccessKeyId,SecretAccessKey,SessionToken]";
        let mut all = vec!["sts"];
        all.extend_from_slice(args);
        all.extend_from_slice(&["--output", "text", "--query", query]);
        Keys::read(&self.good(keys, &all).await?)
    }
}

fn allow(action: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":{action},"Resource":"*"}}}}"#)
}

/// A change of identities is known everywhere within a second; each call here goes through another node.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}

async fn roles(nodes: usize) -> Result<()> {
    let clients = Clients { bench: Workbench::start(nodes).await?, calls: 0.into() };
    let ada = clients.user("ada", &allow(r#""sts:*""#)).await?;
    let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],
        "Principal":{"AWS":"arn:aws:iam::000000000000:user/ada"},"Condition":{"StringEquals":{"sts:ExternalId":"e-1"}}}}"#;
    let role = clients.role("worker", trust, &allow(r#"["s3:*","sts:*"]"#)).await?;
    settle().await;
    let who = clients.good(Some(&ada), &["sts", "get-caller-identity"]).await?;
    ensure!(who.contains("arn:aws:iam::000000000000:user/ada"), "{who}");

    let take = ["assume-role", "--role-arn", &role, "--role-session-name", "shift"];
    let with = |more: &[&'static str]| -> Vec<&str> { take.iter().copied().chain(more.iter().copied()).collect() };
    let refused = async |more: &[&'static str], code: &str| {
        clients.refused(Some(&ada), &[&["sts"], &with(more)[..]].concat(), code).await
    };
    refused(&[], "AccessDenied").await?;
    refused(&["--external-id", "e-2"], "AccessDenied").await?;
    refused(&["--external-id", "e-1", "--duration-seconds", "7200"], "ValidationError").await?;
    refused(&["--external-id", "e-1", "--policy", "{}"], "MalformedPolicyDocument").await?;
    refused(
        &["--external-id", "e-1", "--serial-number", "arn:aws:iam::000000000000:mfa/x", "--token-code", "123456"],
        "AccessDenied",
    )
    .await?;
    clients.refused(None, &[&["sts"], &take[..]].concat(), "AccessDenied").await?;

    let session = clients.session(Some(&ada), &with(&["--external-id", "e-1"])).await?;
    let who = clients.good(Some(&session), &["sts", "get-caller-identity"]).await?;
    ensure!(who.contains("arn:aws:sts::000000000000:assumed-role/worker/shift"), "{who}");
    let file = clients.bench.file("f", 1, 5000)?.display().to_string();
    clients.good(Some(&session), &["s3", "mb", "s3://sessions"]).await?;
    clients.good(Some(&session), &["s3", "cp", &file, "s3://sessions/f"]).await?;
    let url = clients.good(Some(&session), &["s3", "presign", "s3://sessions/f"]).await?;
    clients.bench.run(std::path::Path::new("curl"), &["-sf", "-o", "got", url.trim()]).await?;
    ensure!(std::fs::read(&file)? == std::fs::read(clients.bench.path("got"))?, "the presigned download differs");

    let mut without = session.clone();
    without.token = None;
    clients.refused(Some(&without), &["s3api", "list-buckets"], "InvalidAccessKeyId").await?;
    clients.refused(Some(&without), &["sts", "get-caller-identity"], "InvalidClientTokenId").await?;
    let mut forged = session.clone();
    forged.token = session.token.as_ref().map(|token| token.replace(['x', 'y', 'z'], "w"));
    clients.refused(Some(&forged), &["s3api", "list-buckets"], "InvalidToken").await?;
    clients.refused(Some(&session), &["sts", "get-session-token"], "AccessDenied").await?;

    let tagged = with(&["--external-id", "e-1", "--tags", "Key=team,Value=blue"]);
    let limits = allow(r#""sts:GetCallerIdentity""#);
    let limited = clients.session(Some(&ada), &[&tagged[..], &["--policy", &limits]].concat()).await?;
    let info = ["sts", "get-access-key-info", "--access-key-id", &session.access_key];
    clients.refused(Some(&limited), &info, "AccessDenied").await?;
    clients.refused(Some(&limited), &["s3api", "list-objects-v2", "--bucket", "sessions"], "AccessDenied").await?;
    ensure!(clients.good(Some(&session), &info).await?.contains("000000000000"), "the key's account");

    // Revocation: what was issued before now may do nothing more.
    let revoke = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*",
        "Condition":{"DateLessThan":{"aws:TokenIssueTime":"2999-01-01T00:00:00Z"}}}}"#;
    let put =
        ["iam", "put-role-policy", "--role-name", "worker", "--policy-name", "revoke", "--policy-document", revoke];
    clients.good(None, &put).await?;
    settle().await;
    clients.refused(Some(&session), &info, "AccessDenied").await?;
    clients.good(None, &["iam", "delete-role-policy", "--role-name", "worker", "--policy-name", "revoke"]).await?;
    settle().await;
    ensure!(clients.good(Some(&session), &info).await?.contains("000000000000"), "the key's account");

    let own = clients.session(Some(&ada), &["get-session-token"]).await?;
    ensure!(clients.good(Some(&own), &["sts", "get-caller-identity"]).await?.contains("user/ada"), "a user's session");
    let bob = clients
        .session(Some(&ada), &["get-federation-token", "--name", "bob", "--policy", &allow(r#""sts:*""#)])
        .await?;
    let who = clients.good(Some(&bob), &["sts", "get-caller-identity"]).await?;
    ensure!(who.contains("federated-user/bob"), "{who}");
    clients
        .refused(
            None,
            &["sts", "decode-authorization-message", "--encoded-message", "abc"],
            "InvalidAuthorizationMessageException",
        )
        .await
}

#[tokio::test]
async fn sessions_on_one_node() -> Result<()> {
    roles(1).await
}

#[tokio::test]
async fn sessions_on_three_nodes() -> Result<()> {
    roles(3).await
}

#[tokio::test]
async fn a_token_of_a_provider_stands_for_a_signature() -> Result<()> {
    let provider = Provider::start().await?;
    let tables = format!("[iam]\noidc_private_hosts = [{:?}]", provider.host());
    let clients = Clients { bench: Workbench::start_with(1, &tables).await?, calls: 0.into() };
    // Providers are registered by host and path; that this one is asked without TLS is for the configuration to say.
    let url = provider.issuer().replace("http://", "https://");
    let create = ["iam", "create-open-id-connect-provider", "--url", &url, "--client-id-list", "web"];
    clients
        .good(None, &[&create[..], &["--thumbprint-list", "0000000000000000000000000000000000000000"]].concat())
        .await?;
    let name = format!("{}/realm", provider.host());
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession"],
        "Principal":{{"Federated":"arn:aws:iam::000000000000:oidc-provider/{name}"}},"Condition":{{"StringEquals":{{
        "{name}:sub":"ada","{name}:aud":"web","aws:RequestTag/team":"blue"}}}}}}}}"#
    );
    let role = clients.role("web", &trust, &allow(r#""s3:*""#)).await?;
    let assume = async |token: &str| {
        let take = ["assume-role-with-web-identity", "--role-arn", &role, "--role-session-name", "page"];
        let take = [&["sts"], &take[..], &["--web-identity-token", token]].concat();
        clients
            .aws(
                None,
                &[&take[..], &["--output", "text", "--query", "[SubjectFromWebIdentityToken,Audience]"]].concat(),
            )
            .await
    };
    let good = provider.claims("ada", "web", "blue");
    let (success, output, errors) = assume(&provider.sign(&good)).await?;
    ensure!(success && output.split_whitespace().eq(["ada", "web"]), "{output}{errors}");
    let take = ["assume-role-with-web-identity", "--role-arn", &role, "--role-session-name", "page"];
    let token = provider.sign(&good);
    let session = clients.session(None, &[&take[..], &["--web-identity-token", &token]].concat()).await?;
    clients.good(Some(&session), &["s3", "mb", "s3://of-a-page"]).await?;

    let mut old = good.clone();
    old["exp"] = 1_000_000_000.into();
    let mut foreign = good.clone();
    foreign["iss"] = "https://id.example".into();
    let signature_of_another = {
        let (signed, _) = token.rsplit_once('.').context("a token")?;
        let other = provider.sign(&provider.claims("eve", "web", "blue"));
        format!("{signed}.{}", other.rsplit_once('.').context("a token")?.1)
    };
    let cases = [
        (provider.sign(&provider.claims("eve", "web", "blue")), "AccessDenied"),
        (provider.sign(&provider.claims("ada", "web", "red")), "AccessDenied"),
        (provider.sign(&provider.claims("ada", "app", "blue")), "InvalidIdentityToken"),
        (provider.sign(&old), "ExpiredTokenException"),
        (provider.sign(&foreign), "InvalidIdentityToken"),
        (signature_of_another, "InvalidIdentityToken"),
        ("e30.e30.e30".to_owned(), "InvalidIdentityToken"),
    ];
    for (token, code) in cases {
        let (success, output, errors) = assume(&token).await?;
        ensure!(!success && errors.contains(&format!("({code})")), "not {code}: {output}{errors}");
    }
    Ok(())
}
