//! Copies that are cut off between their holding and its use: what they hold is given back, what is in use is not.

use std::ops::Bound;

use karri_ring_meta::Evaluator as _;
use karri_ring_types::{Clock as _, DataId, Timestamp};

use super::support::{BUCKET, MemoryRows, World, content, world};
use super::uploads::{begin_in, finish};
use crate::evaluator::ObjectEvaluator;
use crate::keys::{self, CONDEMNED, HOLDERS, HOLDINGS, RELEASED};
use crate::maintenance::{WorkItem, WorkList, work_rows};
use crate::messages::{Answer, Command, Proof, PutCommand, Refusal};
use crate::records::{Data, PartRecord, VersionRecord, encode};
use crate::sharing::Held;
use crate::uploads::OpenUpload;
use crate::{
    CompletedPart, Conditions, CopyRequest, DeleteItem, DeleteRequest, PartCopyRequest, Quota, RenameRequest,
    ServiceError, Versioning,
};

const SIZE: usize = 250_000;

/// All holdings whose use was not seen yet, whatever their age.
fn unseen(world: &World) -> Vec<WorkItem> {
    let state = world.meta.state.lock();
    let mut rows = MemoryRows::new(&state, false, Vec::new(), None);
    work_rows(&mut rows, WorkList::Holdings, Bound::Unbounded, 1000).expect("readable").items
}

impl World {
    /// What the collector does about holdings, without waiting for their age.
    pub(super) async fn look_after_holdings(&self) {
        for item in unseen(self) {
            self.service.collect(&item).await.expect("looked after");
        }
    }

    async fn copy(&self, from: &str, to: &str) {
        let copy = CopyRequest {
            source_bucket: BUCKET.into(),
            source_key: from.into(),
            bucket: BUCKET.into(),
            key: to.into(),
            ..Default::default()
        };
        self.service.copy_object(copy).await.expect("copied");
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), ServiceError> {
        let (bucket, source_key, key) = (BUCKET.into(), from.into(), to.into());
        self.service.rename_object(RenameRequest { bucket, source_key, key, ..Default::default() }).await
    }

    async fn delete_and_collect(&self, key: &str) {
        let item = DeleteItem { key: key.into(), ..Default::default() };
        self.service.delete_object(DeleteRequest { bucket: BUCKET.into(), item }).await.expect("deleted");
        self.collect_garbage().await;
    }

    async fn route(&self, key: &str) -> Vec<u8> {
        self.service.bucket(BUCKET).await.expect("there").id.route(key)
    }

    /// Holds the data of an object for a row, as a copy does, and goes no further.
    async fn hold(&self, key: &str, row: Vec<u8>) -> (Held, VersionRecord) {
        let found = self.service.find(BUCKET, key, None).await.expect("there");
        let held = self.service.hold(&found, row).await.expect("answered").expect("held");
        let mut record = VersionRecord { version: self.service.new_version(), ..found.record };
        lend(&mut record.data, &held);
        (held, record)
    }

    async fn commit(&self, key: &str, record: &VersionRecord) -> Answer<()> {
        let route = self.route(key).await;
        let commit = self.service.commit(route, Conditions::default(), Quota::default(), record, &[]);
        commit.await.expect("answered").map(drop)
    }

    /// Holders, those whose use was not seen, and data that its owner has given up.
    fn holding_counts(&self) -> (usize, usize, usize) {
        (self.meta.count(HOLDERS), self.meta.count(HOLDINGS), self.meta.count(RELEASED))
    }
}

fn lend(data: &mut Data, held: &Held) {
    if let Data::Extents { loan, .. } | Data::Parts { loan, .. } = data {
        *loan = Some(held.loan.clone());
    }
}

/// An upload to `k`, and a part of it that borrows from `key`.
async fn part_of(world: &World, key: &str) -> (OpenUpload, Held, PartRecord) {
    let id = begin_in(world, None).await;
    let upload = world.service.open_upload(BUCKET, "k", &id).await.expect("open");
    let (held, record) = world.hold(key, keys::part(&upload.route, upload.id, 1)).await;
    let crate::records::Etag::Md5(md5) = record.etag else { panic!("an object of extents") };
    let part = PartRecord {
        data_id: world.service.new_data(),
        size: record.size,
        md5,
        modified: Timestamp(0),
        checksum: record.checksum,
        data: record.data,
    };
    (upload, held, part)
}

async fn complete(world: &World, upload: &OpenUpload, part: &PartRecord) {
    let listed = CompletedPart { part_number: 1, etag: hex::encode(part.md5), checksum: None };
    finish(world, &upload.id.to_string(), vec![listed]).await.expect("completed");
}

#[tokio::test]
async fn a_copy_that_ends_before_its_commit_holds_nothing_at_last() {
    for ranges in [1, 2] {
        let world = world().await;
        if ranges == 2 {
            *world.meta.cuts.lock() = vec![world.route("b").await];
        }
        world.put("a", &content(SIZE)).await;
        // Of what it owns, of what it borrows, for a version and for a part.
        world.hold("a", world.route("b").await).await;
        world.copy("a", "c").await;
        world.hold("c", world.route("d").await).await;
        let (upload, ..) = part_of(&world, "a").await;
        assert_eq!(world.holding_counts(), (4, 4, 0));
        world.delete_and_collect("a").await;
        world.delete_and_collect("c").await;
        assert_eq!((world.holding_counts(), world.extent_count()), ((3, 3, 1), 3), "held by who is gone");
        world.look_after_holdings().await;
        assert_eq!(world.holding_counts(), (0, 0, 0));
        world.collect_garbage().await;
        assert_eq!(world.extent_count(), 0);
        // Nothing else has changed.
        let upload_id = upload.id.to_string();
        let abort = crate::UploadRef { bucket: BUCKET.into(), key: "k".into(), upload_id };
        world.service.abort_upload(abort).await.expect("open still");
    }
}

#[tokio::test]
async fn copies_that_succeeded_keep_what_they_hold() {
    for versioning in [None, Some(Versioning::Enabled)] {
        let world = world().await;
        if let Some(versioning) = versioning {
            world.service.set_versioning(BUCKET, versioning).await.expect("set");
        }
        let bytes = content(SIZE);
        world.put("a", &bytes).await;
        world.copy("a", "b").await;
        world.copy("b", "c").await;
        let (upload, _, part) = part_of(&world, "a").await;
        world.service.commit_part(&upload, 1, &part, &[]).await.expect("answered").expect("kept");
        assert_eq!(world.holding_counts(), (3, 3, 0));
        if versioning.is_some() {
            // Hidden, and still a version.
            world.delete_and_collect("b").await;
        }
        for _ in 0..2 {
            world.look_after_holdings().await;
            assert_eq!((world.holding_counts(), world.meta.count(CONDEMNED)), ((3, 0, 0), 0));
        }
        complete(&world, &upload, &part).await;
        world.look_after_holdings().await;
        if versioning.is_none() {
            for key in ["a", "b"] {
                world.delete_and_collect(key).await;
            }
        }
        for key in ["c", "k"] {
            assert_eq!(world.get(key).await.expect("there"), bytes, "{key}");
        }
    }
}

/// Whoever reads what was deleted gets its time.
#[tokio::test]
async fn a_copy_that_was_deleted_is_left_to_the_list_of_garbage() {
    let world = world().await;
    world.put("a", &content(SIZE)).await;
    world.copy("a", "b").await;
    for key in ["a", "b"] {
        let item = DeleteItem { key: key.into(), ..Default::default() };
        world.service.delete_object(DeleteRequest { bucket: BUCKET.into(), item }).await.expect("deleted");
    }
    world.look_after_holdings().await;
    assert_eq!((world.holding_counts(), world.meta.count(CONDEMNED)), ((1, 0, 0), 0));
    world.collect_garbage().await;
    assert_eq!((world.holding_counts(), world.extent_count()), ((0, 0, 0), 0));
}

#[tokio::test]
async fn a_commit_after_the_verdict_is_refused() {
    let world = world().await;
    world.put("a", &content(SIZE)).await;
    let (_, record) = world.hold("a", world.route("b").await).await;
    let (upload, _, part) = part_of(&world, "a").await;
    world.look_after_holdings().await;
    // The verdict on a commit that may come at any time stays.
    world.clock.advance(std::time::Duration::from_secs(3600));
    assert_eq!(world.commit("b", &record).await, Err(Refusal::Condemned));
    let late = world.service.commit_part(&upload, 1, &part, &[]).await.expect("answered");
    assert_eq!(late.map(drop), Err(Refusal::Condemned));
    assert_eq!(world.holding_counts(), (0, 0, 0));
    // The client tries again.
    world.copy("a", "b").await;
    world.delete_and_collect("a").await;
    assert_eq!(world.get("b").await.expect("there"), content(SIZE));
}

/// A rename takes a loan to another row than the one that is noted.
#[tokio::test]
async fn what_was_copied_and_renamed_is_in_use() {
    for ranges in [1, 2] {
        let world = world().await;
        if ranges == 2 {
            *world.meta.cuts.lock() = vec![world.route("b").await];
        }
        let bytes = content(SIZE);
        world.put("a", &bytes).await;
        world.copy("a", "b").await;
        world.copy("a", "e").await;
        // The collector has found them before, and asks after.
        let found = unseen(&world);
        world.rename("b", "c").await.expect("renamed");
        world.rename("c", "d").await.expect("renamed");
        assert_eq!(world.holding_counts(), (2, 1, 0));
        for item in &found {
            world.service.collect(item).await.expect("looked after");
        }
        world.look_after_holdings().await;
        assert_eq!(world.holding_counts(), (2, 0, 0));
        world.delete_and_collect("a").await;
        for key in ["d", "e"] {
            assert_eq!(world.get(key).await.expect("there"), bytes);
            world.delete_and_collect(key).await;
        }
        assert_eq!((world.holding_counts(), world.extent_count()), ((0, 0, 0), 0));
    }
}

/// The gateway does not know what became of its commit; others do.
#[tokio::test]
async fn what_is_in_doubt_may_be_renamed_meanwhile() {
    let world = world().await;
    let bytes = content(SIZE);
    world.put("a", &bytes).await;
    for (failure, key) in [(Err(ServiceError::Unavailable), "c"), (Ok(Err(Refusal::Stale)), "d")] {
        let (held, record) = world.hold("a", world.route("b").await).await;
        assert_eq!(world.commit("b", &record).await, Ok(()));
        world.rename("b", key).await.expect("renamed");
        world.service.settle::<()>(held, &failure).await;
    }
    world.delete_and_collect("a").await;
    for key in ["c", "d"] {
        assert_eq!(world.get(key).await.expect("there"), bytes);
    }
}

/// The answer to the first attempt is lost, the client completes the upload, and the second attempt finds none.
#[tokio::test]
async fn a_refusal_is_no_proof_that_nothing_was_committed() {
    let world = world().await;
    let bytes = content(SIZE);
    world.put("a", &bytes).await;
    let (upload, held, part) = part_of(&world, "a").await;
    world.service.commit_part(&upload, 1, &part, &[]).await.expect("answered").expect("kept");
    complete(&world, &upload, &part).await;
    let again = world.service.commit_part(&upload, 1, &part, &[]).await;
    assert!(matches!(again, Ok(Err(Refusal::NoSuchUpload))));
    world.service.settle(held, &again).await;
    world.delete_and_collect("a").await;
    assert_eq!(world.get("k").await.expect("there"), bytes);

    // An attempt that is under way still when another one was refused for its condition.
    world.put("a", &bytes).await;
    world.put("b", &content(10)).await;
    let (held, record) = world.hold("a", world.route("b").await).await;
    let refusal = Refusal::Write(crate::conditions::WriteRefusal::IfNoneMatch);
    world.service.settle::<()>(held, &Ok(Err(refusal))).await;
    assert_eq!(world.commit("b", &record).await, Err(Refusal::Condemned));
}

#[tokio::test]
async fn a_part_that_arrives_again_when_its_loan_was_given_back_is_refused() {
    let world = world().await;
    world.put("a", &content(SIZE)).await;
    let (upload, _, part) = part_of(&world, "a").await;
    world.service.commit_part(&upload, 1, &part, &[]).await.expect("answered").expect("kept");
    let copy = PartCopyRequest {
        source_bucket: BUCKET.into(),
        source_key: "a".into(),
        bucket: BUCKET.into(),
        key: "k".into(),
        upload_id: upload.id.to_string(),
        part_number: 1,
        ..Default::default()
    };
    world.service.upload_part_copy(copy).await.expect("copied over it");
    world.collect_garbage().await;
    assert_eq!(world.meta.count(HOLDERS), 1);
    let late = world.service.commit_part(&upload, 1, &part, &[]).await.expect("answered");
    assert_eq!(late.map(drop), Err(Refusal::Condemned));
    complete(&world, &upload, &part).await;
    world.look_after_holdings().await;
    world.delete_and_collect("a").await;
    assert_eq!(world.get("k").await.expect("there"), content(SIZE));
}

/// Commands arrive again, late.
#[tokio::test]
async fn a_note_does_not_come_back() {
    let world = world().await;
    let bytes = content(SIZE);
    world.put("a", &bytes).await;
    let (route, row) = (world.route("a").await, world.route("b").await);
    let found = world.service.find(BUCKET, "a", None).await.expect("there");
    let (Some(data), holder, issued) = (found.record.data.own(), DataId(77), world.clock.now()) else {
        panic!("data of its own")
    };
    let proof = Proof::Version(found.record.version);
    let hold = Command::Hold { route: route.clone(), issued, data, holder, proof, row: row.clone() };
    let send = async || world.service.command::<()>(&route, &hold).await.expect("answered");
    assert_eq!(send().await, Ok(()));
    let held = Held { loan: crate::records::Loan { route: route.clone(), holder }, data, row };
    let mut record = VersionRecord { version: world.service.new_version(), ..found.record };
    lend(&mut record.data, &held);
    assert_eq!(world.commit("b", &record).await, Ok(()));
    world.look_after_holdings().await;
    world.rename("b", "c").await.expect("renamed");
    assert_eq!((send().await, world.holding_counts()), (Ok(()), (1, 0, 0)), "held before");
    world.look_after_holdings().await;
    world.delete_and_collect("c").await;
    assert_eq!(world.holding_counts(), (0, 0, 0));
    // Given back before: it is held once more, for a while.
    assert_eq!((send().await, world.holding_counts()), (Ok(()), (1, 1, 0)));
    world.look_after_holdings().await;
    assert_eq!(world.holding_counts(), (0, 0, 0));
    world.clock.advance(std::time::Duration::from_secs(301));
    assert_eq!((send().await, world.holding_counts()), (Err(Refusal::Stale), (0, 0, 0)));
    assert_eq!(world.get("a").await.expect("there"), bytes);
}

#[tokio::test]
async fn a_bucket_that_is_deleted_leaves_no_holding() {
    let world = world().await;
    world.put("a", &content(SIZE)).await;
    world.hold("a", world.route("b").await).await;
    world.delete_and_collect("a").await;
    world.service.delete_bucket(BUCKET).await.expect("deleted");
    world.look_after_holdings().await;
    world.collect_garbage().await;
    assert_eq!((world.holding_counts(), world.extent_count()), ((0, 0, 0), 0));
}

/// A version that is written and hidden while a verdict is on its way to the log leaves no row that the verdict checks.
#[test]
fn a_verdict_on_a_version_waits_for_its_writers() {
    let latches = |command: &Command| ObjectEvaluator.latches(&encode(command));
    let route = keys::BucketId([7; 16]).route("k");
    let rows = [(route.clone(), 1), (keys::part(&route, DataId(3), 1), 0)];
    let record = VersionRecord::marker(karri_ring_types::VersionId(1), false, Timestamp(0), None);
    let put = PutCommand { route: route.clone(), issued: Timestamp(0), conditions: Conditions::default(), record };
    let written = latches(&Command::Put(Box::new(put))).exclusive;
    for (row, common) in rows {
        let condemn = latches(&Command::Condemn { row, data: DataId(2), extents: Vec::new() }).exclusive;
        assert_eq!(condemn.iter().filter(|latch| written.contains(latch)).count(), common);
    }
}
