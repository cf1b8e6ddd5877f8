//! A guest loses power over and over, and nothing that was acknowledged.
//!
//! `KARRI_POWER_CUTS` (200) and `KARRI_TEST_SEED` set a run. It needs QEMU and Debian's kernel for virtual machines, which it
//! takes from Debian into its cache; no right of root.

use anyhow::{Context, Result, bail, ensure};
use karri_tests_cluster::Seed;
use karri_tests_power::guest::Mutant;
use karri_tests_power::run::{Options, run};
use tokio::time::Instant;

/// Cuts within which a planted fault must be found.
const MUTANT_CUTS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "an hour: KARRI_POWER_CUTS (200) of them"]
async fn power_cuts_lose_nothing() -> Result<()> {
    let cuts = std::env::var("KARRI_POWER_CUTS").ok();
    let cuts = cuts.map_or(Ok(200), |text| text.parse().context("KARRI_POWER_CUTS is not a number"))?;
    let report = run(Options { cuts, seed: Seed::choose(), mutant: None }).await?;
    println!("{report:?}");
    Ok(())
}

async fn caught(mutant: Mutant) -> Result<()> {
    let began = Instant::now();
    let options = Options { cuts: MUTANT_CUTS, seed: Seed::choose(), mutant: Some(mutant) };
    let Err(error) = run(options).await else { bail!("{mutant:?} was not found") };
    let text = format!("{error:#}");
    let found = text.split(": ").find(|part| part.contains("acknowledged"));
    println!("{mutant:?} was found after {:.0?}: {}", began.elapsed(), error.root_cause());
    ensure!(found.is_some(), "found for another reason");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: run with --ignored"]
async fn mutant_a_disk_that_does_not_flush_is_caught() -> Result<()> {
    caught(Mutant::DiskLies).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: run with --ignored"]
async fn mutant_a_file_system_that_does_not_flush_is_caught() -> Result<()> {
    caught(Mutant::NoBarriers).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: run with --ignored"]
async fn mutant_syncs_that_are_skipped_are_caught() -> Result<()> {
    caught(Mutant::SyncsSkipped).await
}
