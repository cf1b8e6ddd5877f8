//! What lifecycle rules find in the rows of a bucket, and do about it. Everything that is found is done twice, as two
//! leaders would do it.

use std::time::Duration;

use karri_ring_types::Clock;

use super::support::{BUCKET, MemoryRows, World, content, put_request, world};
use crate::keys::{LIFECYCLE, UPLOADS, VERSIONS};
use crate::lifecycle::{bucket_rows, page_rows};
use crate::{
    BucketConfigKind, BucketLock, CreateUploadRequest, Cursor, DeleteItem, DeleteRequest, Lifecycle, LifecycleBucket,
    LifecycleDay, LifecycleFilter, LifecycleProgress, LifecycleRule, LifecycleTime, ListRequest, ListVersionsRequest,
    LockMode, NoncurrentTime, ObjectLock, ObjectRef, PutRequest, Retention, Versioning,
};

/// A day of ten seconds.
fn day() -> LifecycleDay {
    LifecycleDay::of_seconds(10)
}

impl World {
    async fn rules(&self, rules: Vec<LifecycleRule>) {
        let lifecycle = Lifecycle { rules, ..Default::default() };
        let done = self.service.put_bucket_config(BUCKET, BucketConfigKind::Lifecycle, lifecycle.to_bytes()).await;
        done.expect("kept");
    }

    async fn days(&self, count: u64) {
        self.clock.advance(Duration::from_secs(10 * count));
    }

    /// A whole pass in pages of so many rows; how much there was to do.
    async fn pass(&self, rows_per_page: usize) -> usize {
        let mut found = 0;
        let mut cursor = Some(Cursor::start());
        while let Some(at) = cursor {
            let (bucket, page) = {
                let state = self.meta.state.lock();
                let mut rows = MemoryRows::new(&state, false, Vec::new(), None);
                let (buckets, _) = bucket_rows(&mut rows, &[], 10).expect("readable");
                let bucket = buckets.into_iter().next().expect("a bucket with rules");
                let page = page_rows(&mut rows, &bucket, at, rows_per_page, self.clock.now(), day()).expect("readable");
                (bucket, page)
            };
            found += page.actions.len();
            for action in page.actions.iter().chain(&page.actions) {
                self.service.apply_lifecycle(action).await.expect("done or not due any more");
            }
            cursor = page.next;
            let progress = LifecycleProgress { pass: 1, cursor: cursor.clone() };
            self.service.keep_lifecycle_progress(&bucket, progress).await.expect("kept");
        }
        found
    }

    async fn live(&self) -> Vec<String> {
        let list = ListRequest { bucket: BUCKET.into(), limit: 1000, ..Default::default() };
        let page = self.service.list_objects(list).await.expect("listed");
        page.entries.into_iter().map(|entry| entry.key).collect()
    }

    /// Versions and markers.
    async fn counts(&self) -> (usize, usize) {
        let list = ListRequest { bucket: BUCKET.into(), limit: 1000, ..Default::default() };
        let page = self.service.list_versions(ListVersionsRequest { list, after_version: None }).await.expect("listed");
        let markers = page.versions.iter().filter(|version| version.delete_marker).count();
        (page.versions.len() - markers, markers)
    }

    async fn mark(&self, key: &str) {
        let item = DeleteItem { key: key.into(), ..Default::default() };
        self.service.delete_object(DeleteRequest { bucket: BUCKET.into(), item }).await.expect("marked");
    }
}

fn expire_after(days: u32) -> LifecycleRule {
    LifecycleRule { id: "r".into(), expiration: Some(LifecycleTime::Days(days)), ..Default::default() }
}

#[tokio::test]
async fn objects_end_by_prefix_tag_and_size() {
    let world = world().await;
    for key in ["logs/1", "logs/2", "kept"] {
        world.put(key, &content(60_000)).await;
    }
    let tagged = PutRequest { tags: vec![("k".into(), "v".into())], ..put_request("tagged") };
    world.service.put_object(tagged, &mut Some(content(10))).await.expect("put");
    world.put("small", &content(3)).await;
    let by = |filter| LifecycleRule { filter, ..expire_after(1) };
    world
        .rules(vec![
            by(LifecycleFilter { prefix: "logs/".into(), ..Default::default() }),
            by(LifecycleFilter { tags: vec![("k".into(), "v".into())], ..Default::default() }),
            by(LifecycleFilter { smaller_than: Some(5), ..Default::default() }),
        ])
        .await;
    assert_eq!(world.pass(2).await, 0);
    world.days(1).await;
    assert_eq!(world.pass(2).await, 4);
    assert_eq!(world.live().await, ["kept"]);
    assert_eq!(world.pass(2).await, 0);
    world.collect_garbage().await;
    assert_eq!(world.extent_count(), 1, "what ended is collected");
}

#[tokio::test]
async fn versions_end_one_after_the_other() {
    for rows_per_page in [1, 2, 100] {
        let world = world().await;
        world.service.set_versioning(BUCKET, Versioning::Enabled).await.expect("set");
        for n in 0..10 {
            world.put("k", &content(n)).await;
        }
        world.put("other", &content(1)).await;
        let noncurrent = LifecycleRule {
            noncurrent_expiration: Some(NoncurrentTime { days: 1, newer_kept: 4 }),
            filter: LifecycleFilter { prefix: "k".into(), ..Default::default() },
            ..Default::default()
        };
        world.rules(vec![noncurrent.clone()]).await;
        world.days(2).await;
        assert_eq!(world.pass(rows_per_page).await, 5, "{rows_per_page}");
        assert_eq!(world.counts().await, (6, 0));
        let all = LifecycleRule {
            noncurrent_expiration: Some(NoncurrentTime { days: 1, newer_kept: 0 }),
            expires_lone_markers: true,
            ..noncurrent
        };
        world.rules(vec![all, expire_after(100)]).await;
        world.mark("k").await;
        world.days(2).await;
        assert_eq!(world.pass(rows_per_page).await, 5, "{rows_per_page}");
        assert_eq!(world.counts().await, (1, 1), "the marker hid something when it was looked at");
        assert_eq!(world.pass(rows_per_page).await, 1);
        assert_eq!(world.counts().await, (1, 0));
        assert_eq!(world.live().await, ["other"]);
    }
}

#[tokio::test]
async fn a_current_version_ends_behind_one_marker() {
    for versioning in [Versioning::Enabled, Versioning::Suspended] {
        let world = world().await;
        world.service.set_versioning(BUCKET, versioning).await.expect("set");
        world.put("k", &content(5)).await;
        world.rules(vec![expire_after(1)]).await;
        world.days(1).await;
        assert_eq!(world.pass(10).await, 1);
        let left = if versioning == Versioning::Enabled { 1 } else { 0 };
        assert_eq!(world.counts().await, (left, 1), "{versioning:?}");
        assert!(world.live().await.is_empty());
    }
}

/// What was due when it was found, and is another when it is dealt with, stays.
#[tokio::test]
async fn what_changed_since_it_was_found_stays() {
    let world = world().await;
    world.service.set_versioning(BUCKET, Versioning::Enabled).await.expect("set");
    world.put("k", &content(5)).await;
    world.rules(vec![expire_after(1)]).await;
    world.days(1).await;
    let actions = {
        let state = world.meta.state.lock();
        let mut rows = MemoryRows::new(&state, false, Vec::new(), None);
        let bucket = bucket_rows(&mut rows, &[], 10).expect("readable").0.remove(0);
        page_rows(&mut rows, &bucket, Cursor::start(), 10, world.clock.now(), day()).expect("readable").actions
    };
    world.put("k", &content(6)).await;
    for action in &actions {
        assert!(!world.service.apply_lifecycle(action).await.expect("answered"));
    }
    assert_eq!(world.get("k").await.expect("the new one"), content(6));
}

#[tokio::test]
async fn locks_stand_against_rules() {
    let world = world().await;
    world.service.set_versioning(BUCKET, Versioning::Enabled).await.expect("set");
    world.service.set_bucket_lock(BUCKET, BucketLock::default()).await.expect("set");
    let until = karri_ring_types::Timestamp(world.clock.now().as_millis() + 100_000);
    let retention = Some(Retention { mode: LockMode::Governance, until });
    let put = PutRequest { lock: ObjectLock { retention, legal_hold: None }, ..put_request("k") };
    world.service.put_object(put, &mut Some(content(5))).await.expect("put");
    world.put("k", &content(6)).await;
    let noncurrent = Some(NoncurrentTime { days: 1, newer_kept: 0 });
    world.rules(vec![LifecycleRule { noncurrent_expiration: noncurrent, ..Default::default() }]).await;
    world.days(2).await;
    world.pass(10).await;
    assert_eq!(world.counts().await, (2, 0));
    world.days(10).await;
    world.pass(10).await;
    assert_eq!(world.counts().await, (1, 0));
}

#[tokio::test]
async fn uploads_are_given_up_and_classes_change() {
    let world = world().await;
    for key in ["a/1", "b/1"] {
        let upload = CreateUploadRequest { bucket: BUCKET.into(), key: key.into(), ..Default::default() };
        world.service.create_upload(upload).await.expect("begun");
    }
    world.put("a/k", &content(200_000)).await;
    world
        .rules(vec![LifecycleRule {
            filter: LifecycleFilter { prefix: "a/".into(), ..Default::default() },
            abort_uploads_after_days: Some(2),
            transitions: vec![(LifecycleTime::Days(1), "STANDARD_IA".into())],
            ..Default::default()
        }])
        .await;
    world.days(1).await;
    assert_eq!(world.pass(1).await, 1);
    world.days(1).await;
    assert_eq!(world.pass(1).await, 1);
    assert_eq!(world.meta.count(UPLOADS), 1);
    let object = ObjectRef { bucket: BUCKET.into(), key: "a/k".into(), version: None };
    assert_eq!(world.service.object_info(&object).await.expect("there").storage_class, "STANDARD_IA");
    assert_eq!(world.get("a/k").await.expect("whole"), content(200_000));
    assert_eq!((world.meta.count(VERSIONS), world.meta.count(LIFECYCLE)), (1, 1));
    world.mark("a/k").await;
    world.service.delete_bucket_config(BUCKET, BucketConfigKind::Lifecycle).await.expect("deleted");
    world.service.delete_bucket(BUCKET).await.expect("empty");
    assert_eq!(world.meta.count(LIFECYCLE), 0);
}

#[tokio::test]
async fn rules_that_are_taken_away_in_the_midst_of_a_pass_do_nothing_more() {
    let world = world().await;
    for key in ["a", "b", "c"] {
        world.put(key, &content(3)).await;
    }
    world.rules(vec![expire_after(1)]).await;
    world.days(1).await;
    let page = |cursor: Cursor, rules: &LifecycleBucket| {
        let state = world.meta.state.lock();
        let mut rows = MemoryRows::new(&state, false, Vec::new(), None);
        page_rows(&mut rows, rules, cursor, 2, world.clock.now(), day()).expect("readable")
    };
    let bucket = {
        let state = world.meta.state.lock();
        let mut rows = MemoryRows::new(&state, false, Vec::new(), None);
        bucket_rows(&mut rows, &[], 10).expect("readable").0.remove(0)
    };
    let first = page(Cursor::start(), &bucket);
    assert_eq!(first.actions.len(), 2);
    let cursor = first.next.expect("more");
    world.rules(vec![expire_after(9)]).await;
    assert_eq!(page(cursor.clone(), &bucket).actions, [], "the rule is another one now");
    world.service.delete_bucket_config(BUCKET, BucketConfigKind::Lifecycle).await.expect("gone");
    let rest = page(cursor, &bucket);
    assert_eq!((rest.actions.len(), rest.next), (0, None));
}
