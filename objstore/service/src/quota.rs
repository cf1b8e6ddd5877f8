//! Quotas: what a writer's policies allow to be in a bucket, and in all buckets of its account.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::keys::{BucketId, MeterId};
use crate::messages::{Answer, Command, DirectoryCommand, DirectoryQuery, Query, Refusal};
use crate::meter_messages::{MeterChange, Reservation, Reserved, Told, Usage};
use crate::records::{DirectoryEntry, EntryState, encode, encode_with_tail};
use crate::{ObjectService, ServiceError};

/// How much there may be in a bucket after a write. It binds the write that brings it, not the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes of all versions.
    pub bucket_bytes: Option<u64>,
    /// Number of all versions; delete markers do not count.
    pub bucket_versions: Option<u64>,
    /// In all buckets of the writer's account; it is not about those of others.
    pub account: Option<AccountQuota>,
}

/// How much there may be in all buckets of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountQuota {
    /// The account.
    pub id: String,
    /// Bytes of all versions.
    pub bytes: u64,
}

impl Quota {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Commands that a request sends to have buckets counted, the first time that a quota bears on them. A count that
/// takes more goes on with the next request.
const COUNTS_MAX: usize = 1_000;

/// Attempts at one write that others' writes come between.
const ATTEMPTS_MAX: usize = 200;

/// Between attempts, while changes of other buckets of the account are under way.
const PAUSE: Duration = Duration::from_millis(25);

/// Entries of the directory in one answer.
const ENTRIES_PER_PAGE: u32 = 500;

impl ObjectService {
    /// Carries out a command that changes versions, within `quota`.
    pub(crate) async fn command_within<T: DeserializeOwned>(
        &self,
        route: &[u8],
        quota: Quota,
        command: &Command,
        body: &[u8],
    ) -> Result<Answer<T>, ServiceError> {
        if quota.is_empty() {
            let answer = self.execute::<Answer<T>>(route, encode_with_tail(command, body)).await?;
            if !matches!(answer, Err(Refusal::Metered)) {
                return Ok(answer);
            }
        }
        // Most writes never come here: their futures stay small.
        Box::pin(self.metered_command(route, quota, encode_with_tail(command, body))).await
    }

    async fn metered_command<T: DeserializeOwned>(
        &self,
        route: &[u8],
        quota: Quota,
        inner: Vec<u8>,
    ) -> Result<Answer<T>, ServiceError> {
        let bucket = route.get(..16).and_then(|id| id.try_into().ok()).map(BucketId);
        let id = bucket.ok_or_else(|| ServiceError::Internal("a route without a bucket".to_owned()))?;
        let mut counts_left = COUNTS_MAX;
        for _ in 0..ATTEMPTS_MAX {
            let within = encode_with_tail(&Command::Within { quota: quota.clone(), reservation: None }, &inner);
            let needs = match self.execute::<Answer<T>>(route, within).await? {
                Err(Refusal::NotMetered) => {
                    if let Err(refusal) = self.count_bucket(id, quota.account.is_some(), &mut counts_left).await? {
                        return Ok(Err(refusal));
                    }
                    continue;
                }
                Err(Refusal::NeedsReservation { account_id, bytes, usage }) => Needs { account_id, bytes, usage },
                answer => return Ok(answer),
            };
            match self.reserved::<T>(route, id, &quota, &needs, &inner).await? {
                Outcome::Answered(answer) => return Ok(answer),
                Outcome::Again => {}
                Outcome::NotMetered => self.meter_account(&needs.account_id, &mut counts_left).await?,
                Outcome::Wait(old) => {
                    for bucket in old {
                        self.settle_old(MeterId::of(&needs.account_id), bucket).await?;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Err(ServiceError::SlowDown)
    }

    /// Carries out a command that changes the size of a bucket which its account's meter counts.
    async fn reserved<T: DeserializeOwned>(
        &self,
        route: &[u8],
        bucket: BucketId,
        quota: &Quota,
        needs: &Needs,
        inner: &[u8],
    ) -> Result<Outcome<T>, ServiceError> {
        let meter = MeterId::of(&needs.account_id);
        let id = self.new_data();
        let own = quota.account.as_ref().filter(|account| account.id == needs.account_id);
        let Usage { sequence, fence, .. } = needs.usage;
        let bytes = needs.bytes;
        let bytes_max = own.map(|account| account.bytes);
        let reserve = MeterChange::Reserve { bucket, id, bytes, bytes_max, sequence, fence };
        match self.change_meter(meter, reserve).await? {
            Ok(Reserved::Done) => {}
            Ok(Reserved::NotMetered) => return Ok(Outcome::NotMetered),
            Ok(Reserved::Changed) => return Ok(Outcome::Again),
            Ok(Reserved::Wait { old }) => return Ok(Outcome::Wait(old)),
            Err(refusal) => return Ok(Outcome::Answered(Err(refusal))),
        }
        let reservation = Some(Reservation { bytes, fence });
        let within = encode_with_tail(&Command::Within { quota: quota.clone(), reservation }, inner);
        // Where the outcome is not known, the reservation stays until somebody waits for it.
        let answer = self.execute::<Answer<T>>(route, within).await?;
        if let Err(failure) = self.settle_change(meter, bucket, Some(id)).await {
            tracing::warn!(%failure, "a change of a metered bucket could not be settled: it stays reserved for now");
        }
        Ok(match answer {
            Err(Refusal::NeedsReservation { .. }) => Outcome::Again,
            answer => Outcome::Answered(answer),
        })
    }

    /// Has a bucket counted, and is done when all of it is, or no more commands are left.
    async fn count_bucket(&self, id: BucketId, account: bool, left: &mut usize) -> Result<Answer<()>, ServiceError> {
        while *left > 0 {
            *left -= 1;
            match self.execute::<Answer<bool>>(&id.0, encode(&Command::Count { id, account })).await? {
                Ok(true) => return Ok(Ok(())),
                Ok(false) => {}
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        Err(ServiceError::SlowDown)
    }

    /// Has all buckets of an account counted. Buckets that are made meanwhile are in the meter from the start.
    async fn meter_account(&self, account_id: &str, left: &mut usize) -> Result<(), ServiceError> {
        let meter = MeterId::of(account_id);
        self.directory_command::<()>(&DirectoryCommand::Meter { account_id: account_id.to_owned() }).await?;
        let mut after = String::new();
        loop {
            let query = DirectoryQuery::List { account_id: account_id.to_owned(), after, limit: ENTRIES_PER_PAGE };
            let page: Vec<DirectoryEntry> = self.directory_query(&query).await?;
            let Some(last) = page.last() else { break };
            after = last.record.name.clone();
            for entry in page {
                let id = entry.id;
                if entry.state == EntryState::Creating {
                    // Made by now, it cannot be made later as one that is not counted.
                    self.finish_creation(entry).await?;
                }
                match self.count_bucket(id, true, left).await? {
                    Ok(()) => self.settle_change(meter, id, None).await?,
                    Err(Refusal::NoSuchBucket) => {}
                    Err(refusal) => return Err(refusal.into()),
                }
            }
        }
        self.change_meter::<()>(meter, MeterChange::Complete).await??;
        Ok(())
    }

    /// Tells the meter what is in a bucket now, and that a change has ended.
    async fn settle_change(
        &self,
        meter: MeterId,
        bucket: BucketId,
        id: Option<karri_ring_types::DataId>,
    ) -> Result<(), ServiceError> {
        let usage: Option<Usage> = self.query(&bucket.0, &Query::Usage { id: bucket }).await?;
        let told = usage.map_or(Told::Gone, Told::Usage);
        self.change_meter::<()>(meter, MeterChange::Settle { bucket, id, told }).await??;
        Ok(())
    }

    /// Ends the reservations of a bucket whose gateways may be gone.
    async fn settle_old(&self, meter: MeterId, bucket: BucketId) -> Result<(), ServiceError> {
        let usage = self.execute::<Option<Usage>>(&bucket.0, encode(&Command::Fence { id: bucket })).await?;
        let told = usage.map_or(Told::Gone, Told::Usage);
        self.change_meter::<()>(meter, MeterChange::Settle { bucket, id: None, told }).await??;
        Ok(())
    }

    /// Tells the meter that a bucket, which was empty, is gone.
    pub(crate) async fn settle_deleted(&self, account_id: &str, bucket: BucketId) {
        let change = MeterChange::Settle { bucket, id: None, told: Told::Gone };
        if let Err(failure) = self.change_meter::<()>(MeterId::of(account_id), change).await {
            // It counts nothing there, and whoever waits for a reservation of it finds it gone.
            tracing::debug!(%failure, "a meter was not told of a deleted bucket");
        }
    }

    async fn change_meter<T: DeserializeOwned>(
        &self,
        meter: MeterId,
        change: MeterChange,
    ) -> Result<Answer<T>, ServiceError> {
        self.execute(&meter.0, encode(&Command::Meter { meter, change })).await
    }
}

/// What a change of a bucket needs of the account's meter.
struct Needs {
    account_id: String,
    bytes: u64,
    usage: Usage,
}

/// What came of an attempt.
enum Outcome<T> {
    Answered(Answer<T>),
    Again,
    NotMetered,
    Wait(Vec<BucketId>),
}
