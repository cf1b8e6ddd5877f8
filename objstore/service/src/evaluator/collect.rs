//! The collector's steps. Extents are only ever deleted after a committed row in [`CONDEMNED`] names them.

use karri_ring_meta::EvaluateError;
use karri_ring_types::{DataId, Timestamp};

use super::objects::discard;
use crate::keys::{self, COMPLETED, CONDEMNED, GARBAGE, HOLDERS, OPERATIONS, PARTS, RELEASED};
use crate::messages::Collected;
use crate::records::{
    CondemnedRecord, GarbageRecord, GarbageWork, OperationRecord, PartRecord, PartRun, decode_with_tail,
};
use crate::rows::{Rows, Step, any_with_prefix, load, store};

/// Parts that one step takes apart: a part of 5 GiB has 5 KiB of extents, a transaction at most 4 MiB.
const PARTS_PER_STEP_MAX: usize = 200;

/// What guards against commands that arrive late is kept for this long; they are refused after less than half of it.
pub(crate) const GUARD_AGE_MS_MIN: u64 = 12 * 60 * 1000;

pub(super) fn collect(
    rows: &mut dyn Rows,
    route: &[u8],
    data: DataId,
    now: Timestamp,
) -> Result<Collected, EvaluateError> {
    let id = keys::with_id(route, data.0);
    let Some(garbage) = load::<GarbageRecord>(rows, GARBAGE, &id)? else {
        return collect_condemned(rows, route, data, now);
    };
    match garbage.work {
        GarbageWork::Loan { loan, data } => Ok(Collected::Release { loan, data }),
        GarbageWork::UnusedParts(used) => {
            let left = take_apart(rows, route, data, &used, now)?;
            if !left {
                rows.delete(GARBAGE, id);
            }
            Ok(if left { Collected::Again } else { Collected::Nothing })
        }
        work => {
            rows.delete(GARBAGE, id.clone());
            if any_with_prefix(rows, HOLDERS, &id, None)? {
                store(rows, RELEASED, id, &GarbageRecord { since: now, work });
                return Ok(Collected::Nothing);
            }
            let (extents, parts) = match work {
                GarbageWork::Extents(extents) => (extents.iter().map(|extent| extent.id).collect(), false),
                _ => (Vec::new(), true),
            };
            let record = CondemnedRecord { since: now, extents, parts, orphan: false };
            store(rows, CONDEMNED, id, &record);
            Ok(next_step(record))
        }
    }
}

fn collect_condemned(
    rows: &mut dyn Rows,
    route: &[u8],
    data: DataId,
    now: Timestamp,
) -> Result<Collected, EvaluateError> {
    let id = keys::with_id(route, data.0);
    let Some(mut record) = load::<CondemnedRecord>(rows, CONDEMNED, &id)? else {
        return Ok(Collected::Nothing);
    };
    if record.parts && !take_apart(rows, route, data, &[], now)? {
        rows.delete(COMPLETED, id.clone());
        record.parts = false;
        store(rows, CONDEMNED, id, &record);
    }
    Ok(next_step(record))
}

fn next_step(record: CondemnedRecord) -> Collected {
    match (record.parts, record.extents.is_empty()) {
        (true, _) => Collected::Again,
        (false, true) => Collected::Nothing,
        (false, false) => Collected::Delete(record.extents),
    }
}

/// Makes garbage of some parts of an upload that are not used; tells whether there are more.
fn take_apart(
    rows: &mut dyn Rows,
    route: &[u8],
    upload: DataId,
    used: &[PartRun],
    now: Timestamp,
) -> Result<bool, EvaluateError> {
    let prefix = keys::with_id(route, upload.0);
    let mut taken = Vec::new();
    let mut left = false;
    rows.scan(PARTS, &prefix, &keys::successor(&prefix), &mut |key, row| {
        let number = keys::parse_part(&key[route.len()..]).map_or(0, |(_, number)| number);
        if let Some(run) = used.iter().find(|run| (run.first..run.first + run.count).contains(&number)) {
            return Ok(Step::Seek(keys::part(route, upload, run.first + run.count)));
        }
        if taken.len() == PARTS_PER_STEP_MAX {
            left = true;
            return Ok(Step::Stop);
        }
        taken.push((key.to_vec(), decode_with_tail::<PartRecord>(row)?.0.data));
        Ok(Step::Next)
    })?;
    for (key, data) in taken {
        discard(rows, route, data, now);
        rows.delete(PARTS, key);
    }
    Ok(left)
}

/// Forgets a loan that was given back. Commands that would use it again may still arrive.
pub(super) fn loan_released(
    rows: &mut dyn Rows,
    route: &[u8],
    holder: DataId,
    now: Timestamp,
) -> Result<(), EvaluateError> {
    let id = keys::with_id(route, holder.0);
    if rows.get(GARBAGE, &id)?.is_some() {
        rows.delete(GARBAGE, id.clone());
        let guard = CondemnedRecord { since: now, extents: Vec::new(), parts: false, orphan: false };
        store(rows, CONDEMNED, id, &guard);
    }
    Ok(())
}

pub(super) fn extents_deleted(rows: &mut dyn Rows, route: &[u8], data: DataId) -> Result<(), EvaluateError> {
    let id = keys::with_id(route, data.0);
    if let Some(mut record) = load::<CondemnedRecord>(rows, CONDEMNED, &id)? {
        record.extents.clear();
        store(rows, CONDEMNED, id, &record);
    }
    Ok(())
}

pub(super) fn expire(
    rows: &mut dyn Rows,
    condemned: Vec<Vec<u8>>,
    operations: Vec<Vec<u8>>,
    moves: Vec<Vec<u8>>,
    now: Timestamp,
) -> Result<(), EvaluateError> {
    for row in moves {
        super::moves::expire(rows, row, now)?;
    }
    let old = |since: Timestamp| now.as_millis().saturating_sub(since.as_millis()) > GUARD_AGE_MS_MIN;
    for key in condemned {
        let record: Option<CondemnedRecord> = load(rows, CONDEMNED, &key)?;
        if record.is_some_and(|record| record.is_done() && !record.orphan && old(record.since)) {
            rows.delete(CONDEMNED, key);
        }
    }
    for key in operations {
        let record: Option<OperationRecord> = load(rows, OPERATIONS, &key)?;
        if record.is_some_and(|record| old(record.since)) {
            rows.delete(OPERATIONS, key);
        }
    }
    Ok(())
}
