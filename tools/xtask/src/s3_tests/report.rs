//! What `karri_report.py` wrote: an outcome per case.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) outcome: Outcome,
    pub(super) markers: Vec<String>,
    pub(super) message: String,
}

impl Case {
    /// Whether the suite says that AWS fails it.
    pub(super) fn fails_on_aws(&self) -> bool {
        self.markers.iter().any(|marker| marker == "fails_on_aws")
    }
}

/// Cases by name, as in `test_s3.py::test_bucket_list_empty`.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) cases: BTreeMap<String, Case>,
}

impl Report {
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text)
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut report = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, outcome, _seconds, markers, message] = fields[..] else {
                bail!("not a line of a report: {line}")
            };
            let outcome = match outcome {
                "passed" => Outcome::Passed,
                "skipped" => Outcome::Skipped,
                "failed" => Outcome::Failed,
                _ => bail!("{name} could not be run: {message}"),
            };
            let markers = markers.split(',').map(str::to_owned).collect();
            report.cases.insert(name.to_owned(), Case { outcome, markers, message: message.to_owned() });
        }
        Ok(report)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Takes the outcomes of a further run; of a case that is in both, those of the later one.
    pub(super) fn add(&mut self, further: Self) {
        self.cases.extend(further.cases);
    }
}
