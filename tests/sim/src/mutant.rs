//! Planted faults, which the checks must find.

use std::fmt;
use std::str::FromStr;

use karri_tests_disk::{Lie, Sync};

use crate::cluster::Cluster;

/// A planted fault. None is a switch of the code that is tested: the simulated disk and network do them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The Raft logs are not synced.
    SkipFsync,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::SkipFsync];

    pub(crate) fn plant(self, cluster: &mut Cluster) {
        match self {
            Self::SkipFsync => {
                for site in cluster.sites.values() {
                    site.disk.set_lies(vec![Lie { what: Sync::File, under: "/".into(), ending: ".log" }]);
                }
            }
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SkipFsync => "skip-fsync",
        })
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|mutant| mutant.to_string() == text).ok_or_else(|| format!("no mutant {text:?}"))
    }
}
