//! The rows of a range as the evaluators see them: [`View`] in the cluster, a map in tests.

use bytes::Bytes;
use karri_ring_meta::{EvaluateError, Table, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::records::{Unreadable, decode, encode};

/// What to do after a row of a scan.
pub(crate) enum Step {
    Next,
    /// Go on at the first row of at least this key.
    Seek(Vec<u8>),
    Stop,
}

/// Visits a row of a scan.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<Step, EvaluateError>;

/// Rows of one range at one moment, and the writes on them.
pub(crate) trait Rows {
    /// With the writes made so far.
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EvaluateError>;
    /// Rows with keys in `[start, end)` without the writes made so far.
    fn scan(&mut self, table: Table, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), EvaluateError>;
    fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>);
    fn delete(&mut self, table: Table, key: Vec<u8>);
    /// Forgets the writes made so far.
    fn discard(&mut self);
    /// Says that the bucket that a command is about is metered.
    fn note_metered(&mut self) {}
    /// Whether rows of this key are in this range.
    fn holds(&self, key: &[u8]) -> bool;
    /// The first key behind this range.
    fn end(&self) -> Option<Vec<u8>>;
}

impl Rows for View<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EvaluateError> {
        Ok(View::get(self, table, key)?)
    }

    fn scan(&mut self, table: Table, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), EvaluateError> {
        let mut rows = View::scan(self, table, start, end)?;
        while let Some((key, value)) = rows.next_row()? {
            match visit(key, value)? {
                Step::Next => {}
                Step::Seek(to) => rows.seek(&to),
                Step::Stop => break,
            }
        }
        Ok(())
    }

    fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        View::put(self, table, key, value);
    }

    fn delete(&mut self, table: Table, key: Vec<u8>) {
        View::delete(self, table, key);
    }

    fn discard(&mut self) {
        View::discard(self);
    }

    fn holds(&self, key: &[u8]) -> bool {
        let (start, end) = self.bounds();
        key >= start && end.is_none_or(|end| key < end)
    }

    fn end(&self) -> Option<Vec<u8>> {
        self.bounds().1.map(<[u8]>::to_vec)
    }
}

impl From<Unreadable> for EvaluateError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Malformed(unreadable.to_string())
    }
}

/// Reads a record.
pub(crate) fn load<T: DeserializeOwned>(
    rows: &mut dyn Rows,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, EvaluateError> {
    Ok(rows.get(table, key)?.map(|bytes| decode(&bytes)).transpose()?)
}

/// Writes a record.
pub(crate) fn store<T: Serialize>(rows: &mut dyn Rows, table: Table, key: Vec<u8>, record: &T) {
    rows.put(table, key, encode(record));
}

/// Whether a row begins with this key.
pub(crate) fn any_with_prefix(
    rows: &mut dyn Rows,
    table: Table,
    prefix: &[u8],
    except: Option<&[u8]>,
) -> Result<bool, EvaluateError> {
    let mut found = false;
    rows.scan(table, prefix, &crate::keys::successor(prefix), &mut |key, _| {
        if except == Some(key) {
            return Ok(Step::Next);
        }
        found = true;
        Ok(Step::Stop)
    })?;
    Ok(found)
}
