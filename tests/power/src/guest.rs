//! The virtual machine.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use karri_tests_cluster::{Credentials, S3Client, eventually, karri_binary};
use tempfile::TempDir;

use crate::disk::{Disk, Image, SECTOR_BYTES};
use crate::kernel::{Kernel, cache, tool};
use crate::{initrd, nbd};

/// Programs that are run, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mkfs.ext4", "e2fsprogs"),
    ("busybox", "busybox-static"),
    ("strip", "binutils"),
    ("cc", "gcc"),
];
/// Size of the guest's disk; its memory holds only what was written.
const DISK_BYTES: u64 = 1 << 30;
/// How long the guest may take until `karri` is ready: all of it is emulated.
const READY_MAX: Duration = Duration::from_secs(180);
/// How long a check of all that is there may take.
const FSCK_MAX: Duration = Duration::from_secs(120);
/// The guest's credentials, as in `guest/init.sh`.
const ACCESS_KEY: &str = "KARRITESTROOT";
const SECRET_KEY: &str = "test-secret-of-the-root-user";

/// What is wrong with the guest on purpose, for the test of the checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The disk acknowledges flushes and carries out none.
    DiskLies,
    /// The file system is mounted so that it does not flush the disk (`barrier=0`).
    NoBarriers,
    /// `karri` runs with a library that makes its syncs do nothing.
    SyncsSkipped,
}

/// What every guest is started from.
pub struct Workshop {
    dir: TempDir,
    kernel: Kernel,
    initrd: PathBuf,
    image: Image,
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

impl Workshop {
    /// Makes an initrd with the program under test, and an empty ext4.
    ///
    /// # Errors
    /// What is missing on this machine.
    pub fn new() -> Result<Self> {
        let missing: Vec<&str> =
            PROGRAMS.iter().filter(|(name, _)| find(name).is_none()).map(|(_, package)| *package).collect();
        if !missing.is_empty() {
            bail!("not run: this machine lacks what guests need: apt-get install {}", missing.join(" "));
        }
        let dir = TempDir::with_prefix("karri-power-")?;
        let kernel = Kernel::obtain(&cache()?)?;
        let initrd = dir.path().join("initrd");
        let busybox = find("busybox").context("busybox")?;
        initrd::make(&initrd, &kernel, &busybox, &karri_binary(), dir.path())?;
        let empty = dir.path().join("empty");
        File::create(&empty)?.set_len(DISK_BYTES)?;
        let format = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", &empty.to_string_lossy()];
        tool("mkfs.ext4", &format, dir.path())?;
        let image = Image::read(&empty)?;
        fs::remove_file(empty)?;
        Ok(Self { dir, kernel, initrd, image })
    }

    /// A formatted disk.
    pub fn disk(&self, mutant: Option<Mutant>) -> Disk {
        Disk::new(&self.image, mutant == Some(Mutant::DiskLies))
    }

    /// Starts the machine `number` with a disk. It is killed when dropped.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn boot(&self, number: usize, disk: Arc<Disk>, mutant: Option<Mutant>) -> Result<Guest> {
        let socket = self.dir.path().join(format!("disk{number}"));
        nbd::serve(disk.clone(), &socket)?;
        let console = self.dir.path().join(format!("console{number}"));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::create(&console)?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "1024"]);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]);
        command.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(&self.initrd);
        command.args(["-append", &kernel_words(mutant)]);
        command.args([
            "-drive",
            &format!("if=none,id=d,format=raw,cache=none,file=nbd+unix:///?socket={}", text(&socket)?),
        ]);
        let sector = format!("logical_block_size={SECTOR_BYTES},physical_block_size={SECTOR_BYTES}");
        command.args(["-device", &format!("virtio-blk-pci,drive=d,discard=off,write-zeroes=off,{sector}")]);
        command.args(["-netdev", &format!("user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:9000")]);
        command.args(["-device", "virtio-net-pci,netdev=n,romfile="]);
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut process = command.spawn().context("start QEMU")?;
        let input = process.stdin.take().context("it has an input")?;
        let credentials = Credentials { access_key: ACCESS_KEY.to_owned(), secret_key: SECRET_KEY.to_owned() };
        let client = S3Client::new(&format!("127.0.0.1:{port}"), credentials);
        Ok(Guest { process, input, console, disk, client })
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path of plain text")
}

fn kernel_words(mutant: Option<Mutant>) -> String {
    let more = match mutant {
        Some(Mutant::NoBarriers) => " power.mount=barrier=0",
        Some(Mutant::SyncsSkipped) => " power.preload=/lib/nosync.so",
        Some(Mutant::DiskLies) | None => "",
    };
    // On a busy machine the timer may come too late for the kernel's check of it, which would be the end.
    format!("console=ttyS0 quiet panic=-1 mitigations=off no_timer_check random.trust_cpu=on{more}")
}

/// A machine that runs, or ran.
pub struct Guest {
    process: Child,
    input: ChildStdin,
    console: PathBuf,
    /// Its disk.
    pub disk: Arc<Disk>,
    /// Asks its `karri`.
    pub client: S3Client,
}

/// How a wait for the guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// `karri` answers.
    Yes,
    /// The power went before.
    Cut,
}

impl Guest {
    /// Waits until `karri` is ready or the power goes.
    ///
    /// # Errors
    /// When it does neither.
    pub async fn ready(&mut self) -> Result<Ready> {
        let end = tokio::time::Instant::now() + READY_MAX;
        let client = self.client.clone().with_timeout(Duration::from_secs(5));
        loop {
            if self.disk.is_dead() {
                return Ok(Ready::Cut);
            }
            let answer = client.send_raw("GET", "/-/ready", &[], Default::default()).await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(Ready::Yes);
            }
            let console = self.console();
            let ended = console.contains("POWER: not mounted") || console.contains("POWER: karri ended");
            if ended || self.process.try_wait()?.is_some() || tokio::time::Instant::now() >= end {
                bail!("the guest did not get ready; the end of its console:\n{}", self.console_tail());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Has the guest compare all metadata with all extents and back.
    ///
    /// # Errors
    /// What does not agree.
    pub async fn fsck(&mut self) -> Result<()> {
        let before = self.console().matches("POWER: fsck ").count();
        self.input.write_all(b"fsck\n").context("ask for a check")?;
        let seen = eventually("fsck ends", FSCK_MAX, || async {
            let console = self.console();
            let status = console.split("POWER: fsck ").nth(before + 1)?.split_whitespace().next()?.to_owned();
            Some(status)
        });
        let status = seen.await.with_context(|| self.console_tail())?;
        ensure!(status == "0", "fsck ended with {status}:\n{}", self.console_tail());
        Ok(())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn console(&self) -> String {
        fs::read(&self.console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last that it printed.
    pub fn console_tail(&self) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.disk.cut_now();
        self.kill();
    }
}
