//! Replacing bad copies on this node.

use std::collections::HashSet;

use futures::StreamExt;
use karri_ring_extent::ExtentHeader;
use karri_ring_types::{ExtentId, Step, failpoint};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Repairer;
use crate::counters::add;
use crate::extent_ref::ExtentRef;
use crate::peers::CallError;
use crate::read::striped::Reader;
use crate::stripe::Geometry;
use crate::wire::{Refusal, ReportBad};

/// Extents that are checked at once.
const CHECKS_MAX: usize = 2;

impl Repairer {
    /// Checks what readers complain of, until the channel closes. Complaints about an extent in hand are dropped.
    pub(crate) async fn heed(&self, reports: mpsc::Receiver<ReportBad>) {
        let in_hand: Mutex<HashSet<ExtentId>> = Mutex::default();
        let reports = futures::stream::unfold(reports, |mut reports| async move {
            let report = reports.recv().await?;
            Some((report, reports))
        });
        reports
            .for_each_concurrent(CHECKS_MAX, |report| {
                let in_hand = &in_hand;
                async move {
                    if !in_hand.lock().insert(report.extent) {
                        return;
                    }
                    if let Err(error) = self.check_reported(report).await {
                        tracing::warn!(extent = %report.extent, chunk = report.index, %error, "bad copy not repaired");
                    }
                    in_hand.lock().remove(&report.extent);
                }
            })
            .await;
    }

    async fn check_reported(&self, report: ReportBad) -> Result<(), CallError> {
        match self.holder.store().header(report.extent).await.map_err(Refusal::from)? {
            Some(header) if header.root() == report.root => self.check_extent(report.extent, &header).await.map(drop),
            Some(_) => Err(CallError::Refused(Refusal::Failed("the extent here has another root".to_owned()))),
            None => {
                if self.pull(self.local(), report.extent, report.root).await? {
                    tracing::info!(extent = %report.extent, "missing copy pulled");
                }
                Ok(())
            }
        }
    }

    /// Checks every chunk of an extent that is here and replaces the bad ones; returns how many were bad.
    pub(crate) async fn check_extent(&self, id: ExtentId, header: &ExtentHeader) -> Result<u32, CallError> {
        let mut bad = 0;
        for (index, &digest) in (0..).zip(&header.chunk_digests) {
            if self.holder.store().verify_chunk(id, index, digest).await.map_err(Refusal::from)? {
                continue;
            }
            bad += 1;
            add(&self.shared.counters.bad_copies_found, 1);
            let good = match (&header.stripe, id.redundancy().shards()) {
                (Some(stripe), Some(shards)) => {
                    let extent = ExtentRef { id: id.group(), length_bytes: stripe.length_bytes, root: header.root() };
                    let reader = Reader::new(self.shared.clone(), extent, Geometry::new(shards), true);
                    self.shard_chunks(&reader, id, index..index + 1).await?
                }
                _ => self.fetch_good(self.local(), id, index, &[digest]).await?,
            };
            failpoint(Step::RepairReplacing);
            for chunk in good {
                self.holder.store().replace_chunk(id, index, chunk).await.map_err(Refusal::from)?;
            }
            failpoint(Step::RepairReplaced);
            if !self.holder.store().verify_chunk(id, index, digest).await.map_err(Refusal::from)? {
                return Err(CallError::Refused(Refusal::Failed(format!("chunk {index} is bad again"))));
            }
            add(&self.shared.counters.bad_copies_repaired, 1);
            tracing::info!(extent = %id, chunk = index, "bad copy repaired");
        }
        Ok(bad)
    }
}
