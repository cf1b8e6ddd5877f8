//! Sizes of objects: one, or drawn from a distribution.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, bail, ensure};

/// Largest object that the generator makes; its bodies are slices of one buffer of this many bytes at most.
const SIZE_BYTES_MAX: u64 = 5 << 30;

/// How sizes are drawn.
///
/// Written `64KiB`, `1KiB-1MiB` (evenly by logarithm, as real buckets are), or `4KiB*80,1MiB*15,64MiB*5` (by weight).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    Fixed(u64),
    Logarithmic { least: u64, most: u64 },
    Weighted(Vec<(u64, u32)>),
}

impl Sizes {
    /// A size, for a number that is evenly spread over all of `u64`.
    pub(crate) fn pick(&self, draw: u64) -> u64 {
        match self {
            Self::Fixed(size) => *size,
            Self::Logarithmic { least, most } => {
                let share = draw as f64 / u64::MAX as f64;
                let (low, high) = ((*least as f64).ln(), (*most as f64).ln());
                ((low + (high - low) * share).exp() as u64).clamp(*least, *most)
            }
            Self::Weighted(choices) => {
                let total: u64 = choices.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let mut at = draw % total;
                for (size, weight) in choices {
                    match at.checked_sub(u64::from(*weight)) {
                        Some(rest) => at = rest,
                        None => return *size,
                    }
                }
                choices[0].0
            }
        }
    }
}

impl FromStr for Sizes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.contains('*') {
            let choices = text.split(',').map(weighted).collect::<Result<Vec<_>>>()?;
            ensure!(choices.iter().any(|(_, weight)| *weight > 0), "no size of {text} has a weight");
            return Ok(Self::Weighted(choices));
        }
        match text.split_once('-') {
            Some((least, most)) => {
                let (least, most) = (bytes(least)?.max(1), bytes(most)?);
                ensure!(least <= most, "{text} begins with the larger size");
                Ok(Self::Logarithmic { least, most })
            }
            None => Ok(Self::Fixed(bytes(text)?)),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => f.write_str(&shown(*size)),
            Self::Logarithmic { least, most } => write!(f, "{}-{}", shown(*least), shown(*most)),
            Self::Weighted(choices) => {
                let parts: Vec<String> =
                    choices.iter().map(|(size, weight)| format!("{}*{weight}", shown(*size))).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

fn weighted(text: &str) -> Result<(u64, u32)> {
    let (size, weight) = text.split_once('*').with_context(|| format!("{text} has no weight"))?;
    Ok((bytes(size)?, weight.trim().parse().with_context(|| format!("weight of {text}"))?))
}

/// Bytes of one request, from `4096`, `4KiB`, `64MiB`, `5GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64> {
    let size = length(text)?;
    ensure!(size <= SIZE_BYTES_MAX, "{text} is more than one request may carry");
    Ok(size)
}

/// Bytes of anything.
pub(crate) fn length(text: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().with_context(|| format!("{text} is no size"))?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => bail!("unknown unit {other} in {text}; there are B, KiB, MiB and GiB"),
    };
    number.checked_mul(unit).with_context(|| format!("{text} is too much"))
}

fn shown(size: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if size >= unit && size.is_multiple_of(unit) {
            return format!("{} {name}", size / unit);
        }
    }
    format!("{size} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, shown) in
            [("4096", "4 KiB"), ("64MiB", "64 MiB"), ("1KiB-1MiB", "1 KiB-1 MiB"), ("1B*1,2KiB*3", "1 B*1,2 KiB*3")]
        {
            assert_eq!(text.parse::<Sizes>().expect("a size").to_string(), shown);
        }
        for text in ["", "x", "4KB", "9-1", "1*0", "99999999999999999999", "6GiB"] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        let sizes: Sizes = "1KiB*3,1MiB*1".parse().expect("sizes");
        let small = (0..400).filter(|draw| sizes.pick(*draw) == 1024).count();
        assert_eq!(small, 300);
        let sizes: Sizes = "1KiB-1MiB".parse().expect("sizes");
        assert_eq!((sizes.pick(0), sizes.pick(u64::MAX)), (1024, 1 << 20));
        assert_eq!((sizes.pick(u64::MAX / 2) + 512) / 1024, 32, "the middle is the geometric mean");
    }
}
