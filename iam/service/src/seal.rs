//! Secrets at rest: sealed with a key that is derived from the cluster's, and bound to the place where they lie.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use karri_ring_types::{ClusterKey, Rng};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The purpose of the key, for its derivation.
const PURPOSE: &str = "karri 2026 iam: secrets in the metadata";
const NONCE_BYTES: usize = 24;

/// A sealed secret: a random nonce and the ciphertext with its tag (XChaCha20-Poly1305).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// The bytes, for a place where there is no row.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// From bytes, which may be anything.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// A sealed secret that was not sealed by this cluster for this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret of the metadata cannot be opened")]
pub struct Unsealable;

/// Seals and opens secrets.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

impl Sealer {
    /// The sealer of secrets in IAM's rows.
    pub fn new(key: &ClusterKey) -> Self {
        Self::for_purpose(key, PURPOSE)
    }

    /// A sealer whose secrets no other purpose's can open.
    pub fn for_purpose(key: &ClusterKey, purpose: &str) -> Self {
        let key = Zeroizing::new(key.derive(purpose));
        Self { cipher: XChaCha20Poly1305::new((&*key).into()) }
    }

    /// Seals a secret for a place, as `access key AKIA...`: it can be opened for the same place only.
    ///
    /// # Panics
    /// Never with secrets of less than 256 GiB.
    pub fn seal(&self, rng: &dyn Rng, place: &str, secret: &[u8]) -> Sealed {
        let mut nonce = [0; NONCE_BYTES];
        rng.fill(&mut nonce);
        let payload = Payload { msg: secret, aad: place.as_bytes() };
        let sealed = self.cipher.encrypt(XNonce::from_slice(&nonce), payload).expect("a short secret can be sealed");
        Sealed([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for this place.
    pub fn open(&self, place: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        let (nonce, body) = sealed.0.split_at_checked(NONCE_BYTES).ok_or(Unsealable)?;
        let payload = Payload { msg: body, aad: place.as_bytes() };
        let opened = self.cipher.decrypt(XNonce::from_slice(nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| Unsealable)
    }

    /// As [`Sealer::open`], of a secret that is text.
    pub fn open_text(&self, place: &str, sealed: &Sealed) -> Result<Zeroizing<String>, Unsealable> {
        let bytes = self.open(place, sealed)?;
        String::from_utf8(bytes.to_vec()).map(Zeroizing::new).map_err(|_| Unsealable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_ring_types::SeededRng;

    #[test]
    fn a_secret_opens_in_its_place_and_its_cluster_alone() {
        let rng = SeededRng::new(4);
        let (key, other) = (ClusterKey::generate(&rng), ClusterKey::generate(&rng));
        let sealer = Sealer::new(&key);
        let sealed = sealer.seal(&rng, "access key AKIA1", b"canary");
        assert_eq!(&**sealer.open("access key AKIA1", &sealed).unwrap(), b"canary");
        assert_eq!(sealer.open("access key AKIA2", &sealed).unwrap_err(), Unsealable);
        assert_eq!(Sealer::new(&other).open("access key AKIA1", &sealed).unwrap_err(), Unsealable);
        assert_eq!(Sealer::for_purpose(&key, "else").open("access key AKIA1", &sealed).unwrap_err(), Unsealable);
        assert_ne!(sealer.seal(&rng, "access key AKIA1", b"canary"), sealed);
        assert!(!sealed.0.windows(6).any(|window| window == b"canary"));
        assert_eq!(format!("{sealer:?} {sealed:?}"), "Sealer(..) Sealed(..)");
        for byte in 0..sealed.0.len() {
            let mut damaged = sealed.clone();
            damaged.0[byte] ^= 1;
            assert!(sealer.open("access key AKIA1", &damaged).is_err(), "byte {byte}");
        }
        assert!(sealer.open("", &Sealed(vec![1; 5])).is_err());
    }
}
