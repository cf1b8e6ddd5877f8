//! Bytes written per byte stored, speed and processor time of the store: the figures of ADR 0003.
//!
//! `cargo run --release -p karri-ring-extent --example measure -- DIR`

#![expect(clippy::disallowed_methods, reason = "it looks at the files of the host behind the node's back")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use karri_ring_disk::DiskPath;
use karri_ring_extent::{ExtentConfig, ExtentHeader, ExtentStore, Owner, Run};
use karri_ring_types::{
    CHUNK_SIZE_BYTES, Clock, DataId, Digest, ExtentId, RUN_SIZE_BYTES, Redundancy, Rng, SeededRng, SystemClock,
    Timestamp,
};

const GIB: u64 = 1 << 30;

struct Costs {
    at: Duration,
    written_bytes: u64,
    processor: Duration,
}

impl Costs {
    fn now(clock: &SystemClock) -> Self {
        let io = fs::read_to_string("/proc/self/io").expect("Linux");
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("write_bytes");
        let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("stat").split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<u64>().expect("ticks");
        Self {
            at: clock.monotonic(),
            written_bytes: written.parse().expect("a number"),
            processor: Duration::from_millis(10 * (ticks(11) + ticks(12))),
        }
    }

    fn report(&self, what: &str, clock: &SystemClock, stored_bytes: u64) {
        let end = Self::now(clock);
        let gib = stored_bytes as f64 / GIB as f64;
        println!(
            "{what:<44} {:>6.2} written/byte {:>7.0} MiB/s {:>6.2} CPU s/GiB",
            (end.written_bytes - self.written_bytes) as f64 / stored_bytes as f64,
            gib * 1024.0 / (end.at - self.at).as_secs_f64(),
            (end.processor - self.processor).as_secs_f64() / gib,
        );
    }
}

fn owner() -> Owner {
    Owner { data: DataId(1), route: b"bucket/key".to_vec() }
}

async fn write_extent(store: &Arc<ExtentStore>, id: ExtentId, length: usize, source: &Bytes, digest: Digest) {
    let header = ExtentHeader {
        owner: owner(),
        length_bytes: length as u64,
        chunk_digests: vec![digest; length.div_ceil(CHUNK_SIZE_BYTES)],
        created: Timestamp(0),
        stripe: None,
    };
    let mut offset = 0;
    while offset < length {
        let end = length.min(offset + RUN_SIZE_BYTES);
        let starts = (offset..end).step_by(CHUNK_SIZE_BYTES);
        let chunks = starts.map(|start| source.slice(..CHUNK_SIZE_BYTES.min(end - start))).collect();
        let first_chunk = (offset / CHUNK_SIZE_BYTES) as u32;
        let run = Run { extent: id, owner: owner(), first_chunk, chunks };
        if end == length {
            store.write_run_and_seal(run, header.clone()).await.expect("write");
        } else {
            store.write_run(run).await.expect("write");
        }
        offset = end;
    }
}

async fn write_all(store: &Arc<ExtentStore>, total: u64, length: usize, writers: u64) -> Vec<ExtentId> {
    let mut chunk = vec![0; CHUNK_SIZE_BYTES];
    SeededRng::new(1).fill(&mut chunk);
    let (chunk, digest) = (Bytes::from(chunk.clone()), Digest::of(&chunk[..length.min(CHUNK_SIZE_BYTES)]));
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let (store, chunk) = (store.clone(), chunk.clone());
        tasks.push(tokio::spawn(async move {
            let (clock, rng) = (SystemClock::default(), SeededRng::new(writer + 100));
            let mut ids = Vec::new();
            for _ in 0..total / length as u64 / writers {
                let id = ExtentId::generate_for(&clock, &rng, Redundancy::Cluster);
                write_extent(&store, id, length, &chunk, digest).await;
                ids.push(id);
            }
            ids
        }));
    }
    let mut ids = Vec::new();
    for task in tasks {
        ids.extend(task.await.expect("writer"));
    }
    ids
}

async fn measure(dir: &Path, total: u64, length: usize, writers: u64) {
    let clock = SystemClock::default();
    let _ = fs::remove_dir_all(dir);
    let store = ExtentStore::open(ExtentConfig { dir: DiskPath::host(dir), reserve_bytes: GIB }).expect("open");
    let name = format!("{} KiB extents, {writers} writers", length >> 10);
    let before = Costs::now(&clock);
    let ids = write_all(&store, total, length, writers).await;
    before.report(&format!("{name}: write"), &clock, total);
    // Flushes and compactions that are still to come belong to the price.
    tokio::time::sleep(Duration::from_secs(5)).await;
    before.report(&format!("{name}: write, and 5 s after"), &clock, total);
    let before = Costs::now(&clock);
    for &id in &ids {
        let chunks = length.div_ceil(CHUNK_SIZE_BYTES) as u32;
        for first in (0..chunks).step_by(4) {
            let found = store.read_chunks(id, first, 4.min(chunks - first)).await.expect("read");
            assert!(!found.is_empty(), "an extent is gone");
        }
    }
    before.report(&format!("{name}: read"), &clock, total);
    let before = Costs::now(&clock);
    for page in ids.chunks(100) {
        store.delete(page.to_vec()).await.expect("delete");
    }
    before.report(&format!("{name}: delete"), &clock, total);
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "measure.tmp".to_owned());
    let dir = Path::new(&dir);
    for (total, length, writers) in [
        (2 * GIB, 64 << 20, 1),
        (2 * GIB, 64 << 20, 4),
        (2 * GIB, 8 << 20, 4),
        (GIB, 2 << 20, 8),
        (GIB / 2, 256 << 10, 16),
    ] {
        measure(dir, total, length, writers).await;
    }
    let _ = fs::remove_dir_all(dir);
}
