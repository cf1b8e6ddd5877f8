//! Waiting for a state, and reproducible test data.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};

/// Polls `probe` until it answers `Some`, or fails with `what` after `limit`.
pub async fn eventually<T, F, Fut>(what: &str, limit: Duration, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = tokio::time::Instant::now() + limit;
    loop {
        if let Some(found) = probe().await {
            return Ok(found);
        }
        if tokio::time::Instant::now() >= end {
            bail!("not seen within {limit:?}: {what}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The seed of a randomised test: `KARRI_TEST_SEED`, else random. Printed, so that a failure can be replayed.
#[derive(Clone, Copy, Debug)]
pub struct Seed(pub u64);

impl Seed {
    /// Takes the seed from the environment or makes one, and prints it.
    #[allow(clippy::disallowed_methods, reason = "tests choose their own seed")]
    pub fn choose() -> Self {
        let given = std::env::var("KARRI_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = Self(given.unwrap_or_else(rand::random));
        println!("seed: KARRI_TEST_SEED={seed}");
        seed
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `length` bytes that no two seeds share, made quickly (SplitMix64).
pub fn test_bytes(seed: u64, length: usize) -> Vec<u8> {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    // Seeds that are one step apart would be the same bytes, shifted.
    let mut state = mix(seed.wrapping_mul(STEP));
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(STEP);
        bytes.extend_from_slice(&mix(state).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn mix(state: u64) -> u64 {
    let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_neighbouring_seeds_are_not_the_same_shifted() {
        let (one, two) = (test_bytes(11, 4096), test_bytes(12, 4096));
        assert!(!two.windows(16).any(|window| one.windows(16).any(|other| other == window)));
    }
}
