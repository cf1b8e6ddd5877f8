//! Structured logs on standard error.

use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;

/// Starts logging; `KARRI_LOG` overrides the configured filter.
pub(crate) fn start(config: &LogConfig) {
    let filter = std::env::var("KARRI_LOG").unwrap_or_else(|_| config.filter.clone());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = if config.json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
}
