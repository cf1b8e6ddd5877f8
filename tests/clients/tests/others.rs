//! s5cmd, restic and Arrow: what people do with them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use karri_tests_clients::{Workbench, python_client, same_tree};

#[tokio::test(flavor = "multi_thread")]
async fn s5cmd_copies_syncs_and_deletes() -> Result<()> {
    let bench = Workbench::start(1).await?;
    let tree = bench.tree("tree")?;
    bench.file("tree/large.bin", 5, 60 << 20)?;
    // A sync copies what is newer than its copy; listings tell whole seconds, so what was just made is.
    let aged = [tree.to_str().context("a path in UTF-8")?, "-exec", "touch", "-d", "1 hour ago", "{}", "+"];
    bench.run(Path::new("find"), &aged).await?;
    let program = python_client("s5cmd")?;
    let s5cmd = async |args: &[&str]| {
        let endpoint = bench.endpoint(0);
        let mut all = vec!["--endpoint-url", endpoint.as_str(), "--retry-count", "0"];
        all.extend_from_slice(args);
        bench.run(&program, &all).await
    };
    let everything = format!("{}/*", tree.display());
    s5cmd(&["mb", "s3://fives"]).await?;
    s5cmd(&["cp", &everything, "s3://fives/a/"]).await?;
    s5cmd(&["cp", "s3://fives/a/*", &format!("{}/", bench.text_path("back"))]).await?;
    same_tree(&tree, &bench.path("back"))?;
    let again = s5cmd(&["sync", &format!("{}/", tree.display()), "s3://fives/a/"]).await?;
    ensure!(again.is_empty(), "the sync copies again: {again}");
    s5cmd(&["mv", "s3://fives/a/deep/*", "s3://fives/b/"]).await?;
    let listed = s5cmd(&["ls", "s3://fives/*"]).await?;
    ensure!(listed.lines().count() == 7 && listed.contains(" b/er/c"), "{listed}");
    s5cmd(&["rm", "s3://fives/*"]).await?;
    s5cmd(&["rb", "s3://fives"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_backs_up_restores_and_prunes() -> Result<()> {
    let bench = Workbench::start(1).await?;
    let tree = bench.tree("tree")?;
    bench.file("tree/large.bin", 5, 20 << 20)?;
    let repository = format!("s3:{}/backups/laptop", bench.endpoint(0));
    let password = bench.path("password");
    std::fs::write(&password, "correct horse")?;
    let password = password.to_str().context("a path in UTF-8")?.to_owned();
    let restic = async |args: &[&str]| {
        let mut all = vec!["--repo", repository.as_str(), "--password-file", password.as_str(), "--no-cache"];
        all.extend_from_slice(args);
        bench.run(Path::new("restic"), &all).await
    };
    let source = tree.display().to_string();
    restic(&["init"]).await?;
    restic(&["backup", &source]).await?;
    bench.file("tree/large.bin", 6, 10 << 20)?;
    restic(&["backup", &source]).await?;
    restic(&["forget", "--keep-last", "1", "--prune"]).await?;
    restic(&["check", "--read-data"]).await?;
    restic(&["restore", "latest", "--target", &bench.text_path("back")]).await?;
    same_tree(&tree, &bench.path("back").join(source.trim_start_matches('/')))
}

#[tokio::test(flavor = "multi_thread")]
async fn arrow_reads_parquet_by_ranges() -> Result<()> {
    let bench = Workbench::start(1).await?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/boto3/parquet.py");
    let printed = bench.run(&python_client("python")?, &[script, &bench.host(0)]).await?;
    ensure!(printed == "fine\n", "{printed}");
    Ok(())
}
