//! MD5's compression of several blocks at once, one of each stream, in the lanes of vector registers.
//!
//! One stream cannot be hashed faster than its chain of dependent operations allows, which leaves a core's width unused;
//! the lanes are other streams. The code is the same for all widths: plain arrays that the compiler puts into registers.

use std::array::from_fn;

pub(crate) const BLOCK_BYTES: usize = 64;

/// A stream's four words.
pub(crate) type Words = [u32; 4];

pub(crate) const INITIAL: Words = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// What a machine can do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    One,
    /// 4 or 8 lanes.
    Eight,
    /// 4, 8 or 16 lanes.
    Sixteen,
}

impl Width {
    /// Of this machine.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Self::Sixteen;
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Eight;
            }
        }
        Self::One
    }

    /// Most streams at once.
    pub(crate) fn lanes_max(self) -> usize {
        match self {
            Self::One => 1,
            Self::Eight => 8,
            Self::Sixteen => 16,
        }
    }
}

/// One word of each lane.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Lanes<const N: usize>([u32; N]);

impl<const N: usize> Lanes<N> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        Self(from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, u32::wrapping_add)
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self.zip(other, |a, b| a ^ b)
    }
    #[inline(always)]
    fn not(self) -> Self {
        Self(from_fn(|lane| !self.0[lane]))
    }
    #[inline(always)]
    fn plus(self, constant: u32) -> Self {
        Self(from_fn(|lane| self.0[lane].wrapping_add(constant)))
    }
    #[inline(always)]
    fn rotate<const BY: u32>(self) -> Self {
        Self(from_fn(|lane| self.0[lane].rotate_left(BY)))
    }
}

macro_rules! step {
    ($f:expr, $a:ident, $b:ident, $c:ident, $d:ident, $word:expr, $by:literal, $constant:literal) => {
        // The function comes last: it waits for the step before.
        $a = $a.add($word.plus($constant)).add($f($b, $c, $d)).rotate::<$by>().add($b)
    };
}

/// RFC 1321, section 3.4.
#[inline(always)]
#[allow(clippy::many_single_char_names, reason = "the names of the standard")]
fn compress<const N: usize>(state: &mut [Lanes<N>; 4], m: &[Lanes<N>; 16]) {
    let [mut a, mut b, mut c, mut d] = *state;
    let f = |x: Lanes<N>, y: Lanes<N>, z: Lanes<N>| z.xor(x.and(y.xor(z)));
    let g = |x: Lanes<N>, y: Lanes<N>, z: Lanes<N>| x.and(z).or(y.and(z.not()));
    let h = |x: Lanes<N>, y: Lanes<N>, z: Lanes<N>| x.xor(y.xor(z));
    let i = |x: Lanes<N>, y: Lanes<N>, z: Lanes<N>| y.xor(x.or(z.not()));
    include!("steps.rs");
    *state = [state[0].add(a), state[1].add(b), state[2].add(c), state[3].add(d)];
}

/// Takes as many blocks of each stream as the shortest has; the streams are padded with the first.
#[inline(always)]
fn run<const N: usize>(states: &mut [&mut Words], blocks: &[&[u8]]) {
    let count = blocks.iter().map(|bytes| bytes.len() / BLOCK_BYTES).min().unwrap_or(0);
    let source: [&[u8]; N] = from_fn(|lane| blocks.get(lane).copied().unwrap_or(blocks[0]));
    let mut state: [Lanes<N>; 4] =
        from_fn(|word| Lanes(from_fn(|lane| states.get(lane).map_or(0, |state| state[word]))));
    for block in 0..count {
        let at = block * BLOCK_BYTES;
        let current: [&[u8; BLOCK_BYTES]; N] = from_fn(|lane| source[lane][at..].first_chunk().expect("a whole block"));
        let m: [Lanes<N>; 16] = from_fn(|word| {
            Lanes(from_fn(|lane| u32::from_le_bytes(*current[lane][word * 4..].first_chunk().expect("four bytes"))))
        });
        compress(&mut state, &m);
    }
    for (lane, words) in states.iter_mut().enumerate() {
        **words = from_fn(|word| state[word].0[lane]);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Words, run};

    #[target_feature(enable = "avx2")]
    pub(super) fn eight(states: &mut [&mut Words], blocks: &[&[u8]]) {
        if states.len() <= 4 { run::<4>(states, blocks) } else { run::<8>(states, blocks) }
    }

    #[target_feature(enable = "avx512f,avx512vl,avx2")]
    pub(super) fn sixteen(states: &mut [&mut Words], blocks: &[&[u8]]) {
        match states.len() {
            ..=4 => run::<4>(states, blocks),
            5..=8 => run::<8>(states, blocks),
            _ => run::<16>(states, blocks),
        }
    }
}

/// Compresses as many blocks of each stream as the shortest of `blocks` has.
pub(crate) fn advance(width: Width, states: &mut [&mut Words], blocks: &[&[u8]]) {
    assert!(states.len() == blocks.len() && states.len() <= width.lanes_max(), "a lane for each stream");
    match (width, states.len()) {
        (_, 0) => {}
        (Width::One, _) | (_, 1) => run::<1>(states, blocks),
        #[cfg(target_arch = "x86_64")]
        (Width::Eight | Width::Sixteen, _) => {
            #[allow(unsafe_code, reason = "the only way to call code for instructions that not all machines have")]
            // SAFETY: the machine has the instructions: `Width::detect` gives these widths only then, and there is no
            // other way to them outside of tests, which ask it too.
            unsafe {
                if width == Width::Sixteen { x86::sixteen(states, blocks) } else { x86::eight(states, blocks) }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        (Width::Eight | Width::Sixteen, _) => unreachable!("detected nowhere else"),
    }
}
