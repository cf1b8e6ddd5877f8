//! Runs seeds, each in a process of its own, and the planted fault.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use karri_tests_sim::{Faults, Mutant, Report};

/// Seeds without `KARRI_SIM_SEEDS`.
const SEEDS: u64 = 24;
/// Real time after which a run is given up.
const RUN_MAX: Duration = Duration::from_secs(20);
/// One of so many runs may be given up.
const STALLED_ONE_IN: usize = 3;
/// Seeds that failed once.
const CORPUS: &str = include_str!("../corpus.txt");

/// How a run ended.
enum Ended {
    Report(Box<Report>),
    Stalled,
    Failed(String),
}

#[expect(clippy::disallowed_methods, reason = "a run that stalls does so in real time")]
fn simulate(seed: u64, mutant: Option<Mutant>) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_karri-sim"));
    command.args(["--seed", &seed.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(mutant) = mutant {
        command.args(["--mutant", &mutant.to_string()]);
    }
    let mut child = command.spawn().expect("start karri-sim");
    let start = Instant::now();
    while child.try_wait().expect("wait for karri-sim").is_none() {
        if start.elapsed() > RUN_MAX {
            // It may have ended in between.
            let _ = child.kill();
            let _ = child.wait();
            return Ended::Stalled;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("output of karri-sim");
    match serde_json::from_slice(&output.stdout) {
        Ok(report) => Ended::Report(Box::new(report)),
        Err(_) => Ended::Failed(format!("karri-sim ended with {} and no report", output.status)),
    }
}

fn replay(seed: u64) -> String {
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    format!("commit {commit}, replay: cargo run -p karri-tests-sim --bin karri-sim -- --seed {seed} --print")
}

fn corpus() -> Vec<u64> {
    let lines = CORPUS.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(|line| line.parse().expect("a seed")).collect()
}

#[test]
#[ignore = "takes minutes, and runs exceed their real time on a busy machine; whether some never end is to be found"]
fn nothing_is_violated() {
    let count = std::env::var("KARRI_SIM_SEEDS").map_or(SEEDS, |text| text.parse().expect("KARRI_SIM_SEEDS"));
    let seeds: Vec<u64> = corpus().into_iter().chain(1000..1000 + count).collect();
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Faults::default()));
    let (broken, stalled, totals) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()), Mutex::new((0, 0, 0)));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match simulate(seed, None) {
                        Ended::Report(report) => {
                            faults.lock().unwrap().add(&report.faults);
                            let mut totals = totals.lock().unwrap();
                            totals.0 += report.answered;
                            totals.1 += report.unknown;
                            totals.2 += report.simulated_ms;
                            for violation in report.violations {
                                broken.lock().unwrap().push(format!("seed {seed}, {}: {violation}", replay(seed)));
                            }
                        }
                        Ended::Stalled => stalled.lock().unwrap().push(seed),
                        Ended::Failed(why) => {
                            broken.lock().unwrap().push(format!("seed {seed}, {}: {why}", replay(seed)));
                        }
                    }
                }
            });
        }
    });
    let (answered, unknown, simulated_ms) = totals.into_inner().unwrap();
    let (faults, stalled, broken) =
        (faults.into_inner().unwrap(), stalled.into_inner().unwrap(), broken.into_inner().unwrap());
    println!(
        "{} seeds, {answered} operations answered, {unknown} in doubt, {} simulated seconds",
        seeds.len(),
        simulated_ms / 1000
    );
    for (kind, count) in faults.fired() {
        println!("  {kind}: {count}");
        assert!(count > 0, "{kind} never came: the batch is not valid");
    }
    println!("given up: {stalled:?}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(stalled.len() * STALLED_ONE_IN <= seeds.len(), "too many runs were given up: {stalled:?}");
}

#[test]
#[ignore = "eight runs of seconds each, and it fails where too many exceed their real time"]
fn the_same_seed_gives_the_same_trace() {
    let mut compared = 0;
    for seed in 1..=4 {
        if let (Ended::Report(one), Ended::Report(two)) = (simulate(seed, None), simulate(seed, None)) {
            assert_eq!(one, two, "{}", replay(seed));
            compared += 1;
        }
    }
    assert!(compared >= 2, "only {compared} runs ended");
}

#[test]
#[ignore = "up to six runs of seconds each, given up by real time"]
fn a_log_that_is_not_synced_is_caught() {
    let caught = (11..=16).find(|&seed| {
        matches!(simulate(seed, Some(Mutant::SkipFsync)), Ended::Report(report) if !report.violations.is_empty())
    });
    println!("caught with seed {caught:?}");
    assert!(caught.is_some(), "no seed found it");
}
