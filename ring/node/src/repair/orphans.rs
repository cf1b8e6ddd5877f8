//! Extents whose write was abandoned. The range that owns the data decides; age only says when to ask.

use async_trait::async_trait;
use karri_ring_extent::Owner;
use karri_ring_types::ExtentId;
use tokio_util::sync::CancellationToken;

use super::Repairer;
use crate::client::ExtentClient;
use crate::counters::add;
use crate::layout::is_to_hold;
use crate::peers::CallError;
use crate::wire::Refusal;

/// Extents of one page.
const PAGE: usize = 256;

/// What the owning range has committed about an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is wanted, or may become so.
    Referenced,
    /// Nothing names it, and a commit that did would fail.
    Condemned,
}

/// Asks the range that owns a body of data.
#[async_trait]
pub trait Verdicts: Send + Sync + 'static {
    /// The committed verdict on an extent of `owner`; `None` when it cannot be had now.
    async fn verdict(&self, owner: &Owner, extent: ExtentId) -> Option<Verdict>;
}

impl Repairer {
    /// Sweeps for orphans now and then.
    pub(crate) async fn sweep_until(&self, verdicts: &dyn Verdicts, shutdown: CancellationToken) {
        shutdown
            .run_until_cancelled(async {
                loop {
                    tokio::time::sleep(self.config.orphan_interval).await;
                    match self.sweep(verdicts).await {
                        Ok(0) => {}
                        Ok(deleted) => tracing::info!(deleted, "condemned extents of abandoned writes deleted"),
                        Err(error) => tracing::warn!(%error, "sweep for orphans ended early"),
                    }
                }
            })
            .await;
    }

    /// Asks about every extent that is old enough; deletes those condemned and returns how many.
    pub(crate) async fn sweep(&self, verdicts: &dyn Verdicts) -> Result<u64, CallError> {
        let store = self.holder.store();
        let mut deleted = 0;
        let mut after = None;
        loop {
            let page = store.scan(after, PAGE).await.map_err(Refusal::from)?;
            let Some(last) = page.last().map(|(id, _)| *id) else { return Ok(deleted) };
            for (id, state) in page {
                if !self.is_old(id) {
                    continue;
                }
                let condemned = match state {
                    Ok(header) => self.sweep_sealed(id, &header.owner, verdicts).await,
                    Err(open) => self.sweep_open(id, &open.owner, verdicts).await?,
                };
                deleted += u64::from(condemned);
            }
            after = Some(last);
        }
    }

    /// One owner asks for all.
    async fn sweep_sealed(&self, id: ExtentId, owner: &Owner, verdicts: &dyn Verdicts) -> bool {
        let layout = self.shared.layouts.layout();
        let places = layout.places(id.partition(), id.redundancy());
        let asks = places.into_iter().flatten().find(|&node| self.shared.layouts.alive(node));
        // A shard that is here and no longer wanted here is nobody else's to ask about.
        let asks_here = asks == Some(self.local()) || !is_to_hold(&layout, self.local(), id);
        if !asks_here || verdicts.verdict(owner, id.group()).await != Some(Verdict::Condemned) {
            return false;
        }
        // A holder that is away learns of the deletion from the others when it is back.
        ExtentClient::of(self.shared.clone()).delete(&[id]).await;
        add(&self.shared.counters.orphans_deleted, 1);
        true
    }

    /// What was never sealed is known to this node alone.
    async fn sweep_open(&self, id: ExtentId, owner: &Owner, verdicts: &dyn Verdicts) -> Result<bool, CallError> {
        let mut proven = false;
        for node in self.others(id) {
            if let Ok(found) = self.shared.peers.tombstoned(node, vec![id]).await {
                proven |= found.contains(&id);
            }
        }
        if !proven && verdicts.verdict(owner, id.group()).await != Some(Verdict::Condemned) {
            return Ok(false);
        }
        self.holder.delete(vec![id]).await?;
        add(&self.shared.counters.orphans_deleted, 1);
        Ok(true)
    }

    /// Ids begin with the milliseconds of their making.
    fn is_old(&self, id: ExtentId) -> bool {
        let made_ms = u64::try_from(id.0 >> 80).unwrap_or(u64::MAX);
        let age_ms = self.shared.clock.now().as_millis().saturating_sub(made_ms);
        u128::from(age_ms) >= self.config.orphan_age.as_millis()
    }
}
