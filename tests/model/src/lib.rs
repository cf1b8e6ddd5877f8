//! Runs random sequences of steps against a system and a model of it.
//!
//! A [`Suite`] runs its share of all sequences, each from a seed of its own. A failure is made as short as possible and
//! printed with its seed and the command that runs it again; the seed goes into the suite's corpus, which always runs.
//!
//! `KARRI_MODEL_SEQUENCES` sets how many sequences all suites have together (10,000), `KARRI_MODEL_SEED` the seed of
//! the only one.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Sequences of all suites together.
const SEQUENCES: u64 = 10_000;
/// Sequences at the same time.
const THREADS: u64 = 2;
/// Attempts to make a failing sequence shorter.
const SHRINKS_MAX: u32 = 1500;
/// Sequences within which a planted fault must be found.
const MUTANT_SEQUENCES_MAX: u64 = 2000;

/// How one sequence ended; an error says what differs from the model.
pub type Outcome = Result<(), String>;

/// A model and what is compared with it.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Name of the corpus, `corpus/<name>.txt` beside the crate's manifest.
    pub name: &'static str,
    /// Arguments of `cargo test` that run this suite alone.
    pub command: &'static str,
    /// The crate's folder: `env!("CARGO_MANIFEST_DIR")`.
    pub folder: &'static str,
    /// How many of 10,000 sequences it gets.
    pub share: u64,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// A sequence that failed.
struct Failure {
    seed: u64,
    steps: String,
    reason: String,
}

impl Suite {
    /// Runs the corpus, then the suite's share of sequences.
    ///
    /// # Panics
    /// When a sequence fails.
    pub fn run<S: Strategy + Sync>(&self, strategy: S, check: impl Fn(S::Value) -> Outcome + Sync) {
        if let Some(seed) = number("KARRI_MODEL_SEED") {
            match one(seed, &strategy, &check) {
                Ok(()) => println!("{} seed {seed}: as the model", self.name),
                Err(failure) => panic!("{}", self.told(&failure)),
            }
            return;
        }
        let count = number("KARRI_MODEL_SEQUENCES").unwrap_or(SEQUENCES) * self.share / SEQUENCES;
        let corpus = self.corpus();
        // Other seeds each day, the same all day.
        let day = UNIX_EPOCH.elapsed().expect("after 1970").as_secs() / 86_400;
        let first = day * 100_000_000;
        let started = processor_time();
        let seeds = |at: u64| corpus.get(at as usize).copied().unwrap_or_else(|| first + at - corpus.len() as u64);
        let (_, failure) = many(count + corpus.len() as u64, seeds, &strategy, &check);
        if let Some(failure) = failure {
            self.remember(failure.seed);
            panic!("{}", self.told(&failure));
        }
        let spent = processor_time().saturating_sub(started);
        println!("{}: {count} sequences and {} of the corpus, about {spent:?} of processor", self.name, corpus.len());
    }

    /// Runs sequences of a system with a planted fault until one fails.
    ///
    /// # Panics
    /// When none fails.
    pub fn catches<S: Strategy + Sync>(&self, fault: &str, strategy: S, check: impl Fn(S::Value) -> Outcome + Sync) {
        let started = processor_time();
        let (done, failure) = many(MUTANT_SEQUENCES_MAX, |at| at, &strategy, &check);
        let failure = failure.unwrap_or_else(|| panic!("{}: {fault} was not found in {done} sequences", self.name));
        let spent = processor_time().saturating_sub(started);
        println!("{}: {fault}: found after {done} sequences, {spent:?}, as: {}", self.name, failure.reason);
    }

    fn told(&self, Failure { seed, steps, reason }: &Failure) -> String {
        let commit = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
        let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        let again = format!("KARRI_MODEL_SEED={seed} cargo test {}", self.command);
        format!("{} seed {seed} commit {commit}: {reason}\nsteps: {steps}\nagain: {again}", self.name)
    }

    fn corpus_path(&self) -> PathBuf {
        PathBuf::from(self.folder).join("corpus").join(format!("{}.txt", self.name))
    }

    /// Seeds that failed once.
    fn corpus(&self) -> Vec<u64> {
        let text = match fs::read_to_string(self.corpus_path()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => panic!("{}: {error}", self.corpus_path().display()),
        };
        let seeds = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let seeds = seeds.filter(|seed| !seed.is_empty());
        seeds.map(|seed| seed.parse().unwrap_or_else(|_| panic!("{}: {seed}", self.corpus_path().display()))).collect()
    }

    fn remember(&self, seed: u64) {
        let path = self.corpus_path();
        let folder = path.parent().expect("it is in a folder");
        let file = fs::create_dir_all(folder)
            .and_then(|()| fs::OpenOptions::new().append(true).create(true).open(&path))
            .and_then(|mut file| writeln!(file, "{seed}"));
        if let Err(error) = file {
            println!("{}: {error}", path.display());
        }
    }
}

/// Runs sequences until one fails; also says how many were run.
fn many<S: Strategy + Sync>(
    count: u64,
    seeds: impl Fn(u64) -> u64 + Sync,
    strategy: &S,
    check: &(impl Fn(S::Value) -> Outcome + Sync),
) -> (u64, Option<Failure>) {
    let (next, done, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let found = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    let outcome = one(seeds(at), strategy, check);
                    done.fetch_add(1, Ordering::Relaxed);
                    if let Err(failure) = outcome {
                        failed.store(true, Ordering::Relaxed);
                        found.lock().expect("not poisoned").get_or_insert(failure);
                    }
                }
            });
        }
    });
    (done.into_inner(), found.into_inner().expect("not poisoned"))
}

/// Runs the sequence of a seed, and shorter ones when it fails.
fn one<S: Strategy>(seed: u64, strategy: &S, check: &impl Fn(S::Value) -> Outcome) -> Result<(), Failure> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { failure_persistence: None, max_shrink_iters: SHRINKS_MAX, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tree = strategy.new_tree(&mut runner).expect("the strategy makes values");
    match runner.run_one(tree, |steps| check(steps).map_err(TestCaseError::fail)) {
        Ok(_) => Ok(()),
        Err(TestError::Fail(reason, steps)) => {
            Err(Failure { seed, steps: format!("{steps:?}"), reason: reason.message().to_owned() })
        }
        Err(TestError::Abort(reason)) => {
            Err(Failure { seed, steps: String::new(), reason: reason.message().to_owned() })
        }
    }
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    // Fields 14 and 15 of the line, in hundredths of a second.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: Suite = Suite { name: "none", command: "-p karri-tests-model", folder: "/nonexistent", share: 100 };

    fn sums_stay_small(steps: Vec<u8>) -> Outcome {
        let sum: u32 = steps.iter().map(|step| u32::from(*step)).sum();
        if sum < 1000 { Ok(()) } else { Err(format!("the sum is {sum}")) }
    }

    #[test]
    fn a_failure_is_found_again_from_its_seed_and_made_short() {
        let strategy = proptest::collection::vec(0..=255u8, 0..40);
        let (_, failure) = many(1000, |at| at, &strategy, &sums_stay_small);
        let failure = failure.expect("such sums are common");
        let again = one(failure.seed, &strategy, &sums_stay_small).expect_err("it fails again");
        assert_eq!((&again.steps, &again.reason), (&failure.steps, &failure.reason));
        assert_eq!(again.reason, "the sum is 1000", "{}", again.steps);
        assert!(SUITE.told(&again).contains(&format!("KARRI_MODEL_SEED={}", failure.seed)));
    }

    #[test]
    #[should_panic(expected = "was not found")]
    fn a_fault_that_is_not_found_is_a_failure() {
        SUITE.catches("nothing", proptest::collection::vec(0..=1u8, 0..40), sums_stay_small);
    }
}
