//! Random sequences on the machine of one range over a disk in memory, with power cuts, the log read again after them,
//! and snapshots: it does what a map with versions does.

mod pair;
mod steps;

use karri_tests_model::Suite;
use pair::{Fault, run};

const SUITE: Suite = Suite {
    name: "ranges",
    command: "-p karri-ring-meta --lib a_range_is_as_a_model_has_it",
    folder: env!("CARGO_MANIFEST_DIR"),
    share: 3000,
};

#[test]
fn a_range_is_as_a_model_has_it() {
    SUITE.run(steps::sequence(), |sequence| run(sequence, Fault::None));
}

#[test]
fn planted_faults_of_a_range_are_found() {
    for fault in [Fault::ChecksDropped, Fault::FenceForgotten, Fault::LogPurgedEarly, Fault::SnapshotOfBefore] {
        SUITE.catches(&format!("{fault:?}"), steps::sequence(), |sequence| run(sequence, fault));
    }
}
