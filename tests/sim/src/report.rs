//! What a run came to.

use serde::{Deserialize, Serialize};

/// How often each kind of fault fired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the faults are in docs/reliability.md")]
pub struct Faults {
    pub crashes: u64,
    pub crashes_at_a_write: u64,
    pub torn: u64,
    pub restarts: u64,
    pub partitions: u64,
    pub one_way_cuts: u64,
    pub cut: u64,
    pub lost: u64,
    pub late: u64,
    pub twice: u64,
    pub slow: u64,
    pub skews: u64,
    pub jumps: u64,
}

impl Faults {
    /// Each kind with its count.
    pub fn fired(&self) -> [(&'static str, u64); 13] {
        [
            ("crashes", self.crashes),
            ("crashes at a write", self.crashes_at_a_write),
            ("torn writes", self.torn),
            ("restarts", self.restarts),
            ("partitions", self.partitions),
            ("one-way cuts", self.one_way_cuts),
            ("messages cut", self.cut),
            ("messages lost", self.lost),
            ("messages late", self.late),
            ("messages twice", self.twice),
            ("slow disks", self.slow),
            ("clocks at a wrong rate", self.skews),
            ("wall clocks set wrong", self.jumps),
        ]
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.crashes_at_a_write += other.crashes_at_a_write;
        self.torn += other.torn;
        self.restarts += other.restarts;
        self.partitions += other.partitions;
        self.one_way_cuts += other.one_way_cuts;
        self.cut += other.cut;
        self.lost += other.lost;
        self.late += other.late;
        self.twice += other.twice;
        self.slow += other.slow;
        self.skews += other.skews;
        self.jumps += other.jumps;
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Nodes at the start.
    pub nodes: u64,
    /// Operations that were answered, those refused for a condition included.
    pub answered: u64,
    /// Operations of which the outcome is not known.
    pub unknown: u64,
    /// Operations that certainly were not carried out.
    pub refused: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// From healing to the first acknowledged write.
    pub recovery_ms: u64,
    /// Faults by kind.
    pub faults: Faults,
    /// Digest of all events: equal for equal runs.
    pub trace: String,
    /// What was violated, by invariant; empty when all holds.
    pub violations: Vec<String>,
}
