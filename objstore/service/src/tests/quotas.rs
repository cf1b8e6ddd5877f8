//! Quotas hold exactly, and what is counted is what is there.

use futures::future::join_all;

use super::support::{BUCKET, World, content, new_bucket, put_request, world};
use crate::keys::USAGE;
use crate::records::{UsageRecord, decode};
use crate::{
    CompleteRequest, CompletedPart, CreateUploadRequest, DeleteItem, DeleteRequest, PartRequest, PutRequest, Quota,
    ServiceError, VersionRef, Versioning,
};

fn quota(bytes: Option<u64>, versions: Option<u64>) -> Quota {
    Quota { bucket_bytes: bytes, bucket_versions: versions, account: None }
}

async fn put_within(world: &World, key: &str, size: usize, quota: &Quota) -> Result<Option<VersionRef>, ServiceError> {
    let put = PutRequest { quota: quota.clone(), ..put_request(key) };
    world.service.put_object(put, &mut Some(content(size))).await.map(|outcome| outcome.version)
}

async fn delete(world: &World, key: &str, version: Option<VersionRef>) {
    let item = DeleteItem { key: key.into(), version, ..Default::default() };
    world.service.delete_object(DeleteRequest { bucket: BUCKET.into(), item }).await.expect("deleted");
}

/// Bytes and versions that are counted.
fn usage(world: &World) -> Option<(u64, u64)> {
    let state = world.meta.state.lock();
    let row = state.iter().find(|((_, table, _), _)| *table == USAGE.0).map(|(_, row)| row.clone());
    let usage = row.map(|row| decode::<UsageRecord>(&row).expect("readable"));
    usage.map(|usage| (usage.bytes, usage.versions))
}

fn is_over<T>(result: &Result<T, ServiceError>) -> bool {
    matches!(result, Err(ServiceError::QuotaExceeded))
}

#[tokio::test]
async fn of_32_writers_exactly_the_allowed_ones_succeed() {
    let world = world().await;
    // What was there before the first quota counts as well: more than one command counts.
    for number in 0..1_500 {
        world.put(&format!("old/{number:04}"), &content(1)).await;
    }
    assert_eq!(usage(&world), None, "nothing is counted before a quota");
    let before = world.meta.commands.load(std::sync::atomic::Ordering::SeqCst);
    world.put("old/0000", &content(1)).await;
    let after = world.meta.commands.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(after - before, 1, "a write without a quota is one command");
    for (limit, name) in [(quota(None, Some(1_510)), "n"), (quota(Some(1_510 + 20 * 100), None), "b")] {
        let keys: Vec<String> = (0..32).map(|number| format!("{name}{number}")).collect();
        let size = if name == "n" { 1 } else { 100 };
        let results = join_all(keys.iter().map(|key| put_within(&world, key, size, &limit))).await;
        let allowed = if name == "n" { 10 } else { 20 };
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), allowed, "{name}");
        assert_eq!(results.iter().filter(|result| is_over(result)).count(), 32 - allowed, "{name}");
    }
    assert_eq!(usage(&world), Some((1_510 + 2_000, 1_530)));
}

#[tokio::test]
async fn what_is_counted_is_what_is_there() {
    let world = world().await;
    let most = quota(Some(1_000), Some(3));
    put_within(&world, "a", 400, &most).await.expect("within");
    put_within(&world, "b", 600, &most).await.expect("within");
    assert!(is_over(&put_within(&world, "a", 401, &most).await));
    put_within(&world, "a", 300, &most).await.expect("a smaller one in its place");
    assert_eq!(usage(&world), Some((900, 2)));
    // Without a quota of one's own, one may; whoever has one may then still make it less.
    world.put("c", &content(70_000)).await;
    assert_eq!(usage(&world), Some((70_900, 3)));
    assert!(is_over(&put_within(&world, "a", 301, &most).await));
    put_within(&world, "a", 299, &most).await.expect("less");
    delete(&world, "c", None).await;
    assert_eq!(usage(&world), Some((899, 2)));

    world.service.set_versioning(BUCKET, Versioning::Enabled).await.expect("set");
    let version = put_within(&world, "a", 101, &most).await.expect("within");
    assert_eq!(usage(&world), Some((1_000, 3)));
    delete(&world, "a", None).await;
    assert_eq!(usage(&world), Some((1_000, 3)), "a marker hides and counts nothing");
    assert!(is_over(&put_within(&world, "d", 0, &most).await));
    delete(&world, "a", version).await;
    assert_eq!(usage(&world), Some((899, 2)));
    world.service.set_versioning(BUCKET, Versioning::Suspended).await.expect("set");
    delete(&world, "b", None).await;
    assert_eq!(usage(&world), Some((299, 1)), "a null marker replaces the null version");
}

#[tokio::test]
async fn an_upload_counts_when_it_is_completed() {
    let world = world().await;
    let create = CreateUploadRequest { bucket: BUCKET.into(), key: "k".into(), ..Default::default() };
    let upload_id = world.service.create_upload(create).await.expect("created").upload_id;
    let part = PartRequest {
        bucket: BUCKET.into(),
        key: "k".into(),
        upload_id: upload_id.clone(),
        part_number: 1,
        ..Default::default()
    };
    let sent = world.service.upload_part(part, &mut Some(content(500))).await.expect("stored");
    let part = CompletedPart { part_number: 1, etag: sent.etag, checksum: sent.checksum };
    let complete = |bytes| CompleteRequest {
        bucket: BUCKET.into(),
        key: "k".into(),
        upload_id: upload_id.clone(),
        parts: vec![part.clone()],
        quota: quota(Some(bytes), None),
        ..Default::default()
    };
    assert!(is_over(&world.service.complete_upload(complete(499)).await));
    world.service.complete_upload(complete(500)).await.expect("within");
    assert_eq!(usage(&world), Some((500, 1)));
    delete(&world, "k", None).await;
    world.service.delete_bucket(BUCKET).await.expect("deleted");
    assert_eq!(usage(&world), None);
}

#[tokio::test]
async fn of_32_buckets_exactly_the_allowed_number_is_made() {
    let world = world().await;
    let names: Vec<String> = (0..32).map(|number| format!("bucket-{number}")).collect();
    let make = |name: &str, max| world.service.create_bucket_within(new_bucket(name, "me"), max);
    let results = join_all(names.iter().map(|name| make(name, Some(6)))).await;
    // One was there before.
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
    assert_eq!(results.iter().filter(|result| is_over(result)).count(), 27);
    assert!(is_over(&make("another", Some(0)).await));
    assert!(matches!(make(BUCKET, Some(0)).await, Err(ServiceError::BucketAlreadyOwnedByYou)));
    make("another", None).await.expect("no quota");
    let other = new_bucket("of-another-account", "you");
    world.service.create_bucket_within(other, Some(1)).await.expect("within");
}
