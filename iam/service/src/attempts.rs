//! How often a second factor may be guessed at: a code has six digits, and whoever has a stolen key could try them all.
//! RFC 6238, section 5.2, leaves the bound to the server; RFC 4226, section 7.3, has a growing pause.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// Codes in a row that may be wrong without a pause.
const FREE_MAX: u32 = 5;
/// The first pause; each further wrong code doubles it.
const PAUSE_FIRST: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// Devices that are remembered.
const DEVICES_MAX: usize = 10_000;

#[derive(Default)]
struct Tried {
    in_a_row: u32,
    until: Duration,
}

/// Codes that were tried on this node since the last right one, by device and by who tries.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<HashMap<String, Tried>>);

impl Attempts {
    /// Whether a code may be tried at `now`. It counts as wrong until [`Attempts::was_right`]: of many at a time none
    /// goes uncounted.
    pub(crate) fn begin(&self, device: &str, now: Duration) -> bool {
        let mut all = self.0.lock();
        if all.len() >= DEVICES_MAX && !all.contains_key(device) {
            all.retain(|_, tried| tried.until > now);
            if all.len() >= DEVICES_MAX {
                all.clear();
            }
        }
        let tried = all.entry(device.to_owned()).or_default();
        if now < tried.until {
            return false;
        }
        tried.in_a_row = tried.in_a_row.saturating_add(1);
        if let Some(over) = tried.in_a_row.checked_sub(FREE_MAX) {
            let pause = PAUSE_FIRST.saturating_mul(1u32.checked_shl(over).unwrap_or(u32::MAX));
            tried.until = now + pause.min(PAUSE_MAX);
        }
        true
    }

    /// The code that was tried is right.
    pub(crate) fn was_right(&self, device: &str) {
        self.0.lock().remove(device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_grow_and_a_right_code_ends_them() {
        let attempts = Attempts::default();
        assert!((0..FREE_MAX).all(|_| attempts.begin("d", SECOND)));
        assert!(!attempts.begin("d", SECOND) && attempts.begin("other", SECOND));
        assert!(!attempts.begin("d", PAUSE_FIRST), "the pause began a second later");
        assert!(attempts.begin("d", SECOND + PAUSE_FIRST));
        assert!(!attempts.begin("d", SECOND + PAUSE_FIRST * 2), "the second pause is longer");
        let later = SECOND + PAUSE_FIRST * 3;
        assert!(attempts.begin("d", later));
        attempts.was_right("d");
        assert!((0..FREE_MAX).all(|_| attempts.begin("d", later)) && !attempts.begin("d", later));
    }

    #[test]
    fn all_codes_cannot_be_tried_in_a_year() {
        let attempts = Attempts::default();
        let mut tried = 0;
        let mut now = Duration::ZERO;
        while now < SECOND * 86_400 * 365 {
            tried += u32::from(attempts.begin("d", now));
            now += SECOND * 30;
        }
        // A code is good for three steps: a millionth of a chance, three times, for each that is tried.
        assert!(tried < 40_000, "{tried}");
    }
}
