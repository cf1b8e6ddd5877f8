use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::support::{BUCKET, Fate, World, collect, content, get_request, new_bucket, world};
use crate::checksum::checksum_of;
use crate::keys::{GARBAGE, HOLDERS, RELEASED};
use crate::{
    ChecksumAlgorithm, Conditions, ContentHeaders, CopyOutcome, CopyRequest, DeleteItem, DeleteRequest, EtagCondition,
    MetadataDirective, ServiceError,
};

fn copy(from: &str, to: &str) -> CopyRequest {
    CopyRequest {
        source_bucket: BUCKET.into(),
        source_key: from.into(),
        bucket: BUCKET.into(),
        key: to.into(),
        ..Default::default()
    }
}

fn replaced() -> MetadataDirective {
    let content = ContentHeaders { content_type: Some("new/type".into()), ..Default::default() };
    MetadataDirective::Replace { content, user_metadata: vec![("mtime".into(), "1".into())] }
}

async fn delete(world: &World, key: &str) {
    let request = DeleteRequest { bucket: BUCKET.into(), item: DeleteItem { key: key.into(), ..Default::default() } };
    world.service.delete_object(request).await.expect("deleted");
}

async fn do_copy(world: &World, request: CopyRequest) -> Result<CopyOutcome, ServiceError> {
    let before = world.extents.written.load(Ordering::SeqCst);
    let outcome = world.service.copy_object(request).await;
    assert_eq!(world.extents.written.load(Ordering::SeqCst), before, "a copy moved bytes");
    outcome
}

#[tokio::test]
async fn copies_share_and_outlive_their_source() {
    let world = world().await;
    for size in [10, 250_000] {
        let bytes = content(size);
        let put = world.put("a", &bytes).await;
        let outcome = do_copy(&world, copy("a", "b")).await.expect("copied");
        assert_eq!((outcome.object.etag, outcome.source_version), (put.etag, put.version));
        // A copy of a copy, then the first two go.
        do_copy(&world, copy("b", "c")).await.expect("copied");
        delete(&world, "a").await;
        world.collect_garbage().await;
        delete(&world, "b").await;
        world.collect_garbage().await;
        assert_eq!(world.get("c").await.expect("still there"), bytes);
        delete(&world, "c").await;
        world.collect_garbage().await;
        assert_eq!(world.extent_count(), 0);
        assert_eq!((world.meta.count(HOLDERS), world.meta.count(RELEASED), world.meta.count(GARBAGE)), (0, 0, 0));
    }
}

#[tokio::test]
async fn a_copy_to_itself_changes_what_is_said() {
    let world = world().await;
    for size in [10, 250_000] {
        let bytes = content(size);
        world.put("a", &bytes).await;
        assert!(matches!(do_copy(&world, copy("a", "a")).await, Err(ServiceError::InvalidRequest(_))));
        let outcome = do_copy(&world, CopyRequest { metadata: replaced(), ..copy("a", "a") }).await.expect("changed");
        let info = world.service.head_object(get_request("a")).await.expect("there").info;
        assert_eq!(info.version, outcome.object.version);
        assert_eq!(info.content.content_type.as_deref(), Some("new/type"));
        assert_eq!(info.user_metadata, [("mtime".to_owned(), "1".to_owned())]);
        world.collect_garbage().await;
        assert_eq!(world.get("a").await.expect("there"), bytes);
        // The same over borrowed data.
        do_copy(&world, copy("a", "b")).await.expect("copied");
        do_copy(&world, CopyRequest { metadata: replaced(), ..copy("b", "b") }).await.expect("changed");
        delete(&world, "a").await;
        world.collect_garbage().await;
        assert_eq!(world.get("b").await.expect("there"), bytes);
        delete(&world, "b").await;
        world.collect_garbage().await;
        assert_eq!((world.extent_count(), world.meta.count(HOLDERS)), (0, 0));
    }
}

#[tokio::test]
async fn copies_over_others_and_across_buckets() {
    let world = world().await;
    world.service.create_bucket(new_bucket("elsewhere", "me")).await.expect("created");
    world.put("a", &content(150_000)).await;
    world.put("b", &content(120_000)).await;
    do_copy(&world, copy("a", "b")).await.expect("copied over");
    do_copy(&world, CopyRequest { bucket: "elsewhere".into(), ..copy("b", "x") }).await.expect("copied away");
    world.collect_garbage().await;
    assert_eq!(world.extent_count(), 2);
    let request = crate::GetRequest { bucket: "elsewhere".into(), ..get_request("x") };
    assert_eq!(collect(world.service.get_object(request).await.expect("there")).await.expect("read"), content(150_000));
    // The owner's bucket may go before the borrower.
    delete(&world, "a").await;
    delete(&world, "b").await;
    world.service.delete_bucket(BUCKET).await.expect("deleted");
    world.collect_garbage().await;
    let request = crate::GetRequest { bucket: "elsewhere".into(), ..get_request("x") };
    assert_eq!(collect(world.service.get_object(request).await.expect("there")).await.expect("read"), content(150_000));
}

#[tokio::test]
async fn conditions_of_copies() {
    let world = world().await;
    let etag = world.put("a", &content(50_000)).await.etag;
    world.put("b", &Bytes::from_static(b"b")).await;
    let one = |etag: &str| Some(EtagCondition::OneOf(vec![etag.to_owned()]));
    let unless = Conditions { if_none_match: one(&etag), ..Default::default() };
    let refused = do_copy(&world, CopyRequest { source_conditions: unless, ..copy("a", "c") }).await;
    assert!(matches!(refused, Err(ServiceError::PreconditionFailed { .. })));
    let only_new = Conditions { if_none_match: Some(EtagCondition::Any), ..Default::default() };
    let refused = do_copy(&world, CopyRequest { conditions: only_new.clone(), ..copy("a", "b") }).await;
    assert!(matches!(refused, Err(ServiceError::PreconditionFailed { condition: "If-None-Match" })));
    // The refused one holds nothing.
    assert_eq!(world.meta.count(HOLDERS), 0);
    do_copy(&world, CopyRequest { conditions: only_new, ..copy("a", "c") }).await.expect("new");
    assert!(matches!(do_copy(&world, copy("none", "c")).await, Err(ServiceError::NoSuchKey)));
}

#[tokio::test]
async fn a_copy_with_another_checksum() {
    let world = world().await;
    let bytes = content(180_000);
    world.put("a", &bytes).await;
    for to in ["b", "a"] {
        let request = CopyRequest { checksum_algorithm: Some(ChecksumAlgorithm::Sha256), ..copy("a", to) };
        let outcome = do_copy(&world, request).await.expect("copied");
        assert_eq!(outcome.object.checksum, Some(checksum_of(ChecksumAlgorithm::Sha256, &bytes)));
        let info = world.service.head_object(get_request(to)).await.expect("there").info;
        assert_eq!(info.checksum, outcome.object.checksum);
    }
}

/// A commit whose fate is unknown keeps what it may have used, and frees what it cannot use any more.
#[tokio::test]
async fn copies_in_doubt_neither_leak_nor_lose() {
    let world = world().await;
    let bytes = content(150_000);
    for (fate, holders) in [(Fate::Silent, 1), (Fate::Lost, 0)] {
        world.put("a", &bytes).await;
        *world.meta.next_commit.lock() = fate;
        assert!(matches!(do_copy(&world, copy("a", "b")).await, Err(ServiceError::Unavailable)));
        assert_eq!(world.meta.count(HOLDERS), holders, "{fate:?}");
        delete(&world, "a").await;
        world.collect_garbage().await;
        match fate {
            Fate::Silent => assert_eq!(world.get("b").await.expect("copied"), bytes),
            _ => assert!(world.get("b").await.is_err()),
        }
        delete(&world, "b").await;
        world.collect_garbage().await;
        assert_eq!((world.extent_count(), world.meta.count(HOLDERS)), (0, 0));
    }
}
