//! The one source of chance of a run.

use karri_ring_types::{Rng, SeededRng};

/// Chance that follows from a seed.
#[derive(Debug)]
pub(crate) struct Chance(SeededRng);

impl Chance {
    /// For one purpose of a run: what one purpose draws does not change what another gets.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mixed = SeededRng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ purpose);
        Self(SeededRng::new(mixed.next_u64()))
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// True in so many of 1,000 cases.
    pub(crate) fn of_1000(&self, cases: u64) -> bool {
        cases > 0 && self.below(1000) < cases
    }

    /// One of `choices`, of which there is one.
    pub(crate) fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}
