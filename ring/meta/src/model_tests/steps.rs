//! What a sequence does.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// A range with these bounds, and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) start: Vec<u8>,
    pub(super) end: Option<Vec<u8>>,
    pub(super) steps: Vec<Step>,
}

/// What an evaluator does with its view.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Get(u8, Vec<u8>),
    Peek(u8, Vec<u8>),
    Put(u8, Vec<u8>, Vec<u8>),
    Delete(u8, Vec<u8>),
    /// Rows of a table from the first key to the second; goes on at the third after the first row.
    Scan(u8, Vec<u8>, Vec<u8>, Option<Vec<u8>>),
    LastBefore(u8, Vec<u8>, Vec<u8>),
    Discard,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A command is evaluated; its transaction waits.
    Evaluate(Vec<Act>),
    /// Transactions that wait are applied, in one call; each by its place in the queue. Some come twice.
    Apply {
        picks: Vec<u8>,
        together: bool,
    },
    /// Another leadership begins.
    Fence,
    Flush,
    Reopen,
    PowerCut {
        torn: Option<u64>,
    },
    /// A follower gets a snapshot.
    Snapshot {
        cut: bool,
    },
}

fn key() -> impl Strategy<Value = Vec<u8>> + Clone {
    vec(prop_oneof![0u8..3, 0xfeu8..=0xff], 0..3)
}

fn act() -> impl Strategy<Value = Act> + Clone {
    // 255 is the last table, behind which no other begins.
    let table = || prop_oneof![Just(16u8), Just(17), Just(255)];
    prop_oneof![
        4 => (table(), key()).prop_map(|(table, key)| Act::Get(table, key)),
        1 => (table(), key()).prop_map(|(table, key)| Act::Peek(table, key)),
        6 => (table(), key(), vec(any::<u8>(), 0..5)).prop_map(|(table, key, value)| Act::Put(table, key, value)),
        2 => (table(), key()).prop_map(|(table, key)| Act::Delete(table, key)),
        2 => (table(), key(), key(), proptest::option::of(key()))
            .prop_map(|(table, from, to, seek)| Act::Scan(table, from, to, seek)),
        1 => (table(), key(), key()).prop_map(|(table, from, to)| Act::LastBefore(table, from, to)),
    ]
}

pub(super) fn sequence() -> impl Strategy<Value = Sequence> + Sync {
    let acts = (vec(act(), 1..6), any::<u8>()).prop_map(|(mut acts, rare)| {
        if rare < 10 {
            acts.push(Act::Discard);
        }
        acts
    });
    let step = prop_oneof![
        10 => acts.prop_map(Step::Evaluate),
        8 => (vec(0..6u8, 1..5), any::<bool>()).prop_map(|(picks, together)| Step::Apply { picks, together }),
        1 => Just(Step::Fence),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => proptest::option::of(any::<u64>()).prop_map(|torn| Step::PowerCut { torn }),
        1 => any::<bool>().prop_map(|cut| Step::Snapshot { cut }),
    ];
    let bounds = prop_oneof![
        2 => Just((Vec::new(), None)),
        1 => Just((vec![0, 1], Some(vec![0xfe]))),
        1 => Just((vec![1], None)),
    ];
    (bounds, vec(step, 1..30)).prop_map(|((start, end), steps)| Sequence { start, end, steps })
}
