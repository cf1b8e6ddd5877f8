//! Runs real clients against real clusters.
//!
//! `cargo xtask test` installs them and sets `KARRI_TEST_CLIENTS` to the folder with the Python ones.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use karri_tests_cluster::{Cluster, ClusterOptions, test_bytes};
use tempfile::TempDir;
use tokio::process::Command;

mod exerciser;
mod mount;
mod setting;

pub use exerciser::Exerciser;
pub use mount::Mount;
pub use setting::{Encryption, Setting};

/// How long one command of a client may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// A cluster and a folder to work in.
pub struct Workbench {
    /// The cluster under test.
    pub cluster: Cluster,
    /// What its buckets and its port are like.
    pub setting: Setting,
    dir: TempDir,
}

impl Workbench {
    /// Starts a cluster of `nodes`.
    pub async fn start(nodes: usize) -> Result<Self> {
        Self::start_with(nodes, "").await
    }

    /// As [`Workbench::start`], with further tables in the configuration of each node.
    pub async fn start_with(nodes: usize, tables: &str) -> Result<Self> {
        Self::start_full(nodes, tables, Setting::default()).await
    }

    /// As [`Workbench::start`], in a setting.
    pub async fn start_in(nodes: usize, setting: Setting) -> Result<Self> {
        Self::start_full(nodes, "", setting).await
    }

    async fn start_full(nodes: usize, tables: &str, setting: Setting) -> Result<Self> {
        // As `karri dev` has it: s3cmd signs URLs with Signature Version 2.
        let s3_configuration = format!("sigv2 = true\n{tables}");
        let options = ClusterOptions { s3_configuration, tls: setting.tls, ..ClusterOptions::default() };
        let cluster = Cluster::start_with(nodes, options).await?;
        let dir = TempDir::with_prefix("karri-client-").context("make a temporary folder")?;
        Ok(Self { cluster, setting, dir })
    }

    /// A path in the working folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path in the working folder, as text.
    pub fn text_path(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file of test bytes and returns its path.
    pub fn file(&self, name: &str, seed: u64, length: usize) -> Result<PathBuf> {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, test_bytes(seed, length))?;
        Ok(path)
    }

    /// Writes a tree of files of many sizes and odd names; returns its path.
    pub fn tree(&self, name: &str) -> Result<PathBuf> {
        let names =
            ["a.txt", "deep/er/b.bin", "deep/er/c", "spaces in it/d e.txt", "plus+sign/ü-ö.dat", "quote's/(x).txt"];
        let sizes = [0, 1, 1000, 40_000, 300_000, 6_000_000];
        for (seed, (file, size)) in (1u64..).zip(names.iter().zip(sizes)) {
            self.file(&format!("{name}/{file}"), seed, size)?;
        }
        Ok(self.path(name))
    }

    /// The endpoint of a node; numbers past the last begin anew, so that tests walk around the cluster.
    pub fn endpoint(&self, number: usize) -> String {
        format!("{}://{}", self.setting.scheme(), self.host(number))
    }

    /// Host and port of a node.
    pub fn host(&self, number: usize) -> String {
        self.cluster.host(number % self.cluster.len())
    }

    /// A client's program with the root user's keys, and nothing else of AWS, in its environment.
    pub fn command(&self, program: &Path) -> Command {
        let credentials = self.cluster.credentials();
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).kill_on_drop(true).env("HOME", self.dir.path());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("AWS_") || name.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(&*name);
            }
        }
        command.env("AWS_ACCESS_KEY_ID", &credentials.access_key);
        command.env("AWS_SECRET_ACCESS_KEY", &credentials.secret_key);
        command.env("AWS_DEFAULT_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("KARRI_CLIENT_SETTING", self.setting.to_string());
        if let Some(authority) = self.cluster.authority() {
            // Of Go, OpenSSL and Python; of curl; of botocore, which rclone's library cannot follow.
            for name in ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"] {
                if name != "AWS_CA_BUNDLE" || !program.ends_with("rclone") {
                    command.env(name, authority);
                }
            }
        }
        command
    }

    /// Runs a client's program with the root user's keys in its environment; returns what it printed.
    pub async fn run<S: AsRef<OsStr>>(&self, program: &Path, args: &[S]) -> Result<String> {
        let (status, output, errors) = self.try_run(program, args).await?;
        let shown = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        ensure!(status, "{} {shown} failed\n{output}\n{errors}", program.display());
        Ok(output)
    }

    /// As [`Workbench::run`], but a failure of the program is an answer: success, output, errors.
    pub async fn try_run<S: AsRef<OsStr>>(&self, program: &Path, args: &[S]) -> Result<(bool, String, String)> {
        let mut command = self.command(program);
        command.args(args);
        let output = tokio::time::timeout(COMMAND_LIMIT, command.output()).await.context("the client hangs")?;
        let output = output.with_context(|| format!("start {}", program.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
    }
}

/// The program of a Python client, from `cargo xtask test`'s folder.
pub fn python_client(name: &str) -> Result<PathBuf> {
    let Some(folder) = std::env::var_os("KARRI_TEST_CLIENTS") else {
        bail!("KARRI_TEST_CLIENTS is not set: run `cargo xtask test`");
    };
    let program = PathBuf::from(folder).join("bin").join(name);
    ensure!(program.exists(), "{} is missing: run `cargo xtask test`", program.display());
    Ok(program)
}

/// Fails unless two folders hold the same files.
pub fn same_tree(left: &Path, right: &Path) -> Result<()> {
    let (left_files, right_files) = (files(left)?, files(right)?);
    ensure!(left_files == right_files, "the files differ: {left_files:?} and {right_files:?}");
    for file in left_files {
        ensure!(fs::read(left.join(&file))? == fs::read(right.join(&file))?, "{} differs", file.display());
    }
    Ok(())
}

/// Every file below a folder, sorted, relative to it.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { found.push(path.strip_prefix(root)?.to_owned()) }
        }
    }
    found.sort();
    Ok(found)
}
