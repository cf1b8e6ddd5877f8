//! Buckets: their names, the saga between directory and range, and the cache of ids.

use std::net::Ipv4Addr;
use std::sync::Arc;

use karri_ring_types::Timestamp;

use crate::keys::BucketId;
use crate::messages::{Answer, Command, DirectoryCommand, DirectoryQuery, Query, Refusal};
use crate::records::{BucketRecord, DirectoryEntry, EntryState};
use crate::{BucketInfo, BucketLock, BucketState, CreateBucketRequest, ObjectService, ServiceError, Versioning};

/// Attempts of a saga that others may be in the midst of.
const ATTEMPTS_MAX: usize = 5;

/// Entries of the directory in one answer.
const ENTRIES_PER_PAGE: u32 = 500;

/// A bucket as the directory knows it.
#[derive(Debug)]
pub(crate) struct KnownBucket {
    pub(crate) id: BucketId,
    pub(crate) info: BucketInfo,
}

/// Whether `name` follows AWS's rules for bucket names.
pub(crate) fn is_bucket_name(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let forbidden_start = ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|start| name.starts_with(start));
    let forbidden_end = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"].iter().any(|end| name.ends_with(end));
    (3..=63).contains(&name.len())
        && name.bytes().all(inner)
        && edge(name.as_bytes().first())
        && edge(name.as_bytes().last())
        && !name.contains("..")
        && !forbidden_start
        && !forbidden_end
        && name.parse::<Ipv4Addr>().is_err()
        && !looks_like_address(name)
}

/// Four numbers, even if no address has them.
fn looks_like_address(name: &str) -> bool {
    let mut labels = 0;
    name.split('.').all(|label| {
        labels += 1;
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit())
    }) && labels == 4
}

impl ObjectService {
    /// Creates a bucket. It is there with all that was asked for, or not at all.
    ///
    /// # Errors
    /// `InvalidBucketName`, `BucketAlreadyOwnedByYou`, `BucketAlreadyExists`.
    pub async fn create_bucket(&self, request: CreateBucketRequest) -> Result<BucketInfo, ServiceError> {
        self.create_bucket_within(request, None).await
    }

    /// As [`ObjectService::create_bucket`], if the owner then has at most so many.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub async fn create_bucket_within(
        &self,
        request: CreateBucketRequest,
        buckets_max: Option<u64>,
    ) -> Result<BucketInfo, ServiceError> {
        if !is_bucket_name(&request.name) {
            return Err(ServiceError::InvalidBucketName);
        }
        let CreateBucketRequest { name, owner, region, object_lock, documents } = request;
        let documents: Vec<_> = documents.into_iter().map(|(kind, document)| (kind, document.to_vec())).collect();
        let state = match object_lock {
            true => BucketState { versioning: Versioning::Enabled, lock: Some(BucketLock::default()) },
            false => BucketState::default(),
        };
        for _ in 0..ATTEMPTS_MAX {
            let mut id = BucketId([0; 16]);
            self.rng.fill(&mut id.0);
            let record = BucketRecord {
                name: name.clone(),
                owner: owner.clone(),
                created: Timestamp(0),
                region: region.clone(),
                state,
                metered: false,
            };
            let entry = DirectoryEntry { id, state: EntryState::Creating, record, documents: documents.clone() };
            let reserve = DirectoryCommand::Reserve { entry: Box::new(entry), buckets_max };
            let there = self.directory_command::<Answer<DirectoryEntry>>(&reserve).await??;
            let own = there.record.owner.account_id == owner.account_id;
            match there.state {
                EntryState::Creating if there.id == id || own => {
                    // Another request of the same owner may have begun with another configuration.
                    let is_same = there.documents == documents && there.record.state == state;
                    let info = self.finish_creation(there).await?;
                    return if is_same { Ok(info) } else { Err(ServiceError::BucketAlreadyOwnedByYou) };
                }
                EntryState::Creating => return Err(ServiceError::BucketAlreadyExists),
                EntryState::Active => {
                    if self.record_of(there.id).await?.is_some() {
                        self.remember(&there);
                        return Err(match own {
                            true => ServiceError::BucketAlreadyOwnedByYou,
                            false => ServiceError::BucketAlreadyExists,
                        });
                    }
                    self.forget_deleted(&name, there.id).await?;
                }
            }
        }
        Err(ServiceError::SlowDown)
    }

    pub(crate) async fn finish_creation(&self, entry: DirectoryEntry) -> Result<BucketInfo, ServiceError> {
        let (record, documents) = (entry.record.clone(), entry.documents.clone());
        let create = Command::CreateBucket { id: entry.id, record, documents };
        self.command::<()>(&entry.id.0, &create).await??;
        let activate = DirectoryCommand::Activate { name: entry.record.name.clone(), id: entry.id };
        self.directory_command::<()>(&activate).await?;
        Ok(self.remember(&entry).info.clone())
    }

    /// Deletes a bucket without objects. Uploads that are going on are aborted.
    ///
    /// # Errors
    /// `NoSuchBucket`, `BucketNotEmpty`.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), ServiceError> {
        in_bucket!(self, name, |bucket| self.delete_known(name, &bucket).await)
    }

    async fn delete_known(&self, name: &str, bucket: &KnownBucket) -> Result<(), ServiceError> {
        // Each attempt aborts some of the uploads that are in the way.
        loop {
            match self.command::<bool>(&bucket.id.0, &Command::DeleteBucket { id: bucket.id }).await? {
                Ok(is_in_meter) => {
                    if is_in_meter {
                        self.settle_deleted(&bucket.info.owner.account_id, bucket.id).await;
                    }
                    return self.forget_deleted(name, bucket.id).await;
                }
                Err(Refusal::HasUploads(uploads)) => {
                    for (key, upload) in uploads {
                        let route = bucket.id.route(&key);
                        let abort = Command::AbortUpload { route: route.clone(), upload };
                        // Whoever else ended it, it is gone.
                        let _: Answer<()> = self.command(&route, &abort).await?;
                    }
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }

    /// A bucket that exists.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub async fn head_bucket(&self, name: &str) -> Result<BucketInfo, ServiceError> {
        in_bucket!(self, name, |bucket| match self.record_of(bucket.id).await? {
            Some(_) => Ok(bucket.info.clone()),
            None => Err(ServiceError::NoSuchBucket),
        })
    }

    /// The buckets of an account, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list_buckets(&self, account_id: &str) -> Result<Vec<BucketInfo>, ServiceError> {
        let mut buckets = Vec::new();
        let mut after = String::new();
        loop {
            let query = DirectoryQuery::List { account_id: account_id.to_owned(), after, limit: ENTRIES_PER_PAGE };
            let page: Vec<DirectoryEntry> = self.directory_query(&query).await?;
            let Some(last) = page.last() else { return Ok(buckets) };
            after = last.record.name.clone();
            let active = page.into_iter().filter(|entry| entry.state == EntryState::Active);
            buckets.extend(active.map(|entry| info_of(entry.record)));
        }
    }

    /// The bucket of this name, remembered or looked up. A remembered one may be gone: the ranges tell.
    pub(crate) async fn bucket(&self, name: &str) -> Result<Arc<KnownBucket>, ServiceError> {
        match self.buckets.get(name) {
            Some(known) => Ok(known),
            None => self.look_up(name).await,
        }
    }

    /// The bucket of this name after its range said that `gone` is not there. A name that was only forgotten
    /// by half is taken out of the directory.
    pub(crate) async fn bucket_instead(
        &self,
        name: &str,
        gone: &KnownBucket,
    ) -> Result<Arc<KnownBucket>, ServiceError> {
        self.buckets.remove(name);
        let found = self.look_up(name).await?;
        if found.id != gone.id {
            return Ok(found);
        }
        self.forget_deleted(name, gone.id).await?;
        Err(ServiceError::NoSuchBucket)
    }

    async fn look_up(&self, name: &str) -> Result<Arc<KnownBucket>, ServiceError> {
        if !is_bucket_name(name) {
            return Err(ServiceError::NoSuchBucket);
        }
        let entry: Option<DirectoryEntry> =
            self.directory_query(&DirectoryQuery::Lookup { name: name.to_owned() }).await?;
        match entry.filter(|entry| entry.state == EntryState::Active) {
            Some(entry) => Ok(self.remember(&entry)),
            None => Err(ServiceError::NoSuchBucket),
        }
    }

    fn remember(&self, entry: &DirectoryEntry) -> Arc<KnownBucket> {
        let known = Arc::new(KnownBucket { id: entry.id, info: info_of(entry.record.clone()) });
        self.buckets.insert(entry.record.name.clone(), known.clone());
        known
    }

    /// Takes the name of a bucket whose record is gone out of the directory.
    async fn forget_deleted(&self, name: &str, id: BucketId) -> Result<(), ServiceError> {
        self.buckets.remove(name);
        self.directory_command(&DirectoryCommand::Remove { name: name.to_owned(), id }).await
    }

    pub(crate) async fn record_of(&self, id: BucketId) -> Result<Option<BucketRecord>, ServiceError> {
        self.query(&id.0, &Query::Bucket { id }).await
    }
}

pub(crate) fn info_of(record: BucketRecord) -> BucketInfo {
    BucketInfo { name: record.name, owner: record.owner, created: record.created, region: record.region }
}

/// Does something with the bucket of a name; with another bucket of that name when the remembered one is gone.
macro_rules! in_bucket {
    ($service:expr, $name:expr, |$bucket:ident| $operation:expr) => {{
        let mut known = $service.bucket($name).await?;
        loop {
            let $bucket = known.clone();
            match $operation {
                Err(ServiceError::NoSuchBucket) => known = $service.bucket_instead($name, &known).await?,
                done => break done,
            }
        }
    }};
}
pub(crate) use in_bucket;

#[cfg(test)]
mod tests {
    use super::is_bucket_name;

    #[test]
    fn names() {
        for name in ["abc", "a-b.c", "1bucket", "my.bucket.9", &"a".repeat(63), "1.2.3", "1.2.3.4.5"] {
            assert!(is_bucket_name(name), "{name}");
        }
        for name in [
            "ab",
            "",
            "Abc",
            "a_b",
            "-abc",
            "abc-",
            ".abc",
            "abc.",
            "a..b",
            "192.168.5.4",
            "999.1.1.1",
            "xn--abc",
            "abc-s3alias",
            "a b",
            "abc/",
            "b\u{e9}t",
            "sthree-x",
            "abc--x-s3",
        ] {
            assert!(!is_bucket_name(name), "{name}");
        }
        assert!(!is_bucket_name(&"a".repeat(64)));
    }
}
