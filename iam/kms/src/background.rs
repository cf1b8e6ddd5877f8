//! What time does: rotation that is due, and the end of keys whose deletion was not called off.

use std::sync::Arc;
use std::time::Duration;

use karri_iam_service::kms_model::{KmsKey, KmsKeyState};
use karri_iam_wire::WireError;
use karri_ring_types::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{DAY, Kms};

/// How often keys are looked at; more often where days are short.
const ROUND: Duration = Duration::from_secs(60);
const ROUND_MIN: Duration = Duration::from_millis(500);

fn is_ended(key: &KmsKey, now: Timestamp) -> bool {
    matches!(key.state, KmsKeyState::PendingDeletion { at, .. } if at <= now)
}

fn is_due(key: &KmsKey, now: Timestamp) -> bool {
    key.state == KmsKeyState::Enabled && key.rotation.is_some_and(|rotation| rotation.next <= now)
}

impl Kms {
    /// Rotates and deletes keys until `shutdown`. Every node does: of those that try at once, one does it.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let period = if self.day < DAY { (self.day / 2).max(ROUND_MIN).min(ROUND) } else { ROUND };
        let mut rounds = interval(period);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let work = async {
            loop {
                rounds.tick().await;
                self.round().await;
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    async fn round(&self) {
        let now = self.now();
        for account in self.store.view().accounts() {
            let due = account.kms_keys.values().filter(|key| is_ended(key, now) || is_due(key, now));
            for key in due {
                if let Err(error) = self.age(&account.id, &key.id).await {
                    tracing::warn!(key = key.id, %error, "a key that is due cannot be changed now");
                }
            }
        }
    }

    /// Does what is due with one key.
    async fn age(&self, account_id: &str, key_id: &str) -> Result<(), WireError> {
        let material = self.new_material(account_id, key_id, self.now(), false);
        self.store
            .change(account_id, |change| {
                let Some(key) = change.kms_keys.get(key_id).cloned() else { return Ok(()) };
                let now = change.now();
                if is_ended(&key, now) {
                    let aliases: Vec<_> =
                        change.kms_aliases.values().filter(|alias| alias.key_id == key.id).cloned().collect();
                    for alias in aliases {
                        change.remove(&*alias);
                    }
                    change.remove(&*key);
                    tracing::info!(key = key.id, "a key is deleted, and all that was encrypted with it");
                } else if is_due(&key, now) {
                    let mut key = (*key).clone();
                    key.materials.push(material.clone());
                    if let Some(rotation) = &mut key.rotation {
                        rotation.next = self.days_after(now, rotation.period_days);
                    }
                    change.put(key);
                }
                Ok(())
            })
            .await
    }

    /// The time so many days later.
    pub(crate) fn days_after(&self, from: Timestamp, days: u32) -> Timestamp {
        let millis = u64::try_from(self.day.as_millis()).unwrap_or(u64::MAX);
        Timestamp(from.0.saturating_add(millis.saturating_mul(u64::from(days))))
    }
}
