//! Names that commands hold while they are evaluated and applied.
//!
//! A request queues for all its names at once, so requests wait for earlier ones only: there is no deadlock,
//! and nobody is overtaken by somebody who wants the same name.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::Latches;

/// Most requests that wait or hold at a time.
pub(crate) const REQUESTS_MAX: usize = 8192;

/// Too many requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A name's hash: two names with the same hash share a latch, which is harmless and spares copies.
type Name = u64;

#[derive(Clone, Copy)]
struct Waiter {
    request: u64,
    exclusive: bool,
    granted: bool,
}

struct Request {
    names: Vec<(Name, bool)>,
    missing: usize,
    wake: Option<oneshot::Sender<()>>,
}

#[derive(Default)]
struct State {
    next: u64,
    queues: HashMap<Name, VecDeque<Waiter>>,
    requests: HashMap<u64, Request>,
}

/// The latches of one leadership of one range.
#[derive(Default)]
pub(crate) struct LatchTable {
    hasher: RandomState,
    state: Mutex<State>,
}

/// Holds the latches of one request, or its place in the queues; lets go when dropped.
pub(crate) struct LatchGuard {
    table: Arc<LatchTable>,
    request: Option<u64>,
}

impl LatchTable {
    /// Waits until all of `latches` are held.
    pub(crate) async fn acquire(self: &Arc<Self>, latches: &Latches) -> Result<LatchGuard, Full> {
        let (guard, wait) = self.enqueue(latches)?;
        if let Some(wait) = wait {
            // The sender lives as long as the request, which the guard keeps: this cannot fail.
            let _ = wait.await;
        }
        Ok(guard)
    }

    fn names(&self, latches: &Latches) -> Vec<(Name, bool)> {
        let shared = latches.shared.iter().map(|name| (self.hasher.hash_one(name), false));
        let exclusive = latches.exclusive.iter().map(|name| (self.hasher.hash_one(name), true));
        let mut names: Vec<_> = exclusive.chain(shared).collect();
        names.sort_by_key(|&(name, exclusive)| (name, !exclusive));
        names.dedup_by_key(|&mut (name, _)| name);
        names
    }

    fn enqueue(self: &Arc<Self>, latches: &Latches) -> Result<(LatchGuard, Option<oneshot::Receiver<()>>), Full> {
        let names = self.names(latches);
        if names.is_empty() {
            return Ok((LatchGuard { table: self.clone(), request: None }, None));
        }
        let mut state = self.state.lock();
        if state.requests.len() >= REQUESTS_MAX {
            return Err(Full);
        }
        let request = state.next;
        state.next += 1;
        let mut missing = 0;
        for &(name, exclusive) in &names {
            let queue = state.queues.entry(name).or_default();
            let granted = if exclusive {
                queue.is_empty()
            } else {
                queue.iter().all(|waiter| waiter.granted && !waiter.exclusive)
            };
            missing += usize::from(!granted);
            queue.push_back(Waiter { request, exclusive, granted });
        }
        let (wake, wait) = if missing > 0 {
            let (wake, wait) = oneshot::channel();
            (Some(wake), Some(wait))
        } else {
            (None, None)
        };
        state.requests.insert(request, Request { names, missing, wake });
        Ok((LatchGuard { table: self.clone(), request: Some(request) }, wait))
    }

    fn release(&self, request: u64) {
        let mut state = self.state.lock();
        let State { queues, requests, .. } = &mut *state;
        let Some(released) = requests.remove(&request) else { return };
        for (name, _) in released.names {
            let Some(queue) = queues.get_mut(&name) else { continue };
            queue.retain(|waiter| waiter.request != request);
            if queue.is_empty() {
                queues.remove(&name);
                continue;
            }
            grant(queue, requests);
        }
    }
}

/// Grants the queue's head: one exclusive waiter, or all shared ones before the next exclusive.
fn grant(queue: &mut VecDeque<Waiter>, requests: &mut HashMap<u64, Request>) {
    for (at, waiter) in queue.iter_mut().enumerate() {
        if waiter.exclusive && at > 0 {
            break;
        }
        let exclusive = waiter.exclusive;
        if !waiter.granted {
            waiter.granted = true;
            if let Some(request) = requests.get_mut(&waiter.request) {
                request.missing -= 1;
                if request.missing == 0
                    && let Some(wake) = request.wake.take()
                {
                    let _ = wake.send(());
                }
            }
        }
        if exclusive {
            break;
        }
    }
}

impl Drop for LatchGuard {
    fn drop(&mut self) {
        if let Some(request) = self.request {
            self.table.release(request);
        }
    }
}

#[cfg(test)]
#[path = "latches_tests.rs"]
mod tests;
