//! The figures of a scale run.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Work {
    pub(super) per_second: f64,
    /// Of all nodes, for each.
    pub(super) cpu_ms: f64,
    pub(super) p99_ms: Option<f64>,
}

/// What was measured so far.
#[derive(Debug, Default, Serialize)]
pub(super) struct Growth {
    pub(super) objects: u64,
    pub(super) put_first: Option<Work>,
    pub(super) put_last: Option<Work>,
    pub(super) load_per_second: Option<f64>,
    /// How long the nodes worked on after the load.
    pub(super) settling_seconds: Option<f64>,
    pub(super) list_first: Option<Work>,
    pub(super) list_last: Option<Work>,
    pub(super) delete_per_second: Option<f64>,
    pub(super) list_after_deletes: Option<Work>,
    /// Of the first node's applied metadata, over the inline bytes.
    pub(super) metadata_bytes_per_object: Option<f64>,
    pub(super) resident_mib_first: Option<f64>,
    pub(super) resident_mib: Option<f64>,
    pub(super) resident_mib_after_deletes: Option<f64>,
    pub(super) restart_seconds: Option<f64>,
    pub(super) buckets_per_second: Option<f64>,
    pub(super) part_copies_cpu_ms: Option<f64>,
    pub(super) complete_seconds: Option<f64>,
    pub(super) complete_cpu_seconds: Option<f64>,
    pub(super) stream_bytes: Option<u64>,
    pub(super) stream_mib_per_second: Option<f64>,
    pub(super) stream_resident_mib_before: Option<f64>,
    /// The most that it was above what it was before.
    pub(super) stream_resident_mib_growth: Option<f64>,
}

/// The figures and the file that they are written to.
pub(super) struct Figures {
    pub(super) growth: Growth,
    json: Option<PathBuf>,
}

impl Figures {
    pub(super) fn new(json: Option<PathBuf>) -> Self {
        Self { growth: Growth::default(), json }
    }

    /// Takes figures in, and writes all: a run that fails later has told what it saw.
    pub(super) fn note(&mut self, set: impl FnOnce(&mut Growth)) -> Result<()> {
        set(&mut self.growth);
        match &self.json {
            Some(path) => fs::write(path, serde_json::to_string_pretty(&self.growth)?)
                .with_context(|| format!("write {}", path.display())),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s, {:.3} ms CPU", self.per_second, self.cpu_ms)?;
        self.p99_ms.map_or(Ok(()), |p99| write!(f, ", p99 {p99:.2} ms"))
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: Option<String>| match value {
            Some(value) => writeln!(f, "{name:<44} {value}"),
            None => Ok(()),
        };
        let work = |work: Option<Work>| work.map(|work| work.to_string());
        let number = |value: Option<f64>, decimals: usize, unit: &str| value.map(|v| format!("{v:.decimals$}{unit}"));
        line("objects", (self.objects > 0).then(|| self.objects.to_string()))?;
        line("PUT 1 KiB at 10,000 objects", work(self.put_first))?;
        line("PUT 1 KiB at all", work(self.put_last))?;
        line("loaded", number(self.load_per_second, 0, "/s"))?;
        line("work behind the load", number(self.settling_seconds, 0, " s"))?;
        line("list page at 10,000 objects", work(self.list_first))?;
        line("list page at all", work(self.list_last))?;
        line("deleted", number(self.delete_per_second, 0, "/s"))?;
        line("list page with nine of ten deleted", work(self.list_after_deletes))?;
        line("metadata on disk above the inline bytes", number(self.metadata_bytes_per_object, 0, " bytes/object"))?;
        line("RSS per node at 10,000 objects", number(self.resident_mib_first, 0, " MiB"))?;
        line("RSS per node at all", number(self.resident_mib, 0, " MiB"))?;
        line("RSS per node with nine of ten deleted", number(self.resident_mib_after_deletes, 0, " MiB"))?;
        line("restart to ready", number(self.restart_seconds, 2, " s"))?;
        line("buckets", number(self.buckets_per_second, 0, "/s"))?;
        line("copy of a part", number(self.part_copies_cpu_ms, 3, " ms CPU"))?;
        line("completion of the upload in parts", number(self.complete_seconds, 3, " s"))?;
        line("CPU of the completion", number(self.complete_cpu_seconds, 3, " s"))?;
        line("the streamed upload", number(self.stream_mib_per_second, 0, " MiB/s"))?;
        line("RSS per node before it", number(self.stream_resident_mib_before, 0, " MiB"))?;
        line("growth of RSS by the streamed upload", number(self.stream_resident_mib_growth, 0, " MiB"))
    }
}
