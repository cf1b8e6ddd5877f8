//! What was made of one version of something, kept until another version is asked for.
//!
//! `tests/schedules` tries it under every order of threads.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;

/// Values by their keys, each of one version.
pub(crate) struct Compiled<K, V> {
    entries: Mutex<HashMap<K, (u64, V)>>,
    entries_max: usize,
}

impl<K: Eq + Hash, V: Clone> Compiled<K, V> {
    /// Keeps so many values; beyond them it begins anew.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries: Mutex::default(), entries_max }
    }

    /// The value of just this version, which `make` makes unless it is there. It is made without the lock, so
    /// that two may make it at the same time; an older version than the one that is kept is not kept.
    pub(crate) fn get(&self, key: K, version: u64, make: impl FnOnce() -> V) -> V {
        if let Some((kept, value)) = self.entries.lock().get(&key)
            && *kept == version
        {
            return value.clone();
        }
        let value = make();
        let mut entries = self.entries.lock();
        if entries.get(&key).is_some_and(|(kept, _)| *kept > version) {
            return value;
        }
        if entries.len() >= self.entries_max {
            entries.clear();
        }
        entries.insert(key, (version, value.clone()));
        value
    }
}
