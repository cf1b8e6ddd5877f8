//! Moves of versions to classes whose bytes are kept in another way: new parts are kept as they come, then the version
//! is given its new bytes and the collector the former ones.

use karri_ring_meta::EvaluateError;
use karri_ring_types::{DataId, Timestamp, VersionId};

use super::is_stale;
use super::objects::discard;
use super::updates::Changing;
use super::versions::{self, bucket_state};
use crate::keys::{self, CONDEMNED, GARBAGE, MOVES, PARTS};
use crate::messages::{Answer, Refusal, Written};
use crate::moves::{MoveCommand, StageCommand, Staged};
use crate::records::{
    Data, GarbageRecord, GarbageWork, MovingRecord, PartRecord, PartRun, decode_with_tail, encode_with_tail,
};
use crate::rows::{Rows, load, store};

/// A move that has come no further for so long is given up: the rule that wanted it may be gone.
pub(crate) const MOVE_AGE_MS_MAX: u64 = 3 * 24 * 60 * 60 * 1000;

/// Keeps parts that were written anew, and how far that has come.
pub(super) fn stage(
    rows: &mut dyn Rows,
    command: StageCommand,
    now: Timestamp,
) -> Result<Answer<Staged>, EvaluateError> {
    let StageCommand { route, issued, version, class, from, data, parts } = command;
    if bucket_state(rows, &route)?.is_none() {
        return Ok(Err(Refusal::NoSuchBucket));
    }
    if is_stale(issued, now) {
        return Ok(Err(Refusal::Stale));
    }
    let Some((record, _)) = versions::version(rows, &route, version)? else {
        return Ok(Err(Refusal::NoSuchVersion));
    };
    if record.data.garbage_id() != Some(from) {
        return Ok(Err(Refusal::SourceChanged));
    }
    let row = keys::version(&route, version);
    let there = match load::<MovingRecord>(rows, MOVES, &row)? {
        Some(there) if there.from == from && there.class == class => Some(there),
        Some(_) => {
            give_up(rows, &route, version, now)?;
            None
        }
        None => None,
    };
    let mut moving = match there {
        Some(there) if parts.is_empty() => return Ok(Ok(Staged { data: there.data, last: there.last })),
        // Another node is at it too.
        Some(there) if there.data != data => return Ok(Err(Refusal::SourceChanged)),
        Some(there) => there,
        None if !parts.is_empty() => return Ok(Err(Refusal::SourceChanged)),
        None => MovingRecord { since: now, from, class, data, last: 0 },
    };
    if is_condemned(rows, &route, Some(data))? {
        return Ok(Err(Refusal::Condemned));
    }
    for (number, part) in parts {
        let key = keys::part(&route, data, number);
        match rows.get(PARTS, &key)? {
            Some(there) if there == part => continue,
            Some(_) => return Ok(Err(Refusal::SourceChanged)),
            None => {}
        }
        let written = decode_with_tail::<PartRecord>(&part)?.0.data.garbage_id();
        if number <= moving.last {
            return Ok(Err(Refusal::SourceChanged));
        }
        if is_condemned(rows, &route, written)? {
            return Ok(Err(Refusal::Condemned));
        }
        rows.put(PARTS, key, part);
        moving.last = number;
    }
    moving.since = now;
    let staged = Staged { data, last: moving.last };
    store(rows, MOVES, row, &moving);
    Ok(Ok(staged))
}

fn is_condemned(rows: &mut dyn Rows, route: &[u8], data: Option<DataId>) -> Result<bool, EvaluateError> {
    match data {
        Some(id) => Ok(rows.get(CONDEMNED, &keys::with_id(route, id.0))?.is_some()),
        None => Ok(false),
    }
}

/// Names the bytes of a version that were written anew, and hands the former ones to the collector.
pub(super) fn move_to_class(
    rows: &mut dyn Rows,
    command: MoveCommand,
    now: Timestamp,
) -> Result<Answer<Written>, EvaluateError> {
    let MoveCommand { route, issued, operation, version, class, from, data } = command;
    let mut changing = match Changing::begin(rows, &route, version, operation, issued, now)? {
        Ok(changing) => changing,
        Err(answer) => return Ok(answer),
    };
    let record = &mut changing.record;
    if record.data.garbage_id() != Some(from) {
        return Ok(Err(Refusal::SourceChanged));
    }
    if is_condemned(rows, &route, data.garbage_id())? {
        return Ok(Err(Refusal::Condemned));
    }
    if let Data::Parts { data: new, runs, .. } = &data {
        let moving = load::<MovingRecord>(rows, MOVES, &keys::version(&route, version))?;
        let end = runs.last().map(|PartRun { first, count, .. }| first + (count - 1));
        if moving.is_none_or(|moving| moving.data != *new || moving.class != class || Some(moving.last) != end) {
            return Ok(Err(Refusal::SourceChanged));
        }
        rows.delete(MOVES, keys::version(&route, version));
    }
    discard(rows, &route, std::mem::replace(&mut record.data, data), now);
    record.description.storage_class = class;
    record.restored_until = None;
    let row = encode_with_tail(record, &[]);
    changing.end(rows, &route, row, now).map(Ok)
}

/// Hands the new parts of a move that will not be ended to the collector.
pub(super) fn give_up(
    rows: &mut dyn Rows,
    route: &[u8],
    version: VersionId,
    now: Timestamp,
) -> Result<(), EvaluateError> {
    give_up_row(rows, keys::version(route, version), route, now, |_| true)
}

/// As [`give_up`], of moves that have come no further for long.
pub(super) fn expire(rows: &mut dyn Rows, row: Vec<u8>, now: Timestamp) -> Result<(), EvaluateError> {
    let Some(route) = keys::parse(&row).map(|parsed| parsed.route.to_vec()) else { return Ok(()) };
    let is_old = |moving: &MovingRecord| now.as_millis().saturating_sub(moving.since.as_millis()) > MOVE_AGE_MS_MAX;
    give_up_row(rows, row, &route, now, is_old)
}

fn give_up_row(
    rows: &mut dyn Rows,
    row: Vec<u8>,
    route: &[u8],
    now: Timestamp,
    which: impl Fn(&MovingRecord) -> bool,
) -> Result<(), EvaluateError> {
    if let Some(moving) = load::<MovingRecord>(rows, MOVES, &row)?.filter(which) {
        rows.delete(MOVES, row);
        let garbage = GarbageRecord { since: now, work: GarbageWork::Parts };
        store(rows, GARBAGE, keys::with_id(route, moving.data.0), &garbage);
    }
    Ok(())
}
