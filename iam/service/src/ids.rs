//! Ids and names of resources.

use karri_ring_types::Rng;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const SECRET_LENGTH: usize = 40;
/// Letters of an id behind its prefix.
const ID_LENGTH: usize = 17;
const KEY_ID_LENGTH: usize = 16;
/// The bits of an account's number.
const HALF: u64 = (1 << 40) - 1;

/// Random text over an alphabet whose size divides 256, so that no letter is more likely.
fn random_text(rng: &dyn Rng, length: usize, alphabet: &[u8]) -> String {
    debug_assert_eq!(256 % alphabet.len(), 0, "an even spread");
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes);
    bytes.iter().map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()])).collect()
}

/// A unique id, as `AIDA...`.
pub(crate) fn unique(rng: &dyn Rng, prefix: &str) -> String {
    prefix.to_owned() + &random_text(rng, ID_LENGTH, BASE32)
}

/// The id of an access key: `AKIA...`.
pub(crate) fn access_key(rng: &dyn Rng) -> String {
    "AKIA".to_owned() + &random_text(rng, KEY_ID_LENGTH, BASE32)
}

/// The id of a temporary access key: 40 bits of the account's number and 40 random ones.
pub(crate) fn temporary_key(rng: &dyn Rng, account_id: &str) -> String {
    let number: u64 = account_id.parse().unwrap_or(0);
    let bits = u128::from(number & HALF) << 40 | u128::from(rng.next_u64() & HALF);
    let letters = (0..KEY_ID_LENGTH).rev().map(|place| (bits >> (5 * place)) as usize & 31);
    "ASIA".chars().chain(letters.map(|letter| char::from(BASE32[letter]))).collect()
}

/// The account of a temporary access key.
pub(crate) fn account_of_temporary_key(id: &str) -> Option<String> {
    let letters = id.strip_prefix("ASIA").filter(|letters| letters.len() == KEY_ID_LENGTH)?;
    let mut bits = 0u128;
    for byte in letters.bytes() {
        let letter = BASE32.iter().position(|known| *known == byte)?;
        bits = bits << 5 | letter as u128;
    }
    Some(format!("{:012}", (bits >> 40) as u64 & HALF))
}

/// The secret of an access key.
pub(crate) fn secret_key(rng: &dyn Rng) -> String {
    random_text(rng, SECRET_LENGTH, BASE64)
}

/// The id of a signing certificate.
pub(crate) fn signing_certificate(rng: &dyn Rng) -> String {
    random_text(rng, 32, BASE32)
}

/// The id of a new account: twelve digits, the first of which is not 0.
pub(crate) fn account(rng: &dyn Rng) -> String {
    (100_000_000_000 + rng.next_u64() % 900_000_000_000).to_string()
}

/// The canonical id of an account.
pub(crate) fn canonical(account_id: &str) -> String {
    blake3::hash(account_id.as_bytes()).to_hex().to_string()
}

/// `arn:aws:iam::<account>:<kind><path><name>`, as `user/division/ada`.
pub(crate) fn arn(account_id: &str, kind: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account_id}:{kind}{path}{name}")
}

/// Account, kind and the rest (path and name, with the leading slash) of an IAM ARN.
pub(crate) fn parse_arn(arn: &str) -> Option<(&str, &str, &str)> {
    let (account_id, resource) = arn.strip_prefix("arn:aws:iam::")?.split_once(':')?;
    let slash = resource.find('/')?;
    Some((account_id, &resource[..slash], &resource[slash..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_ring_types::SeededRng;

    #[test]
    fn ids_look_as_clients_expect() {
        let rng = SeededRng::new(3);
        assert!(unique(&rng, "AIDA").starts_with("AIDA") && unique(&rng, "AIDA").len() == 21);
        assert_eq!((access_key(&rng).len(), secret_key(&rng).len(), account(&rng).len()), (20, 40, 12));
        for account_id in ["000000000000", "123456789012", "999999999999"] {
            let key = temporary_key(&rng, account_id);
            assert_eq!((key.len(), account_of_temporary_key(&key).as_deref()), (20, Some(account_id)));
            assert_ne!(key, temporary_key(&rng, account_id));
        }
        assert_eq!(account_of_temporary_key("ASIA1"), None);
        assert_eq!(canonical("000000000000").len(), 64);
        assert_eq!(parse_arn(&arn("1", "user", "/a/", "b")), Some(("1", "user", "/a/b")));
        assert_eq!(parse_arn("arn:aws:s3:::x"), None);
    }
}
