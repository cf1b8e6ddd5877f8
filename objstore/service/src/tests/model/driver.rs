//! Takes the steps on the service and on the reference, and compares.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_types::{Clock, SeededRng, Timestamp};
use karri_tests_model::Outcome;
use md5::{Digest as _, Md5};

use super::reference::{Ending, Reference, Version};
use super::steps::{KEYS, Keep, Kind, Luck, Sequence, Step, size_of};
use crate::keys::{CURRENT, GARBAGE, HOLDERS, HOLDINGS, NULL_VERSIONS, PARTS, UPLOADS, VERSIONS};
use crate::tests::support::{BUCKET, Fate, World, collect, world};
use crate::{
    BucketLock, DeleteItem, DeleteRequest, GetRequest, LockMode, ObjectLock, ObjectRef, ObjectService, Retention,
    ServiceConfig, ServiceError, UploadRef, VersionRef, Versioning,
};

/// What is wrong with the system on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Conditions of writes are not looked at.
    ConditionsDropped,
    /// A deleted version keeps its row.
    VersionLeft,
    /// A listing that goes on skips the first line of the next page.
    BorderSkipped,
    /// A reopened service has lost its last command.
    LastCommandLost,
    /// The collector does not ask who else holds an extent.
    HoldersForgotten,
    /// The lock of a new version is not kept.
    LockForgotten,
    /// Notes of holdings stay when a rename takes the loan to another row.
    HoldingsLeft,
}

/// Both sides.
pub(super) struct Pair {
    pub(super) world: World,
    pub(super) reference: Reference,
    pub(super) fault: Fault,
    pub(super) kind: Kind,
    /// The rows before the last step, where the fault needs them.
    before: Option<Rows>,
    /// Notes of holdings that were ever seen, where the fault needs them.
    notes: Rows,
}

type Rows = std::collections::BTreeMap<(bool, u8, Vec<u8>), Bytes>;

/// The second half of the keys of a bucket that is cut.
pub(super) const CUT: &str = "a/b";

/// Runs a sequence against a new world.
pub(super) fn run(sequence: Sequence, fault: Fault) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut pair = Pair::new(sequence.kind, fault).await?;
        for (at, step) in sequence.steps.into_iter().enumerate() {
            if fault == Fault::LastCommandLost && !matches!(step, Step::Reopen) {
                pair.before = Some(pair.world.meta.state.lock().clone());
            }
            let told = format!("step {at} {step:?}");
            pair.take(step).await.map_err(|failure| format!("{told}: {failure}"))?;
            if fault == Fault::HoldingsLeft {
                pair.keep_notes();
            }
            // Ids that are made in one millisecond are in no order, as those of nodes whose clocks differ.
            pair.world.clock.advance(Duration::from_millis(at as u64 % 3));
            if at % 8 == 7 {
                pair.compare().await.map_err(|failure| format!("after {told}: {failure}"))?;
            }
        }
        pair.compare().await.map_err(|failure| format!("at the end: {failure}"))?;
        pair.clear().await.map_err(|failure| format!("when all is deleted: {failure}"))
    })
}

pub(super) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Outcome {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?} instead of {expected:?}")),
    }
}

/// An error by its kind; what no step should meet is told as it is.
pub(super) fn ending(error: &ServiceError) -> Result<Ending, String> {
    Ok(match error {
        ServiceError::NoSuchKey => "no key",
        ServiceError::NoSuchVersion => "no version",
        ServiceError::DeleteMarker { named: false, .. } => "marker",
        ServiceError::DeleteMarker { named: true, .. } => "named marker",
        ServiceError::Locked => "locked",
        ServiceError::NoObjectLock => "no lock",
        ServiceError::LockNeedsVersioning => "needs versions",
        ServiceError::VersionsKept => "versions are kept",
        ServiceError::OtherRange => "other range",
        ServiceError::NoSuchUpload => "no upload",
        ServiceError::InvalidPart { .. } => "invalid part",
        ServiceError::EntityTooSmall { .. } => "too small",
        ServiceError::PreconditionFailed { .. } => "precondition",
        ServiceError::NotModified { .. } => "not modified",
        ServiceError::InvalidRange { .. } => "range",
        ServiceError::InvalidRequest(_) => "invalid",
        ServiceError::Unavailable => "unavailable",
        other => return Err(format!("unexpected: {other:?}")),
    })
}

/// Compares how an operation ended; `Some` when both succeeded.
pub(super) fn agree<T, U>(
    found: Result<T, ServiceError>,
    expected: Result<U, Ending>,
) -> Result<Option<(T, U)>, String> {
    match (found, expected) {
        (Ok(found), Ok(expected)) => Ok(Some((found, expected))),
        (Err(error), Err(expected)) => same("refusal", &ending(&error)?, &expected).map(|()| None),
        (Ok(_), Err(expected)) => Err(format!("it succeeded instead of: {expected}")),
        (Err(error), Ok(_)) => Err(format!("it failed: {error:?}")),
    }
}

pub(super) fn md5_of(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

/// The bytes of a body, different for each number.
pub(super) fn body_of(body: u8) -> Bytes {
    vec![body; size_of(body)].into()
}

pub(super) fn etag_of(body: u8) -> String {
    md5_of(&body_of(body))
}

pub(super) fn key_of(key: u8) -> &'static str {
    KEYS[usize::from(key) % KEYS.len()]
}

impl Pair {
    async fn new(kind: Kind, fault: Fault) -> Result<Self, String> {
        let world = world().await;
        let mut reference = Reference::default();
        match kind {
            Kind::Plain => {}
            Kind::Cut => {
                let id = world.service.bucket(BUCKET).await.map_err(|error| error.to_string())?.id;
                *world.meta.cuts.lock() = vec![id.route(CUT)];
            }
            Kind::Locked => {
                let service = &world.service;
                service.set_versioning(BUCKET, Versioning::Enabled).await.map_err(|error| error.to_string())?;
                let locked = service.set_bucket_lock(BUCKET, BucketLock::default()).await;
                locked.map_err(|error| error.to_string())?;
                (reference.versioning, reference.locked) = (Versioning::Enabled, true);
            }
        }
        Ok(Self { world, reference, fault, kind, before: None, notes: Rows::new() })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    pub(super) fn lock_of(&self, keep: Keep) -> ObjectLock {
        let until = |seconds: u8| Timestamp(self.now().as_millis() + 1000 + u64::from(seconds) * 1000);
        let retain =
            |mode, seconds| ObjectLock { retention: Some(Retention { mode, until: until(seconds) }), legal_hold: None };
        match keep {
            Keep::No => ObjectLock::default(),
            Keep::Hold => ObjectLock { retention: None, legal_hold: Some(true) },
            Keep::Governance(seconds) => retain(LockMode::Governance, seconds),
            Keep::Compliance(seconds) => retain(LockMode::Compliance, seconds),
        }
    }

    pub(super) fn fate(&self, luck: Luck) {
        *self.world.meta.next_commit.lock() = match luck {
            Luck::Answered => Fate::Answered,
            Luck::Silent => Fate::Silent,
            Luck::Lost => Fate::Lost,
        };
    }

    /// A service that remembers nothing, over the same rows and extents.
    pub(super) fn reopen(&mut self) {
        if let Some(before) = self.before.take() {
            *self.world.meta.state.lock() = before;
        }
        let World { meta, extents, clock, .. } = &self.world;
        let cluster_key = Some(karri_ring_types::ClusterKey::generate(&SeededRng::new(9)));
        let config = ServiceConfig { cluster_key, ..ServiceConfig::default() };
        let rng = SeededRng::new(clock.now().as_millis());
        let service =
            ObjectService::over(meta.clone(), extents.clone(), clock.clone(), std::sync::Arc::new(rng), config);
        self.world.service = service;
    }

    pub(super) async fn collect(&self) {
        if self.fault == Fault::HoldersForgotten {
            self.world.meta.state.lock().retain(|(_, table, _), _| *table != HOLDERS.0);
        }
        self.world.meta.state.lock().extend(self.notes.clone());
        self.world.look_after_holdings().await;
        self.world.collect_garbage().await;
    }

    fn keep_notes(&mut self) {
        let state = self.world.meta.state.lock();
        let noted = state.iter().filter(|((_, table, _), _)| *table == HOLDINGS.0);
        self.notes.extend(noted.map(|(key, row)| (key.clone(), row.clone())));
    }

    pub(super) async fn read(&self, key: &str, version: Option<VersionRef>) -> Result<Bytes, ServiceError> {
        let get = GetRequest { bucket: BUCKET.into(), key: key.into(), version, ..Default::default() };
        collect(self.world.service.get_object(get).await?).await
    }

    /// Reads and lists everything.
    async fn compare(&mut self) -> Outcome {
        self.collect().await;
        for (key, versions) in &self.reference.keys {
            for Version { id, body, tag, .. } in versions {
                let found = self.read(key, Some(*id)).await;
                let expected = body.clone().ok_or("named marker");
                if let Some((found, expected)) = agree(found, expected).map_err(|why| format!("{key} {id}: {why}"))? {
                    let wrong = || format!("{key} {id}: {} bytes, not the {} written", found.len(), expected.len());
                    (found == expected).then_some(()).ok_or_else(wrong)?;
                    let object = ObjectRef { bucket: BUCKET.into(), key: key.clone(), version: Some(*id) };
                    let info = self.world.service.object_info(&object).await.map_err(|error| error.to_string())?;
                    same("tags", &info.tags.into_iter().next().map(|(_, value)| value), tag)?;
                }
            }
        }
        for key in KEYS {
            let found = self.read(key, None).await;
            let expected = self.reference.find(key, None).map(|version| version.body.clone().expect("an object"));
            if let Some((found, expected)) = agree(found, expected).map_err(|why| format!("{key}: {why}"))? {
                (found == expected).then_some(()).ok_or_else(|| format!("{key}: another body"))?;
            }
        }
        self.list("", None, None, 3).await?;
        self.list_versions("", None, 3).await?;
        self.list_uploads().await
    }

    /// Deletes everything: nothing is left.
    async fn clear(&mut self) -> Outcome {
        self.world.clock.advance(Duration::from_secs(1000));
        let service = self.world.service.clone();
        for (key, versions) in std::mem::take(&mut self.reference.keys) {
            for Version { id, body, .. } in versions {
                if self.reference.locked && body.is_some() {
                    let object = ObjectRef { bucket: BUCKET.into(), key: key.clone(), version: Some(id) };
                    service.set_legal_hold(&object, false).await.map_err(|error| error.to_string())?;
                }
                let item = DeleteItem { key: key.clone(), version: Some(id), ..Default::default() };
                let deleted = service.delete_object(DeleteRequest { bucket: BUCKET.into(), item }).await;
                deleted.map_err(|error| error.to_string())?;
            }
        }
        for upload in std::mem::take(&mut self.reference.uploads) {
            if upload.completed.is_none() {
                let upload = UploadRef { bucket: BUCKET.into(), key: upload.key, upload_id: upload.id };
                service.abort_upload(upload).await.map_err(|error| error.to_string())?;
            }
        }
        self.collect().await;
        let tables = [VERSIONS, CURRENT, NULL_VERSIONS, HOLDERS, HOLDINGS, PARTS, UPLOADS, GARBAGE];
        let left = tables.map(|table| (table.0, self.world.meta.count(table))).map(|(table, count)| (table, count));
        same("rows left", &left, &tables.map(|table| (table.0, 0)))?;
        same("extents left", &self.world.extent_count(), &0)?;
        service.delete_bucket(BUCKET).await.map_err(|error| error.to_string())
    }
}
