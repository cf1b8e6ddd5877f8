//! The data folder: where it is, whether it keeps what is written, and who may read its secrets.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use karri_ring_disk::DiskPath;
use karri_ring_types::{Clock as _, SystemClock};

use super::Report;
use crate::config::Config;

/// Syncs that are measured.
const SYNCS: usize = 9;
/// A median above this makes every small write slow.
const SYNC_SLOW: Duration = Duration::from_millis(30);
/// Free bytes over the reserve at which it is time to act.
const HEADROOM_PART_OF_DISK: u64 = 10;

/// Who may read and change the configuration and the secrets.
pub(super) fn permissions(path: &Path, config: &Config, report: &mut Report) {
    const CHECK: &str = "permissions";
    let mode = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.permissions().mode() & 0o7777);
    let mut fine = true;
    if let Some(mode) = mode(path).filter(|mode| mode & 0o022 != 0) {
        fine = false;
        let found = format!("{} can be changed by others (mode {mode:o})", path.display());
        report.warn(CHECK, found, format!("chmod go-w {}", path.display()));
    }
    let data = &config.data_dir;
    let secrets = [data.join("node-credentials"), data.join("root-credentials")];
    for secret in secrets.iter().chain(&config.s3.tls_key) {
        if let Some(mode) = mode(secret).filter(|mode| mode & 0o077 != 0) {
            fine = false;
            let found = format!("{} is a secret that others can read (mode {mode:o})", secret.display());
            report.error(CHECK, found, format!("chmod 600 {}, and take what is in it for known", secret.display()));
        }
    }
    if fine {
        report.ok(CHECK, "secrets are their owner's alone");
    }
}

/// False when there is no folder to look at.
pub(super) fn examine(config: &Config, report: &mut Report) -> bool {
    let dir = &config.data_dir;
    if !dir.is_dir() {
        let found = format!("{} is no folder", dir.display());
        report.error("disk", found, "mount the node's disk, or mend data_dir");
        return false;
    }
    marks(dir, report);
    file_system(dir, report);
    space(config, report);
    sync_time(dir, report);
    true
}

fn marks(dir: &Path, report: &mut Report) {
    let mark = dir.join("raft").join("DAMAGED");
    match fs::read_to_string(&mark) {
        Ok(text) => report.error(
            "disk",
            format!("the metadata was found damaged: {}", text.trim()),
            "replace the node, see docs/operations/damaged-metadata.md",
        ),
        Err(_) => report.ok("disk", "no damage was noted"),
    }
}

fn file_system(dir: &Path, report: &mut Report) {
    const CHECK: &str = "file system";
    let kind = match rustix::fs::statfs(dir) {
        Ok(stat) => stat.f_type,
        Err(error) => {
            return report.error(CHECK, format!("{}: {error}", dir.display()), "check the disk and its mount");
        }
    };
    let (name, remedy) = match kind & 0xffff_ffff {
        0xef53 => ("ext4", None),
        0x5846_5342 => ("xfs", None),
        0x9123_683e => ("btrfs", None),
        0x2fc1_2fc1 => ("zfs", None),
        0x794c_7630 => ("overlay", Some("give the container a volume: what is on an overlay goes with the container")),
        0x0102_1994 => ("tmpfs", Some("use a disk: what is in memory is gone with the power")),
        0x6969 => ("nfs", Some("use a local disk: what a server acknowledges may not be durable")),
        0xff53_4d42 | 0xfe53_4d42 => ("smb", Some("use a local disk: what a server acknowledges may not be durable")),
        0x6573_5546 => ("fuse", Some("use ext4 or xfs on a local disk")),
        _ => ("unknown", Some("ext4 and xfs are what Karri is tested on")),
    };
    match remedy {
        None => report.ok(CHECK, name),
        Some(remedy) => report.warn(CHECK, format!("{name} ({kind:#x})"), remedy),
    }
}

fn space(config: &Config, report: &mut Report) {
    const CHECK: &str = "free space";
    let space = match DiskPath::host(&config.data_dir).space() {
        Ok(space) => space,
        Err(error) => return report.error(CHECK, error.to_string(), "check the disk and its mount"),
    };
    let (free, total, reserve) = (space.free_bytes, space.total_bytes, config.storage.reserve_bytes);
    let found = format!("{free} bytes of {total} are free, the reserve is {reserve}");
    if free < reserve {
        report.error(
            CHECK,
            format!("{found}: writes are refused"),
            "delete objects or grow the cluster, see docs/operations/full-disk.md",
        );
    } else if free < reserve + total / HEADROOM_PART_OF_DISK {
        report.warn(CHECK, found, "grow the cluster soon, see docs/operations/growing.md");
    } else {
        report.ok(CHECK, found);
    }
}

fn sync_time(dir: &Path, report: &mut Report) {
    const CHECK: &str = "disk";
    let path = dir.join(format!("doctor-{}", std::process::id()));
    let measured = measure(&path);
    // It may not have been made.
    let _ = fs::remove_file(&path);
    match measured {
        Err(error) => report.error(
            CHECK,
            format!("{} is not writable: {error}", dir.display()),
            "check owner, mount options and the disk itself",
        ),
        Ok(times) => {
            let median = times[times.len() / 2];
            let found = format!("a sync takes {:.1} ms (median of {SYNCS})", median.as_secs_f64() * 1000.0);
            if median > SYNC_SLOW {
                report.warn(
                    CHECK,
                    found,
                    "use a disk with a faster sync (NVMe, or a controller with a protected cache)",
                );
            } else {
                report.ok(CHECK, found);
            }
        }
    }
}

fn measure(path: &Path) -> std::io::Result<Vec<Duration>> {
    let clock = SystemClock::default();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = clock.monotonic();
        file.write_all(&[0x6b; 4096])?;
        file.sync_data()?;
        times.push(clock.monotonic().saturating_sub(start));
    }
    times.sort_unstable();
    Ok(times)
}

/// Whether a process has the folder.
pub(super) fn is_locked(dir: &Path) -> bool {
    let Ok(file) = fs::File::open(dir.join("lock")) else { return false };
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
}
