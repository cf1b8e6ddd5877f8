//! Keys that were derived from secrets, kept until another secret comes.
//!
//! `tests/schedules` tries it under every order of threads.

use quick_cache::sync::Cache;

/// Keys by their names, each with the secret that it was derived from.
pub(crate) struct Derived<S, K>(Cache<Box<str>, (S, K)>);

impl<S: Clone + PartialEq, K: Clone> Derived<S, K> {
    /// Keeps so many keys.
    pub(crate) fn new(keys_max: usize) -> Self {
        Self(Cache::new(keys_max))
    }

    /// The key of `name` for just this secret, which `derive` makes unless it is there. One that was derived
    /// from another secret is replaced.
    pub(crate) fn get(&self, name: &str, secret: &S, derive: impl FnOnce() -> K) -> K {
        if let Some((known, key)) = self.0.get(name)
            && known == *secret
        {
            return key;
        }
        let key = derive();
        self.0.insert(name.into(), (secret.clone(), key.clone()));
        key
    }
}
