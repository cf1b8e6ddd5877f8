//! Verdicts on extents that may be orphans.

use std::sync::Arc;

use async_trait::async_trait;
use karri_objstore_service::ObjectService;
use karri_ring_node::{Owner, Verdict, Verdicts};
use karri_ring_types::ExtentId;

/// Puts the storage node's questions before the range of the object that wrote the extent.
pub struct OrphanVerdicts {
    service: Arc<ObjectService>,
}

impl OrphanVerdicts {
    /// Asks by this service.
    pub fn new(service: Arc<ObjectService>) -> Self {
        Self { service }
    }
}

#[async_trait]
impl Verdicts for OrphanVerdicts {
    async fn verdict(&self, owner: &Owner, extent: ExtentId) -> Option<Verdict> {
        match self.service.is_orphan(&owner.route, owner.data, extent).await {
            Ok(true) => Some(Verdict::Condemned),
            Ok(false) => Some(Verdict::Referenced),
            Err(error) => {
                tracing::debug!(%error, %extent, "no verdict on an extent for now");
                None
            }
        }
    }
}
