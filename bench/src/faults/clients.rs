//! Clients that know what they wrote: each has keys of its own, so that the newest acknowledged value of a key is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use karri_tests_cluster::{Credentials, test_bytes};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Answer, Connection, Keep, Request};

pub(super) const BUCKET: &str = "faults";
/// Clients at once.
pub(super) const CLIENTS: u64 = 64;
/// Keys that a client uses at the same time.
const KEYS_PER_CLIENT: usize = 8;
/// Tries of a client that retries, each at the next node; between them it waits twice as long each time.
pub(super) const TRIES_MAX: usize = 10;
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longest wait for one answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes of noise that bodies are cut out of.
const NOISE_BYTES: usize = 1 << 20;
/// Of so many bodies one is large.
const LARGE_ONE_OF: u64 = 4;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Get,
    Put,
    Delete,
}

/// One request, with its tries.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) asked: Asked,
    /// When it ended, since the clients began.
    pub(super) at: Duration,
    pub(super) took: Duration,
    /// What each try that failed was answered: a code, a status or "no answer".
    pub(super) failures: Vec<String>,
    pub(super) done: bool,
    /// It was answered with an older value, or the wrong way.
    pub(super) wrong: Option<Wrong>,
}

/// An answer that should not have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Not the newest acknowledged value.
    Older,
    /// Bytes that nobody wrote.
    Body,
}

/// A key's value: the number of what was written, or none.
type Value = Option<u64>;

/// A key and what it holds when nothing was lost.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    newest: Value,
    /// What it may hold instead: a write of which the outcome is unknown.
    maybe: Option<Value>,
    written: bool,
}

/// Where the servers are, and what bodies are.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) endpoints: Vec<String>,
    pub(super) credentials: Credentials,
    noise: Bytes,
}

/// What a read has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Good,
    Older,
    WrongBody,
    Unreadable,
}

impl Target {
    pub(super) fn new(endpoints: &[String], credentials: &Credentials) -> Self {
        let noise = Bytes::from(test_bytes(11, NOISE_BYTES));
        Self { endpoints: endpoints.to_vec(), credentials: credentials.clone(), noise }
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        self.endpoints.iter().map(|host| Connection::new(host, self.credentials.clone())).collect()
    }

    /// The body of value `number`: its number, and noise that no other has at the same place.
    fn body(&self, number: u64) -> Bytes {
        let length = match number % LARGE_ONE_OF {
            0 => 64_000 + number as usize % 65_000,
            _ => 1000 + number as usize % 7000,
        };
        self.body_of(number, length)
    }

    /// As [`Target::body`], with `length` bytes of noise.
    pub(super) fn body_of(&self, number: u64, length: usize) -> Bytes {
        let start = number as usize * 4099 % (NOISE_BYTES - length);
        Bytes::from([&number.to_be_bytes()[..], &self.noise[start..start + length]].concat())
    }

    /// What the answer to a GET of `key` shows.
    fn read(&self, key: &Key, answer: &Answer) -> Read {
        let value = match answer.status {
            404 => None,
            200 => {
                let Some(head) = answer.body.first_chunk::<8>() else { return Read::WrongBody };
                let number = u64::from_be_bytes(*head);
                if answer.body != self.body(number) {
                    return Read::WrongBody;
                }
                Some(number)
            }
            _ => return Read::Unreadable,
        };
        if value == key.newest || Some(value) == key.maybe { Read::Good } else { Read::Older }
    }
}

/// Sends one request once; an error says what to count it under.
pub(super) async fn attempt(
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: Bytes,
) -> Result<Answer, String> {
    let mut request = Request::new(method, path);
    request.length = body.len() as u64;
    request.body = Full::new(body).boxed();
    request.keep = Keep::Bytes;
    match tokio::time::timeout(ANSWER_MAX, connection.send(request)).await {
        Err(_) => Err("no answer in time".to_owned()),
        Ok(Err(_)) => Err("connection refused or broken".to_owned()),
        Ok(Ok(answer)) if answer.status >= 500 => Err(format!("{} {}", answer.status, answer.code())),
        Ok(Ok(answer)) => Ok(answer),
    }
}

/// Sends one request until it is answered, at one node after the other from `first` on; with what each try failed.
pub(super) async fn retried(
    connections: &mut [Connection],
    first: usize,
    method: &str,
    path: &str,
    body: &Bytes,
) -> (Option<Answer>, Vec<String>) {
    let mut failures = Vec::new();
    let mut pause = PAUSE_FIRST;
    for attempted in 0..TRIES_MAX {
        let node = (first + attempted) % connections.len();
        match attempt(&mut connections[node], method, path, body.clone()).await {
            Ok(answer) => return (Some(answer), failures),
            Err(failure) => failures.push(failure),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    (None, failures)
}

struct Client {
    number: u64,
    target: Target,
    connections: Vec<Connection>,
    rng: StdRng,
    began: Instant,
    keys: Vec<Key>,
    retired: Vec<Key>,
    events: Vec<Event>,
    made: u64,
}

/// What clients have seen, and the keys they leave.
pub(super) struct Outcome {
    pub(super) events: Vec<Event>,
    pub(super) keys: Vec<Key>,
}

impl Client {
    fn new(number: u64, target: Target, began: Instant, round: u64) -> Self {
        let connections = target.connections();
        let rng = StdRng::seed_from_u64(number ^ (round << 20));
        // Values of one round are not those of another.
        let made = round << 40;
        let (keys, retired, events) = (Vec::new(), Vec::new(), Vec::new());
        let mut client = Self { number, target, connections, rng, began, keys, retired, events, made };
        for _ in 0..KEYS_PER_CLIENT {
            let key = client.fresh();
            client.keys.push(key);
        }
        client
    }

    fn fresh(&mut self) -> Key {
        self.made += 1;
        let name = format!("/{BUCKET}/{}-{}", self.number, self.made);
        Key { name, newest: None, maybe: None, written: false }
    }

    async fn work(&mut self) {
        let slot = self.rng.random_range(0..self.keys.len());
        let mut key = self.keys[slot].clone();
        let asked = match self.rng.random_range(0..10_u32) {
            _ if !key.written => Asked::Put,
            0..5 => Asked::Get,
            5 => Asked::Delete,
            _ => Asked::Put,
        };
        let (method, value) = match asked {
            Asked::Get => ("GET", None),
            Asked::Delete => ("DELETE", None),
            Asked::Put => {
                self.made += 1;
                ("PUT", Some(self.made * CLIENTS + self.number))
            }
        };
        let body = value.map_or_else(Bytes::new, |number| self.target.body(number));
        let first = self.rng.random_range(0..self.connections.len());
        let called = Instant::now();
        let (answer, mut failures) = retried(&mut self.connections, first, method, &key.name, &body).await;
        let took = called.elapsed();
        let expected = |answer: &Answer| match asked {
            Asked::Get => matches!(answer.status, 200 | 404),
            Asked::Put | Asked::Delete => matches!(answer.status, 200 | 204),
        };
        let done = answer.as_ref().is_some_and(expected);
        if let Some(refusal) = answer.as_ref().filter(|_| !done) {
            failures.push(format!("{} {}", refusal.status, refusal.code()));
        }
        let mut wrong = None;
        match (asked, done) {
            (Asked::Get, true) => {
                wrong = match answer.map(|answer| self.target.read(&key, &answer)) {
                    Some(Read::Older) => Some(Wrong::Older),
                    Some(Read::WrongBody) => Some(Wrong::Body),
                    _ => None,
                };
            }
            (Asked::Get, false) => {}
            (_, true) => (key.newest, key.written) = (value, true),
            (_, false) => key.maybe = Some(value),
        }
        // A try that was not answered may still be carried out, after anything that is written later.
        if asked != Asked::Get && !failures.is_empty() {
            self.retired.push(key);
            key = self.fresh();
        }
        self.keys[slot] = key;
        self.events.push(Event { asked, at: self.began.elapsed(), took, failures, done, wrong });
    }
}

/// Clients that work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    began: Instant,
    clients: JoinSet<Client>,
}

impl Load {
    /// Starts the clients; `round` tells their keys from those of another load.
    pub(super) fn start(target: &Target, round: u64) -> Self {
        let (stop, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let mut client = Client::new(number, target.clone(), began, round);
            let stop = stop.clone();
            clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.work().await;
                }
                client
            });
        }
        Self { stop, began, clients }
    }

    /// Time since the clients began.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Lets each client end its request.
    ///
    /// # Errors
    /// One panicked.
    pub(super) async fn stop(mut self) -> Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcome = Outcome { events: Vec::new(), keys: Vec::new() };
        while let Some(client) = self.clients.join_next().await {
            let client = client.context("a client panicked")?;
            outcome.events.extend(client.events);
            outcome.keys.extend(client.retired);
            outcome.keys.extend(client.keys.into_iter().filter(|key| key.written));
        }
        outcome.events.sort_by_key(|event| event.at);
        Ok(outcome)
    }
}

/// What reading every key at every node has shown, counted by key: the worst of its reads.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Checked {
    pub(super) keys: usize,
    /// An acknowledged value is not there: an older one is, or none, or a deleted one.
    pub(super) lost: usize,
    pub(super) wrong_bodies: usize,
    pub(super) unreadable: usize,
}

/// Reads every key at every node, as a client that retries at that node.
pub(super) async fn check(target: &Target, keys: &[Key]) -> Result<Checked> {
    let mut readers = JoinSet::new();
    for part in keys.chunks(keys.len().div_ceil(32).max(1)) {
        let (target, part) = (target.clone(), part.to_vec());
        readers.spawn(async move {
            let mut checked = Checked::default();
            let mut connections = target.connections();
            for key in &part {
                let mut reads = Vec::new();
                for connection in connections.chunks_mut(1) {
                    let (answer, _) = retried(connection, 0, "GET", &key.name, &Bytes::new()).await;
                    reads.push(answer.map_or(Read::Unreadable, |answer| target.read(key, &answer)));
                }
                checked.keys += 1;
                checked.lost += usize::from(reads.contains(&Read::Older));
                checked.wrong_bodies += usize::from(reads.contains(&Read::WrongBody));
                checked.unreadable += usize::from(reads.contains(&Read::Unreadable));
            }
            checked
        });
    }
    let mut all = Checked::default();
    while let Some(part) = readers.join_next().await {
        let part = part.context("a reader panicked")?;
        all.keys += part.keys;
        all.lost += part.lost;
        all.wrong_bodies += part.wrong_bodies;
        all.unreadable += part.unreadable;
    }
    Ok(all)
}
