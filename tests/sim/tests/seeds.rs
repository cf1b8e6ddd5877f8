//! Runs seeds, each in a process of its own, and planted faults.
//!
//! `KARRI_SIM_SEEDS` sets how many seeds are run (100), `KARRI_SIM_FIRST` the first of them (another each day), and
//! `KARRI_SIM_MUTANTS=all` has all planted faults looked for, not two of them, others each day.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use karri_tests_sim::{Checked, Faults, Mutant, Report};

/// Seeds without `KARRI_SIM_SEEDS`.
const SEEDS: u64 = 100;
/// Real time after which a run is given up, which fails the batch: it is many times what the slowest takes.
const RUN_MAX: Duration = Duration::from_secs(120);
/// Seeds of a batch that is so large that each kind of fault has to come in it.
const VALID_FROM: usize = 60;
/// The history of one key may be too tangled to be judged in one of so many runs.
const UNSETTLED_ONE_IN: usize = 10;
/// Seeds within which a planted fault must be found.
const MUTANT_SEEDS_MAX: u64 = 600;
/// Planted faults that are looked for each time.
const MUTANTS_A_DAY: usize = 2;
/// Seeds that failed once.
const CORPUS: &str = include_str!("../corpus.txt");

/// What a seed came to; an error says how a run ended that came to nothing.
#[expect(clippy::disallowed_methods, reason = "a run that stalls does so in real time")]
fn simulate(seed: u64, mutant: Option<Mutant>) -> Result<Report, String> {
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
            return Err(format!("given up after {RUN_MAX:?}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("output of karri-sim");
    serde_json::from_slice(&output.stdout).map_err(|_| format!("karri-sim ended with {} and no report", output.status))
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

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn day() -> u64 {
    UNIX_EPOCH.elapsed().expect("after 1970").as_secs() / 86_400
}

/// What a batch came to.
#[derive(Default)]
struct Totals {
    faults: Faults,
    checked: Checked,
    answered: u64,
    unknown: u64,
    simulated_ms: u64,
    unsettled: u64,
    broken: Vec<String>,
}

impl Totals {
    fn add(&mut self, seed: u64, outcome: Result<Report, String>) {
        let violations = match outcome {
            Ok(report) => {
                self.faults.add(&report.faults);
                self.checked.add(&report.checked);
                self.answered += report.answered;
                self.unknown += report.unknown;
                self.simulated_ms += report.simulated_ms;
                self.unsettled += report.unsettled;
                report.violations
            }
            Err(why) => vec![why],
        };
        self.broken
            .extend(violations.into_iter().map(|violation| format!("seed {seed}, {}: {violation}", replay(seed))));
    }
}

/// Runs seeds, as many at a time as there are cores.
fn batch(seeds: &[u64]) -> Totals {
    let (next, totals) = (AtomicUsize::new(0), Mutex::new(Totals::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let outcome = simulate(seed, None);
                    totals.lock().unwrap().add(seed, outcome);
                }
            });
        }
    });
    totals.into_inner().unwrap()
}

#[test]
fn nothing_is_violated() {
    let count = number("KARRI_SIM_SEEDS").unwrap_or(SEEDS);
    // Other seeds each day, the same all day.
    let first = number("KARRI_SIM_FIRST").unwrap_or_else(|| day() * 1_000_000);
    let seeds: Vec<u64> = corpus().into_iter().chain(first..first + count).collect();
    let totals = batch(&seeds);
    println!(
        "{} seeds from {first} and of the corpus, {} operations answered, {} in doubt, {} simulated seconds",
        seeds.len(),
        totals.answered,
        totals.unknown,
        totals.simulated_ms / 1000
    );
    let counts = totals.faults.all().into_iter().chain(totals.checked.all());
    let mut missing = Vec::new();
    for (kind, count) in counts {
        println!("  {kind}: {count}");
        missing.extend((count == 0).then_some(kind));
    }
    println!("  histories too tangled: {}", totals.unsettled);
    assert!(totals.broken.is_empty(), "{} violations:\n{}", totals.broken.len(), totals.broken.join("\n"));
    assert!(totals.unsettled as usize * UNSETTLED_ONE_IN <= seeds.len(), "too many histories could not be judged");
    assert!(seeds.len() < VALID_FROM || missing.is_empty(), "never came, so that the batch is not valid: {missing:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in day() * 1_000_000..day() * 1_000_000 + 4 {
        let reports = [simulate(seed, None), simulate(seed, None)].map(|outcome| outcome.expect("a report"));
        assert_eq!(reports[0], reports[1], "{}", replay(seed));
    }
}

/// A seed with which a planted fault is found, and how; looks with as many seeds at a time as there are cores.
fn find(mutant: Mutant) -> Option<(u64, String)> {
    let (next, found) = (AtomicU64::new(1), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed > MUTANT_SEEDS_MAX || found.lock().unwrap().is_some() {
                        return;
                    }
                    let how = match simulate(seed, Some(mutant)) {
                        Ok(report) => report.violations.into_iter().next(),
                        Err(why) => Some(why),
                    };
                    if let Some(how) = how {
                        found.lock().unwrap().get_or_insert((seed, how));
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it takes is told")]
fn planted_faults_are_caught() {
    let all = std::env::var("KARRI_SIM_MUTANTS").is_ok_and(|which| which == "all");
    let (count, start) = if all { (Mutant::ALL.len(), 0) } else { (MUTANTS_A_DAY, day() as usize * MUTANTS_A_DAY) };
    for mutant in (start..start + count).map(|at| Mutant::ALL[at % Mutant::ALL.len()]) {
        let begin = Instant::now();
        let Some((seed, how)) = find(mutant) else { panic!("{mutant} was not found with {MUTANT_SEEDS_MAX} seeds") };
        let how = how.lines().next().unwrap_or_default();
        println!("{mutant}: found with seed {seed} after {:.1} s: {how}", begin.elapsed().as_secs_f64());
    }
}
