//! The ranges and evaluators of one node, and what other nodes may ask of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use karri_ring_raft::{RaftHost, StateMachine};
use karri_ring_rpc::{Caller, Handler, Method, Request, Response};
use karri_ring_types::{Clock, NodeId, RangeId, Rng};
use parking_lot::{Mutex, RwLock};

use crate::calls::Calls;
use crate::codec::{decode, encode};
use crate::machine::{Machine, RangeMachine};
use crate::message::{Answer, Call, CallHead, EXECUTE, Failure, PROGRESS, Progress, QUERY};
use crate::range::Range;
use crate::storage::Storage;
use crate::{Evaluator, EvaluatorId, MetaError};

/// What is asked of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Execute,
    Query,
}

/// The ranges of this node.
pub(crate) struct Host {
    pub(crate) node: NodeId,
    pub(crate) raft: Arc<RaftHost>,
    pub(crate) storage: Arc<Storage>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    serving: AtomicBool,
    evaluators: RwLock<HashMap<EvaluatorId, Arc<dyn Evaluator>>>,
    /// Of all ranges that have a replica here.
    machines: Mutex<HashMap<RangeId, Arc<RangeMachine>>>,
    /// Of those whose group runs.
    ranges: RwLock<HashMap<RangeId, Arc<Range>>>,
    /// Of the calls that its ranges work on.
    call_bytes: Arc<AtomicUsize>,
}

impl Host {
    pub(crate) fn new(
        node: NodeId,
        raft: Arc<RaftHost>,
        storage: Arc<Storage>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self {
            node,
            raft,
            storage,
            clock,
            rng,
            serving: AtomicBool::new(false),
            evaluators: RwLock::default(),
            machines: Mutex::default(),
            ranges: RwLock::default(),
            call_bytes: Arc::default(),
        }
    }

    pub(crate) fn register(&self, id: EvaluatorId, evaluator: Arc<dyn Evaluator>) {
        self.evaluators.write().insert(id, evaluator);
    }

    pub(crate) fn serve(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
    }

    /// The state machine of a range, opened on first use.
    pub(crate) fn machine(&self, id: RangeId) -> Result<Arc<RangeMachine>, MetaError> {
        let mut machines = self.machines.lock();
        if let Some(machine) = machines.get(&id) {
            return Ok(machine.clone());
        }
        let machine = Arc::new(RangeMachine::open(id, self.storage.clone())?);
        machines.insert(id, machine.clone());
        Ok(machine)
    }

    /// Opens the range's group, new or found on disk.
    pub(crate) async fn open_range(&self, id: RangeId) -> Result<(), MetaError> {
        let machine = Arc::new(Machine(self.machine(id)?));
        self.raft.open_group(id, machine).await?;
        Ok(())
    }

    /// The machine for a group that another node has told us of.
    pub(crate) fn unknown_group(&self, id: RangeId) -> Option<Arc<dyn StateMachine>> {
        match self.machine(id) {
            Ok(machine) => {
                tracing::info!(range = %id, "takes a replica of the range");
                Some(Arc::new(Machine(machine)))
            }
            Err(error) => {
                tracing::error!(range = %id, error = &error as &dyn std::error::Error, "cannot open a range");
                None
            }
        }
    }

    /// The range, if its group runs here.
    pub(crate) fn range(&self, id: RangeId) -> Option<Arc<Range>> {
        if let Some(range) = self.ranges.read().get(&id) {
            return Some(range.clone());
        }
        let machine = self.machines.lock().get(&id).cloned()?;
        let group = self.raft.group(id)?;
        let mut ranges = self.ranges.write();
        let begin = || {
            let calls = Calls::new(self.call_bytes.clone());
            Arc::new(Range::new(machine, group, self.clock.clone(), self.rng.clone(), calls))
        };
        let range = ranges.entry(id).or_insert_with(begin);
        Some(range.clone())
    }

    /// All ranges whose groups run here, by id.
    pub(crate) fn ranges(&self) -> Vec<Arc<Range>> {
        let mut ids: Vec<RangeId> = self.machines.lock().keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.range(id)).collect()
    }

    /// Carries out a command or query on this node.
    pub(crate) async fn carry_out(&self, kind: Kind, call: Call) -> Result<Bytes, Failure> {
        if !self.serving.load(Ordering::Acquire) {
            // Not started or stopping: another node leads, or will soon.
            return Err(Failure::NotHere);
        }
        let range = self.range(call.range).ok_or(Failure::NotHere)?;
        let evaluator = self.evaluators.read().get(&call.head.evaluator).cloned();
        // During a rolling upgrade another node may know it.
        let evaluator = evaluator.ok_or(Failure::Unavailable)?;
        // Raft would refuse the entry as if another node led.
        if kind == Kind::Execute && self.raft.disk_full() && range.is_leader() {
            let successor = self.raft.group(call.range).is_some_and(|group| group.may_be_handed_over());
            return Err(if successor { Failure::Unavailable } else { Failure::DiskFull });
        }
        match kind {
            Kind::Execute => range.execute(evaluator, call.head, call.body).await,
            Kind::Query => range.query(&*evaluator, &call.head, &call.body).await,
        }
    }
}

/// Answers other nodes. It does not keep the host alive.
pub(crate) struct Service(pub(crate) Weak<Host>);

impl Service {
    async fn call(host: &Host, kind: Kind, request: Request) -> Result<Response, String> {
        let head: CallHead = decode(&request.head, "call").map_err(|e| e.to_string())?;
        let call = Call { range: RangeId(request.group), head, body: request.body };
        let (answer, body): (Answer, Bytes) = match host.carry_out(kind, call).await {
            Ok(reply) => (Ok(()), reply),
            Err(failure) => (Err(failure), Bytes::new()),
        };
        Ok(Response { head: encode(&answer).into(), body })
    }
}

#[async_trait]
impl Handler for Service {
    async fn handle(&self, from: Caller, method: Method, request: Request) -> Result<Response, String> {
        if !matches!(from, Caller::Node(_)) {
            return Err("only nodes may call this".to_owned());
        }
        let host = self.0.upgrade().ok_or("the node is stopping")?;
        match method {
            EXECUTE => Self::call(&host, Kind::Execute, request).await,
            QUERY => Self::call(&host, Kind::Query, request).await,
            PROGRESS => {
                let range = host.range(RangeId(request.group));
                let progress =
                    range.map(|range| Progress { applied_index: range.applied_index(), leader: range.leader() });
                Ok(Response { head: encode(&progress).into(), body: Bytes::new() })
            }
            Method(other) => Err(format!("unknown method {other}")),
        }
    }
}
