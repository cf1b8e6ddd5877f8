//! The format of ciphertexts: which key and which version of it encrypted them, and what was encrypted.
//!
//! ```text
//! 1 byte    format, 1
//! 8 bytes   account, big endian
//! 16 bytes  key, a UUID
//! 32 bytes  version of the key
//! 24 bytes  nonce, random
//! rest      XChaCha20-Poly1305: the plain text's bytes, then 16 bytes of tag
//! ```
//!
//! Everything before the nonce and the encryption context are authenticated. A random nonce of 192 bits does not come
//! again, however much one version of a key encrypts.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use karri_ring_types::Rng;
use zeroize::Zeroizing;

/// Bytes of a version's secret.
pub const SECRET_BYTES: usize = 32;
/// Bytes of a version's id.
pub const VERSION_BYTES: usize = 32;

const FORMAT: u8 = 1;
const ACCOUNT_AT: usize = 1;
const KEY_AT: usize = ACCOUNT_AT + 8;
const VERSION_AT: usize = KEY_AT + 16;
const NONCE_AT: usize = VERSION_AT + VERSION_BYTES;
const BODY_AT: usize = NONCE_AT + 24;
const TAG_BYTES: usize = 16;

/// An encryption context: names and values that the reader must know too.
pub type EncryptionContext = [(String, String)];

/// Which version of which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersion {
    /// Twelve digits.
    pub account_id: String,
    /// A UUID.
    pub key_id: String,
    /// 64 hexadecimal digits.
    pub version_id: String,
}

impl KeyVersion {
    fn header(&self) -> Option<[u8; NONCE_AT]> {
        let mut header = [0; NONCE_AT];
        header[0] = FORMAT;
        header[ACCOUNT_AT..KEY_AT].copy_from_slice(&self.account_id.parse::<u64>().ok()?.to_be_bytes());
        let key: String = self.key_id.split('-').collect();
        hex::decode_to_slice(key, &mut header[KEY_AT..VERSION_AT]).ok()?;
        hex::decode_to_slice(&self.version_id, &mut header[VERSION_AT..NONCE_AT]).ok()?;
        Some(header)
    }

    /// What a ciphertext says of itself; nothing where it is none.
    pub fn of(ciphertext: &[u8]) -> Option<Self> {
        if ciphertext.len() < BODY_AT + TAG_BYTES || ciphertext[0] != FORMAT {
            return None;
        }
        let account = u64::from_be_bytes(ciphertext[ACCOUNT_AT..KEY_AT].try_into().ok()?);
        Some(Self {
            account_id: format!("{account:012}"),
            key_id: uuid(ciphertext[KEY_AT..VERSION_AT].try_into().ok()?),
            version_id: hex::encode(&ciphertext[VERSION_AT..NONCE_AT]),
        })
    }
}

/// 16 bytes as a UUID is written.
pub(crate) fn uuid(bytes: [u8; 16]) -> String {
    let digits = hex::encode(bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// What is authenticated: each length before its bytes, in the order of the names.
fn authenticated(header: &[u8], context: &EncryptionContext) -> Vec<u8> {
    let mut pairs: Vec<&(String, String)> = context.iter().collect();
    pairs.sort();
    let mut bytes = header.to_vec();
    for text in pairs.into_iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// Encrypts; `None` for ids that are none.
pub fn encrypt(
    rng: &dyn Rng,
    version: &KeyVersion,
    secret: &[u8; SECRET_BYTES],
    context: &EncryptionContext,
    plain: &[u8],
) -> Option<Vec<u8>> {
    let mut bytes = version.header()?.to_vec();
    let mut nonce = [0; BODY_AT - NONCE_AT];
    rng.fill(&mut nonce);
    let payload = Payload { msg: plain, aad: &authenticated(&bytes, context) };
    let body = XChaCha20Poly1305::new(secret.into()).encrypt(XNonce::from_slice(&nonce), payload).ok()?;
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&body);
    Some(bytes)
}

/// Decrypts; `None` where anything is other than when it was encrypted.
pub fn decrypt(
    secret: &[u8; SECRET_BYTES],
    context: &EncryptionContext,
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (head, body) = ciphertext.split_at_checked(BODY_AT)?;
    let (header, nonce) = head.split_at(NONCE_AT);
    let payload = Payload { msg: body, aad: &authenticated(header, context) };
    XChaCha20Poly1305::new(secret.into()).decrypt(XNonce::from_slice(nonce), payload).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use karri_ring_types::SeededRng;

    use super::*;

    fn version() -> KeyVersion {
        KeyVersion { account_id: "000000000042".into(), key_id: uuid([7; 16]), version_id: "ab".repeat(32) }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_ciphertext_says_what_encrypted_it_and_opens_with_that_alone() {
        let (rng, secret) = (SeededRng::new(1), [9; SECRET_BYTES]);
        let context = pairs(&[("a", "b"), ("c", "d")]);
        let sealed = encrypt(&rng, &version(), &secret, &context, b"canary").unwrap();
        assert_eq!(sealed.len(), BODY_AT + 6 + TAG_BYTES);
        assert_eq!(KeyVersion::of(&sealed), Some(version()));
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        let swapped = pairs(&[("c", "d"), ("a", "b")]);
        assert_eq!(&**decrypt(&secret, &swapped, &sealed).unwrap(), b"canary");
        for other in
            [pairs(&[]), pairs(&[("a", "b")]), pairs(&[("ab", ""), ("c", "d")]), pairs(&[("a", "b"), ("c", "e")])]
        {
            assert!(decrypt(&secret, &other, &sealed).is_none(), "{other:?}");
        }
        assert!(decrypt(&[8; SECRET_BYTES], &context, &sealed).is_none());
        for byte in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[byte] ^= 1;
            assert!(decrypt(&secret, &context, &damaged).is_none(), "byte {byte}");
        }
        for length in 0..sealed.len() {
            assert!(decrypt(&secret, &context, &sealed[..length]).is_none(), "{length} bytes");
        }
        assert_eq!(KeyVersion::of(&sealed[..BODY_AT + TAG_BYTES - 1]), None);
    }

    #[test]
    fn no_nonce_comes_twice() {
        let (rng, secret) = (SeededRng::new(2), [9; SECRET_BYTES]);
        let nonce = |_| encrypt(&rng, &version(), &secret, &[], b"x").unwrap()[NONCE_AT..BODY_AT].to_vec();
        let nonces: std::collections::HashSet<_> = (0..10_000).map(nonce).collect();
        assert_eq!(nonces.len(), 10_000);
    }
}
