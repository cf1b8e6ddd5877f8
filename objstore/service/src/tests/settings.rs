//! Configuration documents.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_types::SeededRng;

use super::support::{BUCKET, World, new_bucket, world};
use crate::keys::BUCKET_CONFIGS;
use crate::{BucketConfigKind, ObjectService, ServiceConfig, ServiceError};

/// Another node over the same metadata.
fn other_node(world: &World) -> Arc<ObjectService> {
    let rng = Arc::new(SeededRng::new(2));
    let config = ServiceConfig::default();
    ObjectService::over(world.meta.clone(), world.extents.clone(), world.clock.clone(), rng, config)
}

async fn cors(service: &ObjectService) -> Option<Bytes> {
    service.bucket_settings(BUCKET).await.expect("settings").document(BucketConfigKind::Cors)
}

#[tokio::test]
async fn a_change_is_seen_here_at_once_and_elsewhere_within_half_a_second() {
    let world = world().await;
    let other = other_node(&world);
    let put = |text: &'static str| {
        world.service.put_bucket_config(BUCKET, BucketConfigKind::Cors, Bytes::from_static(text.as_bytes()))
    };
    assert_eq!(cors(&world.service).await, None);
    put("one").await.expect("put");
    assert_eq!(cors(&world.service).await.as_deref(), Some(&b"one"[..]));
    assert_eq!(cors(&other).await.as_deref(), Some(&b"one"[..]));
    put("two").await.expect("put");
    assert_eq!(cors(&world.service).await.as_deref(), Some(&b"two"[..]));
    world.clock.advance(ServiceConfig::default().settings_age_max + Duration::from_millis(1));
    assert_eq!(cors(&other).await.as_deref(), Some(&b"two"[..]));
    world.service.delete_bucket_config(BUCKET, BucketConfigKind::Cors).await.expect("deleted");
    assert_eq!(cors(&world.service).await, None);
    assert_eq!(other.bucket_config(BUCKET, BucketConfigKind::Cors).await.expect("read"), None);
}

#[tokio::test]
async fn what_was_seen_just_before_is_not_asked_for_again_and_compiled_once() {
    let world = world().await;
    let document = Bytes::from_static(b"17");
    world.service.put_bucket_config(BUCKET, BucketConfigKind::Website, document).await.expect("put");
    let mut compilations = 0;
    for _ in 0..3 {
        let settings = world.service.bucket_settings(BUCKET).await.expect("settings");
        let number = settings.compiled(BucketConfigKind::Website, |bytes| {
            compilations += 1;
            String::from_utf8_lossy(bytes).parse::<u32>()
        });
        assert_eq!(number.as_deref(), Some(&Ok(17)));
        // Still the same documents when they are asked for again.
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(compilations, 1);
}

#[tokio::test]
async fn a_deleted_bucket_takes_its_documents_along() {
    let world = world().await;
    let other = other_node(&world);
    for kind in BucketConfigKind::ALL {
        let document = vec![b'x'; kind.size_bytes_max()];
        world.service.put_bucket_config(BUCKET, kind, document.into()).await.expect("put");
        let document = vec![b'x'; kind.size_bytes_max() + 1];
        let refused = world.service.put_bucket_config(BUCKET, kind, document.into()).await;
        assert!(matches!(refused, Err(ServiceError::EntityTooLarge)), "{kind:?}");
    }
    assert_eq!(world.meta.count(BUCKET_CONFIGS), BucketConfigKind::ALL.len() + 1);
    assert!(cors(&other).await.is_some());
    world.service.delete_bucket(BUCKET).await.expect("deleted");
    assert_eq!(world.meta.count(BUCKET_CONFIGS), 0);
    let gone = world.service.bucket_settings(BUCKET).await;
    assert!(matches!(gone, Err(ServiceError::NoSuchBucket)));
    world.service.create_bucket(new_bucket(BUCKET, "me")).await.expect("created");
    assert_eq!(cors(&world.service).await, None);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(cors(&other).await, None);
}

#[tokio::test]
async fn a_change_that_arrives_again_does_not_undo_a_later_one() {
    let world = world().await;
    world.meta.times.store(1, Ordering::SeqCst);
    let bucket = world.service.bucket(BUCKET).await.expect("known");
    let operation = world.service.new_version();
    let first = crate::messages::Command::PutBucketConfig { id: bucket.id, kind: BucketConfigKind::Cors, operation };
    let send = || world.service.command_with::<()>(&bucket.id.0, &first, b"first");
    send().await.expect("sent").expect("done");
    let second = Bytes::from_static(b"second");
    world.service.put_bucket_config(BUCKET, BucketConfigKind::Cors, second.clone()).await.expect("put");
    send().await.expect("sent").expect("done");
    assert_eq!(world.service.bucket_config(BUCKET, BucketConfigKind::Cors).await.expect("read"), Some(second));
}
