//! How the bytes of an extent are kept from being lost.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most copies of an extent.
pub const COPIES_MAX: u8 = 7;
/// Most data shards of a stripe.
pub const DATA_SHARDS_MAX: u8 = 16;
/// Most parity shards of a stripe.
pub const PARITY_SHARDS_MAX: u8 = 8;

/// Bits of [`ExtentKind`] that say which shard it is.
const SHARD_BITS: u16 = 6;
/// Bits that count parity shards.
const PARITY_BITS: u16 = 4;

/// How an extent is kept. It is written as `replicate`, `replicate:2` or `rs:4+2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Redundancy {
    /// As many whole copies as the cluster keeps of anything.
    #[default]
    Cluster,
    /// This many whole copies, or as many as there are nodes.
    Copies(u8),
    /// Reed-Solomon: any `data` of the `data + parity` shards give the bytes.
    Stripe {
        /// Shards that hold the bytes.
        data: u8,
        /// Shards that hold what is computed from them.
        parity: u8,
    },
}

impl Redundancy {
    /// Nodes that hold a part or a copy; `None`: as many as the cluster keeps copies.
    pub fn width(self) -> Option<u8> {
        match self {
            Self::Cluster => None,
            Self::Copies(copies) => Some(copies),
            Self::Stripe { data, parity } => Some(data + parity),
        }
    }

    /// Shards that hold bytes, and those computed from them; `None` for whole copies.
    pub fn shards(self) -> Option<(usize, usize)> {
        match self {
            Self::Stripe { data, parity } => Some((usize::from(data), usize::from(parity))),
            _ => None,
        }
    }

    fn code(self) -> u16 {
        let (data, parity) = match self {
            Self::Cluster => (0, 0),
            Self::Copies(copies) => (copies, 0),
            Self::Stripe { data, parity } => (data, parity),
        };
        (u16::from(data) << (SHARD_BITS + PARITY_BITS)) | (u16::from(parity) << SHARD_BITS)
    }
}

/// The text is no scheme that can be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no redundancy scheme: `replicate`, `replicate:N` with 1 to {COPIES_MAX} copies, or `rs:K+M` with 2 to \
     {DATA_SHARDS_MAX} data and 1 to {PARITY_SHARDS_MAX} parity shards, no more than data shards"
)]
pub struct ParseRedundancyError(String);

impl FromStr for Redundancy {
    type Err = ParseRedundancyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| digits.parse::<u8>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
        let parsed = match text.split_once(':') {
            None if text == "replicate" => Some(Self::Cluster),
            Some(("replicate", copies)) => {
                number(copies).filter(|copies| (1..=COPIES_MAX).contains(copies)).map(Self::Copies)
            }
            Some(("rs", shards)) => shards.split_once('+').and_then(|(data, parity)| {
                let (data, parity) = (number(data)?, number(parity)?);
                let fits = (2..=DATA_SHARDS_MAX).contains(&data)
                    && (1..=PARITY_SHARDS_MAX).contains(&parity)
                    && parity <= data;
                fits.then_some(Self::Stripe { data, parity })
            }),
            _ => None,
        };
        parsed.ok_or_else(|| ParseRedundancyError(text.to_owned()))
    }
}

impl fmt::Display for Redundancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("replicate"),
            Self::Copies(copies) => write!(f, "replicate:{copies}"),
            Self::Stripe { data, parity } => write!(f, "rs:{data}+{parity}"),
        }
    }
}

/// What an extent's id says of it: its redundancy and, of a stripe, which shard it is. Kept in the last 16 bits of the
/// id, so that whoever has the id knows how many there are and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExtentKind(u16);

impl ExtentKind {
    /// Bits of an id that are its kind.
    pub(crate) const BITS: u32 = 16;
    /// Bits of an id that tell the shards of one stripe apart.
    pub(crate) const SHARD_MASK: u16 = (1 << SHARD_BITS) - 1;

    /// The kind of a whole copy or of one shard.
    ///
    /// # Panics
    /// When the scheme has no such shard.
    pub fn new(redundancy: Redundancy, shard: u8) -> Self {
        let count = redundancy.shards().map_or(1, |(data, parity)| data + parity);
        assert!(usize::from(shard) < count, "{redundancy} has no shard {shard}");
        Self(redundancy.code() | u16::from(shard))
    }

    pub(crate) fn of_bits(bits: u16) -> Self {
        let kind = Self(bits);
        match kind.redundancy() {
            // Of whole copies nothing is told apart.
            Redundancy::Stripe { .. } => kind,
            _ => Self(bits & !Self::SHARD_MASK),
        }
    }

    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    /// How the extent is kept.
    pub fn redundancy(self) -> Redundancy {
        let data = (self.0 >> (SHARD_BITS + PARITY_BITS)) as u8;
        let parity = ((self.0 >> SHARD_BITS) & ((1 << PARITY_BITS) - 1)) as u8;
        match (data, parity) {
            (0, _) => Redundancy::Cluster,
            (copies, 0) => Redundancy::Copies(copies),
            (data, parity) => Redundancy::Stripe { data, parity },
        }
    }

    /// Which shard of a stripe it is; 0 for a whole copy.
    pub fn shard(self) -> u8 {
        (self.0 & Self::SHARD_MASK) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_survive_their_text_and_others_are_refused() {
        for text in ["replicate", "replicate:1", "replicate:7", "rs:2+1", "rs:4+2", "rs:16+8"] {
            let scheme: Redundancy = text.parse().unwrap();
            assert_eq!(scheme.to_string(), text);
            let last = scheme.shards().map_or(0, |(data, parity)| data + parity - 1) as u8;
            let kind = ExtentKind::new(scheme, last);
            assert_eq!((kind.redundancy(), kind.shard()), (scheme, last));
            assert_eq!(ExtentKind::of_bits(kind.bits()), kind);
        }
        for text in
            ["", "rs", "rs:", "rs:4", "rs:1+1", "rs:17+2", "rs:4+0", "rs:4+9", "rs:2+3", "rs:+4+2", "replicate:0"]
        {
            assert!(text.parse::<Redundancy>().is_err(), "{text}");
        }
    }
}
