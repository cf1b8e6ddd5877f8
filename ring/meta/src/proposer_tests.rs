use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::future::join_all;
use karri_ring_raft::NotLeader;
use parking_lot::Mutex;

use super::*;
use crate::codec::Raw;
use crate::transaction::{Transaction, Write, decode_head, decode_transaction};

/// A log that applies everything, once it is let.
struct Gated {
    gate: Semaphore,
    entries: Mutex<Vec<Bytes>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

impl Gated {
    fn new() -> Arc<Self> {
        let (in_flight, in_flight_max) = Default::default();
        Arc::new(Self { gate: Semaphore::new(0), entries: Mutex::default(), in_flight, in_flight_max })
    }

    /// Fence and number of transactions of each entry.
    fn batches(&self) -> Vec<(u64, u32)> {
        let entries = self.entries.lock();
        let heads = entries.iter().map(|entry| decode_head(entry).expect("decodes").0);
        heads.map(|head| if let EntryHead::Batch { fence, count } = head { (fence.0, count) } else { (0, 0) }).collect()
    }
}

#[async_trait]
impl RangeLog for Gated {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, ProposeError> {
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.in_flight_max.fetch_max(in_flight, Ordering::SeqCst);
        let (EntryHead::Batch { count, .. }, mut rest) = decode_head(&entry).expect("decodes") else {
            return Err(ProposeError::Unknown);
        };
        // The first byte of each value is its verdict.
        let mut reply = Vec::new();
        for _ in 0..count {
            let (transaction, after) = decode_transaction(rest).expect("decodes");
            reply.push(transaction.writes[0].value.expect("a value").0[0]);
            rest = after;
        }
        self.entries.lock().push(entry);
        self.gate.acquire().await.expect("open").forget();
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        Ok(reply.into())
    }

    async fn linearize(&self) -> Result<(), NotLeader> {
        Ok(())
    }

    fn is_leader(&self) -> bool {
        true
    }

    fn leader(&self) -> Option<NodeId> {
        None
    }

    fn term(&self) -> u64 {
        1
    }

    fn voters(&self) -> Vec<NodeId> {
        Vec::new()
    }

    fn applied_index(&self) -> u64 {
        0
    }
}

fn transaction(verdict: u8, size: usize) -> Bytes {
    let value = vec![verdict; size];
    Transaction { checks: vec![], writes: vec![Write { row: Raw(b"\x10k"), value: Some(Raw(&value)) }] }.encode()
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_shares_entries_and_each_gets_its_own_verdict() {
    let log = Gated::new();
    let proposer = Proposer::start(log.clone());
    let mut outcomes = Vec::new();
    // Fill the places in flight one by one; the rest waits and shares.
    for number in 0..IN_FLIGHT_MAX + 600 {
        let verdict = if number % 3 == 0 { Verdict::Conflict } else { Verdict::Applied };
        outcomes.push((verdict, proposer.submit(Fence(1), transaction(verdict as u8, 10)).expect("room")));
        if number < IN_FLIGHT_MAX {
            settle().await;
        }
    }
    settle().await;
    assert_eq!(log.batches(), [(1, 1); IN_FLIGHT_MAX]);
    log.gate.add_permits(1000);
    for (verdict, outcome) in outcomes {
        assert_eq!(outcome.await, Ok(Outcome::Decided(verdict)));
    }
    assert_eq!(log.batches()[IN_FLIGHT_MAX..], [(1, 256), (1, 256), (1, 88)]);
    assert_eq!(log.in_flight_max.load(Ordering::SeqCst), IN_FLIGHT_MAX);
}

#[tokio::test]
async fn entries_are_closed_by_bytes_and_by_fences() {
    let log = Gated::new();
    let proposer = Proposer::start(log.clone());
    let large = transaction(1, 400 << 10);
    let outcomes: Vec<_> = [(1, large.clone()), (1, large.clone()), (1, large), (2, transaction(1, 1))]
        .into_iter()
        .chain([(2, transaction(1, 1)), (2, transaction(1, 3 << 20)), (3, transaction(1, 1))])
        .map(|(fence, transaction)| proposer.submit(Fence(fence), transaction).expect("room"))
        .collect();
    log.gate.add_permits(1000);
    assert!(join_all(outcomes).await.into_iter().all(|outcome| outcome == Ok(Outcome::Decided(Verdict::Applied))));
    assert_eq!(log.batches(), [(1, 2), (1, 1), (2, 2), (2, 1), (3, 1)]);
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let log = Gated::new();
    let proposer = Proposer::start(log.clone());
    let mut outcomes = Vec::new();
    let refused = loop {
        match proposer.submit(Fence(1), transaction(1, 1 << 20)) {
            Ok(outcome) => outcomes.push(outcome),
            Err(Refused) => break outcomes.len(),
        }
        assert!(outcomes.len() < 1000, "no bound");
    };
    assert!(refused > 32, "refused after {refused}");
    log.gate.add_permits(1000);
    assert!(join_all(outcomes).await.into_iter().all(|outcome| outcome == Ok(Outcome::Decided(Verdict::Applied))));
    proposer.submit(Fence(1), transaction(1, 1)).expect("room again");
}

#[tokio::test]
async fn what_is_queued_is_still_proposed_when_the_range_is_dropped() {
    let log = Gated::new();
    let proposer = Proposer::start(log.clone());
    let outcome = proposer.submit(Fence(1), transaction(1, 1)).expect("room");
    drop(proposer);
    log.gate.add_permits(1);
    assert_eq!(outcome.await, Ok(Outcome::Decided(Verdict::Applied)));
}
