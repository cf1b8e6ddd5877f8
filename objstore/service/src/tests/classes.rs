//! Classes that are kept in their own ways: writing, copying and moving.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_types::{Clock, ExtentId, Redundancy, VersionId};

use super::support::{
    BUCKET, Fate, MemoryRows, World, collect, content, get_request, put_request, world_of, world_with,
};
use super::uploads::{begin_in, finish, send};
use crate::keys::{GARBAGE, MOVES, PARTS, RELEASED, VERSIONS};
use crate::maintenance::expired_rows;
use crate::messages::Refusal;
use crate::{
    CopyRequest, DeleteItem, DeleteRequest, Encryption, GetRequest, ObjectInfo, PART_SIZE_BYTES_MIN, PutRequest,
    ServiceConfig, ServiceError, StorageClasses, Versioning,
};

const RS: Redundancy = Redundancy::Stripe { data: 4, parity: 2 };
const TWO: Redundancy = Redundancy::Copies(2);
const SIZE: usize = 250_000;

async fn world() -> World {
    world_with(classes()).await
}

fn classes() -> StorageClasses {
    let classes = [("STANDARD_IA", RS), ("REDUCED_REDUNDANCY", TWO), ("GLACIER", RS)];
    let classes: BTreeMap<String, Redundancy> = classes.map(|(class, scheme)| (class.to_owned(), scheme)).into();
    StorageClasses::new(classes).expect("classes")
}

/// How the extents that there are are kept.
fn kept(world: &World) -> Vec<Redundancy> {
    let mut found: Vec<Redundancy> = world.extents.stored.lock().keys().map(|id: &ExtentId| id.redundancy()).collect();
    found.sort();
    found.dedup();
    found
}

async fn put_as(world: &World, key: &str, class: Option<&str>, bytes: &Bytes) {
    let request = PutRequest { storage_class: class.map(str::to_owned), ..put_request(key) };
    world.service.put_object(request, &mut Some(bytes.clone())).await.expect("put");
}

async fn info(world: &World, key: &str) -> ObjectInfo {
    world.service.head_object(get_request(key)).await.expect("there").info
}

/// The row of the object's only version.
async fn only_version(world: &World, key: &str) -> (Vec<u8>, VersionId) {
    let found = world.service.find(BUCKET, key, None).await.expect("there");
    (found.route.clone(), found.record.version)
}

async fn try_move(world: &World, key: &str, class: &str) -> Result<Result<(), Refusal>, ServiceError> {
    let (route, version) = only_version(world, key).await;
    world.service.move_to_class(&route, version, Some(class.to_owned())).await
}

async fn move_to(world: &World, key: &str, class: &str) {
    assert_eq!(try_move(world, key, class).await.expect("answered"), Ok(()));
}

fn copy(from: &str, to: &str, class: Option<&str>) -> CopyRequest {
    CopyRequest {
        source_bucket: BUCKET.into(),
        source_key: from.into(),
        bucket: BUCKET.into(),
        key: to.into(),
        storage_class: class.map(str::to_owned),
        ..Default::default()
    }
}

#[tokio::test]
async fn each_class_is_written_in_its_way() {
    let world = world().await;
    for (class, scheme) in [(None, Redundancy::Cluster), (Some("STANDARD_IA"), RS), (Some("REDUCED_REDUNDANCY"), TWO)] {
        put_as(&world, "k", class, &content(SIZE)).await;
        world.collect_garbage().await;
        assert_eq!(kept(&world), [scheme], "{class:?}");
    }
}

#[tokio::test]
async fn a_move_writes_the_bytes_anew_once_and_changes_nothing_else() {
    let world = world().await;
    for encryption in [None, Some(Encryption::S3)] {
        let bytes = content(SIZE);
        let request = PutRequest { encryption, ..put_request("k") };
        world.service.put_object(request, &mut Some(bytes.clone())).await.expect("put");
        let before = info(&world, "k").await;
        move_to(&world, "k", "STANDARD_IA").await;
        let after = info(&world, "k").await;
        assert_eq!(after, ObjectInfo { storage_class: "STANDARD_IA".into(), ..before });
        assert_eq!(world.get("k").await.expect("whole"), bytes);
        assert_eq!(kept(&world), [Redundancy::Cluster, RS], "readers that have begun can finish");
        let written = world.extents.written.load(Ordering::SeqCst);
        // To a class that is kept alike, and to the same one again: no byte is written.
        move_to(&world, "k", "STANDARD_IA").await;
        move_to(&world, "k", "GLACIER").await;
        assert_eq!(world.extents.written.load(Ordering::SeqCst), written);
        move_to(&world, "k", "STANDARD_IA").await;
        world.collect_garbage().await;
        assert_eq!(kept(&world), [RS]);
        assert_eq!(world.get("k").await.expect("whole"), bytes);
    }
}

#[tokio::test]
async fn an_object_of_parts_keeps_its_parts() {
    let world = world().await;
    let part = PART_SIZE_BYTES_MIN as usize;
    let bodies = [content(part), content(part + 3), content(20)];
    let upload = begin_in(&world, Some("REDUCED_REDUNDANCY")).await;
    let mut listed = Vec::new();
    for (number, body) in [3, 5, 9].into_iter().zip(&bodies) {
        listed.push(send(&world, &upload, number, body).await);
    }
    finish(&world, &upload, listed).await.expect("an object");
    assert_eq!(kept(&world), [TWO]);
    let before = info(&world, "k").await;
    move_to(&world, "k", "STANDARD_IA").await;
    world.collect_garbage().await;
    assert_eq!((kept(&world), world.meta.count(PARTS)), (vec![RS], 3), "the former parts are gone");
    assert_eq!(info(&world, "k").await, ObjectInfo { storage_class: "STANDARD_IA".into(), ..before });
    for (number, body) in [3, 5, 9].into_iter().zip(&bodies) {
        let request = GetRequest { part_number: Some(number), ..get_request("k") };
        let found = collect(world.service.get_object(request).await.expect("a part")).await.expect("whole");
        assert!(found == body, "part {number}");
    }
    assert!(world.get("k").await.expect("whole") == bodies.concat());
}

#[tokio::test]
async fn what_others_share_stays_as_it_was_until_they_are_gone() {
    let world = world().await;
    let bytes = content(SIZE);
    put_as(&world, "a", None, &bytes).await;
    world.service.copy_object(copy("a", "b", None)).await.expect("shared");
    // The owner of the bytes moves away, then the one who borrowed them.
    move_to(&world, "a", "STANDARD_IA").await;
    world.collect_garbage().await;
    assert_eq!((kept(&world), world.meta.count(RELEASED)), (vec![Redundancy::Cluster, RS], 1));
    assert_eq!(world.get("b").await.expect("whole"), bytes);
    move_to(&world, "b", "REDUCED_REDUNDANCY").await;
    world.collect_garbage().await;
    assert_eq!((kept(&world), world.meta.count(RELEASED), world.meta.count(GARBAGE)), (vec![TWO, RS], 0, 0));
    assert!(world.get("a").await.expect("whole") == bytes && world.get("b").await.expect("whole") == bytes);
}

#[tokio::test]
async fn a_move_whose_commit_is_lost_or_unanswered_loses_nothing() {
    let world = world().await;
    let bytes = content(SIZE);
    for (fate, scheme) in [(Fate::Lost, Redundancy::Cluster), (Fate::Silent, RS)] {
        put_as(&world, "k", None, &bytes).await;
        world.collect_garbage().await;
        *world.meta.next_commit.lock() = fate;
        assert!(try_move(&world, "k", "STANDARD_IA").await.is_err());
        world.collect_garbage().await;
        assert_eq!(kept(&world), [scheme], "{fate:?}: what is not named is thrown away, and nothing else");
        assert_eq!(world.get("k").await.expect("whole"), bytes);
        move_to(&world, "k", "STANDARD_IA").await;
        world.collect_garbage().await;
        assert_eq!((kept(&world), world.meta.count(VERSIONS)), (vec![RS], 1));
        assert_eq!(world.get("k").await.expect("whole"), bytes);
    }
}

#[tokio::test]
async fn a_version_that_was_replaced_meanwhile_is_not_moved() {
    let world = world().await;
    put_as(&world, "k", None, &content(SIZE)).await;
    let (route, version) = only_version(&world, "k").await;
    put_as(&world, "k", None, &content(SIZE + 1)).await;
    let moved = world.service.move_to_class(&route, version, Some("STANDARD_IA".into())).await;
    assert_eq!(moved.expect("answered"), Err(Refusal::NoSuchVersion));
    world.collect_garbage().await;
    assert_eq!((kept(&world), info(&world, "k").await.size), (vec![Redundancy::Cluster], SIZE as u64 + 1));
}

#[tokio::test]
async fn a_copy_of_another_class_has_bytes_of_its_own() {
    for versioned in [false, true] {
        let world = world().await;
        if versioned {
            world.service.set_versioning(BUCKET, Versioning::Enabled).await.expect("set");
        }
        let bytes = content(SIZE);
        put_as(&world, "a", None, &bytes).await;
        let written = world.extents.written.load(Ordering::SeqCst);
        world.service.copy_object(copy("a", "b", Some("STANDARD_IA"))).await.expect("copied");
        assert_eq!(world.extents.written.load(Ordering::SeqCst), written + SIZE as u64);
        world.service.copy_object(copy("b", "c", Some("GLACIER"))).await.expect("shared");
        assert_eq!(world.extents.written.load(Ordering::SeqCst), written + SIZE as u64, "kept alike");
        world.service.copy_object(copy("a", "a", Some("STANDARD_IA"))).await.expect("copied to itself");
        world.collect_garbage().await;
        let wanted = if versioned { vec![Redundancy::Cluster, RS] } else { vec![RS] };
        assert_eq!(kept(&world), wanted);
        for key in ["a", "b"] {
            assert_eq!(info(&world, key).await.storage_class, "STANDARD_IA");
            assert_eq!(world.get(key).await.expect("whole"), bytes);
        }
    }
}

/// An object of so many small parts, of which each fiftieth is in an extent; with its bytes.
async fn object_of_parts(world: &World, count: u16) -> Vec<u8> {
    let upload = begin_in(world, None).await;
    let (mut listed, mut bytes) = (Vec::new(), Vec::new());
    for number in 1..=count {
        let body = content(if number % 50 == 0 { LARGE_PART } else { 100 + usize::from(number % 7) });
        listed.push(send(world, &upload, number, &body).await);
        bytes.extend_from_slice(&body);
    }
    finish(world, &upload, listed).await.expect("an object");
    bytes
}

const LARGE_PART: usize = 40_000;

async fn world_of_small_parts() -> World {
    world_of(ServiceConfig { classes: classes(), part_size_bytes_min: 1, ..ServiceConfig::default() }).await
}

#[tokio::test]
async fn an_object_of_10_000_parts_moves_and_goes_on_where_it_was_cut_off() {
    let world = world_of_small_parts().await;
    let bytes = object_of_parts(&world, 10_000).await;
    let before = info(&world, "k").await;
    let written = || world.extents.written.load(Ordering::SeqCst);
    let once = 200 * LARGE_PART as u64;
    assert_eq!(written(), once);
    for stages in [0, 50, 90] {
        world.meta.stages_left.store(stages, Ordering::SeqCst);
        assert!(try_move(&world, "k", "STANDARD_IA").await.is_err(), "cut off");
        assert_eq!(info(&world, "k").await, before);
        world.collect_garbage().await;
    }
    assert_eq!(kept(&world), [Redundancy::Cluster, RS], "what was moved stays");
    world.meta.stages_left.store(u64::MAX, Ordering::SeqCst);
    move_to(&world, "k", "STANDARD_IA").await;
    // Of a batch that was not kept two parts are in extents.
    assert!((2 * once..=2 * once + 3 * 2 * LARGE_PART as u64).contains(&written()), "{} for {once}", written());
    world.collect_garbage().await;
    assert_eq!((kept(&world), world.extent_count()), (vec![RS], 200));
    assert_eq!((world.meta.count(PARTS), world.meta.count(MOVES)), (10_000, 0));
    assert_eq!(info(&world, "k").await, ObjectInfo { storage_class: "STANDARD_IA".into(), ..before });
    assert!(world.get("k").await.expect("whole") == bytes);
}

#[tokio::test]
async fn a_move_that_is_not_ended_leaves_nothing() {
    for ending in ["deleted", "replaced", "moved elsewhere", "forgotten"] {
        let world = world_of_small_parts().await;
        let bytes = object_of_parts(&world, 200).await;
        world.meta.stages_left.store(2, Ordering::SeqCst);
        assert!(try_move(&world, "k", "STANDARD_IA").await.is_err(), "cut off");
        world.meta.stages_left.store(u64::MAX, Ordering::SeqCst);
        assert_eq!((world.meta.count(PARTS), world.meta.count(MOVES)), (200 + 128, 1));
        let parts = match ending {
            "deleted" => {
                let item = DeleteItem { key: "k".into(), ..Default::default() };
                world.service.delete_object(DeleteRequest { bucket: BUCKET.into(), item }).await.expect("deleted");
                0
            }
            "replaced" => {
                put_as(&world, "k", None, &content(3)).await;
                0
            }
            "moved elsewhere" => {
                move_to(&world, "k", "REDUCED_REDUNDANCY").await;
                200
            }
            _ => {
                world.clock.advance(Duration::from_secs(4 * 24 * 3600));
                let expired = {
                    let state = world.meta.state.lock();
                    let mut rows = MemoryRows::new(&state, false, Vec::new(), None);
                    expired_rows(&mut rows, Bound::Unbounded, 1000, world.clock.now()).expect("readable").0
                };
                world.service.expire(expired).await.expect("expired");
                200
            }
        };
        world.collect_garbage().await;
        assert_eq!((world.meta.count(PARTS), world.meta.count(MOVES)), (parts, 0), "{ending}");
        assert_eq!(world.extent_count(), parts / 50, "{ending}");
        if parts > 0 {
            assert!(world.get("k").await.expect("whole") == bytes, "{ending}");
        }
    }
}
