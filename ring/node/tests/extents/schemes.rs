//! Extents that are kept in another way than the cluster keeps anything: fewer copies, and stripes.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::TryStreamExt;
use karri_ring_node::{ExtentClient, ExtentRef, ReadError};
use karri_ring_placement::NodeSpec;
use karri_ring_types::{NodeId, Redundancy};

use crate::repair::{Condemn, MIB, flip_byte, largest_segment};
use crate::support::{TestCluster, eventually, owner, random_bytes, read, write, write_as};

const RS: Redundancy = Redundancy::Stripe { data: 3, parity: 2 };

fn stored(cluster: &TestCluster) -> u64 {
    cluster.nodes.iter().map(|node| node.store.usage().bytes).sum()
}

fn extents_held(cluster: &TestCluster) -> u64 {
    cluster.nodes.iter().map(|node| node.store.usage().extents).sum()
}

async fn read_range(client: &ExtentClient, extents: &[ExtentRef], start: u64, end: u64) -> Result<Vec<u8>, ReadError> {
    let mut found = Vec::new();
    let mut at = 0;
    for extent in extents {
        let (from, to) = (start.max(at), end.min(at + extent.length_bytes));
        if from < to {
            let pieces: Vec<Bytes> = client.read(extent, from - at..to - at).try_collect().await?;
            pieces.iter().for_each(|piece| found.extend_from_slice(piece));
        }
        at += extent.length_bytes;
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_copies_are_on_two_of_three_nodes() {
    let two = Redundancy::Copies(2);
    let cluster = TestCluster::start_for(3, two);
    let client = cluster.client(1);
    let (small, large) = (random_bytes(1, 100_000), random_bytes(2, 9 * MIB));
    let (first, second) = (write_as(&client, &small, two).await, write_as(&client, &large, two).await);
    // A quorum of two is both.
    assert_eq!(stored(&cluster), 2 * (small.len() + large.len()) as u64);
    let report = cluster.node(1).storage.replica_report().await;
    assert_eq!((report.extents, report.under_replicated), (2, 0));
    for node in 1..=3 {
        assert_eq!(cluster.node(node).storage.repair_once().await.pulled, 0, "nothing is missing anywhere");
    }
    for node in 1..=3 {
        cluster.network.isolate(NodeId(node));
        cluster.set_dead(node, true);
        let other = cluster.client(node % 3 + 1);
        assert!(read(&other, &first).await.unwrap() == small && read(&other, &second).await.unwrap() == large);
        cluster.network.heal();
        cluster.set_dead(node, false);
    }
    client.delete(&[first[0].id, second[0].id]).await;
    assert_eq!(extents_held(&cluster), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_copies_are_written_while_any_node_is_down_and_repaired() {
    let two = Redundancy::Copies(2);
    let mut cluster = TestCluster::start_for(3, two);
    cluster.network.isolate(NodeId(3));
    cluster.set_dead(3, true);
    let content = random_bytes(1, 3 * MIB);
    let extents = write_as(&cluster.client(1), &content, two).await;
    assert_eq!(extents[0].id.redundancy(), two);
    cluster.network.heal();
    cluster.set_dead(3, false);
    // A fourth node comes and takes places; the copy that it takes over is complete before the former is needed.
    cluster.add(4, 1 << 20);
    cluster.set_nodes([1, 3, 4]);
    for node in [1, 3, 4] {
        cluster.node(node).storage.repair_once().await;
    }
    cluster.network.isolate(NodeId(2));
    assert!(read(&cluster.client(1), &extents).await.unwrap() == content);
    assert_eq!(cluster.node(1).storage.replica_report().await.under_replicated, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stripe_is_read_whatever_two_of_five_nodes_are_lost() {
    let cluster = TestCluster::start_for(5, RS);
    let client = cluster.client(1);
    let content = random_bytes(1, 61 * MIB + 4321);
    let extents = write_as(&client, &content, RS).await;
    assert_eq!(extents.len(), 2);
    // A write is done when enough shards are; one that a slow node missed is made good by repair.
    for node in 1..=5 {
        cluster.node(node).storage.repair_once().await;
    }
    eventually("all shards", || extents_held(&cluster) == 10).await;
    let share = stored(&cluster) as f64 / content.len() as f64;
    assert!((1.66..1.67).contains(&share), "{share} bytes stored per byte");
    let length = content.len() as u64;
    let ranges =
        [(0, 1), (MIB as u64 - 1, MIB as u64 + 1), (6 * MIB as u64 - 7, 12 * MIB as u64 + 7), (length - 5, length)];
    for (lost, other) in (1..=5).flat_map(|lost| (lost + 1..=5).map(move |other| (lost, other))) {
        for node in [lost, other] {
            cluster.network.isolate(NodeId(node));
            cluster.set_dead(node, true);
        }
        let reader = cluster.client((1..=5).find(|node| ![lost, other].contains(node)).unwrap());
        for (start, end) in ranges {
            let found = read_range(&reader, &extents, start, end).await.unwrap();
            assert!(found == content[start as usize..end as usize], "{start}..{end} without {lost} and {other}");
        }
        if lost == 1 {
            assert!(read(&reader, &extents).await.unwrap() == content, "without {lost} and {other}");
        }
        cluster.network.heal();
        (1..=5).for_each(|node| cluster.set_dead(node, false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripes_of_many_sizes_are_what_was_written() {
    let scheme = Redundancy::Stripe { data: 4, parity: 2 };
    let cluster = TestCluster::start_for(6, scheme);
    let client = cluster.client(2);
    for length in [1, 1000, MIB - 1, MIB, MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 64 * MIB, 65 * MIB + 17] {
        let content = random_bytes(length as u64, length);
        let extents = write_as(&client, &content, scheme).await;
        assert_eq!(extents.iter().map(|extent| extent.length_bytes).sum::<u64>(), length as u64);
        assert_eq!(extents[0].id.redundancy() == scheme, length >= MIB, "{length}");
        assert!(read(&cluster.client(3), &extents).await.unwrap() == content, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_chunk_of_a_shard_is_read_around_and_repaired() {
    let cluster = TestCluster::start_for(5, RS);
    cluster.run();
    let content = random_bytes(1, 12 * MIB);
    let client = cluster.client(1);
    let extents = write_as(&client, &content, RS).await;
    eventually("all shards", || extents_held(&cluster) == 5).await;
    let mut places = Vec::new();
    for node in 1..=5 {
        let held = cluster.node(node).store.list(extents[0].id.partition(), None, 10).await.unwrap();
        places.push((held[0].0.kind().shard(), node));
    }
    // Parity last: its damage stays, and with a third shard's it would be too much.
    places.sort_unstable();
    for (shard, node) in places {
        flip_byte(&largest_segment(&cluster.node(node).dir), MIB as u64 + 5);
        assert!(read(&client, &extents).await.unwrap() == content, "node {node} has a bad chunk");
        if shard < 3 {
            let repaired = || cluster.node(node).storage.counters().bad_copies_repaired.load(Ordering::Relaxed) == 1;
            eventually("bad chunk repaired", repaired).await;
        } else {
            check_that_one_chunk_is_bad(&cluster, node).await;
        }
    }
}

/// Nobody reads parity until it is needed; the scrub does.
async fn check_that_one_chunk_is_bad(cluster: &TestCluster, node: u64) {
    let store = &cluster.node(node).store;
    let (id, header) = store.scan(None, 1).await.unwrap().remove(0);
    let header = header.unwrap();
    let mut bad = 0;
    for (index, digest) in (0..).zip(&header.chunk_digests) {
        bad += u32::from(!store.verify_chunk(id, index, *digest).await.unwrap());
    }
    assert_eq!(bad, 1, "one chunk is bad");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_rebuilds_the_shards_of_one_that_is_gone() {
    let mut cluster = TestCluster::start_for(5, RS);
    let client = cluster.client(1);
    let (large, small) = (random_bytes(1, 20 * MIB), random_bytes(2, 3 * MIB));
    let written = [(write_as(&client, &large, RS).await, large), (write_as(&client, &small, RS).await, small)];
    eventually("all shards", || extents_held(&cluster) == 10).await;
    let before = cluster.node(5).store.usage();
    cluster.network.isolate(NodeId(5));
    cluster.set_dead(5, true);
    cluster.add(6, 1 << 20);
    cluster.set_nodes([1, 2, 3, 4, 6]);
    assert!(cluster.node(1).storage.replica_report().await.under_replicated > 0);
    assert_eq!(cluster.node(6).storage.repair_once().await.pulled, 2);
    let after = cluster.node(6).store.usage();
    assert_eq!((after.extents, after.bytes), (before.extents, before.bytes), "what node 5 had, and no more");
    assert_eq!(cluster.node(1).storage.replica_report().await.under_replicated, 0);
    for node in 1..=4 {
        assert_eq!(cluster.node(node).storage.repair_once().await.pulled, 0, "the others keep their places");
    }
    for lost in [1, 2] {
        cluster.network.isolate(NodeId(lost));
        cluster.set_dead(lost, true);
    }
    for (extents, content) in &written {
        assert!(read(&cluster.client(6), extents).await.unwrap() == *content, "the rebuilt shards are good");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_stripe_is_gone_from_a_node_that_was_away() {
    let cluster = TestCluster::start_for(5, RS);
    let client = cluster.client(1);
    let extents = write_as(&client, &random_bytes(1, 4 * MIB), RS).await;
    eventually("all shards", || extents_held(&cluster) == 5).await;
    cluster.network.isolate(NodeId(3));
    assert!(client.delete(&[extents[0].id]).await.incomplete);
    cluster.network.heal();
    for node in [1, 2, 4, 5] {
        assert_eq!(cluster.node(node).storage.repair_once().await.pulled, 0, "none takes it back");
    }
    assert_eq!(cluster.node(3).storage.repair_once().await.deleted, 1);
    assert_eq!(extents_held(&cluster), 0);
    assert_eq!(read(&client, &extents).await, Err(ReadError::Lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orphan_stripe_is_condemned_as_one() {
    let cluster = TestCluster::start_for(5, RS);
    write_as(&cluster.client(1), &random_bytes(1, 4 * MIB), RS).await;
    eventually("all shards", || extents_held(&cluster) == 5).await;
    let verdicts = Condemn(Bytes::from(owner().route));
    let mut swept = 0;
    for node in 1..=5 {
        swept += cluster.node(node).storage.sweep_once(&verdicts).await;
    }
    assert_eq!((swept, extents_held(&cluster)), (1, 0), "one node asks, all delete");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stripe_that_cannot_be_held_is_kept_as_copies() {
    let cluster = TestCluster::start_for(5, RS);
    for node in [4, 5] {
        cluster.network.isolate(NodeId(node));
        cluster.set_dead(node, true);
    }
    let content = random_bytes(1, 9 * MIB);
    let extents = write_as(&cluster.client(1), &content, RS).await;
    assert!(
        extents.iter().all(|extent| extent.id.redundancy() == Redundancy::Cluster),
        "three nodes are no quorum of four"
    );
    assert!(read(&cluster.client(2), &extents).await.unwrap() == content);
    assert_eq!(cluster.node(1).storage.counters().schemes_not_held.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_that_hold_more_than_the_parity_are_no_place_for_a_stripe() {
    let spec = |id: u64, zone: u64| NodeSpec { id: NodeId(id), zone: zone.to_string(), capacity_bytes: 1 << 40 };
    let write_in = async |zones: u64| {
        let specs = (1..=5).map(|id| spec(id, id % zones)).collect();
        let cluster = TestCluster::start_on(specs, &[5], 1 << 20);
        write_as(&cluster.client(1), &random_bytes(1, 2 * MIB), RS).await[0].id.redundancy()
    };
    assert_eq!(write_in(2).await, Redundancy::Cluster, "a zone of three nodes would take three shards");
    assert_eq!(write_in(3).await, RS);
    assert_eq!(write_in(1).await, RS, "a single zone promises nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_lost_in_the_midst_of_a_stripe_lose_nothing() {
    let cluster = TestCluster::start_for(6, RS);
    let client = cluster.client(1);
    let content = random_bytes(3, 40 * MIB);
    let mut writer = client.writer_for(owner(), None, RS);
    for (index, piece) in content.chunks(MIB).enumerate() {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        if index == 14 {
            // More than the write quorum can do without.
            for node in [5, 6] {
                cluster.network.isolate(NodeId(node));
                cluster.set_dead(node, true);
            }
        }
    }
    let extents = writer.finish().await.unwrap();
    assert_eq!(extents.iter().map(|extent| extent.length_bytes).sum::<u64>(), content.len() as u64);
    assert!(read(&cluster.client(2), &extents).await.unwrap() == content);
    assert!(
        read_range(&cluster.client(3), &extents, 17 * MIB as u64 - 3, 31 * MIB as u64).await.unwrap()
            == content[17 * MIB - 3..31 * MIB]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_of_another_scheme_is_nobody_elses_to_pull() {
    let cluster = TestCluster::start_for(5, RS);
    let client = cluster.client(1);
    for seed in 0..6 {
        write(&client, &random_bytes(seed, 50_000)).await;
        write_as(&client, &random_bytes(seed, 2 * MIB), RS).await;
    }
    eventually("everything", || extents_held(&cluster) == 6 * 3 + 6 * 5).await;
    for node in 1..=5 {
        let round = cluster.node(node).storage.repair_once().await;
        assert_eq!((round.pulled, round.deleted, round.waiting), (0, 0, 0));
    }
    let report = cluster.node(1).storage.replica_report().await;
    assert_eq!((report.extents, report.under_replicated), (12, 0));
}
