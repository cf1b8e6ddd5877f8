//! Free space: writes are refused before the store itself runs out, so that it never fails in the middle of a flush.

use std::path::{Path, PathBuf};

use crate::store::ExtentError;

/// Watches the file system of a folder.
pub(crate) struct DiskGuard {
    dir: PathBuf,
    reserve_bytes: u64,
}

impl DiskGuard {
    pub(crate) fn new(dir: &Path, reserve_bytes: u64) -> Self {
        Self { dir: dir.to_owned(), reserve_bytes }
    }

    /// Bytes that are free; everything when the system does not tell.
    pub(crate) fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.dir).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
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
