//! What a sequence does. Choices among what is there at that moment are numbers that wrap round.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// A bucket and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) kind: Kind,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Versioning is set by steps.
    Plain,
    /// Never versioned, and cut into ranges at keys.
    Cut,
    /// With object lock.
    Locked,
}

/// Which condition a write or read has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    Absent,
    Present,
    /// `If-Match` of the current entity tag.
    Current,
    /// `If-Match` of the tag of this body, whatever is there.
    Is(u8),
    /// `If-None-Match` of the tag of this body.
    IsNot(u8),
}

/// What happens to the commit of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Luck {
    Answered,
    Silent,
    Lost,
}

/// A lock that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    No,
    Hold,
    Governance(u8),
    Compliance(u8),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Put { key: u8, body: u8, when: When, luck: Luck, keep: Keep },
    Get { key: u8, version: Option<u8>, when: When, range: Option<(u8, u8)> },
    Delete { key: u8, version: Option<u8>, when: When, bypass: bool },
    DeleteMany { keys: Vec<u8> },
    Copy { from: u8, version: Option<u8>, to: u8, when: When },
    Rename { from: u8, to: u8 },
    Tag { key: u8, version: Option<u8>, tag: u8 },
    Hold { key: u8, version: Option<u8>, on: bool },
    Retain { key: u8, version: Option<u8>, keep: Keep, bypass: bool },
    Versioning { on: bool },
    Begin { key: u8 },
    Part { upload: u8, number: u16, body: u8 },
    LargePart { upload: u8, number: u16 },
    CopyPart { upload: u8, number: u16, from: u8 },
    Complete { upload: u8, numbers: Vec<u16>, when: When },
    Abort { upload: u8 },
    List { prefix: u8, delimiter: u8, after: Option<u8>, limit: u8 },
    ListVersions { prefix: u8, delimiter: u8, limit: u8 },
    Collect,
    Reopen,
    Wait { seconds: u16 },
}

/// Keys that common prefixes roll up in more than one way.
pub(super) const KEYS: [&str; 8] = ["a", "a/", "a/b", "a/b/c", "a0", "b", "b/a", "\u{e9}"];
pub(super) const PREFIXES: [&str; 5] = ["", "a", "a/", "b/a", "c"];
pub(super) const DELIMITERS: [&str; 3] = ["", "/", "b"];
/// Bytes of bodies: inline, inline at the limit, in one extent, in two.
const SIZES: [usize; 6] = [0, 1, 700, 32 << 10, (32 << 10) + 1, 100_500];

pub(super) fn size_of(body: u8) -> usize {
    SIZES[usize::from(body) % SIZES.len()]
}

fn key() -> impl Strategy<Value = u8> + Clone {
    0..KEYS.len() as u8
}

fn when() -> impl Strategy<Value = When> + Clone {
    prop_oneof![
        6 => Just(When::Always),
        1 => Just(When::Absent),
        1 => Just(When::Present),
        2 => Just(When::Current),
        1 => (0..12u8).prop_map(When::Is),
        1 => (0..12u8).prop_map(When::IsNot),
    ]
}

fn luck() -> impl Strategy<Value = Luck> + Clone {
    prop_oneof![12 => Just(Luck::Answered), 1 => Just(Luck::Silent), 1 => Just(Luck::Lost)]
}

fn keep() -> impl Strategy<Value = Keep> + Clone {
    prop_oneof![
        6 => Just(Keep::No),
        1 => Just(Keep::Hold),
        1 => any::<u8>().prop_map(Keep::Governance),
        1 => any::<u8>().prop_map(Keep::Compliance),
    ]
}

fn version() -> impl Strategy<Value = Option<u8>> + Clone {
    prop_oneof![2 => Just(None), 1 => (0..6u8).prop_map(Some)]
}

fn objects() -> impl Strategy<Value = Step> {
    let range = || proptest::option::of((any::<u8>(), any::<u8>()));
    prop_oneof![
        10 => (key(), 0..12u8, when(), luck(), keep())
            .prop_map(|(key, body, when, luck, keep)| Step::Put { key, body, when, luck, keep }),
        3 => (key(), version(), when(), range())
            .prop_map(|(key, version, when, range)| Step::Get { key, version, when, range }),
        5 => (key(), version(), when(), any::<bool>())
            .prop_map(|(key, version, when, bypass)| Step::Delete { key, version, when, bypass }),
        1 => vec(key(), 1..5).prop_map(|keys| Step::DeleteMany { keys }),
        3 => (key(), version(), key(), when()).prop_map(|(from, version, to, when)| Step::Copy { from, version, to, when }),
        1 => (key(), key()).prop_map(|(from, to)| Step::Rename { from, to }),
    ]
}

fn settings() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (key(), version(), any::<u8>()).prop_map(|(key, version, tag)| Step::Tag { key, version, tag }),
        1 => (key(), version(), any::<bool>()).prop_map(|(key, version, on)| Step::Hold { key, version, on }),
        1 => (key(), version(), keep(), any::<bool>())
            .prop_map(|(key, version, keep, bypass)| Step::Retain { key, version, keep, bypass }),
        1 => any::<bool>().prop_map(|on| Step::Versioning { on }),
    ]
}

fn uploads() -> impl Strategy<Value = Step> {
    let number = || 1..5u16;
    prop_oneof![
        4 => key().prop_map(|key| Step::Begin { key }),
        40 => (0..3u8, number(), 0..12u8).prop_map(|(upload, number, body)| Step::Part { upload, number, body }),
        1 => (0..3u8, number()).prop_map(|(upload, number)| Step::LargePart { upload, number }),
        12 => (0..3u8, number(), key()).prop_map(|(upload, number, from)| Step::CopyPart { upload, number, from }),
        24 => (0..3u8, vec(number(), 1..4), when())
            .prop_map(|(upload, numbers, when)| Step::Complete { upload, numbers, when }),
        4 => (0..3u8).prop_map(|upload| Step::Abort { upload }),
    ]
}

fn listings() -> impl Strategy<Value = Step> {
    let (prefix, delimiter) = (|| 0..PREFIXES.len() as u8, || 0..DELIMITERS.len() as u8);
    prop_oneof![
        2 => (prefix(), delimiter(), proptest::option::of(key()), 1..6u8)
            .prop_map(|(prefix, delimiter, after, limit)| Step::List { prefix, delimiter, after, limit }),
        1 => (prefix(), delimiter(), 1..6u8)
            .prop_map(|(prefix, delimiter, limit)| Step::ListVersions { prefix, delimiter, limit }),
    ]
}

pub(super) fn sequence() -> impl Strategy<Value = Sequence> + Sync {
    let kind = prop_oneof![5 => Just(Kind::Plain), 2 => Just(Kind::Cut), 3 => Just(Kind::Locked)];
    let step = prop_oneof![
        20 => objects(),
        3 => settings(),
        6 => uploads(),
        4 => listings(),
        1 => Just(Step::Collect),
        1 => Just(Step::Reopen),
        1 => (0..500u16).prop_map(|seconds| Step::Wait { seconds }),
    ];
    (kind, vec(step, 1..40)).prop_map(|(kind, steps)| Sequence { kind, steps })
}

/// Objects that share their bytes, under names that change: only bodies outside of rows are lent.
pub(super) fn loans() -> impl Strategy<Value = Sequence> + Sync {
    let kind = prop_oneof![3 => Just(Kind::Plain), 1 => Just(Kind::Cut)];
    let body = prop_oneof![Just(4), Just(5), Just(10), Just(11)];
    let put = |(key, body)| Step::Put { key, body, when: When::Always, luck: Luck::Answered, keep: Keep::No };
    let step = prop_oneof![
        3 => (key(), body).prop_map(put),
        4 => (key(), key()).prop_map(|(from, to)| Step::Copy { from, version: None, to, when: When::Always }),
        4 => (key(), key()).prop_map(|(from, to)| Step::Rename { from, to }),
        2 => key().prop_map(|key| Step::Delete { key, version: None, when: When::Always, bypass: false }),
        2 => uploads(),
        1 => Just(Step::Collect),
    ];
    (kind, vec(step, 1..40)).prop_map(|(kind, steps)| Sequence { kind, steps })
}
