//! The queue of the Raft logs' flusher: what is acknowledged is on the disk, each log is there in its order, and everybody
//! who waits is told, also when the disk fails or the store is closed.

use std::io;
use std::sync::Arc;

use shuttle::thread;

use crate::queue::{Queue, Queued};
use crate::{Condvar, Mutex, lose_wakes};

/// How writes are queued and carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushing {
    /// As the store does it.
    AsStored,
    /// The disk fails at its second write: all that waits has failed.
    OnAFailingDisk,
    /// A planted fault: writes are acknowledged before their sync.
    AcknowledgedTooSoon,
    /// A planted fault: an entry is queued after its log was let go.
    QueuedOutsideOfTheLog,
    /// A planted fault: the flusher is not woken.
    NotWoken,
}

const LOGS: usize = 2;
/// Entries of each of two threads per log.
const ENTRIES: u64 = 2;
const ENTRY_BYTES: usize = 10;
/// Two entries make a batch.
const BATCH_BYTES_MAX: usize = 25;

/// An entry of a log.
type Write = (usize, u64);

#[derive(Default)]
struct Disk {
    written: Vec<Write>,
    synced: usize,
    writes: usize,
}

struct Store {
    queue: Queue<Write>,
    /// The number of the last entry of each log; as `GroupLog`'s view.
    logs: [Mutex<u64>; LOGS],
    disk: Mutex<Disk>,
    /// What was told of each write.
    told: Mutex<Vec<(Write, bool)>>,
    tell: Condvar,
    how: Flushing,
}

/// One schedule: threads append to two logs and wait, one flusher writes, and the store is closed at the end.
pub fn flusher_keeps_order_and_tells_all(how: Flushing) {
    lose_wakes(how == Flushing::NotWoken);
    let store = Arc::new(Store {
        queue: Queue::new(BATCH_BYTES_MAX),
        logs: Default::default(),
        disk: Mutex::default(),
        told: Mutex::default(),
        tell: Condvar::new(),
        how,
    });
    let flusher = {
        let store = store.clone();
        thread::spawn(move || store.flush())
    };
    let appenders: Vec<_> = [0, 0, 1]
        .into_iter()
        .map(|log| {
            let store = store.clone();
            thread::spawn(move || (0..ENTRIES).for_each(|_| store.append(log)))
        })
        .collect();
    for appender in appenders {
        appender.join().expect("it ends");
    }
    store.queue.close();
    assert!(store.queue.push(1, (0, 0)).is_none(), "a closed queue takes nothing");
    flusher.join().expect("it ends");
    store.check();
}

impl Store {
    /// As `GroupStore::append`, and waits as the one who waits for its callback does.
    fn append(&self, log: usize) {
        let mut last = self.logs[log].lock();
        *last += 1;
        let write = (log, *last);
        if self.how == Flushing::QueuedOutsideOfTheLog {
            drop(last);
            self.push(write);
        } else {
            self.push(write);
            drop(last);
        }
        let mut told = self.told.lock();
        while !told.iter().any(|(other, _)| *other == write) {
            self.tell.wait(&mut told);
        }
    }

    fn push(&self, write: Write) {
        if self.queue.push(ENTRY_BYTES, write).is_none() {
            // As an append that is refused.
            self.told.lock().push((write, false));
        }
    }

    /// As `Flusher::run`.
    fn flush(&self) {
        while let Some(batch) = self.queue.next() {
            assert!(batch.len() <= BATCH_BYTES_MAX / ENTRY_BYTES, "a batch of {}", batch.len());
            let go_on = self.queue.carry_out(batch, |batch| self.write(batch), |queued, done| self.tell(queued, done));
            if !go_on {
                return;
            }
        }
    }

    fn write(&self, batch: &[Queued<Write>]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.writes += 1;
        if self.how == Flushing::OnAFailingDisk && disk.writes == 2 {
            return Err(io::Error::other("as told"));
        }
        if self.how == Flushing::AcknowledgedTooSoon {
            disk.synced = disk.written.len();
        }
        disk.written.extend(batch.iter().map(|queued| queued.write));
        if self.how != Flushing::AcknowledgedTooSoon {
            disk.synced = disk.written.len();
        }
        Ok(())
    }

    fn tell(&self, queued: Queued<Write>, done: bool) {
        let disk = self.disk.lock();
        let durable = disk.written[..disk.synced].contains(&queued.write);
        assert!(durable || !done, "{:?} is acknowledged and not on the disk", queued.write);
        drop(disk);
        self.told.lock().push((queued.write, done));
        self.tell.notify_all();
    }

    fn check(&self) {
        let disk = self.disk.lock();
        for log in 0..LOGS {
            let entries: Vec<u64> = disk.written.iter().filter(|(of, _)| *of == log).map(|(_, entry)| *entry).collect();
            assert!(entries.windows(2).all(|two| two[0] + 1 == two[1]), "log {log} is on the disk as {entries:?}");
        }
        let told = self.told.lock();
        assert_eq!(told.len() as u64, 3 * ENTRIES, "each is told of once");
        let failed = told.iter().filter(|(_, done)| !done).count();
        assert!(failed == 0 || self.how == Flushing::OnAFailingDisk, "{failed} failed");
    }
}
