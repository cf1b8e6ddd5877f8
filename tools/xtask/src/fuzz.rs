//! `cargo xtask fuzz`: builds the parsers with coverage counters and runs one target under clang's libFuzzer.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::{Workshop, run};

const SECONDS_USUAL: u64 = 60;
const INPUT_BYTES_MAX: &str = "-max_len=4096";
/// A build of its own, whose flags are not to reach build scripts: hence a target that is named.
const TRIPLE: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };
/// Counters at every edge and comparison, with flags of the stable compiler.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions=on -Coverflow-checks=on -Ccodegen-units=1";

/// Runs the target for as long as is asked; fails when it finds something.
pub(crate) fn fuzz(workshop: &Workshop, args: &[String]) -> Result<()> {
    let corpora = workshop.root.join("tests/fuzz/corpus");
    let (target, seconds) = match args {
        [] => {
            let mut names = Vec::new();
            for entry in fs::read_dir(&corpora).context("read tests/fuzz/corpus")? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            println!("{}", names.join("\n"));
            return Ok(());
        }
        [target] => (target, SECONDS_USUAL),
        [target, flag, seconds] if flag == "--seconds" => (target, seconds.parse().context("--seconds N")?),
        _ => bail!("usage: cargo xtask fuzz [<target> [--seconds N]]"),
    };
    ensure!(corpora.join(target).is_dir(), "{target} is no target; `cargo xtask fuzz` lists them");
    workshop.prepare()?;
    let folder = workshop.target().join("fuzz");
    let mut build = Command::new("cargo");
    build.args(["build", "--target", TRIPLE, "-p", "karri-tests-fuzz", "--bin", "karri-tests-fuzz"]);
    build.current_dir(&workshop.root).envs(workshop.environment());
    build.env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", flags(workshop)?);
    run(&mut build)?;
    // What is found goes here; what is worth keeping is copied into the corpus by hand.
    let found = folder.join("found").join(target);
    fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
    let mut engine = Command::new(folder.join(TRIPLE).join("debug/karri-tests-fuzz"));
    engine.env("KARRI_FUZZ_TARGET", target).arg(format!("-max_total_time={seconds}"));
    engine.args([INPUT_BYTES_MAX, "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1"]);
    engine.arg(format!("-artifact_prefix={}/crash-", folder.display()));
    engine.arg(&found).arg(corpora.join(target));
    run(&mut engine)
}

fn flags(workshop: &Workshop) -> Result<String> {
    let usual = workshop.environment().into_iter().find(|(name, _)| *name == "RUSTFLAGS");
    let usual = usual.map(|(_, flags)| flags).unwrap_or_default();
    let arch = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    let name = format!("libclang_rt.fuzzer_no_main-{arch}.a");
    let output = Command::new("clang").arg(format!("-print-file-name={name}")).output().context("run clang")?;
    let engine = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(engine.starts_with('/'), "clang has no {name}: install libclang-rt-dev of its version");
    Ok(format!("{usual} {COVERAGE} -Clink-arg={engine} -Clink-arg=-lstdc++"))
}
