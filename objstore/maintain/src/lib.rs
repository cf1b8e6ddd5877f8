//! Background work on objects: garbage collection on the leaders of ranges, and verdicts about orphans.
//!
//! A deleted or overwritten version leaves a row of garbage in the transaction that removed it. The [`Maintainer`] of the
//! range's leader turns it, step by step and each step committed, into a condemned row, deletes the extents that the row
//! names on every node, and removes the row. A crash at any point leaves a row from which the next leader goes on.
//!
//! It decides nothing by age or by comparing scans: only a committed row condemns.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use karri_objstore_service::{Garbage, GarbagePage, ObjectService};
use karri_ring_meta::{MetaNode, RangeInfo};
use karri_ring_node::{Owner, Verdict, Verdicts};
use karri_ring_types::{ExtentId, RangeId};
use tokio_util::sync::CancellationToken;

/// Pause between two rounds over the ranges led here.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// Rounds between two looks at condemned rows that could not be finished at once.
const CONDEMNED_EVERY_ROUNDS: u64 = 15;
/// Pieces of garbage that one round takes from one range.
const GARBAGE_PER_ROUND_MAX: usize = 1000;
/// Pieces that are collected at a time.
const COLLECTED_AT_ONCE_MAX: usize = 16;

/// What the collector has done since the start.
#[derive(Debug, Default)]
pub struct MaintainCounters {
    /// Bodies of data that were collected.
    pub collected: AtomicU64,
    /// Attempts that have to be repeated, because a node or a range could not be reached.
    pub postponed: AtomicU64,
}

/// Collects the garbage of the ranges that this node leads.
pub struct Maintainer {
    meta: Arc<MetaNode>,
    service: Arc<ObjectService>,
    counters: MaintainCounters,
}

/// Where the next round begins in each range.
#[derive(Default)]
struct Cursors {
    garbage: HashMap<RangeId, Vec<u8>>,
    condemned: HashMap<RangeId, Vec<u8>>,
}

impl Maintainer {
    /// A maintainer of what `meta` leads.
    pub fn new(meta: Arc<MetaNode>, service: Arc<ObjectService>) -> Arc<Self> {
        Arc::new(Self { meta, service, counters: MaintainCounters::default() })
    }

    /// For metrics.
    pub fn counters(&self) -> &MaintainCounters {
        &self.counters
    }

    /// What the storage nodes ask about extents that may be orphans.
    pub fn verdicts(self: &Arc<Self>) -> Arc<dyn Verdicts> {
        Arc::new(CommittedVerdicts { service: self.service.clone() })
    }

    /// Works until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut cursors = Cursors::default();
        let work = async {
            for round in 1u64.. {
                tokio::time::sleep(ROUND_INTERVAL).await;
                for range in self.meta.led_ranges() {
                    self.round(&range, &mut cursors, round % CONDEMNED_EVERY_ROUNDS == 0).await;
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    async fn round(&self, range: &RangeInfo, cursors: &mut Cursors, with_condemned: bool) {
        let from = cursors.garbage.remove(&range.id).unwrap_or_default();
        let found =
            self.meta.leader_read(range.id, |view| ObjectService::find_garbage(view, &from, GARBAGE_PER_ROUND_MAX));
        match found {
            Some(Ok(GarbagePage { garbage, resume })) => {
                self.collect_all(garbage).await;
                cursors.garbage.insert(range.id, resume);
            }
            Some(Err(error)) => tracing::warn!(range = %range.id, %error, "cannot read garbage"),
            None => {}
        }
        if with_condemned {
            self.finish_condemned(range, cursors).await;
        }
    }

    async fn finish_condemned(&self, range: &RangeInfo, cursors: &mut Cursors) {
        let from = cursors.condemned.remove(&range.id).unwrap_or_default();
        let found =
            self.meta.leader_read(range.id, |view| ObjectService::find_condemned(view, &from, GARBAGE_PER_ROUND_MAX));
        match found {
            Some(Ok((GarbagePage { garbage, resume }, guards))) => {
                self.collect_all(garbage).await;
                cursors.condemned.insert(range.id, resume);
                if let Err(error) = self.service.expire(guards).await {
                    tracing::debug!(range = %range.id, %error, "guards stay for now");
                }
            }
            Some(Err(error)) => tracing::warn!(range = %range.id, %error, "cannot read condemned rows"),
            None => {}
        }
    }

    async fn collect_all(&self, garbage: Vec<Garbage>) {
        let collect = |garbage: Garbage| async move {
            match self.service.collect(&garbage).await {
                Ok(false) => self.counters.collected.fetch_add(1, Ordering::Relaxed),
                Ok(true) => self.counters.postponed.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    tracing::debug!(%error, "garbage stays for now");
                    self.counters.postponed.fetch_add(1, Ordering::Relaxed)
                }
            };
        };
        futures::stream::iter(garbage).for_each_concurrent(COLLECTED_AT_ONCE_MAX, collect).await;
    }
}

/// Verdicts that the owning range has committed.
struct CommittedVerdicts {
    service: Arc<ObjectService>,
}

#[async_trait]
impl Verdicts for CommittedVerdicts {
    async fn verdict(&self, owner: &Owner, extent: ExtentId) -> Option<Verdict> {
        match self.service.verdict(owner, extent).await {
            Ok(verdict) => Some(verdict),
            Err(error) => {
                tracing::debug!(%extent, %error, "no verdict now");
                None
            }
        }
    }
}
