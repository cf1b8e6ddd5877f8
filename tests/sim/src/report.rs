//! What a run came to.

use serde::{Deserialize, Serialize};

/// Counters by name, which add up over runs.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "each has a name in words")]
        pub struct $name {
            $(pub $field: u64,)*
        }

        impl $name {
            /// Each with its name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($text, self.$field),)*]
            }

            /// Adds those of another run.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
    /// How often each kind of fault fired.
    Faults {
        crashes: "crashes",
        crashes_at_a_write: "crashes at a write",
        torn: "torn writes",
        power_cuts: "power cuts of all nodes",
        restarts: "restarts",
        partitions: "partitions",
        one_way_cuts: "one-way cuts",
        cut: "messages cut",
        lost: "messages lost",
        late: "messages late",
        twice: "messages twice",
        slow: "slow disks",
        io_errors: "errors of a disk",
        full: "full disks",
        flipped: "flipped bits",
        skews: "clocks at a wrong rate",
        jumps: "wall clocks set wrong",
        joins: "nodes that joined",
        wipes: "nodes that lost their disk",
    }
}

counters! {
    /// How much the checks looked at: a check that saw nothing has checked nothing.
    Checked {
        states: "states compared at an equal index",
        entries: "entries of logs compared",
        leaders: "leaderships seen",
        rows: "rows read by the recount",
        extents: "extents looked for",
        copies: "copies read",
        collected: "extents collected in the end",
        shared: "copies that share extents",
        renamed: "renames",
        versions: "versions read",
        deleted_versions: "deleted versions looked for",
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
    /// From healing to all copies being there.
    pub repair_ms: u64,
    /// Faults by kind.
    pub faults: Faults,
    /// What was checked.
    pub checked: Checked,
    /// Keys whose history was too tangled to tell whether it is linearizable.
    pub unsettled: u64,
    /// Digest of all events: equal for equal runs.
    pub trace: String,
    /// What was violated, by invariant; empty when all holds.
    pub violations: Vec<String>,
}
