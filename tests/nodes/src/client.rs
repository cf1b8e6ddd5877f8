//! Clients that write down what they asked and what was answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use karri_tests_cluster::{Answer, S3Client, test_bytes};
use karri_tests_linearizability::{Done, Input, Operation, Output, Register, Value, Verdict, check};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The bucket.
pub const BUCKET: &str = "history";
/// Keys that are used at the same time, and operations on each of them before others are used: a search through a
/// history with many unknown outcomes takes long.
const KEYS: u64 = 24;
const OPERATIONS_PER_KEY: u64 = 60;
/// Each how many bodies one is large enough for extents.
const LARGE_EACH: u64 = 6;
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(12);

type KeyHistory = Vec<Operation<Input, Output>>;

/// What all clients have seen.
pub struct Recorder {
    began: Instant,
    histories: Mutex<HashMap<u64, KeyHistory>>,
    /// Things that no history explains: wrong bodies, answers that nobody should get.
    wrong: Mutex<Vec<String>>,
    operations: AtomicU64,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    values: AtomicU64,
    stop: AtomicBool,
}

/// What was found in the histories.
#[derive(Debug)]
pub struct Findings {
    /// Keys whose histories were searched.
    pub keys: usize,
    /// Keys for which the search gave up.
    pub undecided: usize,
}

/// The body that stands for a value.
fn body_of(value: Value) -> Vec<u8> {
    let length = match value % LARGE_EACH {
        0 => 40_000 + value as usize % 90_000,
        _ => value as usize % 3000,
    };
    let mut body = value.to_be_bytes().to_vec();
    body.extend(test_bytes(value, length));
    body
}

fn value_of(answer: &Answer) -> Result<Value> {
    let Some((head, _)) = answer.body.split_first_chunk::<8>() else { bail!("a body of {}", answer.body.len()) };
    let value = u64::from_be_bytes(*head);
    ensure!(answer.body == body_of(value), "a body that nobody wrote: {} bytes, value {value}", answer.body.len());
    Ok(value)
}

impl Recorder {
    /// A recorder without a history.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            histories: Mutex::default(),
            wrong: Mutex::default(),
            operations: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            values: AtomicU64::new(1),
            stop: AtomicBool::new(false),
        })
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Of them, those that were answered, and those of which the outcome is unknown.
    pub fn outcomes(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::Relaxed), self.unknown.load(Ordering::Relaxed))
    }

    /// Tells the workers to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Asks one node after the other until it is told to stop.
    pub async fn work(self: Arc<Self>, worker: u64, nodes: Vec<S3Client>, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed ^ (worker << 32));
        let nodes: Vec<_> = nodes.into_iter().map(|node| node.with_timeout(ANSWER_MAX)).collect();
        let mut seen = HashMap::new();
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.operations.fetch_add(1, Ordering::Relaxed);
            let key = number / (KEYS * OPERATIONS_PER_KEY) * KEYS + rng.random_range(0..KEYS);
            let input = self.choose(&mut rng, seen.get(&key));
            let node = &nodes[rng.random_range(0..nodes.len())];
            if !self.operation(worker, node, key, input, &mut seen).await {
                // As a client does.
                tokio::time::sleep(Duration::from_millis(rng.random_range(20..150))).await;
            }
        }
    }

    fn choose(&self, rng: &mut StdRng, seen: Option<&(Value, String)>) -> Input {
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        match (rng.random_range(0..20_u32), seen) {
            (0..9, _) => Input::Read,
            (9..14, _) => Input::Write(value),
            (14, _) => Input::Delete,
            (15..17, _) => Input::WriteIfAbsent(value),
            (_, Some((expected, _))) => Input::WriteIfMatch { expected: *expected, value },
            _ => Input::Read,
        }
    }

    /// Carries out one operation and records it; true when it was answered.
    pub async fn operation(
        &self,
        worker: u64,
        node: &S3Client,
        key: u64,
        input: Input,
        seen: &mut HashMap<u64, (Value, String)>,
    ) -> bool {
        let path = format!("/{BUCKET}/key-{key}");
        let matching = seen.get(&key).map(|(_, etag)| etag.clone()).unwrap_or_default();
        let called = self.now();
        let answer = match &input {
            Input::Read => node.send("GET", &path, &[], &[], "").await,
            Input::Write(value) => node.send("PUT", &path, &[], &[], body_of(*value)).await,
            Input::WriteIfAbsent(value) => {
                node.send("PUT", &path, &[], &[("if-none-match", "*")], body_of(*value)).await
            }
            Input::WriteIfMatch { value, .. } => {
                node.send("PUT", &path, &[], &[("if-match", &matching)], body_of(*value)).await
            }
            Input::Delete => node.send("DELETE", &path, &[], &[], "").await,
            Input::DeleteIfMatch(_) => node.send("DELETE", &path, &[], &[("if-match", &matching)], "").await,
        };
        let at = self.now();
        let output = match answer.map(|answer| (outcome(&input, &answer), answer)) {
            Ok((Ok(output), answer)) => {
                let etag = answer.header("etag").to_owned();
                match (&output, &input) {
                    (Some(Output::Found(Some(value))), _)
                    | (
                        Some(Output::Accepted),
                        Input::Write(value) | Input::WriteIfAbsent(value) | Input::WriteIfMatch { value, .. },
                    ) => _ = seen.insert(key, (*value, etag)),
                    _ => {}
                }
                output
            }
            Ok((Err(error), answer)) => {
                let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]).into_owned();
                self.wrong.lock().await.push(format!("{input:?} of key {key}: {error:#}: {} {text}", answer.status));
                None
            }
            Err(_) => None,
        };
        let answered = output.is_some();
        let counter = if answered { &self.acknowledged } else { &self.unknown };
        counter.fetch_add(1, Ordering::Relaxed);
        if answered || !matches!(input, Input::Read) {
            let done = output.map(|output| Done { at, output });
            let operation = Operation { client: worker, input, called, done };
            self.histories.lock().await.entry(key).or_default().push(operation);
        }
        answered
    }

    /// Reads every key at every node.
    pub async fn read_all(&self, nodes: &[S3Client]) -> Result<()> {
        let keys: Vec<u64> = self.histories.lock().await.keys().copied().collect();
        for key in keys {
            for node in nodes {
                let read = self.operation(u64::MAX, node, key, Input::Read, &mut HashMap::new()).await;
                ensure!(read, "key {key} cannot be read after everything was mended");
            }
        }
        Ok(())
    }

    /// Searches all histories.
    ///
    /// # Errors
    /// What no order of the operations explains.
    pub async fn judge(&self) -> Result<Findings> {
        let wrong = self.wrong.lock().await;
        ensure!(wrong.is_empty(), "{} wrong answers, the first: {}", wrong.len(), wrong[0]);
        let histories = self.histories.lock().await;
        let mut findings = Findings { keys: histories.len(), undecided: 0 };
        for (key, history) in histories.iter() {
            match check::<Register>(history) {
                Verdict::Linearizable => {}
                Verdict::Unknown => findings.undecided += 1,
                Verdict::Violated(violation) => {
                    let stuck = &history[violation.stuck];
                    let near = history.iter().filter(|other| {
                        other.called <= stuck.done.as_ref().map_or(u64::MAX, |done| done.at)
                            && other.done.as_ref().is_none_or(|done| done.at + 3_000_000_000 > stuck.called)
                    });
                    let near: Vec<String> = near.map(|operation| format!("{operation:?}")).collect();
                    bail!("key {key} is not linearizable: {stuck:?} fits nowhere; near it:\n{}", near.join("\n"));
                }
            }
        }
        Ok(findings)
    }
}

/// What an answer says: `None` when nobody can know from it.
fn outcome(input: &Input, answer: &Answer) -> Result<Option<Output>> {
    Ok(match (input, answer.status) {
        (_, 500..=599) => None,
        (Input::Read, 200) => Some(Output::Found(Some(value_of(answer)?))),
        (Input::Read, 404) => Some(Output::Found(None)),
        (Input::WriteIfAbsent(_) | Input::WriteIfMatch { .. } | Input::DeleteIfMatch(_), 412) => Some(Output::Refused),
        (Input::WriteIfMatch { .. } | Input::DeleteIfMatch(_), 404) => Some(Output::Refused),
        (Input::WriteIfAbsent(_) | Input::WriteIfMatch { .. }, 409) => None,
        (Input::Delete | Input::DeleteIfMatch(_), 204) | (_, 200) => Some(Output::Accepted),
        _ => bail!("an answer that it should not get"),
    })
}
