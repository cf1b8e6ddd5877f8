//! What was acknowledged is on a quorum and reads back, whichever minority of nodes is away.

use std::ops::Range;
use std::time::Duration;

use crate::support::{TestCluster, owner, random_bytes, read, write, write_as};
use bytes::Bytes;
use futures::TryStreamExt;
use karri_ring_node::WriteError;
use karri_ring_types::{CHUNK_SIZE_BYTES, EXTENT_SIZE_BYTES_MAX, NodeId, RUN_SIZE_BYTES, Redundancy};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_length_reads_back_through_any_node() {
    let cluster = TestCluster::start(3);
    let lengths = [
        1,
        CHUNK_SIZE_BYTES - 1,
        CHUNK_SIZE_BYTES,
        CHUNK_SIZE_BYTES + 1,
        RUN_SIZE_BYTES,
        RUN_SIZE_BYTES + 5,
        EXTENT_SIZE_BYTES_MAX as usize,
        EXTENT_SIZE_BYTES_MAX as usize + RUN_SIZE_BYTES + 1,
    ];
    for (seed, length) in (0..).zip(lengths) {
        let content = random_bytes(seed, length);
        let extents = write(&cluster.client(1), &content).await;
        assert_eq!(extents.len(), length.div_ceil(EXTENT_SIZE_BYTES_MAX as usize));
        for node in 1..=3 {
            let found = read(&cluster.client(node), &extents).await.unwrap();
            assert!(found == content, "{length} bytes through node {node}");
        }
    }
    assert!(cluster.client(1).writer(owner()).finish().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buffer_of_many_runs_is_taken_whole() {
    let cluster = TestCluster::start(1);
    let content = random_bytes(3, 70 * MIB + 3);
    let client = cluster.client(1);
    let mut writer = client.writer(owner());
    writer.write(content.clone()).await.unwrap();
    let extents = writer.finish().await.unwrap();
    assert!(read(&client, &extents).await.unwrap() == content);
    assert_eq!(writer.write(Bytes::from_static(b"more")).await, Err(WriteError::Closed));
}

/// A client that sends no more holds less than a chunk of the memory that others wait for.
async fn stalls_and_lets_others_write(cluster: &TestCluster, memory: usize, redundancy: Redundancy) {
    let client = cluster.client_with_memory(memory);
    let (slow, quick) = (random_bytes(11, 3 * MIB + MIB / 2), random_bytes(12, 3 * MIB));
    let (begun, rest) = (slow.slice(..3 * MIB + MIB / 4), slow.slice(3 * MIB + MIB / 4..));
    let mut writer = client.writer_for(owner(), None, redundancy);
    writer.write(begun).await.unwrap();
    let (go_on, mut told) = tokio::sync::oneshot::channel::<()>();
    let stalled = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = &mut told => break,
                () = writer.wanted() => writer.shed().await.unwrap(),
            }
        }
        writer.write(rest).await.unwrap();
        writer.finish().await.unwrap()
    });
    let written = tokio::time::timeout(Duration::from_secs(60), write_as(&client, &quick, redundancy)).await;
    let written = written.expect("others find memory");
    assert!(!stalled.is_finished(), "it waits for its client");
    go_on.send(()).unwrap();
    assert!(read(&cluster.client(1), &written).await.unwrap() == quick);
    assert!(read(&cluster.client(1), &stalled.await.unwrap()).await.unwrap() == slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_get_nothing_leave_memory_to_others() {
    stalls_and_lets_others_write(&TestCluster::start(3), 4 * MIB, Redundancy::Cluster).await;
    let stripes = Redundancy::Stripe { data: 3, parity: 2 };
    stalls_and_lets_others_write(&TestCluster::start_for(5, stripes), 7 * MIB, stripes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_with_an_old_layout_looks_for_a_newer_one() {
    let mut cluster = TestCluster::start(3);
    cluster.add(4, 1 << 20);
    let content = random_bytes(13, 2 * MIB);
    let extents = write(&cluster.client(1), &content).await;
    // Whom it asks answers, and has nothing.
    let reader = cluster.client_with_old_layout([4]);
    assert!(read(&reader, &extents).await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_exact() {
    let cluster = TestCluster::start(3);
    let content = random_bytes(4, 5 * MIB + 100);
    let client = cluster.client(2);
    let extents = write(&client, &content).await;
    let ranges: [Range<u64>; 6] = [
        0..1,
        CHUNK_SIZE_BYTES as u64 - 1..CHUNK_SIZE_BYTES as u64 + 1,
        3..5 * MIB as u64,
        5 * MIB as u64 + 99..u64::MAX,
        7..7,
        6 * MIB as u64..u64::MAX,
    ];
    for range in ranges {
        let chunks: Vec<Bytes> = client.read(&extents[0], range.clone()).try_collect().await.unwrap();
        let end = (range.end.min(content.len() as u64)) as usize;
        let start = (range.start as usize).min(end);
        assert!(chunks.concat() == content[start..end], "{range:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_in_mid_extent_delays_nobody_and_catches_up() {
    let cluster = TestCluster::start(3);
    let content = random_bytes(5, 40 * MIB + 17);
    let client = cluster.client(1);
    let mut writer = client.writer(owner());
    for (index, piece) in content.chunks(MIB).enumerate() {
        if index == 20 {
            cluster.network.isolate(NodeId(3));
        }
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let extents = writer.finish().await.unwrap();
    assert_eq!(extents.len(), 1, "a quorum was there all the time");
    assert!(read(&client, &extents).await.unwrap() == content);

    let report = cluster.node(1).storage.replica_report().await;
    assert_eq!((report.extents, report.under_replicated), (1, 1));
    assert!(!report.nodes[2].reachable);

    cluster.network.heal();
    assert_eq!(cluster.node(3).storage.repair_once().await.pulled, 1);
    assert_eq!(cluster.node(3).storage.repair_once().await, karri_ring_node::RepairRound::default());
    let report = cluster.node(1).storage.replica_report().await;
    assert_eq!((report.extents, report.under_replicated), (1, 0));

    // The copy is the whole extent: node 3 reads it alone.
    cluster.network.isolate(NodeId(3));
    assert!(read(&cluster.client(3), &extents).await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_lost_in_mid_extent_is_found_elsewhere() {
    let cluster = TestCluster::start(6);
    let content = random_bytes(6, 60 * MIB + 1);
    let client = cluster.client(1);
    let mut writer = client.writer(owner());
    let mut cut = Vec::new();
    for (index, piece) in content.chunks(MIB).enumerate() {
        if index == 30 {
            let first = writer.extents_so_far()[0];
            let layout = karri_ring_node::LayoutSource::layout(&*cluster.layout);
            let owners = layout.owners(first.partition()).to_vec();
            cut.extend(owners.into_iter().filter(|&node| node != NodeId(1)).take(2));
            cut.iter().for_each(|&node| cluster.network.isolate(node));
        }
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let extents = writer.finish().await.unwrap();
    assert_eq!(cut.len(), 2);
    assert!(writer.extents_so_far().len() > extents.len() || extents.len() > 1, "nothing was lost: {extents:?}");
    assert!(read(&client, &extents).await.unwrap() == content, "with two nodes away");
    cluster.network.heal();
    assert!(read(&cluster.client(cut[0].0), &extents).await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_a_write_fails_and_another_works_later() {
    let cluster = TestCluster::start(3);
    cluster.network.isolate(NodeId(1));
    let client = cluster.client(1);
    let mut writer = client.writer(owner());
    // Either call may be the one that says so.
    let written = writer.write(random_bytes(1, MIB)).await;
    let outcome = if written.is_ok() { writer.finish().await.map(drop) } else { written };
    assert_eq!(outcome, Err(WriteError::Unavailable));
    cluster.network.heal();
    write(&client, &random_bytes(2, MIB)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_refuse_writes() {
    let cluster = TestCluster::start_with(3, u64::MAX / 2);
    let client = cluster.client(1);
    let mut writer = client.writer(owner());
    writer.write(random_bytes(1, MIB)).await.unwrap();
    assert_eq!(writer.finish().await, Err(WriteError::DiskFull));
    assert!(cluster.node(1).storage.usage().full);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_known_to_be_dead_is_left_out_and_a_wrong_hint_does_no_harm() {
    let cluster = TestCluster::start(3);
    let client = cluster.client(1);
    cluster.set_dead(3, true);
    write(&client, &random_bytes(1, MIB)).await;
    assert_eq!(cluster.node(3).store.usage().extents, 0);
    cluster.set_dead(2, true);
    let content = random_bytes(2, MIB);
    let extents = write(&client, &content).await;
    assert!(read(&client, &extents).await.unwrap() == content, "all answer, whatever is said of them");
}
