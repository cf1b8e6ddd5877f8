//! openraft's calls to other nodes, over the transport.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use karri_ring_rpc::{Lane, Method, Request, Response, RpcError, Transport};
use karri_ring_types::{NodeId, RangeId};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::EmptyNode;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};

use crate::machine::SnapshotReader;
use crate::snapshots::{CHUNK_TIMEOUT_MS, FINISH_TIMEOUT_MS, SnapshotBody};
use crate::types::{Snapshot, TypeConfig, Vote};
use crate::wire::{self, ChunkHead, SnapshotHead, SnapshotReply};

/// Names of snapshot transfers; unique on this node while it runs.
static TRANSFERS: AtomicU64 = AtomicU64::new(1);

/// Makes the peers of one group.
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) range: RangeId,
    pub(crate) append_timeout: Duration,
}

/// One peer of one group.
pub(crate) struct Peer {
    transport: Arc<dyn Transport>,
    range: RangeId,
    to: NodeId,
    append_timeout: Duration,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        Peer {
            transport: self.transport.clone(),
            range: self.range,
            to: NodeId(target),
            append_timeout: self.append_timeout,
        }
    }
}

/// `Unreachable` makes openraft wait before it tries again, `Network` lets it try at once.
fn failure(error: &RpcError) -> RPCError<TypeConfig> {
    match error {
        RpcError::Deadline { .. } | RpcError::Broken { .. } => NetworkError::from_string(error).into(),
        RpcError::Unreachable { .. } | RpcError::UnknownMethod(_) | RpcError::TooLarge | RpcError::Remote(_) => {
            Unreachable::from_string(error).into()
        }
    }
}

fn unreadable(error: &io::Error) -> RPCError<TypeConfig> {
    Unreachable::from_string(error).into()
}

impl Peer {
    async fn call(
        &self,
        lane: Lane,
        method: Method,
        head: Bytes,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Response, RPCError<TypeConfig>> {
        let request = Request { group: self.range.0, head, body };
        self.transport.call(self.to, lane, method, request, deadline).await.map_err(|error| failure(&error))
    }

    async fn snapshot_call(
        &self,
        method: Method,
        head: Bytes,
        body: Bytes,
        timeout_ms: u64,
    ) -> Result<Response, StreamingError<TypeConfig>> {
        let answer = self.call(Lane::Data, method, head, body, Duration::from_millis(timeout_ms)).await;
        answer.map_err(StreamingError::from)
    }

    /// Streams a snapshot; the answer is the receiver's vote.
    async fn send_snapshot(&self, vote: Vote, snapshot: Snapshot) -> Result<Vote, StreamingError<TypeConfig>> {
        let SnapshotBody::Reader(mut reader) = snapshot.snapshot else {
            return Err(Unreachable::from_string("a received snapshot cannot be sent on").into());
        };
        let transfer = TRANSFERS.fetch_add(1, Ordering::Relaxed);
        let begin = wire::head(&SnapshotHead::new(vote.into(), transfer, &snapshot.meta));
        let answer = self.snapshot_call(wire::SNAPSHOT_BEGIN, begin, Bytes::new(), CHUNK_TIMEOUT_MS).await?;
        let theirs = snapshot_vote(&answer)?;
        if theirs > vote {
            return Ok(theirs);
        }
        let mut number = 0;
        loop {
            let (next, chunk) = next_chunk(reader).await?;
            reader = next;
            let head = wire::head(&ChunkHead { transfer, number });
            let Some(chunk) = chunk else {
                let answer = self.snapshot_call(wire::SNAPSHOT_FINISH, head, Bytes::new(), FINISH_TIMEOUT_MS).await?;
                return snapshot_vote(&answer);
            };
            self.snapshot_call(wire::SNAPSHOT_CHUNK, head, chunk, CHUNK_TIMEOUT_MS).await?;
            number += 1;
        }
    }
}

fn snapshot_vote(answer: &Response) -> Result<Vote, StreamingError<TypeConfig>> {
    let reply: SnapshotReply = wire::parse(&answer.head).map_err(|e| StreamingError::from(unreadable(&e)))?;
    Ok(reply.vote.into())
}

/// Reads the next chunk off the runtime.
async fn next_chunk(
    mut reader: Box<dyn SnapshotReader>,
) -> Result<(Box<dyn SnapshotReader>, Option<Bytes>), StreamingError<TypeConfig>> {
    let read = move || {
        let chunk = reader.next_chunk().map_err(io::Error::other)?;
        Ok((reader, chunk))
    };
    crate::adapter::blocking(read).await.map_err(|error| {
        tracing::error!(%error, "snapshot could not be read");
        Unreachable::from_string(error).into()
    })
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotBody;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (head, body) = wire::encode_append(&rpc);
        // The option's time is made for heartbeats; entries wait for the follower's fsync, perhaps after others.
        let deadline = if rpc.entries.is_empty() { option.hard_ttl() } else { self.append_timeout };
        let answer = self.call(Lane::Control, wire::APPEND, head, body, deadline).await?;
        wire::decode_append_reply(&answer.head).map_err(|e| unreadable(&e))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let head = wire::encode_vote(&rpc);
        let answer = self.call(Lane::Control, wire::VOTE, head, Bytes::new(), option.soft_ttl()).await?;
        wire::decode_vote_reply(&answer.head).map_err(|e| unreadable(&e))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let head = wire::encode_vote(&rpc);
        let answer = self.call(Lane::Control, wire::PRE_VOTE, head, Bytes::new(), option.soft_ttl()).await?;
        wire::decode_vote_reply(&answer.head).map_err(|e| unreadable(&e))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (to, range) = (self.to, self.range);
        tracing::info!(%range, %to, meta = %snapshot.meta, "sending a snapshot");
        let send = std::pin::pin!(self.send_snapshot(vote, snapshot));
        match select(send, std::pin::pin!(cancel)).await {
            Either::Left((sent, _)) => sent.map(SnapshotResponse::new),
            Either::Right((closed, _)) => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let head = wire::encode_transfer(&req);
        let answer = self.call(Lane::Control, wire::TRANSFER, head, Bytes::new(), self.append_timeout).await?;
        wire::decode_transfer_reply(&answer.head).map_err(|e| unreadable(&e))
    }
}
