//! What a run found.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Options;
use crate::process::Usage;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// The figures of one run.
#[derive(Serialize)]
pub(crate) struct Report {
    work: String,
    size_bytes: usize,
    connections: usize,
    seconds: f64,
    requests: u64,
    errors: u64,
    requests_per_second: f64,
    mib_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    server: Option<ServerCost>,
}

/// What the server's processes used.
#[derive(Serialize)]
struct ServerCost {
    cpu_ms_per_request: f64,
    cpu_seconds_per_gib: f64,
    written_bytes_per_byte: f64,
    resident_mib: f64,
}

impl Report {
    pub(crate) fn new(
        work: &str,
        options: &Options,
        latencies_us: &Histogram<u64>,
        bytes: u64,
        errors: u64,
        seconds: f64,
        usage: Option<(Usage, Usage)>,
    ) -> Self {
        let requests = latencies_us.len();
        let count = requests.max(1) as f64;
        let server = usage.map(|(before, after)| {
            let cpu = after.cpu_seconds - before.cpu_seconds;
            let written = after.written_bytes.saturating_sub(before.written_bytes);
            ServerCost {
                cpu_ms_per_request: cpu * 1000.0 / count,
                cpu_seconds_per_gib: cpu / (bytes.max(1) as f64 / GIB),
                written_bytes_per_byte: written as f64 / bytes.max(1) as f64,
                resident_mib: after.resident_bytes as f64 / MIB,
            }
        });
        let percentile = |p: f64| latencies_us.value_at_quantile(p) as f64 / 1000.0;
        Self {
            work: work.to_owned(),
            size_bytes: options.size,
            connections: options.connections,
            seconds,
            requests,
            errors,
            requests_per_second: requests as f64 / seconds,
            mib_per_second: bytes as f64 / MIB / seconds,
            p50_ms: percentile(0.5),
            p99_ms: percentile(0.99),
            max_ms: latencies_us.max() as f64 / 1000.0,
            server,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} B, {} connections: {:.0} requests/s, {:.1} MiB/s, p50 {:.2} ms, p99 {:.2} ms, max {:.1} ms, {} errors",
            self.work,
            self.size_bytes,
            self.connections,
            self.requests_per_second,
            self.mib_per_second,
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.errors
        )?;
        if let Some(server) = &self.server {
            write!(
                f,
                "\n  server: {:.3} ms CPU per request, {:.2} CPU s per GiB, {:.2} bytes written per byte, RSS {:.0} MiB",
                server.cpu_ms_per_request,
                server.cpu_seconds_per_gib,
                server.written_bytes_per_byte,
                server.resident_mib
            )?;
        }
        Ok(())
    }
}
