use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::join_all;
use karri_ring_disk::DiskPath;
use karri_ring_raft::{EntryData, NotLeader};
use karri_ring_types::{ManualClock, SeededRng, Timestamp};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;
use crate::storage::Storage;
use crate::{EvaluatorId, Latches, MetaConfig, Table};

const TABLE: Table = Table(16);

/// A log of one node that fails as it is told.
struct FakeLog {
    machine: Arc<RangeMachine>,
    index: Mutex<u64>,
    leads: AtomicBool,
    term: AtomicUsize,
    linearizes: AtomicUsize,
    /// What becomes of the next proposals that are not fences.
    faults: Mutex<VecDeque<Fault>>,
    gate: Semaphore,
    held: Mutex<Vec<Bytes>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Not in the log.
    NotLeader,
    /// Applied, but nobody knows.
    AppliedUnknown,
    /// Kept aside, to be applied late.
    HeldUnknown,
    /// Waits for the gate.
    Gated,
}

impl FakeLog {
    fn apply(&self, entry: Bytes) -> Bytes {
        let mut index = self.index.lock();
        *index += 1;
        let entries = vec![EntryData { index: *index, payload: Some(entry) }];
        self.machine.apply_entries(entries, vec![]).expect("applies").remove(0)
    }
}

#[async_trait]
impl RangeLog for FakeLog {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, ProposeError> {
        if !self.is_leader() {
            return Err(ProposeError::NotLeader { leader: None });
        }
        // A fence, as its golden bytes show.
        let fault = if entry[1] == 1 { None } else { self.faults.lock().pop_front() };
        match fault.unwrap_or(Fault::None) {
            Fault::None => Ok(self.apply(entry)),
            Fault::NotLeader => Err(ProposeError::NotLeader { leader: Some(NodeId(2)) }),
            Fault::AppliedUnknown => {
                self.apply(entry);
                Err(ProposeError::Unknown)
            }
            Fault::HeldUnknown => {
                self.held.lock().push(entry);
                Err(ProposeError::Unknown)
            }
            Fault::Gated => {
                self.gate.acquire().await.expect("open").forget();
                Ok(self.apply(entry))
            }
        }
    }

    async fn linearize(&self) -> Result<(), NotLeader> {
        self.linearizes.fetch_add(1, Ordering::SeqCst);
        if self.is_leader() { Ok(()) } else { Err(NotLeader { leader: Some(NodeId(2)) }) }
    }

    fn is_leader(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }

    fn leader(&self) -> Option<NodeId> {
        self.is_leader().then_some(NodeId(1))
    }

    fn term(&self) -> u64 {
        self.term.load(Ordering::SeqCst) as u64
    }

    fn voters(&self) -> Vec<NodeId> {
        vec![NodeId(1)]
    }

    fn applied_index(&self) -> u64 {
        *self.index.lock()
    }
}

/// `+k`: creates k, or says that it is there. `#k`: adds one to k without a latch. `!k`: deletes k.
struct Letters {
    /// Called at each evaluation.
    meddle: Box<dyn Fn(usize) + Send + Sync>,
    evaluations: AtomicUsize,
}

impl Evaluator for Letters {
    fn latches(&self, command: &[u8]) -> Latches {
        match command[0] {
            b'#' => Latches::default(),
            _ => Latches { shared: vec![], exclusive: vec![command[1..].to_vec()] },
        }
    }

    fn evaluate(&self, view: &mut View<'_>, command: &[u8], _now: Timestamp) -> Result<Vec<u8>, EvaluateError> {
        let (key, before) = (command[1..].to_vec(), view.get(TABLE, &command[1..])?);
        (self.meddle)(self.evaluations.fetch_add(1, Ordering::SeqCst));
        match (command[0], before) {
            (b'+', Some(_)) => Ok(b"there".to_vec()),
            (b'+', None) => {
                view.put(TABLE, key, vec![1]);
                Ok(b"created".to_vec())
            }
            (b'#', before) => {
                let next = before.map_or(0, |value| value[0]) + 1;
                view.put(TABLE, key, vec![next]);
                Ok(vec![next])
            }
            (b'!', _) => {
                view.delete(TABLE, key);
                Ok(vec![])
            }
            _ => Err(EvaluateError::Malformed("letter".to_owned())),
        }
    }

    fn query(&self, view: &mut View<'_>, query: &[u8]) -> Result<Vec<u8>, EvaluateError> {
        if query == b"write" {
            view.put(TABLE, b"q".to_vec(), &b"x"[..]);
        }
        Ok(view.get(TABLE, query)?.map(|value| value.to_vec()).unwrap_or_default())
    }
}

struct World {
    _dir: TempDir,
    log: Arc<FakeLog>,
    range: Arc<Range>,
    letters: Arc<Letters>,
}

impl World {
    async fn new(faults: &[Fault]) -> Self {
        Self::meddled(faults, |_| {}).await
    }

    async fn meddled(faults: &[Fault], meddle: impl Fn(usize) + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let storage =
            Arc::new(Storage::open(&MetaConfig::new(NodeId(1), DiskPath::host(dir.path()))).expect("a store"));
        let machine = Arc::new(RangeMachine::open(RangeId(1), storage).expect("opens"));
        let log = Arc::new(FakeLog {
            machine: machine.clone(),
            index: Mutex::new(0),
            leads: AtomicBool::new(true),
            term: AtomicUsize::new(1),
            linearizes: AtomicUsize::new(0),
            faults: Mutex::default(),
            gate: Semaphore::new(0),
            held: Mutex::default(),
        });
        let clock = Arc::new(ManualClock::new(Timestamp(1)));
        let range =
            Arc::new(Range::new(machine, log.clone(), clock, Arc::new(SeededRng::new(1)), Calls::new(Arc::default())));
        range
            .describe(Description { bounds: Bounds { start: vec![], end: Some(b"z".to_vec()) }, version_base: 0 })
            .await
            .expect("described");
        log.faults.lock().extend(faults);
        let letters = Letters { meddle: Box::new(meddle), evaluations: AtomicUsize::new(0) };
        Self { _dir: dir, log, range, letters: Arc::new(letters) }
    }

    async fn execute(&self, command: &'static str) -> Result<Bytes, Failure> {
        let command = Bytes::from_static(command.as_bytes());
        self.range.execute(self.letters.clone(), head(Some(&command[1..])), command).await
    }

    async fn query(&self, query: &str) -> Result<Bytes, Failure> {
        self.range.query(&*self.letters, &head(Some(query.as_bytes())), query.as_bytes()).await
    }
}

fn head(key: Option<&[u8]>) -> CallHead {
    CallHead { evaluator: EvaluatorId(9), key: key.map(<[u8]>::to_vec), wait_ms: 10_000 }
}

fn reply(text: &'static str) -> Result<Bytes, Failure> {
    Ok(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn a_refusal_is_answered_only_by_a_proven_leader() {
    let world = World::new(&[]).await;
    assert_eq!(world.execute("+a").await, reply("created"));
    assert_eq!(world.log.linearizes.load(Ordering::SeqCst), 0);
    assert_eq!(world.execute("+a").await, reply("there"));
    assert_eq!(world.log.linearizes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_follower_names_the_leader() {
    let world = World::new(&[]).await;
    world.log.leads.store(false, Ordering::SeqCst);
    assert!(matches!(world.execute("+a").await, Err(Failure::NotLeader { .. })));
    let wanted = Failure::NotLeader { leader: Some(NodeId(2)), voters: vec![NodeId(1)] };
    assert_eq!(world.query("a").await, Err(wanted));
    assert!(world.range.led().is_none());
    assert_eq!(world.letters.evaluations.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn keys_of_other_ranges_and_writing_queries_are_refused() {
    let world = World::new(&[]).await;
    assert_eq!(world.execute("+zebra").await, Err(Failure::WrongRange));
    assert_eq!(world.query("zebra").await, Err(Failure::WrongRange));
    assert!(matches!(world.query("write").await, Err(Failure::Evaluate(_))));
    assert!(matches!(world.execute("?a").await, Err(Failure::Evaluate(_))));
}

#[tokio::test]
async fn conflicting_commands_without_latches_all_count() {
    let world = World::new(&[]).await;
    let mut wanted: Vec<Bytes> = (1..=12).map(|count| Bytes::from(vec![count])).collect();
    let mut replies: Vec<Bytes> =
        join_all((0..12).map(|_| world.execute("#n"))).await.into_iter().map(|r| r.expect("counted")).collect();
    replies.sort();
    wanted.sort();
    assert_eq!(replies, wanted);
    assert_eq!(world.query("n").await, Ok(Bytes::from_static(&[12])));
}

#[tokio::test]
async fn an_unknown_outcome_is_reported_and_later_commands_see_what_happened() {
    let world = World::new(&[Fault::AppliedUnknown]).await;
    assert_eq!(world.execute("+a").await, Err(Failure::OutcomeUnknown));
    assert_eq!(world.execute("+a").await, reply("there"));
}

#[tokio::test]
async fn a_proposal_that_turns_up_late_is_refused_once_others_were_evaluated() {
    let world = World::new(&[Fault::HeldUnknown]).await;
    assert_eq!(world.execute("!b").await, Err(Failure::OutcomeUnknown));
    // The latch on b is free although the deletion is under way somewhere.
    assert_eq!(world.execute("+b").await, reply("created"));
    let late = world.log.held.lock().pop().expect("held");
    assert_eq!(&world.log.apply(late)[..], [Verdict::Stale as u8]);
    assert_eq!(world.query("b").await, Ok(Bytes::from_static(&[1])));
}

#[tokio::test]
async fn what_was_certainly_not_proposed_is_a_redirect() {
    let world = World::new(&[Fault::NotLeader]).await;
    let wanted = Failure::NotLeader { leader: Some(NodeId(2)), voters: vec![NodeId(1)] };
    assert_eq!(world.execute("+a").await, Err(wanted));
    assert_eq!(world.execute("+a").await, reply("created"));
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_free_the_latch() {
    let world = World::new(&[Fault::Gated]).await;
    let mut first = Box::pin(world.execute("+a"));
    assert!((&mut first).now_or_never().is_none());
    while world.log.faults.lock().front().is_some() {
        tokio::task::yield_now().await;
    }
    drop(first);
    let mut second = Box::pin(world.execute("+a"));
    for _ in 0..20 {
        assert!((&mut second).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(world.letters.evaluations.load(Ordering::SeqCst), 1, "evaluated while the latch should be held");
    world.log.gate.add_permits(1);
    assert_eq!(second.await, reply("there"));
}

#[tokio::test]
async fn a_new_term_begins_with_a_fence() {
    let world = World::new(&[]).await;
    assert_eq!(world.execute("+a").await, reply("created"));
    let before = world.range.machine.state().fence;
    world.log.term.store(2, Ordering::SeqCst);
    assert_eq!(world.execute("+a").await, reply("there"));
    assert_ne!(world.range.machine.state().fence, before);
}

#[tokio::test]
async fn endless_conflicts_end_in_a_refusal() {
    let world = Arc::new(std::sync::OnceLock::<World>::new());
    let weak = Arc::downgrade(&world);
    // Another writer changes the row after each evaluation.
    let meddle = move |turn: usize| {
        let Some(world) = weak.upgrade() else { return };
        let Some(world) = world.get() else { return };
        let row = [&[TABLE.0][..], b"n"].concat();
        let value = [turn as u8];
        let write = crate::transaction::Write { row: crate::codec::Raw(&row), value: Some(crate::codec::Raw(&value)) };
        let transaction = crate::transaction::Transaction { checks: vec![], writes: vec![write] }.encode();
        let fence = world.range.machine.state().fence;
        world.log.apply(encode_entry(&EntryHead::Batch { fence, count: 1 }, &[transaction]));
    };
    assert!(world.set(World::meddled(&[], meddle).await).is_ok());
    let world = world.get().expect("set");
    assert_eq!(world.execute("#n").await, Err(Failure::Unavailable));
    assert_eq!(world.letters.evaluations.load(Ordering::SeqCst), EVALUATIONS_MAX as usize);
}
