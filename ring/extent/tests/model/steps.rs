//! What a sequence does.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// Extents that a sequence has.
pub(crate) const EXTENTS: u8 = 6;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes chunks `first..first + count`, as far as there are, and seals what `sealed` chunks make.
    Write {
        id: u8,
        first: u8,
        count: u8,
        sealed: Option<u8>,
    },
    /// Seals the first chunks.
    Seal {
        id: u8,
        chunks: u8,
    },
    Delete {
        ids: Vec<u8>,
    },
    /// Writes a chunk of a sealed extent anew, with bytes that are right or wrong.
    Replace {
        id: u8,
        index: u8,
        right: bool,
    },
    Read {
        id: u8,
        first: u8,
        count: u8,
    },
    Verify {
        id: u8,
        index: u8,
    },
    /// Leaves the disk's reserve alone, or gives the room back.
    Fill(bool),
    Reopen,
    PowerCut {
        torn: Option<u64>,
    },
}

fn id() -> impl Strategy<Value = u8> + Clone {
    0..EXTENTS
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> + std::marker::Sync {
    let step = prop_oneof![
        6 => (id(), 0..2u8, 1..3u8, proptest::option::of(1..4u8))
            .prop_map(|(id, first, count, sealed)| Step::Write { id, first, count, sealed }),
        // As most are: one run, sealed at once.
        4 => id().prop_map(|id| Step::Write { id, first: 0, count: 3, sealed: Some(3) }),
        3 => (id(), 1..4u8).prop_map(|(id, chunks)| Step::Seal { id, chunks }),
        2 => vec(id(), 1..3).prop_map(|ids| Step::Delete { ids }),
        2 => (id(), 0..3u8, any::<bool>()).prop_map(|(id, index, right)| Step::Replace { id, index, right }),
        3 => (id(), 0..3u8, 1..4u8).prop_map(|(id, first, count)| Step::Read { id, first, count }),
        1 => (id(), 0..3u8).prop_map(|(id, index)| Step::Verify { id, index }),
        1 => any::<bool>().prop_map(Step::Fill),
        1 => Just(Step::Reopen),
        2 => proptest::option::of(any::<u64>()).prop_map(|torn| Step::PowerCut { torn }),
    ];
    vec(step, 1..16)
}
