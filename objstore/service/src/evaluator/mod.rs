//! Decisions on objects: what a command changes and a query answers, over the rows of one range. No IO beyond
//! them, so tests drive it over a map.

mod collect;
mod configs;
mod directory;
mod listing;
mod meter;
mod metering;
mod moves;
mod objects;
mod renames;
mod sharing;
mod state;
mod updates;
mod uploads;
mod versions;

use karri_ring_meta::{EvaluateError, Evaluator, Latches, Table, View};
use karri_ring_types::Timestamp;
use serde::Serialize;

pub(crate) use collect::GUARD_AGE_MS_MIN;
pub(crate) use directory::DirectoryEvaluator;
#[cfg(test)]
pub(crate) use directory::{answer as answer_directory, evaluate as evaluate_directory};
pub(crate) use listing::first_row;
pub(crate) use moves::MOVE_AGE_MS_MAX;
pub(crate) use sharing::is_referenced;

use crate::BucketConfigKind;
use crate::inspect;
use crate::keys::{self, BUCKETS, BucketId, GARBAGE, LIFECYCLE, METERS, PARTS, UPLOADS, USAGE, VERSIONS};
use crate::lifecycle;
use crate::messages::{Answer, Command, Query, Refusal};
use crate::records::{BucketRecord, UsageRecord, decode, decode_with_tail, encode};
use crate::rows::{Rows, load, store};

/// First byte of the answer to [`Query::Object`]: no such bucket.
pub(crate) const OBJECT_NO_BUCKET: u8 = 0;
/// No such key or version.
pub(crate) const OBJECT_NO_KEY: u8 = 1;
/// The bucket's settings and the row of the version follow.
pub(crate) const OBJECT_FOUND: u8 = 2;

/// A command that was under way for longer than this is refused: what it would collide with is forgotten later.
/// Clocks of nodes that differ by more than this are a fault of the cluster.
const COMMAND_AGE_MS_MAX: u64 = 5 * 60 * 1000;

/// The evaluator of buckets and objects.
#[derive(Debug, Default)]
pub(crate) struct ObjectEvaluator;

impl Evaluator for ObjectEvaluator {
    fn latches(&self, command: &[u8]) -> Latches {
        match decode_with_tail::<Command>(command) {
            Ok((Command::Within { .. }, tail)) => match decode_with_tail::<Command>(&command[command.len() - tail..]) {
                Ok((inner, _)) => {
                    let mut latches = latches(&inner);
                    let route = metering::metered_route(&inner).unwrap_or_default();
                    latches.exclusive.push(latch(USAGE, route.get(..16).unwrap_or(route)));
                    latches
                }
                Err(_) => Latches::default(),
            },
            Ok((command, _)) => latches(&command),
            Err(_) => Latches::default(),
        }
    }

    fn evaluate(&self, view: &mut View<'_>, command: &[u8], now: Timestamp) -> Result<Vec<u8>, EvaluateError> {
        evaluate(view, command, now)
    }

    fn query(&self, view: &mut View<'_>, query: &[u8]) -> Result<Vec<u8>, EvaluateError> {
        answer(view, query)
    }
}

/// Carries out a command.
pub(crate) fn evaluate(rows: &mut dyn Rows, command: &[u8], now: Timestamp) -> Result<Vec<u8>, EvaluateError> {
    let (decoded, tail) = decode_with_tail::<Command>(command)?;
    let tail = &command[command.len() - tail..];
    match decoded {
        Command::Within { quota, reservation } => metering::within(rows, &quota, reservation, tail, now),
        decoded if metering::metered_route(&decoded).is_some() => metering::plain(rows, decoded, tail, now),
        decoded => carry_out(rows, decoded, tail, now),
    }
}

fn carry_out(rows: &mut dyn Rows, decoded: Command, tail: &[u8], now: Timestamp) -> Result<Vec<u8>, EvaluateError> {
    match decoded {
        Command::CreateBucket { id, record, documents } => reply(&create_bucket(rows, id, &record, documents)?),
        Command::DeleteBucket { id } => reply(&delete_bucket(rows, id)?),
        Command::PutBucketConfig { id, kind, operation } => {
            reply(&configs::change(rows, id, kind, operation, Some(tail))?)
        }
        Command::DeleteBucketConfig { id, kind, operation } => {
            reply(&configs::change(rows, id, kind, operation, None)?)
        }
        Command::Put(put) => reply(&objects::put(rows, *put, tail, now)?),
        Command::CopyWithin(copy) => reply(&objects::copy_within(rows, *copy, now)?),
        Command::Rename(rename) => reply(&renames::rename(rows, *rename, now)?),
        Command::Delete(delete) => reply(&objects::delete(rows, *delete, now)?),
        Command::Mark(mark) => reply(&objects::mark(rows, *mark, now)?),
        Command::Update(update) => reply(&updates::update(rows, *update, now)?),
        Command::Move(moving) => reply(&moves::move_to_class(rows, *moving, now)?),
        Command::Stage(stage) => reply(&moves::stage(rows, *stage, now)?),
        Command::ChangeBucket { id, operation, issued, change } => {
            reply(&updates::change_bucket(rows, id, operation, issued, change, now)?)
        }
        Command::CreateUpload { route, upload, record } => reply(&uploads::create(rows, &route, upload, *record, now)?),
        Command::PutPart { route, upload, number, record } => {
            reply(&uploads::put_part(rows, &route, upload, number, *record, tail, now)?)
        }
        Command::Complete(complete) => reply(&uploads::complete(rows, *complete, now)?),
        Command::AbortUpload { route, upload } => reply(&uploads::abort(rows, &route, upload, now)?),
        Command::AddHolder { route, data, holder, proof } => {
            reply(&sharing::add_holder(rows, &route, data, holder, &proof)?)
        }
        Command::Hold { route, issued, data, holder, proof, row } => {
            reply(&sharing::hold(rows, &route, issued, (data, holder), &proof, row, now)?)
        }
        Command::ReleaseHolder { route, data, holder } => {
            reply(&sharing::release_holder(rows, &route, data, holder, now)?)
        }
        Command::HoldingSettled { route, holder, .. } => reply(&sharing::holding_settled(rows, &route, holder)?),
        Command::HoldingUnused { route, data, holder } => {
            reply(&sharing::holding_unused(rows, &route, data, holder, now)?)
        }
        Command::Condemn { row, data, extents } => reply(&sharing::condemn(rows, &row, data, extents, now)?),
        Command::Collect { route, data } => reply(&collect::collect(rows, &route, data, now)?),
        Command::LoanReleased { route, data } => reply(&collect::loan_released(rows, &route, data, now)?),
        Command::LifecycleProgress { id, progress } => reply(&lifecycle::progress_rows(rows, id, &progress)?),
        Command::ExtentsDeleted { route, data } => reply(&collect::extents_deleted(rows, &route, data)?),
        Command::Expire { condemned, operations, moves } => {
            reply(&collect::expire(rows, condemned, operations, moves, now)?)
        }
        Command::Count { id, account } => reply(&metering::count(rows, id, account)?),
        Command::Fence { id } => reply(&metering::fence(rows, id)?),
        Command::Meter { meter, change } => meter::change(rows, meter, change, now),
        Command::Within { .. } => Err(EvaluateError::Malformed("a quota within a quota".to_owned())),
    }
}

/// Answers a query.
pub(crate) fn answer(rows: &mut dyn Rows, query: &[u8]) -> Result<Vec<u8>, EvaluateError> {
    match decode::<Query>(query)? {
        Query::Bucket { id } => reply(&load::<BucketRecord>(rows, BUCKETS, &id.0)?),
        Query::Settings { id, known } => reply(&configs::settings(rows, id, known)?),
        Query::Object { route, version } => state::find(rows, &route, version, state::Body::Kept),
        Query::Head { route, version } => state::find(rows, &route, version, state::Body::Dropped),
        Query::State { route, version } => reply(&state::state(rows, &route, version)?),
        Query::Upload { route, upload } => reply(&uploads::find(rows, &route, upload)?),
        Query::Parts { route, data, after, limit } => reply(&uploads::parts(rows, &route, data, after, limit)?),
        Query::List(list) => listing::list(rows, &list),
        Query::Usage { id } => reply(&metering::usage(rows, id)?),
        Query::Renamed { route, token } => reply(&renames::is_done(rows, &route, token)?),
        Query::Referenced { row, data, extent } => reply(&sharing::is_referenced(rows, &row, data, extent)?),
        Query::Inspect { cursor, extents_max } => reply(&inspect::evaluate(rows, &cursor, extents_max)?),
        Query::Holding { row } => reply(&inspect::is_held(rows, &row)?),
        Query::Standing { row, data, extent } => reply(&inspect::standing(rows, &row, data, extent)?),
    }
}

fn reply<T: Serialize>(value: &T) -> Result<Vec<u8>, EvaluateError> {
    Ok(encode(value))
}

/// What to hold: the bucket against its deletion, the object, upload, part or data that is decided on.
fn latches(command: &Command) -> Latches {
    let bucket = |route: &[u8]| latch(BUCKETS, route.get(..16).unwrap_or(route));
    let object = |route: &[u8]| latch(VERSIONS, route);
    let data = |route: &[u8], id: u128| latch(GARBAGE, &keys::with_id(route, id));
    let upload = |route: &[u8], id: u128| latch(UPLOADS, &keys::with_id(route, id));
    let (shared, exclusive) = match command {
        Command::CreateBucket { id, .. }
        | Command::DeleteBucket { id }
        | Command::ChangeBucket { id, .. }
        | Command::PutBucketConfig { id, .. }
        | Command::DeleteBucketConfig { id, .. } => (vec![], vec![latch(BUCKETS, &id.0)]),
        Command::Put(put) => (vec![bucket(&put.route)], vec![object(&put.route)]),
        Command::CopyWithin(copy) => (vec![bucket(&copy.route)], vec![object(&copy.route)]),
        Command::Rename(rename) => {
            let mut exclusive = vec![object(&rename.route), object(&rename.from)];
            exclusive.extend(rename.data.map(|id| data(&rename.from, id.0)));
            (vec![bucket(&rename.route)], exclusive)
        }
        Command::Delete(delete) => (vec![bucket(&delete.route)], vec![object(&delete.route)]),
        Command::Mark(mark) => (vec![bucket(&mark.route)], vec![object(&mark.route)]),
        Command::Move(moving) => (vec![bucket(&moving.route)], vec![object(&moving.route)]),
        Command::Stage(stage) => (vec![bucket(&stage.route)], vec![object(&stage.route)]),
        Command::Update(update) => (vec![bucket(&update.route)], vec![object(&update.route)]),
        Command::CreateUpload { route, upload: id, .. } => (vec![bucket(route)], vec![upload(route, id.0)]),
        Command::PutPart { route, upload: id, number, .. } => {
            (vec![bucket(route), upload(route, id.0)], vec![latch(PARTS, &keys::part(route, *id, *number))])
        }
        Command::Complete(complete) => {
            let exclusive = vec![object(&complete.route), upload(&complete.route, complete.upload.0)];
            (vec![bucket(&complete.route)], exclusive)
        }
        Command::AbortUpload { route, upload: id } => (vec![bucket(route)], vec![upload(route, id.0)]),
        Command::AddHolder { route, data: id, .. }
        | Command::Hold { route, data: id, .. }
        | Command::HoldingSettled { route, data: id, .. }
        | Command::HoldingUnused { route, data: id, .. }
        | Command::ReleaseHolder { route, data: id, .. }
        | Command::Collect { route, data: id }
        | Command::LoanReleased { route, data: id }
        | Command::ExtentsDeleted { route, data: id } => (vec![], vec![data(route, id.0)]),
        Command::Condemn { row, data: id, .. } => {
            let route = sharing::route_of(row);
            let mut exclusive = vec![data(route, id.0)];
            if row == route {
                // It looks for versions, and would not see one that is written and hidden again before it is applied.
                exclusive.push(object(route));
            }
            (vec![], exclusive)
        }
        Command::LifecycleProgress { id, .. } => (vec![latch(BUCKETS, &id.0)], vec![latch(LIFECYCLE, &id.0)]),
        Command::Count { id, .. } => (vec![], vec![latch(BUCKETS, &id.0), latch(USAGE, &id.0)]),
        Command::Fence { id } => (vec![], vec![latch(USAGE, &id.0)]),
        Command::Meter { meter, .. } => (vec![], vec![latch(METERS, &meter.0)]),
        // Those of the command in it, and the counter's.
        Command::Within { .. } => (vec![], vec![]),
        Command::Expire { .. } => (vec![], vec![]),
    };
    Latches { shared, exclusive }
}

fn latch(table: Table, key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(1 + key.len());
    name.push(table.0);
    name.extend_from_slice(key);
    name
}

/// Whether a command may have been forgotten about by those it would collide with.
fn is_stale(issued: Timestamp, now: Timestamp) -> bool {
    now.as_millis().saturating_sub(issued.as_millis()) > COMMAND_AGE_MS_MAX
}

/// Whether the bucket of this route is there. A range that does not hold the bucket's record cannot tell.
fn bucket_exists(rows: &mut dyn Rows, route: &[u8]) -> Result<bool, EvaluateError> {
    let id = route.get(..16).ok_or_else(|| EvaluateError::Malformed("route without a bucket".to_owned()))?;
    Ok(!rows.holds(id) || rows.get(BUCKETS, id)?.is_some())
}

fn create_bucket(
    rows: &mut dyn Rows,
    id: BucketId,
    record: &BucketRecord,
    documents: Vec<(BucketConfigKind, Vec<u8>)>,
) -> Result<Answer<()>, EvaluateError> {
    if documents.iter().any(|(kind, document)| document.len() > kind.size_bytes_max()) {
        return Ok(Err(Refusal::DocumentTooLarge));
    }
    if rows.get(BUCKETS, &id.0)?.is_none() {
        configs::begin(rows, id, documents);
        if record.metered {
            metering::begin(rows, id);
        }
        store(rows, BUCKETS, id.0.to_vec(), record);
    }
    Ok(Ok(()))
}

fn delete_bucket(rows: &mut dyn Rows, id: BucketId) -> Result<Answer<bool>, EvaluateError> {
    if rows.get(BUCKETS, &id.0)?.is_none() {
        return Ok(Err(Refusal::NoSuchBucket));
    }
    if crate::rows::any_with_prefix(rows, VERSIONS, &id.0, None)? {
        return Ok(Err(Refusal::BucketNotEmpty));
    }
    let uploads = uploads::some_of_bucket(rows, id)?;
    if !uploads.is_empty() {
        return Ok(Err(Refusal::HasUploads(uploads)));
    }
    lifecycle::drop_progress(rows, id)?;
    rows.delete(BUCKETS, id.0.to_vec());
    let usage = load::<UsageRecord>(rows, USAGE, &id.0)?;
    if usage.is_some() {
        rows.delete(USAGE, id.0.to_vec());
    }
    configs::delete_all(rows, id)?;
    Ok(Ok(usage.is_some_and(|usage| usage.account)))
}
