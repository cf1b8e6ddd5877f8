//! Real processes end at each named step of a commit, a seal, a repair and a collection, are started again and compared with
//! what their clients know: nothing acknowledged is lost or comes back (I1, I3), an upload is there as a whole or not at all
//! (I6), and references, copies and garbage agree (I7). The steps of snapshots are in `snapshots.rs`.
//!
//! `KARRI_FAILPOINT=<step>` goes through one step alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_ring_types::Step;
use karri_tests_cluster::{Cluster, ClusterOptions, S3Client, eventually, test_bytes};
use tempfile::TempDir;

const NODES: usize = 3;
const BUCKET: &str = "steps";
/// In the metadata, in one extent, and in one of two runs.
const SIZES: [usize; 3] = [2_000, 300_000, 9 << 20];
/// Of so many bodies one is of the largest size.
const LARGE_ONE_OF: u64 = 12;
/// Of such numbers objects are written as a whole, whose first run then is not the last.
const LARGE_NUMBER: u64 = 5;
/// A step must be passed within this time.
const PASSED_MAX: Duration = Duration::from_secs(90);
const ANSWER_MAX: Duration = Duration::from_secs(8);
const TRIES: u32 = 60;
/// Objects that are written while a node is away.
const MISSED: u32 = 6;
const COPIES_MAX: Duration = Duration::from_secs(90);

/// What makes nodes pass a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Writes,
    Deletes,
    /// A node was away while the others wrote.
    MissedWrites,
    /// A copy of a chunk is bad.
    BadChunk,
}

/// `None`: see `snapshots.rs`.
fn work_for(step: Step) -> Option<Work> {
    match step {
        Step::CommitBytesDurable
        | Step::CommitAppending
        | Step::CommitAppended
        | Step::CommitApplying
        | Step::CommitApplied
        | Step::CommitAnswering
        | Step::SealRunDurable
        | Step::SealRunNamed
        | Step::SealDurable
        | Step::SealNamed => Some(Work::Writes),
        Step::RepairFetched | Step::RepairPulled => Some(Work::MissedWrites),
        Step::RepairReplacing | Step::RepairReplaced => Some(Work::BadChunk),
        Step::GarbageReleased | Step::GarbageBuried | Step::GarbageDeleted | Step::GarbageForgotten => {
            Some(Work::Deletes)
        }
        Step::SnapshotFlushed
        | Step::SnapshotPurged
        | Step::SnapshotStaged
        | Step::SnapshotDecided
        | Step::SnapshotCleared
        | Step::SnapshotIngested
        | Step::SnapshotInstalled => None,
    }
}

/// The number of what was written to a key; `None`: it is not there.
type Value = Option<u64>;

fn size(number: u64) -> usize {
    if number % LARGE_ONE_OF == LARGE_NUMBER { SIZES[2] } else { SIZES[number as usize % 2] }
}

fn body(number: u64) -> Vec<u8> {
    test_bytes(number, size(number))
}

struct World {
    cluster: Cluster,
    clients: Vec<S3Client>,
    /// Of files that are called as a process and name the step at which it ends.
    armed: TempDir,
    /// What each key may hold; more than one value when a write was not answered.
    known: BTreeMap<String, Vec<Value>>,
    made: u64,
}

impl World {
    async fn start() -> Result<Self> {
        let armed = TempDir::with_prefix("karri-failpoints-")?;
        let folder = armed.path().to_str().context("UTF-8")?.to_owned();
        let options = ClusterOptions {
            s3_configuration: "part_bytes_min = 1024".to_owned(),
            environment: vec![("KARRI_FAILPOINTS".to_owned(), folder)],
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start_with(NODES, options).await?;
        let clients: Vec<_> = (0..NODES).map(|node| cluster.client(node).with_timeout(ANSWER_MAX)).collect();
        clients[0].create_bucket(BUCKET).await?;
        Ok(Self { cluster, clients, armed, known: BTreeMap::new(), made: 0 })
    }

    fn arm(&self, step: Step, node: usize) -> Result<()> {
        fs::write(self.armed.path().join(self.cluster.pid(node)?.to_string()), step.name()).context("arm a node")
    }

    fn disarm(&self) -> Result<()> {
        for file in fs::read_dir(self.armed.path())? {
            fs::remove_file(file?.path())?;
        }
        Ok(())
    }

    /// The nodes that ended at the step, if any did.
    fn ended(&mut self, step: Step) -> Result<BTreeSet<usize>> {
        let mut ended = BTreeSet::new();
        for node in 0..NODES {
            if self.cluster.has_ended(node)? {
                ended.insert(node);
            }
        }
        let said = format!("failpoint: the process ends at {step}");
        for node in &ended {
            ensure!(self.cluster.log(*node).contains(&said), "node {} ended for another reason", node + 1);
        }
        Ok(ended)
    }

    /// Waits for those that have come to the step as well; `before` is how long the logs were when it was armed.
    async fn all_ended(&mut self, step: Step, before: &[usize]) -> Result<BTreeSet<usize>> {
        let said = format!("failpoint: the process ends at {step}");
        let until = tokio::time::Instant::now() + PASSED_MAX;
        loop {
            // One that has just read the name of the step says so within this time.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let ended = self.ended(step)?;
            let ends =
                |node: &usize| self.cluster.log(*node).get(before[*node]..).is_some_and(|log| log.contains(&said));
            if (0..NODES).filter(ends).all(|node| ended.contains(&node)) {
                return Ok(ended);
            }
            ensure!(tokio::time::Instant::now() < until, "a node that is at {step} does not end");
        }
    }

    fn client(&self) -> &S3Client {
        &self.clients[self.made as usize % NODES]
    }

    /// Notes what a write to a key came to.
    fn note(&mut self, key: &str, value: Value, answered: Result<u16>) -> Result<()> {
        let known = self.known.entry(key.to_owned()).or_insert_with(|| vec![None]);
        match answered {
            Ok(200 | 204) => *known = vec![value],
            // Carried out, or not, or later.
            Err(_) | Ok(500..) => known.push(value),
            Ok(status) => anyhow::bail!("{key}: {status}"),
        }
        Ok(())
    }

    async fn put(&mut self) -> Result<()> {
        self.made += 1;
        let (key, number) = (format!("o{}", self.made), self.made);
        let path = format!("/{BUCKET}/{key}");
        let answer = self.client().send("PUT", &path, &[], &[], body(number)).await;
        self.note(&key, Some(number), answer.map(|answer| answer.status))
    }

    /// Deletes an object that is known to be there and has extents, in the order of their making.
    async fn delete(&mut self) -> Result<()> {
        let has_extents = |values: &Vec<Value>| matches!(values[..], [Some(number)] if size(number) > SIZES[0]);
        let Some(key) = self.known.iter().find(|(_, values)| has_extents(values)).map(|(key, _)| key.clone()) else {
            return Ok(());
        };
        let answer = self.client().send("DELETE", &format!("/{BUCKET}/{key}"), &[], &[], "").await;
        self.note(&key, None, answer.map(|answer| answer.status))
    }

    /// An upload in two parts.
    async fn upload(&mut self) -> Result<()> {
        self.made += 1;
        let (key, number) = (format!("u{}", self.made), self.made);
        let answer = self.upload_to(&format!("/{BUCKET}/{key}"), &body(number)).await;
        self.note(&key, Some(number), answer)
    }

    async fn upload_to(&self, path: &str, body: &[u8]) -> Result<u16> {
        let begun = self.client().send("POST", path, &[("uploads", "")], &[], "").await?;
        let id = begun.tag("UploadId");
        let (first, second) = body.split_at(body.len() / 2);
        let mut list = String::new();
        for (number, part) in [("1", first), ("2", second)] {
            let query = [("partNumber", number), ("uploadId", id.as_str())];
            let sent = self.client().send("PUT", path, &query, &[], part.to_vec()).await?;
            if sent.status >= 500 {
                return Ok(sent.status);
            }
            let etag = sent.header("etag");
            list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        let document = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let done = self.client().send("POST", path, &[("uploadId", id.as_str())], &[], document).await?;
        // An answer that came too late for its status says in its body how it ended.
        let told = done.status == 200 && done.tag("Code").is_empty();
        Ok(if told { 200 } else { done.status.max(500) })
    }

    /// Works until a node ends at the step.
    async fn work(&mut self, step: Step, work: Work) -> Result<BTreeSet<usize>> {
        let until = tokio::time::Instant::now() + PASSED_MAX;
        loop {
            match work {
                Work::Writes if self.made % 4 == 3 => self.upload().await?,
                Work::Writes => self.put().await?,
                Work::Deletes => {
                    self.put().await?;
                    self.delete().await?;
                }
                Work::MissedWrites | Work::BadChunk => tokio::time::sleep(Duration::from_millis(100)).await,
            }
            let ended = self.ended(step)?;
            if !ended.is_empty() {
                return Ok(ended);
            }
            ensure!(tokio::time::Instant::now() < until, "{step} was never passed");
        }
    }

    /// Ends nodes at a step, starts them again and compares.
    async fn go_through(&mut self, step: Step, work: Work) -> Result<()> {
        let victim = NODES - 1;
        let before: Vec<usize> = (0..NODES).map(|node| self.cluster.log(node).len()).collect();
        match work {
            Work::Writes | Work::Deletes => {
                for node in 0..NODES {
                    self.arm(step, node)?;
                }
            }
            Work::MissedWrites => {
                self.cluster.kill(victim)?;
                for _ in 0..MISSED {
                    self.put_through(0).await?;
                }
                self.cluster.start_node(victim)?;
                self.arm(step, victim)?;
            }
            Work::BadChunk => {
                let number = self.put_through(0).await?;
                self.cluster.wait_full_replicas(0, COPIES_MAX).await?;
                self.spoil(victim, number)?;
                self.arm(step, victim)?;
                // The node reads its own copy first, and finds it bad.
                let read = self.clients[victim].send("GET", &format!("/{BUCKET}/o{number}"), &[], &[], "").await;
                ensure!(read.is_err() || read.is_ok_and(|read| read.body == body(number)), "a bad copy is served");
            }
        }
        self.work(step, work).await?;
        self.disarm()?;
        let ended = self.all_ended(step, &before).await?;
        self.cluster.restart_all().await?;
        self.check().await.with_context(|| format!("after {ended:?} ended"))
    }

    /// Writes an object with an extent by one node, as a client that tries again.
    async fn put_through(&mut self, node: usize) -> Result<u64> {
        self.made += 1;
        while size(self.made) != SIZES[1] {
            self.made += 1;
        }
        let (key, number) = (format!("o{}", self.made), self.made);
        let path = format!("/{BUCKET}/{key}");
        let answer =
            self.clients[node].send_retrying(TRIES, "PUT", &path, &[], &[], body(number)).await?.expect(200)?;
        self.note(&key, Some(number), Ok(answer.status))?;
        Ok(number)
    }

    /// Flips a byte of a node's copy of an object.
    fn spoil(&self, node: usize, number: u64) -> Result<()> {
        let wanted = &body(number)[100_000..100_064];
        let mut paths = Vec::new();
        files(&self.cluster.data_dir(node).join("extents"), &mut paths)?;
        for path in paths {
            let Ok(mut bytes) = fs::read(&path) else { continue };
            if let Some(at) = memchr::memmem::find(&bytes, wanted) {
                bytes[at] ^= 1;
                return write_byte(&path, at as u64, bytes[at]);
            }
        }
        anyhow::bail!("node {} has no copy", node + 1)
    }

    /// Every key holds at every node what it may hold.
    async fn check(&self) -> Result<()> {
        for (key, values) in &self.known {
            for client in &self.clients {
                let path = format!("/{BUCKET}/{key}");
                let answer = client.send_retrying(TRIES, "GET", &path, &[], &[], "").await?;
                let holds = match answer.status {
                    404 => values.contains(&None),
                    200 => values.iter().flatten().any(|number| answer.body == body(*number)),
                    _ => false,
                };
                ensure!(holds, "{key} may hold {values:?}; {} with {} bytes", answer.status, answer.body.len());
            }
        }
        Ok(())
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

fn write_byte(path: &Path, at: u64, byte: u8) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    fs::OpenOptions::new().write(true).open(path)?.write_all_at(&[byte], at).context("flip a byte")
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_end_at_any_step_lose_nothing() -> Result<()> {
    let only = std::env::var("KARRI_FAILPOINT").ok().map(|name| name.parse::<Step>()).transpose()?;
    let mut world = World::start().await?;
    let mut last = None;
    for step in Step::ALL.iter().copied().filter(|step| only.is_none_or(|only| only == *step)) {
        let Some(work) = work_for(step) else { continue };
        if last.is_some_and(|last| last != work) {
            world.expect_agreement().await?;
        }
        last = Some(work);
        let began = tokio::time::Instant::now();
        world.go_through(step, work).await.with_context(|| {
            format!("{step}\nagain: KARRI_FAILPOINT={step} cargo test -p karri-tests-crash --test failpoints")
        })?;
        println!("{step}: ended, started again and compared in {:.1?}", began.elapsed());
    }
    world.expect_agreement().await
}

impl World {
    /// Copies are complete, and references, copies and garbage agree (I7).
    async fn expect_agreement(&self) -> Result<()> {
        self.cluster.wait_full_replicas(0, COPIES_MAX).await?;
        // Garbage that is just being collected is none when it is looked at again.
        let agree = || async { self.cluster.expect_consistent(0).ok() };
        match eventually("all agrees", COPIES_MAX, agree).await {
            Ok(()) => Ok(()),
            Err(_) => self.cluster.expect_consistent(0),
        }
    }
}
