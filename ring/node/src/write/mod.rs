//! Writing extents: a stream of bytes becomes runs, runs become extents, each durable on a write quorum.

mod extent;
mod memory;
mod placement;
mod run;
mod slot;
mod tally;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use karri_ring_extent::Owner;
use karri_ring_types::{CHUNK_SIZE_BYTES, EXTENT_SIZE_BYTES_MAX, ExtentId, RUN_SIZE_BYTES, Redundancy};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use self::memory::PERMIT_BYTES;
pub(crate) use self::memory::WriteMemory;
pub(crate) use self::run::RunBuffers;
use self::run::RunData;
use self::slot::{Feed, Slot};
use crate::client::Shared;
use crate::extent_ref::ExtentRef;
use crate::stripe::Geometry;

/// Extents of one writer that are still being sealed while the next one is begun.
const SEALING_EXTENTS_MAX: usize = 1;

/// Why bytes could not be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No write quorum of nodes answers: try again later.
    #[error("no write quorum of nodes answers")]
    Unavailable,
    /// The nodes' disks are full.
    #[error("the disks are full")]
    DiskFull,
    /// The writer has failed or finished before.
    #[error("the writer is closed")]
    Closed,
}

/// Smallest buffer of a run.
const SMALLEST_BUFFER_BYTES: usize = 64 << 10;

type Sealing = JoinHandle<Result<Vec<ExtentRef>, WriteError>>;

/// Writes a stream of bytes to new extents. Dropping it abandons them.
pub struct ExtentWriter {
    shared: Arc<Shared>,
    owner: Owner,
    redundancy: Redundancy,
    stripe: Option<Geometry>,
    begun: Arc<Mutex<Vec<ExtentId>>>,
    /// The run that is being filled; a full one waits here until it is known whether it is the last.
    run: BytesMut,
    /// A full run that came as one piece.
    whole: Option<Bytes>,
    memory: Option<OwnedSemaphorePermit>,
    expected_bytes: Option<u64>,
    written_bytes: u64,
    slot: Option<(mpsc::Sender<Feed>, Sealing)>,
    /// Bytes that the open slot got.
    slot_bytes: usize,
    sealing: VecDeque<Sealing>,
    sealed: Vec<ExtentRef>,
    failed: Option<WriteError>,
}

impl ExtentWriter {
    pub(crate) fn new(shared: Arc<Shared>, owner: Owner, expected_bytes: Option<u64>, redundancy: Redundancy) -> Self {
        Self {
            shared,
            owner,
            redundancy,
            stripe: redundancy.shards().map(Geometry::new),
            begun: Arc::default(),
            run: BytesMut::new(),
            whole: None,
            memory: None,
            expected_bytes,
            written_bytes: 0,
            slot: None,
            slot_bytes: 0,
            sealing: VecDeque::new(),
            sealed: Vec::new(),
            failed: None,
        }
    }

    /// Takes bytes; returns when there is room for more. They are durable after [`ExtentWriter::finish`].
    ///
    /// # Errors
    /// When no quorum can be reached even on other nodes; the writer is of no more use then.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.take(bytes).await;
        self.failed = outcome.err();
        outcome
    }

    /// Returns while other writers wait for memory and this one holds whole chunks that it need not keep: a writer that gets
    /// nothing for a long time then has to [`ExtentWriter::shed`] them. Cancelling it loses nothing.
    pub async fn wanted(&self) {
        if self.filled() < CHUNK_SIZE_BYTES || self.failed.is_some() {
            std::future::pending::<()>().await;
        }
        self.shared.memory.wanted().await;
    }

    /// Sends the whole chunks that are held; less than one stays.
    ///
    /// # Errors
    /// As [`ExtentWriter::write`].
    pub async fn shed(&mut self) -> Result<(), WriteError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.push_whole_chunks().await;
        self.failed = outcome.err();
        outcome
    }

    /// Makes everything durable on a write quorum and returns the extents, in order.
    ///
    /// # Errors
    /// As [`ExtentWriter::write`].
    pub async fn finish(&mut self) -> Result<Vec<ExtentRef>, WriteError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.close().await;
        self.failed = Some(outcome.as_ref().err().copied().unwrap_or(WriteError::Closed));
        outcome
    }

    /// Gives up: nothing more is sent. What is on the nodes stays until its owner condemns it.
    pub async fn abort(mut self) {
        if let Some((_, sealing)) = self.slot.take() {
            self.sealing.push_back(sealing);
        }
        for sealing in self.sealing.drain(..) {
            sealing.abort();
            // It ends by the abort; how does not matter.
            let _ = sealing.await;
        }
    }

    /// The extents begun so far: with those of failed attempts, which no metadata ever names.
    pub fn extents_so_far(&self) -> Vec<ExtentId> {
        self.begun.lock().clone()
    }

    async fn take(&mut self, mut bytes: Bytes) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let room = self.run_capacity();
            if self.filled() == room {
                self.push(false).await?;
                continue;
            }
            if self.filled() == 0 && bytes.len() >= room {
                self.reserve(room).await?;
                self.whole = Some(bytes.split_to(room));
                self.written_bytes += room as u64;
            } else {
                let into_chunk = CHUNK_SIZE_BYTES - self.filled() % CHUNK_SIZE_BYTES;
                if into_chunk == CHUNK_SIZE_BYTES && !self.reserve(self.chunk_bytes()).await? {
                    continue;
                }
                self.grow();
                let part = into_chunk.min(bytes.len());
                self.run.extend_from_slice(&bytes[..part]);
                bytes.advance(part);
                self.written_bytes += part as u64;
            }
            if self.slot_bytes + self.filled() == self.extent_capacity() {
                self.push(true).await?;
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<Vec<ExtentRef>, WriteError> {
        if self.filled() > 0 {
            self.push(true).await?;
        } else if let Some((feed, sealing)) = self.slot.take() {
            // A slot that has ended early says why when it is awaited.
            let _ = feed.send(Feed::End).await;
            self.sealing.push_back(sealing);
        }
        self.settle(0).await?;
        Ok(std::mem::take(&mut self.sealed))
    }

    /// Most bytes of the present run.
    fn run_capacity(&self) -> usize {
        self.stripe.map_or(RUN_SIZE_BYTES, |stripe| stripe.run_bytes()).min(self.extent_capacity() - self.slot_bytes)
    }

    /// Most bytes of an extent.
    fn extent_capacity(&self) -> usize {
        self.stripe.map_or(EXTENT_SIZE_BYTES_MAX as usize, |stripe| stripe.stripe_bytes_max())
    }

    fn filled(&self) -> usize {
        self.whole.as_ref().map_or(self.run.len(), Bytes::len)
    }

    /// Room for what is known to come, at most a run.
    fn grow(&mut self) {
        if self.run.capacity() == 0 {
            let expected = self.expected_bytes.map_or(u64::MAX, |all| all.saturating_sub(self.written_bytes));
            match usize::try_from(expected) {
                Ok(expected) if expected < RUN_SIZE_BYTES => self.run.reserve(expected.max(SMALLEST_BUFFER_BYTES)),
                _ if self.run_capacity() > RUN_SIZE_BYTES => self.run.reserve(self.run_capacity()),
                _ => self.run = self.shared.buffers.take(),
            }
        }
    }

    /// Takes memory for `bytes` more. Where there is none, what is there is sent first, so that nobody waits for memory
    /// while holding some; false when the run was sent and must be begun anew.
    async fn reserve(&mut self, bytes: usize) -> Result<bool, WriteError> {
        // Parity is held as long as what it is computed from.
        let bytes = self.stripe.map_or(bytes, |stripe| bytes * stripe.shards() / stripe.data);
        let permit = match self.shared.memory.try_take(bytes)? {
            Some(permit) => permit,
            None if self.filled() > 0 => {
                // Only the last run of a stripe may be short.
                self.push(self.stripe.is_some()).await?;
                return Ok(false);
            }
            None => self.shared.memory.take(bytes).await?,
        };
        match &mut self.memory {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(true)
    }

    /// Bytes of the next chunk, as far as it is known what comes.
    fn chunk_bytes(&self) -> usize {
        let rest = self.expected_bytes.map_or(0, |all| all.saturating_sub(self.written_bytes));
        usize::try_from(rest).ok().filter(|rest| *rest > 0).map_or(CHUNK_SIZE_BYTES, |rest| rest.min(CHUNK_SIZE_BYTES))
    }

    async fn push_whole_chunks(&mut self) -> Result<(), WriteError> {
        if self.stripe.is_some() {
            // Only the last run of a stripe may be short.
            return if self.filled() > 0 { self.push(true).await } else { Ok(()) };
        }
        let whole = self.filled() - self.filled() % CHUNK_SIZE_BYTES;
        if whole == 0 {
            return Ok(());
        }
        // Copied, so that the buffer of what is sent is free afterwards.
        let rest = BytesMut::from(self.run.get(whole..).unwrap_or_default());
        self.run.truncate(whole);
        let kept = match &mut self.memory {
            Some(held) => {
                let sent = whole.div_ceil(PERMIT_BYTES);
                let kept = held.num_permits().saturating_sub(sent);
                held.split(kept)
            }
            None => None,
        };
        self.push(false).await?;
        (self.run, self.memory) = (rest, kept);
        Ok(())
    }

    /// Hands the run to the open slot, or to a new one; `last` closes it.
    async fn push(&mut self, last: bool) -> Result<(), WriteError> {
        let bytes = self.whole.take().unwrap_or_else(|| std::mem::take(&mut self.run).freeze());
        self.slot_bytes += bytes.len();
        let run = Arc::new(RunData::new(bytes, self.memory.take(), self.shared.buffers.clone()));
        if self.slot.is_none() {
            self.settle(SEALING_EXTENTS_MAX).await?;
            self.slot = Some(Slot::spawn(self.shared.clone(), self.owner.clone(), self.redundancy, self.begun.clone()));
        }
        let Some((feed, _)) = &self.slot else { return Err(WriteError::Closed) };
        let taken = feed.send(if last { Feed::Last(run) } else { Feed::Run(run) }).await.is_ok();
        if last || !taken {
            self.slot_bytes = 0;
            self.sealing.extend(self.slot.take().map(|(_, sealing)| sealing));
        }
        if taken {
            return Ok(());
        }
        // The slot ended before its last run: it has failed, and says why.
        self.settle(0).await?;
        Err(WriteError::Closed)
    }

    /// Waits until at most `open` extents are still being sealed.
    async fn settle(&mut self, open: usize) -> Result<(), WriteError> {
        while self.sealing.len() > open {
            let Some(sealing) = self.sealing.front_mut() else { break };
            let outcome = sealing.await.unwrap_or(Err(WriteError::Closed));
            self.sealing.pop_front();
            self.sealed.extend(outcome?);
        }
        Ok(())
    }
}
