//! The collector: goes through the lists of the ranges led here, in bounded batches with pauses.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use karri_objstore_service::{
    CollectOutcome, ObjectService, ServiceError, WorkItem, WorkList, WorkPage, expired, work,
};
use karri_ring_meta::{MetaNode, SYSTEM_RANGE};
use karri_ring_types::{Clock, RangeId, Rng};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Attempts;
use crate::{Counters, LifecycleConfig};

/// How eagerly garbage is collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintainConfig {
    /// Pause between two rounds, give or take a quarter.
    pub pause: Duration,
    /// How long garbage is left alone, so that readers of what was deleted can finish.
    pub garbage_age: Duration,
    /// How long a holding is left alone. A copy that takes longer from its holding to its commit may be refused, and
    /// nothing worse.
    pub holding_age: Duration,
    /// Rows of a range that one round looks at.
    pub rows_per_round_max: usize,
    /// Pieces of garbage that are dealt with at a time.
    pub in_flight_max: usize,
    /// Rounds between two looks at what is condemned already, at holdings and at guard rows.
    pub rounds_between_sweeps: u64,
    /// Lifecycle rules.
    pub lifecycle: LifecycleConfig,
}

impl Default for MaintainConfig {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(2),
            garbage_age: Duration::from_secs(60),
            holding_age: Duration::from_secs(15 * 60),
            rows_per_round_max: 4096,
            in_flight_max: 16,
            rounds_between_sweeps: 15,
            lifecycle: LifecycleConfig::default(),
        }
    }
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Pieces of garbage dealt with.
    pub collected: u64,
    /// Extents deleted everywhere.
    pub extents_deleted: u64,
    /// Pieces left for later.
    pub postponed: u64,
    /// Holdings that were looked after.
    pub holdings: u64,
}

/// Rows of one page.
const PAGE_ROWS: usize = 256;

/// Pages of guard rows that one sweep looks at in a range: each write of an object that is deleted or replaced soon
/// after leaves one for a while.
const EXPIRY_PAGES_MAX: usize = 128;

/// Rows of holdings that one sweep looks at in a range: each copy leaves one until it is looked after.
const HOLDINGS_PER_SWEEP_MAX: usize = 128 * PAGE_ROWS;

/// Where the lists of a range go on.
#[derive(Default)]
struct Cursors {
    garbage: Option<Vec<u8>>,
    condemned: Option<Vec<u8>>,
    holdings: Option<Vec<u8>>,
    expiry: Option<Vec<u8>>,
}

/// The background work of one node.
pub struct Maintenance {
    pub(crate) meta: Arc<MetaNode>,
    pub(crate) service: Arc<ObjectService>,
    pub(crate) clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    pub(crate) config: MaintainConfig,
    pub(crate) counters: Arc<Counters>,
    cursors: Mutex<HashMap<RangeId, Cursors>>,
    pub(crate) attempts: Attempts,
}

impl Maintenance {
    /// Work on the ranges of `meta`.
    pub fn new(
        meta: Arc<MetaNode>,
        service: Arc<ObjectService>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: MaintainConfig,
    ) -> Arc<Self> {
        let (counters, cursors, attempts) = Default::default();
        Arc::new(Self { meta, service, clock, rng, config, counters, cursors, attempts })
    }

    /// What happened so far.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Works until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let rounds = async {
            let mut number: u64 = 0;
            loop {
                tokio::time::sleep(self.pause()).await;
                let sweep = number.is_multiple_of(self.config.rounds_between_sweeps.max(1));
                let round = self.round(sweep).await;
                if round.collected > 0 {
                    tracing::debug!(
                        collected = round.collected,
                        extents_deleted = round.extents_deleted,
                        postponed = round.postponed,
                        "garbage collected"
                    );
                }
                number += 1;
            }
        };
        shutdown.run_until_cancelled(rounds).await;
    }

    /// Nodes that were started together shall not work together.
    fn pause(&self) -> Duration {
        let quarter = u64::try_from(self.config.pause.as_millis() / 4).unwrap_or(u64::MAX / 4).max(1);
        Duration::from_millis(quarter * 3 + self.rng.next_u64() % (2 * quarter))
    }

    /// Goes once through the ranges that are led here; with `sweep` also through what is condemned already and held.
    pub async fn round(&self, sweep: bool) -> Round {
        let mut round = Round::default();
        let ranges = self.meta.led_ranges();
        self.cursors.lock().retain(|range, _| ranges.iter().any(|led| led.id == *range));
        for range in ranges.into_iter().filter(|range| range.id != SYSTEM_RANGE) {
            self.work_through(range.id, WorkList::Garbage, &mut round).await;
            if sweep {
                self.work_through(range.id, WorkList::Condemned, &mut round).await;
                self.work_through(range.id, WorkList::Holdings, &mut round).await;
                self.expire(range.id).await;
            }
        }
        self.counters.add(&round);
        round
    }

    async fn work_through(&self, range: RangeId, list: WorkList, round: &mut Round) {
        let rows_max = match list {
            WorkList::Garbage | WorkList::Condemned => self.config.rows_per_round_max,
            WorkList::Holdings => HOLDINGS_PER_SWEEP_MAX,
        };
        let mut rows = 0;
        while rows < rows_max {
            let after = self.cursor(range, list);
            let page = self.meta.leader_read(range, |view| work(view, list, bound(after.as_deref()), PAGE_ROWS));
            let page = match page {
                Some(Ok(page)) => page,
                Some(Err(error)) => {
                    tracing::warn!(%range, %error, "cannot read the garbage of a range");
                    return;
                }
                None => return,
            };
            rows += PAGE_ROWS;
            let WorkPage { items, next } = page;
            let ended = next.is_none();
            self.set_cursor(range, list, next);
            self.collect_all(list, items, round).await;
            if ended {
                return;
            }
        }
    }

    async fn collect_all(&self, list: WorkList, items: Vec<WorkItem>, round: &mut Round) {
        let now = self.clock.now();
        let age = match list {
            WorkList::Garbage | WorkList::Condemned => self.config.garbage_age,
            WorkList::Holdings => self.config.holding_age,
        };
        let ripe = items.into_iter().filter(|item| now.since(item.since) >= age);
        let outcomes: Vec<Result<CollectOutcome, ServiceError>> =
            futures::stream::iter(ripe.map(|item| async move { self.service.collect(&item).await }))
                .buffer_unordered(self.config.in_flight_max.max(1))
                .collect()
                .await;
        for outcome in outcomes {
            match outcome {
                Ok(_) if list == WorkList::Holdings => round.holdings += 1,
                Ok(outcome) => {
                    round.extents_deleted += outcome.extents_deleted;
                    round.collected += u64::from(!outcome.incomplete);
                    round.postponed += u64::from(outcome.incomplete);
                }
                Err(error) => {
                    tracing::debug!(%error, "garbage stays for now");
                    round.postponed += 1;
                }
            }
        }
    }

    async fn expire(&self, range: RangeId) {
        for _ in 0..EXPIRY_PAGES_MAX {
            let after = self.cursors.lock().entry(range).or_default().expiry.clone();
            let now = self.clock.now();
            let found = self.meta.leader_read(range, |view| expired(view, bound(after.as_deref()), PAGE_ROWS, now));
            let Some(Ok((rows, next))) = found else { return };
            if !rows.is_empty() {
                let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
                if let Err(error) = self.service.expire(rows).await {
                    tracing::debug!(%error, "guard rows stay for now");
                    return;
                }
                self.counters.expired(count);
            }
            let ended = next.is_none();
            self.cursors.lock().entry(range).or_default().expiry = next;
            if ended {
                return;
            }
        }
    }

    fn cursor(&self, range: RangeId, list: WorkList) -> Option<Vec<u8>> {
        let mut cursors = self.cursors.lock();
        let cursors = cursors.entry(range).or_default();
        match list {
            WorkList::Garbage => cursors.garbage.clone(),
            WorkList::Condemned => cursors.condemned.clone(),
            WorkList::Holdings => cursors.holdings.clone(),
        }
    }

    fn set_cursor(&self, range: RangeId, list: WorkList, next: Option<Vec<u8>>) {
        let mut cursors = self.cursors.lock();
        let cursors = cursors.entry(range).or_default();
        match list {
            WorkList::Garbage => cursors.garbage = next,
            WorkList::Condemned => cursors.condemned = next,
            WorkList::Holdings => cursors.holdings = next,
        }
    }
}

fn bound(after: Option<&[u8]>) -> Bound<&[u8]> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}
