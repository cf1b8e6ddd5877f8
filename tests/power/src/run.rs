//! One run: lives of a disk, each of several power cuts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::Seed;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::disk::{Disk, Loss};
use crate::guest::{Guest, Mutant, Ready, Workshop};
use crate::load::Model;

/// Cuts that a disk lives through before there is a new one.
const CUTS_PER_LIFE: usize = 20;
/// Of so many starts after a cut one is cut off as well.
const STARTS_PER_CUT_OFF: u32 = 4;
/// Writes and flushes of the disk, at most, after which a start, or work, is cut off.
const START_OPERATIONS_MAX: u64 = 120;
const WORK_OPERATIONS_MAX: u64 = 700;
/// Cuts from which on each kind must have come.
const COVERAGE_CUTS_MIN: usize = 40;

/// What a run is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Power cuts.
    pub cuts: usize,
    /// Fixes the clients' choices, when the power goes, and what is lost.
    pub seed: Seed,
    /// For the test of the checker.
    pub mutant: Option<Mutant>,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cuts in work, and while the guest started.
    pub cuts: (u64, u64),
    /// By what they left.
    pub losses: BTreeMap<Loss, u64>,
    /// Cuts with writes that were not flushed, and sectors of those that were lost.
    pub unflushed: (u64, u64),
    /// Writes and flushes of the disk.
    pub disk: (u64, u64),
    /// Writes and deletions that were acknowledged, and those without an answer.
    pub outcomes: (u64, u64),
    /// The whole run.
    pub took: Duration,
}

struct Run {
    options: Options,
    workshop: Workshop,
    report: Report,
    machines: usize,
}

/// Carries out a run.
///
/// # Errors
/// A promise that was broken, or a kind of cut that never came.
pub async fn run(options: Options) -> Result<Report> {
    let began = Instant::now();
    let workshop = tokio::task::block_in_place(Workshop::new)?;
    let mut run = Run { options, workshop, report: Report::default(), machines: 0 };
    let mut life = 0;
    while run.cuts() < run.options.cuts {
        let seed = run.options.seed.0.wrapping_add(life);
        run.life(seed).await.with_context(|| format!("KARRI_TEST_SEED={seed} begins with this disk"))?;
        life += 1;
    }
    run.report.took = began.elapsed();
    let Report { cuts, losses, unflushed, .. } = &run.report;
    let missing: Vec<_> = Loss::ALL.iter().filter(|loss| !losses.contains_key(loss)).collect();
    let covered = missing.is_empty() && cuts.0 > 0 && cuts.1 > 0 && unflushed.1 > 0;
    ensure!(run.cuts() < COVERAGE_CUTS_MIN || covered, "invalid run: {missing:?} never came, {:?}", run.report);
    Ok(run.report)
}

impl Run {
    fn cuts(&self) -> usize {
        usize::try_from(self.report.cuts.0 + self.report.cuts.1).unwrap_or(usize::MAX)
    }

    /// A new disk, and cuts until it is old.
    async fn life(&mut self, seed: u64) -> Result<()> {
        let mut rng = StdRng::seed_from_u64(seed);
        let model = Arc::new(Model::default());
        let mut disk = Arc::new(self.workshop.disk(self.options.mutant));
        let cuts = CUTS_PER_LIFE.min(self.options.cuts - self.cuts());
        for cut in 0..=cuts {
            // The last start only looks.
            let work = cut < cuts;
            let cut_off = work && cut > 0 && rng.random_ratio(1, STARTS_PER_CUT_OFF);
            if cut_off {
                disk.cut_after(rng.random_range(1..=START_OPERATIONS_MAX));
            }
            self.machines += 1;
            let mut guest = self.workshop.boot(self.machines, disk.clone(), self.options.mutant)?;
            let outcome = self.one_start(&mut guest, &model, cut == 0, work, &mut rng).await;
            guest.kill();
            outcome.with_context(|| format!("after cut {cut} of this disk; the guest:\n{}", guest.console_tail()))?;
            let counts = disk.counts();
            self.report.disk = (self.report.disk.0 + counts.0, self.report.disk.1 + counts.1);
            if work {
                disk = Arc::new(self.after_cut(&disk, &mut rng));
            }
        }
        let (acknowledged, unknown) = model.outcomes();
        self.report.outcomes = (self.report.outcomes.0 + acknowledged, self.report.outcomes.1 + unknown);
        println!("{:?}", self.report);
        Ok(())
    }

    /// What a machine does from its start until the power goes, or until all was looked at.
    async fn one_start(
        &mut self,
        guest: &mut Guest,
        model: &Arc<Model>,
        first: bool,
        work: bool,
        rng: &mut StdRng,
    ) -> Result<()> {
        if guest.ready().await? == Ready::Cut || !guest.disk.spare() {
            self.report.cuts.1 += 1;
            return Ok(());
        }
        if first {
            model.begin(&guest.client).await?;
        } else {
            model.verify(&guest.client).await?;
            guest.fsck().await?;
        }
        if work {
            let disk = guest.disk.clone();
            disk.cut_after(rng.random_range(1..=WORK_OPERATIONS_MAX));
            model.work(&guest.client, &disk, rng).await?;
            self.report.cuts.0 += 1;
        }
        Ok(())
    }

    fn after_cut(&mut self, disk: &Disk, rng: &mut StdRng) -> Disk {
        let loss = match self.options.mutant {
            Some(_) => Loss::All,
            None => *Loss::ALL.choose(rng).unwrap_or(&Loss::All),
        };
        let (next, lost) = disk.after_cut(loss, rng);
        *self.report.losses.entry(loss).or_default() += 1;
        self.report.unflushed.0 += u64::from(lost.pending > 0);
        self.report.unflushed.1 += lost.sectors as u64;
        next
    }
}
