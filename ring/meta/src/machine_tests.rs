use std::collections::BTreeMap;

use karri_ring_disk::DiskPath;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;
use tempfile::TempDir;

use super::*;
use crate::row::Bounds;
use crate::transaction::encode_entry;
use crate::{MetaConfig, Table, View};
use karri_ring_types::NodeId;

const RANGE: RangeId = RangeId(3);
const FENCE: Fence = Fence(77);

pub(crate) fn storage() -> (TempDir, Arc<Storage>) {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(&MetaConfig::new(NodeId(1), DiskPath::host(dir.path()))).expect("a store");
    (dir, Arc::new(storage))
}

fn bounds(start: &[u8], end: &[u8]) -> Bounds {
    Bounds { start: start.to_vec(), end: (!end.is_empty()).then(|| end.to_vec()) }
}

/// A described and fenced range; its next entry is number 3.
fn range(storage: &Arc<Storage>, id: RangeId, bounds: Bounds) -> RangeMachine {
    let machine = RangeMachine::open(id, storage.clone()).expect("opens");
    let description = Description { bounds, version_base: 0 };
    let entries = [EntryHead::Describe(description), EntryHead::Fence(FENCE)];
    let entries = entries.iter().map(|head| encode_entry(head, &[]));
    apply(&machine, 1, entries.collect());
    machine
}

fn apply(machine: &RangeMachine, first: u64, payloads: Vec<Bytes>) -> Vec<Bytes> {
    let entries = payloads.into_iter().zip(first..);
    let entries = entries.map(|(payload, index)| EntryData { index, payload: Some(payload) });
    machine.apply_entries(entries.collect(), format!("blob {first}").into_bytes()).expect("applies")
}

fn batch(fence: Fence, transactions: &[Bytes]) -> Bytes {
    encode_entry(&EntryHead::Batch { fence, count: transactions.len() as u32 }, transactions)
}

fn view<T>(machine: &RangeMachine, work: impl FnOnce(&mut View<'_>) -> T) -> (T, Result<Option<Bytes>, MetaError>) {
    let state = machine.state();
    let bounds = &state.description.as_ref().expect("described").bounds;
    let snapshot = machine.storage().snapshot();
    let mut view = View::new(&snapshot, machine.space(), bounds);
    let result = work(&mut view);
    (result, view.finish())
}

fn transaction(machine: &RangeMachine, work: impl FnOnce(&mut View<'_>)) -> Bytes {
    view(machine, work).1.expect("no mistake").expect("writes")
}

fn get(machine: &RangeMachine, table: u8, key: &[u8]) -> Option<Bytes> {
    view(machine, |view| view.get(Table(table), key).expect("in range")).0
}

fn create(key: &'static [u8], value: &'static [u8]) -> impl FnOnce(&mut View<'_>) {
    move |view| {
        let _ = view.get(Table(16), key).expect("in range");
        view.put(Table(16), key.to_vec(), value);
    }
}

#[test]
fn of_two_creations_in_one_entry_the_first_wins() {
    let (_dir, storage) = storage();
    let machine = range(&storage, RANGE, Bounds::default());
    let one = transaction(&machine, create(b"k", b"one"));
    let two = transaction(&machine, create(b"k", b"two"));
    let replies = apply(&machine, 3, vec![batch(FENCE, &[one.clone(), two]), batch(FENCE, &[one])]);
    assert_eq!(replies, [&[1u8, 2][..], &[2]]);
    assert_eq!(get(&machine, 16, b"k").as_deref(), Some(&b"one"[..]));
}

#[test]
fn a_row_that_was_deleted_or_written_again_is_a_conflict() {
    let (_dir, storage) = storage();
    let machine = range(&storage, RANGE, Bounds::default());
    let made = transaction(&machine, create(b"k", b"one"));
    apply(&machine, 3, vec![batch(FENCE, &[made])]);
    let update = transaction(&machine, create(b"k", b"update"));
    let delete = transaction(&machine, |view| view.delete(Table(16), b"k".to_vec()));
    let replies = apply(&machine, 4, vec![batch(FENCE, &[delete, update])]);
    assert_eq!(replies, [&[1u8, 2][..]]);
    assert_eq!(get(&machine, 16, b"k"), None);
}

#[test]
fn transactions_of_a_former_leadership_are_stale() {
    let (_dir, storage) = storage();
    let machine = range(&storage, RANGE, Bounds::default());
    let late = transaction(&machine, create(b"k", b"late"));
    let fence = encode_entry(&EntryHead::Fence(Fence(78)), &[]);
    let replies = apply(&machine, 3, vec![fence, batch(FENCE, std::slice::from_ref(&late)), batch(Fence(78), &[late])]);
    assert_eq!(replies, [&[1u8][..], &[3], &[1]]);
}

#[test]
fn writes_outside_the_bounds_or_in_table_0_are_refused() {
    let (_dir, storage) = storage();
    let wide = range(&storage, RangeId(9), Bounds::default());
    let narrow = range(&storage, RANGE, bounds(b"d", b"m"));
    let outside = transaction(&wide, |view| view.put(Table(16), b"z".to_vec(), &b"v"[..]));
    assert_eq!(apply(&narrow, 3, vec![batch(FENCE, &[outside])]), [&[4u8][..]]);
    assert_eq!(get(&wide, 16, b"z"), None);

    let (_, mistake) = view(&narrow, |view| view.put(Table(16), b"z".to_vec(), &b"v"[..]));
    assert!(matches!(mistake, Err(MetaError::OutOfRange(_))));
    let (found, _) = view(&narrow, |view| view.get(Table(16), b"c").map(drop));
    assert!(matches!(found, Err(MetaError::OutOfRange(_))));
    let (found, _) = view(&narrow, |view| view.get(Table(0), b"e").map(drop));
    assert!(matches!(found, Err(MetaError::OutOfRange(_))));
}

#[test]
fn rows_and_transactions_have_bounds() {
    let (_dir, storage) = storage();
    let machine = range(&storage, RANGE, Bounds::default());
    let (_, mistake) = view(&machine, |view| view.put(Table(16), b"k".to_vec(), vec![0; crate::ROW_BYTES_MAX + 1]));
    assert!(matches!(mistake, Err(MetaError::TooLarge)));
    let (_, mistake) = view(&machine, |view| view.put(Table(16), vec![1; crate::KEY_BYTES_MAX + 1], &b""[..]));
    assert!(matches!(mistake, Err(MetaError::TooLarge)));
    let (_, mistake) = view(&machine, |view| {
        for key in 0..5 {
            view.put(Table(16), vec![key], vec![0; crate::ROW_BYTES_MAX]);
        }
    });
    assert!(matches!(mistake, Err(MetaError::TooLarge)));
}

#[test]
fn a_range_keeps_its_rows_bounds_and_fence_over_a_restart() {
    let (dir, storage) = storage();
    let machine = range(&storage, RANGE, bounds(b"a", b"m"));
    let made = transaction(&machine, create(b"k", b"one"));
    apply(&machine, 3, vec![batch(FENCE, &[made])]);
    Machine(Arc::new(machine)).flush().expect("flushes");
    drop(storage);
    let storage =
        Arc::new(Storage::open(&MetaConfig::new(NodeId(1), DiskPath::host(dir.path()))).expect("opens again"));
    let machine = RangeMachine::open(RANGE, storage).expect("opens again");
    assert_eq!(get(&machine, 16, b"k").as_deref(), Some(&b"one"[..]));
    assert_eq!(machine.state().fence, FENCE);
    assert_eq!(machine.state().description.as_ref().map(|d| d.bounds.clone()), Some(bounds(b"a", b"m")));
    assert_eq!(Machine(Arc::new(machine)).applied().expect("reads"), b"blob 3");
}

#[test]
fn the_system_range_has_its_own_keys() {
    let (_dir, storage) = storage();
    let system = range(&storage, crate::SYSTEM_RANGE, Bounds::default());
    let data = range(&storage, RANGE, Bounds::default());
    let made = transaction(&system, create(b"k", b"system"));
    apply(&system, 3, vec![batch(FENCE, &[made])]);
    assert_eq!(get(&data, 16, b"k"), None);
    assert_eq!(get(&system, 16, b"k").as_deref(), Some(&b"system"[..]));
}

#[test]
fn damaged_entries_stop_the_range_and_change_nothing() {
    let (_dir, storage) = storage();
    let machine = range(&storage, RANGE, Bounds::default());
    let made = transaction(&machine, create(b"k", b"one"));
    let cut = batch(FENCE, &[made.slice(..made.len() - 1)]);
    let entry = EntryData { index: 3, payload: Some(cut) };
    assert!(machine.apply_entries(vec![entry], vec![]).is_err());
    assert_eq!(get(&machine, 16, b"k"), None);
}

/// What the model does to one row, or asks.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, Vec<u8>, Vec<u8>),
    Delete(u8, Vec<u8>),
    Get(u8, Vec<u8>),
    Scan(u8, Vec<u8>, Vec<u8>, Vec<u8>),
    LastBefore(u8, Vec<u8>, Vec<u8>),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![0u8..4, 0xfeu8..=0xff], 0..3)
}

fn step() -> impl Strategy<Value = Step> {
    let table = || 1u8..4;
    prop_oneof![
        3 => (table(), key(), vec(any::<u8>(), 0..20)).prop_map(|(t, k, v)| Step::Put(t, k, v)),
        1 => (table(), key()).prop_map(|(t, k)| Step::Delete(t, k)),
        2 => (table(), key()).prop_map(|(t, k)| Step::Get(t, k)),
        1 => (table(), key(), key(), key()).prop_map(|(t, a, b, s)| Step::Scan(t, a, b, s)),
        1 => (table(), key(), key()).prop_map(|(t, a, b)| Step::LastBefore(t, a, b)),
    ]
}

type Model = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

fn span(model: &Model, bounds: &Bounds, table: u8, start: &[u8], end: &[u8]) -> Vec<(Vec<u8>, Bytes)> {
    let inside = |key: &[u8]| key >= start && (end.is_empty() || key < end) && bounds.contains(key);
    let rows = model.iter().filter(|((t, key), _)| *t == table && inside(key));
    rows.map(|((_, key), value)| (key.clone(), Bytes::from(value.clone()))).collect()
}

/// Runs the steps on a view and on copies of the model: reads of rows see the view's writes, scans do not.
fn run(view: &mut View<'_>, bounds: &Bounds, before: &Model, after: &mut Model, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Put(table, key, value) if bounds.contains(key) => {
                view.put(Table(*table), key.clone(), value.clone());
                after.insert((*table, key.clone()), value.clone());
            }
            Step::Delete(table, key) if bounds.contains(key) => {
                view.delete(Table(*table), key.clone());
                after.remove(&(*table, key.clone()));
            }
            Step::Get(table, key) if bounds.contains(key) => {
                let wanted = after.get(&(*table, key.clone())).map(|value| Bytes::from(value.clone()));
                assert_eq!(view.peek(Table(*table), key).expect("reads"), wanted);
                assert_eq!(view.get(Table(*table), key).expect("reads"), wanted);
            }
            Step::Put(..) | Step::Delete(..) | Step::Get(..) => {}
            Step::Scan(table, start, end, seek) => {
                let wanted = span(before, bounds, *table, start, end);
                let scan = view.scan(Table(*table), start, end).expect("scans");
                assert_eq!(scan.map(|row| row.expect("reads")).collect::<Vec<_>>(), wanted);
                let mut scan = view.scan(Table(*table), start, end).expect("scans");
                scan.seek(seek);
                let wanted: Vec<_> = wanted.into_iter().filter(|(key, _)| key >= seek).collect();
                assert_eq!(scan.map(|row| row.expect("reads")).collect::<Vec<_>>(), wanted);
            }
            Step::LastBefore(table, start, end) => {
                let wanted = span(before, bounds, *table, start, end).pop();
                assert_eq!(view.last_before(Table(*table), start, end).expect("reads"), wanted);
            }
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 48, ..Config::default() })]

    /// Two neighbouring ranges in one store, each with transactions made in pairs from the same state: the second
    /// of a pair must be refused exactly when the first changed a row that it has read.
    #[test]
    fn ranges_behave_as_a_map(
        cut in key(),
        rounds in vec((any::<bool>(), vec(step(), 1..8), vec(step(), 1..8)), 1..12),
    ) {
        let (_dir, storage) = storage();
        let all = [bounds(b"", &cut), Bounds { start: cut.clone(), end: None }];
        let machines = [range(&storage, RangeId(1), all[0].clone()), range(&storage, RangeId(2), all[1].clone())];
        let mut model = Model::new();
        for (index, (right, first, second)) in (3..).zip(rounds) {
            let (machine, bounds) = (&machines[usize::from(right)], &all[usize::from(right)]);
            if cut.is_empty() && !right {
                continue;
            }
            let mut after_first = model.clone();
            let (_, one) = view(machine, |view| run(view, bounds, &model, &mut after_first, &first));
            let mut after_second = model.clone();
            let (_, two) = view(machine, |view| run(view, bounds, &model, &mut after_second, &second));
            let (one, two) = (one.expect("no mistake"), two.expect("no mistake"));
            let transactions: Vec<Bytes> = one.iter().chain(&two).cloned().collect();
            let reply = apply(machine, index, vec![batch(FENCE, &transactions)]).remove(0);
            if one.is_some() {
                assert_eq!(reply[0], Verdict::Applied as u8);
            }
            let conflict = one.is_some() && conflicts(bounds, &model, &first, &second);
            if two.is_some() {
                let wanted = if conflict { Verdict::Conflict } else { Verdict::Applied };
                assert_eq!(*reply.last().expect("a verdict"), wanted as u8);
            }
            model = after_first;
            if two.is_some() && !conflict {
                write(&mut model, bounds, &second);
            }
        }
        for (machine, bounds) in machines.iter().zip(&all).skip(usize::from(cut.is_empty())) {
            for table in 1..4 {
                let (rows, _) = view(machine, |view| view.scan(Table(table), b"", b"").expect("scans")
                    .map(|row| row.expect("reads")).collect::<Vec<_>>());
                assert_eq!(rows, span(&model, bounds, table, b"", b""));
            }
        }
    }
}

fn write(model: &mut Model, bounds: &Bounds, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Put(table, key, value) if bounds.contains(key) => {
                model.insert((*table, key.clone()), value.clone());
            }
            Step::Delete(table, key) if bounds.contains(key) => {
                model.remove(&(*table, key.clone()));
            }
            _ => {}
        }
    }
}

/// Whether `second` has read, before writing it itself, a row whose version `first` changes.
fn conflicts(bounds: &Bounds, before: &Model, first: &[Step], second: &[Step]) -> bool {
    let mut changed = BTreeMap::new();
    for step in first {
        match step {
            Step::Put(table, key, _) => changed.insert((*table, key.clone()), true),
            Step::Delete(table, key) => {
                let row = (*table, key.clone());
                let existed = before.contains_key(&row);
                changed.insert(row, existed)
            }
            _ => None,
        };
    }
    let mut written = std::collections::BTreeSet::new();
    second.iter().any(|step| match step {
        Step::Put(table, key, _) | Step::Delete(table, key) => {
            written.insert((*table, key.clone()));
            false
        }
        Step::Get(table, key) => {
            let row = (*table, key.clone());
            bounds.contains(key) && !written.contains(&row) && changed.get(&row) == Some(&true)
        }
        _ => false,
    })
}
