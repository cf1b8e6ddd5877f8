//! What waits for the flusher, in the order in which it must reach the disk.
//!
//! It knows nothing of what is written, so that `tests/schedules` can try it under every order of threads.

use std::collections::VecDeque;
use std::io;

use parking_lot::{Condvar, Mutex};

/// A write that waits.
pub(crate) struct Queued<W> {
    /// Numbers grow in the order in which writes become durable.
    pub(crate) seq: u64,
    bytes: usize,
    pub(crate) write: W,
}

struct State<W> {
    writes: VecDeque<Queued<W>>,
    last_seq: u64,
    closed: bool,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Something waits.
    Waiting,
    /// Nothing waits now.
    Empty,
    /// Nothing waits, and nothing will.
    Closed,
}

/// The queue of one flusher.
pub(crate) struct Queue<W> {
    state: Mutex<State<W>>,
    wake: Condvar,
    /// Most bytes of one batch, unless a single write has more.
    batch_bytes_max: usize,
}

impl<W> Queue<W> {
    pub(crate) fn new(batch_bytes_max: usize) -> Self {
        let state = State { writes: VecDeque::new(), last_seq: 0, closed: false };
        Self { state: Mutex::new(state), wake: Condvar::new(), batch_bytes_max }
    }

    /// Queues a write and gives its number; `None` when nothing more is taken.
    pub(crate) fn push(&self, bytes: usize, write: W) -> Option<u64> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        state.last_seq += 1;
        let seq = state.last_seq;
        state.writes.push_back(Queued { seq, bytes, write });
        drop(state);
        self.wake.notify_one();
        Some(seq)
    }

    /// Takes no more writes; what waits is still handed out.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }

    /// Takes no more writes, and gives those that wait.
    pub(crate) fn abandon(&self) -> VecDeque<Queued<W>> {
        let mut state = self.state.lock();
        state.closed = true;
        std::mem::take(&mut state.writes)
    }

    pub(crate) fn standing(&self) -> Standing {
        let state = self.state.lock();
        match (state.writes.is_empty(), state.closed) {
            (false, _) => Standing::Waiting,
            (true, false) => Standing::Empty,
            (true, true) => Standing::Closed,
        }
    }

    /// The next writes for one batch, at once; none when nothing waits.
    pub(crate) fn take(&self) -> Vec<Queued<W>> {
        self.take_from(&mut self.state.lock())
    }

    /// The next writes for one batch; waits for them. `None` when closed and empty.
    pub(crate) fn next(&self) -> Option<Vec<Queued<W>>> {
        let mut state = self.state.lock();
        while state.writes.is_empty() {
            if state.closed {
                return None;
            }
            self.wake.wait(&mut state);
        }
        Some(self.take_from(&mut state))
    }

    fn take_from(&self, state: &mut State<W>) -> Vec<Queued<W>> {
        let mut taken = Vec::with_capacity(state.writes.len());
        let mut bytes = 0;
        while let Some(front) = state.writes.front() {
            if !taken.is_empty() && bytes + front.bytes > self.batch_bytes_max {
                break;
            }
            bytes += front.bytes;
            taken.extend(state.writes.pop_front());
        }
        taken
    }

    /// Writes a batch, and tells of each of its writes that it is on the disk. When that fails nothing more is taken, and of
    /// what waits it is told as well that nobody knows; false then.
    pub(crate) fn carry_out(
        &self,
        batch: Vec<Queued<W>>,
        write: impl FnOnce(&[Queued<W>]) -> io::Result<()>,
        mut tell: impl FnMut(Queued<W>, bool),
    ) -> bool {
        if write(&batch).is_ok() {
            batch.into_iter().for_each(|queued| tell(queued, true));
            return true;
        }
        let waiting = self.abandon();
        batch.into_iter().chain(waiting).for_each(|queued| tell(queued, false));
        false
    }
}
