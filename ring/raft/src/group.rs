//! One Raft group on this node.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use karri_ring_types::{NodeId, RangeId};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, InitializeError};
use openraft::impls::EmptyNode;
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::{ChangeMembers, RaftMetrics};
use serde::{Deserialize, Serialize};

use crate::config::HostConfig;
use crate::failure::Failure;
use crate::log::{FlushGate, GroupLog};
use crate::machine::StateMachine;
use crate::snapshots::Incoming;
use crate::space::Space;
use crate::types::{Proposal, Raft, TypeConfig, Vote};
use crate::{NotLeader, ProposeError, RaftError};

/// Most bytes of one proposal.
pub const ENTRY_SIZE_BYTES_MAX: usize = 8 << 20;

/// A learner this close to the end of the log may become a voter.
const CATCH_UP_ENTRIES: u64 = 128;
/// Membership entries that one change may need: the joint set, the final set, and one left behind by another.
const CHANGE_ATTEMPTS: u32 = 3;

/// How long a leader that stops waits for its successor.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);

type WriteFailure = openraft::errors::RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

/// A committed and applied proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its place in the log.
    pub index: u64,
    /// What the machine answered.
    pub reply: Bytes,
}

/// What a group looks like from this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The range.
    pub range: RangeId,
    /// The present term.
    pub term: u64,
    /// The leader, as far as known here.
    pub leader: Option<NodeId>,
    /// The voters.
    pub voters: Vec<NodeId>,
    /// Nodes that get the log without a vote.
    pub learners: Vec<NodeId>,
    /// The last entry of the log here.
    pub last_index: u64,
    /// The last entry applied here.
    pub applied_index: u64,
    /// On the leader: entries that the slowest follower lacks.
    pub lag_max: Option<u64>,
}

/// One Raft group on this node. Cheap to share; calls may be made at once from many tasks.
pub struct Group {
    pub(crate) range: RangeId,
    pub(crate) node: NodeId,
    pub(crate) raft: Raft,
    pub(crate) log: Arc<GroupLog>,
    pub(crate) gate: Arc<FlushGate>,
    pub(crate) machine: Arc<dyn StateMachine>,
    pub(crate) config: Arc<HostConfig>,
    pub(crate) space: Arc<Space>,
    pub(crate) failure: Arc<Failure>,
    /// Until when no vote is given, for a group that was here before the restart.
    pub(crate) quarantine_end: Option<tokio::time::Instant>,
    pub(crate) incoming: tokio::sync::Mutex<Option<Incoming>>,
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) stopped: AtomicBool,
}

fn node_ids(ids: impl Iterator<Item = u64>) -> Vec<NodeId> {
    ids.map(NodeId).collect()
}

impl Group {
    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(crate) fn machine(&self) -> Arc<dyn StateMachine> {
        self.machine.clone()
    }

    pub(crate) fn incoming(&self) -> &tokio::sync::Mutex<Option<Incoming>> {
        &self.incoming
    }

    pub(crate) fn in_vote_quarantine(&self) -> bool {
        self.quarantine_end.is_some_and(|end| tokio::time::Instant::now() < end)
    }

    fn metrics<T>(&self, f: impl FnOnce(&RaftMetrics<TypeConfig>) -> T) -> T {
        f(&self.raft.metrics().borrow_watched())
    }

    pub(crate) fn vote(&self) -> Vote {
        self.metrics(|m| m.vote)
    }

    /// A group that openraft has stopped would leave its callers waiting.
    pub(crate) fn raise_fatal(&self) {
        let Err(fatal) = self.metrics(|m| m.running_state.clone()) else { return };
        if !self.stopped.load(Ordering::Acquire) && fatal != Fatal::Stopped {
            self.failure.raise(&format!("raft group {} stopped", self.range), &fatal);
        }
    }

    /// Tells that the machine could not be read.
    pub fn fail(&self, what: &str, error: &(dyn std::error::Error + 'static)) {
        self.failure.raise(what, error);
    }

    /// The group's range.
    pub fn range(&self) -> RangeId {
        self.range
    }

    /// Makes `voters` the first members; on the first start of one of them only.
    pub async fn initialize(&self, voters: &[NodeId]) -> Result<(), RaftError> {
        let members: BTreeSet<u64> = voters.iter().map(|node| node.0).collect();
        let members: std::collections::BTreeMap<u64, EmptyNode> =
            members.into_iter().map(|id| (id, EmptyNode {})).collect();
        match self.raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(openraft::errors::RaftError::APIError(InitializeError::NotAllowed(_))) => {
                Err(RaftError::AlreadyInitialized)
            }
            Err(openraft::errors::RaftError::APIError(error)) => Err(RaftError::Membership(error.to_string())),
            Err(openraft::errors::RaftError::Fatal(fatal)) => Err(RaftError::Stopped(fatal.to_string())),
        }
    }

    /// Proposes `entry`; returns once it is committed and applied on this node. A caller that stops waiting
    /// does not take the proposal back.
    pub async fn propose(&self, entry: Bytes) -> Result<Applied, ProposeError> {
        if entry.len() > ENTRY_SIZE_BYTES_MAX {
            return Err(ProposeError::TooLarge);
        }
        if self.stopped.load(Ordering::Acquire) {
            return Err(ProposeError::Shutdown);
        }
        if self.space.is_low() {
            return Err(ProposeError::NotLeader { leader: None });
        }
        let write = self.raft.client_write(Proposal(entry));
        match tokio::time::timeout(self.config.propose_timeout(), write).await {
            Ok(Ok(written)) => Ok(Applied { index: written.log_id.index, reply: written.data.0 }),
            Ok(Err(failure)) => Err(propose_error(&failure)),
            Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// Proves that this node leads and has applied all that was committed before the call; afterwards the
    /// machine may be read. A quorum that acknowledged a heartbeat or entry within the lease is proof enough
    /// and costs no call; otherwise a round of heartbeats is made (read index). The lease trusts that clocks
    /// run alike to within a factor of two for some seconds.
    pub async fn linearize(&self) -> Result<(), NotLeader> {
        let wait = self.config.read_timeout();
        let option = LinearizerOption::new(Some(self.config.read_lease()), true).with_wait_timeout(wait);
        let Ok(linearizer) = self.raft.get_read_linearizer(option).await else { return Err(self.not_leader()) };
        match linearizer.try_await_ready(&self.raft, Some(wait)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(self.not_leader()),
        }
    }

    /// The leader elsewhere, if any is known.
    fn not_leader(&self) -> NotLeader {
        NotLeader { leader: self.leader().filter(|leader| *leader != self.node) }
    }

    /// Makes `voters` the voters: new ones get the log as learners first and vote once they have caught up.
    /// Only on the leader. When it fails it may be called again, here or on the next leader.
    pub async fn set_voters(&self, voters: &[NodeId]) -> Result<(), RaftError> {
        let wanted: BTreeSet<u64> = voters.iter().map(|node| node.0).collect();
        if wanted.is_empty() {
            return Err(RaftError::Membership("a group needs a voter".to_owned()));
        }
        let _one_at_a_time = self.changing.lock().await;
        self.add_learners(&wanted).await?;
        for _ in 0..CHANGE_ATTEMPTS {
            let (joint, voters, learners) = self.metrics(|m| {
                let membership = m.membership_config.membership();
                let voters: BTreeSet<u64> = membership.voter_ids().collect();
                (membership.get_joint_config().len() > 1, voters, membership.learner_ids().collect::<BTreeSet<_>>())
            });
            if joint || voters != wanted {
                self.change(ChangeMembers::ReplaceAllVoters(wanted.clone())).await?;
            } else if !learners.is_empty() {
                self.change(ChangeMembers::RemoveNodes(learners)).await?;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn add_learners(&self, wanted: &BTreeSet<u64>) -> Result<(), RaftError> {
        let (voters, known) = self.metrics(|m| {
            let membership = m.membership_config.membership();
            let known: BTreeSet<u64> = membership.nodes().map(|(id, _)| *id).collect();
            (membership.voter_ids().collect::<BTreeSet<u64>>(), known)
        });
        for &node in wanted.difference(&known) {
            let added = self.raft.add_learner(node, EmptyNode {}, false);
            self.within(self.config.propose_timeout(), "adding a learner", added).await??;
        }
        for &node in wanted.difference(&voters) {
            self.wait_caught_up(node).await?;
        }
        Ok(())
    }

    async fn wait_caught_up(&self, node: u64) -> Result<(), RaftError> {
        let caught_up = |m: &RaftMetrics<TypeConfig>| {
            let Some(replication) = &m.replication else { return true };
            let matched = replication.get(&node).and_then(|matched| *matched).map_or(0, |id| id.index + 1);
            matched > 0 && matched + CATCH_UP_ENTRIES > m.last_log_index.unwrap_or(0)
        };
        let wait = self.raft.wait(Some(self.config.catch_up_timeout()));
        wait.metrics(caught_up, "new voter catches up")
            .await
            .map_err(|_| RaftError::Timeout("a new voter to catch up"))?;
        if self.is_leader() { Ok(()) } else { Err(RaftError::NotLeader { leader: self.leader() }) }
    }

    async fn change(&self, change: ChangeMembers<u64, EmptyNode>) -> Result<(), RaftError> {
        let change = self.raft.change_membership(change, false);
        self.within(self.config.propose_timeout(), "changing the members", change).await??;
        Ok(())
    }

    /// Bounds a membership call; its own failure is the inner result.
    async fn within<T>(
        &self,
        timeout: Duration,
        what: &'static str,
        call: impl Future<Output = Result<T, WriteFailure>>,
    ) -> Result<Result<T, RaftError>, RaftError> {
        let done = tokio::time::timeout(timeout, call).await.map_err(|_| RaftError::Timeout(what))?;
        Ok(done.map_err(|failure| membership_error(&failure)))
    }

    /// The leader, as far as known here; it may have been replaced.
    pub fn leader(&self) -> Option<NodeId> {
        self.metrics(|m| m.current_leader).map(NodeId)
    }

    /// Whether this node believes to lead; only [`Group::linearize`] proves it.
    pub fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    /// The present term. A term has at most one leader.
    pub fn term(&self) -> u64 {
        self.metrics(|m| m.current_term)
    }

    /// The voters; both sets while they change.
    pub fn voters(&self) -> Vec<NodeId> {
        self.metrics(|m| node_ids(m.membership_config.membership().voter_ids()))
    }

    /// The last entry that this node applied.
    pub fn applied_index(&self) -> u64 {
        self.gate.applied_index()
    }

    /// The last entry that was removed from the log here: whoever lacks it needs a snapshot. 0: none was.
    pub fn purged_index(&self) -> u64 {
        self.metrics(|m| m.purged.as_ref().map_or(0, |id| id.index))
    }

    /// What the group looks like from here.
    pub fn status(&self) -> GroupStatus {
        self.metrics(|m| {
            let last_index = m.last_log_index.unwrap_or(0);
            let lag =
                |matched: &Option<crate::types::LogId>| last_index.saturating_sub(matched.map_or(0, |id| id.index));
            let membership = m.membership_config.membership();
            GroupStatus {
                range: self.range,
                term: m.current_term,
                leader: m.current_leader.map(NodeId),
                voters: node_ids(membership.voter_ids()),
                learners: node_ids(membership.learner_ids()),
                last_index,
                applied_index: self.applied_index(),
                lag_max: m.replication.as_ref().and_then(|r| r.values().map(lag).max()),
            }
        })
    }

    /// Hands the leadership to `to`, a voter; returns when it leads.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), RaftError> {
        if !self.is_leader() {
            return Err(RaftError::NotLeader { leader: self.leader() });
        }
        if !self.voters().contains(&to) {
            return Err(RaftError::Membership(format!("node {to} is not a voter")));
        }
        if to == self.node {
            return Ok(());
        }
        self.raft.trigger().transfer_leader(to.0).await.map_err(|e| RaftError::Stopped(e.to_string()))?;
        let wait = self.raft.wait(Some(Duration::from_millis(self.config.election_ms.1)));
        let done = wait.metrics(|m| m.current_leader == Some(to.0), "leadership is handed over").await;
        done.map(|_| ()).map_err(|_| RaftError::Timeout("the new leader"))
    }

    /// On the leader: the other voters that have some of the log, the longest first.
    pub(crate) fn successors(&self) -> Vec<NodeId> {
        self.metrics(|m| {
            let Some(replication) = m.replication.as_ref().filter(|_| m.state.is_leader()) else { return Vec::new() };
            let voters = m.membership_config.membership().voter_ids().filter(|voter| *voter != self.node.0);
            let matched = voters.filter_map(|voter| Some((replication.get(&voter).copied()??, voter)));
            let mut matched: Vec<_> = matched.collect();
            matched.sort_unstable_by(|a, b| b.cmp(a));
            matched.into_iter().map(|(_, voter)| NodeId(voter)).collect()
        })
    }

    /// Whether a leader whose disk is full may soon have handed over to one that takes writes. Where too few of the
    /// voters have room it stays, for those who read.
    pub fn may_be_handed_over(&self) -> bool {
        self.space.suffices_without(self.node, &self.voters())
    }

    /// Waits until a leader is known here.
    pub async fn wait_leader(&self, timeout: Duration) -> Option<NodeId> {
        let metrics = self.raft.wait(Some(timeout)).metrics(|m| m.current_leader.is_some(), "leader is known").await;
        metrics.ok().and_then(|m| m.current_leader).map(NodeId)
    }

    /// Flushes the machine, so that the log before may be purged; returns before that is done.
    pub async fn compact(&self) -> Result<(), RaftError> {
        self.log.snapshot_taken();
        self.raft.trigger().snapshot().await.map_err(|e| RaftError::Stopped(e.to_string()))
    }

    /// Leaves the group; a leader hands over first, so that nobody has to wait for its lease to end.
    pub(crate) async fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(&next) = self.successors().first()
            && !matches!(tokio::time::timeout(HAND_OVER_TIMEOUT, self.transfer_leader(next)).await, Ok(Ok(())))
        {
            tracing::info!(range = %self.range, to = %next, "leadership was not handed over before the stop");
        }
        if self.raft.shutdown().await.is_err() {
            tracing::warn!(range = %self.range, "raft group did not stop cleanly");
        }
        *self.incoming.lock().await = None;
    }
}

fn propose_error(failure: &WriteFailure) -> ProposeError {
    match failure {
        openraft::errors::RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader { leader: forward.leader_id.map(NodeId) }
        }
        // Appended here; another leader may have got it too.
        openraft::errors::RaftError::APIError(_) | openraft::errors::RaftError::Fatal(_) => ProposeError::Unknown,
    }
}

fn membership_error(failure: &WriteFailure) -> RaftError {
    match failure {
        openraft::errors::RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            RaftError::NotLeader { leader: forward.leader_id.map(NodeId) }
        }
        openraft::errors::RaftError::APIError(error) => RaftError::Membership(error.to_string()),
        openraft::errors::RaftError::Fatal(fatal) => RaftError::Stopped(fatal.to_string()),
    }
}
