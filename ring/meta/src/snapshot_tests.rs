use std::sync::Arc;

use bytes::Bytes;
use karri_ring_disk::DiskPath;
use karri_ring_raft::EntryData;
use karri_ring_types::NodeId;
use tempfile::TempDir;

use super::*;
use crate::codec::Raw;
use crate::machine::Machine;
use crate::transaction::{Description, EntryHead, Fence, Transaction, Write, encode_entry};
use crate::{MetaConfig, View};
use karri_ring_raft::StateMachine;

const RANGE: RangeId = RangeId(5);
const FENCE: Fence = Fence(6);

fn storage() -> (TempDir, Arc<Storage>) {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(&dir);
    (dir, storage)
}

fn open(dir: &TempDir) -> Arc<Storage> {
    Arc::new(Storage::open(&MetaConfig::new(NodeId(1), DiskPath::host(dir.path()))).expect("a store"))
}

fn description(start: &[u8], end: &[u8]) -> Description {
    Description { bounds: Bounds { start: start.to_vec(), end: Some(end.to_vec()) }, version_base: 0 }
}

fn machine(storage: &Arc<Storage>, id: RangeId) -> Arc<RangeMachine> {
    Arc::new(RangeMachine::open(id, storage.clone()).expect("opens"))
}

fn apply(machine: &RangeMachine, index: u64, payload: Bytes, blob: &str) {
    let entry = EntryData { index, payload: Some(payload) };
    machine.apply_entries(vec![entry], blob.as_bytes().to_vec()).expect("applies");
}

/// A range `[b, y)` with `rows` in tables 16 and 255.
fn filled(storage: &Arc<Storage>, id: RangeId, bounds: Description, rows: u32, size: usize) -> Arc<RangeMachine> {
    let machine = machine(storage, id);
    apply(&machine, 1, encode_entry(&EntryHead::Describe(bounds.clone()), &[]), "1");
    apply(&machine, 2, encode_entry(&EntryHead::Fence(FENCE), &[]), "2");
    for row in 0..rows {
        let table = if row % 2 == 0 { 16 } else { 255 };
        let mut key = vec![table];
        key.extend_from_slice(&bounds.bounds.start);
        key.extend_from_slice(&row.to_be_bytes());
        let value = vec![row as u8; size];
        let writes = vec![Write { row: Raw(&key), value: Some(Raw(&value)) }];
        let transaction = Transaction { checks: vec![], writes }.encode();
        let entry = encode_entry(&EntryHead::Batch { fence: FENCE, count: 1 }, &[transaction]);
        apply(&machine, u64::from(row) + 3, entry, &format!("blob of {id} at {row}"));
    }
    machine
}

fn rows(machine: &RangeMachine) -> Vec<(u8, Vec<u8>, Bytes)> {
    let state = machine.state();
    let Some(description) = &state.description else { return Vec::new() };
    let snapshot = machine.storage().snapshot();
    let mut view = View::new(&snapshot, machine.space(), &description.bounds);
    let mut all = Vec::new();
    for table in 1..=255 {
        for row in view.scan(Table(table), b"", b"").expect("scans") {
            let (key, value) = row.expect("reads");
            all.push((table, key, value));
        }
    }
    all
}

fn chunks(machine: &Arc<RangeMachine>) -> (Vec<u8>, Vec<Bytes>) {
    let mut reader = Machine(machine.clone()).snapshot().expect("a snapshot");
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk().expect("a chunk") {
        assert!(chunk.len() <= SNAPSHOT_CHUNK_BYTES_MAX);
        chunks.push(chunk);
    }
    (reader.state_blob(), chunks)
}

fn install(machine: &Arc<RangeMachine>, blob: Vec<u8>, chunks: Vec<Bytes>) {
    let mut writer = Machine(machine.clone()).begin_install().expect("begins");
    for chunk in chunks {
        writer.write(chunk).expect("takes");
    }
    writer.finish(blob).expect("installs");
}

fn staged(storage: &Storage) -> usize {
    storage.staging().list().expect("a folder").len()
}

#[test]
fn a_snapshot_replaces_the_range_and_nothing_else() {
    let (_dir, from) = storage();
    // 45 MiB: several files, and rows across chunk borders.
    let source = filled(&from, RANGE, description(b"b", b"y"), 180, 256 << 10);
    let (to_dir, to) = storage();
    let neighbour = filled(&to, RangeId(6), description(b"y", b"z"), 10, 10);
    let system = filled(&to, RangeId(0), description(b"", b"zz"), 10, 10);
    let target = filled(&to, RANGE, description(b"a", b"y"), 7, 33);
    let (before_neighbour, before_system) = (rows(&neighbour), rows(&system));

    let (blob, chunks) = chunks(&source);
    install(&target, blob, chunks);
    assert_eq!(rows(&target), rows(&source));
    assert_eq!(target.state(), source.state());
    assert_eq!(Machine(target.clone()).applied().expect("reads"), b"blob of 5 at 179");
    assert_eq!((rows(&neighbour), rows(&system)), (before_neighbour, before_system));
    assert_eq!(staged(&to), 0);
    assert_eq!(fingerprint(&to, RANGE).expect("reads"), fingerprint(&from, RANGE).expect("reads"));
    let alike = fingerprint(&to, RANGE).expect("reads");
    let other = Transaction { checks: vec![], writes: vec![Write { row: Raw(b"\x10bmore"), value: Some(Raw(b"x")) }] };
    let other = encode_entry(&EntryHead::Batch { fence: FENCE, count: 1 }, &[other.encode()]);
    apply(&source, 200, other, "blob of 5 at 179");
    let changed = fingerprint(&from, RANGE).expect("reads");
    assert_eq!((alike.applied, alike.state == changed.state), (changed.applied, false));

    // It lives on: writes, and a restart.
    let wanted = rows(&target);
    drop((target, neighbour, system, to));
    let again = open(&to_dir);
    recover(&again).expect("recovers");
    assert_eq!(rows(&machine(&again, RANGE)), wanted);
}

#[test]
fn a_snapshot_shows_one_moment() {
    let (_dir, from) = storage();
    let source = filled(&from, RANGE, description(b"b", b"y"), 5, 10);
    let wanted = rows(&source);
    let mut reader = Machine(source.clone()).snapshot().expect("a snapshot");
    let late = Transaction { checks: vec![], writes: vec![Write { row: Raw(b"\x10blate"), value: Some(Raw(b"x")) }] };
    let late = encode_entry(&EntryHead::Batch { fence: FENCE, count: 1 }, &[late.encode()]);
    apply(&source, 100, late, "late");
    let (_to_dir, to) = storage();
    let target = machine(&to, RANGE);
    let mut writer = Machine(target.clone()).begin_install().expect("begins");
    while let Some(chunk) = reader.next_chunk().expect("a chunk") {
        // The smallest pieces a stream can be cut into.
        for byte in chunk.chunks(3) {
            writer.write(Bytes::copy_from_slice(byte)).expect("takes");
        }
    }
    assert_eq!(reader.state_blob(), b"blob of 5 at 4");
    writer.finish(reader.state_blob()).expect("installs");
    assert_eq!(rows(&target), wanted);
}

#[test]
fn an_unfinished_install_changes_nothing() {
    let (_dir, from) = storage();
    let source = filled(&from, RANGE, description(b"b", b"y"), 140, 256 << 10);
    let (_to_dir, to) = storage();
    let target = filled(&to, RANGE, description(b"b", b"y"), 7, 33);
    let wanted = rows(&target);
    let (_, chunks) = chunks(&source);
    let mut writer = Machine(target.clone()).begin_install().expect("begins");
    for chunk in &chunks[..chunks.len() - 1] {
        writer.write(chunk.clone()).expect("takes");
    }
    assert_eq!(staged(&to), 1);
    drop(writer);
    assert_eq!((rows(&target), staged(&to)), (wanted.clone(), 0));

    // Cut off in the middle of a row, or damaged: refused.
    let mut writer = Machine(target.clone()).begin_install().expect("begins");
    for chunk in &chunks[..chunks.len() - 1] {
        writer.write(chunk.clone()).expect("takes");
    }
    assert!(writer.finish(b"blob".to_vec()).is_err());
    let mut writer = Machine(target.clone()).begin_install().expect("begins");
    assert!(writer.write(Bytes::from_static(b"\x07\x00\x00\x00\x00")).is_err());
    assert_eq!(rows(&target), wanted);
}

/// Stages a snapshot of `source` as a crash after the decision finds it.
fn decided(target: &Arc<RangeMachine>, source: &Arc<RangeMachine>) -> Install {
    let (blob, chunks) = chunks(source);
    let mut installer = Installer::new(target.clone());
    for chunk in chunks {
        installer.take(&chunk).expect("takes");
    }
    installer.stage().expect("stages");
    installer.decided = true;
    let names = installer
        .files
        .iter()
        .map(|file| file.as_path().file_name().expect("a name").to_str().expect("utf-8").to_owned());
    let install =
        Install { files: names.collect(), blob, state: installer.state.clone().expect("a state"), deleted: false };
    put_install(target.storage(), RANGE, &install).expect("decides");
    install
}

#[test]
fn a_decided_install_is_completed_after_a_crash_wherever_it_stood() {
    let (_dir, from) = storage();
    let source = filled(&from, RANGE, description(b"b", b"y"), 140, 256 << 10);
    for crash in ["decided", "deleted", "ingested one", "ingested all"] {
        let (dir, to) = storage();
        let target = filled(&to, RANGE, description(b"a", b"y"), 7, 33);
        let mut install = decided(&target, &source);
        assert_eq!(install.files.len(), 2);
        if crash != "decided" {
            let mut batch = WriteBatch::default();
            let snapshot = to.snapshot();
            for (lower, upper) in table_spans(&snapshot, 2, &description(b"a", b"y").bounds).expect("reads") {
                batch.delete_range(lower, upper);
            }
            install.deleted = true;
            batch.put(own_key(RANGE, Own::Install), encode(&install));
            to.write(batch).expect("writes");
        }
        let files: Vec<_> = install.files.iter().map(|name| to.staging().join(name)).collect();
        match crash {
            "ingested one" => to.ingest(&files[..1]).expect("ingests"),
            "ingested all" => to.ingest(&files).expect("ingests"),
            _ => {}
        }
        drop((target, to));
        let again = open(&dir);
        recover(&again).expect("recovers");
        let target = machine(&again, RANGE);
        assert!(rows(&target) == rows(&source), "after a crash when {crash}");
        assert_eq!(Machine(target).applied().expect("reads"), b"blob of 5 at 139");
        assert_eq!((again.own_rows(Own::Install).expect("reads").len(), staged(&again)), (0, 0));
    }
}

#[test]
fn an_empty_range_can_be_copied_too() {
    let (_dir, from) = storage();
    let (_to_dir, to) = storage();
    let target = filled(&to, RANGE, description(b"a", b"y"), 7, 33);
    let (blob, chunks) = chunks(&filled(&from, RANGE, description(b"b", b"y"), 0, 0));
    install(&target, blob, chunks);
    assert_eq!(rows(&target), []);
    assert_eq!(Machine(target).applied().expect("reads"), b"2");
}
