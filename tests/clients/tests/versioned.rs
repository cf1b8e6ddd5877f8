//! Clients on buckets that keep versions.

use std::path::Path;

use anyhow::{Result, ensure};
use karri_tests_clients::{Workbench, python_client, same_tree};

async fn boto3_versions(nodes: usize) -> Result<()> {
    let bench = Workbench::start(nodes).await?;
    let mut args = vec![format!("{}/boto3/versions.py", env!("CARGO_MANIFEST_DIR"))];
    args.extend((0..3).map(|node| bench.endpoint(node)));
    let output = bench.run(&python_client("python")?, &args).await?;
    ensure!(output.trim_end().ends_with("boto3: all passed"), "{output}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_on_one_node() -> Result<()> {
    boto3_versions(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_on_three_nodes() -> Result<()> {
    boto3_versions(3).await
}

/// rclone reads, syncs and cleans a bucket that keeps versions.
#[tokio::test(flavor = "multi_thread")]
async fn rclone_on_three_nodes() -> Result<()> {
    let bench = Workbench::start(3).await?;
    let rclone = async |node: usize, args: &[&str]| {
        let text = format!(
            "[karri]\ntype = s3\nprovider = Other\nenv_auth = true\nendpoint = {}\nregion = us-east-1\n",
            bench.endpoint(node)
        );
        let config = bench.text_path(&format!("rclone-{node}.conf"));
        std::fs::write(&config, text)?;
        let mut all = vec!["--config", config.as_str(), "--retries", "1", "--low-level-retries", "1"];
        all.extend_from_slice(args);
        bench.run(Path::new("rclone"), &all).await
    };
    let tree = bench.tree("tree")?;
    let source = tree.display().to_string();
    rclone(0, &["mkdir", "karri:versions"]).await?;
    rclone(1, &["backend", "versioning", "karri:versions", "Enabled"]).await?;
    rclone(2, &["sync", &source, "karri:versions"]).await?;
    let before = rclone(0, &["lsf", "-R", "--files-only", "karri:versions"]).await?.lines().count();
    std::fs::write(tree.join("deep/er/c"), "changed")?;
    rclone(1, &["sync", &source, "karri:versions"]).await?;
    rclone(2, &["copy", "karri:versions", &bench.text_path("back")]).await?;
    same_tree(&tree, &bench.path("back"))?;
    let all = rclone(0, &["lsf", "-R", "--files-only", "--s3-versions", "karri:versions"]).await?.lines().count();
    ensure!(all == before + 1, "{all} versions of {before} files of which one changed");
    rclone(1, &["delete", "karri:versions"]).await?;
    ensure!(rclone(2, &["lsf", "-R", "--files-only", "karri:versions"]).await?.is_empty(), "objects after the delete");
    rclone(0, &["backend", "cleanup-hidden", "karri:versions"]).await?;
    let hidden = rclone(1, &["lsf", "-R", "--files-only", "--s3-versions", "karri:versions"]).await?;
    ensure!(hidden.is_empty(), "left after the clean-up: {hidden}");
    Ok(())
}
