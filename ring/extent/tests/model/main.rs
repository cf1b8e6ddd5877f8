//! Random sequences on a store over a disk in memory, with power cuts: it holds what a map holds.

mod pair;
mod steps;

use karri_tests_disk::{Lie, Sync};
use karri_tests_model::Suite;
use pair::{Fault, run};

const SUITE: Suite = Suite {
    name: "extents",
    command: "-p karri-ring-extent --test model the_store_is_as_a_model_has_it",
    folder: env!("CARGO_MANIFEST_DIR"),
    share: 1500,
};

#[test]
fn the_store_is_as_a_model_has_it() {
    SUITE.run(steps::steps(), |steps| run(steps, &Fault::None));
}

#[test]
fn planted_faults_of_the_extent_store_are_found() {
    let forgotten = |under: &str, ending| Fault::SyncForgotten(Lie { what: Sync::File, under: under.into(), ending });
    for fault in [
        Fault::DeletionDropped,
        Fault::ReplacementDropped,
        Fault::RunDropped,
        forgotten("/extents/segments", "seg"),
        forgotten("/extents/db", "log"),
    ] {
        SUITE.catches(&format!("{fault:?}"), steps::steps(), |steps| run(steps, &fault));
    }
}
