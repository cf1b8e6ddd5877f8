//! Lifecycle: goes through the buckets with rules in the ranges led here, one pass a day, page by page. How far a pass
//! has come is kept in the range, so the next leader goes on there; what is due is decided on again by the range that
//! holds it, so doing a page twice does nothing twice.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use karri_objstore_service::{
    Cursor, LifecycleAction, LifecycleBucket, LifecycleDay, LifecyclePage, LifecycleProgress, lifecycle_buckets,
    lifecycle_page,
};
use karri_ring_meta::SYSTEM_RANGE;
use karri_ring_types::RangeId;
use tokio_util::sync::CancellationToken;

use crate::Maintenance;

/// How lifecycle rules are carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleConfig {
    /// How long a day is; short ones are for tests.
    pub day: LifecycleDay,
    /// Pause between two looks for passes to begin or go on with.
    pub pause: Duration,
    /// Rows of one page.
    pub rows_per_page: usize,
    /// Pause between two pages, so that a pass leaves room for requests.
    pub pause_between_pages: Duration,
    /// Actions that are under way at a time.
    pub in_flight_max: usize,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        Self {
            day: LifecycleDay::default(),
            pause: Duration::from_secs(60),
            rows_per_page: 1000,
            pause_between_pages: Duration::from_millis(20),
            in_flight_max: 8,
        }
    }
}

impl LifecycleConfig {
    /// With days of so many seconds, looked at several times each.
    pub fn with_day_of_seconds(seconds: u64) -> Self {
        let pause = Duration::from_millis(seconds.max(1).saturating_mul(1000) / 10);
        Self { day: LifecycleDay::of_seconds(seconds), pause, ..Self::default() }
    }
}

/// Buckets that one look at a range's rows takes in.
const BUCKETS_PER_PAGE: usize = 256;

impl Maintenance {
    /// Carries lifecycle rules out until `shutdown`.
    pub async fn run_lifecycle(self: Arc<Self>, shutdown: CancellationToken) {
        let rounds = async {
            loop {
                tokio::time::sleep(self.config.lifecycle.pause).await;
                let done = self.lifecycle_round().await;
                if done > 0 {
                    tracing::debug!(done, "lifecycle rules carried out");
                }
            }
        };
        shutdown.run_until_cancelled(rounds).await;
    }

    /// Goes through all buckets in ranges led here whose pass is not at its end; tells how much was done.
    pub async fn lifecycle_round(&self) -> u64 {
        let mut done = 0;
        for range in self.meta.led_ranges().into_iter().filter(|range| range.id != SYSTEM_RANGE) {
            let mut after = Vec::new();
            loop {
                let found = self.meta.leader_read(range.id, |view| lifecycle_buckets(view, &after, BUCKETS_PER_PAGE));
                let (buckets, next) = match found {
                    Some(Ok(found)) => found,
                    Some(Err(error)) => {
                        tracing::warn!(range = %range.id, %error, "cannot read the lifecycle rules of a range");
                        break;
                    }
                    None => break,
                };
                for bucket in buckets {
                    done += self.lifecycle_of(range.id, bucket).await;
                }
                match next {
                    Some(next) => after = next,
                    None => break,
                }
            }
        }
        self.counters.lifecycle(done);
        done
    }

    /// One bucket: the rest of a pass that was begun, or the pass of today.
    async fn lifecycle_of(&self, range: RangeId, bucket: LifecycleBucket) -> u64 {
        let config = &self.config.lifecycle;
        let today = config.day.pass(self.clock.now());
        let LifecycleProgress { pass, cursor } = bucket.progress.clone();
        let (pass, mut cursor) = match cursor {
            Some(cursor) => (pass, cursor),
            None if pass < today => (today, Cursor::start()),
            None => return 0,
        };
        let mut done = 0;
        loop {
            let now = self.clock.now();
            let page = self.meta.leader_read(range, |view| {
                lifecycle_page(view, &bucket, cursor.clone(), config.rows_per_page, now, config.day)
            });
            let LifecyclePage { actions, next } = match page {
                Some(Ok(page)) => page,
                Some(Err(error)) => {
                    tracing::warn!(%range, %error, "cannot go on with a lifecycle");
                    return done;
                }
                None => return done,
            };
            let Some(count) = self.apply_all(actions).await else { return done };
            done += count;
            let ended = next.is_none();
            let progress = LifecycleProgress { pass, cursor: next.clone() };
            if let Err(error) = self.service.keep_lifecycle_progress(&bucket, progress).await {
                tracing::debug!(%error, "a lifecycle goes on later");
                return done;
            }
            match next {
                Some(next) if !ended => cursor = next,
                _ => return done,
            }
            tokio::time::sleep(config.pause_between_pages).await;
        }
    }

    /// Does all that is due on a page; `None` when something is left, so that the page is looked at again.
    async fn apply_all(&self, actions: Vec<LifecycleAction>) -> Option<u64> {
        let results: Vec<_> = futures::stream::iter(
            actions.into_iter().map(|action| async move { self.service.apply_lifecycle(&action).await }),
        )
        .buffer_unordered(self.config.lifecycle.in_flight_max.max(1))
        .collect()
        .await;
        let mut done = 0;
        for result in results {
            match result {
                Ok(applied) => done += u64::from(applied),
                Err(error) => {
                    tracing::debug!(%error, "a lifecycle action is left for later");
                    return None;
                }
            }
        }
        Some(done)
    }
}
