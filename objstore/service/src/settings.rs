//! What is configured of a bucket: documents that the layers above validate and understand, kept beside the bucket's
//! record, and remembered for a moment, because nearly every request asks for some of them.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use karri_ring_types::VersionId;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use crate::buckets::{in_bucket, info_of};
use crate::keys::BucketId;
use crate::messages::{Answer, Command, Query, SettingsAnswer};
use crate::{BucketInfo, ObjectService, ServiceError};

/// What a document configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as the sub-resources are")]
pub enum BucketConfigKind {
    Policy,
    Acl,
    OwnershipControls,
    PublicAccessBlock,
    Cors,
    Tagging,
    Website,
    Lifecycle,
    Encryption,
    RequestPayment,
    Accelerate,
    Notification,
    Logging,
    Abac,
}

impl BucketConfigKind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Policy,
        Self::Acl,
        Self::OwnershipControls,
        Self::PublicAccessBlock,
        Self::Cors,
        Self::Tagging,
        Self::Website,
        Self::Lifecycle,
        Self::Encryption,
        Self::RequestPayment,
        Self::Accelerate,
        Self::Notification,
        Self::Logging,
        Self::Abac,
    ];

    /// Most bytes of a document.
    pub fn size_bytes_max(self) -> usize {
        match self {
            Self::Policy => 20 << 10,
            // 1,000 rules.
            Self::Lifecycle => 1 << 20,
            Self::Cors | Self::Website => 128 << 10,
            _ => 64 << 10,
        }
    }

    /// Its number in keys of rows; zero is the revision's.
    pub(crate) fn row(self) -> u8 {
        match self {
            Self::Policy => 1,
            Self::Acl => 2,
            Self::OwnershipControls => 3,
            Self::PublicAccessBlock => 4,
            Self::Cors => 5,
            Self::Tagging => 6,
            Self::Website => 7,
            Self::Lifecycle => 8,
            Self::Encryption => 9,
            Self::RequestPayment => 10,
            Self::Accelerate => 11,
            Self::Notification => 12,
            Self::Logging => 13,
            Self::Abac => 14,
        }
    }
}

/// What a reader made of a document, for those who ask later.
type Compiled = OnceLock<Arc<dyn Any + Send + Sync>>;

#[derive(Default)]
struct Document {
    bytes: Bytes,
    compiled: Compiled,
}

/// A bucket's record and all its documents, at one moment.
pub struct BucketSettings {
    info: BucketInfo,
    revision: u64,
    documents: Arc<BTreeMap<BucketConfigKind, Document>>,
}

impl BucketSettings {
    fn new(info: BucketInfo, revision: u64, documents: Vec<(BucketConfigKind, Vec<u8>)>) -> Self {
        let document = |bytes: Vec<u8>| Document { bytes: bytes.into(), compiled: Compiled::new() };
        let documents = documents.into_iter().map(|(kind, bytes)| (kind, document(bytes))).collect();
        Self { info, revision, documents: Arc::new(documents) }
    }

    /// The bucket.
    pub fn info(&self) -> &BucketInfo {
        &self.info
    }

    /// A document.
    pub fn document(&self, kind: BucketConfigKind) -> Option<Bytes> {
        self.documents.get(&kind).map(|document| document.bytes.clone())
    }

    /// Whether there is such a document.
    pub fn has(&self, kind: BucketConfigKind) -> bool {
        self.documents.contains_key(&kind)
    }

    /// What `compile` makes of a document. It is called once for each change of a bucket's documents and node; all
    /// readers of one kind must ask for the same type, or compile it themselves each time.
    pub fn compiled<T: Any + Send + Sync>(
        &self,
        kind: BucketConfigKind,
        compile: impl FnOnce(&[u8]) -> T,
    ) -> Option<Arc<T>> {
        let document = self.documents.get(&kind)?;
        if let Some(known) = document.compiled.get() {
            if let Ok(known) = known.clone().downcast::<T>() {
                return Some(known);
            }
            return Some(Arc::new(compile(&document.bytes)));
        }
        let made = Arc::new(compile(&document.bytes));
        // Another reader may have been faster with the same.
        let _ = document.compiled.set(made.clone());
        Some(made)
    }

    fn size_bytes(&self) -> u64 {
        const RECORD_BYTES: u64 = 512;
        self.documents.values().fold(RECORD_BYTES, |sum, document| sum + document.bytes.len() as u64)
    }
}

impl fmt::Debug for BucketSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.documents.keys().collect();
        f.debug_struct("BucketSettings").field("bucket", &self.info.name).field("documents", &kinds).finish()
    }
}

/// Settings of one bucket as this node saw them last.
#[derive(Default)]
pub(crate) struct Seen {
    /// With the monotonic time at which they were asked for.
    last: Mutex<Option<(Arc<BucketSettings>, Duration)>>,
    /// Whoever holds it asks for them.
    asking: tokio::sync::Mutex<()>,
    /// What was asked for before this is not kept: there was a change.
    floor: Duration,
    size_bytes: u64,
}

impl Seen {
    /// Settings that are not older than this.
    fn not_before(&self, moment: Duration) -> Option<(Arc<BucketSettings>, Duration)> {
        self.last.lock().clone().filter(|(_, asked)| *asked >= moment)
    }
}

/// Weighs what is remembered by its bytes.
#[derive(Clone, Debug)]
pub(crate) struct BySize;

impl Weighter<BucketId, Arc<Seen>> for BySize {
    fn weight(&self, _: &BucketId, seen: &Arc<Seen>) -> u64 {
        // What weighs nothing is never forgotten.
        seen.size_bytes.max(1)
    }
}

/// Settings of buckets.
pub(crate) struct SettingsCache {
    seen: Cache<BucketId, Arc<Seen>, BySize>,
    /// Held while what is seen is replaced.
    replacing: Mutex<()>,
}

impl SettingsCache {
    pub(crate) fn new(buckets_max: usize, bytes_max: u64) -> Self {
        Self { seen: Cache::with_weighter(buckets_max, bytes_max, BySize), replacing: Mutex::new(()) }
    }

    fn of(&self, id: BucketId) -> Arc<Seen> {
        let seen = self.seen.get_or_insert_with(&id, || Ok::<_, std::convert::Infallible>(Arc::default()));
        seen.unwrap_or_default()
    }

    /// Forgets what was seen, also by those who are asking now.
    fn forget(&self, id: BucketId, floor: Duration) {
        let _replacing = self.replacing.lock();
        self.seen.insert(id, Arc::new(Seen { floor, ..Seen::default() }));
    }

    /// Keeps what was seen, unless something newer was.
    fn keep(&self, id: BucketId, settings: &Arc<BucketSettings>, asked: Duration) {
        let _replacing = self.replacing.lock();
        let seen = self.of(id);
        let mut last = seen.last.lock();
        let newest = last.as_ref().is_none_or(|(known, at)| (known.revision, *at) <= (settings.revision, asked));
        if !newest || asked < seen.floor {
            return;
        }
        *last = Some((settings.clone(), asked));
        let size_bytes = settings.size_bytes();
        if seen.size_bytes != size_bytes {
            let last = Mutex::new(last.clone());
            let weighed = Seen { last, asking: tokio::sync::Mutex::default(), floor: seen.floor, size_bytes };
            self.seen.insert(id, Arc::new(weighed));
        }
    }
}

impl ObjectService {
    /// Writes a document of a bucket. This node's requests see it from now on, other nodes' within
    /// [`crate::ServiceConfig::settings_age_max`].
    ///
    /// # Errors
    /// `NoSuchBucket`, `EntityTooLarge` over the bound of its kind.
    pub async fn put_bucket_config(
        &self,
        bucket: &str,
        kind: BucketConfigKind,
        document: Bytes,
    ) -> Result<(), ServiceError> {
        let operation = self.new_version();
        in_bucket!(self, bucket, |known| {
            let command = Command::PutBucketConfig { id: known.id, kind, operation };
            self.change_config(known.id, &command, &document).await
        })
    }

    /// Deletes a document of a bucket, if it is there.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub async fn delete_bucket_config(&self, bucket: &str, kind: BucketConfigKind) -> Result<(), ServiceError> {
        let operation: VersionId = self.new_version();
        in_bucket!(self, bucket, |known| {
            let command = Command::DeleteBucketConfig { id: known.id, kind, operation };
            self.change_config(known.id, &command, &[]).await
        })
    }

    async fn change_config(&self, id: BucketId, command: &Command, document: &[u8]) -> Result<(), ServiceError> {
        let changed: Result<Answer<()>, ServiceError> = self.command_with(&id.0, command, document).await;
        // Also after a failure: it may have been done all the same.
        self.settings_changed(id).await;
        Ok(changed??)
    }

    /// Sees to it that requests that begin after this see what was committed before.
    pub(crate) async fn settings_changed(&self, id: BucketId) {
        let now = self.clock.monotonic();
        self.settings.forget(id, now);
        if let Err(error) = self.ask_settings(id, &self.settings.of(id), now).await {
            tracing::debug!(%error, "settings of a bucket are read later");
        }
    }

    /// A document as it is now.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub async fn bucket_config(&self, bucket: &str, kind: BucketConfigKind) -> Result<Option<Bytes>, ServiceError> {
        in_bucket!(self, bucket, |known| {
            let seen = self.settings.of(known.id);
            let now = self.clock.monotonic();
            self.ask_settings(known.id, &seen, now).await.map(|settings| settings.document(kind))
        })
    }

    /// All that is configured of a bucket, without a read of the metadata when this node has seen it just before.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub async fn bucket_settings(&self, bucket: &str) -> Result<Arc<BucketSettings>, ServiceError> {
        in_bucket!(self, bucket, |known| self.settings_of(known.id).await)
    }

    async fn settings_of(&self, id: BucketId) -> Result<Arc<BucketSettings>, ServiceError> {
        let seen = self.settings.of(id);
        let now = self.clock.monotonic();
        let age_max = self.config.settings_age_max;
        let Some((settings, asked)) = seen.not_before(now.saturating_sub(age_max)) else {
            let asked = async {
                let _asking = seen.asking.lock().await;
                // Somebody else may have asked in the meantime.
                match seen.not_before(now) {
                    Some((settings, _)) => Ok(settings),
                    None => self.ask_settings(id, &seen, self.clock.monotonic()).await,
                }
            };
            // Where nobody answers, those who wait for each other must not do so in turn.
            let asked = tokio::time::timeout(self.config.deadline, asked).await;
            return asked.unwrap_or(Err(ServiceError::Unavailable));
        };
        if asked + age_max / 2 < now {
            self.renew_settings(id, &seen);
        }
        Ok(settings)
    }

    /// Asks again before the settings are too old, so that a busy bucket's requests never wait for it.
    fn renew_settings(&self, id: BucketId, seen: &Arc<Seen>) {
        let Some(this) = self.this.upgrade() else { return };
        let seen = seen.clone();
        tokio::spawn(async move {
            let Ok(_asking) = seen.asking.try_lock() else { return };
            let now = this.clock.monotonic();
            if seen.not_before(now.saturating_sub(this.config.settings_age_max / 2)).is_none() {
                // Whoever needs them asks again and hears of the failure.
                let _ = this.ask_settings(id, &seen, now).await;
            }
        });
    }

    async fn ask_settings(
        &self,
        id: BucketId,
        seen: &Seen,
        now: Duration,
    ) -> Result<Arc<BucketSettings>, ServiceError> {
        let known = seen.last.lock().clone().map(|(settings, _)| settings);
        let query = Query::Settings { id, known: known.as_ref().map(|settings| settings.revision) };
        let answer: Answer<SettingsAnswer> = self.query(&id.0, &query).await?;
        let SettingsAnswer { record, revision, documents } = match answer {
            Ok(answer) => answer,
            Err(refusal) => {
                self.settings.seen.remove(&id);
                return Err(refusal.into());
            }
        };
        let info = info_of(record);
        let settings = match (documents, known) {
            (Some(documents), _) => BucketSettings::new(info, revision, documents),
            (None, Some(known)) => BucketSettings { info, revision, documents: known.documents.clone() },
            (None, None) => return Err(ServiceError::Internal("no documents of a bucket".to_owned())),
        };
        let settings = Arc::new(settings);
        self.settings.keep(id, &settings, now);
        Ok(settings)
    }
}
