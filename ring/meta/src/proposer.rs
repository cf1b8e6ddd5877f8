//! Batches transactions into log entries.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use karri_ring_raft::ProposeError;
use karri_ring_types::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::log::RangeLog;
use crate::transaction::{EntryHead, Fence, Verdict, encode_entry};

/// Most transactions in one entry.
const BATCH_TRANSACTIONS_MAX: usize = 256;
/// An entry is closed when its transactions have this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Entries that are proposed and not applied yet. While they are under way the next ones fill up.
const IN_FLIGHT_MAX: usize = 8;
/// Transactions that wait to be proposed.
const QUEUE_MAX: usize = 4096;
/// KiB of transactions that wait or are in flight.
const QUEUE_KIB_MAX: u32 = 64 << 10;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The log has decided.
    Decided(Verdict),
    /// Certainly not in the log.
    NotLeader(Option<NodeId>),
    /// It may be in the log, and may be applied later unless its fence has gone by then.
    Unknown,
}

struct Pending {
    fence: Fence,
    transaction: Bytes,
    reply: oneshot::Sender<Outcome>,
    _bytes: OwnedSemaphorePermit,
}

/// Where transactions of one range go.
pub(crate) struct Proposer {
    queue: mpsc::Sender<Pending>,
    bytes: Arc<Semaphore>,
}

/// The queue is full: certainly not proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

impl Proposer {
    /// Starts the task that proposes to `log`. It ends when the proposer is dropped and nothing is in flight.
    pub(crate) fn start(log: Arc<dyn RangeLog>) -> Self {
        let (queue, pending) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(log, pending));
        Self { queue, bytes: Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize)) }
    }

    /// Hands a transaction over; the receiver gets its outcome.
    pub(crate) fn submit(&self, fence: Fence, transaction: Bytes) -> Result<oneshot::Receiver<Outcome>, Refused> {
        let kib = u32::try_from(transaction.len().div_ceil(1024)).map_err(|_| Refused)?;
        let bytes = self.bytes.clone().try_acquire_many_owned(kib).map_err(|_| Refused)?;
        let (reply, outcome) = oneshot::channel();
        let pending = Pending { fence, transaction, reply, _bytes: bytes };
        self.queue.try_send(pending).map_err(|_| Refused)?;
        Ok(outcome)
    }
}

async fn run(log: Arc<dyn RangeLog>, mut queue: mpsc::Receiver<Pending>) {
    let mut in_flight = FuturesUnordered::new();
    let mut left_over = None;
    loop {
        tokio::select! {
            biased;
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            first = next(&mut left_over, &mut queue), if in_flight.len() < IN_FLIGHT_MAX => {
                let Some(first) = first else { break };
                let batch = fill(first, &mut left_over, &mut queue);
                in_flight.push(propose(log.clone(), batch));
            }
        }
    }
    while in_flight.next().await.is_some() {}
}

async fn next(left_over: &mut Option<Pending>, queue: &mut mpsc::Receiver<Pending>) -> Option<Pending> {
    match left_over.take() {
        Some(pending) => Some(pending),
        None => queue.recv().await,
    }
}

/// What waits, as far as it fits into one entry. A transaction that does not is left over for the next.
fn fill(first: Pending, left_over: &mut Option<Pending>, queue: &mut mpsc::Receiver<Pending>) -> Vec<Pending> {
    let mut bytes = first.transaction.len();
    let fence = first.fence;
    let mut batch = vec![first];
    while batch.len() < BATCH_TRANSACTIONS_MAX && bytes < BATCH_BYTES {
        let Ok(pending) = queue.try_recv() else { break };
        if pending.fence != fence || bytes + pending.transaction.len() > BATCH_BYTES {
            *left_over = Some(pending);
            break;
        }
        bytes += pending.transaction.len();
        batch.push(pending);
    }
    batch
}

async fn propose(log: Arc<dyn RangeLog>, batch: Vec<Pending>) {
    let fence = batch[0].fence;
    let transactions: Vec<Bytes> = batch.iter().map(|pending| pending.transaction.clone()).collect();
    let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
    let entry = encode_entry(&EntryHead::Batch { fence, count }, &transactions);
    drop(transactions);
    let result = log.propose(entry).await;
    for (place, pending) in batch.into_iter().enumerate() {
        let outcome = match &result {
            Ok(reply) => match reply.get(place).copied().and_then(Verdict::from_byte) {
                Some(verdict) => Outcome::Decided(verdict),
                None => Outcome::Unknown,
            },
            Err(ProposeError::NotLeader { leader }) => Outcome::NotLeader(*leader),
            Err(ProposeError::Shutdown | ProposeError::TooLarge) => Outcome::NotLeader(None),
            Err(ProposeError::Unknown) => Outcome::Unknown,
        };
        // Nobody may be waiting any more.
        let _ = pending.reply.send(outcome);
    }
}

#[cfg(test)]
#[path = "proposer_tests.rs"]
mod tests;
