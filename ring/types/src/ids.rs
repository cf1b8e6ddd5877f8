//! Ids of things. 128-bit ids print as 32 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Clock, ExtentKind, Redundancy, Rng};

/// The text was not an id of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}")]
pub struct ParseIdError {
    kind: &'static str,
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self).map_err(|_| ParseIdError { kind: stringify!($name) })
            }
        }
    };
}

macro_rules! wide_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u128);

        impl $name {
            /// A new id: 48 bits of wall-clock milliseconds, then 80 random bits, so that ids made later
            /// mostly sort later and no two are equal.
            pub fn generate(clock: &dyn Clock, rng: &dyn Rng) -> Self {
                let time = u128::from(clock.now().as_millis() & ((1 << 48) - 1));
                Self((time << 80) | (rng.next_u128() >> 48))
            }

            /// Big-endian bytes, which sort as the id does.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The id of these big-endian bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:032x})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let hexadecimal = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
                match u128::from_str_radix(text, 16) {
                    Ok(id) if hexadecimal => Ok(Self(id)),
                    _ => Err(ParseIdError { kind: stringify!($name) }),
                }
            }
        }
    };
}

number_id!(
    /// A storage node. Never reused: a node that lost its disks joins again as a new one.
    NodeId(u64)
);
number_id!(
    /// Version of the layout (nodes, zones, capacities, partitions to nodes).
    Epoch(u64)
);
number_id!(
    /// A metadata range, and the Raft group that holds it. 0 is the system range.
    RangeId(u64)
);
number_id!(
    /// One of [`PARTITION_COUNT`] equal parts of the hash space of extent ids.
    PartitionId(u16)
);
wide_id!(
    /// The cluster, fixed at `karri cluster init`.
    ClusterId
);
wide_id!(
    /// A run of chunks placed as one unit.
    ExtentId
);
wide_id!(
    /// A body of data (one PUT, one part, or a whole multipart upload): the unit of reference counting.
    DataId
);
wide_id!(
    /// A version of an object.
    VersionId
);
wide_id!(
    /// One request from a client, on every log line and in `x-amz-request-id`.
    RequestId
);

/// Partitions of the ring. Fixed for the life of a cluster.
pub const PARTITION_COUNT: u16 = 1024;

impl ExtentId {
    /// A new id of an extent that is kept in this way; of a stripe, that of the group of its shards.
    pub fn generate_for(clock: &dyn Clock, rng: &dyn Rng, redundancy: Redundancy) -> Self {
        Self::generate(clock, rng).with_kind(ExtentKind::new(redundancy, 0))
    }

    /// What the id says of the extent.
    pub fn kind(self) -> ExtentKind {
        ExtentKind::of_bits((self.0 & u128::from(u16::MAX)) as u16)
    }

    /// How the extent is kept.
    pub fn redundancy(self) -> Redundancy {
        self.kind().redundancy()
    }

    /// The id that metadata knows: of a shard that of its stripe, of a whole copy its own.
    pub fn group(self) -> Self {
        match self.redundancy() {
            Redundancy::Stripe { .. } => Self(self.0 & !u128::from(ExtentKind::SHARD_MASK)),
            _ => self,
        }
    }

    /// A shard of the stripe that this id is of; of a whole copy its own id.
    pub fn shard(self, shard: u8) -> Self {
        match self.redundancy() {
            redundancy @ Redundancy::Stripe { .. } => self.with_kind(ExtentKind::new(redundancy, shard)),
            _ => self,
        }
    }

    /// The ids under which nodes hold it: of a stripe those of all shards.
    pub fn held_as(self) -> impl Iterator<Item = Self> {
        let count = self.redundancy().shards().map_or(1, |(data, parity)| data + parity);
        (0..count).map(move |shard| self.shard(shard as u8))
    }

    fn with_kind(self, kind: ExtentKind) -> Self {
        Self((self.0 >> ExtentKind::BITS << ExtentKind::BITS) | u128::from(kind.bits()))
    }

    /// The partition that places this extent: BLAKE3 of the id modulo [`PARTITION_COUNT`]. Shards of a stripe share it.
    pub fn partition(self) -> PartitionId {
        let hash = blake3::hash(&self.group().to_bytes());
        let word = u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]);
        PartitionId(word % PARTITION_COUNT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, SeededRng, Timestamp};
    use std::time::Duration;

    #[test]
    fn ids_sort_by_time_and_survive_their_text() {
        let clock = ManualClock::new(Timestamp(1_700_000_000_000));
        let rng = SeededRng::new(7);
        let first = ExtentId::generate(&clock, &rng);
        clock.advance(Duration::from_millis(1));
        let second = ExtentId::generate(&clock, &rng);
        assert!(first < second);
        assert_eq!(second.to_string().parse::<ExtentId>(), Ok(second));
        assert_eq!(ExtentId::from_bytes(second.to_bytes()), second);
        assert!("+192f0c1d2e3aabbccddeeff0011223".parse::<ExtentId>().is_err());
    }

    #[test]
    fn shards_of_a_stripe_share_their_group_and_partition() {
        let (clock, rng) = (ManualClock::new(Timestamp(1)), SeededRng::new(3));
        let id = ExtentId::generate_for(&clock, &rng, Redundancy::Stripe { data: 4, parity: 2 });
        let shards: Vec<ExtentId> = id.held_as().collect();
        assert_eq!(shards.len(), 6);
        for (place, shard) in (0..).zip(&shards) {
            assert_eq!((shard.group(), shard.partition(), shard.kind().shard()), (id, id.partition(), place));
        }
        let copy = ExtentId::generate_for(&clock, &rng, Redundancy::Cluster);
        assert_eq!((copy.held_as().collect::<Vec<_>>(), copy.group()), (vec![copy], copy));
    }

    #[test]
    fn partitions_are_spread_evenly() {
        let clock = ManualClock::new(Timestamp(1));
        let rng = SeededRng::new(1);
        let mut counts = vec![0u32; usize::from(PARTITION_COUNT)];
        for _ in 0..100 * u32::from(PARTITION_COUNT) {
            counts[usize::from(ExtentId::generate_for(&clock, &rng, Redundancy::Cluster).partition().0)] += 1;
        }
        assert!(counts.iter().all(|&n| (40..=180).contains(&n)), "uneven: {counts:?}");
    }
}
