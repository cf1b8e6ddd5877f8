//! Keys and signatures of Signature Version 4.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::api::Secret;
use crate::auth::derived::Derived;

/// Hexadecimal digits of a signature or SHA-256.
pub(crate) const SIGNATURE_LENGTH: usize = 64;

/// Derived keys that are kept. One per access key and day is in use at a time.
const CACHED_KEYS_MAX: usize = 4096;

/// 32 bytes as lower-case hexadecimal digits, on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignatureHex([u8; SIGNATURE_LENGTH]);

impl SignatureHex {
    /// The digits of a digest, which must have 32 bytes.
    pub(crate) fn of(digest: &[u8]) -> Self {
        let mut digits = [0; SIGNATURE_LENGTH];
        hex::encode_to_slice(digest, &mut digits).expect("a SHA-256 has 32 bytes");
        Self(digits)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

impl fmt::Debug for SignatureHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignatureHex(..)")
    }
}

/// A key derived for one day, region and service, ready to sign.
#[derive(Clone)]
pub(crate) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Derives the key of a scope.
    pub(crate) fn derive(secret: &Secret, date: &str, region: &str, service: &str) -> Self {
        let first = [b"AWS4", secret.reveal().as_bytes()].concat();
        let mut key = keyed(&first);
        for part in [date, region, service, "aws4_request"] {
            key.update(part.as_bytes());
            key = keyed(&key.finalize().into_bytes());
        }
        Self(key)
    }

    /// Signs the concatenation of `parts`.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> SignatureHex {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        SignatureHex::of(&mac.finalize().into_bytes())
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Keys derived before, by the text of the credential (access key and scope).
pub(crate) struct KeyCache(Derived<Secret, SigningKey>);

impl KeyCache {
    pub(crate) fn new() -> Self {
        Self(Derived::new(CACHED_KEYS_MAX))
    }

    /// The key of `scope` for `secret`.
    pub(crate) fn get(&self, secret: &Secret, scope: &Scope<'_>) -> SigningKey {
        let derive = || SigningKey::derive(secret, scope.date, scope.region, scope.service);
        self.0.get(scope.credential, secret, derive)
    }
}

/// `<access key>/<date>/<region>/<service>/aws4_request`, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) credential: &'a str,
    pub(crate) access_key: &'a str,
    pub(crate) date: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

impl<'a> Scope<'a> {
    pub(crate) fn parse(credential: &'a str) -> Option<Self> {
        let mut parts = credential.rsplitn(5, '/');
        let (end, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (date, access_key) = (parts.next()?, parts.next()?);
        let digits = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
        if end != "aws4_request" || !digits || access_key.is_empty() || service.is_empty() {
            return None;
        }
        Some(Self { credential, access_key, date, region, service })
    }

    /// The scope without the access key, as in the string to sign.
    pub(crate) fn text(&self) -> &'a str {
        &self.credential[self.access_key.len() + 1..]
    }
}
