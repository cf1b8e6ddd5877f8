//! Versions, delete markers, null versions and locks.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_types::{Clock, Rng, SeededRng, Timestamp, VersionId};

use super::support::{BUCKET, World, collect, content, get_request, put_request, world};
use crate::keys::{CURRENT, HOLDERS, NULL_VERSIONS, OPERATIONS, VERSIONS};
use crate::{
    BucketLock, CopyRequest, DefaultRetention, DeleteItem, DeleteOutcome, DeleteRequest, GetRequest, ListRequest,
    ListVersionsRequest, LockMode, MetadataDirective, ObjectLock, ObjectRef, PutRequest, Retention, RetentionPeriod,
    ServiceError, VersionRef, Versioning,
};

impl World {
    async fn get_version(&self, key: &str, version: VersionRef) -> Result<Bytes, ServiceError> {
        let get = GetRequest { version: Some(version), ..get_request(key) };
        collect(self.service.get_object(get).await?).await
    }

    async fn delete(&self, key: &str, version: Option<VersionRef>) -> Result<DeleteOutcome, ServiceError> {
        self.delete_with(key, version, false).await
    }

    async fn delete_with(
        &self,
        key: &str,
        version: Option<VersionRef>,
        bypass_governance: bool,
    ) -> Result<DeleteOutcome, ServiceError> {
        let item = DeleteItem { key: key.into(), version, bypass_governance, ..Default::default() };
        self.service.delete_object(DeleteRequest { bucket: BUCKET.into(), item }).await
    }

    async fn versioning(&self, versioning: Versioning) {
        self.service.set_versioning(BUCKET, versioning).await.expect("set");
    }

    /// All versions: key, version, whether it is a marker, whether it is the latest.
    async fn versions(&self, limit: u32) -> Vec<(String, VersionRef, bool, bool)> {
        let mut all = Vec::new();
        let mut request = ListVersionsRequest {
            list: ListRequest { bucket: BUCKET.into(), limit, ..Default::default() },
            after_version: None,
        };
        loop {
            let page = self.service.list_versions(request.clone()).await.expect("listed");
            all.extend(
                page.versions
                    .into_iter()
                    .map(|entry| (entry.entry.key, entry.version, entry.delete_marker, entry.latest)),
            );
            match page.next {
                Some((key, version)) => (request.list.after, request.after_version) = (Some(key), version),
                None => return all,
            }
        }
    }
}

fn object(key: &str) -> ObjectRef {
    ObjectRef { bucket: BUCKET.into(), key: key.into(), version: None }
}

/// A bucket as its description has it: versions of a key, the newest first.
#[derive(Default)]
struct Model {
    versioning: Versioning,
    keys: BTreeMap<String, Vec<(VersionRef, Option<Bytes>)>>,
}

impl Model {
    fn write(&mut self, key: &str, version: VersionRef, body: Option<Bytes>) {
        let versions = self.keys.entry(key.to_owned()).or_default();
        if version == VersionRef::Null {
            versions.retain(|(version, _)| *version != VersionRef::Null);
        }
        versions.insert(0, (version, body));
    }

    fn expected(&self) -> Vec<(String, VersionRef, bool, bool)> {
        let of_key = |(key, versions): (&String, &Vec<(VersionRef, Option<Bytes>)>)| {
            let lines = versions.iter().enumerate();
            lines.map(|(at, (version, body))| (key.clone(), *version, body.is_none(), at == 0)).collect::<Vec<_>>()
        };
        self.keys.iter().flat_map(of_key).collect()
    }
}

/// Random writes and deletes leave what a naive description of versioning says, whatever arrives twice, and no data is lost or left.
#[tokio::test]
async fn versions_are_as_a_model_has_them() {
    for seed in 0..12 {
        let rng = SeededRng::new(seed);
        let world = world().await;
        let mut model = Model::default();
        let keys = ["a", "b", "c"];
        for step in 0..60 {
            let key = keys[usize::try_from(rng.next_u64() % 3).expect("small")];
            match rng.next_u64() % 10 {
                0 if step > 5 => {
                    model.versioning = match rng.next_u64() % 2 {
                        0 => Versioning::Enabled,
                        _ => Versioning::Suspended,
                    };
                    world.versioning(model.versioning).await;
                }
                0..=4 => {
                    let size = usize::try_from(rng.next_u64() % 3).expect("small") * 60_000 + step;
                    let body = content(size);
                    let version = world.put(key, &body).await.version.unwrap_or(VersionRef::Null);
                    model.write(key, version, Some(body));
                }
                5..=6 => {
                    let outcome = world.delete(key, None).await.expect("deleted");
                    match outcome.version {
                        Some(version) => model.write(key, version, None),
                        None => drop(model.keys.remove(key)),
                    }
                }
                7..=8 => {
                    let versions = model.keys.entry(key.to_owned()).or_default();
                    if !versions.is_empty() {
                        let at = usize::try_from(rng.next_u64()).unwrap_or(0) % versions.len();
                        let (version, body) = versions.remove(at);
                        let outcome = world.delete(key, Some(version)).await.expect("deleted");
                        assert_eq!(outcome.delete_marker, body.is_none(), "seed {seed} step {step}");
                    }
                }
                _ => {
                    let source = model.keys.get(key).and_then(|versions| versions.first().cloned());
                    let to = keys[usize::try_from(rng.next_u64() % 3).expect("small")];
                    if let Some((_, Some(body))) = source {
                        let copy = CopyRequest {
                            source_bucket: BUCKET.into(),
                            source_key: key.into(),
                            bucket: BUCKET.into(),
                            key: to.into(),
                            metadata: MetadataDirective::Replace {
                                content: Default::default(),
                                user_metadata: Vec::new(),
                            },
                            ..Default::default()
                        };
                        let copied = world.service.copy_object(copy).await.expect("copied").object;
                        model.write(to, copied.version.unwrap_or(VersionRef::Null), Some(body));
                    }
                }
            }
            // Ids that are made in one millisecond are in no order, as those of nodes whose clocks differ.
            world.clock.advance(Duration::from_millis(rng.next_u64() % 2));
            model.keys.retain(|_, versions| !versions.is_empty());
            assert_eq!(world.versions(3).await, model.expected(), "seed {seed} step {step}");
        }
        check_contents(&world, &model, seed).await;
        for (key, versions) in std::mem::take(&mut model.keys) {
            for (version, _) in versions {
                world.delete(&key, Some(version)).await.expect("deleted");
            }
        }
        world.collect_garbage().await;
        let left = [VERSIONS, CURRENT, NULL_VERSIONS, HOLDERS].map(|table| world.meta.count(table));
        assert_eq!((left, world.extent_count()), ([0; 4], 0), "seed {seed}");
        world.service.delete_bucket(BUCKET).await.expect("empty");
    }
}

async fn check_contents(world: &World, model: &Model, seed: u64) {
    world.collect_garbage().await;
    for (key, versions) in &model.keys {
        for (version, body) in versions {
            match (world.get_version(key, *version).await, body) {
                (Ok(read), Some(body)) => assert!(read == *body, "seed {seed} {key}"),
                (Err(ServiceError::DeleteMarker { named: true, .. }), None) => {}
                (other, _) => panic!("seed {seed} {key} {version}: {other:?}"),
            }
        }
        match (world.get(key).await, &versions[0].1) {
            (Ok(read), Some(body)) => assert!(read == *body, "seed {seed} {key}"),
            (Err(ServiceError::DeleteMarker { named: false, .. }), None) => {}
            (other, _) => panic!("seed {seed} {key}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_listing_of_objects_meets_no_version_and_no_marker() {
    let world = world().await;
    world.versioning(Versioning::Enabled).await;
    for n in 0..50 {
        world.put("kept", &content(n)).await;
        world.put("gone", &content(n)).await;
    }
    world.delete("gone", None).await.expect("marked");
    assert_eq!(world.meta.count(CURRENT), 1);
    let page = world.service.list_objects(ListRequest { bucket: BUCKET.into(), limit: 10, ..Default::default() }).await;
    assert_eq!(page.expect("listed").entries.len(), 1);
    assert_eq!(world.versions(7).await.len(), 101);
    assert!(matches!(world.service.delete_bucket(BUCKET).await, Err(ServiceError::BucketNotEmpty)));
}

/// The record of a command that arrives late is not written again when its version is old or gone by then.
#[tokio::test]
async fn late_copies_of_commands_make_no_versions() {
    let world = world().await;
    world.versioning(Versioning::Enabled).await;
    world.put("k", &content(7)).await;
    let first = world.service.find(BUCKET, "k", None).await.expect("there");
    world.put("k", &content(9)).await;
    let again = world
        .service
        .commit(first.route.clone(), Default::default(), Default::default(), &first.record, &first.inline)
        .await;
    assert_eq!(again.expect("answered").expect("done before").told, Some(VersionRef::Id(first.record.version)));
    assert_eq!(world.versions(10).await.len(), 2);
    world.delete("k", Some(VersionRef::Id(first.record.version))).await.expect("deleted");
    world
        .service
        .commit(first.route, Default::default(), Default::default(), &first.record, &first.inline)
        .await
        .expect("answered")
        .expect("done");
    assert_eq!(world.versions(10).await.len(), 1);
    assert_eq!(world.get("k").await.expect("the second"), content(9));
}

#[tokio::test]
async fn old_versions_are_copied_without_moving_bytes() {
    let world = world().await;
    world.versioning(Versioning::Enabled).await;
    let old = world.put("k", &content(150_000)).await.version.expect("a version");
    world.put("k", &content(10)).await;
    let copy = CopyRequest {
        source_bucket: BUCKET.into(),
        source_key: "k".into(),
        source_version: Some(old),
        bucket: BUCKET.into(),
        key: "k".into(),
        ..Default::default()
    };
    let written = world.extents.written.load(std::sync::atomic::Ordering::SeqCst);
    let copied = world.service.copy_object(copy).await.expect("copied");
    assert_eq!(world.extents.written.load(std::sync::atomic::Ordering::SeqCst), written);
    assert_eq!(copied.source_version, Some(old));
    world.delete("k", Some(old)).await.expect("deleted");
    world.collect_garbage().await;
    assert_eq!(world.get("k").await.expect("the copy"), content(150_000));
    for (key, version, ..) in world.versions(10).await {
        world.delete(&key, Some(version)).await.expect("deleted");
    }
    world.collect_garbage().await;
    assert_eq!(world.extent_count(), 0);
}

async fn locking() -> World {
    let world = world().await;
    world.versioning(Versioning::Enabled).await;
    world.service.set_bucket_lock(BUCKET, BucketLock::default()).await.expect("locked");
    world
}

fn until(world: &World, mode: LockMode, seconds: u64) -> Retention {
    Retention { mode, until: Timestamp(world.clock.now().as_millis() + seconds * 1000) }
}

#[tokio::test]
async fn a_lock_holds_against_every_delete() {
    let world = locking().await;
    for (mode, bypass, allowed) in
        [(LockMode::Governance, false, false), (LockMode::Governance, true, true), (LockMode::Compliance, true, false)]
    {
        let lock = ObjectLock { retention: Some(until(&world, mode, 60)), legal_hold: None };
        let put = PutRequest { lock, ..put_request("k") };
        let version = world.service.put_object(put, &mut Some(content(9))).await.expect("put").version;
        assert!(world.delete("k", None).await.expect("marked").delete_marker);
        let deleted = world.delete_with("k", version, bypass).await;
        assert_eq!(deleted.is_ok(), allowed, "{mode:?} {deleted:?}");
        world.clock.advance(Duration::from_secs(61));
        assert!(world.delete_with("k", version, false).await.is_ok());
    }
    assert!(matches!(
        world.service.set_versioning(BUCKET, Versioning::Suspended).await,
        Err(ServiceError::LockNeedsVersioning)
    ));
}

#[tokio::test]
async fn legal_holds_and_defaults() {
    let world = locking().await;
    let default = DefaultRetention { mode: LockMode::Compliance, period: RetentionPeriod::Days(2) };
    world.service.set_bucket_lock(BUCKET, BucketLock { default: Some(default) }).await.expect("set");
    let version = world.put("k", &content(9)).await.version;
    let info = world.service.object_info(&object("k")).await.expect("there");
    let kept_ms = info.lock.retention.expect("by default").until.as_millis() - world.clock.now().as_millis();
    assert!((2 * 86_400_000..2 * 86_400_000 + 1001).contains(&kept_ms), "{kept_ms}");
    world.service.set_legal_hold(&object("k"), true).await.expect("held");
    world.clock.advance(Duration::from_secs(3 * 86_400));
    assert!(matches!(world.delete("k", version).await, Err(ServiceError::Locked)));
    world.service.set_legal_hold(&object("k"), false).await.expect("released");
    world.delete("k", version).await.expect("deleted");
    let past = Retention { mode: LockMode::Governance, until: world.clock.now() };
    world.put("k", &content(9)).await;
    assert!(matches!(
        world.service.set_retention(&object("k"), Some(past), false).await,
        Err(ServiceError::RetentionPassed)
    ));
}

/// An update that arrives again after another one must not undo it.
#[tokio::test]
async fn a_late_copy_of_an_update_changes_nothing() {
    let world = locking().await;
    world.put("k", &content(9)).await;
    let found = world.service.find(BUCKET, "k", None).await.expect("there");
    let update = |operation: VersionId, on: bool| {
        crate::messages::Command::Update(Box::new(crate::messages::UpdateCommand {
            route: found.route.clone(),
            issued: world.clock.now(),
            operation,
            version: found.record.version,
            change: crate::messages::Change::LegalHold(on),
        }))
    };
    let (first, second) = (world.service.new_version(), world.service.new_version());
    for (operation, on) in [(first, false), (second, true), (first, false)] {
        let answer = world.service.command::<crate::messages::Written>(&found.route, &update(operation, on)).await;
        answer.expect("answered").expect("done");
    }
    assert!(world.meta.count(OPERATIONS) >= 2);
    let info = world.service.object_info(&object("k")).await.expect("there");
    assert_eq!(info.lock.legal_hold, Some(true));
}
