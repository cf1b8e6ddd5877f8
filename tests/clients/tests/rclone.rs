//! rclone's everyday commands.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use karri_tests_clients::{Encryption, Setting, Workbench, same_tree};
use karri_tests_cluster::eventually;

async fn rclone(bench: &Workbench, node: usize, args: &[&str]) -> Result<String> {
    let endpoint = bench.endpoint(node);
    // rclone takes the ETag for an MD5 unless it is told that it is none.
    let kms = if bench.setting.encryption == Some(Encryption::Kms) { "server_side_encryption = aws:kms\n" } else { "" };
    let text = format!(
        "[karri]\ntype = s3\nprovider = Other\nenv_auth = true\nendpoint = {endpoint}\nregion = us-east-1\n\
         upload_cutoff = 8M\nchunk_size = 5M\n{kms}"
    );
    let config = bench.text_path("rclone.conf");
    std::fs::write(&config, text)?;
    let mut all = vec!["--config", config.as_str(), "--retries", "1", "--low-level-retries", "1"];
    all.extend_from_slice(args);
    bench.run(Path::new("rclone"), &all).await
}

async fn everyday(nodes: usize, setting: Setting) -> Result<()> {
    let bench = Workbench::start_in(nodes, setting).await?;
    let tree = bench.tree("tree")?;
    bench.file("tree/large.bin", 5, 27 << 20)?;
    let source = tree.display().to_string();
    rclone(&bench, 0, &["mkdir", "karri:rclone-bucket"]).await?;
    bench.dress("rclone-bucket").await?;
    rclone(&bench, 0, &["sync", &source, "karri:rclone-bucket/tree"]).await?;
    rclone(&bench, 1, &["check", "--download", &source, "karri:rclone-bucket/tree"]).await?;
    let again = rclone(&bench, 2, &["sync", "--stats-one-line", "-v", &source, "karri:rclone-bucket/tree"]).await?;
    ensure!(!again.contains("Copied"), "the second sync copies again: {again}");
    rclone(&bench, 2, &["copy", "karri:rclone-bucket/tree", &bench.text_path("back")]).await?;
    same_tree(&tree, &bench.path("back"))?;

    let range =
        rclone(&bench, 0, &["cat", "--offset", "10", "--count", "20", "karri:rclone-bucket/tree/deep/er/c"]).await;
    ensure!(range.is_ok(), "{range:?}");
    let modified = std::fs::metadata(tree.join("deep/er/b.bin"))?.modified()?;
    let back = std::fs::metadata(bench.path("back/deep/er/b.bin"))?.modified()?;
    let apart = modified.duration_since(back).unwrap_or_else(|error| error.duration());
    ensure!(apart.as_millis() < 2, "the modification time moved by {apart:?}");
    rclone(&bench, 1, &["touch", "-t", "2020-02-03T04:05:06", "karri:rclone-bucket/tree/large.bin"]).await?;
    let listed = rclone(&bench, 2, &["lsl", "karri:rclone-bucket/tree/large.bin"]).await?;
    ensure!(listed.contains("2020-02-03 04:05:06"), "{listed}");

    rclone(&bench, 0, &["copyto", "karri:rclone-bucket/tree/large.bin", "karri:rclone-bucket/copied.bin"]).await?;
    rclone(&bench, 1, &["moveto", "karri:rclone-bucket/copied.bin", "karri:rclone-bucket/moved.bin"]).await?;
    let names = rclone(&bench, 2, &["lsf", "-R", "--files-only", "karri:rclone-bucket"]).await?;
    ensure!(names.lines().count() == 8 && names.contains("moved.bin"), "{names}");
    bench.check_dressed("rclone-bucket", "moved.bin").await?;
    rclone(&bench, 0, &["deletefile", "karri:rclone-bucket/moved.bin"]).await?;
    rclone(&bench, 1, &["purge", "karri:rclone-bucket/tree"]).await?;
    bench.undress("rclone-bucket").await?;
    rclone(&bench, 2, &["rmdir", "karri:rclone-bucket"]).await?;
    ensure!(!rclone(&bench, 0, &["lsd", "karri:"]).await?.contains("rclone-bucket"), "the bucket is still listed");
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
    everyday(3, Setting::everything(Encryption::Kms)).await
}

/// A node is killed in the middle of a sync; the sync ends well, and so does a check through each survivor; the node comes
/// back and catches up.
///
/// `KARRI_SYNC_TREE` names a folder to sync instead of a small tree made for the purpose, and `KARRI_SYNC_LARGE_MIB` the
/// size of the one large file: with 20,000 files and 2048 it takes minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_survives_the_loss_of_a_node() -> Result<()> {
    let mut bench = Workbench::start(3).await?;
    let large_mib: usize = std::env::var("KARRI_SYNC_LARGE_MIB").map_or(Ok(150), |text| text.parse())?;
    bench.file("tree/large.bin", 999, large_mib << 20)?;
    if let Some(tree) = std::env::var_os("KARRI_SYNC_TREE") {
        std::os::unix::fs::symlink(tree, bench.path("tree/linked"))?;
    } else {
        for number in 0..400u64 {
            let size = [900, 5_000, 60_000, 1_500_000][usize::try_from(number % 4)?];
            bench.file(&format!("tree/folder-{}/file-{number}", number % 11), number, size)?;
        }
    }
    let source = bench.text_path("tree");
    rclone(&bench, 0, &["mkdir", "karri:loss"]).await?;
    let config = bench.text_path("rclone.conf");
    let arguments = ["--config", &config, "--copy-links", "sync", &source, "karri:loss"];
    let mut sync = bench.command(Path::new("rclone")).args(arguments).spawn()?;
    let client = bench.cluster.client(0);
    eventually("some files have arrived", Duration::from_secs(60), || async {
        (client.list_keys("loss", "", 1000).await.ok()?.len() > 40).then_some(())
    })
    .await?;
    bench.cluster.kill(2)?;
    let status = sync.wait().await?;
    ensure!(status.success(), "rclone ended with {status}");
    let check = ["--copy-links", "check", "--download", &source, "karri:loss"];
    for survivor in [0, 1] {
        rclone(&bench, survivor, &check).await?;
    }
    bench.cluster.restart(2).await?;
    bench.cluster.wait_full_replicas(0, Duration::from_secs(300)).await?;
    rclone(&bench, 2, &check).await?;
    Ok(())
}
