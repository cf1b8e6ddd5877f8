//! Deletions against writes of the same extents, over the real table of segments and the real turns of extents: what is
//! wanted is counted once, and a segment goes when it is closed and nothing in it is wanted, no sooner and no later.

use std::collections::BTreeMap;
use std::sync::Arc;

use karri_ring_types::ExtentId;
use shuttle::thread;

use crate::Mutex;
use crate::segment::record::{Place, SegmentId};
use crate::segment::{Changes, Segments};
use crate::turns::Turns;

const SEGMENT: SegmentId = SegmentId(1);

/// When a run is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the store does it.
    BeforeTheTurnEnds,
    /// A planted fault, which the store had: a deletion may come in between.
    AfterTheTurn,
    /// A planted fault: a write does not look whether the extent was deleted.
    TombstonesForgotten,
}

/// What one thread does to the store.
type Work = Box<dyn FnOnce(&Store) + Send>;

#[derive(Default)]
struct Rows {
    /// `None`: deleted.
    extents: BTreeMap<u128, Option<Place>>,
    removed: Vec<SegmentId>,
}

struct Store {
    segments: Segments,
    turns: Turns,
    rows: Mutex<Rows>,
    order: Order,
}

/// One schedule: two extents are written, one of them twice, and deleted, and their segment fills up.
pub fn garbage_against_put(order: Order) {
    let segments = Segments::default();
    segments.add(SEGMENT);
    let store = Arc::new(Store { segments, turns: Turns::new(), rows: Mutex::default(), order });
    let work: Vec<Work> = vec![
        Box::new(|store| store.write(1, 4096)),
        Box::new(|store| store.write(1, 8192)),
        Box::new(|store| store.write(2, 16_384)),
        Box::new(|store| store.delete(1)),
        Box::new(|store| store.delete(2)),
    ];
    // What comes after the segment is full goes elsewhere.
    for _ in 0..3 {
        store.segments.begin(SEGMENT);
    }
    let threads: Vec<_> = work
        .into_iter()
        .map(|work| {
            let store = store.clone();
            thread::spawn(move || work(&store))
        })
        .collect();
    let filled = store.segments.fill(SEGMENT);
    store.heed(Changes { to_close: filled.into_iter().collect(), to_remove: Vec::new() });
    for thread in threads {
        thread.join().expect("it ends");
    }
    store.check();
}

impl Store {
    fn id(extent: u128) -> ExtentId {
        ExtentId(extent << 16)
    }

    /// As `ExtentStore::keep_run`, with rows in a map.
    fn write(&self, extent: u128, offset: u64) {
        let place = Place { segment: SEGMENT, offset };
        let turn = self.turns.of(Self::id(extent));
        let (kept, replaced) = {
            let mut rows = self.rows.lock();
            let buried = rows.extents.get(&extent) == Some(&None) && self.order != Order::TombstonesForgotten;
            if buried { (false, None) } else { (true, rows.extents.insert(extent, Some(place)).flatten()) }
        };
        let kept: &[Place] = if kept { &[place] } else { &[] };
        let changes = match self.order {
            Order::AfterTheTurn => {
                drop(turn);
                self.segments.decide(SEGMENT, kept)
            }
            _ => {
                let changes = self.segments.decide(SEGMENT, kept);
                drop(turn);
                changes
            }
        };
        self.heed(changes);
        self.heed(self.segments.release(replaced.as_slice()));
    }

    /// As `ExtentStore::delete`.
    fn delete(&self, extent: u128) {
        let place = {
            let _turns = self.turns.of_all(&[Self::id(extent)]);
            self.rows.lock().extents.insert(extent, None).flatten()
        };
        self.heed(self.segments.release(place.as_slice()));
    }

    fn heed(&self, changes: Changes) {
        let Changes { to_close, mut to_remove } = changes;
        for segment in to_close {
            to_remove.extend(self.segments.close(segment).to_remove);
        }
        for segment in to_remove {
            if self.segments.take_empty(segment) {
                self.rows.lock().removed.push(segment);
            }
        }
    }

    fn check(&self) {
        let rows = self.rows.lock();
        let wanted: u64 = rows.extents.values().flatten().count() as u64;
        assert!(rows.extents.values().all(Option::is_none), "what was deleted is back");
        match wanted {
            0 => assert_eq!(rows.removed, [SEGMENT], "a segment without anything stays, or goes twice"),
            _ => assert_eq!(self.segments.closed(), [(SEGMENT, wanted * 4096)], "a segment is counted wrong"),
        }
    }
}
