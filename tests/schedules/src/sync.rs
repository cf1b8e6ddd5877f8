//! A cache as `quick_cache::sync` has it: a map under one lock.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use crate::Mutex;

/// As `quick_cache::sync::Cache`.
pub struct Cache<K, V> {
    entries: Mutex<HashMap<K, V>>,
    entries_max: usize,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub fn new(entries_max: usize) -> Self {
        Self { entries: Mutex::default(), entries_max }
    }

    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.entries.lock().get(key).cloned()
    }

    /// When it is full all others go: which of them should is not what is tried.
    pub fn insert(&self, key: K, value: V) {
        let mut entries = self.entries.lock();
        if entries.len() >= self.entries_max {
            entries.clear();
        }
        entries.insert(key, value);
    }
}
