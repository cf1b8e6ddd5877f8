//! Who refers to data: holders of shared data, and verdicts on data that nobody refers to.

use karri_ring_meta::EvaluateError;
use karri_ring_types::{DataId, ExtentId, Timestamp};

use super::is_stale;
use crate::keys::{self, CONDEMNED, CURRENT, GARBAGE, HOLDERS, HOLDINGS, PARTS, RELEASED, VERSIONS};
use crate::messages::{Answer, Proof, Refusal, Verdict};
use crate::records::{
    CondemnedRecord, Data, GarbageRecord, HoldingRecord, PartRecord, VersionRecord, decode_with_tail,
};
use crate::rows::{Rows, Step, any_with_prefix, load, store};

/// The route that a row begins with.
pub(super) fn route_of(row: &[u8]) -> &[u8] {
    keys::parse(row).map_or(row, |parsed| parsed.route)
}

pub(super) fn add_holder(
    rows: &mut dyn Rows,
    route: &[u8],
    data: DataId,
    holder: DataId,
    proof: &Proof,
) -> Result<Answer<()>, EvaluateError> {
    let row = keys::holder(route, data, holder);
    if rows.get(HOLDERS, &row)?.is_some() {
        return Ok(Ok(()));
    }
    if rows.get(CONDEMNED, &keys::with_id(route, data.0))?.is_some() {
        return Ok(Err(Refusal::SourceChanged));
    }
    let alive = match proof {
        Proof::Holder(other) => rows.get(HOLDERS, &keys::holder(route, data, *other))?.is_some(),
        Proof::Version(version) => match rows.get(VERSIONS, &keys::version(route, *version))? {
            Some(record) => decode_with_tail::<VersionRecord>(&record)?.0.data.own() == Some(data),
            None => false,
        },
    };
    if !alive {
        return Ok(Err(Refusal::SourceChanged));
    }
    rows.put(HOLDERS, row, Vec::new());
    Ok(Ok(()))
}

/// As [`add_holder`], with a note of the row that is to use it.
pub(super) fn hold(
    rows: &mut dyn Rows,
    route: &[u8],
    issued: Timestamp,
    (data, holder): (DataId, DataId),
    proof: &Proof,
    row: Vec<u8>,
    now: Timestamp,
) -> Result<Answer<()>, EvaluateError> {
    // Held before: its note may be gone because it is in use, and must not come back then.
    if rows.get(HOLDERS, &keys::holder(route, data, holder))?.is_some() {
        return Ok(Ok(()));
    }
    if is_stale(issued, now) {
        return Ok(Err(Refusal::Stale));
    }
    let added = add_holder(rows, route, data, holder, proof)?;
    if added.is_ok() {
        store(rows, HOLDINGS, keys::with_id(route, holder.0), &HoldingRecord { since: now, data, row });
    }
    Ok(added)
}

/// Removes the note of a holding that is in use.
pub(super) fn holding_settled(rows: &mut dyn Rows, route: &[u8], holder: DataId) -> Result<(), EvaluateError> {
    let note = keys::with_id(route, holder.0);
    if rows.get(HOLDINGS, &note)?.is_some() {
        rows.delete(HOLDINGS, note);
    }
    Ok(())
}

/// Takes off a holder that the row in its note does not use. Without a note it is in use, perhaps under another row.
pub(super) fn holding_unused(
    rows: &mut dyn Rows,
    route: &[u8],
    data: DataId,
    holder: DataId,
    now: Timestamp,
) -> Result<Answer<()>, EvaluateError> {
    match rows.get(HOLDINGS, &keys::with_id(route, holder.0))? {
        Some(_) => release_holder(rows, route, data, holder, now),
        None => Ok(Ok(())),
    }
}

/// Takes a holder off. The last one of data that its owner has given up makes it garbage.
pub(super) fn release_holder(
    rows: &mut dyn Rows,
    route: &[u8],
    data: DataId,
    holder: DataId,
    now: Timestamp,
) -> Result<Answer<()>, EvaluateError> {
    holding_settled(rows, route, holder)?;
    let row = keys::holder(route, data, holder);
    if rows.get(HOLDERS, &row)?.is_none() {
        return Ok(Ok(()));
    }
    let id = keys::with_id(route, data.0);
    let others = any_with_prefix(rows, HOLDERS, &id, Some(&row))?;
    rows.delete(HOLDERS, row);
    if !others && let Some(released) = load::<GarbageRecord>(rows, RELEASED, &id)? {
        rows.delete(RELEASED, id.clone());
        store(rows, GARBAGE, id, &GarbageRecord { since: now, work: released.work });
    }
    Ok(Ok(()))
}

/// Condemns data that nothing refers to, whatever becomes of its writer; of data that something refers to, the
/// extents that are not part of it (left behind when a write moved on to other nodes).
pub(super) fn condemn(
    rows: &mut dyn Rows,
    row: &[u8],
    data: DataId,
    extents: Vec<ExtentId>,
    now: Timestamp,
) -> Result<Verdict, EvaluateError> {
    let route = route_of(row);
    let id = keys::with_id(route, data.0);
    if let Some(mut record) = load::<CondemnedRecord>(rows, CONDEMNED, &id)? {
        // The same data is asked about once for each of its extents.
        let known = record.extents.len();
        let new = extents.into_iter().filter(|extent| !record.extents.contains(extent)).collect::<Vec<_>>();
        record.extents.extend(new);
        if record.extents.len() > known {
            store(rows, CONDEMNED, id, &record);
        }
        return Ok(Verdict::Condemned);
    }
    match reference(rows, row, data)? {
        Reference::None => {
            store(rows, CONDEMNED, id, &CondemnedRecord { since: now, extents, parts: false, orphan: true });
            Ok(Verdict::Condemned)
        }
        Reference::Pending => Ok(Verdict::Referenced),
        Reference::Extents(used) => {
            let (used, strays): (Vec<_>, Vec<_>) = extents.into_iter().partition(|extent| used.contains(extent));
            for stray in strays {
                let record = CondemnedRecord { since: now, extents: vec![stray], parts: false, orphan: false };
                store(rows, CONDEMNED, keys::with_id(route, stray.0), &record);
            }
            Ok(if used.is_empty() { Verdict::Condemned } else { Verdict::Referenced })
        }
    }
}

/// Whether an extent of this data is in use or the collector has it.
pub(crate) fn is_referenced(
    rows: &mut dyn Rows,
    row: &[u8],
    data: DataId,
    extent: ExtentId,
) -> Result<bool, EvaluateError> {
    Ok(match reference(rows, row, data)? {
        Reference::None => false,
        Reference::Pending => true,
        Reference::Extents(used) => used.contains(&extent),
    })
}

/// What names data.
enum Reference {
    None,
    /// The collector has it, or it is shared.
    Pending,
    /// A version or part, with these extents.
    Extents(Vec<ExtentId>),
}

fn reference(rows: &mut dyn Rows, row: &[u8], data: DataId) -> Result<Reference, EvaluateError> {
    let Some(parsed) = keys::parse(row) else {
        return Err(EvaluateError::Malformed("owner without a route".to_owned()));
    };
    let id = keys::with_id(parsed.route, data.0);
    if rows.get(GARBAGE, &id)?.is_some() || rows.get(RELEASED, &id)?.is_some() {
        return Ok(Reference::Pending);
    }
    let mut found = Reference::None;
    if keys::parse_part(parsed.rest).is_some() {
        if let Some(part) = rows.get(PARTS, row)? {
            found = extents_of(&decode_with_tail::<PartRecord>(&part)?.0.data, data);
        }
    } else {
        // A new version may be written at the same moment: the current row is read with a check on it.
        rows.get(CURRENT, parsed.route)?;
        rows.scan(VERSIONS, parsed.route, &keys::successor(parsed.route), &mut |_, record| {
            found = extents_of(&decode_with_tail::<VersionRecord>(record)?.0.data, data);
            Ok(if matches!(found, Reference::None) { Step::Next } else { Step::Stop })
        })?;
    }
    if matches!(found, Reference::None) && any_with_prefix(rows, HOLDERS, &id, None)? {
        return Ok(Reference::Pending);
    }
    Ok(found)
}

fn extents_of(data: &Data, id: DataId) -> Reference {
    match data {
        Data::Extents { data, loan: None, extents, .. } if *data == id => {
            Reference::Extents(extents.iter().map(|extent| extent.id).collect())
        }
        other if other.garbage_id() == Some(id) => Reference::Pending,
        _ => Reference::None,
    }
}
