//! Copies become good again, and only what is proven to be garbage goes.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::{TestCluster, eventually, owner, random_bytes, read, write};
use async_trait::async_trait;
use bytes::Bytes;
use karri_ring_node::{DeleteOutcome, Owner, ReadError, Verdict, Verdicts};
use karri_ring_types::{ExtentId, NodeId};

pub(crate) const MIB: usize = 1 << 20;

/// The largest segment of a store: the one with the run.
pub(crate) fn largest_segment(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

pub(crate) fn flip_byte(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_on_disk_is_read_around_and_repaired() {
    let cluster = TestCluster::start(3);
    cluster.run();
    let content = random_bytes(1, 8 * MIB);
    let client = cluster.client(1);
    let extents = write(&client, &content).await;
    // A quorum was enough for the writer; the copy here must be complete before it can go bad.
    eventually("a copy here", || cluster.node(1).store.usage().extents == 1).await;
    flip_byte(&largest_segment(&cluster.node(1).dir), 3 * MIB as u64 + 5);

    assert!(read(&client, &extents).await.unwrap() == content, "read around");
    let counters = cluster.node(1).storage.counters();
    eventually("bad copy repaired", || counters.bad_copies_repaired.load(Ordering::Relaxed) == 1).await;
    assert_eq!(counters.bad_copies_found.load(Ordering::Relaxed), 1);
    cluster.network.isolate(NodeId(1));
    assert!(read(&client, &extents).await.unwrap() == content, "from the repaired copy alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrupt_bytes_are_never_served() {
    let cluster = TestCluster::start(1);
    let client = cluster.client(1);
    let extents = write(&client, &random_bytes(1, 8 * MIB)).await;
    flip_byte(&largest_segment(&cluster.node(1).dir), 3 * MIB as u64 + 5);
    assert_eq!(read(&client, &extents).await, Err(ReadError::Lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_reaches_a_node_that_was_away_and_is_not_undone() {
    let cluster = TestCluster::start(3);
    let client = cluster.client(1);
    let extents = write(&client, &random_bytes(1, 9 * MIB)).await;
    eventually("all copies", || cluster.nodes.iter().all(|node| node.store.usage().extents == 1)).await;
    cluster.network.isolate(NodeId(3));
    assert_eq!(client.delete(&[extents[0].id]).await, DeleteOutcome { incomplete: true });
    cluster.network.heal();
    // Node 1 compares first: it must not take back what it has deleted.
    assert_eq!(cluster.node(1).storage.repair_once().await.pulled, 0);
    assert_eq!(cluster.node(3).storage.repair_once().await.deleted, 1);
    assert!(cluster.nodes.iter().all(|node| node.store.usage().extents == 0));
    assert_eq!(client.delete(&[extents[0].id]).await, DeleteOutcome { incomplete: false });
    assert_eq!(read(&client, &extents).await, Err(ReadError::Lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_owner_pulls_from_the_former_ones() {
    let cluster = TestCluster::start(4);
    let client = cluster.client(1);
    let mut written = Vec::new();
    for seed in 0..20 {
        let content = random_bytes(seed, 100_000);
        written.push((write(&client, &content).await, content));
    }
    cluster.set_layout(3);
    for node in 1..=3 {
        cluster.node(node).storage.repair_once().await;
    }
    let report = cluster.node(1).storage.replica_report().await;
    assert_eq!((report.extents, report.under_replicated), (20, 0));
    cluster.network.isolate(NodeId(4));
    for (extents, content) in written {
        assert!(read(&client, &extents).await.unwrap() == content);
    }
}

pub(crate) struct Condemn(pub(crate) Bytes);

#[async_trait]
impl Verdicts for Condemn {
    async fn verdict(&self, owner: &Owner, _extent: ExtentId) -> Option<Verdict> {
        Some(if owner.route == self.0 { Verdict::Condemned } else { Verdict::Referenced })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_condemned_orphans_are_deleted() {
    let cluster = TestCluster::start(3);
    let client = cluster.client(1);
    write(&client, &random_bytes(1, 100_000)).await;
    let mut orphan = client.writer(Owner { route: b"orphan".to_vec(), ..owner() });
    orphan.write(random_bytes(2, 100_000)).await.unwrap();
    orphan.finish().await.unwrap();
    eventually("all copies", || cluster.nodes.iter().all(|node| node.store.usage().extents == 2)).await;
    let verdicts: Arc<dyn Verdicts> = Arc::new(Condemn(Bytes::from_static(b"orphan")));
    let mut deleted = 0;
    for node in &cluster.nodes {
        deleted += node.storage.sweep_once(&*verdicts).await;
    }
    assert_eq!(deleted, 1, "one owner asks for all");
    assert!(cluster.nodes.iter().all(|node| node.store.usage().extents == 1));
}
