//! Reading all rows and comparing them with each other, for `karri fsck`: what names what, and whether it is there.
//!
//! The range that has the rows compares those of one page at one moment ([`evaluate`]); what lies elsewhere (extents on
//! nodes, holders in other ranges, sums over a bucket) it tells, and the asker compares that.

use std::collections::BTreeMap;

use karri_ring_meta::{EvaluateError, Table};
use karri_ring_node::ExtentRef;
use karri_ring_types::{DataId, ExtentId};
use serde::{Deserialize, Serialize};

use crate::keys::{
    self, CONDEMNED, CURRENT, GARBAGE, HOLDERS, HOLDINGS, MOVES, NULL_VERSIONS, PARTS, RELEASED, UPLOADS, USAGE,
    VERSIONS,
};
use crate::messages::Query;
use crate::records::{
    CondemnedRecord, CurrentRecord, Data, GarbageRecord, GarbageWork, HoldingRecord, Loan, MovingRecord, PartRecord,
    PartRun, UsageRecord, VersionRecord, decode, decode_with_tail,
};
use crate::rows::{Rows, Step, any_with_prefix, load};
use crate::{ObjectService, ServiceError};

/// Rows of one page.
const ROWS_PER_PAGE_MAX: usize = 200;
/// The tables, in the order in which they are read: who holds comes before who borrows, so that a loan made meanwhile
/// is not missed.
const TABLES: [Table; 10] =
    [HOLDERS, VERSIONS, PARTS, CURRENT, NULL_VERSIONS, GARBAGE, RELEASED, CONDEMNED, USAGE, HOLDINGS];

/// Where an inspection has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectCursor {
    table: u8,
    from: Vec<u8>,
}

#[cfg(test)]
impl InspectCursor {
    pub(crate) fn from(&self) -> &[u8] {
        &self.from
    }
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fault {
    /// What kind of fault, as one word.
    pub kind: FaultKind,
    /// Bucket id, key and what else names the place.
    pub place: String,
    /// What is wrong.
    pub text: String,
}

/// Kinds of faults of metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// A row that cannot be read.
    Unreadable,
    /// A listing shows something else than the versions are.
    Listing,
    /// The row of the null version names another one.
    NullVersion,
    /// An object names a part that is not there, or is another.
    Part,
    /// A row that nothing needs any more: its space is never given back.
    Leak,
    /// A reference count is not what a recount gives.
    References,
    /// Something in use is condemned.
    Condemned,
    /// A bucket's counter is not what a recount gives.
    Meter,
    /// A node lacks its copy of an extent, or it is bad.
    Copy,
    /// No node has a good copy of an extent.
    Lost,
    /// A node holds an extent that nothing names.
    Orphan,
}

/// An extent that must be there, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The object that needs it.
    pub place: String,
    /// The extent.
    pub extent: ExtentRef,
}

/// A holding: who uses data that another object owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Who uses it, or whose data it is.
    pub place: String,
    /// Row of the holding.
    pub row: Vec<u8>,
}

/// What a page of rows says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Rows that were read.
    pub rows: u64,
    /// What is wrong by itself.
    pub faults: Vec<Fault>,
    /// Extents that are named.
    pub wanted: Vec<Wanted>,
    /// Rows of holdings.
    pub holdings: Vec<Holding>,
    /// Rows that need a holding, elsewhere perhaps.
    pub loans: Vec<Holding>,
    /// Rows of holdings that nobody has to use: they are being given back, or are already, or will be unless their use
    /// is found.
    pub returned: Vec<Vec<u8>>,
    /// Bytes and versions that were seen of each bucket.
    pub sizes: Vec<(Vec<u8>, u64, u64)>,
    /// Counters of buckets, where all is counted: bytes and versions.
    pub meters: Vec<(Vec<u8>, u64, u64)>,
    /// Where to go on; `None`: everything was read.
    pub next: Option<InspectCursor>,
}

/// What is known of an extent that a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Something names it, or the collector has it.
    Known,
    /// It is condemned: its deletion is under way.
    Condemned,
    /// Nothing names it: a write that goes on, or one that was given up.
    Unknown,
}

impl ObjectService {
    /// Reads one page of rows, in the order of tables and keys; it ends with the row that brings `extents_max` extents.
    ///
    /// # Errors
    /// `Unavailable`; what could not be read can be asked for again.
    pub async fn inspect(&self, cursor: &InspectCursor, extents_max: u32) -> Result<Inspection, ServiceError> {
        let query = Query::Inspect { cursor: cursor.clone(), extents_max };
        self.query(&cursor.from, &query).await
    }

    /// Whether a holding is there, by its row.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn is_held(&self, row: &[u8]) -> Result<bool, ServiceError> {
        self.query(row, &Query::Holding { row: row.to_vec() }).await
    }

    /// What is known of an extent that a node holds for an owner.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn standing(&self, row: &[u8], data: DataId, extent: ExtentId) -> Result<Standing, ServiceError> {
        self.query(row, &Query::Standing { row: row.to_vec(), data, extent }).await
    }
}

/// Reads a page of the range that `rows` are.
pub(crate) fn evaluate(
    rows: &mut dyn Rows,
    cursor: &InspectCursor,
    extents_max: u32,
) -> Result<Inspection, EvaluateError> {
    let Some(&table) = TABLES.get(usize::from(cursor.table)) else {
        return Err(EvaluateError::Malformed("a cursor behind the last table".to_owned()));
    };
    let mut page = Vec::new();
    let mut more = None;
    rows.scan(table, &cursor.from, &[], &mut |key, row| {
        if page.len() == ROWS_PER_PAGE_MAX {
            more = Some(key.to_vec());
            return Ok(Step::Stop);
        }
        page.push((key.to_vec(), row.to_vec()));
        Ok(Step::Next)
    })?;
    let mut found = Inspection::default();
    let mut sizes = BTreeMap::new();
    for (key, row) in &page {
        if found.wanted.len() >= extents_max as usize {
            more = Some(key.clone());
            break;
        }
        found.rows += 1;
        let mut look = Look { rows, found: &mut found, sizes: &mut sizes, key, place: place(key) };
        match look.at(table, row) {
            Ok(()) => {}
            Err(EvaluateError::Malformed(text)) => look.fault(FaultKind::Unreadable, text),
            Err(error) => return Err(error),
        }
    }
    found.sizes = sizes.into_iter().map(|(bucket, (bytes, versions))| (bucket, bytes, versions)).collect();
    found.next = match more.or_else(|| rows.end()) {
        Some(from) => Some(InspectCursor { table: cursor.table, from }),
        None => Some(InspectCursor { table: cursor.table + 1, from: Vec::new() })
            .filter(|next| usize::from(next.table) < TABLES.len()),
    };
    Ok(found)
}

/// A row's key as people read it.
fn place(key: &[u8]) -> String {
    match keys::parse(key) {
        Some(parsed) => {
            let bucket = hex::encode(&key[..16]);
            let rest = if parsed.rest.is_empty() { String::new() } else { format!(" #{}", hex::encode(parsed.rest)) };
            format!("bucket {bucket} key {:?}{rest}", parsed.key)
        }
        None => format!("row {}", hex::encode(key)),
    }
}

/// One row, among the others of its range.
struct Look<'a> {
    rows: &'a mut dyn Rows,
    found: &'a mut Inspection,
    sizes: &'a mut BTreeMap<Vec<u8>, (u64, u64)>,
    key: &'a [u8],
    place: String,
}

impl Look<'_> {
    fn at(&mut self, table: Table, row: &[u8]) -> Result<(), EvaluateError> {
        match table {
            HOLDERS => self.holder(),
            VERSIONS => self.version(&decode_with_tail::<VersionRecord>(row)?.0),
            PARTS => self.part(&decode_with_tail::<PartRecord>(row)?.0),
            CURRENT => self.current(&decode(row)?),
            NULL_VERSIONS => self.null_version(decode(row)?),
            GARBAGE => self.garbage(&decode(row)?),
            RELEASED => self.released(&decode(row)?),
            CONDEMNED => decode::<CondemnedRecord>(row).map(drop).map_err(Into::into),
            HOLDINGS => self.holding(&decode(row)?),
            _ => self.meter(&decode(row)?),
        }
    }

    fn fault(&mut self, kind: FaultKind, text: impl Into<String>) {
        self.found.faults.push(Fault { kind, place: self.place.clone(), text: text.into() });
    }

    fn route(&self) -> Vec<u8> {
        keys::parse(self.key).map_or(self.key, |parsed| parsed.route).to_vec()
    }

    fn want(&mut self, extents: &[ExtentRef]) {
        let place = &self.place;
        self.found.wanted.extend(extents.iter().map(|&extent| Wanted { place: place.clone(), extent }));
    }

    fn lend(&mut self, loan: &Loan, data: DataId) {
        let row = keys::holder(&loan.route, data, loan.holder);
        self.found.loans.push(Holding { place: self.place.clone(), row });
    }

    /// Data that a version or part names.
    fn data(&mut self, data: &Data) -> Result<(), EvaluateError> {
        if let Data::Extents { extents, .. } = data {
            self.want(extents);
        }
        match data.outside() {
            None => Ok(()),
            Some((id, Some(loan))) => {
                self.lend(loan, id);
                Ok(())
            }
            Some((id, None)) => self.not_condemned(id, data),
        }
    }

    /// What is in use must not be given up, as a whole or in part.
    fn not_condemned(&mut self, id: DataId, data: &Data) -> Result<(), EvaluateError> {
        let route = self.route();
        let mut condemned = self.rows.get(CONDEMNED, &keys::with_id(&route, id.0))?.is_some();
        if let Data::Extents { extents, .. } = data {
            for extent in extents {
                condemned |= self.rows.get(CONDEMNED, &keys::with_id(&route, extent.id.0))?.is_some();
            }
        }
        if condemned {
            self.fault(FaultKind::Condemned, format!("data {id} is in use and condemned: it is being deleted"));
        }
        Ok(())
    }

    fn version(&mut self, record: &VersionRecord) -> Result<(), EvaluateError> {
        let route = self.route();
        if !record.delete_marker {
            let size = self.sizes.entry(self.key[..16].to_vec()).or_default();
            size.0 = size.0.saturating_add(record.size);
            size.1 += 1;
        }
        if newest(self.rows, &route)?.is_some_and(|(newest, _)| newest == self.key) {
            let shown: Option<CurrentRecord> = load(self.rows, CURRENT, &route)?;
            match (record.delete_marker, shown) {
                (true, Some(_)) => {
                    self.fault(FaultKind::Listing, "listed, though the newest version is a delete marker")
                }
                (false, None) => self.fault(FaultKind::Listing, "not listed, though the newest version is an object"),
                (false, Some(shown)) if shown != CurrentRecord::of(record) => {
                    self.fault(FaultKind::Listing, "listed otherwise than its newest version is");
                }
                _ => {}
            }
        }
        self.data(&record.data)?;
        match &record.data {
            Data::Parts { data, loan, runs } => {
                let owner = loan.as_ref().map_or(route, |loan| loan.route.clone());
                self.parts(&owner, *data, runs)
            }
            _ => Ok(()),
        }
    }

    /// The rows of parts that an object is made of.
    fn parts(&mut self, route: &[u8], data: DataId, runs: &[PartRun]) -> Result<(), EvaluateError> {
        for run in runs {
            let mut next = run.first;
            let (start, end) =
                (keys::part(route, data, run.first), keys::part(route, data, run.first.saturating_add(run.count)));
            if !self.rows.holds(&start) {
                // Of another range: it looks after what it has lent.
                return Ok(());
            }
            let mut wrong = Vec::new();
            self.rows.scan(PARTS, &start, &end, &mut |key, row| {
                let number = keys::parse_part(&key[route.len()..]).map_or(0, |(_, number)| number);
                wrong.extend((next..number).map(|missing| (missing, "is missing")));
                next = number.saturating_add(1);
                if decode_with_tail::<PartRecord>(row)?.0.size != run.size {
                    wrong.push((number, "has another size"));
                }
                Ok(Step::Next)
            })?;
            wrong.extend((next..run.first.saturating_add(run.count)).map(|missing| (missing, "is missing")));
            for (number, what) in wrong {
                self.fault(FaultKind::Part, format!("part {number} of upload {data} {what}"));
            }
        }
        Ok(())
    }

    fn part(&mut self, record: &PartRecord) -> Result<(), EvaluateError> {
        let route = self.route();
        let Some((upload, _)) = keys::parse_part(&self.key[route.len()..]) else {
            return Err(EvaluateError::Malformed("the key of a part".to_owned()));
        };
        let id = keys::with_id(&route, upload.0);
        let mut needed = has_owner(self.rows, &route, upload)?;
        for table in [UPLOADS, CONDEMNED] {
            needed |= self.rows.get(table, &id)?.is_some();
        }
        if !needed {
            self.fault(FaultKind::Leak, "a part of no upload and no object");
        }
        self.data(&record.data)
    }

    fn current(&mut self, shown: &CurrentRecord) -> Result<(), EvaluateError> {
        let route = self.route();
        let newest = newest(self.rows, &route)?;
        if newest.is_none_or(|(_, record)| record.delete_marker || record.version != shown.version) {
            self.fault(FaultKind::Listing, format!("version {} is listed and is not the newest", shown.version));
        }
        Ok(())
    }

    fn null_version(&mut self, version: karri_ring_types::VersionId) -> Result<(), EvaluateError> {
        let route = self.route();
        let row = self.rows.get(VERSIONS, &keys::version(&route, version))?;
        let record = row.map(|row| decode_with_tail::<VersionRecord>(&row)).transpose()?;
        if record.is_none_or(|(record, _)| !record.null) {
            self.fault(FaultKind::NullVersion, format!("version {version} is no null version of it"));
        }
        Ok(())
    }

    fn holder(&mut self) -> Result<(), EvaluateError> {
        let route = self.route();
        let data = self.key.get(route.len()..route.len() + 16).and_then(keys::parse_id).map(DataId);
        let data = data.ok_or_else(|| EvaluateError::Malformed("the key of a holding".to_owned()))?;
        if !has_owner(self.rows, &route, data)? {
            self.fault(FaultKind::References, format!("data {data} is held by somebody, and is not there"));
        }
        self.found.holdings.push(Holding { place: self.place.clone(), row: self.key.to_vec() });
        // Of a copy that may be under way, or was cut off.
        let note = [&route[..], &self.key[route.len() + 16..]].concat();
        if self.rows.get(HOLDINGS, &note)?.is_some() {
            self.found.returned.push(self.key.to_vec());
        }
        Ok(())
    }

    fn holding(&mut self, record: &HoldingRecord) -> Result<(), EvaluateError> {
        let route = self.route();
        let holder = keys::parse_id(&self.key[route.len()..]).map(DataId);
        let holder = holder.ok_or_else(|| EvaluateError::Malformed("the key of a note of a holding".to_owned()))?;
        if !is_held(self.rows, &keys::holder(&route, record.data, holder))? {
            self.fault(FaultKind::References, format!("data {} is noted to be held, and is not", record.data));
        }
        Ok(())
    }

    fn garbage(&mut self, record: &GarbageRecord) -> Result<(), EvaluateError> {
        if let GarbageWork::Loan { loan, data } = &record.work {
            // It may be released already: this accounts for the holding and does not need it.
            let row = keys::holder(&loan.route, *data, loan.holder);
            self.found.returned.push(row);
        }
        Ok(())
    }

    fn released(&mut self, record: &GarbageRecord) -> Result<(), EvaluateError> {
        if !any_with_prefix(self.rows, HOLDERS, self.key, None)? {
            self.fault(FaultKind::References, "its owner is gone and nobody holds it: it is never collected");
        }
        if let GarbageWork::Extents(extents) = &record.work {
            self.want(extents);
        }
        Ok(())
    }

    fn meter(&mut self, record: &UsageRecord) -> Result<(), EvaluateError> {
        if record.next.is_none() {
            self.found.meters.push((self.key.to_vec(), record.bytes, record.versions));
        }
        Ok(())
    }
}

/// Key and record of the newest version of an object.
fn newest(rows: &mut dyn Rows, route: &[u8]) -> Result<Option<(Vec<u8>, VersionRecord)>, EvaluateError> {
    let mut found = None;
    rows.scan(VERSIONS, route, &keys::successor(route), &mut |key, row| {
        found = Some((key.to_vec(), decode_with_tail::<VersionRecord>(row)?.0));
        Ok(Step::Stop)
    })?;
    Ok(found)
}

/// Whether data is a version's own, or what is left of one.
fn has_owner(rows: &mut dyn Rows, route: &[u8], data: DataId) -> Result<bool, EvaluateError> {
    let id = keys::with_id(route, data.0);
    if rows.get(RELEASED, &id)?.is_some() || rows.get(GARBAGE, &id)?.is_some() {
        return Ok(true);
    }
    let mut found = false;
    rows.scan(VERSIONS, route, &keys::successor(route), &mut |_, row| {
        found = decode_with_tail::<VersionRecord>(row)?.0.data.own() == Some(data);
        Ok(if found { Step::Stop } else { Step::Next })
    })?;
    if found {
        return Ok(true);
    }
    // Parts that are written for another class, before the version names them.
    rows.scan(MOVES, route, &keys::successor(route), &mut |_, row| {
        found = decode::<MovingRecord>(row)?.data == data;
        Ok(if found { Step::Stop } else { Step::Next })
    })?;
    Ok(found)
}

/// Answers [`ObjectService::standing`].
pub(crate) fn standing(
    rows: &mut dyn Rows,
    row: &[u8],
    data: DataId,
    extent: ExtentId,
) -> Result<Standing, EvaluateError> {
    if crate::evaluator::is_referenced(rows, row, data, extent)? {
        return Ok(Standing::Known);
    }
    let route = keys::parse(row).map_or(row, |parsed| parsed.route).to_vec();
    for id in [data.0, extent.0] {
        let record: Option<CondemnedRecord> = load(rows, CONDEMNED, &keys::with_id(&route, id))?;
        if record.is_some_and(|record| record.orphan || record.extents.contains(&extent)) {
            return Ok(Standing::Condemned);
        }
    }
    Ok(Standing::Unknown)
}

/// Whether a row of a holding is there.
pub(crate) fn is_held(rows: &mut dyn Rows, row: &[u8]) -> Result<bool, EvaluateError> {
    Ok(rows.get(HOLDERS, row)?.is_some())
}
