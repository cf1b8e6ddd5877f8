use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::support::{BUCKET, Fate, Pieces, collect, content, get_request, put_request, world};
use crate::checksum::checksum_of;
use crate::keys::{CONDEMNED, CURRENT, GARBAGE, VERSIONS};
use crate::{
    Checksum, ChecksumAlgorithm, Conditions, ContentHeaders, DeleteItem, DeleteRequest, EtagCondition, PutRequest,
    RangeSpec, ServiceError,
};

const SIZES: [usize; 6] = [0, 1, 32 << 10, (32 << 10) + 1, 100_000, 250_001];

fn only_new() -> Conditions {
    Conditions { if_none_match: Some(EtagCondition::Any), ..Default::default() }
}

fn only(etag: &str) -> Conditions {
    Conditions { if_match: Some(EtagCondition::OneOf(vec![etag.into()])), ..Default::default() }
}

#[tokio::test]
async fn what_is_put_is_got() {
    let world = world().await;
    for size in SIZES {
        let bytes = content(size);
        let outcome = world.service.put_object(put_request("k"), &mut Pieces::of(&bytes, 7000)).await.expect("put");
        assert_eq!(outcome.etag, hex::encode(<md5::Md5 as md5::Digest>::digest(&bytes)));
        assert_eq!(outcome.checksum, Some(checksum_of(ChecksumAlgorithm::Crc64Nvme, &bytes)));
        assert_eq!(world.get("k").await.expect("got"), bytes);
        assert_eq!(world.meta.count(VERSIONS), 1);
    }
    world.collect_garbage().await;
    assert_eq!(world.extent_count(), 3);
    world.service.delete_object(delete("k")).await.expect("deleted");
    assert!(matches!(world.get("k").await, Err(ServiceError::NoSuchKey)));
    world.collect_garbage().await;
    assert_eq!(world.extent_count(), 0);
    assert_eq!((world.meta.count(CURRENT), world.meta.count(VERSIONS), world.meta.count(GARBAGE)), (0, 0, 0));
}

fn delete(key: &str) -> DeleteRequest {
    DeleteRequest { bucket: BUCKET.into(), item: DeleteItem { key: key.into(), ..Default::default() } }
}

#[tokio::test]
async fn small_puts_are_one_command() {
    let world = world().await;
    let before = world.meta.commands.load(Ordering::SeqCst);
    world.put("k", &content(32 << 10)).await;
    assert_eq!(world.meta.commands.load(Ordering::SeqCst) - before, 1);
    assert_eq!(world.extent_count(), 0);
}

#[tokio::test]
async fn a_head_brings_no_bytes_of_the_object() {
    let world = world().await;
    let put = world.put("k", &content(32 << 10)).await;
    for before_heads in [false, true] {
        world.meta.before_heads.store(before_heads, Ordering::SeqCst);
        let info = world.service.head_object(get_request("k")).await.expect("there").info;
        assert_eq!((info.size, info.etag), (32 << 10, put.etag.clone()));
        // An earlier version's leader is asked as ever, and answers so.
        let answer_bytes = world.meta.answer_bytes.load(Ordering::SeqCst);
        assert_eq!(answer_bytes > 1024, before_heads, "{answer_bytes} bytes");
    }
    assert!(matches!(world.service.head_object(get_request("none")).await, Err(ServiceError::NoSuchKey)));
    assert_eq!(world.get("k").await.expect("got"), content(32 << 10));
}

#[tokio::test]
async fn ranges_are_parts_of_the_whole() {
    let world = world().await;
    for size in [10, 250_001] {
        let bytes = content(size);
        world.put("k", &bytes).await;
        for (range, expected) in [
            (RangeSpec::Between { first: 3, last: 5 }, 3..6),
            (RangeSpec::From { first: size as u64 - 4 }, size - 4..size),
            (RangeSpec::Suffix { length: 7 }, size - 7..size),
            (RangeSpec::Between { first: 1, last: u64::MAX }, 1..size),
        ] {
            let request = crate::GetRequest { range: Some(range), ..get_request("k") };
            let outcome = world.service.get_object(request).await.expect("got");
            assert_eq!(outcome.served.length() as usize, expected.len());
            assert_eq!(collect(outcome).await.expect("read"), bytes.slice(expected));
        }
        let outside = crate::GetRequest { range: Some(RangeSpec::From { first: size as u64 }), ..get_request("k") };
        assert!(matches!(world.service.get_object(outside).await, Err(ServiceError::InvalidRange { .. })));
    }
}

#[tokio::test]
async fn what_is_said_about_an_object_is_kept() {
    let world = world().await;
    let content = ContentHeaders { content_type: Some("text/plain".into()), ..Default::default() };
    let put = PutRequest {
        content: content.clone(),
        user_metadata: vec![("a".into(), "b".into())],
        storage_class: Some("STANDARD_IA".into()),
        tags: vec![("t".into(), "v".into())],
        ..put_request("k")
    };
    world.service.put_object(put, &mut Some(Bytes::from_static(b"x"))).await.expect("put");
    let info = world.service.head_object(get_request("k")).await.expect("there").info;
    assert_eq!((info.content, info.user_metadata, info.tags_count), (content, vec![("a".into(), "b".into())], 1));
    assert_eq!(info.storage_class, "STANDARD_IA");
}

#[tokio::test]
async fn a_body_that_is_not_as_claimed_leaves_nothing() {
    let world = world().await;
    for size in [10, 250_000] {
        let bytes = content(size);
        let wrong = Checksum { algorithm: ChecksumAlgorithm::Crc32, value: Bytes::from_static(&[0; 4]) };
        let body = || Pieces::of(&bytes, 9000);
        let claims: [(&str, PutRequest, Pieces); 5] = [
            ("md5", PutRequest { md5: Some([1; 16]), ..put_request("k") }, body()),
            ("length", PutRequest { length: Some(size as u64 + 1), ..put_request("k") }, body()),
            (
                "checksum",
                PutRequest {
                    checksum_algorithm: Some(ChecksumAlgorithm::Crc32),
                    checksum: Some(wrong.clone()),
                    ..put_request("k")
                },
                body(),
            ),
            (
                "trailer",
                PutRequest { checksum_algorithm: Some(ChecksumAlgorithm::Crc32), ..put_request("k") },
                Pieces { trailer: Some(wrong), ..body() },
            ),
            ("end", put_request("k"), Pieces { fails: true, ..body() }),
        ];
        for (name, request, mut body) in claims {
            let failure = world.service.put_object(request, &mut body).await.expect_err(name);
            let expected = match name {
                "md5" => matches!(failure, ServiceError::BadDigest { .. }),
                "length" | "end" => matches!(failure, ServiceError::Source(_)),
                _ => matches!(failure, ServiceError::ChecksumMismatch { algorithm: ChecksumAlgorithm::Crc32 }),
            };
            assert!(expected, "{name}: {failure}");
            assert!(world.get("k").await.is_err(), "{name}");
            assert_eq!(world.extent_count(), 0, "{name}");
        }
    }
}

#[tokio::test]
async fn right_claims_are_taken() {
    let world = world().await;
    let bytes = content(200_000);
    for algorithm in
        [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Sha1, ChecksumAlgorithm::Sha256]
    {
        let request = PutRequest { checksum_algorithm: Some(algorithm), length: Some(200_000), ..put_request("k") };
        let mut body = Pieces { trailer: Some(checksum_of(algorithm, &bytes)), ..Pieces::of(&bytes, 5000) };
        let outcome = world.service.put_object(request, &mut body).await.expect("put");
        assert_eq!(outcome.checksum, Some(checksum_of(algorithm, &bytes)));
    }
}

#[tokio::test]
async fn a_dropped_request_leaves_nothing() {
    let world = world().await;
    let (service, bytes) = (world.service.clone(), content(200_000));
    let put = tokio::spawn(async move {
        let mut body = Endless { first: Some(bytes) };
        service.put_object(put_request("k"), &mut body).await
    });
    while world.extent_count() == 0 {
        tokio::task::yield_now().await;
    }
    put.abort();
    while world.extent_count() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.meta.count(CONDEMNED), 1);
}

struct Endless {
    first: Option<Bytes>,
}

#[async_trait::async_trait]
impl crate::ByteSource for Endless {
    async fn next(&mut self) -> Option<Result<Bytes, crate::SourceError>> {
        match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => std::future::pending().await,
        }
    }

    fn trailing_checksums(&self) -> Vec<Checksum> {
        Vec::new()
    }
}

#[tokio::test]
async fn of_many_that_create_one_succeeds() {
    let world = world().await;
    for (round, size) in [10, 50_000].into_iter().enumerate() {
        let puts = (0..32).map(|_| async {
            let request = PutRequest { conditions: only_new(), ..put_request(&format!("k{round}")) };
            world.service.put_object(request, &mut Some(content(size))).await
        });
        let results = join_all(puts).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let refused = |result: &&Result<_, ServiceError>| {
            matches!(result, Err(ServiceError::PreconditionFailed { condition: "If-None-Match" }))
        };
        assert_eq!(results.iter().filter(refused).count(), 31);
    }
    world.collect_garbage().await;
    assert_eq!(world.extent_count(), 1);
}

#[tokio::test]
async fn writes_on_condition() {
    let world = world().await;
    let put = |conditions: Conditions, body: &'static [u8]| {
        let request = PutRequest { conditions, ..put_request("k") };
        let service = world.service.clone();
        async move { service.put_object(request, &mut Some(Bytes::from_static(body))).await }
    };
    assert!(matches!(put(only("aa"), b"0").await, Err(ServiceError::NoSuchKey)));
    let first = put(only_new(), b"1").await.expect("new");
    let second = put(only(&first.etag), b"2").await.expect("replaced");
    assert!(matches!(
        put(only(&first.etag), b"3").await,
        Err(ServiceError::PreconditionFailed { condition: "If-Match" })
    ));
    let conditional = |etag: &str| {
        let mut request = delete("k");
        request.item.conditions = only(etag);
        request
    };
    assert!(world.service.delete_object(conditional(&first.etag)).await.is_err());
    world.service.delete_object(conditional(&second.etag)).await.expect("deleted");
    assert!(matches!(world.service.delete_object(conditional(&second.etag)).await, Err(ServiceError::NoSuchKey)));
    world.service.delete_object(delete("k")).await.expect("nothing to delete is fine");
}

#[tokio::test]
async fn reads_on_condition() {
    let world = world().await;
    let etag = world.put("k", &content(5)).await.etag;
    let get = |conditions| world.service.head_object(crate::GetRequest { conditions, ..get_request("k") });
    assert!(get(only(&etag)).await.is_ok());
    assert!(matches!(get(only("other")).await, Err(ServiceError::PreconditionFailed { .. })));
    let none = Conditions { if_none_match: Some(EtagCondition::OneOf(vec![etag])), ..Default::default() };
    assert!(matches!(get(none).await, Err(ServiceError::NotModified { .. })));
}

#[tokio::test]
async fn a_batch_is_deleted_one_by_one() {
    let world = world().await;
    for n in 0..200 {
        world.put(&format!("k{n}"), &content(3)).await;
    }
    let mut items: Vec<DeleteItem> =
        (0..200).map(|n| DeleteItem { key: format!("k{n}"), ..Default::default() }).collect();
    items[7].conditions = only("other");
    items.push(DeleteItem { key: "not there".into(), ..Default::default() });
    items.push(DeleteItem { key: "x".repeat(1025), ..Default::default() });
    let results = world.service.delete_objects(BUCKET, items).await.expect("done");
    let failed: Vec<usize> = (0..results.len()).filter(|n| results[*n].is_err()).collect();
    assert_eq!(failed, [7, 201]);
    assert_eq!(world.meta.count(CURRENT), 1);
    assert!(world.service.delete_objects("no-such-bucket", Vec::new()).await.is_err());
}

#[tokio::test]
async fn keys_of_any_kind() {
    let world = world().await;
    let long = "\u{10ffff}".repeat(256);
    for key in ["\0", "a\0b", "/", "//", "..", " ", "\u{e9}", "\n", &long] {
        let bytes = Bytes::from(key.to_owned());
        world.put(key, &bytes).await;
        assert_eq!(world.get(key).await.expect("got"), bytes);
    }
    let too_long = put_request(&"k".repeat(1025));
    let refused = world.service.put_object(too_long, &mut Some(Bytes::new())).await;
    assert!(matches!(refused, Err(ServiceError::KeyTooLong)));
}

/// The commit of a write that was taken for lost is refused.
#[tokio::test]
async fn condemned_data_is_not_published() {
    let world = world().await;
    let bucket = world.service.bucket(BUCKET).await.expect("there");
    let route = bucket.id.route("k");
    let data = world.service.new_data();
    let claims = crate::body::Claims::default();
    let kept = karri_ring_types::Redundancy::Cluster;
    let mut source = Some(content(50_000));
    let body = world.service.take_body(&mut source, &claims, data, &route, None, kept).await.expect("taken");
    let extent = *world.extents.stored.lock().keys().next().expect("one");
    assert!(world.service.is_orphan(&route, data, extent).await.expect("a verdict"));
    let record = crate::records::VersionRecord {
        version: world.service.new_version(),
        size: body.size,
        etag: crate::records::Etag::Md5(body.md5),
        modified: karri_ring_types::Timestamp(0),
        checksum: None,
        checksum_type: crate::ChecksumType::FullObject,
        description: Default::default(),
        data: body.data.clone(),
        delete_marker: false,
        null: false,
        lock: Default::default(),
        access: Default::default(),
        encryption: None,
        restored_until: None,
    };
    let answer =
        world.service.commit(route, Conditions::default(), Default::default(), &record, &[]).await.expect("answered");
    assert_eq!(answer, Err(crate::messages::Refusal::Condemned));
    assert!(world.get("k").await.is_err());
}

#[tokio::test]
async fn what_is_referred_to_is_no_orphan() {
    let world = world().await;
    world.put("k", &content(150_000)).await;
    let found = world.service.find(BUCKET, "k", None).await.expect("there");
    let data = found.record.data.own().expect("outside");
    let extents: Vec<_> = world.extents.stored.lock().keys().copied().collect();
    for extent in extents {
        assert!(!world.service.is_orphan(&found.route, data, extent).await.expect("a verdict"));
    }
    // An extent of the same writer that is not in the record was left behind by it.
    assert!(world.service.is_orphan(&found.route, data, karri_ring_types::ExtentId(999)).await.expect("a verdict"));
    world.collect_garbage().await;
    assert_eq!(world.get("k").await.expect("still there"), content(150_000));
}

/// A command that arrives again after another write must not undo it.
#[tokio::test]
async fn a_late_copy_of_a_put_changes_nothing() {
    let world = world().await;
    let bucket = world.service.bucket(BUCKET).await.expect("there");
    let route = bucket.id.route("k");
    for deleted in [false, true] {
        world.put("k", &content(7)).await;
        let first = world.service.find(BUCKET, "k", None).await.expect("there");
        world.clock.advance(Duration::from_secs(1));
        match deleted {
            true => drop(world.service.delete_object(delete("k")).await.expect("deleted")),
            false => drop(world.put("k", &content(9)).await),
        }
        let again = world
            .service
            .commit(route.clone(), Conditions::default(), Default::default(), &first.record, &first.inline)
            .await;
        assert_eq!(again.expect("answered").expect("done before").modified, first.record.modified);
        match deleted {
            true => assert!(world.get("k").await.is_err()),
            false => assert_eq!(world.get("k").await.expect("the later one"), content(9)),
        }
    }
}

/// Notes for late commands go when no command can be that late any more; those on orphans stay.
#[tokio::test]
async fn guard_rows_expire() {
    let world = world().await;
    let bucket = world.service.bucket(BUCKET).await.expect("there");
    for n in 0..5 {
        world.put(&format!("k{n}"), &content(40_000)).await;
        world.service.delete_object(delete(&format!("k{n}"))).await.expect("deleted");
    }
    let orphan = world.service.new_data();
    let extent = karri_ring_types::ExtentId(77);
    assert!(world.service.is_orphan(&bucket.id.route("gone"), orphan, extent).await.expect("a verdict"));
    world.collect_garbage().await;
    let expire = async || {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (rows, next) = {
                let state = world.meta.state.lock();
                let mut rows = super::support::MemoryRows::new(&state, false, Vec::new(), None);
                let bound = after.as_deref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
                let now = karri_ring_types::Clock::now(&*world.clock);
                crate::maintenance::expired_rows(&mut rows, bound, 2, now).expect("readable")
            };
            world.service.expire(rows).await.expect("expired");
            after = next;
            if after.is_none() {
                break;
            }
        }
        (world.meta.count(CONDEMNED), world.meta.count(crate::keys::OPERATIONS))
    };
    // A put and a delete of each key.
    assert_eq!(expire().await, (6, 10));
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(expire().await, (1, 0));
}

/// The extents of a write whose commit was carried out without an answer are in use.
#[tokio::test]
async fn writes_in_doubt_neither_leak_nor_lose() {
    let world = world().await;
    for (fate, extents) in [(Fate::Silent, 1), (Fate::Lost, 0)] {
        *world.meta.next_commit.lock() = fate;
        let put = world.service.put_object(put_request("k"), &mut Some(content(50_000))).await;
        assert!(matches!(put, Err(ServiceError::Unavailable)));
        world.collect_garbage().await;
        assert_eq!(world.extent_count(), extents, "{fate:?}");
        assert_eq!(world.get("k").await.is_ok(), extents == 1);
        world.service.delete_object(delete("k")).await.expect("deleted");
        world.collect_garbage().await;
    }
}
