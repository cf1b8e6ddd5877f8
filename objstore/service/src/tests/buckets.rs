use std::sync::Arc;

use bytes::Bytes;
use karri_ring_types::{SeededRng, SystemRng};

use super::support::{BUCKET, new_bucket, put_request, world};
use crate::{CreateUploadRequest, ObjectService, ServiceConfig, ServiceError};

#[tokio::test]
async fn a_bucket_lives_and_dies() {
    let world = world().await;
    let service = &world.service;
    assert!(matches!(
        service.create_bucket(new_bucket(BUCKET, "me")).await,
        Err(ServiceError::BucketAlreadyOwnedByYou)
    ));
    assert!(matches!(service.create_bucket(new_bucket(BUCKET, "you")).await, Err(ServiceError::BucketAlreadyExists)));
    assert!(matches!(service.create_bucket(new_bucket("B", "me")).await, Err(ServiceError::InvalidBucketName)));
    service.create_bucket(new_bucket("another", "me")).await.expect("created");
    service.create_bucket(new_bucket("theirs", "you")).await.expect("created");
    let names: Vec<_> = service.list_buckets("me").await.expect("listed").into_iter().map(|b| b.name).collect();
    assert_eq!(names, ["another", BUCKET]);
    world.put("k", &Bytes::from_static(b"x")).await;
    assert!(matches!(service.delete_bucket(BUCKET).await, Err(ServiceError::BucketNotEmpty)));
    service.delete_bucket("another").await.expect("deleted");
    assert!(matches!(service.head_bucket("another").await, Err(ServiceError::NoSuchBucket)));
    assert!(matches!(service.delete_bucket("another").await, Err(ServiceError::NoSuchBucket)));
}

#[tokio::test]
async fn uploads_do_not_hold_a_bucket() {
    let world = world().await;
    let create = CreateUploadRequest { bucket: BUCKET.into(), key: "k".into(), ..Default::default() };
    world.service.create_upload(create).await.expect("created");
    world.service.delete_bucket(BUCKET).await.expect("deleted");
    world.collect_garbage().await;
}

/// Another gateway that remembers a bucket by its id must not write into the deleted one.
#[tokio::test]
async fn a_bucket_that_was_made_anew_elsewhere_is_found() {
    let world = world().await;
    let rng = Arc::new(SeededRng::new(2));
    let config = ServiceConfig::default();
    let other = ObjectService::over(world.meta.clone(), world.extents.clone(), world.clock.clone(), rng, config);
    other.head_bucket(BUCKET).await.expect("remembered");
    world.service.delete_bucket(BUCKET).await.expect("deleted");
    let put = other.put_object(put_request("k"), &mut Some(Bytes::from_static(b"x"))).await;
    assert!(matches!(put, Err(ServiceError::NoSuchBucket)));
    other.create_bucket(new_bucket(BUCKET, "you")).await.expect("created");
    world
        .service
        .put_object(put_request("k"), &mut Some(Bytes::from_static(b"y")))
        .await
        .expect("put by the stale one");
    assert_eq!(other.head_bucket(BUCKET).await.expect("there").owner.account_id, "you");
    assert!(matches!(other.delete_bucket(BUCKET).await, Err(ServiceError::BucketNotEmpty)));
}

/// A deletion that stopped between range and directory is finished by whoever comes next.
#[tokio::test]
async fn a_half_deleted_bucket_can_be_made_anew() {
    let world = world().await;
    let tables = [crate::keys::BUCKETS];
    world.meta.state.lock().retain(|(system, table, _), _| *system || !tables.iter().any(|gone| gone.0 == *table));
    let config = ServiceConfig::default();
    let rng = Arc::new(SystemRng);
    let other = ObjectService::over(world.meta.clone(), world.extents.clone(), world.clock.clone(), rng, config);
    other.create_bucket(new_bucket(BUCKET, "you")).await.expect("created anew");
    assert!(world.service.list_buckets("me").await.expect("listed").is_empty());
    assert_eq!(world.service.head_bucket(BUCKET).await.expect("found").owner.account_id, "you");
}
