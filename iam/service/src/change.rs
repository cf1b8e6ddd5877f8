//! A change of one account while it is decided on: a working copy, and the rows that are to be written.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use karri_ring_types::{Rng, Timestamp};

use crate::messages::{CLOUD, Commit, RowKey, Scope};
use crate::state::{Account, Entity, row, row_key};

/// A change of an account. It reads as the account with what was changed so far.
pub struct Change {
    account: Account,
    scopes: Vec<(Scope, u64)>,
    writes: BTreeMap<RowKey, Option<Vec<u8>>>,
    now: Timestamp,
}

impl Deref for Change {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.account
    }
}

impl Change {
    pub(crate) fn new(account: &Account, now: Timestamp) -> Self {
        let scopes = vec![(account.id.clone(), account.version)];
        Self { account: account.clone(), scopes, writes: BTreeMap::new(), now }
    }

    /// Rests on what is unique in the whole cloud too, as it was at this version.
    pub(crate) fn with_cloud(mut self, version: u64) -> Self {
        self.scopes.push((CLOUD.to_owned(), version));
        self
    }

    /// The time that the change carries.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Writes an entity.
    pub fn put<T: Entity>(&mut self, entity: T) {
        let (key, value) = row(&self.account.id, &entity);
        self.writes.insert(key, Some(value));
        T::table_mut(&mut self.account).insert(entity.key(), Arc::new(entity));
    }

    /// Deletes an entity.
    pub fn remove<T: Entity>(&mut self, entity: &T) {
        let key = entity.key();
        self.writes.insert(row_key(&self.account.id, T::KIND, &key), None);
        T::table_mut(&mut self.account).remove(&key);
    }

    /// Writes an entity in the place of another, whose key may differ.
    pub fn replace<T: Entity>(&mut self, old: &T, new: T) {
        if old.key() != new.key() {
            self.remove(old);
        }
        self.put(new);
    }

    /// Deletes the account with all that is in it.
    pub fn remove_all(&mut self) {
        for key in self.account.row_keys() {
            self.writes.insert(key, None);
        }
    }

    /// The command, unless nothing changes.
    pub(crate) fn into_commit(self, rng: &dyn Rng) -> Option<Commit> {
        if self.writes.is_empty() {
            return None;
        }
        Some(Commit { operation: rng.next_u128(), scopes: self.scopes, writes: self.writes.into_iter().collect() })
    }
}
