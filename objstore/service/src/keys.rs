//! Keys of rows. All begin with the bucket's id, then the escaped key of the object, so that one range holds all
//! rows of an object and their order is the order of the keys.

use std::borrow::Cow;

use karri_ring_meta::Table;
use karri_ring_types::{DataId, Digest, VersionId};
use serde::{Deserialize, Serialize};

/// Bucket records, by bucket id.
pub(crate) const BUCKETS: Table = Table(16);
/// Live objects: what a listing prints. `route`.
pub(crate) const CURRENT: Table = Table(17);
/// Versions of objects. `route | inverted version id`: the newest first.
pub(crate) const VERSIONS: Table = Table(18);
/// Uploads that are going on. `route | upload id`.
pub(crate) const UPLOADS: Table = Table(19);
/// Parts of uploads and of objects made of them. `route | upload id | part number`.
pub(crate) const PARTS: Table = Table(20);
/// Work for the garbage collector. `route | data id`.
pub(crate) const GARBAGE: Table = Table(21);
/// Who shares a body of data with its owner. `route | data id | holder`.
pub(crate) const HOLDERS: Table = Table(22);
/// Data that nobody may refer to any more. `route | data id`.
pub(crate) const CONDEMNED: Table = Table(23);
/// Data whose owner is gone and that holders keep. `route | data id`.
pub(crate) const RELEASED: Table = Table(24);
/// Results of completed uploads, for a client that asks again. `route | upload id`.
pub(crate) const COMPLETED: Table = Table(25);
/// Commands whose effect was undone not long ago, should they arrive again. `route | version or operation id`.
pub(crate) const OPERATIONS: Table = Table(26);
/// Configuration documents of buckets. `bucket id | 0 | 0 | kind`; kind 0 is their revision.
pub(crate) const BUCKET_CONFIGS: Table = Table(27);
/// The null version of an object, where that is not the current one. `route`.
pub(crate) const NULL_VERSIONS: Table = Table(28);
/// How far the lifecycle of a bucket has come. `bucket id`.
pub(crate) const LIFECYCLE: Table = Table(29);
/// Directory of buckets, in the system range. `name`.
pub(crate) const BUCKET_NAMES: Table = Table(30);
/// Buckets by owner, in the system range. `account id | 0 | name`.
pub(crate) const BUCKET_OWNERS: Table = Table(31);
/// How much is in a bucket, where it is metered. `bucket id`.
pub(crate) const USAGE: Table = Table(40);
/// Accounts whose buckets are metered together, in the system range. `account id`.
pub(crate) const METERED_ACCOUNTS: Table = Table(42);
/// How much is in all of an account's buckets (`meter id`), and in each as it last told (`meter id | bucket id`).
pub(crate) const METERS: Table = Table(43);
/// Changes of an account's buckets that are under way. `meter id | bucket id | reservation id`.
pub(crate) const RESERVATIONS: Table = Table(44);
/// Holdings whose use was not seen yet. `route | holder`.
pub(crate) const HOLDINGS: Table = Table(45);

/// Moves of versions of many parts that are under way. `route | inverted version id`, as in [`VERSIONS`].
pub(crate) const MOVES: Table = Table(41);

const ID_BYTES: usize = 16;
const TERMINATOR: [u8; 2] = [0, 1];
const ZERO: [u8; 2] = [0, 0xff];

/// Id of a bucket: random, so that buckets spread over the ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct BucketId(pub(crate) [u8; ID_BYTES]);

impl BucketId {
    /// Where the rows of an object begin.
    pub(crate) fn route(self, key: &str) -> Vec<u8> {
        let mut route = Vec::with_capacity(ID_BYTES + key.len() + 2 + ID_BYTES + 2);
        route.extend_from_slice(&self.0);
        escape(key.as_bytes(), &mut route);
        route.extend_from_slice(&TERMINATOR);
        route
    }

    /// What all routes of keys that begin with `prefix` begin with.
    pub(crate) fn prefix(self, prefix: &str) -> Vec<u8> {
        let mut start = Vec::with_capacity(ID_BYTES + prefix.len() + 2);
        start.extend_from_slice(&self.0);
        escape(prefix.as_bytes(), &mut start);
        start
    }
}

fn escape(bytes: &[u8], into: &mut Vec<u8>) {
    for byte in bytes {
        match byte {
            0 => into.extend_from_slice(&ZERO),
            other => into.push(*other),
        }
    }
}

/// Where the meter of an account is: in some range of data, whichever its digest falls in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MeterId(pub(crate) [u8; ID_BYTES]);

impl MeterId {
    /// The meter of an account.
    pub(crate) fn of(account_id: &str) -> Self {
        let digest = Digest::of(format!("meter of account {account_id}").as_bytes());
        Self(std::array::from_fn(|at| digest.0[at]))
    }

    /// The row of one bucket, in [`METERS`].
    pub(crate) fn bucket(self, bucket: BucketId) -> Vec<u8> {
        [self.0, bucket.0].concat()
    }

    /// A row of [`RESERVATIONS`].
    pub(crate) fn reservation(self, bucket: BucketId, id: DataId) -> Vec<u8> {
        with_id(&self.bucket(bucket), id.0)
    }
}

/// The bucket that a row of [`RESERVATIONS`] is of.
pub(crate) fn reserved_bucket(row: &[u8]) -> Option<BucketId> {
    Some(BucketId(row.get(ID_BYTES..2 * ID_BYTES)?.try_into().ok()?))
}

/// A row's key taken apart: the object's key, and what follows the route.
pub(crate) struct RowKey<'a> {
    pub(crate) route: &'a [u8],
    pub(crate) key: String,
    pub(crate) rest: &'a [u8],
}

/// Takes a row's key apart. `None` when it is not one.
pub(crate) fn parse(row: &[u8]) -> Option<RowKey<'_>> {
    let SplitKey { route, key, rest } = split(row)?;
    Some(RowKey { route, key: String::from_utf8(key.into_owned()).ok()?, rest })
}

/// As [`RowKey`], the object's key as bytes and, without zeros in it, where it lies.
pub(crate) struct SplitKey<'a> {
    pub(crate) route: &'a [u8],
    pub(crate) key: Cow<'a, [u8]>,
    pub(crate) rest: &'a [u8],
}

/// As [`parse`].
pub(crate) fn split(row: &[u8]) -> Option<SplitKey<'_>> {
    let escaped = row.get(ID_BYTES..)?;
    let mut unescaped = Vec::new();
    let mut at = 0;
    loop {
        let zero = memchr::memchr(0, &escaped[at..])? + at;
        match *escaped.get(zero + 1)? {
            0xff => unescaped.extend_from_slice(&escaped[at..=zero]),
            1 => {
                let (route, rest) = row.split_at(ID_BYTES + zero + TERMINATOR.len());
                let key = match at {
                    0 => Cow::Borrowed(&escaped[..zero]),
                    _ => {
                        unescaped.extend_from_slice(&escaped[at..zero]);
                        Cow::Owned(unescaped)
                    }
                };
                return Some(SplitKey { route, key, rest });
            }
            _ => return None,
        }
        at = zero + ZERO.len();
    }
}

/// The first key after all that begin with `prefix`. Empty when there is none.
pub(crate) fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// `route | id`.
pub(crate) fn with_id(route: &[u8], id: u128) -> Vec<u8> {
    let mut key = Vec::with_capacity(route.len() + ID_BYTES);
    key.extend_from_slice(route);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// Row of a bucket's configuration. It stands before the route of every key, so that it is in the bucket's range
/// however the keys are split.
pub(crate) fn config(bucket: BucketId, kind: u8) -> Vec<u8> {
    [&bucket.0[..], &[0, 0, kind]].concat()
}

/// Row of a version.
pub(crate) fn version(route: &[u8], version: VersionId) -> Vec<u8> {
    with_id(route, !version.0)
}

/// Row of a holder of a body of data.
pub(crate) fn holder(route: &[u8], data: DataId, holder: DataId) -> Vec<u8> {
    let mut key = with_id(route, data.0);
    key.extend_from_slice(&holder.to_bytes());
    key
}

/// Row of a part. Extents of a part carry it as their owner's route.
pub(crate) fn part(route: &[u8], upload: DataId, number: u16) -> Vec<u8> {
    let mut key = with_id(route, upload.0);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The upload and number in what follows a part's route.
pub(crate) fn parse_part(rest: &[u8]) -> Option<(DataId, u16)> {
    let (id, number) = rest.split_at_checked(ID_BYTES)?;
    Some((DataId::from_bytes(id.try_into().ok()?), u16::from_be_bytes(number.try_into().ok()?)))
}

/// The id in what follows a route.
pub(crate) fn parse_id(rest: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(rest.try_into().ok()?))
}

/// Where the rows of an owner's buckets begin.
pub(crate) fn owner(account_id: &str, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(account_id.len() + 1 + name.len());
    key.extend_from_slice(account_id.as_bytes());
    key.push(0);
    key.extend_from_slice(name.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUCKET: BucketId = BucketId([7; 16]);

    proptest! {
        #[test]
        fn routes_sort_as_keys_do(a in "[\\x00\\x01a\u{ff}\u{10ffff}]{0,6}", b in "[\\x00\\x01a\u{ff}\u{10ffff}]{0,6}") {
            prop_assert_eq!(BUCKET.route(&a).cmp(&BUCKET.route(&b)), a.as_bytes().cmp(b.as_bytes()));
            let row = part(&BUCKET.route(&a), DataId(3), 4);
            let parsed = parse(&row).expect("a row");
            prop_assert_eq!(parsed.route, BUCKET.route(&a));
            prop_assert_eq!(parse_part(parsed.rest), Some((DataId(3), 4)));
            prop_assert_eq!(parsed.key, a);
        }

        #[test]
        fn prefixes_are_contiguous(key in "[\\x00\\x01a]{0,6}", prefix in "[\\x00\\x01a]{0,3}") {
            let (start, end) = (BUCKET.prefix(&prefix), successor(&BUCKET.prefix(&prefix)));
            let route = BUCKET.route(&key);
            prop_assert_eq!(start <= route && route < end, key.starts_with(&prefix));
        }
    }

    #[test]
    fn what_is_no_row_is_refused() {
        assert!(parse(&[1; 4]).is_none());
        assert!(parse(&[1; 40]).is_none());
        let mut row = BUCKET.route("k");
        row.pop();
        assert!(parse(&row).is_none());
    }

    #[test]
    fn configurations_stand_between_the_bucket_and_its_keys() {
        assert!(BUCKET.0[..] < config(BUCKET, 0)[..]);
        assert!(config(BUCKET, u8::MAX) < BUCKET.route(""));
        assert!(config(BUCKET, u8::MAX) < BUCKET.route("\0"));
    }

    #[test]
    fn newer_versions_sort_first() {
        let route = BUCKET.route("k");
        assert!(version(&route, VersionId(2)) < version(&route, VersionId(1)));
    }
}
