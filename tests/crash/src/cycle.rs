//! Runs of one node that works until its disk crashes or fails, is started again and compared with the model.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::join_all;
use karri_ring_rpc::MemoryNetwork;
use karri_ring_types::{CHUNK_SIZE_BYTES, ExtentId, ManualClock, Rng, SeededRng, Timestamp};
use karri_tests_disk::{Fault, Lie};

use crate::model::{Extent, Model, Strictness};
use crate::node::{Node, PATIENCE, Site, closed};

/// Crashes of one node before the next begins on an empty disk.
const CYCLES_PER_RUN: u64 = 5;
/// Steps of work at most between two crashes; each is a few operations of the disk.
const STEPS_MAX: u64 = 30;
/// Operations of the disk within which a fault comes.
const WORK_OPERATIONS: u64 = 80;
const OPENING_OPERATIONS: u64 = 40;
/// Operations at the same time, so that they share syncs.
const AT_ONCE: u64 = 3;
const KEYS: u64 = 12;
/// Heartbeat and elections of the one node, which has nobody to wait for.
const PACE_MS: (u64, (u64, u64)) = (5, (20, 40));
/// How long an operation may take on a disk that is well.
const OPERATION_WAIT: Duration = Duration::from_secs(20);
/// How long one waits for an operation when the disk has failed.
const GRACE: Duration = Duration::from_millis(30);

/// What happened in a run; a kind of fault that never came proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Crashes, each followed by a comparison with the model.
    pub cycles: u64,
    /// Of them, in the middle of an operation of the disk.
    pub crashed_in_work: u64,
    /// Of them, while the node was starting.
    pub crashed_in_opening: u64,
    /// After which a part of what was not synced was there.
    pub torn: u64,
    /// With an input/output error before the crash.
    pub io_errors: u64,
    /// With an error for want of room before the crash.
    pub no_space: u64,
    /// With a disk that was full before the crash.
    pub full: u64,
    /// Bits that were flipped.
    pub flips: u64,
    /// Of them, those for which the node refused to start or a store to open.
    pub flips_refused: u64,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Operations of which that is not known.
    pub unknown: u64,
}

impl Tally {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.cycles += other.cycles;
        self.crashed_in_work += other.crashed_in_work;
        self.crashed_in_opening += other.crashed_in_opening;
        self.torn += other.torn;
        self.io_errors += other.io_errors;
        self.no_space += other.no_space;
        self.full += other.full;
        self.flips += other.flips;
        self.flips_refused += other.flips_refused;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
    }

    /// Kinds of fault that never came.
    pub fn missing(&self) -> Vec<&'static str> {
        let kinds = [
            ("crash in work", self.crashed_in_work),
            ("crash in opening", self.crashed_in_opening),
            ("torn tail", self.torn),
            ("EIO", self.io_errors),
            ("ENOSPC", self.no_space),
            ("full disk", self.full),
            ("flipped bit", self.flips),
        ];
        kinds.into_iter().filter(|(_, count)| *count == 0).map(|(kind, _)| kind).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cycles: {} crashes in work, {} in opening, {} torn, {} EIO, {} ENOSPC, {} full; \
             {} flips ({} refused); {} operations acknowledged, {} unknown",
            self.cycles,
            self.crashed_in_work,
            self.crashed_in_opening,
            self.torn,
            self.io_errors,
            self.no_space,
            self.full,
            self.flips,
            self.flips_refused,
            self.acknowledged,
            self.unknown
        )
    }
}

/// What goes wrong before the crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Crash,
    Fails(Fault),
    Full,
    Nothing,
}

/// One node on one disk.
struct Run {
    site: Site,
    rng: SeededRng,
    clock: Arc<ManualClock>,
    model: Model,
    tally: Tally,
    next_extent: u128,
    /// Failed operations of the disk when the present work began.
    failed_before: u64,
}

/// Carries out the run of a seed: [`CYCLES_PER_RUN`] crashes and one flipped bit.
///
/// # Errors
/// What the node lost, or has that it should not have.
pub async fn run(seed: u64, lies: &[Lie]) -> Result<Tally> {
    let mut run = Run {
        site: Site::new(1, PACE_MS),
        rng: SeededRng::new(seed),
        clock: Arc::new(ManualClock::new(Timestamp(1_700_000_000_000))),
        model: Model::default(),
        tally: Tally::default(),
        next_extent: 1,
        failed_before: 0,
    };
    let node = run.start().await.context("first start")?;
    node.meta.bootstrap(1).await.context("bootstrap")?;
    run.site.disk.set_lies(lies.to_vec());
    let mut node = Some(node);
    for cycle in 0..CYCLES_PER_RUN {
        let outcome = run.cycle(node.take()).await;
        node = Some(outcome.with_context(|| format!("cycle {cycle}"))?);
    }
    if let Some(node) = node {
        node.stop().await;
    }
    run.flip().await.context("flipped bit")?;
    Ok(run.tally)
}

impl Run {
    fn below(&self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    /// Starts the node; when it does not, all that was opened is closed again.
    async fn start(&self) -> Result<Node> {
        // Each life of a node has a network of its own: nothing of the last one speaks.
        let network = MemoryNetwork::new();
        let started = Node::start(&self.site, &network, self.clock.clone());
        let started = tokio::time::timeout(PATIENCE, started).await.context("the node does not start")?;
        if started.is_err() {
            closed(&self.site.disk).await;
        }
        started
    }

    /// Works, fails, crashes, starts again and compares.
    async fn cycle(&mut self, node: Option<Node>) -> Result<Node> {
        let disk = self.site.disk.clone();
        let node = match node {
            Some(node) => node,
            None => self.start().await?,
        };
        let trouble = match self.below(10) {
            0..6 => Trouble::Crash,
            6 => Trouble::Fails(Fault::Io),
            7 => Trouble::Fails(Fault::NoSpace),
            8 => Trouble::Full,
            _ => Trouble::Nothing,
        };
        let at = disk.counts().operations + 1 + self.below(WORK_OPERATIONS);
        match trouble {
            Trouble::Crash => disk.crash_at(at),
            Trouble::Fails(fault) => disk.fail_at(at, fault),
            Trouble::Full => disk.set_free(Some(self.below(1 << 20))),
            Trouble::Nothing => {}
        }
        let before = disk.counts();
        self.failed_before = self.failed();
        self.work(&node).await?;
        let after = disk.counts();
        self.tally.crashed_in_work += after.crashes - before.crashes;
        match trouble {
            Trouble::Fails(Fault::Io) => self.tally.io_errors += after.failures - before.failures,
            Trouble::Fails(_) => self.tally.no_space += after.failures - before.failures,
            Trouble::Full => self.tally.full += 1,
            _ => {}
        }
        disk.crash();
        node.stop().await;
        self.power_up();
        while self.below(4) == 0 {
            self.crash_in_opening().await?;
        }
        self.tally.cycles += 1;
        let node = self.start().await.context("the node does not open")?;
        self.model.check(&node, Strictness::Complete).await?;
        Ok(node)
    }

    fn power_up(&mut self) {
        let disk = &self.site.disk;
        disk.set_free(None);
        if self.below(2) == 0 {
            disk.restart();
        } else {
            disk.restart_torn(&self.rng);
            self.tally.torn += 1;
        }
    }

    /// The power goes again while the node opens what is there.
    async fn crash_in_opening(&mut self) -> Result<()> {
        let disk = self.site.disk.clone();
        disk.crash_at(disk.counts().operations + 1 + self.below(OPENING_OPERATIONS));
        let started = self.start().await;
        let crashed = disk.is_crashed();
        match started {
            Ok(node) => {
                disk.crash();
                node.stop().await;
            }
            Err(error) => ensure!(crashed, "the node does not open: {error:?}"),
        }
        self.tally.crashed_in_opening += u64::from(crashed);
        self.power_up();
        Ok(())
    }

    /// Operations until the first that fails, or until it is enough.
    async fn work(&mut self, node: &Node) -> Result<()> {
        for _ in 0..self.below(STEPS_MAX) {
            let going_on = match self.below(10) {
                0..5 => self.write_pairs(node).await,
                5..7 => self.write_small(node).await,
                7 => self.write_large(node).await,
                8 => self.seal(node).await,
                _ => self.delete(node).await,
            };
            if !going_on {
                self.tally.unknown += 1;
                return Ok(());
            }
        }
        Ok(())
    }

    fn failed(&self) -> u64 {
        let counts = self.site.disk.counts();
        counts.failures + counts.full
    }

    /// Waits for an operation, but not for long when the disk has failed: `true` when it was acknowledged.
    async fn wait<T, E>(&self, operation: impl Future<Output = Result<T, E>>) -> bool {
        let failed = async {
            while !self.site.disk.is_crashed() && self.failed() == self.failed_before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            outcome = operation => outcome.is_ok(),
            () = failed => false,
        }
    }

    async fn write_pairs(&mut self, node: &Node) -> bool {
        let mut writes = Vec::new();
        let first = self.below(KEYS);
        for offset in 0..=self.below(AT_ONCE) {
            let key = vec![((first + offset) % KEYS) as u8];
            let value = (self.below(6) > 0).then(|| self.bytes(1 + self.below(3000) as usize));
            self.model.write_begins(&key, value.clone());
            writes.push((key, value));
        }
        let waits = writes.iter().map(|(key, value)| self.wait(node.write_pair(key, value.clone(), OPERATION_WAIT)));
        let outcomes = join_all(waits).await;
        for ((key, _), _) in writes.iter().zip(&outcomes).filter(|(_, done)| **done) {
            self.model.write_is_done(key);
            self.tally.acknowledged += 1;
        }
        outcomes.into_iter().all(|done| done)
    }

    fn bytes(&self, length: usize) -> Bytes {
        let mut bytes = vec![0; length];
        self.rng.fill(&mut bytes);
        bytes.into()
    }

    fn begin_extent(&mut self, chunks: Vec<Bytes>) -> ExtentId {
        // The last 16 bits are the kind: whole copies, as many as the cluster keeps.
        let id = ExtentId(self.next_extent << 64 | u128::from(self.rng.next_u64()) >> 16 << 16);
        self.next_extent += 1;
        self.model.extents.insert(id, Extent::new(chunks));
        id
    }

    /// Small extents: the run alone, or with its seal.
    async fn write_small(&mut self, node: &Node) -> bool {
        let mut going_on = true;
        let ids: Vec<ExtentId> = (0..=self.below(AT_ONCE))
            .map(|_| self.begin_extent(vec![self.bytes(1 + self.below(40_000) as usize)]))
            .collect();
        let seal = self.below(2) == 0;
        let writes = ids.iter().map(|id| {
            let extent = &self.model.extents[id];
            let (run, header) = (extent.run(*id, 0, 1), extent.header.clone());
            self.wait(async move {
                match seal {
                    true => node.store.write_run_and_seal(run, header).await,
                    false => node.store.write_run(run).await,
                }
            })
        });
        let outcomes = join_all(writes).await;
        for (id, done) in ids.iter().zip(outcomes) {
            let extent = self.model.extents.get_mut(id).expect("it began");
            (extent.written, extent.sealed) = (done, done && seal);
            self.tally.acknowledged += u64::from(done);
            going_on &= done;
        }
        going_on
    }

    /// An extent whose first run is ingested as a file, and whose last is small.
    async fn write_large(&mut self, node: &Node) -> bool {
        let filled = |byte: u8| Bytes::from(vec![byte; CHUNK_SIZE_BYTES]);
        let letter = self.below(255) as u8;
        let tail = self.bytes(1 + self.below(10_000) as usize);
        let id = self.begin_extent(vec![filled(letter), filled(letter + 1), tail]);
        let extent = &self.model.extents[&id];
        let (first, last, header) = (extent.run(id, 0, 2), extent.run(id, 2, 3), extent.header.clone());
        let written = self.wait(node.store.write_run(first)).await && self.wait(node.store.write_run(last)).await;
        self.model.extents.get_mut(&id).expect("it began").written = written;
        let sealed = written && self.wait(node.store.seal(id, header)).await;
        self.model.extents.get_mut(&id).expect("it began").sealed = sealed;
        self.tally.acknowledged += u64::from(written) + u64::from(sealed);
        sealed
    }

    fn any(&self, wanted: impl Fn(&Extent) -> bool) -> Option<ExtentId> {
        let found: Vec<ExtentId> = self.model.extents.iter().filter(|(_, e)| wanted(e)).map(|(id, _)| *id).collect();
        (!found.is_empty()).then(|| found[self.below(found.len() as u64) as usize])
    }

    async fn seal(&mut self, node: &Node) -> bool {
        let open = self.any(|extent| extent.written && !extent.sealed && !extent.maybe_deleted);
        let Some(id) = open else { return true };
        let done = self.wait(node.store.seal(id, self.model.extents[&id].header.clone())).await;
        self.model.extents.get_mut(&id).expect("it is there").sealed = done;
        self.tally.acknowledged += u64::from(done);
        done
    }

    async fn delete(&mut self, node: &Node) -> bool {
        let Some(id) = self.any(|extent| extent.sealed && !extent.maybe_deleted) else { return true };
        self.model.extents.get_mut(&id).expect("it is there").maybe_deleted = true;
        let done = self.wait(node.store.delete(vec![id])).await;
        self.model.extents.get_mut(&id).expect("it is there").deleted = done;
        self.tally.acknowledged += u64::from(done);
        done
    }

    /// Flips one bit of one file: the node refuses to start, or what it reads is right.
    async fn flip(&mut self) -> Result<()> {
        let disk = self.site.disk.clone();
        disk.set_lies(Vec::new());
        let files: Vec<_> = disk.files().into_iter().filter(|(_, length)| *length > 0).collect();
        let (path, length) = &files[self.below(files.len() as u64) as usize];
        disk.flip(path, self.below(*length), self.below(8) as u8)?;
        self.tally.flips += 1;
        // By itself, for a run that stalls after it.
        tracing::info!(path = %path.display(), "bit flipped");
        let node = match self.start().await {
            Ok(node) => node,
            Err(error) => {
                println!("bit flipped in {}: {error:#}", path.display());
                self.tally.flips_refused += 1;
                return Ok(());
            }
        };
        let checked = self.model.check(&node, Strictness::NothingWrong).await;
        node.stop().await;
        checked.with_context(|| format!("in {}", path.display()))
    }
}
