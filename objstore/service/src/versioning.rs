//! Versions and locks of objects, in words that callers and rows share.

use std::fmt;
use std::str::FromStr;

use karri_ring_types::{ParseIdError, Timestamp, VersionId};
use serde::{Deserialize, Serialize};

/// What a bucket does with versions that are replaced or deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// They are gone. It has never been otherwise.
    #[default]
    Unversioned,
    /// They are kept.
    Enabled,
    /// Those of before are kept; new ones replace each other as the null version.
    Suspended,
}

/// A version as clients name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VersionRef {
    /// The one that was written while versions were not kept.
    Null,
    /// One of its own.
    Id(VersionId),
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl FromStr for VersionRef {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "null" => Ok(Self::Null),
            id => id.parse().map(Self::Id),
        }
    }
}

/// How strictly a version is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockMode {
    /// Who may bypass it, may delete the version.
    Governance,
    /// Nobody may.
    Compliance,
}

/// Until when a version is kept from deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the type says it")]
pub struct Retention {
    pub mode: LockMode,
    pub until: Timestamp,
}

impl Retention {
    /// Whether the version may not be deleted at `now`.
    pub(crate) fn holds(&self, now: Timestamp, bypass: bool) -> bool {
        self.until > now && (self.mode == LockMode::Compliance || !bypass)
    }
}

/// How long versions are retained by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named by their units")]
pub enum RetentionPeriod {
    Days(u32),
    Years(u32),
}

/// What a lock of a new version is, unless its writer says another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the type says it")]
pub struct DefaultRetention {
    pub mode: LockMode,
    pub period: RetentionPeriod,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const YEAR_DAYS: u64 = 365;

impl DefaultRetention {
    /// The retention of a version written at `now`.
    pub(crate) fn from(&self, now: Timestamp) -> Retention {
        let days = match self.period {
            RetentionPeriod::Days(days) => u64::from(days),
            RetentionPeriod::Years(years) => u64::from(years) * YEAR_DAYS,
        };
        // Told in whole seconds, so kept until a whole one.
        Retention { mode: self.mode, until: Timestamp((now.as_secs() + 1) * 1000 + days * DAY_MS) }
    }
}

/// Object lock of a bucket. Once there, it stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketLock {
    /// For versions whose writers say nothing.
    pub default: Option<DefaultRetention>,
}

/// The lock that the writer of a version asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectLock {
    /// Until when the version is kept.
    pub retention: Option<Retention>,
    /// Whether it is kept until somebody says otherwise; `None`: nobody said anything.
    pub legal_hold: Option<bool>,
}

impl ObjectLock {
    /// Whether the version may not be deleted at `now`.
    pub(crate) fn holds(&self, now: Timestamp, bypass: bool) -> bool {
        self.legal_hold == Some(true) || self.retention.is_some_and(|retention| retention.holds(now, bypass))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.retention.is_none() && self.legal_hold.is_none()
    }
}

/// What is decided on by a bucket's own settings, in the transaction that it concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketState {
    /// Whether versions are kept.
    pub versioning: Versioning,
    /// Object lock, when the bucket has it.
    pub lock: Option<BucketLock>,
}

impl BucketState {
    /// How a version is told to clients: not at all where there have never been any.
    pub(crate) fn told(&self, null: bool, id: VersionId) -> Option<VersionRef> {
        match (self.versioning, null) {
            (Versioning::Unversioned, _) => None,
            (_, true) => Some(VersionRef::Null),
            (_, false) => Some(VersionRef::Id(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1000);

    #[test]
    fn versions_survive_their_text() {
        for version in [VersionRef::Null, VersionRef::Id(VersionId(77))] {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!("Null".parse::<VersionRef>().is_err());
        assert!("".parse::<VersionRef>().is_err());
    }

    #[test]
    fn locks_hold_until_their_time() {
        let lock = |mode, until| ObjectLock {
            retention: Some(Retention { mode, until: Timestamp(until) }),
            legal_hold: Some(false),
        };
        assert!(lock(LockMode::Governance, 1001).holds(NOW, false));
        assert!(!lock(LockMode::Governance, 1001).holds(NOW, true));
        assert!(!lock(LockMode::Governance, 1000).holds(NOW, false));
        assert!(lock(LockMode::Compliance, 1001).holds(NOW, true));
        assert!(!lock(LockMode::Compliance, 1000).holds(NOW, false));
        assert!(ObjectLock { retention: None, legal_hold: Some(true) }.holds(NOW, true));
        assert!(!ObjectLock::default().holds(NOW, false));
    }
}
