//! The latches of a range: who holds a name exclusively is alone, everybody gets there, and nothing is left.

use std::sync::Arc;

use shuttle::future;
use shuttle::sync::atomic::{AtomicI64, Ordering};

use crate::Latches;
use crate::latches::{LatchGuard, LatchTable};

/// How the tasks hold what they asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Until they are done.
    AsGranted,
    /// A planted fault: they let go before they are done.
    LetGoEarly,
}

const READER: i64 = 1;
const WRITER: i64 = 1000;

/// One schedule: tasks that want names together or alone, one of which gives up while it waits.
pub fn latches_exclude(holding: Holding) {
    let table = Arc::new(LatchTable::default());
    let names = Arc::new([AtomicI64::new(0), AtomicI64::new(0)]);
    // Each wants some of the two names: 0 not at all, 1 with others, 2 alone.
    let wants = [[2, 1], [1, 2], [2, 2], [1, 1]];
    let tasks: Vec<_> = wants
        .into_iter()
        .map(|want| {
            let (table, names) = (table.clone(), names.clone());
            future::spawn(async move { hold(&table, &names, want, holding).await })
        })
        .collect();
    let waiter = {
        let table = table.clone();
        future::spawn(async move {
            // Whoever is dropped while it waits leaves its place to the next.
            let wanted = latches([2, 2]);
            let mut acquire = Box::pin(table.acquire(&wanted));
            let once =
                std::future::poll_fn(|context| std::task::Poll::Ready(acquire.as_mut().poll(context).is_ready()));
            once.await
        })
    };
    future::block_on(async move {
        for task in tasks {
            task.await.expect("it gets there");
        }
        waiter.await.expect("it gives up");
        let all = table.acquire(&latches([2, 2])).await;
        drop(all.map_err(|_| "full").expect("nothing is left"));
    });
}

fn latches(want: [u8; 2]) -> Latches {
    let of = |kind: u8| {
        let wanted = want.into_iter().zip([b"a", b"b"]).filter(move |(how, _)| *how == kind);
        wanted.map(|(_, name)| name.to_vec()).collect()
    };
    Latches { shared: of(1), exclusive: of(2) }
}

async fn hold(table: &Arc<LatchTable>, names: &[AtomicI64; 2], want: [u8; 2], holding: Holding) {
    let guard = table.acquire(&latches(want)).await;
    let mut guard: Option<LatchGuard> = guard.ok();
    assert!(guard.is_some(), "not full");
    if holding == Holding::LetGoEarly {
        guard = None;
    }
    for (name, how) in names.iter().zip(want) {
        let step = if how == 2 { WRITER } else { READER };
        let before = name.fetch_add(step, Ordering::SeqCst);
        assert!(before < WRITER && (how == 1 || before == 0), "{before} are there with {how}");
    }
    future::yield_now().await;
    for (name, how) in names.iter().zip(want) {
        name.fetch_sub(if how == 2 { WRITER } else { READER }, Ordering::SeqCst);
    }
    drop(guard);
}
