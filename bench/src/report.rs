//! What a run found, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::options::Options;
use crate::process::Usage;
use crate::seen::{Requests, Seen};
use crate::work::Mix;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// The figures of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) work: String,
    pub(crate) size: String,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    /// All kinds of requests together.
    pub(crate) all: Figures,
    /// Each kind by itself, when there are several.
    pub(crate) kinds: BTreeMap<String, Figures>,
    /// Requests that were refused, by code.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) server: Option<ServerCost>,
    /// By second since the start.
    pub(crate) timeline: Vec<Second>,
}

/// Throughput and latency.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) mib_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

/// What the server's processes used.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ServerCost {
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_ms_per_request: f64,
    /// Of works that move bytes.
    pub(crate) cpu_seconds_per_gib: Option<f64>,
    pub(crate) written_bytes: u64,
    pub(crate) written_bytes_per_byte: Option<f64>,
    pub(crate) resident_mib: f64,
    pub(crate) resident_mib_peak: f64,
}

/// One second of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Second {
    pub(crate) requests: u64,
    pub(crate) mib: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Figures {
    fn of(requests: &Requests, seconds: f64) -> Self {
        let at = |quantile: f64| requests.latencies_us.value_at_quantile(quantile) as f64 / 1000.0;
        let count = requests.latencies_us.len();
        Self {
            requests: count,
            requests_per_second: count as f64 / seconds,
            mib_per_second: requests.bytes as f64 / MIB / seconds,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: requests.latencies_us.max() as f64 / 1000.0,
        }
    }
}

impl ServerCost {
    fn of(before: Usage, after: Usage, all: &Requests) -> Self {
        let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
        let written_bytes = after.written_bytes.saturating_sub(before.written_bytes);
        let per_byte = (all.bytes > 0).then(|| 1.0 / all.bytes as f64);
        Self {
            cpu_seconds,
            cpu_ms_per_request: cpu_seconds * 1000.0 / all.latencies_us.len().max(1) as f64,
            cpu_seconds_per_gib: per_byte.map(|per_byte| cpu_seconds * per_byte * GIB),
            written_bytes,
            written_bytes_per_byte: per_byte.map(|per_byte| written_bytes as f64 * per_byte),
            resident_mib: after.resident_bytes as f64 / MIB,
            resident_mib_peak: after.resident_bytes_peak as f64 / MIB,
        }
    }
}

impl Report {
    pub(crate) fn new(
        mix: &Mix,
        options: &Options,
        seen: &Seen,
        seconds: f64,
        usage: Option<(Usage, Usage)>,
    ) -> Result<Self> {
        let all = seen.all()?;
        let second = |requests: &Requests| {
            let figures = Figures::of(requests, 1.0);
            Second {
                requests: figures.requests,
                mib: figures.mib_per_second,
                p50_ms: figures.p50_ms,
                p99_ms: figures.p99_ms,
            }
        };
        let several = seen.kinds.len() > 1;
        let kinds = seen.kinds.iter().filter(|_| several);
        Ok(Self {
            work: mix.to_string(),
            size: options.size.to_string(),
            connections: options.connections,
            seconds,
            all: Figures::of(&all, seconds),
            kinds: kinds.map(|(kind, requests)| (kind.to_string(), Figures::of(requests, seconds))).collect(),
            errors: seen.errors.clone(),
            server: usage.map(|(before, after)| ServerCost::of(before, after, &all)),
            timeline: seen.seconds.iter().map(second).collect(),
        })
    }

    /// Requests that were refused.
    pub(crate) fn errors_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9.0} {:>9.1} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.1}",
            self.requests_per_second,
            self.mib_per_second,
            self.p50_ms,
            self.p90_ms,
            self.p99_ms,
            self.p999_ms,
            self.max_ms
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} of {}, {} connections, {:.1} s", self.work, self.size, self.connections, self.seconds)?;
        writeln!(
            f,
            "{:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "", "req/s", "MiB/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"
        )?;
        for (kind, figures) in &self.kinds {
            writeln!(f, "{kind:<10} {figures}")?;
        }
        write!(f, "{:<10} {}", "all", self.all)?;
        for (code, count) in &self.errors {
            write!(f, "\nerror {code}: {count}")?;
        }
        if let Some(server) = &self.server {
            write!(f, "\nserver: {:.3} ms CPU per request", server.cpu_ms_per_request)?;
            if let (Some(cpu), Some(written)) = (server.cpu_seconds_per_gib, server.written_bytes_per_byte) {
                write!(f, ", {cpu:.2} CPU s per GiB, {written:.2} bytes written per byte")?;
            }
            write!(f, ", RSS {:.0} MiB (peak {:.0})", server.resident_mib, server.resident_mib_peak)?;
        }
        Ok(())
    }
}
