//! What the garbage collector and the orphan sweep do with rows that only this crate can read.

use karri_ring_meta::{EvaluateError, View};
use karri_ring_node::{Owner, Verdict as ExtentVerdict};
use karri_ring_types::{DataId, ExtentId};

use crate::keys::{self, CONDEMNED, GARBAGE, OPERATIONS};
use crate::messages::{Answer, Collected, Command, Query, Verdict};
use crate::records::{CondemnedRecord, Loan, OperationRecord, decode};
use crate::{ObjectService, ServiceError};

/// Steps that one piece of garbage may take in a row: a 5 TiB object of 10,000 parts takes 50.
const STEPS_MAX: usize = 200;
/// Rows that one page looks at.
const ROWS_LOOKED_AT_MAX: usize = 10_000;

/// A body of data that something gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    route: Vec<u8>,
    data: DataId,
}

/// Work found in one range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbagePage {
    /// To be collected.
    pub garbage: Vec<Garbage>,
    /// Where the next page begins; empty when this was the last.
    pub resume: Vec<u8>,
}

/// Guards that may have outlived their use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    condemned: Vec<Vec<u8>>,
    operations: Vec<Vec<u8>>,
}

fn malformed(error: &crate::records::Unreadable) -> EvaluateError {
    EvaluateError::Malformed(error.to_string())
}

impl ObjectService {
    /// Garbage of a range that this node leads, from `from` on.
    pub fn find_garbage(view: &mut View<'_>, from: &[u8], limit: usize) -> Result<GarbagePage, EvaluateError> {
        let mut page = GarbagePage::default();
        for row in view.scan(GARBAGE, from, &[])? {
            let (key, _) = row?;
            if page.garbage.len() == limit {
                page.resume = key;
                break;
            }
            page.garbage.extend(parse(&key));
        }
        Ok(page)
    }

    /// Condemned data whose extents could not all be deleted yet, and guards that may be old, from `from` on.
    pub fn find_condemned(
        view: &mut View<'_>,
        from: &[u8],
        limit: usize,
    ) -> Result<(GarbagePage, Guards), EvaluateError> {
        let mut page = GarbagePage::default();
        let mut guards = Guards::default();
        for (looked_at, row) in view.scan(CONDEMNED, from, &[])?.enumerate() {
            let (key, value) = row?;
            if page.garbage.len() == limit || looked_at == ROWS_LOOKED_AT_MAX {
                page.resume = key;
                break;
            }
            let record: CondemnedRecord = decode(&value).map_err(|error| malformed(&error))?;
            if !record.is_done() {
                page.garbage.extend(parse(&key));
            } else if !record.orphan && guards.condemned.len() < limit {
                guards.condemned.push(key);
            }
        }
        for row in view.scan(OPERATIONS, &[], &[])?.take(limit) {
            let (key, value) = row?;
            decode::<OperationRecord>(&value).map_err(|error| malformed(&error))?;
            guards.operations.push(key);
        }
        Ok((page, guards))
    }

    /// Collects a piece of garbage as far as it can be now; tells whether anything of it is left.
    pub async fn collect(&self, garbage: &Garbage) -> Result<bool, ServiceError> {
        let Garbage { route, data } = garbage;
        for _ in 0..STEPS_MAX {
            let command = Command::Collect { route: route.clone(), data: *data };
            match self.execute::<Collected>(route, crate::records::encode(&command)).await? {
                Collected::Nothing => return Ok(false),
                Collected::Again => {}
                Collected::Release { loan, data: lent } => self.release(route, *data, &loan, lent).await?,
                Collected::Delete(extents) => {
                    // The condemned row is committed: only now may bytes go.
                    if !self.extents.delete(&extents).await {
                        return Ok(true);
                    }
                    let done = Command::ExtentsDeleted { route: route.clone(), data: *data };
                    self.execute::<()>(route, crate::records::encode(&done)).await?;
                }
            }
        }
        Ok(true)
    }

    async fn release(&self, route: &[u8], data: DataId, loan: &Loan, lent: DataId) -> Result<(), ServiceError> {
        let release = Command::ReleaseHolder { route: loan.route.clone(), data: lent, holder: loan.holder };
        self.command::<()>(&loan.route, &release).await??;
        let released = Command::LoanReleased { route: route.to_vec(), data };
        self.execute::<()>(route, crate::records::encode(&released)).await
    }

    /// Removes guards that are old enough by the range's own clock.
    pub async fn expire(&self, guards: Guards) -> Result<(), ServiceError> {
        let Some(route) = guards.condemned.first().or(guards.operations.first()).cloned() else { return Ok(()) };
        let Guards { condemned, operations } = guards;
        self.execute::<()>(&route, crate::records::encode(&Command::Expire { condemned, operations })).await
    }

    /// The committed verdict on an extent that a node holds.
    pub async fn verdict(&self, owner: &Owner, extent: ExtentId) -> Result<ExtentVerdict, ServiceError> {
        let question = Query::Referenced { row: owner.route.clone(), data: owner.data, extent };
        if self.query::<bool>(&owner.route, &question).await? {
            return Ok(ExtentVerdict::Referenced);
        }
        let command = Command::Condemn { row: owner.route.clone(), data: owner.data, extents: vec![extent] };
        Ok(match self.execute::<Verdict>(&owner.route, crate::records::encode(&command)).await? {
            Verdict::Referenced => ExtentVerdict::Referenced,
            Verdict::Condemned => ExtentVerdict::Condemned,
        })
    }
}

fn parse(key: &[u8]) -> Option<Garbage> {
    let row = keys::parse(key)?;
    Some(Garbage { route: row.route.to_vec(), data: DataId(keys::parse_id(row.rest)?) })
}
