use std::collections::BTreeMap;

use super::*;

/// Rows in memory.
#[derive(Default)]
struct Memory(BTreeMap<(u8, Key), Vec<u8>>);

impl Rows for Memory {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        Ok(self.0.get(&(table.0, key.to_vec())).map(|value| Bytes::from(value.clone())))
    }

    fn scan(&mut self, table: Table, start: &[u8], visit: &mut dyn FnMut(Key, Bytes) -> bool) -> Result<(), MetaError> {
        for ((of, key), value) in self.0.range((table.0, start.to_vec())..) {
            if *of != table.0 || !visit(key.clone(), Bytes::from(value.clone())) {
                break;
            }
        }
        Ok(())
    }

    fn put(&mut self, table: Table, key: Key, value: Vec<u8>) {
        self.0.insert((table.0, key), value);
    }

    fn delete(&mut self, table: Table, key: Key) {
        self.0.remove(&(table.0, key));
    }
}

fn change(operation: u128, seen: u64, key: &str, value: Option<&str>) -> Commit {
    Commit {
        operation,
        scopes: vec![("000000000000".to_owned(), seen)],
        writes: vec![(key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec()))],
    }
}

#[test]
fn a_change_on_what_is_not_the_newest_changes_nothing() {
    let mut rows = Memory::default();
    assert_eq!(commit(&mut rows, change(1, 0, "a", Some("1"))).unwrap(), Reply::Committed(1));
    let before = rows.0.clone();
    assert_eq!(commit(&mut rows, change(2, 0, "a", Some("2"))).unwrap(), Reply::Conflict);
    assert_eq!(rows.0, before);
    assert_eq!(commit(&mut rows, change(3, 1, "a", None)).unwrap(), Reply::Committed(2));
}

#[test]
fn a_change_that_arrives_again_is_made_once() {
    let mut rows = Memory::default();
    let first = change(1, 0, "a", Some("1"));
    commit(&mut rows, first.clone()).unwrap();
    commit(&mut rows, change(2, 1, "a", Some("2"))).unwrap();
    let before = rows.0.clone();
    assert_eq!(commit(&mut rows, first).unwrap(), Reply::Committed(1));
    assert_eq!(rows.0, before);
}

fn rows_of(rows: &mut Memory, since: u64) -> (Vec<RowKey>, u64, u64) {
    match changes(rows, since).unwrap() {
        Changes::Rows { rows, through, head } => (rows.into_iter().map(|(key, _)| key).collect(), through, head),
        Changes::Forgotten => panic!("forgotten"),
    }
}

#[test]
fn whoever_follows_gets_every_change_once_in_bounded_answers() {
    let mut rows = Memory::default();
    let large = "x".repeat(900 << 10);
    for number in 0..10 {
        commit(&mut rows, change(number.into(), number, &format!("key{number}"), Some(&large))).unwrap();
    }
    let (mut since, mut keys, mut answers) = (0, Vec::new(), 0);
    loop {
        let (changed, through, head) = rows_of(&mut rows, since);
        keys.extend(changed.into_iter().filter(|key| key.starts_with(b"key")));
        (since, answers) = (through, answers + 1);
        if through == head {
            break;
        }
    }
    assert_eq!((keys.len(), since), (10, 10));
    assert!(answers >= 4, "{answers}");
    assert_eq!(rows_of(&mut rows, 10), (vec![], 10, 10));
    assert_eq!(changes(&mut rows, 11).unwrap(), Changes::Forgotten);
}

#[test]
fn the_log_is_bounded_and_a_snapshot_takes_its_place() {
    let mut rows = Memory::default();
    for number in 0..LOG_LENGTH_MAX + 10 {
        commit(&mut rows, change(number.into(), number, &format!("key{}", number % 7), Some("v"))).unwrap();
    }
    let kept = |table: Table| rows.0.keys().filter(|(of, _)| *of == table.0).count() as u64;
    assert_eq!((kept(LOG), kept(OPERATIONS)), (LOG_LENGTH_MAX, LOG_LENGTH_MAX));
    assert_eq!(changes(&mut rows, 5).unwrap(), Changes::Forgotten);
    let first = page(&mut rows, Vec::new()).unwrap();
    assert_eq!((first.rows.len(), first.head, first.more), (8, LOG_LENGTH_MAX + 10, false));
}

#[test]
fn the_last_use_of_a_key_never_goes_back() {
    let mut rows = Memory::default();
    let used = |at| LastUsed { at: Timestamp(at), service: "s3".to_owned(), region: "r".to_owned() };
    touch(&mut rows, vec![("AKIA1".to_owned(), used(7))]).unwrap();
    touch(&mut rows, vec![("AKIA1".to_owned(), used(5))]).unwrap();
    let answer = answer(&mut rows, Query::LastUsed { keys: vec!["AKIA1".to_owned(), "AKIA2".to_owned()] }).unwrap();
    assert_eq!(decode::<LastUsedAnswer>(&answer).unwrap(), [Some(used(7)), None]);
}
