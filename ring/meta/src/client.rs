//! Finds the leader of a range and gets an answer from it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_rpc::{Lane, Request, RpcError, Transport};
use karri_ring_types::{NodeId, RangeId, Rng};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::codec::{decode, encode};
use crate::directory::{Cached, DIRECTORY, Page, Query, encode_query};
use crate::directory_cache::{DirectoryCache, Followed};
use crate::host::{Host, Kind};
use crate::message::{Answer, Call, CallHead, EXECUTE, Failure, QUERY};
use crate::types::COMMAND_BYTES_MAX;
use crate::{EvaluatorId, MetaError, Route, SYSTEM_RANGE};

/// Longest wait for one node, where asking again does no harm.
const ATTEMPT_MAX: Duration = Duration::from_secs(4);
/// First and longest pause between attempts, before jitter.
const PAUSE_MS: (u64, u64) = (10, 320);
/// Leaders in a row that may be tried without a pause.
const REDIRECTS_MAX: u32 = 2;
/// Longest wait for the directory.
const DIRECTORY_WAIT_MAX: Duration = Duration::from_secs(5);
/// Larger commands take the lane on which they delay no heartbeat.
const CONTROL_BYTES_MAX: usize = 128 << 10;
/// Nodes kept as places of the system range.
const SYSTEM_NODES_MAX: usize = 64;
/// Nodes that a request has heard of as places of its range.
const NAMED_NODES_MAX: usize = 64;

/// Asks ranges wherever they are. Cheap to share.
pub struct MetaClient {
    host: Arc<Host>,
    transport: Arc<dyn Transport>,
    rng: Arc<dyn Rng>,
    directory: DirectoryCache<Cached>,
    leaders: RwLock<HashMap<RangeId, NodeId>>,
    system_nodes: RwLock<Vec<NodeId>>,
    seeds: RwLock<Vec<NodeId>>,
}

/// What one attempt came to.
enum Tried {
    Done(Bytes),
    Failed(Failure),
    /// The node was not reached.
    Lost,
    /// It may have happened.
    Ambiguous,
}

/// How to go on after an attempt.
enum Next {
    AtOnce,
    Pause,
    Finish(Result<Bytes, MetaError>),
}

/// One call and what its attempts have shown so far.
struct Course<'a> {
    kind: Kind,
    route: &'a Route,
    evaluator: EvaluatorId,
    body: Bytes,
    idempotent: bool,
    deadline: Instant,
    /// An attempt may have happened.
    ambiguous: bool,
    /// The node that has just failed.
    avoid: Option<NodeId>,
    /// Attempts without a leader in sight; picks the next candidate.
    turn: usize,
    redirects: u32,
    pauses: u32,
    directory: Followed<Cached>,
    /// The outdated copy of the directory named a range that does not have the key.
    wrong_range: bool,
    /// Voters that replicas have named.
    named: Vec<NodeId>,
}

impl Course<'_> {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn late(&self) -> MetaError {
        if self.ambiguous { MetaError::OutcomeUnknown } else { MetaError::Unavailable }
    }
}

impl MetaClient {
    pub(crate) fn new(host: Arc<Host>, transport: Arc<dyn Transport>, rng: Arc<dyn Rng>) -> Self {
        Self {
            host,
            transport,
            rng,
            directory: DirectoryCache::default(),
            leaders: RwLock::default(),
            system_nodes: RwLock::default(),
            seeds: RwLock::default(),
        }
    }

    /// Nodes to ask for the system range while nothing else is known.
    pub fn set_seeds(&self, nodes: Vec<NodeId>) {
        *self.seeds.write() = nodes;
    }

    /// Carries out `command` on the range of `route` and returns the evaluator's reply, once the writes are
    /// committed and applied on the leader. It is tried until `deadline` has passed. When an attempt's outcome
    /// cannot be known, an `idempotent` command is tried again, another ends with
    /// [`MetaError::OutcomeUnknown`].
    pub async fn execute(
        &self,
        route: &Route,
        evaluator: EvaluatorId,
        command: Bytes,
        idempotent: bool,
        deadline: Duration,
    ) -> Result<Bytes, MetaError> {
        self.call(Kind::Execute, route, evaluator, command, idempotent, deadline).await
    }

    /// Answers `query` from a state that holds all that was committed before the call.
    pub async fn query(
        &self,
        route: &Route,
        evaluator: EvaluatorId,
        query: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, MetaError> {
        self.call(Kind::Query, route, evaluator, query, true, deadline).await
    }

    async fn call(
        &self,
        kind: Kind,
        route: &Route,
        evaluator: EvaluatorId,
        body: Bytes,
        idempotent: bool,
        wait: Duration,
    ) -> Result<Bytes, MetaError> {
        if body.len() > COMMAND_BYTES_MAX {
            return Err(MetaError::TooLarge);
        }
        let mut course = Course {
            kind,
            route,
            evaluator,
            body,
            idempotent,
            deadline: Instant::now() + wait,
            ambiguous: false,
            avoid: None,
            turn: 0,
            redirects: 0,
            pauses: 0,
            directory: Followed::default(),
            wrong_range: false,
            named: Vec::new(),
        };
        loop {
            match self.step(&mut course).await {
                Next::Finish(result) => return result,
                Next::AtOnce => {}
                Next::Pause => self.pause(&mut course).await,
            }
            if course.left().is_zero() {
                return Err(course.late());
            }
        }
    }

    async fn step(&self, course: &mut Course<'_>) -> Next {
        let Some((range, candidates)) = self.resolve(course).await else { return Next::Pause };
        let Some(target) = self.target(range, &candidates, course) else { return Next::Pause };
        let tried = self.attempt(course, range, target).await;
        self.judge(course, range, target, tried)
    }

    /// The range to ask, and nodes that may have it.
    async fn resolve(&self, course: &mut Course<'_>) -> Option<(RangeId, Vec<NodeId>)> {
        let Route::Key(key) = course.route else {
            return Some((SYSTEM_RANGE, self.system_candidates()));
        };
        let find = |copy: &Cached| copy.find(key).map(|entry| (entry.id, entry.voters.clone()));
        let mut copy = self.directory.newest();
        let mut place = if course.directory.is_outdated(&copy) { None } else { find(&copy) };
        if place.is_none() {
            let wait = course.left().min(DIRECTORY_WAIT_MAX);
            copy = match self.newer_directory(&copy, wait).await {
                Some(newer) => newer,
                None if course.wrong_range => return None,
                None => {
                    // Other nodes of the old copy may have the range.
                    course.directory.make_do();
                    copy
                }
            };
            place = find(&copy);
        }
        course.directory.go_by(copy);
        place
    }

    fn system_candidates(&self) -> Vec<NodeId> {
        let mut nodes = self.system_nodes.read().clone();
        for &seed in self.seeds.read().iter() {
            if !nodes.contains(&seed) {
                nodes.push(seed);
            }
        }
        nodes
    }

    /// A newer copy of the directory than `outdated`, if there is one in time.
    fn newer_directory<'a>(
        &'a self,
        outdated: &'a Arc<Cached>,
        wait: Duration,
    ) -> Pin<Box<dyn Future<Output = Option<Arc<Cached>>> + Send + 'a>> {
        Box::pin(async move {
            let deadline = Instant::now() + wait;
            let newer = self.directory.newer(outdated, self.fetch_directory(deadline));
            let newer = tokio::time::timeout_at(deadline, newer).await.unwrap_or(Err(MetaError::Unavailable));
            if let Err(error) = &newer {
                tracing::debug!(error = error as &dyn std::error::Error, "cannot read the directory");
            }
            newer.ok()
        })
    }

    async fn fetch_directory(&self, deadline: Instant) -> Result<Cached, MetaError> {
        let mut entries = Vec::new();
        let mut start = Vec::new();
        loop {
            let query = encode_query(&Query::List { start });
            let wait = deadline.saturating_duration_since(Instant::now());
            let page = self.call(Kind::Query, &Route::System, DIRECTORY, query, true, wait).await?;
            let Page { entries: found, more } = decode(&page, "directory page")?;
            entries.extend(found);
            match entries.last().and_then(|entry| entry.bounds.end.clone()) {
                Some(end) if more => start = end,
                _ => return Ok(Cached::new(entries)),
            }
        }
    }

    /// Whom to ask: the leader as far as known, else one candidate after the other.
    fn target(&self, range: RangeId, candidates: &[NodeId], course: &mut Course<'_>) -> Option<NodeId> {
        let local = self.host.range(range);
        if local.as_ref().is_some_and(|range| range.is_leader()) && course.avoid != Some(self.host.node) {
            return Some(self.host.node);
        }
        let hinted = self.leaders.read().get(&range).copied();
        // A replica that led and has moved away takes itself for the leader still.
        let known = || local.as_ref().and_then(|range| range.leader()).filter(|&leader| leader != self.host.node);
        let hinted = hinted.or_else(known);
        if let Some(leader) = hinted
            && course.avoid != Some(leader)
        {
            return Some(leader);
        }
        let mut nodes = local.map(|range| range.voters()).unwrap_or_default();
        for &node in candidates.iter().chain(&course.named) {
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        if nodes.len() > 1 {
            nodes.retain(|&node| course.avoid != Some(node));
        }
        course.turn += 1;
        nodes.get(course.turn % nodes.len().max(1)).copied()
    }

    async fn attempt(&self, course: &Course<'_>, range: RangeId, target: NodeId) -> Tried {
        let wait = if course.idempotent { course.left().min(ATTEMPT_MAX) } else { course.left() };
        let key = match course.route {
            Route::System => None,
            Route::Key(key) => Some(key.clone()),
        };
        // The leader gives up a little earlier, so that its certain answer arrives in time.
        let wait_ms = u64::try_from((wait - wait / 10).as_millis()).unwrap_or(u64::MAX);
        let head = CallHead { evaluator: course.evaluator, key, wait_ms };
        if target == self.host.node {
            let call = Call { range, head, body: course.body.clone() };
            return match tokio::time::timeout(wait, self.host.carry_out(course.kind, call)).await {
                Ok(Ok(reply)) => Tried::Done(reply),
                Ok(Err(failure)) => Tried::Failed(failure),
                Err(_) => Tried::Ambiguous,
            };
        }
        let method = if course.kind == Kind::Execute { EXECUTE } else { QUERY };
        let request = Request { group: range.0, head: encode(&head).into(), body: course.body.clone() };
        let lane = if course.body.len() <= CONTROL_BYTES_MAX { Lane::Control } else { Lane::Data };
        let response = match self.transport.call(target, lane, method, request, wait).await {
            Ok(response) => response,
            Err(RpcError::TooLarge) => return Tried::Failed(Failure::TooLarge),
            Err(error) if error.is_certain() => return Tried::Lost,
            Err(_) => return Tried::Ambiguous,
        };
        match decode::<Answer>(&response.head, "answer") {
            Ok(Ok(())) => Tried::Done(response.body),
            Ok(Err(failure)) => Tried::Failed(failure),
            Err(_) => Tried::Ambiguous,
        }
    }

    fn judge(&self, course: &mut Course<'_>, range: RangeId, target: NodeId, tried: Tried) -> Next {
        let failure = match tried {
            Tried::Done(reply) => {
                if target != self.host.node && self.leaders.read().get(&range) != Some(&target) {
                    self.leaders.write().insert(range, target);
                }
                return Next::Finish(Ok(reply));
            }
            Tried::Lost => {
                self.forget(course, range, target);
                return Next::Pause;
            }
            Tried::Ambiguous => Failure::OutcomeUnknown,
            Tried::Failed(failure) => failure,
        };
        match failure {
            Failure::NotLeader { leader, voters } => self.redirect(course, range, target, leader, voters),
            Failure::NotHere => {
                self.forget(course, range, target);
                course.directory.misled();
                course.wrong_range = false;
                Next::Pause
            }
            Failure::WrongRange => {
                course.directory.misled();
                course.wrong_range = true;
                if course.pauses == 0 { Next::AtOnce } else { Next::Pause }
            }
            Failure::Unavailable => Next::Pause,
            Failure::OutcomeUnknown => {
                self.forget(course, range, target);
                course.ambiguous |= course.kind == Kind::Execute;
                if course.idempotent { Next::Pause } else { Next::Finish(Err(MetaError::OutcomeUnknown)) }
            }
            Failure::DiskFull => Next::Finish(Err(MetaError::DiskFull)),
            Failure::TooLarge => Next::Finish(Err(MetaError::TooLarge)),
            Failure::Evaluate(text) => Next::Finish(Err(MetaError::Evaluate(text))),
            Failure::Broken(text) => {
                tracing::warn!(%range, node = %target, error = text, "a replica is broken");
                self.forget(course, range, target);
                Next::Pause
            }
        }
    }

    fn forget(&self, course: &mut Course<'_>, range: RangeId, target: NodeId) {
        course.avoid = Some(target);
        course.redirects = 0;
        let mut leaders = self.leaders.write();
        if leaders.get(&range) == Some(&target) {
            leaders.remove(&range);
        }
    }

    fn redirect(
        &self,
        course: &mut Course<'_>,
        range: RangeId,
        target: NodeId,
        leader: Option<NodeId>,
        voters: Vec<NodeId>,
    ) -> Next {
        if range == SYSTEM_RANGE && !voters.is_empty() && voters.len() <= SYSTEM_NODES_MAX {
            *self.system_nodes.write() = voters;
        } else {
            // Those of before too: replicas that have moved away name older ones each time.
            for node in voters {
                if course.named.len() < NAMED_NODES_MAX && !course.named.contains(&node) {
                    course.named.push(node);
                }
            }
        }
        self.forget(course, range, target);
        match leader.filter(|&leader| leader != target) {
            Some(leader) => {
                self.leaders.write().insert(range, leader);
                course.redirects += 1;
                if course.redirects <= REDIRECTS_MAX { Next::AtOnce } else { Next::Pause }
            }
            None => Next::Pause,
        }
    }

    /// Waits a while: longer each time, and differently for each caller.
    async fn pause(&self, course: &mut Course<'_>) {
        let longest = (PAUSE_MS.0 << course.pauses.min(16)).min(PAUSE_MS.1);
        course.pauses += 1;
        let jittered = longest / 2 + self.rng.next_u64() % (longest / 2 + 1);
        tokio::time::sleep(Duration::from_millis(jittered).min(course.left())).await;
        if course.pauses.is_multiple_of(4) {
            // What has failed may be well again.
            course.avoid = None;
        }
    }
}
