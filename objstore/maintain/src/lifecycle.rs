//! Lifecycle: goes through the buckets with rules in the ranges led here, one pass a day, page by page. How far a pass
//! has come is kept in the range, so the next leader goes on there; what is due is decided on again by the range that
//! holds it, so doing a page twice does nothing twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use karri_objstore_service::{
    Cursor, LifecycleAction, LifecycleBucket, LifecycleDay, LifecyclePage, LifecycleProgress, lifecycle_buckets,
    lifecycle_page,
};
use karri_ring_meta::SYSTEM_RANGE;
use karri_ring_types::{RangeId, Timestamp};
use parking_lot::Mutex;
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
    /// Age from which what was read is read again before more is done: rules may have changed, and leaders.
    pub page_age_max: Duration,
    /// Times that a page is tried whose actions fail. Then the pass goes on, and the next one finds what is left: one
    /// object that cannot be read does not keep the others for ever.
    pub page_attempts_max: u32,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        Self {
            day: LifecycleDay::default(),
            pause: Duration::from_secs(60),
            rows_per_page: 1000,
            pause_between_pages: Duration::from_millis(20),
            in_flight_max: 8,
            page_age_max: Duration::from_secs(30),
            page_attempts_max: 5,
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
            let Applied { done: count, left, late } = self.apply_all(actions, now).await;
            done += count;
            if late > 0 && left == 0 {
                continue;
            }
            if !self.attempts.go_on(bucket.key(), left, config.page_attempts_max) {
                return done;
            }
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

    /// Does what is due on a page that was read at `read`.
    async fn apply_all(&self, actions: Vec<LifecycleAction>, read: Timestamp) -> Applied {
        let apply = |action| async move {
            match self.clock.now().since(read) < self.config.lifecycle.page_age_max {
                true => Some(self.service.apply_lifecycle(&action).await),
                false => None,
            }
        };
        let actions = futures::stream::iter(actions.into_iter().map(apply));
        let mut results = actions.buffer_unordered(self.config.lifecycle.in_flight_max.max(1));
        let mut applied = Applied::default();
        while let Some(result) = results.next().await {
            match result {
                None => applied.late += 1,
                Some(Ok(true)) => {
                    applied.done += 1;
                    self.counters.lifecycle();
                }
                Some(Ok(false)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "a lifecycle action is left for later");
                    applied.left += 1;
                }
            }
        }
        applied
    }
}

/// What became of the actions of a page.
#[derive(Default)]
struct Applied {
    done: u64,
    /// They failed.
    left: u64,
    /// They were not begun before the page was too old.
    late: u64,
}

/// How often the page was tried at which the pass through a bucket stands, where that failed.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<HashMap<Vec<u8>, u32>>);

impl Attempts {
    /// Whether the pass goes on behind a page of which so many actions failed, or the page is tried again.
    fn go_on(&self, bucket: &[u8], left: u64, attempts_max: u32) -> bool {
        let mut attempts = self.0.lock();
        let failed = attempts.remove(bucket).unwrap_or(0) + 1;
        if left > 0 && failed < attempts_max {
            attempts.insert(bucket.to_vec(), failed);
            return false;
        }
        if left > 0 {
            tracing::warn!(left, "lifecycle actions that fail are left for the next pass");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_fails_is_tried_again_and_then_left_for_the_next_pass() {
        let attempts = Attempts::default();
        for _ in 0..2 {
            assert!(!attempts.go_on(b"a", 1, 3) && !attempts.go_on(b"a", 7, 3), "tried again");
            assert!(attempts.go_on(b"b", 0, 3), "another bucket");
            assert!(attempts.go_on(b"a", 1, 3), "for the third time");
        }
        assert!(!attempts.go_on(b"a", 1, 3) && attempts.go_on(b"a", 0, 3), "it went well");
        assert!(attempts.0.lock().is_empty());
    }
}
