//! `karri doctor`: looks at a node and its surroundings, running or not, and says what is wrong and what to do.
//!
//! It changes nothing but a file of its own in the data folder, which it removes again.

mod certificates;
mod disk;
mod limits;
mod peers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use karri_ring_disk::DiskPath;
use karri_ring_node::join::Credentials;
use serde::Serialize;

use crate::config::Config;
use crate::marks;
use crate::node::DataDir;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// It works, but will not for ever, or less well than it could.
    Warning,
    /// Something does not work.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "ERROR",
        })
    }
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// The report so far.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Finding>);

impl Report {
    fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.0.push(Finding { check, level: Level::Ok, found: found.into(), remedy: None });
    }

    fn warn(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { check, level: Level::Warning, found: found.into(), remedy: Some(remedy.into()) });
    }

    fn error(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { check, level: Level::Error, found: found.into(), remedy: Some(remedy.into()) });
    }

    fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }
}

/// Examines the node of a configuration file and prints what it finds. 0: all is well, 1: warnings, 2: errors.
pub(crate) async fn run(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    examine(path, &mut report).await;
    if json {
        println!("{}", serde_json::to_string_pretty(&report.0)?);
    } else {
        for Finding { check, level, found, remedy } in &report.0 {
            let remedy = remedy.as_ref().map_or_else(String::new, |remedy| format!(" -> {remedy}"));
            println!("{level:<8} {check:<13} {found}{remedy}");
        }
    }
    Ok(ExitCode::from(match report.worst() {
        Level::Ok => 0,
        Level::Warning => 1,
        Level::Error => 2,
    }))
}

async fn examine(path: &Path, report: &mut Report) {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            let text = format!("{error:#}");
            return report.error(
                "configuration",
                text.trim().replace('\n', " "),
                "mend the file; see docs/reference/configuration.md",
            );
        }
    };
    report.ok("configuration", format!("{} is well formed", path.display()));
    disk::permissions(path, &config, report);
    if !disk::examine(&config, report) {
        return;
    }
    let credentials = match Credentials::read(&DataDir(&config.data_dir).credentials()) {
        Ok(Some(credentials)) => credentials,
        Ok(None) => {
            let found = format!("{} is no node's: it has no credentials", config.data_dir.display());
            return report.error(
                "identity",
                found,
                "mount the node's disk there, or, for a new node, run `karri cluster init` or `join`",
            );
        }
        Err(error) => {
            let found = format!("the node's credentials cannot be read: {error:#}");
            return report.error("identity", found, "restore node-credentials from its backup, or replace the node");
        }
    };
    let identity = credentials.identity();
    report.ok("identity", format!("node {} of cluster {}", identity.node, identity.cluster));
    match marks::faults(&DiskPath::host(&config.data_dir), &identity) {
        Ok(faults) if faults.is_empty() => report.ok("disk", "its folders are this node's"),
        Ok(faults) => {
            faults.into_iter().for_each(|fault| report.error("disk", fault, "see docs/operations/lost-disk.md"))
        }
        Err(error) => report.error("disk", format!("{error:#}"), "check the disk and its mount"),
    }
    let running = disk::is_locked(&config.data_dir);
    limits::memory(report);
    limits::ports(&config, running, report);
    certificates::of_node(&identity, report);
    certificates::of_service(&config, report);
    peers::examine(&config, &credentials, running, report).await;
}
