//! What is done to running nodes, and how it is mended. Each fault tells whether it came to pass.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Cluster, eventually};
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::net::{Net, tool};

/// Bytes flipped at once.
const FLIPS: u64 = 100;
/// Left free on a disk that is filled.
const LEFT_FREE_BYTES: u64 = 8 << 20;
/// How far the clock jumps.
const CLOCK_JUMP_SECONDS: i64 = 90;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "named as what they do")]
pub enum Fault {
    Kill,
    KillAll,
    Freeze,
    Partition,
    OneWay,
    FullDisk,
    SyncErrors,
    FlippedBytes,
    ClockJump,
    PowerCut,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Kill,
        Self::Freeze,
        Self::Partition,
        Self::FlippedBytes,
        Self::OneWay,
        Self::FullDisk,
        Self::SyncErrors,
        Self::ClockJump,
        Self::KillAll,
        Self::PowerCut,
    ];
}

/// A fault that is there.
pub struct Active {
    fault: Fault,
    victim: usize,
    strace: Option<(Child, PathBuf)>,
}

/// Breaks something.
///
/// # Errors
/// When it did not come to pass.
pub async fn inject(fault: Fault, victim: usize, cluster: &mut Cluster, net: &Net, rng: &mut StdRng) -> Result<Active> {
    let mut active = Active { fault, victim, strace: None };
    match fault {
        Fault::Kill => cluster.kill(victim)?,
        Fault::KillAll => cluster.kill_all()?,
        Fault::PowerCut => {
            cluster.kill_all()?;
            net.cut_power()?;
        }
        Fault::Freeze => {
            cluster.signal(victim, "STOP")?;
            let stat = format!("/proc/{}/stat", cluster.pid(victim)?);
            let stopped = || async { fs::read_to_string(&stat).ok().filter(|text| text.contains(") T")) };
            eventually("the node is frozen", Duration::from_secs(2), stopped).await?;
        }
        Fault::Partition => {
            for other in (0..cluster.len()).filter(|&other| other != victim) {
                net.deafen(victim, other)?;
                net.deafen(other, victim)?;
            }
        }
        Fault::OneWay => {
            for other in (0..cluster.len()).filter(|&other| other != victim) {
                net.deafen(victim, other)?;
            }
        }
        Fault::FullDisk => fill(&net.disk(victim))?,
        Fault::SyncErrors => active.strace = Some(break_syncs(cluster.pid(victim)?, &net.disk(victim))?),
        Fault::FlippedBytes => {
            let flipped = flip(cluster.data_dir(victim), rng)?;
            ensure!(flipped > 0, "no byte was flipped");
        }
        Fault::ClockJump => fs::write(net.clock_file(), format!("+{CLOCK_JUMP_SECONDS}"))?,
    }
    Ok(active)
}

impl Active {
    /// Mends it.
    ///
    /// # Errors
    /// When it was not seen to do anything, or a node went on that should have ended.
    pub async fn mend(self, cluster: &mut Cluster, net: &Net) -> Result<()> {
        match self.fault {
            Fault::Kill => cluster.start_node(self.victim)?,
            Fault::KillAll | Fault::PowerCut => {
                for node in 0..cluster.len() {
                    if cluster.has_ended(node)? {
                        cluster.start_node(node)?;
                    }
                }
            }
            Fault::Freeze => cluster.signal(self.victim, "CONT")?,
            Fault::Partition | Fault::OneWay => net.heal()?,
            Fault::FullDisk => fs::remove_file(filler(&net.disk(self.victim)))?,
            Fault::FlippedBytes => {}
            Fault::ClockJump => fs::write(net.clock_file(), "+0")?,
            Fault::SyncErrors => {
                let (mut strace, log) = self.strace.context("strace was started")?;
                let limit = Duration::from_secs(20);
                let ended = async {
                    let end = tokio::time::Instant::now() + limit;
                    while !cluster.has_ended(self.victim)? {
                        let injected = fs::read_to_string(&log).unwrap_or_default().contains("INJECTED");
                        ensure!(
                            tokio::time::Instant::now() < end,
                            "a node whose syncs fail goes on; syncs failed: {injected}"
                        );
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    anyhow::Ok(())
                };
                let ended = ended.await;
                // It may have ended with the node.
                let _ = strace.kill();
                strace.wait()?;
                ended?;
                let text = cluster.log(self.victim);
                ensure!(text.contains("this node's storage failed"), "the node ended and did not say why");
                cluster.start_node(self.victim)?;
            }
        }
        Ok(())
    }
}

fn filler(disk: &Path) -> PathBuf {
    disk.join("filler")
}

fn fill(disk: &Path) -> Result<()> {
    let text = tool("df", &["--output=avail", "-B1", &disk.to_string_lossy()])?;
    let free: u64 = text.lines().last().context("df prints a number")?.trim().parse()?;
    ensure!(free > LEFT_FREE_BYTES, "the disk is full already");
    tool("fallocate", &["-l", &(free - LEFT_FREE_BYTES).to_string(), &filler(disk).to_string_lossy()])?;
    Ok(())
}

/// Every sync of the process fails from now on.
fn break_syncs(pid: u32, disk: &Path) -> Result<(Child, PathBuf)> {
    inject_syncs(pid, disk.join("strace"), "error=EIO")
}

/// Every sync of the process says that it was done, and is not, from now on.
pub(crate) fn skip_syncs(pid: u32, log: PathBuf) -> Result<(Child, PathBuf)> {
    inject_syncs(pid, log, "retval=0")
}

fn inject_syncs(pid: u32, log: PathBuf, injected: &str) -> Result<(Child, PathBuf)> {
    let _ = fs::remove_file(&log);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-p", &pid.to_string(), "-e", "trace=fdatasync,fsync", "-o"]).arg(&log);
    command.args(["-e", &format!("inject=fdatasync,fsync:{injected}")]);
    let strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok((strace, log))
}

/// Flips bytes of files that hold chunks; gives how many.
fn flip(data_dir: &Path, rng: &mut StdRng) -> Result<u64> {
    let mut files = Vec::new();
    for entry in fs::read_dir(data_dir.join("extents/segments"))? {
        let path = entry?.path();
        if path.metadata()?.len() > 0 {
            files.push(path);
        }
    }
    ensure!(!files.is_empty(), "there is no segment");
    let mut flipped = 0;
    for _ in 0..FLIPS * 20 {
        let path = &files[rng.random_range(0..files.len())];
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let at = rng.random_range(0..file.metadata()?.len());
        let mut byte = [0];
        read_at(&mut file, at, &mut byte)?;
        // What was punched out is zero.
        if byte[0] != 0 {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&[byte[0] ^ (1 << rng.random_range(0..8_u32))])?;
            flipped += 1;
        }
        if flipped == FLIPS {
            break;
        }
    }
    Ok(flipped)
}

fn read_at(file: &mut File, at: u64, byte: &mut [u8]) -> Result<()> {
    file.seek(SeekFrom::Start(at))?;
    Ok(file.read_exact(byte)?)
}
