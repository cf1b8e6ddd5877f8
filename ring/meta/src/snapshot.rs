//! Snapshots of a range: read from a snapshot of the store, and installed by ingesting files.
//!
//! A snapshot is a stream of bytes cut into chunks: a format byte, the range's state (length, postcard), then
//! its stored rows in order, each `[row length u32 LE][value length u32 LE][table and key][stored value]`.
//!
//! An install that has begun to delete the old rows is completed after a crash: it is decided by a durable
//! `Install` row, which names the staged files and holds what the range will be.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Buf, Bytes, BytesMut};
use karri_ring_disk::DiskPath;
use karri_ring_raft::{MachineError, SNAPSHOT_CHUNK_BYTES_MAX, SnapshotReader, SnapshotWriter};
use karri_ring_types::{Digest, RangeId, Step, failpoint};
use rocksdb::{Snapshot, SstFileWriter, WriteBatch};
use serde::{Deserialize, Serialize};

use crate::codec::{FORMAT, decode, encode};
use crate::machine::{RangeMachine, RangeState};
use crate::row::{Bounds, Own, own_key, space_of};
use crate::storage::{Storage, cursor};
use crate::{Fingerprint, KEY_BYTES_MAX, MetaError, ROW_BYTES_MAX, Table};

/// Chunks that wait for the one who sends them.
const CHUNKS_AHEAD: usize = 2;
/// Bytes of rows in one staged file.
const STAGED_FILE_BYTES: usize = 32 << 20;
/// Length of the two lengths before each row.
const ROW_HEADER_BYTES: usize = 8;

/// What is known before the first row is read.
struct Opening {
    blob: Vec<u8>,
    state: RangeState,
}

/// Reads a range from a snapshot of the store. A thread holds the snapshot, which borrows the store, for as long
/// as the reader lives.
pub(crate) struct Reader {
    blob: Vec<u8>,
    chunks: Receiver<Result<Bytes, MetaError>>,
}

impl Reader {
    pub(crate) fn open(storage: Arc<Storage>, range: RangeId) -> Result<Self, MetaError> {
        let (opened, opening) = sync_channel(1);
        let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
        std::thread::Builder::new()
            .name(format!("meta-snapshot-{range}"))
            .spawn(move || read_range(&storage, range, &opened, &sender))?;
        let blob = opening.recv().map_err(|_| MetaError::Unreadable("snapshot"))??;
        Ok(Self { blob, chunks })
    }
}

impl SnapshotReader for Reader {
    fn state_blob(&self) -> Vec<u8> {
        self.blob.clone()
    }

    fn next_chunk(&mut self) -> Result<Option<Bytes>, MachineError> {
        // A thread that has ended has sent everything, an error included.
        Ok(self.chunks.recv().ok().transpose()?)
    }
}

type Sender = SyncSender<Result<Bytes, MetaError>>;

fn read_range(storage: &Storage, range: RangeId, opened: &SyncSender<Result<Vec<u8>, MetaError>>, sender: &Sender) {
    let snapshot = storage.snapshot();
    let opening = match read_opening(&snapshot, range) {
        Ok(opening) => opening,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    // A receiver that has gone wants nothing more: that ends the thread.
    if opened.send(Ok(opening.blob)).is_err() {
        return;
    }
    if let Err(error) = send_rows(&snapshot, range, &opening.state, sender) {
        let _ = sender.send(Err(error));
    }
}

fn read_opening(snapshot: &Snapshot<'_>, range: RangeId) -> Result<Opening, MetaError> {
    let blob = snapshot.get(own_key(range, Own::Blob))?.unwrap_or_default();
    let state = match snapshot.get(own_key(range, Own::State))? {
        Some(bytes) => decode(&bytes, "state of a range")?,
        None => RangeState::default(),
    };
    Ok(Opening { blob, state })
}

/// Sends the stream of chunks; ends early without an error when nobody listens.
fn send_rows(snapshot: &Snapshot<'_>, range: RangeId, state: &RangeState, sender: &Sender) -> Result<(), MetaError> {
    let encoded = encode(state);
    let mut buffer = BytesMut::with_capacity(SNAPSHOT_CHUNK_BYTES_MAX);
    buffer.extend_from_slice(&[FORMAT]);
    buffer.extend_from_slice(&length(encoded.len())?.to_le_bytes());
    buffer.extend_from_slice(&encoded);
    let sent = each_row(snapshot, range, state, |key, stored| {
        buffer.extend_from_slice(&length(key.len() - 1)?.to_le_bytes());
        buffer.extend_from_slice(&length(stored.len())?.to_le_bytes());
        buffer.extend_from_slice(&key[1..]);
        buffer.extend_from_slice(stored);
        while buffer.len() >= SNAPSHOT_CHUNK_BYTES_MAX {
            if sender.send(Ok(buffer.split_to(SNAPSHOT_CHUNK_BYTES_MAX).freeze())).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    if !sent {
        return Ok(());
    }
    let _ = sender.send(Ok(buffer.freeze()));
    Ok(())
}

/// Reads all rows of a range, by their physical keys, until `row` wants no more; whether that was all.
fn each_row(
    snapshot: &Snapshot<'_>,
    range: RangeId,
    state: &RangeState,
    mut row: impl FnMut(&[u8], &[u8]) -> Result<bool, MetaError>,
) -> Result<bool, MetaError> {
    let Some(description) = &state.description else { return Ok(true) };
    for (lower, upper) in table_spans(snapshot, space_of(range), &description.bounds)? {
        let mut rows = cursor(snapshot, &lower, upper);
        while let Some((key, stored)) = rows.item() {
            if !row(key, stored)? {
                return Ok(false);
            }
            rows.next();
        }
        rows.status()?;
    }
    Ok(true)
}

/// What this node has of a range, at one moment.
pub(crate) fn fingerprint(storage: &Storage, range: RangeId) -> Result<Fingerprint, MetaError> {
    let snapshot = storage.snapshot();
    let Opening { blob, state } = read_opening(&snapshot, range)?;
    let mut digests = vec![Digest::of(&encode(&state))];
    each_row(&snapshot, range, &state, |key, stored| {
        digests.extend([Digest::of(key), Digest::of(stored)]);
        Ok(true)
    })?;
    Ok(Fingerprint { applied: Digest::of(&blob), state: Digest::of_chunks(&digests) })
}

fn length(bytes: usize) -> Result<u32, MetaError> {
    u32::try_from(bytes).map_err(|_| MetaError::TooLarge)
}

/// Physical keys `[lower, upper)`.
type Span = (Vec<u8>, Vec<u8>);

/// The keys of a range in each table that has rows of it.
fn table_spans(snapshot: &Snapshot<'_>, space: u8, bounds: &Bounds) -> Result<Vec<Span>, MetaError> {
    let mut spans = Vec::new();
    let mut tables = cursor(snapshot, &[space, 1], vec![space + 1]);
    let mut table = 1;
    loop {
        let (lower, upper) = bounds.clamp(space, Table(table), b"", b"");
        tables.seek(&lower);
        let Some(found) = tables.key() else { break };
        if found < upper.as_slice() {
            spans.push((lower, upper));
        }
        // Jump to the next table that has any row at all.
        let next = if found[1] > table { Some(found[1]) } else { table.checked_add(1) };
        match next {
            Some(next) => table = next,
            None => break,
        }
    }
    tables.status()?;
    Ok(spans)
}

/// A decided install, durable before the first old row is deleted.
#[derive(Serialize, Deserialize)]
pub(crate) struct Install {
    files: Vec<String>,
    blob: Vec<u8>,
    state: RangeState,
    /// The old rows are gone: files that are no longer there have been ingested.
    deleted: bool,
}

/// Receives a snapshot into staged files.
pub(crate) struct Installer {
    machine: Arc<RangeMachine>,
    state: Option<RangeState>,
    /// Received and not yet staged.
    buffer: BytesMut,
    /// Bytes at the buffer's start that are whole rows.
    whole: usize,
    files: Vec<DiskPath>,
    decided: bool,
}

impl Installer {
    pub(crate) fn new(machine: Arc<RangeMachine>) -> Self {
        Self { machine, state: None, buffer: BytesMut::new(), whole: 0, files: Vec::new(), decided: false }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), MetaError> {
        self.buffer.extend_from_slice(chunk);
        if self.state.is_none() && !self.take_state()? {
            return Ok(());
        }
        while let Some(row) = next_row(&self.buffer[self.whole..])? {
            self.whole += row.bytes;
            if self.whole >= STAGED_FILE_BYTES {
                self.stage()?;
            }
        }
        Ok(())
    }

    fn take_state(&mut self) -> Result<bool, MetaError> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<5>() else { return Ok(false) };
        let [FORMAT, length @ ..] = head else { return Err(MetaError::Unreadable("snapshot")) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > SNAPSHOT_CHUNK_BYTES_MAX {
            return Err(MetaError::Unreadable("snapshot"));
        }
        let Some(encoded) = rest.get(..length) else { return Ok(false) };
        self.state = Some(decode(encoded, "snapshot")?);
        self.buffer.advance(5 + length);
        Ok(true)
    }

    /// Writes the whole rows of the buffer to a file.
    fn stage(&mut self) -> Result<(), MetaError> {
        let rows = self.buffer.split_to(self.whole);
        self.whole = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let storage = self.machine.storage();
        let path = storage.new_staged_file();
        self.files.push(path.clone());
        let options = storage.file_options()?;
        let mut writer = SstFileWriter::create(&options);
        writer.open(path.as_path())?;
        let mut rest = &rows[..];
        let mut key = Vec::new();
        while let Some(row) = next_row(rest)? {
            key.clear();
            key.push(self.machine.space());
            key.extend_from_slice(row.row);
            writer.put(&key, row.stored)?;
            rest = &rest[row.bytes..];
        }
        Ok(writer.finish()?)
    }

    fn decide(&mut self, blob: Vec<u8>) -> Result<(), MetaError> {
        self.stage()?;
        let state = self.state.clone().ok_or(MetaError::Unreadable("snapshot"))?;
        if !self.buffer.is_empty() {
            return Err(MetaError::Unreadable("snapshot"));
        }
        let storage = self.machine.storage();
        storage.staging().sync_dir()?;
        failpoint(Step::SnapshotStaged);
        let names = self.files.iter().filter_map(|path| path.as_path().file_name()?.to_str().map(str::to_owned));
        let install = Install { files: names.collect(), blob, state, deleted: false };
        put_install(storage, self.machine.id(), &install)?;
        self.decided = true;
        failpoint(Step::SnapshotDecided);
        complete(storage, self.machine.id(), install, &self.machine.state())?;
        self.machine.installed(self.state.take().unwrap_or_default());
        Ok(())
    }
}

impl SnapshotWriter for Installer {
    fn write(&mut self, chunk: Bytes) -> Result<(), MachineError> {
        Ok(self.take(&chunk)?)
    }

    fn finish(mut self: Box<Self>, state_blob: Vec<u8>) -> Result<(), MachineError> {
        Ok(self.decide(state_blob)?)
    }
}

impl Drop for Installer {
    fn drop(&mut self) {
        if !self.decided {
            for file in &self.files {
                let _ = file.remove();
            }
        }
    }
}

struct StreamRow<'a> {
    row: &'a [u8],
    stored: &'a [u8],
    bytes: usize,
}

/// The row at the start of `bytes`; `None` when it is not there as a whole.
fn next_row(bytes: &[u8]) -> Result<Option<StreamRow<'_>>, MetaError> {
    let Some((header, rest)) = bytes.split_first_chunk::<ROW_HEADER_BYTES>() else { return Ok(None) };
    let [a, b, c, d, value @ ..] = *header;
    let row = u32::from_le_bytes([a, b, c, d]) as usize;
    let value = u32::from_le_bytes(value) as usize;
    // A row of another version may be a little larger than ours; far over the bounds is damage.
    if row == 0 || row > 2 * KEY_BYTES_MAX || value > 2 * ROW_BYTES_MAX {
        return Err(MetaError::Unreadable("snapshot"));
    }
    let Some(content) = rest.get(..row + value) else { return Ok(None) };
    let (row, stored) = content.split_at(row);
    Ok(Some(StreamRow { row, stored, bytes: ROW_HEADER_BYTES + content.len() }))
}

fn put_install(storage: &Storage, range: RangeId, install: &Install) -> Result<(), MetaError> {
    let mut batch = WriteBatch::default();
    batch.put(own_key(range, Own::Install), encode(install));
    storage.write(batch)?;
    storage.flush(storage.sequence())
}

/// Carries a decided install through, from wherever it stands.
fn complete(storage: &Storage, range: RangeId, mut install: Install, old: &RangeState) -> Result<(), MetaError> {
    if !install.deleted {
        let mut batch = WriteBatch::default();
        let snapshot = storage.snapshot();
        for state in [old, &install.state] {
            let Some(description) = &state.description else { continue };
            for (lower, upper) in table_spans(&snapshot, space_of(range), &description.bounds)? {
                batch.delete_range(lower, upper);
            }
        }
        drop(snapshot);
        install.deleted = true;
        batch.put(own_key(range, Own::Install), encode(&install));
        storage.write(batch)?;
        storage.flush(storage.sequence())?;
        failpoint(Step::SnapshotCleared);
    }
    let mut files = Vec::new();
    for file in install.files.iter().map(|name| storage.staging().join(name)) {
        if file.exists()? {
            files.push(file);
        }
    }
    if !files.is_empty() {
        storage.ingest(&files)?;
    }
    failpoint(Step::SnapshotIngested);
    let mut batch = WriteBatch::default();
    batch.put(own_key(range, Own::Blob), &install.blob);
    batch.put(own_key(range, Own::State), encode(&install.state));
    batch.delete(own_key(range, Own::Install));
    storage.write(batch)?;
    storage.flush(storage.sequence())?;
    failpoint(Step::SnapshotInstalled);
    Ok(())
}

/// After a restart: completes what was decided and removes what was not.
pub(crate) fn recover(storage: &Storage) -> Result<(), MetaError> {
    for (range, bytes) in storage.own_rows(Own::Install)? {
        let install: Install = decode(&bytes, "install of a snapshot")?;
        let old = match storage.get_own(range, Own::State)? {
            Some(bytes) => decode(&bytes, "state of a range")?,
            None => RangeState::default(),
        };
        tracing::info!(%range, files = install.files.len(), "completing the install of a snapshot");
        complete(storage, range, install, &old)?;
    }
    for file in storage.staging().list()? {
        file.remove()?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
