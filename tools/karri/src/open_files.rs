//! How many files the process may have open: segments, tables and connections are files all.

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Without as many a node does not start: it would fail in the middle of something.
pub(crate) const LEAST: u64 = 1024;
/// Enough for all segments and connections that a node keeps open at most.
pub(crate) const WANTED: u64 = 16_384;

/// The limit of this process.
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The limit that this process could raise its own to.
pub(crate) fn limit_max() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the limit as far as it goes, and refuses one with which a node cannot work.
pub(crate) fn raise() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("raise the limit of open files")?;
    let limit = limit();
    ensure!(
        limit >= LEAST,
        "this process may have {limit} files open, a node needs {LEAST} at least and {WANTED} to work well: set \
         LimitNOFILE={WANTED} in its unit, or `ulimit -n`"
    );
    if limit < WANTED {
        tracing::warn!(limit, wanted = WANTED, "few files may be open: connections beyond that wait");
    }
    Ok(())
}
