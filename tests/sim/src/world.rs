//! What the nodes share: time, the network between them, chance, and the trace of all that happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_rpc::{Caller, Method, Request, Response, Router, RpcError};
use karri_ring_types::NodeId;
use karri_tests_disk::MemoryDisk;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::chance::Chance;
use crate::forgery::{Fate, Forgery};
use crate::report::{Checked, Faults};

type Answer = Result<Response, RpcError>;

/// What is under way to a node.
enum Content {
    Request { call: u64, from: NodeId, method: Method, request: Request },
    Answer { call: u64, answer: Answer },
}

struct Message {
    to: NodeId,
    /// The run of the process that it is for: connections do not outlive it.
    run: u64,
    content: Content,
}

/// A call that waits for its answer.
struct Waiting {
    from: (NodeId, u64),
    to: (NodeId, u64),
    answer: oneshot::Sender<Answer>,
    /// What the answer is remembered for.
    question: Option<(Method, u64, Bytes)>,
}

/// A process on the network.
struct Peer {
    run: u64,
    router: Arc<Router>,
    runtime: Handle,
    /// A node whose disk has crashed is without power and says nothing.
    disk: MemoryDisk,
}

/// How the network behaves now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// Links, from and to, that lose everything.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Of 1,000 messages, how many are lost.
    pub(crate) lost: u64,
    /// Of 1,000 messages, how many take long.
    pub(crate) late: u64,
    /// Of 1,000 Raft messages, how many come twice.
    pub(crate) twice: u64,
}

/// See the module.
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) chance: Chance,
    pub(crate) weather: Weather,
    pub(crate) faults: Faults,
    pub(crate) checked: Checked,
    pub(crate) forgery: Forgery,
    peers: BTreeMap<NodeId, Peer>,
    /// By when they arrive, then as they were sent.
    under_way: BTreeMap<(Duration, u64), Message>,
    waiting: BTreeMap<u64, Waiting>,
    sent: u64,
    calls: u64,
    trace: blake3::Hasher,
    events: u64,
    /// Prints each event, to find where two runs part.
    pub(crate) print: bool,
}

/// Shared with the transports of the nodes.
pub(crate) type SharedWorld = Arc<Mutex<World>>;

impl World {
    pub(crate) fn new(chance: Chance) -> Self {
        Self {
            now: Duration::ZERO,
            chance,
            weather: Weather::default(),
            faults: Faults::default(),
            checked: Checked::default(),
            forgery: Forgery::default(),
            peers: BTreeMap::new(),
            under_way: BTreeMap::new(),
            waiting: BTreeMap::new(),
            sent: 0,
            calls: 0,
            trace: blake3::Hasher::new(),
            events: 0,
            print: false,
        }
    }

    /// Notes something that happened, and numbers it.
    pub(crate) fn event(&mut self, what: std::fmt::Arguments<'_>) -> u64 {
        self.events += 1;
        let line = format!("{:?} {what}\n", self.now);
        if self.print {
            eprint!("{line}");
        }
        self.trace.update(line.as_bytes());
        self.events
    }

    /// A digest of all events so far.
    pub(crate) fn trace(&self) -> String {
        self.trace.finalize().to_hex()[..16].to_owned()
    }

    /// Puts a process on the network.
    pub(crate) fn join(&mut self, node: NodeId, run: u64, router: Arc<Router>, runtime: Handle, disk: MemoryDisk) {
        self.peers.insert(node, Peer { run, router, runtime, disk });
    }

    /// A process is gone: its calls are forgotten, and those who called it find their connections broken, soon or
    /// when they tire of waiting.
    pub(crate) fn leave(&mut self, node: NodeId) {
        let Some(Peer { run, .. }) = self.peers.remove(&node) else { return };
        self.waiting.retain(|_, waiting| waiting.from != (node, run));
        let broken: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| waiting.to == (node, run)).map(|(&call, _)| call).collect();
        for call in broken {
            if self.chance.of_1000(600) {
                self.answer_later(call, Err(RpcError::Broken { node }), 200);
            }
        }
    }

    fn link_loses(&mut self, from: NodeId, to: NodeId) -> bool {
        if self.weather.cut.contains(&(from, to)) {
            self.faults.cut += 1;
            return true;
        }
        let lost = self.chance.of_1000(self.weather.lost);
        self.faults.lost += u64::from(lost);
        lost
    }

    fn delay(&mut self) -> Duration {
        if self.chance.of_1000(self.weather.late) {
            self.faults.late += 1;
            return Duration::from_millis(20 + self.chance.below(1500));
        }
        Duration::from_micros(200 + self.chance.below(4000))
    }

    fn send(&mut self, delay: Duration, message: Message) {
        self.sent += 1;
        self.under_way.insert((self.now + delay, self.sent), message);
    }

    fn answer_later(&mut self, call: u64, answer: Answer, within_ms: u64) {
        let Some(Waiting { from: (to, run), .. }) = self.waiting.get(&call) else { return };
        let (to, run) = (*to, *run);
        let delay = Duration::from_millis(1 + self.chance.below(within_ms));
        self.send(delay, Message { to, run, content: Content::Answer { call, answer } });
    }

    /// Begins a call; the receiver gets its answer, if one comes.
    pub(crate) fn call(
        &mut self,
        from: (NodeId, u64),
        to: NodeId,
        method: Method,
        request: Request,
    ) -> (u64, oneshot::Receiver<Answer>) {
        self.calls += 1;
        let call = self.calls;
        let (sender, receiver) = oneshot::channel();
        let there = self.peers.get(&to).map(|peer| peer.run);
        let question = self.forgery.question(method, &request);
        let request = match self.forgery.fate(method, request, &self.chance) {
            Fate::True(request) => request,
            Fate::Forged(answer, request) => {
                // Nobody has stopped waiting yet.
                let _ = sender.send(Ok(answer));
                if let (Some(request), Some(run)) = (request, there)
                    && !self.link_loses(from.0, to)
                {
                    let delay = self.delay();
                    let content = Content::Request { call: 0, from: from.0, method, request };
                    self.send(delay, Message { to, run, content });
                }
                return (call, receiver);
            }
        };
        self.waiting.insert(call, Waiting { from, to: (to, there.unwrap_or(0)), answer: sender, question });
        let digest = digest(&request.head, &request.body);
        self.event(format_args!("call {call} {}>{to} {} {digest}", from.0, method.0));
        let Some(run) = there else {
            let reason = "nobody listens".to_owned();
            self.answer_later(call, Err(RpcError::Unreachable { node: to, reason }), 5);
            return (call, receiver);
        };
        if self.link_loses(from.0, to) {
            // A connection may be refused at once, or be there and swallow what it is given.
            if self.weather.cut.contains(&(from.0, to)) && self.chance.of_1000(300) {
                let reason = "the link is cut".to_owned();
                self.answer_later(call, Err(RpcError::Unreachable { node: to, reason }), 100);
            }
            return (call, receiver);
        }
        if method.0 < 100 && self.chance.of_1000(self.weather.twice) {
            self.faults.twice += 1;
            let delay = self.delay();
            let content = Content::Request { call: 0, from: from.0, method, request: request.clone() };
            self.send(delay, Message { to, run, content });
        }
        let delay = self.delay();
        self.send(delay, Message { to, run, content: Content::Request { call, from: from.0, method, request } });
        (call, receiver)
    }

    /// The caller has stopped waiting.
    pub(crate) fn forget(&mut self, call: u64) {
        self.waiting.remove(&call);
    }

    fn answered(&mut self, by: NodeId, call: u64, answer: Answer) {
        let what = match &answer {
            Ok(response) => digest(&response.head, &response.body),
            Err(error) => error.to_string(),
        };
        self.event(format_args!("answer {call} by {by} {what}"));
        if self.peers.get(&by).is_none_or(|peer| peer.disk.is_crashed()) {
            return;
        }
        let Some(Waiting { from: (to, run), question, .. }) = self.waiting.get_mut(&call) else { return };
        let (to, run) = (*to, *run);
        if let (Some(question), Ok(response)) = (question.take(), &answer) {
            self.forgery.answered(question, response, &self.chance);
        }
        if !self.link_loses(by, to) {
            let delay = self.delay();
            self.send(delay, Message { to, run, content: Content::Answer { call, answer } });
        }
    }
}

fn digest(head: &[u8], body: &[u8]) -> String {
    let hash = blake3::Hasher::new().update(head).update(body).finalize();
    format!("{}+{} {}", head.len(), body.len(), &hash.to_hex()[..8])
}

/// Hands `node` what has arrived for it by now.
pub(crate) fn deliver(world: &SharedWorld, node: NodeId) {
    let mut shared = world.lock();
    let now = shared.now;
    let due: Vec<(Duration, u64)> = shared
        .under_way
        .range(..=(now, u64::MAX))
        .filter(|(_, message)| message.to == node)
        .map(|(&place, _)| place)
        .collect();
    for place in due {
        let Some(Message { run, content, .. }) = shared.under_way.remove(&place) else { continue };
        let Some(peer) = shared.peers.get(&node).filter(|peer| peer.run == run) else { continue };
        match content {
            Content::Answer { call, answer } => {
                if let Some(waiting) = shared.waiting.remove(&call) {
                    shared.event(format_args!("back {call}"));
                    // Whoever called may have gone.
                    let _ = waiting.answer.send(answer);
                }
            }
            Content::Request { call, from, method, request } => {
                let router = peer.router.clone();
                let runtime = peer.runtime.clone();
                shared.event(format_args!("arrive {call}"));
                let world = world.clone();
                runtime.spawn(async move {
                    let answer = router.dispatch(Caller::Node(from), method, request).await;
                    if call != 0 {
                        world.lock().answered(node, call, answer);
                    }
                });
            }
        }
    }
}
