//! Free space on the disk of the log: entries are refused before RocksDB runs out of it, which would be fatal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use karri_ring_disk::DiskPath;
use karri_ring_types::NodeId;
use parking_lot::Mutex;

/// The reserve is never more than this part of the disk, so that small disks can be used at all.
const RESERVE_PART_OF_DISK: u64 = 32;

pub(crate) struct Space {
    dir: DiskPath,
    reserve_bytes: u64,
    low: AtomicBool,
    /// What other nodes said of their room since this one has none.
    others: Mutex<BTreeMap<NodeId, bool>>,
    #[cfg(test)]
    pretended: Mutex<Option<bool>>,
}

impl Space {
    pub(crate) fn new(dir: DiskPath, reserve_bytes: u64) -> Self {
        Self {
            dir,
            reserve_bytes,
            low: AtomicBool::new(false),
            others: Mutex::default(),
            #[cfg(test)]
            pretended: Mutex::default(),
        }
    }

    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Notes whether another node has room.
    pub(crate) fn note_other(&self, node: NodeId, room: bool) {
        self.others.lock().insert(node, room);
    }

    /// Whether those of `voters` other than `local` that have room, or were not heard of yet, are a majority: then a
    /// group goes on without this node's disk.
    pub(crate) fn suffices_without(&self, local: NodeId, voters: &[NodeId]) -> bool {
        let others = self.others.lock();
        let hopeful = |node: &&NodeId| **node != local && others.get(node).copied().unwrap_or(true);
        2 * voters.iter().filter(hopeful).count() > voters.len()
    }

    /// Looks at the disk.
    pub(crate) fn look(&self) {
        #[cfg(test)]
        if let Some(low) = *self.pretended.lock() {
            self.low.store(low, Ordering::Relaxed);
            return;
        }
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
            (true, false) => {
                self.others.lock().clear();
                tracing::info!(free, reserve, "disk of the raft log has room again");
            }
            _ => {}
        }
    }

    /// From now on the disk is taken to be full or not; `None` ends the pretence at the next look.
    #[cfg(test)]
    pub(crate) fn pretend(&self, low: Option<bool>) {
        *self.pretended.lock() = low;
        self.low.store(low == Some(true), Ordering::Relaxed);
        self.others.lock().clear();
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

    #[test]
    fn a_group_goes_on_where_a_majority_has_room() {
        let space = Space::new(DiskPath::host("unused"), 1);
        let voters = [NodeId(1), NodeId(2), NodeId(3)];
        assert!(!space.suffices_without(NodeId(1), &voters[..1]), "alone");
        assert!(!space.suffices_without(NodeId(1), &voters[..2]), "both of two are needed");
        assert!(space.suffices_without(NodeId(1), &voters), "nobody said that he has none");
        space.note_other(NodeId(2), true);
        space.note_other(NodeId(3), false);
        assert!(!space.suffices_without(NodeId(1), &voters));
    }
}
