//! The gateway's view of extents.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::BoxStream;
use karri_ring_extent::Owner;
use karri_ring_rpc::Transport;
use karri_ring_types::{Clock, ExtentId, NodeId, Redundancy, Rng};

use crate::counters::Counters;
use crate::extent_ref::ExtentRef;
use crate::layout::{LayoutSource, holders};
use crate::peers::Peers;
use crate::read::{self, ReadError};
use crate::write::{ExtentWriter, RunBuffers, WriteMemory};

/// Bounds of the gateway's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Bytes of unacknowledged runs that all writers together may hold.
    pub write_memory_bytes_max: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { write_memory_bytes_max: 512 << 20 }
    }
}

/// What an [`ExtentClient`] is made of.
pub(crate) struct Shared {
    pub(crate) peers: Peers,
    pub(crate) layouts: Arc<dyn LayoutSource>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) memory: WriteMemory,
    pub(crate) buffers: Arc<RunBuffers>,
}

/// How a deletion went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteOutcome {
    /// True when a holder did not answer: delete again later.
    pub incomplete: bool,
}

/// Writes, reads and deletes extents on the nodes that own them. Cheap to clone.
#[derive(Clone)]
pub struct ExtentClient {
    shared: Arc<Shared>,
}

impl ExtentClient {
    /// A client of a process without a store; a node with one takes [`crate::StorageNode::client`].
    pub fn remote(
        transport: Arc<dyn Transport>,
        layouts: Arc<dyn LayoutSource>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: ClientConfig,
    ) -> Self {
        Self::assemble(Peers::new(transport, None), layouts, Arc::default(), (clock, rng), config)
    }

    pub(crate) fn assemble(
        peers: Peers,
        layouts: Arc<dyn LayoutSource>,
        counters: Arc<Counters>,
        (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>),
        config: ClientConfig,
    ) -> Self {
        let memory = WriteMemory::new(config.write_memory_bytes_max);
        Self { shared: Arc::new(Shared { peers, layouts, counters, clock, rng, memory, buffers: Arc::default() }) }
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A writer of new extents.
    pub fn writer(&self, owner: Owner) -> ExtentWriter {
        self.writer_for(owner, None, Redundancy::Cluster)
    }

    /// A writer of new extents for as many bytes as are expected; more or fewer may come. They are kept in the wanted
    /// way, or as the cluster keeps anything: what is too small for a stripe, and while the nodes cannot hold it so.
    pub fn writer_for(&self, owner: Owner, expected_bytes: Option<u64>, wanted: Redundancy) -> ExtentWriter {
        ExtentWriter::new(self.shared.clone(), owner, expected_bytes, wanted)
    }

    /// The bytes of `range`, clamped to the extent. Each chunk is checked against the digests that `extent` proves; a
    /// missing or bad copy is read around and reported to its holder.
    pub fn read(&self, extent: &ExtentRef, range: Range<u64>) -> BoxStream<'static, Result<Bytes, ReadError>> {
        read::stream(self.shared.clone(), *extent, range)
    }

    /// Deletes extents on every node that may hold them. The caller has the committed proof that they are garbage.
    pub async fn delete(&self, ids: &[ExtentId]) -> DeleteOutcome {
        let mut by_node: Vec<(NodeId, Vec<ExtentId>)> = Vec::new();
        let mut incomplete = false;
        for &id in ids {
            let nodes = holders(&*self.shared.layouts, id.group());
            incomplete |= nodes.is_empty();
            for node in nodes {
                match by_node.iter_mut().find(|(known, _)| *known == node) {
                    Some((_, ids)) => ids.push(id),
                    None => by_node.push((node, vec![id])),
                }
            }
        }
        let calls = by_node.iter().map(|(node, ids)| async move {
            let outcome = self.shared.peers.delete(*node, ids).await;
            if let Err(error) = &outcome {
                tracing::debug!(%node, %error, "extents not deleted yet");
            }
            outcome.is_err()
        });
        incomplete |= join_all(calls).await.into_iter().any(|failed| failed);
        DeleteOutcome { incomplete }
    }

    /// What happened so far.
    pub fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }
}
