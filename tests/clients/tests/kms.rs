//! The key service, with boto3 and aws-cli: on a cluster, each call through another node.

use std::path::Path;

use anyhow::{Result, ensure};
use karri_tests_clients::{Workbench, python_client};

/// Days of rotation and deletion last so long here.
const SHORT_DAYS: &str = "[kms]\nday_milliseconds = 100\n";

async fn boto3(nodes: usize, script: &str, passed: &str) -> Result<Workbench> {
    let bench = Workbench::start_with(nodes, SHORT_DAYS).await?;
    let mut args = vec![format!("{}/boto3/{script}", env!("CARGO_MANIFEST_DIR"))];
    args.extend((0..nodes).map(|node| bench.endpoint(node)));
    let output = bench.run(&python_client("python")?, &args).await?;
    ensure!(output.trim_end().ends_with(passed), "{output}");
    Ok(bench)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_on_one_node() -> Result<()> {
    boto3(1, "kms.py", "kms: all passed").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_on_three_nodes() -> Result<()> {
    boto3(3, "kms.py", "kms: all passed").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_cli_speaks_to_it() -> Result<()> {
    let bench = Workbench::start(1).await?;
    let endpoint = bench.endpoint(0);
    let aws = async |args: &[&str]| {
        let mut all = vec!["--endpoint-url", endpoint.as_str(), "kms"];
        all.extend_from_slice(args);
        bench.run(&python_client("aws")?, &all).await
    };
    let text = ["--output", "text", "--query"];
    let key = aws(&[&["create-key"][..], &text, &["KeyMetadata.KeyId"]].concat()).await?;
    aws(&["create-alias", "--alias-name", "alias/cli", "--target-key-id", key.trim()]).await?;
    std::fs::write(bench.path("plain"), b"canary")?;
    let context = ["--encryption-context", "a=b"];
    let plain = format!("fileb://{}", bench.text_path("plain"));
    let encrypt = ["encrypt", "--key-id", "alias/cli", "--plaintext", &plain];
    let sealed = aws(&[&encrypt[..], &context, &text, &["CiphertextBlob"]].concat()).await?;
    bench.run(Path::new("sh"), &["-c", &format!("echo {} | base64 -d >sealed", sealed.trim())]).await?;
    let sealed = format!("fileb://{}", bench.text_path("sealed"));
    let decrypt = ["decrypt", "--ciphertext-blob", &sealed];
    let opened = aws(&[&decrypt[..], &context, &text, &["Plaintext"]].concat()).await?;
    ensure!(opened.trim() == "Y2FuYXJ5", "{opened}");
    ensure!(aws(&["list-aliases"]).await?.contains("alias/cli"), "the alias is not listed");
    Ok(())
}

/// Runs the script and looks at every byte that the nodes have written.
async fn objects(nodes: usize) -> Result<()> {
    let bench = boto3(nodes, "sse_kms.py", "sse-kms: all passed").await?;
    for node in 0..nodes {
        let folder = bench.cluster.data_dir(node).display().to_string();
        // That it looks where data is: the name of a bucket is there, and not sealed.
        let sought = async |text: &str| bench.try_run(Path::new("grep"), &["-rlaF", text, &folder]).await;
        let (found, files, _) = sought("kms-bucket").await?;
        ensure!(found && !files.is_empty(), "nothing was looked at");
        let (found, files, _) = sought("canary that must be on no disk").await?;
        ensure!(!found, "node {node} has the plain text in {files}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_on_one_node() -> Result<()> {
    objects(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_on_three_nodes() -> Result<()> {
    objects(3).await
}
