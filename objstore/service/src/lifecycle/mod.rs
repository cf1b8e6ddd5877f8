//! Lifecycle of objects: the rules of a bucket, and what they say of a version at a moment. Pure; the work on ranges
//! is in [`work`].

mod work;

use bytes::Bytes;
use karri_ring_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::records::{decode, encode};
use crate::{STORAGE_CLASS_DEFAULT, ServiceError};

pub(crate) use work::drop_progress;
pub(crate) use work::progress_rows;
pub use work::{
    Cursor, LifecycleAction, LifecycleBucket, LifecyclePage, LifecycleProgress, lifecycle_buckets, lifecycle_page,
};
#[cfg(test)]
pub(crate) use work::{bucket_rows, page_rows};

/// Objects under this are not moved to another class, unless a rule is about sizes.
const TRANSITION_SIZE_BYTES_MIN: u64 = 128 << 10;

/// A bucket's rules, and the document that they were read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// In the order of the document.
    pub rules: Vec<LifecycleRule>,
    /// Which objects are too small to be moved.
    pub minimum: TransitionMinimum,
    /// The document as it is told again.
    pub document: Vec<u8>,
}

/// Which objects are too small to be moved to another class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransitionMinimum {
    /// Those under 128 KiB.
    #[default]
    All128KiB,
    /// Those under 128 KiB, but for the archive classes.
    ByClass,
}

/// One rule that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleRule {
    /// Its name.
    pub id: String,
    /// What it is about.
    pub filter: LifecycleFilter,
    /// When current versions end.
    pub expiration: Option<LifecycleTime>,
    /// Whether delete markers that hide nothing are removed.
    pub expires_lone_markers: bool,
    /// When noncurrent versions end.
    pub noncurrent_expiration: Option<NoncurrentTime>,
    /// When current versions move to another class.
    pub transitions: Vec<(LifecycleTime, String)>,
    /// When noncurrent versions move to another class.
    pub noncurrent_transitions: Vec<(NoncurrentTime, String)>,
    /// When uploads are given up.
    pub abort_uploads_after_days: Option<u32>,
}

/// Which objects a rule is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleFilter {
    /// Their keys begin with this.
    pub prefix: String,
    /// They have all of these tags.
    pub tags: Vec<(String, String)>,
    /// They are larger.
    pub larger_than: Option<u64>,
    /// They are smaller.
    pub smaller_than: Option<u64>,
}

/// A moment in the life of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LifecycleTime {
    /// As many days after it was written.
    Days(u32),
    /// Whenever it was written.
    Date(Timestamp),
}

/// A moment in the life of a version that is no longer current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoncurrentTime {
    /// As many days after another version took its place.
    pub days: u32,
    /// As many newer noncurrent versions are left alone.
    pub newer_kept: u32,
}

/// How long a day is: 24 hours that end at midnight, or a few seconds in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifecycleDay {
    ms: u64,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Default for LifecycleDay {
    fn default() -> Self {
        Self { ms: DAY_MS }
    }
}

impl LifecycleDay {
    /// A day of so many seconds.
    pub fn of_seconds(seconds: u64) -> Self {
        Self { ms: seconds.max(1).saturating_mul(1000) }
    }

    /// The moment that is `days` after another, on the next midnight.
    pub fn after(self, from: Timestamp, days: u32) -> Timestamp {
        let due = from.as_millis().saturating_add(self.ms.saturating_mul(u64::from(days)));
        match self.ms == DAY_MS {
            true => Timestamp(due.div_ceil(DAY_MS).saturating_mul(DAY_MS)),
            false => Timestamp(due),
        }
    }

    /// The number of the pass that a moment belongs to: one a day, and four a day where days are short.
    pub fn pass(self, now: Timestamp) -> u64 {
        let length = if self.ms == DAY_MS { DAY_MS } else { (self.ms / 4).max(1) };
        now.as_millis() / length
    }
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) key: &'a str,
    pub(crate) size: u64,
    pub(crate) tags: &'a [(String, String)],
    pub(crate) class: Option<&'a str>,
}

/// What is to be done about a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Expire,
    Move(Option<String>),
}

impl LifecycleFilter {
    fn matches(&self, candidate: &Candidate<'_>) -> bool {
        candidate.key.starts_with(&self.prefix)
            && self.tags.iter().all(|tag| candidate.tags.contains(tag))
            && self.larger_than.is_none_or(|bound| candidate.size > bound)
            && self.smaller_than.is_none_or(|bound| candidate.size < bound)
    }

    /// Whether it is about keys alone, so that it is about markers and uploads too.
    fn is_plain(&self) -> bool {
        self.tags.is_empty() && self.larger_than.is_none() && self.smaller_than.is_none()
    }
}

impl LifecycleTime {
    fn of(self, modified: Timestamp, day: LifecycleDay) -> Timestamp {
        match self {
            Self::Days(days) => day.after(modified, days),
            Self::Date(date) => date,
        }
    }
}

impl Lifecycle {
    /// As it is kept among a bucket's documents.
    pub fn to_bytes(&self) -> Bytes {
        encode(self).into()
    }

    /// Reads what [`Lifecycle::to_bytes`] wrote.
    ///
    /// # Errors
    /// `Internal` when it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ServiceError> {
        Ok(decode(bytes)?)
    }

    /// When a current version will end, and the rule that says so.
    pub fn expiry(
        &self,
        key: &str,
        size: u64,
        tags: &[(String, String)],
        modified: Timestamp,
    ) -> Option<(Timestamp, &str)> {
        let candidate = Candidate { key, size, tags, class: None };
        let rules = self.rules.iter().filter(|rule| rule.filter.matches(&candidate));
        let ends = rules.filter_map(|rule| {
            let end = rule.expiration?.of(modified, LifecycleDay::default());
            Some((end, rule.id.as_str()))
        });
        ends.min_by_key(|(end, _)| *end)
    }

    /// When an upload that is not completed will be aborted, and the rule that says so.
    pub fn upload_end(&self, key: &str, initiated: Timestamp) -> Option<(Timestamp, &str)> {
        let rules = self.rules.iter().filter(|rule| key.starts_with(&rule.filter.prefix));
        let ends = rules.filter_map(|rule| {
            let end = LifecycleDay::default().after(initiated, rule.abort_uploads_after_days?);
            Some((end, rule.id.as_str()))
        });
        ends.min_by_key(|(end, _)| *end)
    }

    pub(crate) fn aborts_uploads(&self) -> bool {
        self.rules.iter().any(|rule| rule.abort_uploads_after_days.is_some())
    }

    pub(crate) fn upload_is_due(&self, key: &str, initiated: Timestamp, now: Timestamp, day: LifecycleDay) -> bool {
        self.rules.iter().any(|rule| {
            let due = rule.abort_uploads_after_days.map(|days| day.after(initiated, days));
            key.starts_with(&rule.filter.prefix) && due.is_some_and(|due| due <= now)
        })
    }

    /// What is due of a current version.
    pub(crate) fn current(
        &self,
        candidate: &Candidate<'_>,
        modified: Timestamp,
        now: Timestamp,
        day: LifecycleDay,
    ) -> Option<Due> {
        let rules = || self.rules.iter().filter(|rule| rule.filter.matches(candidate));
        if rules().any(|rule| rule.expiration.is_some_and(|time| time.of(modified, day) <= now)) {
            return Some(Due::Expire);
        }
        let moves = rules().flat_map(|rule| {
            rule.transitions.iter().map(move |(time, class)| (rule, time.of(modified, day), class.as_str()))
        });
        self.latest_move(candidate, moves, now)
    }

    /// What is due of a version that another took the place of at `since`, before which `newer` noncurrent ones are.
    pub(crate) fn noncurrent(
        &self,
        candidate: &Candidate<'_>,
        since: Timestamp,
        newer: u32,
        now: Timestamp,
        day: LifecycleDay,
    ) -> Option<Due> {
        let rules = || self.rules.iter().filter(|rule| rule.filter.matches(candidate));
        let due = |time: &NoncurrentTime| newer >= time.newer_kept && day.after(since, time.days) <= now;
        if rules().any(|rule| rule.noncurrent_expiration.as_ref().is_some_and(due)) {
            return Some(Due::Expire);
        }
        let moves = rules().flat_map(|rule| {
            let moves = rule.noncurrent_transitions.iter().filter(|(time, _)| newer >= time.newer_kept);
            moves.map(move |(time, class)| (rule, day.after(since, time.days), class.as_str()))
        });
        self.latest_move(candidate, moves, now)
    }

    /// Whether a delete marker that hides nothing is to be removed.
    pub(crate) fn lone_marker_is_due(&self, key: &str, modified: Timestamp, now: Timestamp, day: LifecycleDay) -> bool {
        let plain = self.rules.iter().filter(|rule| rule.filter.is_plain() && key.starts_with(&rule.filter.prefix));
        plain
            .into_iter()
            .any(|rule| rule.expires_lone_markers || rule.expiration.is_some_and(|time| time.of(modified, day) <= now))
    }

    /// Of several moves that are due the one that was to be last.
    fn latest_move<'a>(
        &self,
        candidate: &Candidate<'_>,
        moves: impl Iterator<Item = (&'a LifecycleRule, Timestamp, &'a str)>,
        now: Timestamp,
    ) -> Option<Due> {
        let due = moves.filter(|(rule, time, class)| *time <= now && self.is_large_enough(candidate, rule, class));
        let (_, _, class) = due.max_by_key(|(_, time, _)| *time)?;
        let class = (class != STORAGE_CLASS_DEFAULT).then(|| class.to_owned());
        (class.as_deref() != candidate.class).then_some(Due::Move(class))
    }

    fn is_large_enough(&self, candidate: &Candidate<'_>, rule: &LifecycleRule, class: &str) -> bool {
        let sized = rule.filter.larger_than.is_some() || rule.filter.smaller_than.is_some();
        let archive = matches!(class, "GLACIER" | "DEEP_ARCHIVE");
        candidate.size >= TRANSITION_SIZE_BYTES_MIN || sized || (archive && self.minimum == TransitionMinimum::ByClass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: Timestamp = Timestamp(100 * DAY_MS + 5_000);
    const LARGE: u64 = 1 << 20;

    fn days(count: u64) -> Timestamp {
        Timestamp(WRITTEN.as_millis() + count * DAY_MS)
    }

    fn candidate(key: &str, size: u64) -> Candidate<'_> {
        Candidate { key, size, tags: &[], class: None }
    }

    fn of(rules: Vec<LifecycleRule>) -> Lifecycle {
        Lifecycle { rules, ..Default::default() }
    }

    #[test]
    fn days_end_at_midnight_and_short_ones_at_once() {
        let day = LifecycleDay::default();
        assert_eq!(day.after(WRITTEN, 1), Timestamp(102 * DAY_MS));
        assert_eq!(day.after(Timestamp(100 * DAY_MS), 1), Timestamp(101 * DAY_MS));
        assert_eq!(LifecycleDay::of_seconds(10).after(WRITTEN, 3), Timestamp(WRITTEN.as_millis() + 30_000));
    }

    #[test]
    fn filters_are_about_keys_tags_and_sizes() {
        let filter = LifecycleFilter {
            prefix: "a/".into(),
            tags: vec![("k".into(), "v".into())],
            larger_than: Some(10),
            smaller_than: Some(20),
        };
        let tags = [("x".into(), "y".into()), ("k".into(), "v".into())];
        let matches = |key, size, tags| filter.matches(&Candidate { key, size, tags, class: None });
        assert!(matches("a/b", 15, &tags));
        assert!(!matches("b", 15, &tags));
        assert!(!matches("a/b", 10, &tags));
        assert!(!matches("a/b", 20, &tags));
        assert!(!matches("a/b", 15, &tags[..1]));
    }

    #[test]
    fn the_first_end_counts_and_ends_come_before_moves() {
        let lifecycle = of(vec![
            LifecycleRule { id: "late".into(), expiration: Some(LifecycleTime::Days(9)), ..Default::default() },
            LifecycleRule {
                id: "soon".into(),
                expiration: Some(LifecycleTime::Days(5)),
                transitions: vec![
                    (LifecycleTime::Days(1), "STANDARD_IA".into()),
                    (LifecycleTime::Days(3), "GLACIER_IR".into()),
                ],
                ..Default::default()
            },
        ]);
        let (end, rule) = lifecycle.expiry("k", 1, &[], WRITTEN).expect("it ends");
        assert_eq!((end, rule), (Timestamp(106 * DAY_MS), "soon"));
        let due = |now| lifecycle.current(&candidate("k", LARGE), WRITTEN, now, LifecycleDay::default());
        assert_eq!(due(days(1)), None);
        assert_eq!(due(days(2)), Some(Due::Move(Some("STANDARD_IA".into()))));
        assert_eq!(due(days(4)), Some(Due::Move(Some("GLACIER_IR".into()))));
        assert_eq!(due(days(6)), Some(Due::Expire));
        let small = lifecycle.current(&candidate("k", 100), WRITTEN, days(4), LifecycleDay::default());
        assert_eq!(small, None);
        let moved = Candidate { class: Some("GLACIER_IR"), ..candidate("k", LARGE) };
        assert_eq!(lifecycle.current(&moved, WRITTEN, days(4), LifecycleDay::default()), None);
    }

    #[test]
    fn newer_noncurrent_versions_are_kept() {
        let lifecycle = of(vec![LifecycleRule {
            noncurrent_expiration: Some(NoncurrentTime { days: 1, newer_kept: 2 }),
            ..Default::default()
        }]);
        let due = |newer, now| {
            lifecycle.noncurrent(&candidate("k", 1), WRITTEN, newer, now, LifecycleDay::default()).is_some()
        };
        assert!(!due(1, days(9)));
        assert!(due(2, days(9)));
        assert!(!due(2, days(1)));
    }

    #[test]
    fn markers_are_matched_by_keys_alone() {
        let marker_rule = LifecycleRule { expires_lone_markers: true, ..Default::default() };
        let due =
            |rule: LifecycleRule, now| of(vec![rule]).lone_marker_is_due("k", WRITTEN, now, LifecycleDay::default());
        assert!(due(marker_rule.clone(), WRITTEN));
        let tagged = LifecycleFilter { tags: vec![("k".into(), "v".into())], ..Default::default() };
        assert!(!due(LifecycleRule { filter: tagged, ..marker_rule }, WRITTEN));
        let by_days = LifecycleRule { expiration: Some(LifecycleTime::Days(2)), ..Default::default() };
        assert!(!due(by_days.clone(), days(1)));
        assert!(due(by_days, days(3)));
    }
}
