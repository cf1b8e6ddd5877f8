//! A leader whose disk is full hands its groups to voters that have room: nobody could write to them otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use karri_ring_rpc::{Lane, Request, RpcError};
use karri_ring_types::NodeId;

use crate::group::Group;
use crate::host::RaftHost;
use crate::wire;

/// Longest wait for a node to tell whether it has room.
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// Groups that are handed over at the same time.
const AT_ONCE: usize = 16;

impl RaftHost {
    /// Whether the disk of `node` takes entries. One that does not answer has no room; one of a version that does not
    /// know the question has some, as far as anybody can tell.
    pub async fn has_room(&self, node: NodeId) -> bool {
        let asked = self.transport.call(node, Lane::Control, wire::ROOM, Request::default(), ROOM_WAIT);
        match asked.await {
            Ok(answer) => wire::parse(&answer.head).unwrap_or(false),
            Err(RpcError::Remote(_) | RpcError::UnknownMethod(_)) => true,
            Err(_) => false,
        }
    }

    /// Hands over what this node leads, as far as voters with room are a majority of their group: fewer could not go on
    /// without this node. Does nothing while another call is at it.
    pub(crate) async fn hand_over_all(self: Arc<Self>) {
        let Ok(_one) = self.handing_over.try_lock() else { return };
        let led: Vec<(Arc<Group>, Vec<NodeId>)> = self
            .open_groups()
            .into_iter()
            .map(|group| (group.clone(), group.successors()))
            .filter(|(_, successors)| !successors.is_empty())
            .collect();
        let rooms = self.ask_for_room(&led).await;
        let mut moves = Vec::new();
        for (group, successors) in led {
            let to = successors.into_iter().find(|node| rooms.get(node) == Some(&true));
            if let Some(to) = to.filter(|_| group.may_be_handed_over()) {
                moves.push(hand_over(group, to));
            }
        }
        futures::stream::iter(moves).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// Asks all other voters of the groups, and notes what they say.
    async fn ask_for_room(&self, led: &[(Arc<Group>, Vec<NodeId>)]) -> BTreeMap<NodeId, bool> {
        let local = self.transport.local();
        let voters = led.iter().flat_map(|(group, _)| group.voters()).filter(|voter| *voter != local);
        let voters: BTreeSet<NodeId> = voters.collect();
        let asked = voters.into_iter().map(|node| async move { (node, self.has_room(node).await) });
        let rooms: BTreeMap<NodeId, bool> = join_all(asked).await.into_iter().collect();
        rooms.iter().for_each(|(&node, &room)| self.space.note_other(node, room));
        rooms
    }
}

async fn hand_over(group: Arc<Group>, to: NodeId) {
    let range = group.range();
    match group.transfer_leader(to).await {
        Ok(()) => tracing::info!(%range, %to, "handed over: the disk here is full"),
        // The next look at the disk tries again.
        Err(error) => tracing::warn!(%range, %to, %error, "not handed over, though the disk here is full"),
    }
}
