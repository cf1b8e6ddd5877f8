//! What fuzzers found, and the seeds that they began with, on every run.

use std::fs;

#[test]
fn the_corpora_pass() {
    for (name, target) in karri_tests_fuzz::TARGETS {
        let folder = format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut inputs = 0;
        for entry in fs::read_dir(&folder).expect("the corpus is in the tree") {
            target(&fs::read(entry.expect("an entry").path()).expect("an input"));
            inputs += 1;
        }
        assert!(inputs > 0, "{folder} is empty");
        println!("{name}: {inputs} inputs");
    }
}
