//! Looking at copies without repairing them, for `karri fsck`: what the nodes that should hold an extent have of it.

use std::collections::BTreeMap;

use karri_ring_extent::Owner;
use karri_ring_types::{ExtentId, NodeId};
use serde::{Deserialize, Serialize};

use crate::client::ExtentClient;
use crate::extent_ref::ExtentRef;
use crate::holder::Holder;
use crate::storage::StorageNode;
use crate::wire::{IDS_MAX, Refusal, ReportBad};

/// What a node has of an extent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyState {
    /// All of it; its bytes are right, if they were read.
    Good,
    /// Nothing.
    Missing,
    /// Another length or digest than the metadata says.
    Other,
    /// These chunks are not there.
    Lacking(Vec<u32>),
    /// The bytes of these chunks are wrong.
    Bad(Vec<u32>),
    /// It cannot be told: the node does not answer, or its store fails.
    Unknown(String),
}

/// A copy of an extent, or a shard of it, and the node that should have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyReport {
    /// The node; `None`: there are too few nodes for this shard.
    pub node: Option<NodeId>,
    /// Of a shard its own id.
    pub id: ExtentId,
    /// What it has.
    pub state: CopyState,
}

impl Holder {
    /// What is here of each of these.
    pub(crate) async fn examine(&self, copies: Vec<ExtentRef>, deep: bool) -> Vec<CopyState> {
        let mut states = Vec::with_capacity(copies.len());
        for copy in copies.into_iter().take(IDS_MAX) {
            let state = self.examine_one(copy, deep).await;
            states.push(state.unwrap_or_else(|refusal| CopyState::Unknown(refusal.to_string())));
        }
        states
    }

    async fn examine_one(&self, copy: ExtentRef, deep: bool) -> Result<CopyState, Refusal> {
        let store = self.store();
        let Some(header) = store.header(copy.id).await? else { return Ok(CopyState::Missing) };
        let length = header.stripe.as_ref().map_or(header.length_bytes, |stripe| stripe.length_bytes);
        if header.root() != copy.root || length != copy.length_bytes || !header.is_of(copy.id) {
            return Ok(CopyState::Other);
        }
        let lacking = store.missing_chunks(copy.id, header.length_bytes).await?;
        if !lacking.is_empty() {
            return Ok(CopyState::Lacking(lacking));
        }
        let mut bad = Vec::new();
        for (index, &digest) in (0..).zip(&header.chunk_digests).filter(|_| deep) {
            if !store.verify_chunk(copy.id, index, digest).await? {
                bad.push(index);
            }
        }
        Ok(if bad.is_empty() { CopyState::Good } else { CopyState::Bad(bad) })
    }

    /// A page of all extents, sealed or not, and for whom they were written.
    pub(crate) async fn scan(&self, after: Option<ExtentId>, limit: u32) -> Result<Vec<(ExtentId, Owner)>, Refusal> {
        let page = self.store().scan(after, (limit as usize).min(IDS_MAX)).await?;
        Ok(page
            .into_iter()
            .map(|(id, state)| (id, state.map_or_else(|open| open.owner, |header| header.owner)))
            .collect())
    }
}

impl StorageNode {
    /// What the nodes that should hold each of these extents have of it, in the order asked. Extents of a layout that is
    /// being changed may be with their former nodes still, which counts as good.
    pub async fn examine(&self, extents: &[ExtentRef], deep: bool) -> Vec<Vec<CopyReport>> {
        let shared = self.client_shared();
        let layout = shared.layouts.layout();
        let mut reports: Vec<Vec<CopyReport>> = Vec::with_capacity(extents.len());
        let mut asks: BTreeMap<NodeId, Vec<(usize, usize, ExtentRef)>> = BTreeMap::new();
        for (at, extent) in extents.iter().enumerate() {
            let places = layout.places(extent.id.partition(), extent.id.redundancy());
            let held = |place: usize| {
                if extent.id.redundancy().shards().is_some() { extent.id.shard(place as u8) } else { extent.id }
            };
            let mut copies = Vec::with_capacity(places.len());
            for (place, node) in places.into_iter().enumerate() {
                let id = held(place);
                match node {
                    Some(node) => asks.entry(node).or_default().push((at, copies.len(), ExtentRef { id, ..*extent })),
                    None if extent.id.redundancy().shards().is_none() => continue,
                    None => {}
                }
                copies.push(CopyReport { node, id, state: CopyState::Missing });
            }
            reports.push(copies);
        }
        for (node, ask) in asks {
            for page in ask.chunks(IDS_MAX) {
                let copies = page.iter().map(|(_, _, copy)| *copy).collect();
                let states = shared.peers.examine(node, copies, deep).await;
                for (index, (at, place, _)) in page.iter().enumerate() {
                    let unknown = || CopyState::Unknown("no answer".to_owned());
                    reports[*at][*place].state = match &states {
                        Ok(states) => states.get(index).cloned().unwrap_or_else(unknown),
                        Err(error) => CopyState::Unknown(error.to_string()),
                    };
                }
            }
        }
        reports
    }

    /// Has a node compare its copy with the others and repair it, as a reader does that met it.
    pub async fn report_copy(&self, node: NodeId, id: ExtentId, root: karri_ring_types::Digest) {
        let report = ReportBad { extent: id, root, index: 0 };
        if let Err(error) = self.client_shared().peers.report_bad(node, report).await {
            tracing::warn!(%node, extent = %id, %error, "a bad copy could not be reported");
        }
    }

    /// A page of all extents that a node holds, sealed or not, and for whom; `None` when it does not answer.
    pub async fn held(&self, node: NodeId, after: Option<ExtentId>, limit: u32) -> Option<Vec<(ExtentId, Owner)>> {
        let page = self.client_shared().peers.scan(node, after, limit).await;
        page.inspect_err(|error| tracing::warn!(%node, %error, "what a node holds cannot be read")).ok()
    }

    /// The nodes of the layout.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.client_shared().layouts.layout().nodes.iter().map(|node| node.id).collect()
    }

    /// Deletes an extent that a committed verdict has condemned.
    pub async fn delete_condemned(&self, id: ExtentId) -> bool {
        !ExtentClient::of(self.client_shared().clone()).delete(&[id]).await.incomplete
    }
}
