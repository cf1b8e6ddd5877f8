//! The loops that keep a node's view of the cluster current and the cluster placed.

use std::sync::Arc;

use bytes::Bytes;
use karri_ring_meta::{Route, SYSTEM_RANGE};
use karri_ring_placement::{Layout, NodeSpec};
use karri_ring_rpc::{Lane, Request};
use karri_ring_types::{NodeId, RangeId};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::record::{ClusterState, Command, NodeInfo, Query, Reply, decode, encode};
use super::{CLUSTER_EVALUATOR, Known, Membership, MembershipError, PING_DEADLINE, SYSTEM_DEADLINE, TICK};
use crate::join::PING;

impl Membership {
    pub(crate) async fn execute(&self, command: Command) -> Result<Reply, MembershipError> {
        // Every command may be repeated: a retry finds its own effect.
        let reply =
            self.client.execute(&Route::System, CLUSTER_EVALUATOR, encode(&command), true, SYSTEM_DEADLINE).await?;
        match decode(&reply)? {
            Reply::Refused(refusal) => Err(refusal.into()),
            reply => Ok(reply),
        }
    }

    /// Version of the state that this node knows; 0: none.
    pub(crate) fn version(&self) -> u64 {
        self.state.borrow().version
    }

    /// Another node knows `version`.
    pub(crate) fn heard_of(&self, version: u64) {
        if version > self.version() {
            self.changed.notify_one();
        }
    }

    /// Looks for a newer state at once.
    pub(crate) fn doubt(&self) {
        self.changed.notify_one();
    }

    pub(super) async fn follow(&self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.changed.notified() => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::debug!(%error, "the state of the cluster is not known now");
                continue;
            }
            if let Err(error) = self.announce().await {
                tracing::warn!(%error, "cannot announce this node");
            }
            if let Err(error) = self.admit().await {
                tracing::warn!(%error, "cannot change the layout");
            }
        }
    }

    /// Asks the system range for what is newer than the cached state.
    async fn refresh(&self) -> Result<(), MembershipError> {
        let query = encode(&Query { known_version: self.version() });
        let answer = self.client.query(&Route::System, CLUSTER_EVALUATOR, query, SYSTEM_DEADLINE).await?;
        if let Some(state) = decode::<Option<ClusterState>>(&answer)? {
            self.learn(state)?;
        }
        Ok(())
    }

    fn learn(&self, state: ClusterState) -> Result<(), MembershipError> {
        let mut moved = false;
        for node in &state.nodes {
            moved |= node.id != self.local() && self.addresses.set(node.id, node.rpc_address.clone());
        }
        let layouts: Vec<Arc<Layout>> = state.layouts.into_iter().map(Arc::new).collect();
        let epoch = layouts.first().map(|layout| layout.epoch);
        if epoch.is_some_and(|epoch| epoch != self.layout().epoch) {
            tracing::info!(epoch = epoch.map(|epoch| epoch.0), nodes = state.nodes.len(), "new layout");
            self.layouts.send_replace(Arc::new(layouts));
        }
        let known = Known { version: state.record.version, replicas: state.record.replicas, nodes: state.nodes };
        self.state.send_replace(Arc::new(known));
        if moved {
            self.client.set_seeds(self.addresses.snapshot().into_keys().collect());
            self.address_file.save(&self.addresses)?;
        }
        Ok(())
    }

    /// Registers this node, when the registry does not have it as it is.
    async fn announce(&self) -> Result<(), MembershipError> {
        let known = self.state.borrow().clone();
        if known.version == 0 {
            return Ok(());
        }
        let mut this = self.config.this.clone();
        if let Some(registered) = known.nodes.iter().find(|node| node.id == this.id) {
            this.joined = registered.joined;
            if *registered == this {
                return Ok(());
            }
        }
        self.execute(Command::Register(this)).await?;
        tracing::info!(node = %self.local(), "announced");
        self.changed.notify_one();
        Ok(())
    }

    /// On the leader of the system range: puts nodes that have announced themselves and answer into the layout.
    async fn admit(&self) -> Result<(), MembershipError> {
        let known = self.state.borrow().clone();
        if known.version == 0 || !self.leads_system_range() {
            return Ok(());
        }
        let current = self.layout();
        let wanted = wanted_nodes(&current, &known.nodes, |node| self.alive(node));
        let replicas = known.replicas.min(u8::try_from(wanted.len()).unwrap_or(u8::MAX));
        let mut widths: Vec<u8> = known.nodes.iter().flat_map(|node| node.widths.iter().copied()).collect();
        // A ring that there is stays: extents may be on it.
        widths.retain(|width| !current.widths().contains(width));
        if wanted.is_empty() || (wanted == current.nodes && replicas == current.replicas && widths.is_empty()) {
            return Ok(());
        }
        let next = match current.next_with(wanted, replicas, &widths) {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "no layout can be made of the nodes");
                return Ok(());
            }
        };
        let moved = Layout::movement(&current, &next);
        tracing::info!(epoch = next.epoch.0, nodes = next.nodes.len(), replicas, moved, "changing the layout");
        self.execute(Command::InstallLayout(next)).await?;
        self.changed.notify_one();
        Ok(())
    }

    fn leads_system_range(&self) -> bool {
        self.meta.led_ranges().iter().any(|range| range.id == SYSTEM_RANGE)
    }

    /// Moves the voters of the ranges led here to the nodes that the layout chooses.
    pub(super) async fn place_ranges(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            let layout = self.layout();
            if layout.nodes.is_empty() {
                continue;
            }
            let choose = move |range: RangeId, count: usize| layout.choose(range.0, count);
            match shutdown.run_until_cancelled(self.meta.place(&choose)).await {
                Some(placed) if placed.changed + placed.failed + placed.transferred > 0 => {
                    tracing::info!(?placed, "placed ranges");
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    pub(super) async fn ping_peers(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            let mut pings = JoinSet::new();
            for peer in self.addresses.snapshot().into_keys().filter(|&peer| peer != self.local()) {
                let this = self.clone();
                pings.spawn(async move { this.ping(peer).await });
            }
            if shutdown.run_until_cancelled(pings.join_all()).await.is_none() {
                return;
            }
        }
    }

    async fn ping(&self, peer: NodeId) {
        let request = Request { group: 0, head: encode(&self.version()), body: Bytes::new() };
        let answer = self.transport.call(peer, Lane::Control, PING, request, PING_DEADLINE).await;
        let version = answer.ok().and_then(|answer| decode::<u64>(&answer.head).ok());
        if let Some(change) = self.health.note(peer, version.is_some()) {
            tracing::info!(%peer, alive = change, "peer");
            self.changed.notify_one();
        }
        self.heard_of(version.unwrap_or(0));
    }
}

/// The layout's nodes as they are registered now, and the registered ones that answer. A node in the layout stays in it
/// while it is down: only an administrator's command takes it out.
fn wanted_nodes(current: &Layout, registered: &[NodeInfo], alive: impl Fn(NodeId) -> bool) -> Vec<NodeSpec> {
    let mut wanted = current.nodes.clone();
    for node in registered {
        let spec = NodeSpec { id: node.id, zone: node.zone.clone(), capacity_bytes: node.capacity_bytes };
        match wanted.iter_mut().find(|present| present.id == node.id) {
            Some(present) => *present = spec,
            None if alive(node.id) => wanted.push(spec),
            None => {}
        }
    }
    wanted.sort_by_key(|node| node.id);
    wanted
}
