//! A small ext4 for each node, on a file by a loop device, which can lose what was not synced.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// Size of a node's disk; its file has holes.
const DISK_BYTES: u64 = 2 << 30;
/// Room that is not allocated at once when a disk is filled: others take some meanwhile.
const FILLED_BY_WRITES_BYTES: u64 = 64 << 20;
/// Ends an ext4 at once, its journal not flushed, as a power cut does: `EXT4_IOC_SHUTDOWN` (`_IOR('X', 125, u32)`) with
/// `EXT4_GOING_FLAGS_NOLOGFLUSH` (2). In Perl, which every Debian has, because an ioctl is an unsafe call.
const SHUTDOWN: &str = "open(my $f, '<', $ARGV[0]) or die \"open: $!\"; my $flags = pack('L', 2); \
                        defined(ioctl($f, 0x8004587d, $flags)) or die \"EXT4_IOC_SHUTDOWN: $!\";";

/// The disks of a cluster; they go with this value.
pub(super) struct Disks {
    dir: TempDir,
    nodes: usize,
}

fn tool(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| format!("run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} failed: {errors}", args.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Disks {
    /// Makes and mounts the disks of `nodes` nodes.
    ///
    /// # Errors
    /// It needs root and loop devices.
    pub(super) fn new(nodes: usize) -> Result<Self> {
        let disks = Self { dir: TempDir::with_prefix("karri-faults-")?, nodes };
        for node in 0..nodes {
            let image = disks.image(node);
            std::fs::File::create(&image)?.set_len(DISK_BYTES)?;
            tool("mkfs.ext4", &["-q", "-m", "0", text(&image)?])?;
            std::fs::create_dir(disks.mount_point(node))?;
            disks.mount(node).context("a loop ext4 needs root")?;
        }
        Ok(disks)
    }

    fn image(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("image{node}"))
    }

    fn mount_point(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("disk{node}"))
    }

    fn mount(&self, node: usize) -> Result<()> {
        tool("mount", &["-o", "loop", text(&self.image(node))?, text(&self.mount_point(node))?]).map(drop)
    }

    /// A folder on each disk for the data of its node.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        (0..self.nodes).map(|node| self.mount_point(node).join("data")).collect()
    }

    /// All disks lose what was not synced, and are there again; their nodes are dead.
    pub(super) fn cut_power(&self) -> Result<()> {
        for node in 0..self.nodes {
            tool("perl", &["-e", SHUTDOWN, text(&self.mount_point(node))?])?;
        }
        for node in 0..self.nodes {
            tool("umount", &[text(&self.mount_point(node))?])?;
            self.mount(node)?;
        }
        Ok(())
    }

    /// Makes what was written so far durable: what a server writes once, when it is set up, is not what is tested.
    pub(super) fn sync(&self) -> Result<()> {
        (0..self.nodes).try_for_each(|node| tool("sync", &["-f", text(&self.mount_point(node))?]).map(drop))
    }

    fn filler(&self, node: usize) -> PathBuf {
        self.mount_point(node).join("filler")
    }

    /// Takes all the room that a node's disk has.
    pub(super) fn fill(&self, node: usize) -> Result<()> {
        let free = || -> Result<u64> {
            let text = tool("df", &["--output=avail", "-B1", text(&self.mount_point(node))?])?;
            text.lines().last().context("df prints a number")?.trim().parse().context("df prints a number")
        };
        let size = free()?.saturating_sub(FILLED_BY_WRITES_BYTES).to_string();
        tool("fallocate", &["-l", &size, text(&self.filler(node))?])?;
        // The rest until there is none: that is how it ends.
        let filler = format!("of={}", text(&self.filler(node))?);
        let full = tool("dd", &["if=/dev/zero", &filler, "bs=64K", "oflag=append", "conv=notrunc"]);
        ensure!(full.is_err_and(|error| error.to_string().contains("No space left")), "the disk is not full");
        Ok(())
    }

    /// Gives it back.
    pub(super) fn free(&self, node: usize) -> Result<()> {
        std::fs::remove_file(self.filler(node)).context("remove the file that fills the disk")
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for node in 0..self.nodes {
            // One that was not mounted cannot be unmounted.
            let _ = tool("umount", &["-l", &self.mount_point(node).to_string_lossy()]);
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}
