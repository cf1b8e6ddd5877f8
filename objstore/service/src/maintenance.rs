//! What the background work of `objstore/maintain` asks of the service: it finds garbage in the rows of a range and
//! has each piece of it decided on by that range.

use std::ops::Bound;

use karri_ring_meta::{EvaluateError, MetaError, View};
use karri_ring_types::{DataId, ExtentId, Timestamp, failpoint};

use crate::evaluator::{GUARD_AGE_MS_MIN, MOVE_AGE_MS_MAX};
use crate::keys::{self, CONDEMNED, GARBAGE, HOLDINGS, MOVES, OPERATIONS};
use crate::messages::{Collected, Command, Query, Verdict};
use crate::records::{
    CondemnedRecord, GarbageRecord, HoldingRecord, Loan, MovingRecord, OperationRecord, decode, encode,
};
use crate::rows::{Rows, Step};
use crate::sharing::Held;
use crate::{ObjectService, ServiceError};

/// Steps of one piece of garbage at a time; what is left is found again.
const STEPS_MAX: usize = 100;

/// A list that the collector works through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkList {
    /// What was deleted or replaced.
    Garbage,
    /// What is condemned and may have extents left.
    Condemned,
    /// Data that was held for a copy, whose commit was not seen yet.
    Holdings,
}

/// A piece of garbage, or a holding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkItem {
    /// Its row.
    pub row: Vec<u8>,
    /// When it became garbage, or was held.
    pub since: Timestamp,
    work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Garbage { route: Vec<u8>, data: DataId },
    Holding(Held),
}

/// A page of a work list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkPage {
    /// What there is to do.
    pub items: Vec<WorkItem>,
    /// Where to go on; `None`: the list is at its end.
    pub next: Option<Vec<u8>>,
}

/// What became of a piece of garbage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectOutcome {
    /// Extents that were deleted everywhere.
    pub extents_deleted: u64,
    /// Whether something is left that a node which does not answer holds.
    pub incomplete: bool,
}

/// Rows that have outlived their use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    condemned: Vec<Vec<u8>>,
    operations: Vec<Vec<u8>>,
    moves: Vec<Vec<u8>>,
}

impl Expired {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.condemned.len() + self.operations.len() + self.moves.len()
    }
}

/// Reads a page of a work list from the rows of a range that this node leads: up to `limit` rows after `after`.
///
/// # Errors
/// When the store fails.
pub fn work(view: &mut View<'_>, list: WorkList, after: Bound<&[u8]>, limit: usize) -> Result<WorkPage, ServiceError> {
    work_rows(view, list, after, limit).map_err(evaluate_error)
}

pub(crate) fn work_rows(
    rows: &mut dyn Rows,
    list: WorkList,
    after: Bound<&[u8]>,
    limit: usize,
) -> Result<WorkPage, EvaluateError> {
    let table = match list {
        WorkList::Garbage => GARBAGE,
        WorkList::Condemned => CONDEMNED,
        WorkList::Holdings => HOLDINGS,
    };
    let start = first_after(after);
    let mut page = WorkPage::default();
    let mut seen = 0;
    rows.scan(table, &start, &[], &mut |key, row| {
        if seen == limit {
            return Ok(Step::Stop);
        }
        seen += 1;
        page.next = Some(key.to_vec());
        if let Some(parsed) = keys::parse(key)
            && let Some(id) = keys::parse_id(parsed.rest)
        {
            let route = parsed.route.to_vec();
            page.items.extend(work_item(list, key, row, route, DataId(id))?);
        }
        Ok(Step::Next)
    })?;
    if seen < limit {
        page.next = None;
    }
    Ok(page)
}

/// What there is to do about a row.
fn work_item(
    list: WorkList,
    key: &[u8],
    row: &[u8],
    route: Vec<u8>,
    id: DataId,
) -> Result<Option<WorkItem>, EvaluateError> {
    let (since, work) = match list {
        WorkList::Garbage => (decode::<GarbageRecord>(row)?.since, Work::Garbage { route, data: id }),
        WorkList::Condemned => {
            let record: CondemnedRecord = decode(row)?;
            if record.is_done() {
                return Ok(None);
            }
            (record.since, Work::Garbage { route, data: id })
        }
        WorkList::Holdings => {
            let HoldingRecord { since, data, row } = decode(row)?;
            (since, Work::Holding(Held { loan: Loan { route, holder: id }, data, row }))
        }
    };
    Ok(Some(WorkItem { row: key.to_vec(), since, work }))
}

/// Finds rows that have outlived their use in up to `limit` rows each of three tables after `after`.
///
/// # Errors
/// When the store fails.
pub fn expired(
    view: &mut View<'_>,
    after: Bound<&[u8]>,
    limit: usize,
    now: Timestamp,
) -> Result<(Expired, Option<Vec<u8>>), ServiceError> {
    expired_rows(view, after, limit, now).map_err(evaluate_error)
}

pub(crate) fn expired_rows(
    rows: &mut dyn Rows,
    after: Bound<&[u8]>,
    limit: usize,
    now: Timestamp,
) -> Result<(Expired, Option<Vec<u8>>), EvaluateError> {
    let old = |since: Timestamp| now.as_millis().saturating_sub(since.as_millis()) > GUARD_AGE_MS_MIN;
    let start = first_after(after);
    let mut found = Expired::default();
    let mut next: Option<Vec<u8>> = None;
    for table in [CONDEMNED, OPERATIONS, MOVES] {
        // Each table is looked at as far as the one before.
        let end = next.as_deref().map_or(Vec::new(), |last| first_after(Bound::Excluded(last)));
        let mut last: Option<Vec<u8>> = None;
        let mut seen = 0;
        rows.scan(table, &start, &end, &mut |key, row| {
            if seen == limit {
                next = last.take();
                return Ok(Step::Stop);
            }
            seen += 1;
            last = Some(key.to_vec());
            if table == CONDEMNED {
                let record: CondemnedRecord = decode(row)?;
                if record.is_done() && !record.orphan && old(record.since) {
                    found.condemned.push(key.to_vec());
                }
            } else if table == MOVES {
                let age_ms = now.as_millis().saturating_sub(decode::<MovingRecord>(row)?.since.as_millis());
                if age_ms > MOVE_AGE_MS_MAX {
                    found.moves.push(key.to_vec());
                }
            } else if old(decode::<OperationRecord>(row)?.since) {
                found.operations.push(key.to_vec());
            }
            Ok(Step::Next)
        })?;
    }
    Ok((found, next))
}

fn first_after(after: Bound<&[u8]>) -> Vec<u8> {
    match after {
        Bound::Unbounded => Vec::new(),
        Bound::Included(key) => key.to_vec(),
        Bound::Excluded(key) => [key, &[0]].concat(),
    }
}

pub(crate) fn evaluate_error(error: EvaluateError) -> ServiceError {
    match error {
        EvaluateError::Meta(MetaError::Unavailable) => ServiceError::Unavailable,
        other => ServiceError::Internal(other.to_string()),
    }
}

impl ObjectService {
    /// Does what there is to do about a piece of garbage, or finds out whether a holding is in use.
    ///
    /// # Errors
    /// `Unavailable`; what was left is found again.
    pub async fn collect(&self, item: &WorkItem) -> Result<CollectOutcome, ServiceError> {
        let (route, data) = match &item.work {
            Work::Garbage { route, data } => (route, *data),
            Work::Holding(held) => {
                self.look_after(held).await?;
                return Ok(CollectOutcome::default());
            }
        };
        let mut outcome = CollectOutcome::default();
        for _ in 0..STEPS_MAX {
            let collect = Command::Collect { route: route.clone(), data };
            match self.execute::<Collected>(route, encode(&collect)).await? {
                Collected::Nothing => break,
                Collected::Again => {}
                Collected::Release { loan, data: lent } => {
                    self.release(&loan, lent).await?;
                    let done = Command::LoanReleased { route: route.clone(), data };
                    self.execute::<()>(route, encode(&done)).await?;
                    break;
                }
                Collected::Delete(extents) => {
                    let deleted = self.delete_condemned(route, data, &extents).await?;
                    if deleted {
                        outcome.extents_deleted += extents.len() as u64;
                    }
                    outcome.incomplete = !deleted;
                    break;
                }
            }
        }
        Ok(outcome)
    }

    /// Deletes extents that a committed row condemns; tells whether all copies are gone.
    async fn delete_condemned(&self, route: &[u8], data: DataId, extents: &[ExtentId]) -> Result<bool, ServiceError> {
        failpoint(karri_ring_types::Step::GarbageReleased);
        let complete = self.extents.delete(extents).await;
        if complete {
            failpoint(karri_ring_types::Step::GarbageDeleted);
            let done = Command::ExtentsDeleted { route: route.to_vec(), data };
            self.execute::<()>(route, encode(&done)).await?;
            failpoint(karri_ring_types::Step::GarbageForgotten);
        }
        Ok(complete)
    }

    /// Condemns the extents of a write that failed and deletes them.
    pub(crate) async fn condemn_and_delete(
        &self,
        owner_route: &[u8],
        data: DataId,
        extents: Vec<ExtentId>,
    ) -> Result<(), ServiceError> {
        let condemn = Command::Condemn { row: owner_route.to_vec(), data, extents: extents.clone() };
        let verdict = self.execute::<Verdict>(owner_route, encode(&condemn)).await?;
        if verdict == Verdict::Condemned {
            let route = keys::parse(owner_route).map_or(owner_route, |parsed| parsed.route);
            self.delete_condemned(route, data, &extents).await?;
        }
        Ok(())
    }

    /// Decides on an extent that a storage node holds for `owner_route` and `data`: true when it is condemned by a
    /// committed row, and may be deleted.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn is_orphan(&self, owner_route: &[u8], data: DataId, extent: ExtentId) -> Result<bool, ServiceError> {
        let query = Query::Referenced { row: owner_route.to_vec(), data, extent };
        if self.query::<bool>(owner_route, &query).await? {
            return Ok(false);
        }
        let condemn = Command::Condemn { row: owner_route.to_vec(), data, extents: vec![extent] };
        Ok(self.execute::<Verdict>(owner_route, encode(&condemn)).await? == Verdict::Condemned)
    }

    /// Removes rows that have outlived their use, from the range that holds them.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn expire(&self, rows: Expired) -> Result<(), ServiceError> {
        let Expired { condemned, operations, moves } = rows;
        let Some(first) = condemned.iter().chain(&operations).chain(&moves).next() else { return Ok(()) };
        let route = first.clone();
        self.execute::<()>(&route, encode(&Command::Expire { condemned, operations, moves })).await
    }
}
