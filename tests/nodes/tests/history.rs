//! Processes in namespaces are broken in every way while clients write a history, and the history is linearizable.
//!
//! `KARRI_NODES_OPERATIONS` (20,000), `KARRI_NODES_FAULTS` (10), `KARRI_NODES_COUNT` (3) and `KARRI_TEST_SEED` set a run;
//! `KARRI_NODES_HOURS` repeats runs for so long. As root.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::Seed;
use karri_tests_nodes::run::{Mutant, Options, run};
use tokio::time::Instant;

fn number(name: &str, usual: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(usual), |text| text.parse().with_context(|| format!("{name} is not a number")))
}

fn options() -> Result<Options> {
    Ok(Options {
        nodes: usize::try_from(number("KARRI_NODES_COUNT", 3)?)?,
        operations: number("KARRI_NODES_OPERATIONS", 20_000)?,
        faults: usize::try_from(number("KARRI_NODES_FAULTS", 10)?)?,
        seed: Seed::choose(),
        mutant: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_linearizable() -> Result<()> {
    let end = Instant::now() + Duration::from_secs(number("KARRI_NODES_HOURS", 0)? * 3600);
    loop {
        let report = run(options()?).await?;
        println!("{report:?}");
        if Instant::now() >= end {
            return Ok(());
        }
    }
}

/// Disks that forget what they had acknowledged must be found.
async fn caught(mutant: Mutant) -> Result<()> {
    // All faults once; the last is the one that a disk can lie about.
    let options = Options { operations: 6000, faults: 9, mutant: Some(mutant), ..options()? };
    let began = Instant::now();
    let Err(error) = run(options).await else { anyhow::bail!("{mutant:?} was not found") };
    let text = format!("{error:#}");
    println!("{mutant:?} was found after {:.0?}: {}", began.elapsed(), text.lines().next().unwrap_or_default());
    ensure!(text.contains("not linearizable") || text.contains("cannot be read"), "found for another reason: {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: run with --ignored"]
async fn mutant_disks_that_forget_are_caught() -> Result<()> {
    caught(Mutant::Rollback).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: run with --ignored"]
async fn mutant_a_majority_of_disks_that_forget_is_caught() -> Result<()> {
    caught(Mutant::RollbackOfMajority).await
}
