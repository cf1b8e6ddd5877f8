//! A bucket as S3's description has it, in a map.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use karri_ring_types::Timestamp;

use super::steps::When;
use crate::{Conditions, EtagCondition, LockMode, ObjectLock, Retention, VersionRef, Versioning};

/// One version; without a body it is a delete marker.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) id: VersionRef,
    pub(super) body: Option<Bytes>,
    pub(super) etag: String,
    pub(super) tag: Option<String>,
    pub(super) lock: ObjectLock,
}

#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) id: String,
    pub(super) parts: BTreeMap<u16, (Bytes, String)>,
    /// The entity tag of what was made of it.
    pub(super) completed: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Reference {
    pub(super) versioning: Versioning,
    pub(super) locked: bool,
    /// Versions, the newest first; no list is empty.
    pub(super) keys: BTreeMap<String, Vec<Version>>,
    pub(super) uploads: Vec<Upload>,
}

/// How an operation ends, in one word.
pub(super) type Ending = &'static str;

impl Reference {
    pub(super) fn current(&self, key: &str) -> Option<&Version> {
        self.keys.get(key)?.first().filter(|version| version.body.is_some())
    }

    /// The version that a step means: the current one, the one at a place, or one that is not there.
    pub(super) fn named(&self, key: &str, pick: Option<u8>) -> Option<VersionRef> {
        let pick = usize::from(pick?);
        let versions = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        Some(versions.get(pick).map_or(VersionRef::Null, |version| version.id))
    }

    pub(super) fn find(&self, key: &str, version: Option<VersionRef>) -> Result<&Version, Ending> {
        let versions = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        match version {
            None => match versions.first() {
                Some(version) if version.body.is_some() => Ok(version),
                Some(_) => Err("marker"),
                None => Err("no key"),
            },
            Some(id) => match versions.iter().find(|version| version.id == id) {
                Some(version) if version.body.is_some() => Ok(version),
                Some(_) => Err("named marker"),
                None => Err("no version"),
            },
        }
    }

    /// Writes a version or marker that the system gave an id.
    pub(super) fn write(&mut self, key: &str, version: Version) {
        let versions = self.keys.entry(key.to_owned()).or_default();
        match self.versioning {
            Versioning::Unversioned => versions.clear(),
            Versioning::Suspended => versions.retain(|version| version.id != VersionRef::Null),
            Versioning::Enabled => {}
        }
        versions.insert(0, version);
    }

    pub(super) fn version_mut(&mut self, key: &str, id: VersionRef) -> &mut Version {
        let versions = self.keys.get_mut(key).expect("it was found");
        versions.iter_mut().find(|version| version.id == id).expect("it was found")
    }

    pub(super) fn remove(&mut self, key: &str, id: VersionRef) {
        let versions = self.keys.get_mut(key).expect("it was found");
        versions.retain(|version| version.id != id);
        if versions.is_empty() {
            self.keys.remove(key);
        }
    }

    /// Keys and common prefixes of a listing, by its definition.
    pub(super) fn listing(&self, prefix: &str, delimiter: Option<&str>, after: Option<&str>) -> BTreeSet<String> {
        let live = self.keys.keys().filter(|key| self.current(key).is_some() && key.starts_with(prefix));
        let lines = live.map(|key| (key, rolled(key, prefix, delimiter)));
        let lines = lines
            .filter(|(key, rolled)| after.is_none_or(|after| key.as_str() > after && rolled.as_deref() != Some(after)));
        lines.map(|(key, rolled)| rolled.unwrap_or_else(|| key.clone())).collect()
    }

    /// Versions that a listing shows, and its common prefixes.
    pub(super) fn versions(&self, prefix: &str, delimiter: Option<&str>) -> (Vec<Line>, BTreeSet<String>) {
        let (mut lines, mut prefixes) = (Vec::new(), BTreeSet::new());
        for (key, versions) in self.keys.iter().filter(|(key, _)| key.starts_with(prefix)) {
            match rolled(key, prefix, delimiter) {
                Some(rolled) => drop(prefixes.insert(rolled)),
                None => lines.extend(versions.iter().enumerate().map(|(at, version)| Line {
                    key: key.clone(),
                    id: version.id,
                    marker: version.body.is_none(),
                    latest: at == 0,
                    etag: version.etag.clone(),
                })),
            }
        }
        (lines, prefixes)
    }
}

/// A line of a listing of versions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) key: String,
    pub(super) id: VersionRef,
    pub(super) marker: bool,
    pub(super) latest: bool,
    pub(super) etag: String,
}

fn rolled(key: &str, prefix: &str, delimiter: Option<&str>) -> Option<String> {
    let delimiter = delimiter?;
    let at = key[prefix.len()..].find(delimiter)?;
    Some(key[..prefix.len() + at + delimiter.len()].to_owned())
}

impl When {
    /// The condition as it is sent.
    pub(super) fn conditions(self, current: Option<&str>, etag_of: impl Fn(u8) -> String) -> Conditions {
        let one = |etag: String| Some(EtagCondition::OneOf(vec![etag]));
        let mut conditions = Conditions::default();
        match self {
            Self::Always => {}
            Self::Absent => conditions.if_none_match = Some(EtagCondition::Any),
            Self::Present => conditions.if_match = Some(EtagCondition::Any),
            Self::Current => conditions.if_match = one(current.unwrap_or("none").to_owned()),
            Self::Is(body) => conditions.if_match = one(etag_of(body)),
            Self::IsNot(body) => conditions.if_none_match = one(etag_of(body)),
        }
        conditions
    }

    /// Whether a write may replace what is there.
    pub(super) fn allows(self, current: Option<&str>, etag_of: impl Fn(u8) -> String) -> Result<(), Ending> {
        match (self, current) {
            (Self::Present | Self::Current | Self::Is(_), None) => Err("no key"),
            (Self::Is(body), Some(etag)) if etag != etag_of(body) => Err("precondition"),
            (Self::Absent, Some(_)) => Err("precondition"),
            (Self::IsNot(body), Some(etag)) if etag == etag_of(body) => Err("precondition"),
            _ => Ok(()),
        }
    }
}

/// Whether a version may not be deleted.
pub(super) fn is_kept(lock: &ObjectLock, now: Timestamp, bypass: bool) -> bool {
    let retained = |retention: Retention| retention.until > now && !(bypass && retention.mode == LockMode::Governance);
    lock.legal_hold == Some(true) || lock.retention.is_some_and(retained)
}
