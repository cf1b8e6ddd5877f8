//! Typed calls to the nodes that hold extents; to the local one without any RPC.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_extent::{ExtentHeader, Owner};
use karri_ring_rpc::{Lane, Method, Request, Response, RpcError, Transport};
use karri_ring_types::{Digest, ExtentId, ExtentKind, NodeId, PartitionId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::examine::CopyState;
use crate::extent_ref::ExtentRef;
use crate::holder::{Holder, RunBytes};
use crate::wire::{
    self, DELETE, EXAMINE, Examine, ExamineReply, IDS_MAX, Ids, LIST, List, ListReply, Nothing, READ, REPORT_BAD, Read,
    ReadReply, Refusal, ReportBad, SCAN, SEAL, SUMMARIES, ScanAll, ScanReply, Seal, Summaries, SummariesReply, Summary,
    TOMBSTONED, USAGE, Unreadable, UsageReply, WRITE_RUN, WriteRun,
};

/// How long a node may take to make a run durable before it is left behind.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a node may take to read some chunks.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(5);
/// How long anything small may take.
const SMALL_DEADLINE: Duration = Duration::from_secs(5);
/// How long a deletion may take: it drops files.
const DELETE_DEADLINE: Duration = Duration::from_secs(30);
/// How long reading some extents may take.
const EXAMINE_DEADLINE: Duration = Duration::from_secs(300);

/// Why a node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Chunks of one extent as a node has them; `None` where it has no readable copy.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) header: Option<ExtentHeader>,
    pub(crate) chunks: Vec<Option<Bytes>>,
}

/// The nodes that hold extents.
#[derive(Clone)]
pub(crate) struct Peers {
    transport: Arc<dyn Transport>,
    holder: Option<Holder>,
}

impl Peers {
    pub(crate) fn new(transport: Arc<dyn Transport>, holder: Option<Holder>) -> Self {
        Self { transport, holder }
    }

    pub(crate) fn local(&self) -> NodeId {
        self.transport.local()
    }

    fn holder(&self, node: NodeId) -> Option<&Holder> {
        self.holder.as_ref().filter(|_| node == self.transport.local())
    }

    /// Makes a run durable on `node`; with `seal` it is the extent's last.
    pub(crate) async fn write_run(
        &self,
        node: NodeId,
        extent: ExtentId,
        owner: &Owner,
        run: &RunBytes,
        seal: Option<ExtentHeader>,
    ) -> Result<(), CallError> {
        if let Some(holder) = self.holder(node) {
            return Ok(holder.write_run(extent, owner.clone(), run, seal).await?);
        }
        let head = WriteRun { extent, owner: owner.clone(), first_chunk: run.first_chunk, seal };
        let body = run.bytes.clone();
        self.call::<_, Nothing>(node, Lane::Data, WRITE_RUN, &head, body, WRITE_DEADLINE).await?;
        Ok(())
    }

    pub(crate) async fn seal(&self, node: NodeId, extent: ExtentId, header: ExtentHeader) -> Result<(), CallError> {
        if let Some(holder) = self.holder(node) {
            return Ok(holder.seal(extent, header).await?);
        }
        let head = Seal { extent, header };
        self.call::<_, Nothing>(node, Lane::Data, SEAL, &head, Bytes::new(), WRITE_DEADLINE).await?;
        Ok(())
    }

    /// Asks for chunks and waits for at most `patience`.
    pub(crate) async fn read(&self, node: NodeId, ask: Read, patience: Duration) -> Result<Fetched, CallError> {
        let (reply, mut body): (ReadReply, Bytes) = match self.holder(node) {
            Some(holder) => holder.read(ask).await?,
            None => self.call(node, Lane::Data, READ, &ask, Bytes::new(), patience).await?,
        };
        let mut chunks = Vec::with_capacity(reply.chunks.len());
        for length in reply.chunks {
            chunks.push(match length.map(|length| length as usize) {
                Some(length) if length <= body.len() => Some(body.split_to(length)),
                _ => None,
            });
        }
        chunks.resize(ask.count as usize, None);
        Ok(Fetched { header: reply.header, chunks })
    }

    pub(crate) async fn delete(&self, node: NodeId, ids: &[ExtentId]) -> Result<(), CallError> {
        for page in ids.chunks(IDS_MAX) {
            match self.holder(node) {
                Some(holder) => holder.delete(page.to_vec()).await?,
                None => {
                    let ids = Ids(page.to_vec());
                    self.call::<_, Nothing>(node, Lane::Control, DELETE, &ids, Bytes::new(), DELETE_DEADLINE).await?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn list(
        &self,
        node: NodeId,
        partition: PartitionId,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<(ExtentId, Digest)>, CallError> {
        if let Some(holder) = self.holder(node) {
            return Ok(holder.store().list(partition, after, limit).await.map_err(Refusal::from)?);
        }
        let ask = List { partition, after, limit: u32::try_from(limit).unwrap_or(u32::MAX) };
        let (ListReply(page), _) = self.call(node, Lane::Control, LIST, &ask, Bytes::new(), SMALL_DEADLINE).await?;
        Ok(page)
    }

    pub(crate) async fn summaries(
        &self,
        node: NodeId,
        partitions: Vec<PartitionId>,
    ) -> Result<Vec<Vec<(ExtentKind, Summary)>>, CallError> {
        if let Some(holder) = self.holder(node) {
            return Ok(partitions.into_iter().map(|partition| holder.summaries(partition)).collect());
        }
        let asked = partitions.len();
        let ask = Summaries(partitions);
        let (SummariesReply(mut found), _) =
            self.call(node, Lane::Control, SUMMARIES, &ask, Bytes::new(), SMALL_DEADLINE).await?;
        found.resize(asked, Vec::new());
        Ok(found)
    }

    /// Which of the extents `node` knows to be deleted.
    pub(crate) async fn tombstoned(&self, node: NodeId, ids: Vec<ExtentId>) -> Result<Vec<ExtentId>, CallError> {
        if let Some(holder) = self.holder(node) {
            return Ok(holder.tombstoned(ids).await?);
        }
        let (Ids(found), _) =
            self.call(node, Lane::Control, TOMBSTONED, &Ids(ids), Bytes::new(), SMALL_DEADLINE).await?;
        Ok(found)
    }

    /// What has become of copies on `node`; with `deep` their bytes are read.
    pub(crate) async fn examine(
        &self,
        node: NodeId,
        copies: Vec<ExtentRef>,
        deep: bool,
    ) -> Result<Vec<CopyState>, CallError> {
        if let Some(holder) = self.holder(node) {
            return Ok(holder.examine(copies, deep).await);
        }
        let deadline = if deep { EXAMINE_DEADLINE } else { DELETE_DEADLINE };
        let ask = Examine { copies, deep };
        let (ExamineReply(states), _) = self.call(node, Lane::Data, EXAMINE, &ask, Bytes::new(), deadline).await?;
        Ok(states)
    }

    /// A page of all that `node` holds, sealed or not, and for whom.
    pub(crate) async fn scan(
        &self,
        node: NodeId,
        after: Option<ExtentId>,
        limit: u32,
    ) -> Result<Vec<(ExtentId, Owner)>, CallError> {
        if let Some(holder) = self.holder(node) {
            return Ok(holder.scan(after, limit).await?);
        }
        let ask = ScanAll { after, limit };
        let (ScanReply(page), _) = self.call(node, Lane::Control, SCAN, &ask, Bytes::new(), DELETE_DEADLINE).await?;
        Ok(page)
    }

    pub(crate) async fn usage(&self, node: NodeId) -> Result<UsageReply, CallError> {
        if let Some(holder) = self.holder(node) {
            return Ok(holder.usage());
        }
        let (usage, _) = self.call(node, Lane::Control, USAGE, &Nothing, Bytes::new(), SMALL_DEADLINE).await?;
        Ok(usage)
    }

    /// Tells a holder, the local one included, that its copy is bad.
    pub(crate) async fn report_bad(&self, node: NodeId, report: ReportBad) -> Result<(), CallError> {
        self.call::<_, Nothing>(node, Lane::Control, REPORT_BAD, &report, Bytes::new(), SMALL_DEADLINE).await?;
        Ok(())
    }

    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        node: NodeId,
        lane: Lane,
        method: Method,
        ask: &Q,
        body: Bytes,
        deadline: Duration,
    ) -> Result<(A, Bytes), CallError> {
        let request = Request { group: 0, head: wire::encode(ask)?, body };
        let Response { head, body } = self.transport.call(node, lane, method, request, deadline).await?;
        let answer: Result<A, Refusal> = wire::decode(&head)?;
        Ok((answer?, body))
    }
}
