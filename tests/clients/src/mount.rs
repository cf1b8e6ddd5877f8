//! A bucket mounted by s3fs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::eventually;
use tokio::process::{Child, Command};

use crate::Workbench;

/// How long a mount and an unmount may take; the latter waits for uploads.
const MOUNT_LIMIT: Duration = Duration::from_secs(60);
/// Parts and copies as small as S3 has them, so that files of some MiB are sent and renamed in parts. Not mixed in one upload:
/// s3fs 1.90 then makes parts that are too small.
const OPTIONS: &str = "use_path_request_style,multipart_size=5,multipart_threshold=6,multipart_copy_size=5,\
                       singlepart_copy_limit=5,nomixupload,retries=3,enable_content_md5,dbglevel=warn";

/// A mount, which ends with it.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    log: PathBuf,
    process: Child,
}

impl Mount {
    /// Mounts `bucket` of a node at a folder of the workbench, with further options of s3fs.
    ///
    /// # Errors
    /// s3fs or `/dev/fuse` is missing, or it does not mount: that says its log.
    pub async fn new(bench: &Workbench, node: usize, bucket: &str, more: &str) -> Result<Self> {
        ensure!(Path::new("/dev/fuse").exists(), "/dev/fuse is missing: s3fs cannot mount");
        let (path, log) = (bench.path("mount"), bench.path("s3fs.log"));
        fs::create_dir_all(&path)?;
        // s3fs forgets nothing between two mounts, unless its cache is in memory alone.
        let options = format!("{OPTIONS},url={}{more}", bench.endpoint(node));
        let mut command = bench.command(Path::new("s3fs"));
        command.arg(bucket).arg(&path).args(["-f", "-o", &options]);
        command.stdin(Stdio::null()).stdout(fs::File::create(&log)?).stderr(fs::File::create(&log)?);
        let process = command.spawn().context("start s3fs")?;
        let mut mount = Self { path, log, process };
        let path = mount.path.clone();
        let seen = eventually("the bucket is mounted", MOUNT_LIMIT, || async { is_mounted(&path).then_some(()) });
        let ended = tokio::select! {
            seen = seen => seen.err(),
            status = mount.process.wait() => Some(anyhow::anyhow!("s3fs ended: {status:?}")),
        };
        match ended {
            None => Ok(mount),
            Some(error) => Err(error.context(mount.log())),
        }
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What s3fs said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Unmounts and waits until everything has been sent.
    ///
    /// # Errors
    /// A file is open still, or s3fs does not end well.
    pub async fn unmount(mut self) -> Result<()> {
        let status = Command::new("fusermount").arg("-u").arg(&self.path).status().await.context("start fusermount")?;
        ensure!(status.success(), "fusermount: {status}");
        let ended = tokio::time::timeout(MOUNT_LIMIT, self.process.wait()).await.context("s3fs does not end")??;
        ensure!(ended.success(), "s3fs ended with {ended}\n{}", self.log());
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if is_mounted(&self.path) {
            // Nobody is left to be told when it fails.
            let _ = std::process::Command::new("fusermount").arg("-uz").arg(&self.path).status();
        }
    }
}

fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}
