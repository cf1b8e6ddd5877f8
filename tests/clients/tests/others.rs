//! s5cmd, restic, Arrow and DuckDB: what people do with them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use karri_tests_clients::{Encryption, Setting, Workbench, python_client, same_tree};

async fn s5cmd(setting: Setting) -> Result<()> {
    let bench = Workbench::start_in(1, setting).await?;
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
    bench.dress("fives").await?;
    s5cmd(&["cp", &everything, "s3://fives/a/"]).await?;
    s5cmd(&["cp", "s3://fives/a/*", &format!("{}/", bench.text_path("back"))]).await?;
    same_tree(&tree, &bench.path("back"))?;
    let again = s5cmd(&["sync", &format!("{}/", tree.display()), "s3://fives/a/"]).await?;
    ensure!(again.is_empty(), "the sync copies again: {again}");
    s5cmd(&["mv", "s3://fives/a/deep/*", "s3://fives/b/"]).await?;
    let listed = s5cmd(&["ls", "s3://fives/*"]).await?;
    ensure!(listed.lines().count() == 7 && listed.contains(" b/er/c"), "{listed}");
    bench.check_dressed("fives", "b/er/c").await?;
    s5cmd(&["rm", "s3://fives/*"]).await?;
    bench.undress("fives").await?;
    s5cmd(&["rb", "s3://fives"]).await?;
    Ok(())
}

async fn restic(setting: Setting) -> Result<()> {
    let bench = Workbench::start_in(1, setting).await?;
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
    bench.cluster.client(0).create_bucket("backups").await?;
    bench.dress("backups").await?;
    restic(&["init"]).await?;
    bench.check_dressed("backups", "laptop/config").await?;
    restic(&["backup", &source]).await?;
    bench.file("tree/large.bin", 6, 10 << 20)?;
    restic(&["backup", &source]).await?;
    restic(&["forget", "--keep-last", "1", "--prune"]).await?;
    restic(&["check", "--read-data"]).await?;
    restic(&["restore", "latest", "--target", &bench.text_path("back")]).await?;
    same_tree(&tree, &bench.path("back").join(source.trim_start_matches('/')))
}

/// Runs a script that reads and writes Parquet in a bucket.
async fn parquet(script: &str, bucket: &str, setting: Setting) -> Result<()> {
    let bench = Workbench::start_in(1, setting).await?;
    bench.cluster.client(0).create_bucket(bucket).await?;
    bench.dress(bucket).await?;
    let script = format!("{}/boto3/{script}", env!("CARGO_MANIFEST_DIR"));
    let printed = bench.run(&python_client("python")?, &[script, bench.endpoint(0)]).await?;
    ensure!(printed == "fine\n", "{printed}");
    // Otherwise Arrow has deleted it at the end.
    if setting.versioned {
        bench.check_dressed(bucket, "table.parquet").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s5cmd_copies_syncs_and_deletes() -> Result<()> {
    s5cmd(Setting::chosen()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s5cmd_with_tls_versions_and_encryption() -> Result<()> {
    s5cmd(Setting::everything(Encryption::S3)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_backs_up_restores_and_prunes() -> Result<()> {
    restic(Setting::chosen()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_with_tls_versions_and_encryption() -> Result<()> {
    restic(Setting::everything(Encryption::Kms)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn arrow_reads_parquet_by_ranges() -> Result<()> {
    parquet("parquet.py", "lake", Setting::chosen()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn arrow_with_tls_versions_and_encryption() -> Result<()> {
    parquet("parquet.py", "lake", Setting::everything(Encryption::Kms)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_reads_parquet_by_ranges() -> Result<()> {
    parquet("duck.py", "ducks", Setting::chosen()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_with_tls_versions_and_encryption() -> Result<()> {
    parquet("duck.py", "ducks", Setting::everything(Encryption::S3)).await
}

/// A bucket as a host, with a certificate for all buckets.
#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_a_bucket_that_is_a_host_over_tls() -> Result<()> {
    let bench = Workbench::start_in(1, Setting { tls: true, ..Setting::default() }).await?;
    let s3 = bench.cluster.client(0);
    s3.create_bucket("cats").await?;
    s3.put("cats", "tom", "meow").await?;
    let (_, port) = bench.host(0).rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).context("a port")?;
    let script = "import boto3, sys; from botocore.config import Config; print(boto3.client('s3', endpoint_url=sys.argv[1], \
                  config=Config(s3={'addressing_style': 'virtual'}, signature_version='s3v4'))\
                  .generate_presigned_url('get_object', {'Bucket': 'cats', 'Key': 'tom'}))";
    let url = bench.run(&python_client("python")?, &["-c", script, &format!("https://s3.localhost:{port}")]).await?;
    ensure!(url.starts_with(&format!("https://cats.s3.localhost:{port}/tom?")), "{url}");
    let resolve = format!("cats.s3.localhost:{port}:127.0.0.1");
    let body = bench.run(Path::new("curl"), &["-sSf", "--resolve", &resolve, url.trim()]).await?;
    ensure!(body == "meow", "{body}");
    // Whoever does not trust the authority gets nothing.
    let untrusting = ["-sSf", "--cacert", "/etc/ssl/certs/ca-certificates.crt", "--resolve", &resolve, url.trim()];
    let (got, _, errors) = bench.try_run(Path::new("curl"), &untrusting).await?;
    ensure!(!got && errors.contains("certificate"), "{errors}");
    Ok(())
}
