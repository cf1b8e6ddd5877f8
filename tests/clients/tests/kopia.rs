//! kopia, which `cargo xtask kopia` builds from its Go modules; every other run tells these tests as ignored.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use karri_tests_clients::{Encryption, Setting, Workbench, same_tree};

struct Kopia {
    bench: Workbench,
    program: PathBuf,
}

impl Kopia {
    async fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = self.bench.command(&self.program);
        command.env("KOPIA_PASSWORD", "correct horse").env("KOPIA_CHECK_FOR_UPDATES", "false");
        command.env("KOPIA_CONFIG_PATH", self.bench.path("kopia/repository.config"));
        command.env("KOPIA_CACHE_DIRECTORY", self.bench.path("kopia/cache"));
        command.env("KOPIA_LOG_DIR", self.bench.path("kopia/log")).args(args);
        let output = command.output().await.context("start kopia")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "kopia {}: {}", args.join(" "), text(&output.stderr));
        Ok(text(&output.stdout))
    }
}

/// Two snapshots, all of it verified, one restored; `more` are further flags of the repository.
async fn kopia(nodes: usize, setting: Setting, lock: bool, more: &[&str]) -> Result<()> {
    let bench = Workbench::start_in(nodes, setting).await?;
    let tree = bench.tree("tree")?;
    bench.file("tree/large.bin", 5, 30 << 20)?;
    let headers: &[(&str, &str)] = if lock { &[("x-amz-bucket-object-lock-enabled", "true")] } else { &[] };
    bench.cluster.client(0).send("PUT", "/snapshots", &[], headers, "").await?.expect(200)?;
    bench.dress("snapshots").await?;
    let program =
        std::env::var_os("KARRI_TEST_KOPIA").context("KARRI_TEST_KOPIA is not set: run `cargo xtask kopia`")?;
    let kopia = Kopia { program: program.into(), bench };
    let (host, credentials) = (kopia.bench.host(1), kopia.bench.cluster.credentials().clone());
    let mut create =
        vec!["repository", "create", "s3", "--bucket=snapshots", "--region=us-east-1", "--endpoint", &host];
    create.extend(["--access-key", &credentials.access_key, "--secret-access-key", &credentials.secret_key]);
    if !setting.tls {
        create.push("--disable-tls");
    }
    create.extend_from_slice(more);
    kopia.run(&create).await?;
    let source = tree.display().to_string();
    kopia.run(&["snapshot", "create", &source]).await?;
    kopia.bench.file("tree/large.bin", 6, 12 << 20)?;
    kopia.run(&["snapshot", "create", &source]).await?;
    kopia.run(&["snapshot", "verify", "--verify-files-percent=100"]).await?;
    kopia.run(&["maintenance", "run", "--full", "--safety=none"]).await?;
    kopia.run(&["blob", "list"]).await?;
    kopia.run(&["repository", "validate-provider", "--num-storage-connections=1"]).await?;
    let back = kopia.bench.text_path("back");
    kopia.run(&["restore", &source, &back, "--snapshot-time=latest"]).await?;
    same_tree(&tree, Path::new(&back))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "kopia is built from Go modules: cargo xtask kopia"]
async fn kopia_snapshots_and_restores() -> Result<()> {
    kopia(1, Setting::chosen()?, false, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "kopia is built from Go modules: cargo xtask kopia"]
async fn kopia_with_locks_tls_and_encryption_on_three_nodes() -> Result<()> {
    let more = ["--retention-mode=COMPLIANCE", "--retention-period=24h"];
    kopia(3, Setting::everything(Encryption::Kms), true, &more).await
}
