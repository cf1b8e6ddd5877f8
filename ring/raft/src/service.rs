//! Answers the calls of other hosts.

use std::io;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use karri_ring_rpc::{Caller, Handler, Method, Request, Response};
use karri_ring_types::{NodeId, RangeId};
use openraft::raft::VoteRequest;

use crate::adapter::blocking;
use crate::group::Group;
use crate::host::RaftHost;
use crate::snapshots::{Incoming, SnapshotBody};
use crate::types::{Snapshot, TypeConfig, Vote};
use crate::wire::{self, ChunkHead, SnapshotHead, SnapshotReply};

/// The handler of [`crate::METHODS`].
pub(crate) struct Service {
    pub(crate) host: Weak<RaftHost>,
}

#[async_trait]
impl Handler for Service {
    async fn handle(&self, from: Caller, method: Method, request: Request) -> Result<Response, String> {
        let Caller::Node(from) = from else { return Err("raft calls need a node's certificate".to_owned()) };
        let Some(host) = self.host.upgrade() else { return Err("the raft host is stopped".to_owned()) };
        let head = serve(&host, from, method, request).await.map_err(|error| error.to_string())?;
        Ok(Response { head, body: Bytes::new() })
    }
}

async fn serve(host: &Arc<RaftHost>, from: NodeId, method: Method, request: Request) -> io::Result<Bytes> {
    let range = RangeId(request.group);
    match method {
        wire::APPEND => {
            let rpc = wire::decode_append(&request.head, request.body)?;
            check_sender(rpc.vote, from)?;
            let group = host.group_or_create(range).await?;
            if !rpc.entries.is_empty() && host.disk_full() {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "disk of the raft log is full"));
            }
            let reply = group.raft().append_entries(rpc).await.map_err(io::Error::other)?;
            Ok(wire::encode_append_reply(reply))
        }
        wire::VOTE | wire::PRE_VOTE => {
            let rpc = wire::decode_vote(&request.head)?;
            check_sender(rpc.vote, from)?;
            let group = known(host, range)?;
            vote(&group, rpc, method == wire::PRE_VOTE).await
        }
        wire::TRANSFER => {
            let rpc = wire::decode_transfer(&request.head)?;
            check_sender(*rpc.from_leader(), from)?;
            let reply = known(host, range)?.raft().handle_transfer_leader(rpc).await.map_err(io::Error::other)?;
            Ok(wire::encode_transfer_reply(reply))
        }
        wire::SNAPSHOT_BEGIN => {
            let head: SnapshotHead = wire::parse(&request.head)?;
            check_sender(head.vote.into(), from)?;
            if host.disk_full() {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "disk of the raft log is full"));
            }
            let group = host.group_or_create(range).await?;
            snapshot_begin(&group, from, head).await
        }
        wire::SNAPSHOT_CHUNK => {
            let head: ChunkHead = wire::parse(&request.head)?;
            let group = known(host, range)?;
            snapshot_chunk(&group, from, head, request.body).await
        }
        wire::SNAPSHOT_FINISH => {
            let head: ChunkHead = wire::parse(&request.head)?;
            let group = known(host, range)?;
            snapshot_finish(&group, from, head).await
        }
        wire::ROOM => Ok(wire::head(&!host.disk_full())),
        Method(other) => Err(io::Error::other(format!("unknown raft method {other}"))),
    }
}

fn known(host: &RaftHost, range: RangeId) -> io::Result<Arc<Group>> {
    host.group(range).ok_or_else(|| io::Error::other(format!("range {range} is not on this node")))
}

/// A node speaks only for itself.
fn check_sender(vote: Vote, from: NodeId) -> io::Result<()> {
    if vote.leader_id.voted_for == from.0 {
        return Ok(());
    }
    Err(io::Error::other(format!("node {from} sent a raft message in the name of node {}", vote.leader_id.voted_for)))
}

async fn vote(group: &Group, rpc: VoteRequest<TypeConfig>, pre_vote: bool) -> io::Result<Bytes> {
    // A leader that hands over has given up its lease itself.
    if group.in_vote_quarantine() && !rpc.leadership_transfer {
        return Err(io::Error::other("restarted a moment ago; a lease given before may still run"));
    }
    let reply = if pre_vote { group.raft().pre_vote(rpc).await } else { group.raft().vote(rpc).await };
    Ok(wire::encode_vote_reply(&reply.map_err(io::Error::other)?))
}

async fn snapshot_begin(group: &Group, from: NodeId, head: SnapshotHead) -> io::Result<Bytes> {
    let (vote, meta): (Vote, _) = (head.vote.into(), head.meta()?);
    let ours = group.vote();
    if ours > vote {
        return Ok(wire::head(&SnapshotReply { vote: ours.into() }));
    }
    tracing::info!(range = %group.range(), %from, %meta, "receiving a snapshot");
    let mut slot = group.incoming().lock().await;
    // The writer of an abandoned transfer goes first, so that there is never more than one.
    *slot = None;
    let machine = group.machine();
    let writer = blocking(move || machine.begin_install().map_err(io::Error::other)).await?;
    *slot = Some(Incoming { from, transfer: head.transfer, vote, meta, next_chunk: 0, writer });
    Ok(wire::head(&SnapshotReply { vote: head.vote }))
}

async fn snapshot_chunk(group: &Group, from: NodeId, head: ChunkHead, chunk: Bytes) -> io::Result<Bytes> {
    let mut slot = group.incoming().lock().await;
    let mut incoming = take(&mut slot, from, head.transfer)?;
    // After an error the transfer is gone and the leader begins another.
    let incoming = blocking(move || {
        incoming.write(head.number, chunk)?;
        Ok(incoming)
    })
    .await?;
    *slot = Some(incoming);
    Ok(wire::head(&()))
}

async fn snapshot_finish(group: &Group, from: NodeId, head: ChunkHead) -> io::Result<Bytes> {
    let incoming = {
        let mut slot = group.incoming().lock().await;
        take(&mut slot, from, head.transfer)?
    };
    if incoming.next_chunk != head.number {
        return Err(io::Error::other("snapshot chunks are missing"));
    }
    let snapshot = Snapshot { meta: incoming.meta, snapshot: SnapshotBody::Writer(incoming.writer) };
    let reply = group.raft().install_full_snapshot(incoming.vote, snapshot).await.map_err(io::Error::other)?;
    Ok(wire::head(&SnapshotReply { vote: reply.vote.into() }))
}

/// Takes the transfer out of its slot, if it is the one meant.
fn take(slot: &mut Option<Incoming>, from: NodeId, transfer: u64) -> io::Result<Incoming> {
    match slot.take() {
        Some(incoming) if incoming.from == from && incoming.transfer == transfer => Ok(incoming),
        other => {
            *slot = other;
            Err(io::Error::other("unknown snapshot transfer"))
        }
    }
}
