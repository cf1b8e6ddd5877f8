//! Reading everything now and then, so that a bad copy is found before the good ones are gone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use karri_ring_types::{ExtentId, PARTITION_COUNT, PartitionId};
use tokio_util::sync::CancellationToken;

use super::Repairer;
use crate::counters::add;
use crate::peers::CallError;
use crate::wire::Refusal;

/// Extents of one page.
const PAGE: usize = 256;

impl Repairer {
    /// Checks all extents again and again at the configured speed.
    pub(crate) async fn scrub_until(&self, shutdown: CancellationToken) {
        if self.config.scrub_chunks_per_second == 0 {
            return;
        }
        shutdown
            .run_until_cancelled(async {
                loop {
                    for partition in (0..PARTITION_COUNT).map(PartitionId) {
                        if let Err(error) = self.scrub_partition(partition).await {
                            tracing::warn!(%partition, %error, "partition not scrubbed");
                        }
                    }
                    add(&self.shared.counters.scrub_rounds, 1);
                    self.scrub_finished.store(self.shared.clock.now().as_millis(), Ordering::Relaxed);
                    tokio::time::sleep(self.config.interval).await;
                }
            })
            .await;
    }

    async fn scrub_partition(&self, partition: PartitionId) -> Result<(), CallError> {
        let store = self.holder.store();
        let mut after: Option<ExtentId> = None;
        loop {
            let page = store.list(partition, after, PAGE).await.map_err(Refusal::from)?;
            let Some(&(last, _)) = page.last() else { return Ok(()) };
            for (id, _) in page {
                // It may have been deleted since.
                let Some(header) = store.header(id).await.map_err(Refusal::from)? else { continue };
                if let Err(error) = self.check_extent(id, &header).await {
                    tracing::warn!(extent = %id, %error, "bad copy not repaired");
                }
                add(&self.shared.counters.scrub_bytes, header.length_bytes);
                let chunks = u32::try_from(header.chunk_digests.len()).unwrap_or(u32::MAX);
                tokio::time::sleep(Duration::from_secs(1) * chunks / self.config.scrub_chunks_per_second).await;
            }
            after = Some(last);
        }
    }
}
