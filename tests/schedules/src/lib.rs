//! The small pieces that several threads use at once, under every order of threads that a scheduler comes to.
//!
//! The pieces are files of their crates, taken in by their paths: this crate stands in for `parking_lot` with locks of
//! shuttle, whose scheduler decides at each of them who goes on, and for `quick_cache` with a map under such a lock.
//! Product code has no switch for it.

// What the pieces have and do not use here, their own crates use.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "of the files that are taken in")]

extern crate self as parking_lot;
extern crate self as quick_cache;

#[path = "../../../iam/service/src/compiled.rs"]
mod compiled;
#[path = "../../../objstore/gateway/src/auth/derived.rs"]
mod derived;
mod directory;
#[path = "../../../ring/meta/src/directory_cache.rs"]
mod directory_cache;
mod flush;
mod garbage;
mod keys;
mod latch;
#[path = "../../../ring/meta/src/latches.rs"]
mod latches;
mod locks;
mod policies;
#[path = "../../../ring/raft/src/log/queue.rs"]
mod queue;
mod segment;
pub mod sync;
#[path = "../../../ring/extent/src/turns.rs"]
mod turns;

pub use directory::{Following, outdated_directories_are_replaced_once};
pub use flush::{Flushing, flusher_keeps_order_and_tells_all};
pub use garbage::{Order, garbage_against_put};
pub use keys::{Deriving, keys_are_of_the_secret_at_hand};
pub use latch::{Holding, latches_exclude};
pub use locks::{Condvar, Mutex, MutexGuard, RwLock, lose_wakes};
pub use policies::{Asking, revoked_policies_do_not_come_back};

/// What a request holds; as `karri_ring_meta::Latches`.
#[derive(Clone, Debug, Default)]
pub struct Latches {
    pub shared: Vec<Vec<u8>>,
    pub exclusive: Vec<Vec<u8>>,
}

/// As in `karri_ring_extent`, as far as the pieces use it.
mod records {
    use karri_ring_types::ExtentId;

    pub(crate) struct Run {
        pub(crate) extent: ExtentId,
        pub(crate) first_chunk: u32,
        pub(crate) chunks: Vec<Vec<u8>>,
    }
}
