//! One-time passwords of virtual MFA devices: TOTP (RFC 6238) with SHA-1, six digits and steps of 30 seconds.

use hmac::{Hmac, KeyInit as _, Mac as _};
use karri_ring_types::Timestamp;
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

const STEP_SECONDS: u64 = 30;
const DIGITS: u32 = 6;
/// Steps by which a device that is being enabled may differ from our clock.
const ENABLE_STEPS_MAX: i64 = 20;
/// Steps by which a device may differ from what is known of its clock.
const DRIFT_STEPS_MAX: i64 = 1;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Bytes of a seed.
pub(crate) const SEED_BYTES: usize = 40;

/// The step of a moment.
pub(crate) fn step(at: Timestamp) -> u64 {
    at.as_secs() / STEP_SECONDS
}

/// The code of a step.
pub(crate) fn code(seed: &[u8], step: u64) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(seed).expect("HMAC takes keys of every length");
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest[digest.len() - 1] & 0xf);
    let word = u32::from_be_bytes([digest[offset], digest[offset + 1], digest[offset + 2], digest[offset + 3]]);
    format!("{:06}", (word & 0x7fff_ffff) % 10u32.pow(DIGITS))
}

fn is_code(seed: &[u8], step: u64, given: &str) -> bool {
    code(seed, step).as_bytes().ct_eq(given.as_bytes()).into()
}

/// The steps around `now` shifted by `drift`, the nearest first.
fn around(now: u64, drift: i64, most: i64) -> impl Iterator<Item = (u64, i64)> {
    let offsets = (0..=most).flat_map(|distance| [distance, -distance]);
    offsets.filter_map(move |offset| Some((now.checked_add_signed(drift + offset)?, drift + offset)))
}

/// The newer step of two codes in a row, and the drift of their device's clock, which shows the newer one now.
pub(crate) fn match_two(seed: &[u8], now: Timestamp, first: &str, second: &str) -> Option<(u64, i64)> {
    let found = around(step(now), 0, ENABLE_STEPS_MAX)
        .find(|(step, _)| is_code(seed, *step, first) && is_code(seed, step + 1, second))?;
    Some((found.0 + 1, found.1 + 1))
}

/// The step of a code that is shown now and was not used yet.
pub(crate) fn match_one(seed: &[u8], now: Timestamp, drift: i64, last_step: u64, given: &str) -> Option<u64> {
    let mut steps = around(step(now), drift, DRIFT_STEPS_MAX);
    steps.find(|(step, _)| *step > last_step && is_code(seed, *step, given)).map(|(step, _)| step)
}

/// Base 32 (RFC 4648) without padding; seeds are a multiple of five bytes.
pub(crate) fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let mut word = 0u64;
        for index in 0..5 {
            word = word << 8 | u64::from(group.get(index).copied().unwrap_or(0));
        }
        for index in 0..(group.len() * 8).div_ceil(5) {
            let letter = (word >> (35 - 5 * index)) & 31;
            text.push(char::from(BASE32[letter as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &[u8] = b"12345678901234567890";

    #[test]
    fn the_codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, the last six of its eight digits.
        for (seconds, expected) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            assert_eq!(code(SEED, seconds / 30), expected);
        }
        assert_eq!(base32(b"foobar"), "MZXW6YTBOI");
    }

    #[test]
    fn a_code_counts_once_and_near_its_time_only() {
        let now = Timestamp(1_700_000_000_000);
        let present = step(now);
        let shown = code(SEED, present);
        assert_eq!(match_one(SEED, now, 0, 0, &shown), Some(present));
        assert_eq!(match_one(SEED, now, 0, present, &shown), None);
        assert_eq!(match_one(SEED, now, 0, 0, &code(SEED, present - 2)), None);
        assert_eq!(match_one(SEED, now, -2, 0, &code(SEED, present - 2)), Some(present - 2));
    }

    #[test]
    fn two_codes_in_a_row_tell_the_drift_of_a_clock() {
        let now = Timestamp(1_700_000_000_000);
        let late = step(now) - 7;
        let two = (code(SEED, late), code(SEED, late + 1));
        assert_eq!(match_two(SEED, now, &two.0, &two.1), Some((late + 1, -6)));
        assert_eq!(match_two(SEED, now, &two.1, &two.0), None);
        let ancient = step(now) - 40;
        assert_eq!(match_two(SEED, now, &code(SEED, ancient), &code(SEED, ancient + 1)), None);
    }
}
