//! What can go wrong with a disk, and when it is to.

use std::io;
use std::path::{Path, PathBuf};

/// What an operation fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such file or folder.
    NotFound,
    /// ENOSPC.
    NoSpace,
    /// EEXIST, or a folder that is not empty.
    Exists,
    /// Another process holds the lock.
    Locked,
    /// The power is off until [`crate::MemoryDisk::restart`].
    Crashed,
    /// EIO.
    Io,
}

impl Fault {
    /// As `src/shim.cc` knows it.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::NotFound => 1,
            Self::NoSpace => 2,
            Self::Exists => 3,
            Self::Locked => 4,
            Self::Crashed => 5,
            Self::Io => 6,
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotFound => io::ErrorKind::NotFound.into(),
            Fault::NoSpace => io::ErrorKind::StorageFull.into(),
            Fault::Exists => io::ErrorKind::AlreadyExists.into(),
            Fault::Locked => io::ErrorKind::ResourceBusy.into(),
            Fault::Crashed => Self::other("the disk has crashed"),
            Fault::Io => Self::other("input/output error"),
        }
    }
}

/// What is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// The bytes of a file.
    File,
    /// The names in a folder.
    Folder,
}

/// Syncs that are answered and do nothing, as if the caller had forgotten them: how the tests are tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lie {
    /// What is not synced.
    pub what: Sync,
    /// Where: a file or folder, and all below it.
    pub under: PathBuf,
    /// Of files, only those whose names end so.
    pub ending: &'static str,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations that change the disk; they are numbered from 1.
    pub operations: u64,
    /// Syncs that did nothing.
    pub lies: u64,
    /// Crashes at an operation.
    pub crashes: u64,
    /// Operations that were made to fail.
    pub failures: u64,
    /// Writes for which there was no room.
    pub full: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    crashed: bool,
    pub(crate) crash_at: Option<u64>,
    pub(crate) fail_at: Option<(u64, Fault)>,
    pub(crate) capacity_bytes: Option<u64>,
    pub(crate) lies: Vec<Lie>,
    pub(crate) counts: Counts,
}

impl Faults {
    pub(crate) fn alive(&self) -> Result<(), Fault> {
        if self.crashed { Err(Fault::Crashed) } else { Ok(()) }
    }

    pub(crate) fn crash(&mut self) {
        self.crashed = true;
    }

    pub(crate) fn revive(&mut self) {
        self.crashed = false;
        self.crash_at = None;
        self.fail_at = None;
    }

    /// Counts an operation; fails it when its turn has come.
    pub(crate) fn operation(&mut self) -> Result<(), Fault> {
        self.counts.operations += 1;
        if self.crash_at == Some(self.counts.operations) {
            self.counts.crashes += 1;
            self.crash();
            return Err(Fault::Crashed);
        }
        match self.fail_at {
            Some((at, fault)) if at == self.counts.operations => {
                self.counts.failures += 1;
                Err(fault)
            }
            _ => Ok(()),
        }
    }

    /// Refuses `more` bytes when `used` leaves no room for them.
    pub(crate) fn room(&mut self, used: u64, more: u64) -> Result<(), Fault> {
        match self.capacity_bytes {
            Some(capacity) if used.saturating_add(more) > capacity => {
                self.counts.full += 1;
                Err(Fault::NoSpace)
            }
            _ => Ok(()),
        }
    }

    /// Whether a sync is to be carried out.
    pub(crate) fn counts(&mut self, what: Sync, path: &Path) -> bool {
        let lie = self.lies.iter().any(|lie| {
            lie.what == what
                && path.starts_with(&lie.under)
                && (what == Sync::Folder || path.to_string_lossy().ends_with(lie.ending))
        });
        self.counts.lies += u64::from(lie);
        !lie
    }
}
