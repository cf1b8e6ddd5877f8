//! `cargo xtask kopia`: builds kopia from its Go modules and runs its tests, which every other run tells as ignored.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::{Workshop, run};

/// Version of kopia that figures are told for.
const VERSION: &str = "v0.21.1";

/// Fails when kopia cannot be built, which is said, as well as when a test fails.
pub(crate) fn kopia(workshop: &Workshop) -> Result<()> {
    workshop.prepare()?;
    let clients = workshop.install_clients()?;
    let program = build(workshop).context("LEFT OUT, not passed: kopia cannot be built here")?;
    let karri = match env::var_os("KARRI_BIN") {
        Some(binary) => PathBuf::from(binary),
        None => {
            workshop.cargo(&["build", "-p", "karri"])?;
            workshop.target().join("debug/karri")
        }
    };
    let variables: [(&str, &OsStr); 3] = [
        ("KARRI_TEST_KOPIA", program.as_os_str()),
        ("KARRI_BIN", karri.as_os_str()),
        ("KARRI_TEST_CLIENTS", clients.as_os_str()),
    ];
    workshop.cargo_with(&["test", "-p", "karri-tests-clients", "--test", "kopia", "--", "--ignored"], &variables)
}

/// Builds it into the cache, once.
fn build(workshop: &Workshop) -> Result<PathBuf> {
    let folder = workshop.cached("kopia");
    let program = folder.join("bin/kopia");
    if program.exists() {
        return Ok(program);
    }
    println!("xtask: building kopia {VERSION} into {}: a few minutes, once per machine", folder.display());
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    fs::write(folder.join("go.mod"), "module karri/kopia\n").context("write go.mod")?;
    let go = |args: &[&str]| {
        run(Command::new("go").args(args).current_dir(&folder).env("GOBIN", folder.join("bin"))).context("with Go")
    };
    go(&["get", &format!("github.com/kopia/kopia@{VERSION}")])?;
    go(&["install", "github.com/kopia/kopia"])?;
    Ok(program)
}
