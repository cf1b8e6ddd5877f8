//! s3cmd's everyday commands.

use std::path::Path;

use anyhow::{Result, ensure};
use karri_tests_clients::{Encryption, Setting, Workbench, same_tree};

async fn s3cmd(bench: &Workbench, node: usize, args: &[&str]) -> Result<String> {
    let host = bench.host(node);
    let credentials = bench.cluster.credentials();
    // s3cmd writes its booleans as Python does.
    let https = if bench.setting.tls { "True" } else { "False" };
    let text = format!(
        "[default]\naccess_key = {}\nsecret_key = {}\nhost_base = {host}\nhost_bucket = {host}\nuse_https = {https}\n\
         signurl_use_https = {https}\nsignature_v2 = False\nmultipart_chunk_size_mb = 5\n",
        credentials.access_key, credentials.secret_key
    );
    let config = bench.text_path("s3cfg");
    std::fs::write(&config, text)?;
    let mut all = vec!["-c", config.as_str()];
    all.extend_from_slice(args);
    bench.run(Path::new("s3cmd"), &all).await
}

async fn everyday(nodes: usize, setting: Setting) -> Result<()> {
    let bench = Workbench::start_in(nodes, setting).await?;
    let tree = bench.tree("tree")?;
    let large = bench.file("large.bin", 77, 23 << 20)?;
    let large = large.display().to_string();
    s3cmd(&bench, 0, &["mb", "s3://s3cmd-bucket"]).await?;
    bench.dress("s3cmd-bucket").await?;
    s3cmd(&bench, 1, &["put", &large, "s3://s3cmd-bucket/large.bin"]).await?;
    s3cmd(&bench, 2, &["get", "s3://s3cmd-bucket/large.bin", &bench.text_path("got.bin")]).await?;
    ensure!(std::fs::read(&large)? == std::fs::read(bench.path("got.bin"))?, "the multipart upload differs");
    let source = format!("{}/", tree.display());
    s3cmd(&bench, 0, &["sync", &source, "s3://s3cmd-bucket/tree/"]).await?;
    let again = s3cmd(&bench, 1, &["sync", &source, "s3://s3cmd-bucket/tree/"]).await?;
    ensure!(!again.contains("upload:"), "the second sync uploads again: {again}");
    std::fs::create_dir_all(bench.path("back"))?;
    s3cmd(&bench, 2, &["sync", "s3://s3cmd-bucket/tree/", &format!("{}/", bench.text_path("back"))]).await?;
    same_tree(&tree, &bench.path("back"))?;

    let listing = s3cmd(&bench, 0, &["ls", "s3://s3cmd-bucket/tree/"]).await?;
    ensure!(listing.contains("DIR") && listing.contains("a.txt"), "{listing}");
    ensure!(s3cmd(&bench, 1, &["la"]).await?.contains("s3://s3cmd-bucket/large.bin"), "la");
    s3cmd(&bench, 2, &["cp", "s3://s3cmd-bucket/large.bin", "s3://s3cmd-bucket/copy.bin"]).await?;
    s3cmd(&bench, 0, &["mv", "s3://s3cmd-bucket/copy.bin", "s3://s3cmd-bucket/moved.bin"]).await?;
    let info = s3cmd(&bench, 1, &["info", "s3://s3cmd-bucket/moved.bin"]).await?;
    ensure!(info.contains(&(23 << 20).to_string()) && info.contains("MD5 sum"), "{info}");
    ensure!(s3cmd(&bench, 1, &["info", "s3://s3cmd-bucket"]).await?.contains("Location"), "bucket info");
    s3cmd(&bench, 2, &["modify", "--add-header=x-amz-meta-colour:blue", "s3://s3cmd-bucket/moved.bin"]).await?;
    let info = s3cmd(&bench, 0, &["info", "s3://s3cmd-bucket/moved.bin"]).await?;
    ensure!(info.contains("x-amz-meta-colour: blue"), "{info}");
    let usage = s3cmd(&bench, 1, &["du", "s3://s3cmd-bucket"]).await?;
    ensure!(usage.contains("8 objects"), "{usage}");
    bench.check_dressed("s3cmd-bucket", "moved.bin").await?;
    let url = s3cmd(&bench, 2, &["signurl", "s3://s3cmd-bucket/tree/deep/er/b.bin", "+600"]).await?;
    let got = bench.text_path("signed.bin");
    bench.run(Path::new("curl"), &["-sf", "-o", &got, url.trim()]).await?;
    ensure!(std::fs::read(got)? == std::fs::read(tree.join("deep/er/b.bin"))?, "the signed URL gives other bytes");
    s3cmd(&bench, 0, &["del", "s3://s3cmd-bucket/moved.bin"]).await?;
    s3cmd(&bench, 1, &["del", "--recursive", "--force", "s3://s3cmd-bucket"]).await?;
    bench.undress("s3cmd-bucket").await?;
    s3cmd(&bench, 2, &["rb", "s3://s3cmd-bucket"]).await?;
    ensure!(!s3cmd(&bench, 0, &["ls"]).await?.contains("s3cmd-bucket"), "the bucket is still listed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everyday_on_one_node() -> Result<()> {
    everyday(1, Setting::chosen()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everyday_on_three_nodes() -> Result<()> {
    everyday(3, Setting::chosen()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everyday_with_tls_versions_and_encryption() -> Result<()> {
    everyday(3, Setting::everything(Encryption::S3)).await
}
