//! What happened, for monitoring.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $help:literal])* $name:ident),* $(,)?) => {
        /// Counters since the start of the process.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $help])* pub $name: AtomicU64,)*
        }

        impl Counters {
            /// Name, explanation and value of every counter.
            pub fn each(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($help),*).trim_ascii(), self.$name.load(Ordering::Relaxed))),*]
            }
        }
    };
}

counters! {
    /// Extents sealed on a write quorum by this gateway.
    extents_written,
    /// Bytes of extents sealed on a write quorum by this gateway.
    bytes_written,
    /// Bytes read from extents by this gateway and verified.
    bytes_read,
    /// Replicas left behind by a writer because they failed or were slow.
    replicas_left_behind,
    /// Extents that lost their write quorum before they were sealed.
    quorums_lost,
    /// Extents written as the cluster keeps anything because the nodes could not hold their class's scheme.
    schemes_not_held,
    /// Chunks that this gateway computed from the other shards of a stripe.
    chunks_rebuilt,
    /// Reads of a chunk that went to another copy because the first was missing or bad.
    reads_around,
    /// Bad or missing copies reported to their holders by this gateway.
    bad_copies_reported,
    /// Bytes that the scrub has read and checked on this node.
    scrub_bytes,
    /// Times that the scrub came to the end of all that this node holds.
    scrub_rounds,
    /// Bad copies found on this node.
    bad_copies_found,
    /// Bad copies on this node replaced with a good one from a peer.
    bad_copies_repaired,
    /// Extents that this node pulled from a peer because its copy was missing.
    extents_pulled,
    /// Bytes of pulled extents.
    bytes_pulled,
    /// Extents that this node deleted because a peer has the proof that they are garbage.
    extents_deleted_by_proof,
    /// Extents of abandoned writes that were deleted after the owning range had condemned them.
    orphans_deleted,
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
