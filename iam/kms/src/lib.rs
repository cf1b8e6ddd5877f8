//! The key service, as AWS's KMS: keys that never leave the cluster, their versions, aliases, policies and grants, and
//! what is encrypted with them.
//!
//! Keys are rows of their account in the system range, as identities are ([`karri_iam_service::kms_model`]), so every
//! node has them at hand. The secret of each version is sealed under a key that is derived from the cluster's; it is
//! opened for one operation and forgotten. A ciphertext names its key and version ([`ciphertext`]): rotation adds a
//! version and changes nothing that was encrypted before.
//!
//! [`Kms`] answers KMS's actions; [`KeyProvider`] is what S3 asks for, of [`Kms`] or of a key service elsewhere.

mod access;
mod api;
mod background;
pub mod ciphertext;
mod find;
mod front;
mod provider;

use std::sync::Arc;
use std::time::Duration;

use karri_iam_service::{Sealer, Store};
use karri_iam_wire::WireError;
use karri_ring_types::ClusterKey;

pub use access::Asker;
pub use provider::{KeyError, KeyProvider};

/// The purpose of the key that seals versions of keys, for its derivation.
const PURPOSE: &str = "karri 2026 kms: versions of keys";
/// A day of periods of rotation and deletion.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Answer<T> = Result<T, WireError>;

/// The key service of this cluster.
pub struct Kms {
    store: Arc<Store>,
    sealer: Sealer,
    region: String,
    day: Duration,
}

impl Kms {
    /// A key service whose keys lie in `store`.
    pub fn new(store: Arc<Store>, cluster_key: &ClusterKey, region: impl Into<String>) -> Self {
        Self { store, sealer: Sealer::for_purpose(cluster_key, PURPOSE), region: region.into(), day: DAY }
    }

    /// With another length of a day, for tests of rotation and deletion.
    #[must_use]
    pub fn with_day(self, day: Duration) -> Self {
        Self { day, ..self }
    }

    fn key_arn(&self, account_id: &str, key_id: &str) -> String {
        format!("arn:aws:kms:{}:{account_id}:key/{key_id}", self.region)
    }

    fn alias_arn(&self, account_id: &str, alias: &str) -> String {
        format!("arn:aws:kms:{}:{account_id}:{alias}", self.region)
    }

    fn now(&self) -> karri_ring_types::Timestamp {
        self.store.clock().now()
    }
}
