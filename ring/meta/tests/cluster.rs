//! Three nodes over a network in memory, with real stores.

#![expect(clippy::disallowed_methods, reason = "it looks at the files of the host behind the node's back")]

#[allow(unreachable_pub)]
mod support;

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use karri_ring_meta::{COMMAND_BYTES_MAX, MetaError, ROW_BYTES_MAX, SYSTEM_RANGE};
use karri_ring_types::{NodeId, RangeId};
use support::{Cluster, PATIENCE, count, create, folders, get, put};

/// Keys that lie in different ranges, whatever their number.
fn key(number: usize) -> Vec<u8> {
    let mut key = vec![(number * 37 % 256) as u8];
    key.extend_from_slice(format!("/{number}").as_bytes());
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_becomes_three_without_a_restart() {
    let mut cluster = Cluster::bootstrapped(4).await;
    for number in 0..50 {
        put(&cluster.client(1), &key(number), Bytes::from(number.to_string())).await.expect("stored");
    }
    cluster.nodes[&1].meta.bootstrap(4).await.expect("does nothing the second time");
    cluster.start(2).await;
    cluster.start(3).await;
    cluster.spread().await;
    for node in 1..=3 {
        let status = cluster.nodes[&node].meta.status();
        assert_eq!(status.len(), 5);
        assert!(status.iter().all(|range| range.voters == [NodeId(1), NodeId(2), NodeId(3)]), "{status:?}");
        for number in 0..50 {
            let found = get(&cluster.client(node), &key(number)).await.expect("answers");
            assert_eq!(found, number.to_string(), "node {node} key {number}");
        }
    }
    // The leaderships are spread too, and every range is led once.
    let mut led = Vec::new();
    for node in 1..=3 {
        let ranges = cluster.nodes[&node].meta.led_ranges();
        assert!(!ranges.is_empty(), "node {node} leads nothing");
        led.extend(ranges.into_iter().map(|range| range.id));
    }
    led.sort();
    assert_eq!(led, (0..5).map(RangeId).collect::<Vec<_>>());

    cluster.stop(1).await;
    for number in 0..50 {
        let found = get(&cluster.client(2), &key(number)).await.expect("answers");
        assert_eq!(found, number.to_string());
        put(&cluster.client(3), &key(number), Bytes::from_static(b"new")).await.expect("stored");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_writers_exactly_one_wins() {
    let cluster = Cluster::of_three(2).await;
    for round in 0..40 {
        let key = key(round);
        let writers = (0..24u64).map(|writer| {
            let (client, key) = (cluster.client(writer % 3 + 1), key.clone());
            async move { create(&client, &key, &format!("writer {writer}"), PATIENCE).await.map(|won| (writer, won)) }
        });
        let results: Vec<(u64, bool)> =
            join_all(writers).await.into_iter().collect::<Result<_, _>>().expect("all are answered");
        let winners: Vec<u64> = results.into_iter().filter(|(_, won)| *won).map(|(writer, _)| writer).collect();
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let found = get(&cluster.client(round as u64 % 3 + 1), &key).await.expect("answers");
        assert_eq!(found, format!("writer {}", winners[0]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_wins_while_the_leader_is_cut_off() {
    const RANGE: RangeId = RangeId(1);
    let cluster = Cluster::of_three(1).await;
    for round in 0..5 {
        let key = key(round);
        let leader = cluster.leader(RANGE, &[1, 2, 3]).await;
        let writers = (0..12u64).map(|writer| {
            let (client, key) = (cluster.client(writer % 3 + 1), key.clone());
            tokio::spawn(async move {
                let result = create(&client, &key, &format!("writer {writer}"), Duration::from_secs(20)).await;
                (writer, result)
            })
        });
        let writers: Vec<_> = writers.collect();
        cluster.network.isolate(NodeId(leader));
        let others: Vec<u64> = (1..=3).filter(|&node| node != leader).collect();
        let next = cluster.leader(RANGE, &others).await;
        // The cut-off node believes to lead for a while; what it says must not be old.
        let late = (cluster.client(leader), cluster.client(next), key.clone());
        cluster.network.heal();
        let mut winners = Vec::new();
        for writer in writers {
            match writer.await.expect("no panic") {
                (writer, Ok(true)) => winners.push(writer),
                (_, Ok(false)) => {}
                (writer, Err(error)) => panic!("round {round}, writer {writer}: {error}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        for client in [late.0, late.1] {
            assert_eq!(get(&client, &late.2).await.expect("answers"), format!("writer {}", winners[0]));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_leader_neither_writes_nor_reads() {
    const RANGE: RangeId = RangeId(1);
    let cluster = Cluster::of_three(1).await;
    put(&cluster.client(1), b"k", Bytes::from_static(b"old")).await.expect("stored");
    let leader = cluster.leader(RANGE, &[1, 2, 3]).await;
    cluster.network.isolate(NodeId(leader));
    let wait = Duration::from_secs(2);
    let refused = create(&cluster.client(leader), b"other", "value", wait).await;
    assert!(matches!(refused, Err(MetaError::Unavailable | MetaError::OutcomeUnknown)), "{refused:?}");
    let others: Vec<u64> = (1..=3).filter(|&node| node != leader).collect();
    let next = cluster.leader(RANGE, &others).await;
    put(&cluster.client(next), b"k", Bytes::from_static(b"new")).await.expect("stored");
    let query = postcard::to_stdvec(&support::Query::Get { key: b"k".to_vec() }).expect("encodes");
    let read = cluster.client(leader).query(&support::route(b"k"), support::REGISTER, query.into(), wait).await;
    assert!(matches!(read, Err(MetaError::Unavailable)), "{read:?}");
    cluster.network.heal();
    assert_eq!(get(&cluster.client(leader), b"k").await.expect("answers"), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_must_not_be_repeated_are_not() {
    const RANGE: RangeId = RangeId(1);
    let cluster = Cluster::of_three(1).await;
    let mut counted = 0;
    let mut unknown = 0;
    for round in 0..6 {
        let leader = cluster.leader(RANGE, &[1, 2, 3]).await;
        let others: Vec<u64> = (1..=3).filter(|&node| node != leader).collect();
        let calls = (0..8u64).map(|call| {
            let client = cluster.client(call % 3 + 1);
            tokio::spawn(async move { count(&client, b"n", Duration::from_secs(15)).await })
        });
        let calls: Vec<_> = calls.collect();
        if round % 2 == 1 {
            cluster.network.isolate(NodeId(leader));
            cluster.leader(RANGE, &others).await;
            cluster.network.heal();
        }
        for call in calls {
            match call.await.expect("no panic") {
                Ok(_) => counted += 1,
                Err(MetaError::OutcomeUnknown) => unknown += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    let found = u32::from(get(&cluster.client(1), b"n").await.expect("answers")[0]);
    assert!(found >= counted && found <= counted + unknown, "{counted} counted, {unknown} unknown, {found} found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_restart_and_have_everything_acknowledged() {
    let mut cluster = Cluster::of_three(4).await;
    let mut stored = Vec::new();
    // First with the applied state as it is on disk, then with all of it lost, as when it was never flushed.
    for lost in [false, true] {
        let writers = (0..120).map(|number| {
            let number = number + stored.len();
            let client = cluster.client(number as u64 % 3 + 1);
            async move { put(&client, &key(number), Bytes::from(number.to_string())).await.map(|()| number) }
        });
        stored.extend(join_all(writers).await.into_iter().map(|number| number.expect("stored")));
        for node in 1..=3 {
            cluster.stop(node).await;
        }
        if lost {
            for node in 1..=3 {
                cluster.lose_applied_state(node).await;
            }
        }
        for node in 1..=3 {
            cluster.start(node).await;
        }
        for &number in &stored {
            let found = get(&cluster.client(number as u64 % 3 + 1), &key(number)).await.expect("answers");
            assert_eq!(found, number.to_string(), "lost: {lost}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_catches_up_by_a_snapshot() {
    const RANGE: RangeId = RangeId(1);
    let mut cluster = Cluster::of_three(1).await;
    cluster.stop(3).await;
    let value = Bytes::from(vec![7; 20 << 10]);
    for number in 0..300 {
        put(&cluster.client(1), &key(number), value.clone()).await.expect("stored");
    }
    for node in 1..=2 {
        cluster.nodes[&node].raft.group(RANGE).expect("open").compact().await.expect("compacts");
    }
    cluster.start(3).await;
    let wanted = cluster.nodes[&1].raft.group(RANGE).expect("open").applied_index();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while cluster.nodes[&3].raft.group(RANGE).expect("open").applied_index() < wanted {
        assert!(tokio::time::Instant::now() < deadline, "node 3 does not catch up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.stop(2).await;
    for number in 0..300 {
        assert_eq!(get(&cluster.client(3), &key(number)).await.expect("answers"), value);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_seeks_past_folders() {
    let cluster = Cluster::of_three(3).await;
    for folder in ["a", "b", "c"] {
        for file in 0..30 {
            put(&cluster.client(1), format!("bucket/{folder}/{file}").as_bytes(), Bytes::new()).await.expect("stored");
        }
    }
    put(&cluster.client(2), b"bucket/file", Bytes::new()).await.expect("stored");
    put(&cluster.client(2), b"bucket0", Bytes::new()).await.expect("stored");
    assert_eq!(folders(&cluster.client(3), b"bucket/").await, ["a/", "b/", "c/", "file"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_reads_its_range_for_background_work() {
    let cluster = Cluster::of_three(1).await;
    put(&cluster.client(1), b"k", Bytes::from_static(b"v")).await.expect("stored");
    let range = RangeId(1);
    let leader = cluster.leader(range, &[1, 2, 3]).await;
    for node in 1..=3 {
        let table = karri_ring_meta::Table(16);
        let rows = cluster.nodes[&node].meta.leader_read(range, |view| {
            let scan = view.scan(table, b"", b"").expect("scans");
            scan.map(|row| row.expect("reads").0).collect::<Vec<_>>()
        });
        assert_eq!(rows.is_some(), node == leader);
        if let Some(rows) = rows {
            assert_eq!(rows, [b"k".to_vec()]);
        }
    }
    assert!(cluster.nodes[&1].meta.leader_read(RangeId(99), |_| ()).is_none());
    assert!(cluster.nodes.values().any(|node| node.meta.led_ranges().iter().any(|range| range.id == SYSTEM_RANGE)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_at_once_from_anywhere() {
    let cluster = Cluster::of_three(1).await;
    let leader = cluster.leader(RangeId(1), &[1, 2, 3]).await;
    for node in 1..=3 {
        for (bytes, fits) in [(ROW_BYTES_MAX, true), (ROW_BYTES_MAX + 1, false), (COMMAND_BYTES_MAX, false)] {
            let stored = put(&cluster.client(node), b"k", Bytes::from(vec![1; bytes])).await;
            match stored {
                Ok(()) => assert!(fits, "{bytes} bytes through node {node} were taken"),
                Err(MetaError::TooLarge) => assert!(!fits, "{bytes} bytes through node {node} (leader {leader})"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_promised() {
    let mut cluster = Cluster::of_three(1).await;
    cluster.stop(2).await;
    cluster.stop(3).await;
    let wait = Duration::from_secs(3);
    let start = tokio::time::Instant::now();
    let refused = create(&cluster.client(1), b"k", "value", wait).await;
    assert!(matches!(refused, Err(MetaError::Unavailable | MetaError::OutcomeUnknown)), "{refused:?}");
    assert!(start.elapsed() < wait * 2, "the deadline was not kept");
    cluster.start(2).await;
    let won = create(&cluster.client(2), b"k", "value", PATIENCE).await.expect("answered");
    assert!(won, "the only writer lost");
}

/// Prints how fast one node stores rows of 4 KiB. `--ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_small_rows() {
    let cluster = Cluster::bootstrapped(4).await;
    let value = Bytes::from(vec![7; 4 << 10]);
    for writers in [1usize, 16, 64, 256] {
        let start = tokio::time::Instant::now();
        let each = 8000 / writers.max(8);
        join_all((0..writers).map(|writer| {
            let (client, value) = (cluster.client(1), value.clone());
            tokio::spawn(async move {
                for number in 0..each {
                    put(&client, &key(writer * 100_000 + number), value.clone()).await.expect("stored");
                }
            })
        }))
        .await;
        let seconds = start.elapsed().as_secs_f64();
        println!("{writers} writers: {:.0} rows/s", (writers * each) as f64 / seconds);
    }
}
