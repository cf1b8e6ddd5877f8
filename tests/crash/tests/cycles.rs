//! Power cuts at any write, failing and full disks and flipped bits: nothing that was acknowledged is lost.
//!
//! `KARRI_CRASH_CYCLES` sets how many (400), `KARRI_CRASH_SEED` the seed of the only run, to see a failure again; then
//! `KARRI_LOG=debug` shows what the node logs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use karri_ring_types::{Clock as _, SystemClock};
use karri_tests_crash::cycle::{self, Tally};
use karri_tests_disk::{Lie, Sync};

const CYCLES: u64 = 400;
/// Runs within which a planted fault must be found.
const MUTANT_RUNS: u64 = 40;
/// A run that does not end within so many pauses waits for ever. They are counted, and not the time: on a machine that has no
/// time for the run they are longer.
const PAUSES_MAX: u32 = 1500;
const PAUSE: Duration = Duration::from_millis(10);
/// Runs at the same time.
const THREADS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// A run on a runtime of its own, so that nothing of it is left.
fn run(seed: u64, lies: &[Lie]) -> Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = cycle::run(seed, lies) => outcome,
            () = pauses() => bail!("something waits for an answer that does not come"),
        }
    });
    runtime.shutdown_background();
    outcome
}

async fn pauses() {
    for _ in 0..PAUSES_MAX {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Runs seeds from `first` on until `enough` or a failure.
fn runs(first: u64, enough: impl Fn(&Tally) -> bool) -> (Tally, Option<(u64, anyhow::Error)>) {
    let mut tally = Tally::default();
    for seed in (first..).step_by(THREADS as usize) {
        if enough(&tally) {
            break;
        }
        match run(seed, &[]) {
            Ok(one) => tally.add(&one),
            Err(error) => return (tally, Some((seed, error))),
        }
    }
    (tally, None)
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_goes() {
    if let Some(seed) = number("KARRI_CRASH_SEED") {
        let filter = tracing_subscriber::EnvFilter::from_env("KARRI_LOG");
        tracing_subscriber::fmt().with_env_filter(filter).init();
        let tally = run(seed, &[]).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        println!("seed {seed}: {tally}");
        return;
    }
    let cycles = number("KARRI_CRASH_CYCLES").unwrap_or(CYCLES);
    // Other seeds each day, the same all day.
    let day = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs() / 86_400;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let first = day * 1_000_000 + thread;
            std::thread::spawn(move || runs(first, |tally| tally.cycles * THREADS >= cycles))
        })
        .collect();
    let mut tally = Tally::default();
    for thread in threads {
        let (one, failure) = thread.join().expect("a run panicked");
        tally.add(&one);
        if let Some((seed, error)) = failure {
            panic!(
                "seed {seed}: {error:?}\nagain: KARRI_CRASH_SEED={seed} cargo test -p karri-tests-crash --test cycles nothing"
            );
        }
    }
    println!("{tally}");
    assert_eq!(tally.missing(), Vec::<&str>::new(), "a fault that never came proves nothing");
}

/// Seeds that failed once, which always run; several times, because the order of threads is not theirs.
#[test]
fn seeds_that_failed_once() {
    // A flipped bit under the list of Raft groups: the node went on without any, and said nothing.
    for seed in [20_787_000_078; 4] {
        run(seed, &[]).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
    }
}

/// A sync that is forgotten must be found.
fn caught(name: &str, what: Sync, under: &str, ending: &'static str) {
    let clock = SystemClock::default();
    let lies = [Lie { what, under: PathBuf::from("/karri-in-memory/1").join(under), ending }];
    for seed in 0..MUTANT_RUNS {
        if let Err(error) = run(seed, &lies) {
            println!("mutant {name}: caught by seed {seed} after {:.1?}: {error:#}", clock.monotonic());
            return;
        }
    }
    panic!("mutant {name} lived through {MUTANT_RUNS} runs");
}

#[test]
fn mutant_raft_flusher_without_sync_is_caught() {
    caught("the Raft flusher does not sync", Sync::File, "raft", ".log");
}

#[test]
fn mutant_segments_without_sync_are_caught() {
    caught("segments of chunks are not synced", Sync::File, "extents/segments", ".seg");
}

#[test]
fn mutant_rows_of_extents_without_sync_are_caught() {
    caught("the log of the extents' rows is not synced", Sync::File, "extents/db", ".log");
}

#[test]
fn mutant_tables_of_extents_without_sync_are_caught() {
    caught("tables of the extents' rows are not synced", Sync::File, "extents/db", ".sst");
}

#[test]
fn mutant_folders_without_sync_are_caught() {
    caught("folders of extents are not synced", Sync::Folder, "extents", "");
}

#[test]
fn mutant_raft_folder_without_sync_is_caught() {
    caught("the folder of the Raft logs is not synced", Sync::Folder, "raft", "");
}
