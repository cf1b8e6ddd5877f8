use std::sync::atomic::{AtomicI64, Ordering};

use futures::FutureExt;
use futures::future::join_all;

use super::*;

fn latches(shared: &[&str], exclusive: &[&str]) -> Latches {
    let names = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
    Latches { shared: names(shared), exclusive: names(exclusive) }
}

fn try_now(table: &Arc<LatchTable>, wanted: &Latches) -> Option<LatchGuard> {
    table.acquire(wanted).now_or_never().map(|guard| guard.expect("not full"))
}

#[test]
fn shared_latches_are_held_together_and_exclude_an_exclusive_one() {
    let table = Arc::new(LatchTable::default());
    let first = try_now(&table, &latches(&["b"], &["k1"])).expect("free");
    let second = try_now(&table, &latches(&["b"], &["k2"])).expect("shared");
    assert!(try_now(&table, &latches(&[], &["b"])).is_none());
    assert!(try_now(&table, &latches(&[], &["k1"])).is_none());
    drop(first);
    assert!(try_now(&table, &latches(&[], &["b"])).is_none());
    drop(second);
    assert!(try_now(&table, &latches(&[], &["b"])).is_some());
    assert!(table.state.lock().queues.is_empty() && table.state.lock().requests.is_empty());
}

#[test]
fn a_name_in_both_lists_is_exclusive() {
    let table = Arc::new(LatchTable::default());
    let _held = try_now(&table, &latches(&["a", "a"], &["a"])).expect("free");
    assert!(try_now(&table, &latches(&["a"], &[])).is_none());
}

#[tokio::test]
async fn a_waiting_writer_is_not_overtaken_by_readers() {
    let table = Arc::new(LatchTable::default());
    let reader = try_now(&table, &latches(&["a"], &[])).expect("free");
    let wanted_writer = latches(&[], &["a"]);
    let mut writer = Box::pin(table.acquire(&wanted_writer));
    assert!((&mut writer).now_or_never().is_none());
    let wanted_late = latches(&["a"], &[]);
    let mut late = Box::pin(table.acquire(&wanted_late));
    assert!((&mut late).now_or_never().is_none(), "a reader came before the waiting writer");
    drop(reader);
    let writer = writer.now_or_never().expect("granted").expect("not full");
    assert!((&mut late).now_or_never().is_none());
    drop(writer);
    assert!(late.now_or_never().is_some());
}

#[tokio::test]
async fn a_waiter_that_gives_up_leaves_no_trace() {
    let table = Arc::new(LatchTable::default());
    let held = try_now(&table, &latches(&["a"], &[])).expect("free");
    let wanted_writer = latches(&[], &["a"]);
    let mut writer = Box::pin(table.acquire(&wanted_writer));
    assert!((&mut writer).now_or_never().is_none());
    let wanted_reader = latches(&["a"], &[]);
    let mut reader = Box::pin(table.acquire(&wanted_reader));
    assert!((&mut reader).now_or_never().is_none());
    drop(writer);
    assert!(reader.now_or_never().is_some(), "the reader still waits for a writer that has gone");
    drop(held);
    assert!(table.state.lock().queues.is_empty() && table.state.lock().requests.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossing_requests_neither_deadlock_nor_overlap() {
    let table = Arc::new(LatchTable::default());
    let inside: Arc<[AtomicI64; 4]> = Arc::default();
    let tasks = (0..8u64).map(|task| {
        let (table, inside) = (table.clone(), inside.clone());
        tokio::spawn(async move {
            for round in 0..500u64 {
                let (a, b) = (((task + round) % 4) as usize, ((task * 3 + round * 7 + 1) % 4) as usize);
                let names = ["0", "1", "2", "3"];
                let guard = table.acquire(&latches(&[names[a]], &[names[b]])).await.expect("not full");
                assert_eq!(inside[b].fetch_add(100, Ordering::SeqCst), 0, "two in one exclusive latch");
                if a != b {
                    assert!(inside[a].fetch_add(1, Ordering::SeqCst) < 100, "shared beside exclusive");
                }
                tokio::task::yield_now().await;
                inside[b].fetch_sub(100, Ordering::SeqCst);
                if a != b {
                    inside[a].fetch_sub(1, Ordering::SeqCst);
                }
                drop(guard);
            }
        })
    });
    for done in join_all(tasks).await {
        done.expect("no overlap");
    }
    assert!(table.state.lock().queues.is_empty() && table.state.lock().requests.is_empty());
}

#[test]
fn the_queue_has_a_bound() {
    let table = Arc::new(LatchTable::default());
    let guards: Vec<_> = (0..REQUESTS_MAX).map(|_| try_now(&table, &latches(&["a"], &[])).expect("free")).collect();
    assert!(matches!(table.acquire(&latches(&["a"], &[])).now_or_never(), Some(Err(Full))));
    drop(guards);
}
