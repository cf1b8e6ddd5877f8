//! The checks of the tree: formatting, lints, edges, generated files, licences.

use std::process::Command;

use anyhow::Result;

use crate::edges;
use crate::setup::{Workshop, run};

/// Runs every check; changes nothing.
pub(crate) fn verify(workshop: &Workshop) -> Result<()> {
    edges::check(&workshop.root)?;
    workshop.cargo(&["fmt", "--all", "--check"])?;
    workshop.cargo(&["run", "--quiet", "-p", "karri-codegen", "--", "--check"])?;
    workshop.cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    let deny = workshop.install_cargo_deny()?;
    // Advisories need a database from the network, so they are a separate, scheduled check.
    run(Command::new(deny)
        .args(["--log-level", "error", "check", "licenses", "bans", "sources"])
        .current_dir(&workshop.root))
}

/// Mends formatting, clippy's machine-applicable suggestions and the generated files.
pub(crate) fn fix(workshop: &Workshop) -> Result<()> {
    workshop.cargo(&["run", "--quiet", "-p", "karri-codegen"])?;
    workshop.cargo(&["clippy", "--fix", "--allow-dirty", "--allow-staged", "--workspace", "--all-targets"])?;
    workshop.cargo(&["fmt", "--all"])
}
