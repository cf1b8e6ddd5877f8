//! IAM through boto3 and aws-cli, and what it must not leave behind.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use karri_tests_clients::{Setting, Workbench, files, python_client};
use karri_tests_cluster::karri_binary;

/// Runs the boto3 script; the secrets that it saw come back.
async fn boto3(bench: &Workbench, nodes: usize) -> Result<Vec<String>> {
    let script = format!("{}/boto3/iam.py", env!("CARGO_MANIFEST_DIR"));
    let secrets = bench.text_path("secrets");
    let config = bench.cluster.config(0).display().to_string();
    let karri = karri_binary().display().to_string();
    let rotate = serde_json::to_string(&[&karri, "iam", "root", "rotate", "--config", &config])?;
    let mut args = vec![script, secrets.clone(), rotate];
    args.extend((0..nodes).map(|node| bench.endpoint(node)));
    let output = bench.run(&python_client("python")?, &args).await?;
    ensure!(output.trim_end().ends_with("iam: all passed"), "{output}");
    Ok(std::fs::read_to_string(secrets)?.lines().map(str::to_owned).collect())
}

/// Fails when one of the secrets is in a file below `folder`.
fn nowhere_in(folder: &Path, secrets: &[String]) -> Result<()> {
    for file in files(folder)? {
        let content = std::fs::read(folder.join(&file)).unwrap_or_default();
        for secret in secrets {
            let found = memchr::memmem::find(&content, secret.as_bytes());
            ensure!(found.is_none(), "a secret is in clear in {}", file.display());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_on_three_nodes_leaves_no_secret_in_clear() -> Result<()> {
    let bench = Workbench::start(3).await?;
    let secrets = boto3(&bench, 3).await?;
    ensure!(secrets.len() >= 8, "the script saw only {} secrets", secrets.len());
    left_nowhere(&bench, 3, &secrets).await
}

/// Secrets of every kind in calls that succeed and that fail: keys, session tokens, tokens of identity providers, clients'
/// own keys of objects, plain texts of the key service, passwords, seeds of second factors, keys of certificates.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_refusal_and_nowhere_else() -> Result<()> {
    let bench = Workbench::start_with(2, "customer_keys_over_http = true\n").await?;
    let list = bench.text_path("secrets");
    let script = format!("{}/boto3/canary.py", env!("CARGO_MANIFEST_DIR"));
    let args = [script, list.clone(), bench.endpoint(0), bench.endpoint(1)];
    let output = bench.run(&python_client("python")?, &args).await?;
    ensure!(output.trim_end().ends_with("canary: all passed"), "{output}");
    let secrets: Vec<String> = std::fs::read_to_string(list)?.lines().map(str::to_owned).collect();
    ensure!(secrets.len() >= 70, "the script saw only {} secrets", secrets.len());
    left_nowhere(&bench, 2, &secrets).await
}

/// Fails when a secret is in the files, the log or the metrics of a node.
async fn left_nowhere(bench: &Workbench, nodes: usize, secrets: &[String]) -> Result<()> {
    // The check itself can find something.
    ensure!(nowhere_in(bench.path("").as_path(), secrets).is_err(), "the list of secrets was not found");
    for node in 0..nodes {
        nowhere_in(bench.cluster.data_dir(node), secrets)?;
        let log = bench.cluster.log(node);
        ensure!(!log.is_empty() && !secrets.iter().any(|secret| log.contains(secret)), "a secret is in a log");
        let url = format!("{}/-/metrics", bench.endpoint(node));
        let metrics = bench.run(Path::new("curl"), &["-sf", &url]).await?;
        ensure!(!secrets.iter().any(|secret| metrics.contains(secret)), "a secret is in the metrics");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_cli_makes_a_user_whose_keys_work() -> Result<()> {
    let bench = Workbench::start(1).await?;
    let endpoint = bench.endpoint(0);
    let aws = python_client("aws")?;
    let iam = async |args: &[&str]| {
        let mut all = vec!["--endpoint-url", endpoint.as_str(), "--output", "text", "iam"];
        all.extend_from_slice(args);
        bench.run(&aws, &all).await
    };
    iam(&["create-user", "--user-name", "cli"]).await?;
    let document = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
    iam(&["put-user-policy", "--user-name", "cli", "--policy-name", "s3", "--policy-document", document]).await?;
    let query = "AccessKey.[AccessKeyId,SecretAccessKey]";
    let key = iam(&["create-access-key", "--user-name", "cli", "--query", query]).await?;
    let (id, secret) = key.trim().split_once('\t').context("an access key")?;
    let s3 = async |args: &[&str]| -> Result<bool> {
        let mut command = bench.command(&aws);
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        command.args(["--endpoint-url", endpoint.as_str(), "s3"]).args(args);
        Ok(command.output().await?.status.success())
    };
    ensure!(s3(&["mb", "s3://bucket-of-cli"]).await?, "a bucket could not be made");
    ensure!(s3(&["ls", "s3://bucket-of-cli"]).await?, "a bucket could not be listed");
    iam(&["update-access-key", "--user-name", "cli", "--access-key-id", id, "--status", "Inactive"]).await?;
    ensure!(!s3(&["ls", "s3://bucket-of-cli"]).await?, "an inactive key is good");
    let got = iam(&["list-access-keys", "--user-name", "cli"]).await?;
    ensure!(got.contains(id) && got.contains("Inactive") && !got.contains(secret), "{got}");
    Ok(())
}

/// By IAM's calls and from the host, which say the same; and what a session of each role may do.
#[tokio::test(flavor = "multi_thread")]
async fn shipped_roles_are_installed_and_hold() -> Result<()> {
    // One of them asks for an encrypted connection.
    let bench = Workbench::start_in(1, Setting { tls: true, ..Setting::default() }).await?;
    let config = bench.cluster.config(0).display().to_string();
    let karri = karri_binary().display().to_string();
    let command = serde_json::to_string(&[&[&*karri, "iam", "templates"][..], &["--config", &config]])?;
    let args = [format!("{}/boto3/templates.py", env!("CARGO_MANIFEST_DIR")), command, bench.endpoint(0)];
    let output = bench.run(&python_client("python")?, &args).await?;
    ensure!(output.trim_end().ends_with("templates: all passed"), "{output}");
    Ok(())
}
