//! `karri fsck`, as a node carries it out page by page: metadata compared with itself and with what the nodes hold, and
//! what the nodes hold with the metadata.
//!
//! It changes nothing unless it is told to repair, and then it only asks those who may: a holder to mend its copy, and
//! the range that owns an extent for a committed verdict on it. The asker keeps what spans pages.

use std::sync::Arc;

use futures::StreamExt as _;
use karri_objstore_service::{
    Fault, FaultKind, Holding, InspectCursor, Inspection, ObjectService, ServiceError, Standing, Wanted,
};
use karri_ring_node::{CopyReport, CopyState, Owner, StorageNode};
use karri_ring_types::{Clock, Digest, ExtentId, NodeId};

/// Questions to other ranges that are under way at a time.
const QUERIES_MAX: usize = 16;
/// Extents of one page: when only their presence is looked at, and when all their bytes are read.
const EXTENTS_PER_PAGE: [u32; 2] = [2000, 16];
/// Extents of one page of what a node holds.
const HELD_PER_PAGE: u32 = 500;

/// How it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsckOptions {
    /// Read the bytes of every copy.
    pub deep: bool,
    /// Have what is wrong repaired where there is a proof.
    pub repair: bool,
    /// Age below which an extent that nothing names is taken to be under way.
    pub pending_ms: u64,
}

/// A page of metadata, with what is wrong with the extents that it names.
#[derive(Clone, Debug, Default)]
pub struct MetadataPage {
    /// What was read; its `wanted` are looked after.
    pub inspection: Inspection,
    /// Extents that were looked for.
    pub extents: u64,
    /// Their copies.
    pub copies: u64,
}

/// A page of what a node holds.
#[derive(Clone, Debug, Default)]
pub struct HeldPage {
    /// Extents that were looked at.
    pub extents: u64,
    /// Those of writes that may go on still.
    pub pending: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Where to go on; `None`: that was all.
    pub next: Option<ExtentId>,
}

/// Carries out pages.
pub struct Fsck {
    service: Arc<ObjectService>,
    storage: Arc<StorageNode>,
    clock: Arc<dyn Clock>,
}

impl Fsck {
    /// Asks by these.
    pub fn new(service: Arc<ObjectService>, storage: Arc<StorageNode>, clock: Arc<dyn Clock>) -> Self {
        Self { service, storage, clock }
    }

    /// The nodes that may hold extents.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.storage.nodes()
    }

    /// Reads a page of metadata and looks for the extents and holdings that it names.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn metadata(&self, cursor: &InspectCursor, options: FsckOptions) -> Result<MetadataPage, ServiceError> {
        let extents_max = EXTENTS_PER_PAGE[usize::from(options.deep)];
        let mut inspection = self.service.inspect(cursor, extents_max).await?;
        let wanted = std::mem::take(&mut inspection.wanted);
        let mut page = MetadataPage { extents: wanted.len() as u64, ..MetadataPage::default() };
        let extents: Vec<_> = wanted.iter().map(|wanted| wanted.extent).collect();
        let reports = self.storage.examine(&extents, options.deep).await;
        for (wanted, copies) in wanted.iter().zip(reports) {
            page.copies += copies.len() as u64;
            inspection.faults.extend(judge(wanted, &copies));
            if options.repair {
                self.repair(wanted.extent.root, &copies).await;
            }
        }
        inspection.faults.extend(self.missing_holdings(&inspection.loans).await?);
        page.inspection = inspection;
        Ok(page)
    }

    /// A holder compares its copy with the others and takes a good one.
    async fn repair(&self, root: Digest, copies: &[CopyReport]) {
        for copy in copies {
            let mendable = matches!(copy.state, CopyState::Missing | CopyState::Lacking(_) | CopyState::Bad(_));
            if let Some(node) = copy.node.filter(|_| mendable) {
                self.storage.report_copy(node, copy.id, root).await;
            }
        }
    }

    async fn missing_holdings(&self, loans: &[Holding]) -> Result<Vec<Fault>, ServiceError> {
        let asked = futures::stream::iter(loans.to_vec())
            .map(|loan| async move {
                let held = self.service.is_held(&loan.row).await;
                (loan, held)
            })
            .buffer_unordered(QUERIES_MAX)
            .collect::<Vec<_>>();
        let mut faults = Vec::new();
        for (loan, held) in asked.await {
            if !held? {
                let text = "the data that it shares does not count it: it may be collected under it".to_owned();
                faults.push(Fault { kind: FaultKind::References, place: loan.place, text });
            }
        }
        Ok(faults)
    }

    /// Looks at a page of what a node holds: something has to name it, or it is under way.
    ///
    /// # Errors
    /// `Unavailable`, of the node too.
    pub async fn held(
        &self,
        node: NodeId,
        after: Option<ExtentId>,
        options: FsckOptions,
    ) -> Result<HeldPage, ServiceError> {
        let Some(page) = self.storage.held(node, after, HELD_PER_PAGE).await else {
            return Err(ServiceError::Unavailable);
        };
        let next = page.last().map(|(id, _)| *id).filter(|_| page.len() == HELD_PER_PAGE as usize);
        let mut found = HeldPage { extents: page.len() as u64, next, ..HeldPage::default() };
        let asked = futures::stream::iter(page)
            .map(|(id, owner)| async move {
                let standing = self.service.standing(&owner.route, owner.data, id.group()).await;
                (id, owner, standing)
            })
            .buffer_unordered(QUERIES_MAX)
            .collect::<Vec<_>>();
        for (id, owner, standing) in asked.await {
            if standing? != Standing::Unknown {
                continue;
            }
            if self.is_young(id, options.pending_ms) {
                found.pending += 1;
                continue;
            }
            if options.repair {
                self.settle(id, &owner).await?;
            }
            let text = format!("node {node} holds it, and nothing names it");
            found.faults.push(Fault { kind: FaultKind::Orphan, place: format!("extent {id}"), text });
        }
        Ok(found)
    }

    /// What nothing names is deleted once its range has condemned it, and a commit that named it would fail.
    async fn settle(&self, id: ExtentId, owner: &Owner) -> Result<(), ServiceError> {
        if self.service.is_orphan(&owner.route, owner.data, id.group()).await? {
            let complete = self.storage.delete_condemned(id).await;
            tracing::info!(extent = %id, complete, "condemned extent deleted");
        }
        Ok(())
    }

    /// Ids begin with the milliseconds of their making. Age only keeps the report free of what is under way.
    fn is_young(&self, id: ExtentId, pending_ms: u64) -> bool {
        let made_ms = u64::try_from(id.0 >> 80).unwrap_or(0);
        self.clock.now().as_millis().saturating_sub(made_ms) < pending_ms
    }
}

/// What is wrong with the copies of an extent.
fn judge(wanted: &Wanted, copies: &[CopyReport]) -> Vec<Fault> {
    let place = format!("extent {} of {}", wanted.extent.id, wanted.place);
    let fault = |kind, text| Fault { kind, place: place.clone(), text };
    let mut faults: Vec<Fault> = Vec::new();
    for copy in copies.iter().filter(|copy| copy.state != CopyState::Good) {
        let what = match &copy.state {
            CopyState::Good => continue,
            CopyState::Missing => "lacks its copy".to_owned(),
            CopyState::Other => "has something else under this id".to_owned(),
            CopyState::Lacking(chunks) => format!("lacks chunks {chunks:?} of its copy"),
            CopyState::Bad(chunks) => format!("has wrong bytes in chunks {chunks:?} of its copy"),
            CopyState::Unknown(why) => format!("cannot tell: {why}"),
        };
        faults.push(match copy.node {
            Some(node) => fault(FaultKind::Copy, format!("node {node} {what}")),
            None => fault(FaultKind::Copy, format!("there is no node for shard {}", copy.id.kind().shard())),
        });
    }
    let needed = wanted.extent.id.redundancy().shards().map_or(1, |(data, _)| data);
    // Bad chunks of several copies may be different ones, so that all can be mended: only what is not there is lost.
    let gone = |copy: &&CopyReport| matches!(copy.state, CopyState::Missing | CopyState::Other);
    if copies.len() - copies.iter().filter(gone).count() < needed {
        faults.push(fault(FaultKind::Lost, format!("of {} copies or shards {needed} are needed", copies.len())));
    }
    faults
}
