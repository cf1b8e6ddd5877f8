//! What an evaluator sees of its range.

use std::collections::BTreeMap;

use bytes::Bytes;
use rocksdb::{DBRawIterator, Snapshot};

use crate::codec::Raw;
use crate::row::{Bounds, decode_value, physical, value_bytes};
use crate::storage::cursor;
use crate::transaction::{ABSENT, Check, Transaction, Write};
use crate::types::KEY_BYTES_MAX;
use crate::{Key, MetaError, ROW_BYTES_MAX, TRANSACTION_BYTES_MAX, Table};

/// A range at one moment, and the writes that an evaluator wants to make on it. All reads of one view see the
/// same moment.
pub struct View<'db> {
    snapshot: &'db Snapshot<'db>,
    space: u8,
    bounds: &'db Bounds,
    checks: Vec<(Vec<u8>, u64)>,
    writes: BTreeMap<Vec<u8>, Option<Bytes>>,
    mistake: Option<MetaError>,
}

impl<'db> View<'db> {
    pub(crate) fn new(snapshot: &'db Snapshot<'db>, space: u8, bounds: &'db Bounds) -> Self {
        Self { snapshot, space, bounds, checks: Vec::new(), writes: BTreeMap::new(), mistake: None }
    }

    /// The row's value, with the writes made so far through this view. The writes will be refused, and the
    /// command evaluated again, when the row has changed by the time they are applied.
    pub fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        let row = self.row(table, key)?;
        if let Some(written) = self.writes.get(&row) {
            return Ok(written.clone());
        }
        let found = self.read(&row)?;
        let version = found.as_ref().map_or(ABSENT, |(version, _)| *version);
        self.checks.push((row, version));
        Ok(found.map(|(_, value)| value))
    }

    /// As [`View::get`], but a change of the row until the writes are applied does not matter.
    pub fn peek(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        let row = self.row(table, key)?;
        match self.writes.get(&row) {
            Some(written) => Ok(written.clone()),
            None => Ok(self.read(&row)?.map(|(_, value)| value)),
        }
    }

    /// The rows of `table` with keys in `[start, end)` that are in the range; an empty `end` means no end. Shows
    /// what is committed, not the writes of this view, and is not checked when the writes are applied.
    pub fn scan(&mut self, table: Table, start: &[u8], end: &[u8]) -> Result<Scan<'db>, MetaError> {
        check_table(table)?;
        let (lower, upper) = self.bounds.clamp(self.space, table, start, end);
        let empty = lower >= upper;
        let upper = upper.max(lower.clone());
        Ok(Scan { cursor: cursor(self.snapshot, &lower, upper), lower, done: empty, lent: false })
    }

    /// The last row of `table` with a key in `[start, end)`, seen as by [`View::scan`].
    pub fn last_before(&mut self, table: Table, start: &[u8], end: &[u8]) -> Result<Option<(Key, Bytes)>, MetaError> {
        check_table(table)?;
        let (lower, upper) = self.bounds.clamp(self.space, table, start, end);
        if lower >= upper {
            return Ok(None);
        }
        let mut cursor = cursor(self.snapshot, &lower, upper);
        cursor.seek_to_last();
        cursor.status()?;
        let Some((key, stored)) = cursor.item() else { return Ok(None) };
        Ok(Some((key[2..].to_vec(), value_bytes(stored)?.1)))
    }

    /// Writes a row. At most [`ROW_BYTES_MAX`] bytes.
    pub fn put(&mut self, table: Table, key: Key, value: impl Into<Bytes>) {
        let value = value.into();
        if value.len() > ROW_BYTES_MAX {
            self.mistake = Some(MetaError::TooLarge);
            return;
        }
        self.write(table, &key, Some(value));
    }

    /// Deletes a row, whether it is there or not.
    pub fn delete(&mut self, table: Table, key: Key) {
        self.write(table, &key, None);
    }

    /// Forgets the writes made so far: the command is refused after all.
    pub fn discard(&mut self) {
        self.writes.clear();
        self.mistake = None;
    }

    /// The keys `[start, end)` of the range; no end: `None`.
    pub fn bounds(&self) -> (&[u8], Option<&[u8]>) {
        (&self.bounds.start, self.bounds.end.as_deref())
    }

    /// Whether something was written through this view.
    pub fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// The checks and writes as a transaction; `None` when nothing was written.
    pub(crate) fn finish(self) -> Result<Option<Bytes>, MetaError> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        if self.writes.is_empty() {
            return Ok(None);
        }
        let checks = self.checks.iter().map(|(row, version)| Check { row: Raw(&row[1..]), version: *version });
        let writes =
            self.writes.iter().map(|(row, value)| Write { row: Raw(&row[1..]), value: value.as_deref().map(Raw) });
        let encoded = Transaction { checks: checks.collect(), writes: writes.collect() }.encode();
        if encoded.len() > TRANSACTION_BYTES_MAX {
            return Err(MetaError::TooLarge);
        }
        Ok(Some(encoded))
    }

    fn row(&self, table: Table, key: &[u8]) -> Result<Vec<u8>, MetaError> {
        check_table(table)?;
        if !self.bounds.contains(key) {
            return Err(MetaError::OutOfRange("key of another range"));
        }
        Ok(physical(self.space, table, key))
    }

    fn read(&self, row: &[u8]) -> Result<Option<(u64, Bytes)>, MetaError> {
        self.snapshot.get_pinned(row)?.map(|stored| value_bytes(&stored)).transpose()
    }

    fn write(&mut self, table: Table, key: &[u8], value: Option<Bytes>) {
        match self.row(table, key) {
            Ok(_) if key.len() > KEY_BYTES_MAX => self.mistake = Some(MetaError::TooLarge),
            Ok(row) => {
                self.writes.insert(row, value);
            }
            Err(mistake) => self.mistake = Some(mistake),
        }
    }
}

fn check_table(table: Table) -> Result<(), MetaError> {
    if table.0 == 0 { Err(MetaError::OutOfRange("table 0")) } else { Ok(()) }
}

/// Key and value of a row, where they lie.
pub type LentRow<'a> = (&'a [u8], &'a [u8]);

/// Rows in key order.
pub struct Scan<'db> {
    cursor: DBRawIterator<'db>,
    lower: Vec<u8>,
    done: bool,
    /// Whether the row under the cursor has been lent.
    lent: bool,
}

impl Scan<'_> {
    /// The next row where it lies, which costs no copy.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn next_row(&mut self) -> Result<Option<LentRow<'_>>, MetaError> {
        if self.done {
            return Ok(None);
        }
        if std::mem::replace(&mut self.lent, true) {
            self.cursor.next();
        }
        if !self.cursor.valid() {
            self.done = true;
            self.cursor.status()?;
            return Ok(None);
        }
        let Some((key, stored)) = self.cursor.item() else { return Ok(None) };
        Ok(Some((&key[2..], decode_value(stored)?.1)))
    }

    /// Goes on at the first row with a key of at least `key`: what lies between costs nothing.
    pub fn seek(&mut self, key: &[u8]) {
        let mut target = Vec::with_capacity(2 + key.len());
        target.extend_from_slice(&self.lower[..2]);
        target.extend_from_slice(key);
        if !self.done {
            self.cursor.seek(target.max(self.lower.clone()));
            self.lent = false;
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Key, Bytes), MetaError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_row().transpose()?;
        Some(row.map(|(key, value)| (key.to_vec(), Bytes::copy_from_slice(value))))
    }
}
