//! A disk in memory with a cache that a power cut loses.
//!
//! It keeps what is durable apart from writes since the last flush. As of a real disk nothing is promised of those: a cut
//! leaves any of their sectors, in any combination. A sector is written as a whole or not at all.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use parking_lot::{Condvar, Mutex};
use rand::RngExt as _;
use rand::rngs::StdRng;

/// What is written as a whole or not at all, as by today's drives. Below it ext4's own journal is not safe: half a commit block
/// is taken for damage, and the file system is not mounted.
pub(crate) const SECTOR_BYTES: usize = 4096;
/// Pieces in which an image is read and copied.
const PAGE_BYTES: usize = 4096;

/// What a cut leaves of the writes that were not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// None of them.
    All,
    /// All but the latest, of which a part: the disk had written its cache in order.
    Tail,
    /// Each is there or not.
    Some,
    /// Each sector of each is there or not.
    Sectors,
}

impl Loss {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::All, Self::Tail, Self::Some, Self::Sectors];
}

/// What was lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lost {
    /// Writes since the last flush.
    pub pending: usize,
    /// Sectors of them that are gone.
    pub sectors: usize,
}

struct Write {
    offset: usize,
    data: Vec<u8>,
    /// Was flushed by itself.
    durable: bool,
}

#[derive(Default)]
struct State {
    /// As the guest reads it.
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
    writes: u64,
    flushes: u64,
    /// Writes and flushes after which the power goes.
    cut_after: Option<u64>,
    dead: bool,
}

/// The disk.
#[derive(Default)]
pub struct Disk {
    state: Mutex<State>,
    died: Condvar,
    /// A planted fault: flushes are acknowledged and not carried out.
    lies: bool,
}

/// The bytes of a new disk: pages that are not zero, and where they are.
pub struct Image {
    bytes: usize,
    pages: Vec<(usize, Vec<u8>)>,
}

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    /// Of the file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut pages = Vec::new();
        let mut page = vec![0; PAGE_BYTES];
        for offset in (0..bytes).step_by(PAGE_BYTES) {
            file.read_exact(&mut page)?;
            if page.iter().any(|byte| *byte != 0) {
                pages.push((offset, page.clone()));
            }
        }
        Ok(Self { bytes, pages })
    }
}

impl Disk {
    /// A disk with these bytes. One that `lies` acknowledges flushes and carries out none.
    pub fn new(image: &Image, lies: bool) -> Self {
        // Zeroed memory that nobody has written to takes none.
        let (mut current, mut durable) = (vec![0; image.bytes], vec![0; image.bytes]);
        for (offset, page) in &image.pages {
            current[*offset..offset + PAGE_BYTES].copy_from_slice(page);
            durable[*offset..offset + PAGE_BYTES].copy_from_slice(page);
        }
        Self { state: Mutex::new(State { current, durable, ..State::default() }), died: Condvar::new(), lies }
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.state.lock().current.len() as u64
    }

    /// Writes and flushes so far.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.writes, state.flushes)
    }

    /// The power goes after so many more writes and flushes.
    pub fn cut_after(&self, operations: u64) {
        let mut state = self.state.lock();
        state.cut_after = Some(operations.max(1));
    }

    /// The power stays after all; false when it has gone.
    pub fn spare(&self) -> bool {
        let mut state = self.state.lock();
        state.cut_after = None;
        !state.dead
    }

    /// The power goes now.
    pub fn cut_now(&self) {
        self.state.lock().dead = true;
        self.died.notify_all();
    }

    /// True when the power has gone: nothing is answered any more.
    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// Waits until the power goes; blocking.
    pub fn wait_dead(&self) {
        let mut state = self.state.lock();
        while !state.dead {
            self.died.wait(&mut state);
        }
    }

    /// Reads; `None` without power.
    ///
    /// # Errors
    /// Behind its end.
    pub fn read(&self, offset: u64, length: u32) -> io::Result<Option<Vec<u8>>> {
        let state = self.state.lock();
        if state.dead {
            return Ok(None);
        }
        let range = range(&state, offset, length as usize)?;
        Ok(Some(state.current[range].to_vec()))
    }

    /// Writes; with `durable` as if flushed by itself. False without power: it may be there later, or a part of it.
    ///
    /// # Errors
    /// Behind its end, or not in whole sectors.
    pub fn write(&self, offset: u64, data: Vec<u8>, durable: bool) -> io::Result<bool> {
        let mut state = self.state.lock();
        if state.dead {
            return Ok(false);
        }
        let range = range(&state, offset, data.len())?;
        if range.start % SECTOR_BYTES != 0 || range.len() % SECTOR_BYTES != 0 {
            return Err(io::Error::other("a write of a part of a sector"));
        }
        state.current[range.clone()].copy_from_slice(&data);
        state.pending.push(Write { offset: range.start, data, durable: durable && !self.lies });
        state.writes += 1;
        Ok(self.count(&mut state))
    }

    /// Makes all writes before it durable; false without power.
    pub fn flush(&self) -> bool {
        let mut state = self.state.lock();
        if state.dead {
            return false;
        }
        state.flushes += 1;
        if !self.count(&mut state) {
            return false;
        }
        if !self.lies {
            let state = &mut *state;
            for write in state.pending.drain(..) {
                state.durable[write.offset..write.offset + write.data.len()].copy_from_slice(&write.data);
            }
        }
        true
    }

    /// Counts an operation; false when it is the one in which the power goes.
    fn count(&self, state: &mut State) -> bool {
        if let Some(left) = &mut state.cut_after {
            *left -= 1;
            if *left == 0 {
                state.cut_after = None;
                state.dead = true;
                self.died.notify_all();
            }
        }
        !state.dead
    }

    /// The disk as it is when power is back: of unflushed writes there is what `loss` and `rng` leave. This one stays
    /// dead, for those who still have requests.
    #[must_use]
    pub fn after_cut(&self, loss: Loss, rng: &mut StdRng) -> (Self, Lost) {
        let State { mut current, mut durable, mut pending, .. } =
            std::mem::replace(&mut *self.state.lock(), State { dead: true, ..State::default() });
        let mut lost = Lost { pending: pending.len(), sectors: 0 };
        let tail = if pending.is_empty() { 0 } else { rng.random_range(0..pending.len()) };
        for (number, write) in pending.iter().enumerate() {
            let whole = match loss {
                _ if write.durable => true,
                Loss::All => false,
                Loss::Tail => number < tail,
                Loss::Some => rng.random(),
                Loss::Sectors => false,
            };
            let by_sector = !whole && (loss == Loss::Sectors || (loss == Loss::Tail && number == tail));
            for (index, sector) in write.data.chunks(SECTOR_BYTES).enumerate() {
                if whole || (by_sector && rng.random()) {
                    let at = write.offset + index * SECTOR_BYTES;
                    durable[at..at + SECTOR_BYTES].copy_from_slice(sector);
                } else {
                    lost.sectors += 1;
                }
            }
        }
        for write in pending.drain(..) {
            let range = write.offset..write.offset + write.data.len();
            current[range.clone()].copy_from_slice(&durable[range]);
        }
        let state = State { current, durable, ..State::default() };
        (Self { state: Mutex::new(state), died: Condvar::new(), lies: self.lies }, lost)
    }
}

fn range(state: &State, offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    let end = start.checked_add(length).filter(|end| *end <= state.current.len());
    end.map(|end| start..end).ok_or_else(|| io::Error::other("behind the end of the disk"))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn disk(lies: bool) -> Disk {
        Disk::new(&Image { bytes: 64 * SECTOR_BYTES, pages: Vec::new() }, lies)
    }

    fn sectors(byte: u8, count: usize) -> Vec<u8> {
        vec![byte; count * SECTOR_BYTES]
    }

    fn sector(disk: &Disk, number: u64) -> u8 {
        let read = disk.read(number * SECTOR_BYTES as u64, SECTOR_BYTES as u32).unwrap().unwrap();
        assert!(read.iter().all(|byte| *byte == read[0]), "a torn sector");
        read[0]
    }

    #[test]
    fn a_cut_loses_what_was_not_flushed_and_nothing_else() {
        let mut rng = StdRng::seed_from_u64(1);
        for loss in Loss::ALL {
            let (mut kept, mut gone) = (0, 0);
            for _ in 0..50 {
                let disk = disk(false);
                assert!(disk.write(0, sectors(1, 2), false).unwrap() && disk.flush());
                assert!(disk.write(SECTOR_BYTES as u64, sectors(2, 8), false).unwrap());
                assert!(disk.write(10 * SECTOR_BYTES as u64, sectors(3, 1), true).unwrap());
                assert_eq!((sector(&disk, 0), sector(&disk, 1), sector(&disk, 10)), (1, 2, 3));
                let (disk, lost) = disk.after_cut(loss, &mut rng);
                assert_eq!((lost.pending, sector(&disk, 0), sector(&disk, 10)), (2, 1, 3), "{loss:?}");
                for number in 1..9 {
                    let found = sector(&disk, number);
                    assert!(found == 2 || found == u8::from(number == 1), "{loss:?}: {found}");
                    *(if found == 2 { &mut kept } else { &mut gone }) += 1;
                }
            }
            assert_eq!((kept > 0, gone > 0), (loss != Loss::All, true), "{loss:?} keeps {kept} and loses {gone}");
        }
    }

    #[test]
    fn nothing_is_answered_after_the_power_went() {
        let disk = disk(false);
        disk.cut_after(2);
        assert!(disk.write(0, sectors(1, 1), false).unwrap());
        assert!(!disk.flush() && disk.is_dead(), "the second operation is the last, and is not carried out");
        assert!(!disk.write(0, sectors(2, 1), true).unwrap() && disk.read(0, SECTOR_BYTES as u32).unwrap().is_none());
        let (after, _) = disk.after_cut(Loss::All, &mut StdRng::seed_from_u64(1));
        assert_eq!(sector(&after, 0), 0);
        assert!(!disk.flush() && disk.is_dead(), "who was there before the cut gets no answer after it");
    }

    #[test]
    fn a_disk_that_lies_loses_what_it_said_was_flushed() {
        let disk = disk(true);
        assert!(disk.write(0, sectors(1, 1), true).unwrap() && disk.flush());
        let (after, _) = disk.after_cut(Loss::All, &mut StdRng::seed_from_u64(1));
        assert_eq!(sector(&after, 0), 0);
    }

    #[test]
    fn a_part_of_a_sector_is_refused() {
        assert!(disk(false).write(1, sectors(1, 1), false).is_err());
        assert!(disk(false).write(0, vec![1; 512], false).is_err());
        assert!(disk(false).read(64 * SECTOR_BYTES as u64, 1).is_err());
    }
}
