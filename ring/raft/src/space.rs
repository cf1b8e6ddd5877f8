//! Free space on the disk of the log: entries are refused before RocksDB runs out of it, which would be fatal.

use std::sync::atomic::{AtomicBool, Ordering};

use karri_ring_disk::DiskPath;

/// The reserve is never more than this part of the disk, so that small disks can be used at all.
const RESERVE_PART_OF_DISK: u64 = 32;

pub(crate) struct Space {
    dir: DiskPath,
    reserve_bytes: u64,
    low: AtomicBool,
}

impl Space {
    pub(crate) fn new(dir: DiskPath, reserve_bytes: u64) -> Self {
        Self { dir, reserve_bytes, low: AtomicBool::new(false) }
    }

    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Looks at the disk.
    pub(crate) fn look(&self) {
        let space = match self.dir.space() {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(%error, "free space of the raft log's disk is unknown");
                return;
            }
        };
        let free = space.free_bytes;
        let reserve = self.reserve_bytes.min(space.total_bytes / RESERVE_PART_OF_DISK);
        let was_low = self.is_low();
        // Some room beyond the reserve before it ends, so that it does not flap.
        let low = if was_low { free < reserve + reserve / 4 } else { free < reserve };
        self.low.store(low, Ordering::Relaxed);
        match (was_low, low) {
            (false, true) => tracing::warn!(free, reserve, "disk of the raft log is full; new entries are refused"),
            (true, false) => tracing::info!(free, reserve, "disk of the raft log has room again"),
            _ => {}
        }
    }

    #[cfg(test)]
    pub(crate) fn pretend(&self, low: bool) {
        self.low.store(low, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_disk_has_room() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(DiskPath::host(dir.path()), 1);
        space.look();
        assert!(!space.is_low());
        let gone = Space::new(DiskPath::host(dir.path().join("gone")), u64::MAX);
        gone.look();
        assert!(!gone.is_low(), "what cannot be looked at does not stop the node");
    }
}
