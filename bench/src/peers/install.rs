//! Fetching and building the peers that can be had from their own registries.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Version of Garage that figures are told for.
const GARAGE_VERSION: &str = "2.5.0";
const GO_PROGRAMS: [&str; 2] = ["github.com/minio/minio@latest", "github.com/seaweedfs/seaweedfs/weed@latest"];

/// Installs into `folder/bin`. A peer that cannot be built is said so and left out.
///
/// # Errors
/// The folder cannot be made.
pub(super) fn install(folder: &Path) -> Result<()> {
    let folder = std::path::absolute(folder)?;
    std::fs::create_dir_all(folder.join("bin")).with_context(|| format!("make {}", folder.display()))?;
    if !folder.join("bin/garage").exists() {
        eprintln!("installing garage {GARAGE_VERSION}: about 10 minutes on two cores");
        let mut cargo = Command::new("cargo");
        cargo.args(["install", "garage", "--version", GARAGE_VERSION, "--locked", "--root"]).arg(&folder);
        tell(cargo.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS"));
    }
    for program in GO_PROGRAMS {
        eprintln!("installing {program}");
        tell(Command::new("go").args(["install", program]).env("GOBIN", folder.join("bin")));
    }
    Ok(())
}

fn tell(command: &mut Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => eprintln!("{} failed: {status}; that peer is left out", command.get_program().to_string_lossy()),
        Err(error) => eprintln!("{}: {error}; that peer is left out", command.get_program().to_string_lossy()),
    }
}
