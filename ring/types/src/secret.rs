//! The cluster's key.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Rng;

/// The secret of a cluster, from which every key is derived that must be the same on all nodes: what seals secrets
/// in the metadata, session tokens and so on. It is kept beside a node's certificate and never in the metadata.
///
/// It cannot be printed; only keys derived from it can be had.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterKey([u8; 32]);

impl ClusterKey {
    /// A new key. `rng` must not be predictable.
    pub fn generate(rng: &dyn Rng) -> Self {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        Self(bytes)
    }

    /// The key for one purpose (BLAKE3's key derivation). `context` names the purpose, is the same for ever, and is
    /// used for nothing else, as `karri iam secrets 2026`.
    pub fn derive(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, &self.0)
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRng;

    #[test]
    fn derived_keys_differ_by_purpose_and_cluster() {
        let rng = SeededRng::new(1);
        let (one, other) = (ClusterKey::generate(&rng), ClusterKey::generate(&rng));
        assert_eq!(one.derive("a"), one.clone().derive("a"));
        assert_ne!(one.derive("a"), one.derive("b"));
        assert_ne!(one.derive("a"), other.derive("a"));
    }

    #[test]
    fn it_prints_nothing() {
        let key = ClusterKey([0xa7; 32]);
        assert_eq!(format!("{key:?}"), "ClusterKey(..)");
    }
}
