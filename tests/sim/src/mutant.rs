//! Planted faults, which the checks must find.

use std::fmt;
use std::str::FromStr;

use karri_tests_disk::{Lie, MemoryDisk, Sync};

/// The mutants with their names.
macro_rules! mutants {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A planted fault. None is a switch of the code that is tested: the simulated disk, network and clocks do them,
        /// or what the simulation puts around a node.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$doc])* $variant,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
        }

        impl fmt::Display for Mutant {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $name,)*
                })
            }
        }
    };
}

mutants! {
    /// The Raft logs are not synced.
    SkipFsync = "skip-fsync",
    /// Nor are the segments of extents.
    SkipSegmentFsync = "skip-segment-fsync",
    /// Followers acknowledge entries before they have them.
    AcknowledgeEntries = "acknowledge-entries-at-one",
    /// Nodes acknowledge extents that they never got.
    AcknowledgeExtents = "acknowledge-extents-at-one",
    /// A question to a range is answered as it was before.
    StaleRead = "stale-read",
    /// The clock of a leader that is cut off nearly stands still, so that its lease does not end.
    StaleLease = "stale-lease",
    /// Extents that are old enough are collected, whatever their range says.
    CollectWithoutVerdict = "collect-without-verdict",
    /// Writes forget their conditions.
    DropPrecondition = "drop-precondition",
    /// A node that has lost its disk comes back under its old id, so that its votes are forgotten.
    ForgetVotes = "forget-votes",
    /// What a node applies differs from what others do: a bit of an entry is flipped on its way to it.
    DamageEntry = "damage-entry",
}

impl Mutant {
    /// Does to a disk what is to be done to it.
    pub(crate) fn plant(self, disk: &MemoryDisk) {
        let ending = match self {
            Self::SkipFsync => ".log",
            Self::SkipSegmentFsync => ".seg",
            _ => return,
        };
        disk.set_lies(vec![Lie { what: Sync::File, under: "/".into(), ending }]);
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|mutant| mutant.to_string() == text);
        found.copied().ok_or_else(|| format!("no mutant {text:?}"))
    }
}
