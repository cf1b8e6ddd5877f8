//! Making the load: fill, warm up, measure.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Credentials, eventually};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::client::{Connection, Request};
use crate::options::Options;
use crate::process::Usage;
use crate::report::Report;
use crate::seen::Seen;
use crate::work::{Bucket, Draws, Kind, Mix, Outcome, Worker};

/// Errors after which a run is given up.
const ERRORS_MAX: u64 = 10_000;
/// Longest until a bucket that was made is known to every endpoint.
const BUCKET_LIMIT: Duration = Duration::from_secs(30);
/// Requests at once while objects are put to be read.
const FILLING_CONNECTIONS: usize = 16;
/// Wait after an error, so that a server that is down is not hammered.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// One run.
pub(crate) struct Load {
    mix: Mix,
    bucket: Arc<Bucket>,
    credentials: Credentials,
}

/// What workers tell the line of progress, and what it tells them.
#[derive(Default)]
struct Shared {
    requests: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    /// Number of the next request, for a rate.
    turn: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    pub(crate) fn new(mix: Mix, options: Options, credentials: Credentials) -> Self {
        Self { mix, bucket: Bucket::new(options), credentials }
    }

    fn options(&self) -> &Options {
        &self.bucket.options
    }

    fn connection(&self, number: usize) -> Connection {
        let endpoints = &self.options().endpoint;
        Connection::new(&endpoints[number % endpoints.len()], self.credentials.clone())
    }

    /// Prepares, warms up, measures.
    ///
    /// # Errors
    /// The bucket cannot be made, a body did not verify, or there were too many errors.
    pub(crate) async fn run(&self) -> Result<Report> {
        ensure!(!self.options().endpoint.is_empty() && self.options().connections > 0, "nowhere to send to");
        self.make_bucket().await?;
        if self.mix.has(Kind::reads) {
            self.fill().await?;
        }
        let workers = self.workers();
        let workers = self.doom(workers).await?;
        let warm_up = Duration::from_secs(self.options().warm_up);
        let (workers, _) = self.phase(workers, warm_up, false).await?;
        let before = Usage::of(&self.options().pid)?;
        let start = Instant::now();
        let (_, seen) = self.phase(workers, Duration::from_secs(self.options().seconds), true).await?;
        let seconds = start.elapsed().as_secs_f64();
        let after = Usage::of(&self.options().pid)?;
        let usage = (!self.options().pid.is_empty()).then_some((before, after));
        Report::new(&self.mix, self.options(), &seen, seconds, usage)
    }

    async fn make_bucket(&self) -> Result<()> {
        let mut connection = self.connection(0);
        let path = format!("/{}", self.options().bucket);
        let made = connection.send(Request::new("PUT", &path)).await?;
        ensure!(matches!(made.status, 200 | 409), "cannot make the bucket: {}", made.code());
        self.wait_for_bucket(&path).await?;
        if self.mix.has(|kind| kind == Kind::Versioned) {
            let status = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
            let body = http_body_util::BodyExt::boxed(http_body_util::Full::from(status));
            let query = [("versioning", "")];
            let length = status.len() as u64;
            let answer = connection.send(Request { query: &query, length, body, ..Request::new("PUT", &path) }).await?;
            ensure!(answer.status == 200, "cannot keep versions in the bucket: {}", answer.code());
        }
        Ok(())
    }

    /// Some servers know a new bucket on one node first.
    async fn wait_for_bucket(&self, path: &str) -> Result<()> {
        for number in 0..self.options().endpoint.len() {
            eventually("every endpoint knows the bucket", BUCKET_LIMIT, || async {
                let answer = self.connection(number).send(Request::new("HEAD", path)).await;
                answer.is_ok_and(|answer| answer.status == 200).then_some(())
            })
            .await?;
        }
        Ok(())
    }

    fn workers(&self) -> Vec<Worker> {
        let numbers = 0..self.options().connections;
        numbers.map(|number| Worker::new(self.bucket.clone(), self.connection(number), number as u64)).collect()
    }

    /// Puts the objects that reads work on.
    async fn fill(&self) -> Result<()> {
        let workers = FILLING_CONNECTIONS.min(self.options().objects.max(1));
        let mut tasks = JoinSet::new();
        for first in 0..workers {
            let mut worker = Worker::new(self.bucket.clone(), self.connection(first), first as u64);
            let bucket = self.bucket.clone();
            tasks.spawn(async move {
                for number in (first..bucket.options.objects).step_by(workers) {
                    let number = number as u64;
                    let put = worker.put(&bucket.filled(number), number).await?;
                    if let Outcome::Refused(code) = put {
                        anyhow::bail!("object {number} could not be put: {code}");
                    }
                }
                Ok(())
            });
        }
        finish(tasks).await.map(drop)
    }

    /// Before a run of deletes alone: gives each worker its objects to delete.
    async fn doom(&self, workers: Vec<Worker>) -> Result<Vec<Worker>> {
        if self.mix.has(|kind| kind != Kind::Delete) {
            return Ok(workers);
        }
        let each = self.options().objects.div_ceil(workers.len());
        let mut tasks = JoinSet::new();
        for mut worker in workers {
            tasks.spawn(async move {
                for _ in 0..each {
                    worker.one(Kind::Put).await?;
                }
                Ok(worker)
            });
        }
        finish(tasks).await
    }

    async fn phase(&self, workers: Vec<Worker>, length: Duration, measured: bool) -> Result<(Vec<Worker>, Seen)> {
        let shared = Arc::new(Shared::default());
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for worker in workers {
            let turns = Turns { start, end: start + length, rate: self.options().rate };
            tasks.spawn(work(worker, self.mix.clone(), turns, shared.clone()));
        }
        let progress = (measured && !self.options().quiet).then(|| tokio::spawn(progress(shared.clone(), start)));
        let done = finish(tasks).await;
        shared.stop.store(true, Ordering::Relaxed);
        if let Some(progress) = progress {
            progress.abort();
            eprintln!();
        }
        let mut all = Seen::default();
        let mut workers = Vec::new();
        for (worker, seen) in done? {
            workers.push(worker);
            all.add(seen)?;
        }
        Ok((workers, all))
    }
}

async fn finish<T: 'static>(mut tasks: JoinSet<Result<T>>) -> Result<Vec<T>> {
    let mut done = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        done.push(ended??);
    }
    Ok(done)
}

/// When a worker may send.
#[derive(Clone, Copy)]
struct Turns {
    start: Instant,
    end: Instant,
    rate: Option<f64>,
}

impl Turns {
    /// Waits for the next turn. A request's latency counts from its turn on, so that a slow server is not spared
    /// the requests that it delays.
    async fn next(&self, shared: &Shared) -> Option<Instant> {
        let Some(rate) = self.rate else { return Some(Instant::now()).filter(|now| *now < self.end) };
        let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
        let at = self.start + Duration::from_secs_f64(turn as f64 / rate.max(0.001));
        if at >= self.end {
            return None;
        }
        tokio::time::sleep_until(at).await;
        Some(at)
    }
}

async fn work(mut worker: Worker, mix: Mix, turns: Turns, shared: Arc<Shared>) -> Result<(Worker, Seen)> {
    let only_deletes = !mix.has(|kind| kind != Kind::Delete);
    let mut seen = Seen::default();
    while let Some(begun) = turns.next(&shared).await {
        let draw = worker.draw();
        let kind = mix.pick(Draws::new(draw).next());
        match worker.one(kind).await {
            Ok(Outcome::Done(bytes)) => {
                let now = Instant::now();
                seen.done(kind, now - turns.start, now - begun, bytes)?;
                shared.requests.fetch_add(1, Ordering::Relaxed);
                shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Ok(Outcome::Refused(code)) => failed(&mut seen, &shared, code).await?,
            Err(error) if error.downcast_ref::<hyper::Error>().is_some() || error.is::<std::io::Error>() => {
                failed(&mut seen, &shared, "connection".to_owned()).await?;
            }
            Err(error) => match turns.end > Instant::now() {
                true => return Err(error.context(kind)),
                false => break,
            },
        }
        if only_deletes && worker.exhausted {
            break;
        }
    }
    Ok((worker, seen))
}

async fn failed(seen: &mut Seen, shared: &Shared, code: String) -> Result<()> {
    let count = shared.errors.fetch_add(1, Ordering::Relaxed);
    ensure!(count < ERRORS_MAX, "too many errors, the last: {code}");
    seen.failed(code);
    tokio::time::sleep(ERROR_PAUSE).await;
    Ok(())
}

/// Tells once a second how it goes.
async fn progress(shared: Arc<Shared>, start: Instant) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    let (mut requests, mut bytes) = (0, 0);
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let now = (shared.requests.load(Ordering::Relaxed), shared.bytes.load(Ordering::Relaxed));
        let errors = shared.errors.load(Ordering::Relaxed);
        let mib = (now.1 - bytes) as f64 / (1 << 20) as f64;
        let line = format!(
            "{:>4} s  {:>8} requests/s  {mib:>9.1} MiB/s  {errors} errors",
            start.elapsed().as_secs(),
            now.0 - requests
        );
        (requests, bytes) = now;
        let mut terminal = std::io::stderr().lock();
        // On a terminal the line is written over.
        let written = if terminal.is_terminal() { write!(terminal, "\r{line}") } else { writeln!(terminal, "{line}") };
        if written.and_then(|()| terminal.flush()).is_err() {
            return;
        }
    }
}

/// Runs one load on a runtime of its own.
pub(crate) fn run(mix: Mix, options: Options) -> Result<Report> {
    let credentials = crate::options::credentials()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(Load::new(mix, options, credentials).run())
}
