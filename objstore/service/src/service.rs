//! The service and how it asks the ranges.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use karri_objstore_md5::Md5Pool;
use karri_ring_meta::{Evaluator, EvaluatorId, MetaClient, Route};
use karri_ring_node::ExtentClient;
use karri_ring_types::{Clock, ClusterKey, DataId, Rng, VersionId};
use quick_cache::sync::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buckets::KnownBucket;
use crate::evaluator::{DirectoryEvaluator, ObjectEvaluator};
use crate::messages::{Answer, Command, DirectoryCommand, DirectoryQuery, Query, Refusal};
use crate::ports::{ClusterMeta, Extents, Meta};
use crate::records::{Unreadable, decode, encode};
use crate::settings::SettingsCache;
use crate::{KEY_SIZE_BYTES_MAX, LifecycleDay, PART_SIZE_BYTES_MIN, ServiceError, StorageClasses};

/// Settings of an [`ObjectService`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// How the bytes of storage classes are kept.
    pub classes: StorageClasses,
    /// What keys of encrypted objects are sealed under. Without it only clients' own keys can be used.
    pub cluster_key: Option<ClusterKey>,
    /// How long a command or query is tried; longer than a change of leader takes, and so short that a node that is cut
    /// off says so within ten seconds.
    pub deadline: Duration,
    /// Buckets whose ids are remembered.
    pub buckets_cached_max: usize,
    /// Age from which the settings of a bucket are read again before they are used; other nodes see a change no later.
    pub settings_age_max: Duration,
    /// Bytes of configuration documents that are remembered.
    pub settings_cached_bytes_max: u64,
    /// Commands of one batch delete that are under way at a time.
    pub deletes_in_flight_max: usize,
    /// Least bytes of each part of an upload but the last.
    pub part_size_bytes_min: u64,
    /// How long a day is for which an archived object is restored; short ones are for tests.
    pub day: LifecycleDay,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            classes: StorageClasses::default(),
            cluster_key: None,
            deadline: Duration::from_secs(8),
            buckets_cached_max: 10_000,
            settings_age_max: Duration::from_millis(500),
            settings_cached_bytes_max: 64 << 20,
            deletes_in_flight_max: 64,
            part_size_bytes_min: PART_SIZE_BYTES_MIN,
            day: LifecycleDay::default(),
        }
    }
}

/// Buckets and objects: every operation of S3's core, without HTTP.
pub struct ObjectService {
    pub(crate) meta: Arc<dyn Meta>,
    pub(crate) extents: Arc<dyn Extents>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) config: ServiceConfig,
    /// Hashes the bodies of all requests together.
    pub(crate) md5: Arc<Md5Pool>,
    pub(crate) buckets: Cache<String, Arc<KnownBucket>>,
    pub(crate) settings: SettingsCache,
    /// For tasks that outlive a request.
    pub(crate) this: Weak<Self>,
}

impl ObjectService {
    /// Number of [`ObjectService::evaluator`].
    pub const EVALUATOR: EvaluatorId = EvaluatorId(16);
    /// Number of [`ObjectService::directory_evaluator`].
    pub const DIRECTORY: EvaluatorId = EvaluatorId(17);

    /// A service over a cluster whose metadata nodes have both evaluators registered.
    pub fn new(
        meta: Arc<MetaClient>,
        extents: ExtentClient,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: ServiceConfig,
    ) -> Arc<Self> {
        let meta = Arc::new(ClusterMeta { client: meta, deadline: config.deadline });
        Self::over(meta, Arc::new(extents), clock, rng, config)
    }

    pub(crate) fn over(
        meta: Arc<dyn Meta>,
        extents: Arc<dyn Extents>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: ServiceConfig,
    ) -> Arc<Self> {
        let buckets = Cache::new(config.buckets_cached_max);
        let settings = SettingsCache::new(config.buckets_cached_max, config.settings_cached_bytes_max);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let md5 = Md5Pool::new(cores);
        Arc::new_cyclic(|this| Self { meta, extents, clock, rng, config, md5, buckets, settings, this: this.clone() })
    }

    /// Decides on objects; for every metadata node.
    pub fn evaluator() -> Arc<dyn Evaluator> {
        Arc::new(ObjectEvaluator)
    }

    /// Decides on the directory of buckets; for every metadata node.
    pub fn directory_evaluator() -> Arc<dyn Evaluator> {
        Arc::new(DirectoryEvaluator)
    }

    pub(crate) fn new_version(&self) -> VersionId {
        VersionId::generate(&*self.clock, &*self.rng)
    }

    pub(crate) fn new_data(&self) -> DataId {
        DataId::generate(&*self.clock, &*self.rng)
    }

    /// Carries out a command with an answer.
    pub(crate) async fn command<T: DeserializeOwned>(
        &self,
        route: &[u8],
        command: &Command,
    ) -> Result<Answer<T>, ServiceError> {
        self.command_with(route, command, &[]).await
    }

    /// Carries out a command with a body behind it.
    pub(crate) async fn command_with<T: DeserializeOwned>(
        &self,
        route: &[u8],
        command: &Command,
        body: &[u8],
    ) -> Result<Answer<T>, ServiceError> {
        self.command_within(route, crate::Quota::default(), command, body).await
    }

    /// Carries out a command whatever its reply is.
    pub(crate) async fn execute<T: DeserializeOwned>(&self, route: &[u8], command: Vec<u8>) -> Result<T, ServiceError> {
        let route = Route::Key(route.to_vec());
        let reply = self.meta.execute(route, Self::EVALUATOR, command.into()).await?;
        Ok(decode(&reply)?)
    }

    /// Answers a query from the range of `route`.
    pub(crate) async fn query<T: DeserializeOwned>(&self, route: &[u8], query: &Query) -> Result<T, ServiceError> {
        Ok(decode(&self.query_raw(route, query).await?)?)
    }

    pub(crate) async fn query_raw(&self, route: &[u8], query: &Query) -> Result<Bytes, ServiceError> {
        self.meta.query(Route::Key(route.to_vec()), Self::EVALUATOR, encode(query).into()).await
    }

    pub(crate) async fn directory_command<T: DeserializeOwned>(
        &self,
        command: &DirectoryCommand,
    ) -> Result<T, ServiceError> {
        Ok(decode(&self.meta.execute(Route::System, Self::DIRECTORY, bytes_of(command)).await?)?)
    }

    pub(crate) async fn directory_query<T: DeserializeOwned>(&self, query: &DirectoryQuery) -> Result<T, ServiceError> {
        Ok(decode(&self.meta.query(Route::System, Self::DIRECTORY, bytes_of(query)).await?)?)
    }
}

fn bytes_of<T: Serialize>(message: &T) -> Bytes {
    encode(message).into()
}

/// Refuses keys that S3 does not take.
pub(crate) fn check_key(key: &str) -> Result<(), ServiceError> {
    match key.len() {
        0 => Err(ServiceError::InvalidRequest("A key must not be empty.".to_owned())),
        1..=KEY_SIZE_BYTES_MAX => Ok(()),
        _ => Err(ServiceError::KeyTooLong),
    }
}

impl From<Unreadable> for ServiceError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Internal(unreadable.to_string())
    }
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchBucket => Self::NoSuchBucket,
            Refusal::BucketNotEmpty | Refusal::HasUploads(_) => Self::BucketNotEmpty,
            Refusal::NoSuchUpload => Self::NoSuchUpload,
            Refusal::Write(refusal) => refusal.into(),
            Refusal::SourceChanged => Self::ConditionalRequestConflict,
            Refusal::OtherRange => Self::OtherRange,
            Refusal::Condemned | Refusal::Stale => Self::Unavailable,
            Refusal::NoSuchVersion => Self::NoSuchVersion,
            Refusal::DeleteMarker => {
                Self::DeleteMarker { version: None, last_modified: karri_ring_types::Timestamp(0), named: true }
            }
            Refusal::Locked => Self::Locked,
            Refusal::NoLock => Self::NoObjectLock,
            Refusal::RetentionPassed => Self::RetentionPassed,
            Refusal::NotArchived => Self::Archived { class: String::new() },
            Refusal::LockNeedsVersioning => Self::LockNeedsVersioning,
            Refusal::InvalidPart { number } => Self::InvalidPart { part_number: number, etag: String::new() },
            Refusal::EntityTooSmall { number, size } => {
                Self::EntityTooSmall { size, part_number: number, etag: String::new() }
            }
            Refusal::EntityTooLarge => Self::EntityTooLarge,
            Refusal::ChecksumMismatch(algorithm) => Self::ChecksumMismatch { algorithm },
            Refusal::DocumentTooLarge => Self::EntityTooLarge,
            Refusal::QuotaExceeded => Self::QuotaExceeded,
            Refusal::Metered | Refusal::NotMetered | Refusal::NeedsReservation { .. } => Self::Unavailable,
            Refusal::InvalidRequest(message) => Self::InvalidRequest(message),
        }
    }
}
