//! One range on this node: evaluates commands while it leads.
//!
//! Each leadership begins with a *fence*, a random name that goes through the log. Transactions carry the fence
//! under which they were evaluated, and those of another fence are refused at apply. So once a new fence is applied,
//! everything evaluated earlier has either been applied or never will be, and its latches mean nothing any more.
//! That is why latches may be dropped with a leadership although proposals of it are still under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use karri_ring_raft::ProposeError;
use karri_ring_types::{Clock, NodeId, RangeId, Rng};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::calls::Calls;
use crate::latches::LatchTable;
use crate::log::RangeLog;
use crate::machine::RangeMachine;
use crate::message::{CallHead, Failure};
use crate::proposer::{Outcome, Proposer};
use crate::row::Bounds;
use crate::transaction::{Description, EntryHead, Fence, Verdict, encode_entry};
use crate::{EvaluateError, Evaluator, MetaError, RangeInfo, RangeStatus, View};

/// Evaluations of one command that may meet a conflict before it is refused.
const EVALUATIONS_MAX: u32 = 16;
/// Longest time a command may be worked on, whatever its sender says.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// What a leadership has in common.
struct Leadership {
    term: u64,
    fence: Fence,
    latches: Arc<LatchTable>,
    ended: AtomicBool,
}

/// A range on this node.
pub(crate) struct Range {
    machine: Arc<RangeMachine>,
    log: Arc<dyn RangeLog>,
    proposer: Proposer,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    leadership: Mutex<Option<Arc<Leadership>>>,
    /// One task at a time begins a leadership.
    beginning: tokio::sync::Mutex<()>,
    calls: Calls,
}

/// One evaluated command.
struct Evaluated {
    reply: Bytes,
    /// `None`: nothing is written.
    transaction: Option<Bytes>,
}

/// How one attempt at a command ended.
enum Attempt {
    Done(Bytes),
    /// A conflict: evaluate again under the same latches.
    Again,
    /// The leadership is over; nothing was written.
    Over,
}

impl Range {
    pub(crate) fn new(
        machine: Arc<RangeMachine>,
        log: Arc<dyn RangeLog>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        calls: Calls,
    ) -> Self {
        Self {
            machine,
            proposer: Proposer::start(log.clone()),
            log,
            clock,
            rng,
            leadership: Mutex::new(None),
            beginning: tokio::sync::Mutex::new(()),
            calls,
        }
    }

    pub(crate) fn id(&self) -> RangeId {
        self.machine.id()
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.log.is_leader()
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.log.leader()
    }

    pub(crate) fn voters(&self) -> Vec<NodeId> {
        self.log.voters()
    }

    pub(crate) fn applied_index(&self) -> u64 {
        self.log.applied_index()
    }

    pub(crate) fn status(&self) -> RangeStatus {
        let bounds = self.bounds().unwrap_or_default();
        RangeStatus {
            id: self.id(),
            start: bounds.start,
            end: bounds.end,
            leader: self.leader(),
            voters: self.voters(),
            applied_index: self.applied_index(),
        }
    }

    /// The range, if this node leads it.
    pub(crate) fn led(&self) -> Option<RangeInfo> {
        if !self.is_leader() {
            return None;
        }
        let bounds = self.bounds()?;
        Some(RangeInfo { id: self.id(), start: bounds.start, end: bounds.end, term: self.log.term() })
    }

    /// Whether the range's first entry is applied.
    pub(crate) fn is_described(&self) -> bool {
        self.machine.state().description.is_some()
    }

    pub(crate) fn bounds(&self) -> Option<Bounds> {
        self.machine.state().description.as_ref().map(|description| description.bounds.clone())
    }

    /// Describes a new range; does nothing to one that is described already.
    pub(crate) async fn describe(&self, description: Description) -> Result<(), ProposeError> {
        self.log.propose(encode_entry(&EntryHead::Describe(description), &[])).await.map(drop)
    }

    /// Carries out a command. The work goes on when the caller stops waiting, so that latches are held until
    /// the outcome is applied.
    pub(crate) async fn execute(
        self: &Arc<Self>,
        evaluator: Arc<dyn Evaluator>,
        head: CallHead,
        command: Bytes,
    ) -> Result<Bytes, Failure> {
        let range = self.clone();
        let deadline = deadline_of(&head);
        let work = tokio::spawn(async move { range.work(&*evaluator, &head, &command, deadline).await });
        // A panic in an evaluator: the transaction may have been handed over.
        work.await.unwrap_or(Err(Failure::OutcomeUnknown))
    }

    /// Answers a query from the state at some moment after the call.
    pub(crate) async fn query(
        &self,
        evaluator: &dyn Evaluator,
        head: &CallHead,
        query: &[u8],
    ) -> Result<Bytes, Failure> {
        let _place = self.calls.enter(query.len()).ok_or(Failure::Unavailable)?;
        self.prove_leadership(deadline_of(head)).await?;
        self.with_view(head.key.as_deref(), |view| {
            let reply = evaluator.query(view, query)?;
            if view.has_writes() {
                return Err(MetaError::OutOfRange("a query may not write").into());
            }
            Ok(reply.into())
        })
    }

    /// Reads the state of a range that this node leads or led a moment ago.
    pub(crate) fn leader_read<T>(&self, read: impl FnOnce(&mut View<'_>) -> T) -> Option<T> {
        if !self.is_leader() {
            return None;
        }
        let bounds = self.bounds()?;
        let snapshot = self.machine.storage().snapshot();
        Some(read(&mut View::new(&snapshot, self.machine.space(), &bounds)))
    }

    fn not_leader(&self, leader: Option<NodeId>) -> Failure {
        Failure::NotLeader { leader: leader.or_else(|| self.log.leader()), voters: self.log.voters() }
    }

    async fn prove_leadership(&self, deadline: Instant) -> Result<(), Failure> {
        match timeout_at(deadline, self.log.linearize()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(self.not_leader(refused.leader)),
            Err(_) => Err(Failure::Unavailable),
        }
    }

    async fn work(
        &self,
        evaluator: &dyn Evaluator,
        head: &CallHead,
        command: &[u8],
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let _place = self.calls.enter(command.len()).ok_or(Failure::Unavailable)?;
        let wanted = evaluator.latches(command);
        let mut evaluations = 0;
        while evaluations < EVALUATIONS_MAX {
            let leadership = self.leadership(deadline).await?;
            let latches = timeout_at(deadline, leadership.latches.acquire(&wanted)).await;
            let _latches = latches.map_err(|_| Failure::Unavailable)?.map_err(|_| Failure::Unavailable)?;
            while evaluations < EVALUATIONS_MAX && !leadership.ended.load(Ordering::Acquire) {
                evaluations += 1;
                match self.attempt(&leadership, evaluator, head, command, deadline).await? {
                    Attempt::Done(reply) => return Ok(reply),
                    Attempt::Again => {}
                    Attempt::Over => self.end(&leadership),
                }
            }
        }
        tracing::debug!(range = %self.id(), "a command met too many conflicts");
        Err(Failure::Unavailable)
    }

    async fn attempt(
        &self,
        leadership: &Leadership,
        evaluator: &dyn Evaluator,
        head: &CallHead,
        command: &[u8],
        deadline: Instant,
    ) -> Result<Attempt, Failure> {
        let Evaluated { reply, transaction } = self.evaluate(evaluator, head, command)?;
        let Some(transaction) = transaction else {
            // The reply tells of the state as it was: that was the newest only if this node still leads.
            self.prove_leadership(deadline).await?;
            let over = self.log.term() != leadership.term || leadership.ended.load(Ordering::Acquire);
            return Ok(if over { Attempt::Over } else { Attempt::Done(reply) });
        };
        let outcome = self.proposer.submit(leadership.fence, transaction).map_err(|_| Failure::Unavailable)?;
        match outcome.await.unwrap_or(Outcome::Unknown) {
            Outcome::Decided(Verdict::Applied) => Ok(Attempt::Done(reply)),
            Outcome::Decided(Verdict::Conflict) => Ok(Attempt::Again),
            Outcome::Decided(Verdict::Stale) => Ok(Attempt::Over),
            Outcome::Decided(Verdict::OutOfBounds) => Err(Failure::WrongRange),
            Outcome::NotLeader(leader) => {
                self.end(leadership);
                Err(self.not_leader(leader))
            }
            Outcome::Unknown => {
                self.end(leadership);
                Err(Failure::OutcomeUnknown)
            }
        }
    }

    fn evaluate(&self, evaluator: &dyn Evaluator, head: &CallHead, command: &[u8]) -> Result<Evaluated, Failure> {
        let now = self.clock.now();
        let state = self.machine.state();
        let bounds = self.check_key(state.description.as_ref(), head.key.as_deref())?;
        let snapshot = self.machine.storage().snapshot();
        let mut view = View::new(&snapshot, self.machine.space(), bounds);
        let reply = evaluator.evaluate(&mut view, command, now).map_err(|e| self.failure(e))?;
        let transaction = view.finish().map_err(|e| self.failure(e.into()))?;
        Ok(Evaluated { reply: reply.into(), transaction })
    }

    fn with_view<T>(
        &self,
        key: Option<&[u8]>,
        read: impl FnOnce(&mut View<'_>) -> Result<T, EvaluateError>,
    ) -> Result<T, Failure> {
        let state = self.machine.state();
        let bounds = self.check_key(state.description.as_ref(), key)?;
        let snapshot = self.machine.storage().snapshot();
        read(&mut View::new(&snapshot, self.machine.space(), bounds)).map_err(|e| self.failure(e))
    }

    fn check_key<'a>(&self, description: Option<&'a Description>, key: Option<&[u8]>) -> Result<&'a Bounds, Failure> {
        let bounds = &description.ok_or(Failure::Unavailable)?.bounds;
        if key.is_none_or(|key| bounds.contains(key)) { Ok(bounds) } else { Err(Failure::WrongRange) }
    }

    fn current(&self) -> Option<Arc<Leadership>> {
        let current = self.leadership.lock().clone()?;
        let holds = current.term == self.log.term() && !current.ended.load(Ordering::Acquire);
        holds.then_some(current)
    }

    fn end(&self, leadership: &Leadership) {
        leadership.ended.store(true, Ordering::Release);
    }

    /// The present leadership; begins one where none has begun in this term.
    async fn leadership(&self, deadline: Instant) -> Result<Arc<Leadership>, Failure> {
        if !self.log.is_leader() {
            return Err(self.not_leader(None));
        }
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let begin = async {
            let _one = self.beginning.lock().await;
            if let Some(current) = self.current() {
                return Ok(current);
            }
            self.begin().await
        };
        timeout_at(deadline, begin).await.unwrap_or(Err(Failure::Unavailable))
    }

    async fn begin(&self) -> Result<Arc<Leadership>, Failure> {
        if let Some(former) = self.leadership.lock().take() {
            self.end(&former);
        }
        let term = self.log.term();
        let fence = Fence(self.rng.next_u64());
        match self.log.propose(encode_entry(&EntryHead::Fence(fence), &[])).await {
            Ok(_) => {}
            Err(ProposeError::NotLeader { leader }) => return Err(self.not_leader(leader)),
            Err(ProposeError::Shutdown | ProposeError::TooLarge | ProposeError::Unknown) => {
                return Err(Failure::Unavailable);
            }
        }
        tracing::debug!(range = %self.id(), term, "leads the range");
        let latches = Arc::new(LatchTable::default());
        let leadership = Arc::new(Leadership { term, fence, latches, ended: AtomicBool::new(false) });
        *self.leadership.lock() = Some(leadership.clone());
        Ok(leadership)
    }

    fn failure(&self, error: EvaluateError) -> Failure {
        match error {
            EvaluateError::Malformed(text) => Failure::Evaluate(text),
            EvaluateError::Meta(MetaError::TooLarge) => Failure::TooLarge,
            EvaluateError::Meta(error @ (MetaError::Storage(_) | MetaError::Io(_) | MetaError::Unreadable(_))) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a range cannot be read");
                // What was replicated and nobody understands is the same on every node: none should end for it.
                if !matches!(error, MetaError::Unreadable(_)) {
                    self.log.unreadable(&error);
                }
                Failure::Broken(error.to_string())
            }
            EvaluateError::Meta(error) => Failure::Evaluate(error.to_string()),
        }
    }
}

fn deadline_of(head: &CallHead) -> Instant {
    Instant::now() + Duration::from_millis(head.wait_ms).min(WAIT_MAX)
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
