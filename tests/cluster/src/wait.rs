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
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
