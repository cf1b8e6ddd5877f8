//! Segments: the files that hold the chunks. Runs are appended and share syncs; what is deleted is punched out of them
//! at once, and a file goes when nothing in it is wanted any more. ADR 0005 says why, and what else was measured.
//!
//! It knows no rows: which chunk is where is kept by the caller, who tells here what it keeps and what it lets go.

mod file;
#[cfg(test)]
mod golden_tests;
mod record;
mod scan;
mod table;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use karri_ring_disk::{BLOCK_BYTES, DiskFile, DiskPath};
use karri_ring_types::ExtentId;
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use self::file::{Draft, SegmentFile};
use self::record::SegmentKey;
pub(crate) use self::record::{Place, SegmentId};
pub(crate) use self::scan::{Found, Scan};
pub(crate) use self::table::Changes;
use self::table::Table;
use crate::records::{ExtentHeader, Run};
use crate::store::ExtentError;

/// A segment takes no more records from this size on.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Segments that are written at the same time: one for small runs, so that they share syncs and wait for no large one.
const LANES: usize = 4;
/// Runs from this size on go to a lane of their extent.
const LARGE_RUN_BYTES_MIN: usize = 2 << 20;
/// Segments that are kept open for reading.
const OPEN_FILES_MAX: usize = 2048;
/// Bytes beyond the chunks of a segment that are worth looking for.
const WASTE_BYTES_MIN: u64 = 8 << 20;

/// A run that is on the disk, at these places, until the caller decides.
#[must_use]
pub(crate) struct Appended {
    segment: SegmentId,
    pub(crate) places: Vec<Place>,
    /// The segment that was full, when nothing in it is undecided.
    filled: Option<SegmentId>,
}

struct Reserved {
    file: Arc<SegmentFile>,
    offset: u64,
    filled: Option<SegmentId>,
}

struct Lane {
    file: Arc<SegmentFile>,
    end: u64,
}

/// The segments of a store.
pub(crate) struct Segments {
    dir: DiskPath,
    size_bytes_max: u64,
    table: Table,
    lanes: Vec<Mutex<Option<Lane>>>,
    next: AtomicU64,
    files: Cache<SegmentId, Arc<dyn DiskFile>>,
    /// Times that something was taken out of a segment.
    removals: AtomicU64,
}

impl Segments {
    /// Opens the folder. The second part are the segments that `closed` does not know: they are to be read again.
    pub(crate) fn open(dir: DiskPath, closed: &[SegmentId]) -> io::Result<(Self, Vec<SegmentId>)> {
        Self::open_with(dir, closed, SEGMENT_BYTES_MAX)
    }

    fn open_with(dir: DiskPath, closed: &[SegmentId], size_bytes_max: u64) -> io::Result<(Self, Vec<SegmentId>)> {
        dir.create_dir_all()?;
        let table = Table::default();
        let mut found = Vec::new();
        for path in dir.list()? {
            let name = path.as_path().file_name().and_then(|name| name.to_str());
            if let Some(id) = name.and_then(SegmentId::of_file_name) {
                table.found(id, closed.contains(&id));
                found.push(id);
            }
        }
        found.sort_unstable();
        let last = found.iter().chain(closed).map(|id| id.0).max().unwrap_or(0);
        let unread = found.into_iter().filter(|id| !closed.contains(id)).collect();
        let segments = Self {
            dir,
            size_bytes_max,
            table,
            lanes: (0..LANES).map(|_| Mutex::new(None)).collect(),
            next: AtomicU64::new(last + 1),
            files: Cache::new(OPEN_FILES_MAX),
            removals: AtomicU64::new(0),
        };
        Ok((segments, unread))
    }

    /// Makes a run durable. Its records count only after [`Segments::decide`], which must follow.
    pub(crate) fn append(&self, run: &Run, seal: Option<&ExtentHeader>) -> Result<Appended, ExtentError> {
        let mut draft = Draft::new(run, seal)?;
        let large = run.length_bytes() >= LARGE_RUN_BYTES_MIN;
        // The low bits of an id are random.
        let lane = if large { 1 + (run.extent.0 >> 16) as usize % (LANES - 1) } else { 0 };
        let Reserved { file, offset, filled } = self.reserve(lane, draft.record_bytes(), run.extent)?;
        draft.offset = offset;
        match file.write(draft) {
            Ok(places) => Ok(Appended { segment: file.id, places, filled }),
            Err(error) => {
                // Nobody points at what was written.
                self.table.fail(file.id);
                Err(error.into())
            }
        }
    }

    /// The caller's rows name the run, or it is given up.
    pub(crate) fn decide(&self, appended: Appended, kept: bool) -> Changes {
        let Appended { segment, places, filled } = appended;
        if !kept {
            self.punch(&places);
        }
        let mut changes = self.table.decide(segment, if kept { &places } else { &[] });
        changes.to_close.extend(filled);
        changes
    }

    /// Chunks that durable rows name, found at the start.
    pub(crate) fn count(&self, place: &Place) {
        self.table.count(place);
    }

    /// Gives back the space of chunks that no row names any more.
    pub(crate) fn release(&self, places: &[Place]) -> Changes {
        self.punch(places);
        self.table.release(places)
    }

    /// The rows of a full segment are durable.
    pub(crate) fn close(&self, segment: SegmentId) -> Changes {
        self.table.close(segment)
    }

    /// Removes the file of a closed segment that holds nothing; its number is not used again.
    pub(crate) fn remove(&self, segment: SegmentId) -> io::Result<()> {
        if !self.table.take_empty(segment) {
            return Ok(());
        }
        self.files.remove(&segment);
        self.dir.join(segment.file_name()).remove()
    }

    /// All segments that are closed and hold nothing.
    pub(crate) fn empty(&self) -> Vec<SegmentId> {
        self.table.empty()
    }

    /// Closed segments that take much more of the disk than their chunks do: a crash came before something was punched
    /// out.
    pub(crate) fn wasteful(&self) -> io::Result<Vec<SegmentId>> {
        let mut found = Vec::new();
        for (id, bytes) in self.table.closed() {
            let taken = self.dir.join(id.file_name()).open_file()?.taken_bytes()?;
            if taken > bytes + bytes / 16 + WASTE_BYTES_MIN {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Calls `each` with every record of a segment, in order.
    pub(crate) fn scan(
        &self,
        segment: SegmentId,
        mut each: impl FnMut(&Scan<'_>, Found) -> Result<(), ExtentError>,
    ) -> Result<(), ExtentError> {
        let file = self.dir.join(segment.file_name()).open_file()?;
        let Some(mut scan) = Scan::new(&*file, segment)? else { return Ok(()) };
        while let Some(found) = scan.next()? {
            each(&scan, found)?;
        }
        Ok(())
    }

    /// Appends the bytes of neighbouring chunks to `bytes`, which has the room.
    pub(crate) fn read(&self, place: &Place, length: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.opened(place.segment)?.read_into(bytes, length, place.offset)
    }

    fn opened(&self, segment: SegmentId) -> io::Result<Arc<dyn DiskFile>> {
        self.files.get_or_insert_with(&segment, || self.dir.join(segment.file_name()).open_file())
    }

    /// Whether the file of a place is there and long enough. Of one that is not, nothing is kept open any more, so that
    /// reads see what the folder has.
    pub(crate) fn is_there(&self, place: &Place) -> bool {
        let end = place.offset + u64::from(place.length);
        let file = self.dir.join(place.segment.file_name()).open_file();
        let there = file.and_then(|file| file.length()).is_ok_and(|length| length >= end);
        if !there {
            self.files.remove(&place.segment);
            for lane in &self.lanes {
                let mut lane = lane.lock();
                if let Some(lost) = lane.take_if(|lane| lane.file.id == place.segment) {
                    // It is closed at the next start.
                    let _ = self.table.fill(lost.file.id);
                }
            }
        }
        there
    }

    /// Changes whenever something was taken out: what was read across a change may be nothing.
    pub(crate) fn removals(&self) -> u64 {
        self.removals.load(Ordering::SeqCst)
    }

    /// Punches the space of `places` out of their segments. What fails is tried again at the next start.
    pub(crate) fn punch(&self, places: &[Place]) {
        if places.is_empty() {
            return;
        }
        self.removals.fetch_add(1, Ordering::SeqCst);
        let mut spaces: HashMap<SegmentId, Vec<(u64, u64)>> = HashMap::new();
        for place in places {
            spaces.entry(place.segment).or_default().push(place.space());
        }
        for (segment, mut spaces) in spaces {
            spaces.sort_unstable();
            spaces.dedup_by(|next, before| {
                let joined = next.0 <= before.1;
                if joined {
                    before.1 = before.1.max(next.1);
                }
                joined
            });
            if let Err(error) = self.punch_out(segment, &spaces) {
                tracing::warn!(segment = segment.0, %error, "space is not given back yet");
            }
        }
    }

    fn punch_out(&self, segment: SegmentId, spaces: &[(u64, u64)]) -> io::Result<()> {
        let file = self.opened(segment)?;
        spaces.iter().try_for_each(|(start, end)| file.punch(*start..*end))
    }

    /// A place for a record; a full segment is followed by a new one.
    fn reserve(&self, lane: usize, bytes: u64, extent: ExtentId) -> Result<Reserved, ExtentError> {
        let mut lane = self.lanes[lane].lock();
        let mut filled = None;
        let fits = |lane: &Lane| !lane.file.has_failed() && lane.end + bytes <= self.size_bytes_max;
        if !lane.as_ref().is_some_and(fits) {
            if let Some(full) = lane.take() {
                filled = self.table.fill(full.file.id);
            }
            let id = SegmentId(self.next.fetch_add(1, Ordering::Relaxed));
            let file = Arc::new(SegmentFile::create(&self.dir, id, SegmentKey::of(id, extent))?);
            self.table.add(id);
            *lane = Some(Lane { file, end: BLOCK_BYTES });
        }
        let lane = lane.as_mut().expect("made above");
        let offset = lane.end;
        lane.end += bytes;
        self.table.begin(lane.file.id);
        Ok(Reserved { file: lane.file.clone(), offset, filled })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use karri_ring_types::DataId;

    use super::*;
    use crate::records::Owner;

    fn run(id: u128, length: usize) -> Run {
        let owner = Owner { data: DataId(1), route: b"key".to_vec() };
        Run { extent: ExtentId(id), owner, first_chunk: 0, chunks: vec![Bytes::from(vec![id as u8; length])] }
    }

    #[test]
    fn a_full_segment_is_closed_when_all_is_decided_and_removed_when_nothing_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let (segments, unread) = Segments::open_with(DiskPath::host(dir.path()), &[], 80 << 10).unwrap();
        assert_eq!(unread, []);
        let first = segments.append(&run(1, 30_000), None).unwrap();
        let second = segments.append(&run(2, 30_000), None).unwrap();
        let (at_first, at_second) = (first.places.clone(), second.places.clone());
        let other = segments.append(&run(3, 30_000), None).unwrap();
        assert_ne!(other.segment, first.segment);
        assert_eq!(segments.decide(other, true), Changes::default());
        assert_eq!(segments.decide(first, true), Changes::default(), "the second is undecided");
        let full = at_first[0].segment;
        assert_eq!(segments.decide(second, true), Changes { to_close: vec![full], to_remove: vec![] });
        assert_eq!(segments.release(&at_first), Changes::default(), "it is not closed");
        assert_eq!(segments.close(full), Changes::default(), "it holds the second");
        segments.remove(full).unwrap();
        let mut bytes = Vec::new();
        segments.read(&at_second[0], 30_000, &mut bytes).unwrap();
        assert_eq!(bytes, vec![2; 30_000]);
        let empty = Changes { to_close: vec![], to_remove: vec![full] };
        assert_eq!(segments.release(&at_second), empty);
        segments.remove(full).unwrap();
        assert_eq!(DiskPath::host(dir.path()).join(full.file_name()).exists().ok(), Some(false));
    }

    #[test]
    fn records_are_found_again_around_what_was_punched_out() {
        let dir = tempfile::tempdir().unwrap();
        let (segments, _) = Segments::open_with(DiskPath::host(dir.path()), &[], 1 << 30).unwrap();
        let mut places = Vec::new();
        for id in 1..=4 {
            let appended = segments.append(&run(id, 300_000), None).unwrap();
            places.extend(appended.places.clone());
            assert_eq!(segments.decide(appended, true), Changes::default());
        }
        let _ = segments.release(&places[1..3]);
        let (again, unread) = Segments::open(DiskPath::host(dir.path()), &[]).unwrap();
        let mut found = Vec::new();
        let each = |scan: &Scan<'_>, record: Found| {
            assert!(scan.is_whole(&record)?);
            found.push(record.places[0]);
            Ok(())
        };
        again.scan(unread[0], each).unwrap();
        assert_eq!(found, [places[0], places[3]]);
    }
}
