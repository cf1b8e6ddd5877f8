//! Random sequences of requests, each answered as a naive model of S3 answers it.

mod driver;
mod objects;
mod reference;
mod steps;
mod uploads;

use driver::{Fault, run};
use karri_tests_model::Suite;

const SUITE: Suite = Suite {
    name: "objects",
    command: "-p karri-objstore-service --lib requests_are_answered_as_a_model_has_them",
    folder: env!("CARGO_MANIFEST_DIR"),
    share: 3000,
};

const LOANS: Suite = Suite {
    name: "loans",
    command: "-p karri-objstore-service --lib loans_are_as_a_model_has_them",
    share: 1000,
    ..SUITE
};

#[test]
fn requests_are_answered_as_a_model_has_them() {
    SUITE.run(steps::sequence(), |sequence| run(sequence, Fault::None));
}

#[test]
fn loans_are_as_a_model_has_them() {
    LOANS.run(steps::loans(), |sequence| run(sequence, Fault::None));
}

#[test]
fn planted_faults_of_the_object_service_are_found() {
    for fault in [
        Fault::ConditionsDropped,
        Fault::VersionLeft,
        Fault::BorderSkipped,
        Fault::LastCommandLost,
        Fault::HoldersForgotten,
        Fault::LockForgotten,
    ] {
        SUITE.catches(&format!("{fault:?}"), steps::sequence(), |sequence| run(sequence, fault));
    }
    let fault = Fault::HoldingsLeft;
    LOANS.catches(&format!("{fault:?}"), steps::loans(), |sequence| run(sequence, fault));
}
