//! Renames: one step, no byte moved, nothing left behind.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::support::{BUCKET, World, content, get_request, world};
use crate::keys::{CURRENT, GARBAGE, HOLDERS, RELEASED, VERSIONS};
use crate::{
    Conditions, CopyRequest, DeleteItem, DeleteRequest, EtagCondition, RenameRequest, ServiceError, Versioning,
};

fn rename(from: &str, to: &str) -> RenameRequest {
    RenameRequest { bucket: BUCKET.into(), source_key: from.into(), key: to.into(), ..Default::default() }
}

async fn do_rename(world: &World, request: RenameRequest) -> Result<(), ServiceError> {
    let before = world.extents.written.load(Ordering::SeqCst);
    let outcome = world.service.rename_object(request).await;
    assert_eq!(world.extents.written.load(Ordering::SeqCst), before, "a rename moved bytes");
    world.collect_garbage().await;
    outcome
}

async fn delete(world: &World, key: &str) {
    let request = DeleteRequest { bucket: BUCKET.into(), item: DeleteItem { key: key.into(), ..Default::default() } };
    world.service.delete_object(request).await.expect("deleted");
    world.collect_garbage().await;
}

#[tokio::test]
async fn objects_move_with_their_data_and_leave_nothing() {
    let world = world().await;
    for size in [10, 250_000] {
        let bytes = content(size);
        let put = world.put("a", &bytes).await;
        world.put("b", &content(120_000)).await;
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")] {
            do_rename(&world, rename(from, to)).await.expect("renamed");
            assert_eq!(world.get(to).await.expect("there"), bytes, "{from} to {to}");
            assert!(matches!(world.get(from).await, Err(ServiceError::NoSuchKey)));
            assert_eq!((world.meta.count(CURRENT), world.meta.count(VERSIONS)), (1, 1));
        }
        let info = world.service.head_object(get_request("d")).await.expect("there").info;
        assert_eq!((info.etag, info.last_modified), (put.etag, put.last_modified));
        // A copy outlives what it was copied from under another name, too.
        let copy = CopyRequest {
            source_bucket: BUCKET.into(),
            source_key: "d".into(),
            bucket: BUCKET.into(),
            key: "e".into(),
            ..Default::default()
        };
        world.service.copy_object(copy).await.expect("copied");
        do_rename(&world, rename("e", "f")).await.expect("renamed");
        delete(&world, "d").await;
        assert_eq!(world.get("f").await.expect("there"), bytes);
        delete(&world, "f").await;
        assert_eq!(world.extent_count(), 0);
        assert_eq!((world.meta.count(HOLDERS), world.meta.count(RELEASED), world.meta.count(GARBAGE)), (0, 0, 0));
    }
}

#[tokio::test]
async fn conditions_and_tokens() {
    let world = world().await;
    let etag = world.put("a", &content(50_000)).await.etag;
    world.put("b", &Bytes::from_static(b"b")).await;
    let one = |etag: &str| Some(EtagCondition::OneOf(vec![etag.to_owned()]));
    let only_new = Conditions { if_none_match: Some(EtagCondition::Any), ..Default::default() };
    let refused = do_rename(&world, RenameRequest { conditions: only_new.clone(), ..rename("a", "b") }).await;
    assert!(matches!(refused, Err(ServiceError::PreconditionFailed { condition: "If-None-Match" })));
    let other = Conditions { if_match: one("other"), ..Default::default() };
    let refused = do_rename(&world, RenameRequest { source_conditions: other, ..rename("a", "c") }).await;
    assert!(matches!(refused, Err(ServiceError::PreconditionFailed { condition: "If-Match" })));
    assert!(matches!(do_rename(&world, rename("a", "a")).await, Err(ServiceError::InvalidRequest(_))));
    assert!(matches!(do_rename(&world, rename("none", "c")).await, Err(ServiceError::NoSuchKey)));
    let this = Conditions { if_match: one(&etag), ..Default::default() };
    let request = RenameRequest { source_conditions: this, conditions: only_new, ..rename("a", "c") };
    let request = RenameRequest { token: Some("t".into()), ..request };
    do_rename(&world, request.clone()).await.expect("renamed");
    // The client did not hear of it and asks again; another client is told the truth.
    do_rename(&world, request.clone()).await.expect("renamed before");
    let other = RenameRequest { token: Some("u".into()), ..request };
    assert!(matches!(do_rename(&world, other).await, Err(ServiceError::NoSuchKey)));
}

#[tokio::test]
async fn where_versions_are_kept_nothing_is_renamed() {
    let world = world().await;
    world.put("a", &content(50_000)).await;
    for versioning in [Versioning::Enabled, Versioning::Suspended] {
        world.service.set_versioning(BUCKET, versioning).await.expect("set");
        assert!(matches!(do_rename(&world, rename("a", "b")).await, Err(ServiceError::VersionsKept)));
    }
}

/// In ranges of their own, two keys cannot be changed in one step.
#[tokio::test]
async fn keys_of_two_ranges_are_refused() {
    let world = world().await;
    world.put("a", &content(50_000)).await;
    world.put("z", &content(50_000)).await;
    let id = world.service.bucket(BUCKET).await.expect("there").id;
    *world.meta.cuts.lock() = vec![id.route("m")];
    assert!(matches!(do_rename(&world, rename("a", "z")).await, Err(ServiceError::OtherRange)));
    assert_eq!(world.get("a").await.expect("there"), content(50_000));
    do_rename(&world, rename("a", "b")).await.expect("in one range");
}

#[tokio::test]
async fn of_32_renamers_one_wins() {
    let world = world().await;
    for size in [10, 150_000] {
        let bytes = content(size);
        world.put("a", &bytes).await;
        let renames = (0..32).map(|number| {
            let service = world.service.clone();
            tokio::spawn(async move { service.rename_object(rename("a", &format!("to-{number}"))).await })
        });
        let outcomes = futures::future::join_all(renames).await;
        let mut winners = Vec::new();
        for (number, outcome) in outcomes.into_iter().enumerate() {
            match outcome.expect("ran") {
                Ok(()) => winners.push(number),
                Err(ServiceError::NoSuchKey) => {}
                Err(other) => panic!("{other}"),
            }
        }
        let [winner] = winners[..] else { panic!("{} winners", winners.len()) };
        world.collect_garbage().await;
        assert_eq!(world.get(&format!("to-{winner}")).await.expect("there"), bytes);
        delete(&world, &format!("to-{winner}")).await;
        assert_eq!((world.extent_count(), world.meta.count(VERSIONS)), (0, 0));
    }
}
