//! Processes in namespaces are broken in every way while clients write a history, and the history is linearizable.
//!
//! `KARRI_NODES_OPERATIONS` (20,000), `KARRI_NODES_FAULTS` (10), `KARRI_NODES_COUNT` (3) and `KARRI_TEST_SEED` set a run;
//! `KARRI_NODES_HOURS` repeats runs for so long. `KARRI_NODES_RECOVERY_SECONDS` (10) is for machines that have little time for the
//! nodes. As root.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::Seed;
use karri_tests_nodes::faults::Fault;
use karri_tests_nodes::run::{Mutant, Options, RECOVERY_MAX, run};
use tokio::time::Instant;

fn number(name: &str, usual: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(usual), |text| text.parse().with_context(|| format!("{name} is not a number")))
}

fn options() -> Result<Options> {
    Ok(Options {
        nodes: usize::try_from(number("KARRI_NODES_COUNT", 3)?)?,
        operations: number("KARRI_NODES_OPERATIONS", 20_000)?,
        faults: usize::try_from(number("KARRI_NODES_FAULTS", 10)?)?,
        kinds: Fault::ALL.to_vec(),
        seed: Seed::choose(),
        recovery_max: Duration::from_secs(number("KARRI_NODES_RECOVERY_SECONDS", RECOVERY_MAX.as_secs())?),
        mutant: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_linearizable() -> Result<()> {
    let hours = std::env::var("KARRI_NODES_HOURS").unwrap_or_else(|_| "0".to_owned());
    let hours: f64 = hours.parse().context("KARRI_NODES_HOURS is not a number")?;
    let end = Instant::now() + Duration::from_secs_f64(hours * 3600.0);
    loop {
        let report = run(options()?).await?;
        println!("{report:?}");
        if Instant::now() >= end {
            return Ok(());
        }
    }
}

/// Disks that forget what they had acknowledged must be found.
async fn caught(mutant: Mutant, fault: Fault) -> Result<()> {
    let options = Options { operations: 3000, faults: 1, kinds: vec![fault], mutant: Some(mutant), ..options()? };
    let began = Instant::now();
    let Err(error) = run(options).await else { anyhow::bail!("{mutant:?} was not found") };
    let text = format!("{error:#}");
    println!("{mutant:?} was found after {:.0?}: {}", began.elapsed(), text.lines().next().unwrap_or_default());
    ensure!(text.contains("not linearizable") || text.contains("cannot be read"), "found for another reason: {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "half a minute: run with --ignored"]
async fn mutant_disks_that_forget_are_caught() -> Result<()> {
    caught(Mutant::Rollback, Fault::KillAll).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "half a minute: run with --ignored"]
async fn mutant_a_majority_of_disks_that_forget_is_caught() -> Result<()> {
    caught(Mutant::RollbackOfMajority, Fault::KillAll).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mutant_syncs_that_are_skipped_are_caught() -> Result<()> {
    caught(Mutant::SkippedSyncs, Fault::PowerCut).await
}

/// One power cut after the other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a quarter of an hour: KARRI_NODES_POWER_CUTS (200) of them"]
async fn power_cuts_lose_nothing() -> Result<()> {
    let cuts = number("KARRI_NODES_POWER_CUTS", 200)?;
    let faults = usize::try_from(cuts)?;
    let report = run(Options { operations: cuts * 50, faults, kinds: vec![Fault::PowerCut], ..options()? }).await?;
    println!("{report:?}");
    Ok(())
}
