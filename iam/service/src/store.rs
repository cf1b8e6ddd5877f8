//! IAM's rows from a node's side: it follows them, and makes changes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use karri_ring_meta::{MetaClient, MetaError, Route};
use karri_ring_types::{Clock, Rng};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::attempts::Attempts;
use crate::change::Change;
use crate::evaluator::{IAM_EVALUATOR, TOUCHED_MAX};
use crate::messages::{
    Changes, Command, Commit, LastUsedAnswer, Page, Query, Reply, RowKey, Unreadable, decode, encode,
};
use crate::model::LastUsed;
use crate::state::Account;
use crate::view::View;

/// How often a node asks for what has changed.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// How often a node writes down when keys were used.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);
/// How long one request to the system range may take.
const SYSTEM_DEADLINE: Duration = Duration::from_secs(10);
/// Changes that may come in between before one is given up.
const CONFLICTS_MAX: u32 = 64;
/// Longest pause after a conflict.
const CONFLICT_PAUSE_MS_MAX: u64 = 40;

/// Why the rows could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system range did not answer.
    #[error("the system range")]
    Meta(#[from] MetaError),
    /// Rows or answers that this version cannot read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Too many others change the same account.
    #[error("too many changes at once")]
    Busy,
}

/// What the store is built on.
pub struct StoreParts {
    /// The metadata.
    pub client: Arc<MetaClient>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// For secrets and ids: must not be predictable.
    pub rng: Arc<dyn Rng>,
}

/// Follows and changes the rows.
pub struct Store {
    client: Arc<MetaClient>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    view: Arc<View>,
    /// Number of the newest refresh that has begun; the newest that is complete is under the lock, held while one runs.
    begun: AtomicU64,
    complete: tokio::sync::Mutex<u64>,
    /// Changes of this node are made one after the other: they would only get into each other's way.
    changing: tokio::sync::Mutex<()>,
    used: Mutex<std::collections::HashMap<String, LastUsed>>,
    attempts: Attempts,
}

impl Store {
    /// A store whose changes go into `view`.
    pub fn new(parts: StoreParts, view: Arc<View>) -> Arc<Self> {
        let StoreParts { client, clock, rng } = parts;
        Arc::new(Self {
            client,
            clock,
            rng,
            view,
            begun: AtomicU64::new(0),
            complete: tokio::sync::Mutex::new(0),
            changing: tokio::sync::Mutex::new(()),
            used: Mutex::default(),
            attempts: Attempts::default(),
        })
    }

    /// What the rows say.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Codes of second factors that were tried.
    pub(crate) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Randomness for secrets and ids.
    pub fn rng(&self) -> &dyn Rng {
        &*self.rng
    }

    /// Follows the rows until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut follow = interval(FOLLOW_INTERVAL);
        follow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut touch = interval(TOUCH_INTERVAL);
        touch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = async {
            loop {
                let result = tokio::select! {
                    _ = follow.tick() => self.refresh().await,
                    _ = touch.tick() => self.flush_used().await,
                };
                if let Err(error) = result {
                    tracing::debug!(error = &error as &dyn std::error::Error, "the identities are not known now");
                }
            }
        };
        shutdown.run_until_cancelled(rounds).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), self.flush_used()).await;
    }

    /// Takes in all changes that were made before the call.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let seen = self.begun.load(Ordering::SeqCst);
        let mut complete = self.complete.lock().await;
        if *complete > seen {
            // One that began after the call has ended.
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let since = self.view.sequence();
        match self.changes_since(since).await? {
            Some(Some((rows, through))) => self.view.apply(&rows, through, false)?,
            Some(None) => {}
            None => {
                let (rows, through) = self.snapshot().await?;
                self.view.apply(&rows, through, true)?;
            }
        }
        *complete = number;
        Ok(())
    }

    /// Everything newer than `since`: `None` when it is forgotten, `Some(None)` when there is nothing.
    async fn changes_since(&self, since: u64) -> Result<Option<Option<Gathered>>, StoreError> {
        let (mut gathered, mut through) = (Vec::new(), since);
        loop {
            match self.query(&Query::Changes { since: through }).await? {
                Changes::Forgotten => return Ok(None),
                Changes::Rows { rows, through: next, head } => {
                    gathered.extend(rows);
                    through = next;
                    if through == head {
                        let is_new = through != since || !self.view.is_loaded();
                        return Ok(Some(is_new.then_some((gathered, through))));
                    }
                }
            }
        }
    }

    /// All rows. Those that change while they are read are read again at the end.
    async fn snapshot(&self) -> Result<Gathered, StoreError> {
        let (mut rows, mut first_head, mut after) = (Vec::new(), None, RowKey::new());
        loop {
            let page: Page = self.query(&Query::Snapshot { after }).await?;
            first_head.get_or_insert(page.head);
            after = page.rows.last().map(|(key, _)| key.clone()).unwrap_or_default();
            rows.extend(page.rows.into_iter().map(|(key, value)| (key, Some(value))));
            if !page.more {
                break;
            }
        }
        let since = first_head.unwrap_or(0);
        match self.changes_since(since).await? {
            Some(Some((changed, through))) => {
                rows.extend(changed);
                Ok((rows, through))
            }
            Some(None) => Ok((rows, since)),
            None => Err(StoreError::Busy),
        }
    }

    /// Decides on a change of an account and makes it; decided anew when another came first. When it returns, the view
    /// of this node has the change.
    ///
    /// `decide` sees the newest state. What it refuses with comes back, and nothing is changed.
    pub async fn change<T, E: From<StoreError>>(
        &self,
        account_id: &str,
        decide: impl Fn(&mut Change) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_where(account_id, false, |change, _| decide(change)).await
    }

    /// As [`Store::change`], of a change that rests on all accounts too.
    pub async fn change_where<T, E: From<StoreError>>(
        &self,
        account_id: &str,
        of_cloud: bool,
        decide: impl Fn(&mut Change, &View) -> Result<T, E>,
    ) -> Result<T, E> {
        let _one = self.changing.lock().await;
        for conflicts in 0..CONFLICTS_MAX {
            self.refresh().await?;
            let (account, cloud_version) = self.view.account_and_cloud(account_id);
            let account = account.unwrap_or_else(|| Arc::new(Account::empty(account_id)));
            let mut change = Change::new(&account, self.clock.now());
            if of_cloud {
                change = change.with_cloud(cloud_version);
            }
            let decided = decide(&mut change, &self.view)?;
            let Some(commit) = change.into_commit(&*self.rng) else { return Ok(decided) };
            if self.commit(commit).await? {
                self.refresh().await?;
                return Ok(decided);
            }
            let pause_ms = self.rng.next_u64() % CONFLICT_PAUSE_MS_MAX.min(u64::from(conflicts + 1) * 4);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        Err(StoreError::Busy.into())
    }

    async fn commit(&self, commit: Commit) -> Result<bool, StoreError> {
        // It may be repeated: it finds its own operation.
        match self.execute(&Command::Commit(commit)).await? {
            Reply::Committed(_) => Ok(true),
            Reply::Conflict => Ok(false),
            Reply::Touched => Err(Unreadable("answer of another command").into()),
        }
    }

    /// Notes that a key was used now; it is written down a little later.
    pub fn note_use(&self, access_key: &str, service: &str, region: &str) {
        let at = self.clock.now();
        let mut used = self.used.lock();
        if let Some(last) = used.get_mut(access_key) {
            last.at = at;
            if last.service != service {
                service.clone_into(&mut last.service);
            }
            return;
        }
        if used.len() < TOUCHED_MAX {
            let last = LastUsed { at, service: service.to_owned(), region: region.to_owned() };
            used.insert(access_key.to_owned(), last);
        }
    }

    /// When access keys were last used; writes down first what this node knows.
    pub async fn last_used(&self, keys: Vec<String>) -> Result<Vec<Option<LastUsed>>, StoreError> {
        self.flush_used().await?;
        let mut answer = Vec::with_capacity(keys.len());
        for keys in keys.chunks(TOUCHED_MAX) {
            answer.extend(self.query::<LastUsedAnswer>(&Query::LastUsed { keys: keys.to_vec() }).await?);
        }
        Ok(answer)
    }

    async fn flush_used(&self) -> Result<(), StoreError> {
        let used: Vec<_> = std::mem::take(&mut *self.used.lock()).into_iter().collect();
        if !used.is_empty() {
            self.execute(&Command::Touch(used)).await?;
        }
        Ok(())
    }

    async fn execute(&self, command: &Command) -> Result<Reply, StoreError> {
        let bytes = Bytes::from(encode(command));
        Ok(decode(&self.client.execute(&Route::System, IAM_EVALUATOR, bytes, true, SYSTEM_DEADLINE).await?)?)
    }

    async fn query<T: DeserializeOwned>(&self, query: &Query) -> Result<T, StoreError> {
        let bytes = Bytes::from(encode(query));
        Ok(decode(&self.client.query(&Route::System, IAM_EVALUATOR, bytes, SYSTEM_DEADLINE).await?)?)
    }
}

/// Rows and the number of the newest change among them.
type Gathered = (Vec<(RowKey, Option<Vec<u8>>)>, u64);
