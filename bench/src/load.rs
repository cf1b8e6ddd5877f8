//! Making the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use karri_tests_cluster::{Credentials, S3Client, test_bytes};
use tokio::time::Instant;

use crate::Options;
use crate::process::Usage;
use crate::report::Report;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Put,
    Get,
    List,
}

/// One run.
pub(crate) struct Load {
    work: Work,
    options: Options,
    clients: Vec<S3Client>,
    body: Bytes,
    next: AtomicU64,
}

/// What one connection saw.
struct Seen {
    latencies_us: Histogram<u64>,
    bytes: u64,
    errors: u64,
}

impl Load {
    pub(crate) fn new(work: Work, options: Options, credentials: Credentials) -> Arc<Self> {
        let clients = options.endpoint.iter().map(|host| S3Client::new(host, credentials.clone())).collect();
        let body = Bytes::from(test_bytes(1, options.size));
        Arc::new(Self { work, options, clients, body, next: AtomicU64::new(0) })
    }

    fn client(&self, number: usize) -> &S3Client {
        &self.clients[number % self.clients.len()]
    }

    /// Prepares, warms up, measures.
    pub(crate) async fn run(self: Arc<Self>) -> Result<Report> {
        let made = self.client(0).send("PUT", &format!("/{}", self.options.bucket), &[], &[], "").await?;
        ensure!(made.status == 200 || made.status == 409, "cannot make the bucket: {made:?}");
        if self.work != Work::Put {
            self.fill().await?;
        }
        self.phase(Duration::from_secs(self.options.warm_up)).await?;
        let before = Usage::of(&self.options.pid)?;
        let start = Instant::now();
        let seen = self.phase(Duration::from_secs(self.options.seconds)).await?;
        let seconds = start.elapsed().as_secs_f64();
        let after = Usage::of(&self.options.pid)?;
        Ok(Report::new(
            &format!("{:?}", self.work),
            &self.options,
            &seen.latencies_us,
            seen.bytes,
            seen.errors,
            seconds,
            (!self.options.pid.is_empty()).then_some((before, after)),
        ))
    }

    async fn fill(self: &Arc<Self>) -> Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for worker in 0..self.options.connections {
            let load = self.clone();
            tasks.spawn(async move {
                for number in (worker..load.options.objects).step_by(load.options.connections) {
                    let path = format!("/{}/filled-{number:06}", load.options.bucket);
                    load.client(worker).send("PUT", &path, &[], &[], load.body.clone()).await?.expect(200)?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn phase(self: &Arc<Self>, length: Duration) -> Result<Seen> {
        let end = Instant::now() + length;
        let mut tasks = tokio::task::JoinSet::new();
        for worker in 0..self.options.connections {
            let load = self.clone();
            tasks.spawn(async move { load.work_until(worker, end).await });
        }
        let mut all = Seen { latencies_us: Histogram::new(3)?, bytes: 0, errors: 0 };
        while let Some(seen) = tasks.join_next().await {
            let seen = seen??;
            all.latencies_us.add(&seen.latencies_us)?;
            all.bytes += seen.bytes;
            all.errors += seen.errors;
        }
        Ok(all)
    }

    async fn work_until(&self, worker: usize, end: Instant) -> Result<Seen> {
        let mut seen = Seen { latencies_us: Histogram::new(3)?, bytes: 0, errors: 0 };
        while Instant::now() < end {
            let start = Instant::now();
            match self.one(worker).await {
                Ok(bytes) => {
                    seen.bytes += bytes;
                    let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                    seen.latencies_us.record(micros.max(1)).context("record a latency")?;
                }
                Err(error) => {
                    seen.errors += 1;
                    ensure!(seen.errors < 100, "too many errors, the last: {error:#}");
                }
            }
        }
        Ok(seen)
    }

    async fn one(&self, worker: usize) -> Result<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let client = self.client(worker);
        let bucket = &self.options.bucket;
        match self.work {
            Work::Put => {
                let path = format!("/{bucket}/put-{number:012}");
                client.send("PUT", &path, &[], &[], self.body.clone()).await?.expect(200)?;
                Ok(self.body.len() as u64)
            }
            Work::Get => {
                let path = format!("/{bucket}/filled-{:06}", number as usize % self.options.objects);
                let answer = client.send("GET", &path, &[], &[], "").await?.expect(200)?;
                ensure!(answer.body.len() == self.body.len(), "{} bytes came", answer.body.len());
                Ok(answer.body.len() as u64)
            }
            Work::List => {
                let query = [("list-type", "2"), ("prefix", "filled-"), ("max-keys", "1000")];
                let answer = client.send("GET", &format!("/{bucket}"), &query, &[], "").await?.expect(200)?;
                Ok(answer.body.len() as u64)
            }
        }
    }
}
