//! Hashing pieces of several streams together.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::Md5;
use crate::lanes::{BLOCK_BYTES, Width, Words, advance};

/// Bytes of each stream until it is looked whether others have come.
const TURN_BYTES: usize = 16 << 10;

/// A part of a stream, and who waits for it.
struct Job {
    md5: Md5,
    pieces: VecDeque<Bytes>,
    done: oneshot::Sender<Md5>,
}

impl Job {
    /// Takes what does not make whole blocks; false when nothing is left.
    fn prepare(&mut self) -> bool {
        while let Some(piece) = self.pieces.front_mut() {
            let left = self.md5.complete(piece).len();
            piece.advance(piece.len() - left);
            if left >= BLOCK_BYTES {
                return true;
            }
            self.md5.begin(piece);
            self.pieces.pop_front();
        }
        false
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    workers: usize,
}

/// Hashes streams together as they come. Its threads are those of the runtime for blocking work.
///
/// A stream gives one part at a time, so there are never more parts than uploads.
pub struct Md5Pool {
    queue: Mutex<Queue>,
    width: Width,
    workers_max: usize,
}

impl Md5Pool {
    /// A pool for a machine with `cores`.
    pub fn new(cores: usize) -> Arc<Self> {
        Self::with_width(Width::detect(), cores)
    }

    fn with_width(width: Width, cores: usize) -> Arc<Self> {
        // Streams meet in the lanes of one worker only: fewer workers hash more at less cost.
        let workers_max = if width == Width::One { cores } else { cores.div_ceil(4) };
        Arc::new(Self { queue: Mutex::default(), width, workers_max: workers_max.max(1) })
    }

    /// Hashes `pieces` as the next of their stream; `None` when the runtime is ending.
    pub async fn update(self: &Arc<Self>, md5: Md5, pieces: Vec<Bytes>) -> Option<Md5> {
        let (done, hashed) = oneshot::channel();
        let begins = {
            let mut queue = self.queue.lock();
            queue.jobs.push_back(Job { md5, pieces: pieces.into(), done });
            let begins = queue.workers < self.workers_max;
            queue.workers += usize::from(begins);
            begins
        };
        if begins {
            let pool = self.clone();
            karri_ring_types::blocking(move || pool.work());
        }
        hashed.await.ok()
    }

    /// Works until there is nothing left to do.
    fn work(&self) {
        let mut active: Vec<Job> = Vec::new();
        loop {
            {
                let mut queue = self.queue.lock();
                let room = self.width.lanes_max() - active.len();
                let coming = queue.jobs.len().min(room);
                active.extend(queue.jobs.drain(..coming));
                if active.is_empty() {
                    queue.workers -= 1;
                    return;
                }
            }
            let mut index = 0;
            while index < active.len() {
                if active[index].prepare() {
                    index += 1;
                } else {
                    let Job { md5, done, .. } = active.swap_remove(index);
                    // Whoever waited may have gone.
                    let _ = done.send(md5);
                }
            }
            self.turn(&mut active);
        }
    }

    /// Hashes some blocks of each.
    fn turn(&self, active: &mut [Job]) {
        let blocks_of = |job: &Job| job.pieces.front().map_or(0, |piece| piece.len() / BLOCK_BYTES * BLOCK_BYTES);
        let length = active.iter().map(blocks_of).min().unwrap_or(0).min(TURN_BYTES);
        let mut states: Vec<&mut Words> = Vec::with_capacity(active.len());
        let mut blocks: Vec<&[u8]> = Vec::with_capacity(active.len());
        for job in active.iter_mut() {
            let Job { md5, pieces, .. } = job;
            states.push(&mut md5.words);
            blocks.push(pieces.front().map_or(&[], |piece| &piece[..length]));
        }
        advance(self.width, &mut states, &blocks);
        for job in active {
            job.md5.length_bytes += length as u64;
            if let Some(piece) = job.pieces.front_mut() {
                piece.advance(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use md5::Digest as _;
    use proptest::prelude::*;

    use super::*;

    /// What another implementation says.
    fn expected(bytes: &[u8]) -> [u8; 16] {
        md5::Md5::digest(bytes).into()
    }

    #[test]
    fn every_length_around_a_block_is_right() {
        let bytes: Vec<u8> = (0..300u32).map(|n| (n * 31) as u8).collect();
        for length in 0..300 {
            for cut in [0, 1, 63, 64, 65] {
                let (first, second) = bytes[..length].split_at(cut.min(length));
                let mut md5 = Md5::default();
                md5.update(first);
                md5.update(second);
                assert_eq!(md5.finish(), expected(&bytes[..length]), "{cut} of {length}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn streams_that_are_hashed_together_do_not_mix(
            streams in prop::collection::vec(prop::collection::vec(0..5000usize, 0..6), 1..40),
        ) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            let machine = Width::detect();
            let narrower = if machine == Width::Sixteen { Width::Eight } else { machine };
            for width in [machine, narrower, Width::One] {
                let pool = Md5Pool::with_width(width, 2);
                let hash_one = |number: usize, lengths: Vec<usize>| {
                    let pool = pool.clone();
                    async move {
                        let (mut md5, mut all) = (Md5::default(), Vec::new());
                        for pair in lengths.chunks(2) {
                            let pieces: Vec<Bytes> = pair
                                .iter()
                                .map(|&length| (0..length).map(|n| (n * 7 + number + (n >> 8)) as u8).collect())
                                .collect();
                            pieces.iter().for_each(|piece| all.extend_from_slice(piece));
                            md5 = pool.update(md5, pieces).await.unwrap();
                        }
                        (md5.finish(), expected(&all))
                    }
                };
                runtime.block_on(async {
                    let mut tasks = tokio::task::JoinSet::new();
                    for (number, lengths) in streams.iter().cloned().enumerate() {
                        tasks.spawn(hash_one(number, lengths));
                    }
                    while let Some(done) = tasks.join_next().await {
                        let (found, expected) = done.unwrap();
                        prop_assert_eq!(found, expected);
                    }
                    Ok(())
                })?;
            }
        }
    }
}
