//! Free space: writes are refused before the store itself runs out, so that it never fails in the middle of a flush.

use karri_ring_disk::DiskPath;

use crate::store::ExtentError;

/// Watches the file system of a folder.
pub(crate) struct DiskGuard {
    dir: DiskPath,
    reserve_bytes: u64,
}

impl DiskGuard {
    pub(crate) fn new(dir: DiskPath, reserve_bytes: u64) -> Self {
        Self { dir, reserve_bytes }
    }

    /// Bytes that are free; everything when the system does not tell.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.dir.space().map_or(u64::MAX, |space| space.free_bytes)
    }

    /// True when only the reserve is left.
    pub(crate) fn is_full(&self) -> bool {
        self.free_bytes() < self.reserve_bytes
    }

    /// Refuses a write of `length` bytes that would use the reserve.
    pub(crate) fn admit(&self, length: u64) -> Result<(), ExtentError> {
        if self.free_bytes() < self.reserve_bytes.saturating_add(length) { Err(ExtentError::DiskFull) } else { Ok(()) }
    }
}
