//! Karri's chores. `cargo xtask dev` runs Karri, `cargo xtask test` passes the tests, `cargo xtask verify`
//! checks the tree and changes nothing, `cargo xtask fix` mends what can be mended.

mod edges;
mod fuzz;
mod kopia;
mod s3_tests;
mod setup;
mod verify;

use std::process::Command;

use anyhow::{Result, bail};

use crate::setup::{Workshop, run};

const USAGE: &str = "\
usage: cargo xtask <command>

  dev [args]     install what is missing, build, and run `karri dev [args]`
  s3-tests       run a checkout of ceph/s3-tests against Karri; fails when a case of the list fails
  kopia          build kopia, which needs Go, and run its tests; no other command does
  fuzz           run a fuzz target: fuzz <target> [--seconds N]; without a target, list them
  test           install what is missing (test clients too), run `verify`, every test, and `instructions`
  instructions   count the instructions of a 4 KiB PUT and GET; fails when there are 5 % more than recorded
  peers          build a release and measure it beside its peers: peers [--short] [--install] [options of karri-bench peers]
  build          install what is missing and build everything
  verify         fmt, clippy, import edges, generated files, licences; changes nothing
  fix            mend formatting, clippy's suggestions and generated files
  cargo <args>   run cargo with the settings that the other commands use
  env            print those settings as shell exports";

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let workshop = Workshop::locate()?;
    match command.as_str() {
        "dev" => dev(&workshop, &rest),
        "s3-tests" => s3_tests::s3_tests(&workshop, &rest),
        "kopia" => kopia::kopia(&workshop),
        "fuzz" => fuzz::fuzz(&workshop, &rest),
        "test" => test(&workshop, &rest),
        "instructions" => {
            workshop.prepare()?;
            workshop.cargo(&["build", "-p", "karri", "-p", "karri-bench"])?;
            instructions(&workshop, &rest)
        }
        "peers" => peers(&workshop, &rest),
        "build" => {
            workshop.prepare()?;
            workshop.cargo(&["build", "--workspace", "--all-targets"])
        }
        "verify" => {
            workshop.prepare()?;
            verify::verify(&workshop)
        }
        "fix" => {
            workshop.prepare()?;
            verify::fix(&workshop)
        }
        "cargo" => {
            workshop.prepare()?;
            workshop.cargo(&rest.iter().map(String::as_str).collect::<Vec<_>>())
        }
        "env" => {
            for (name, value) in workshop.environment() {
                println!("export {name}={}", shell_quote(&value));
            }
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

/// Builds the one binary and runs `karri dev` in the foreground.
fn dev(workshop: &Workshop, args: &[String]) -> Result<()> {
    workshop.prepare()?;
    workshop.cargo(&["build", "-p", "karri"])?;
    let mut command = vec!["run", "--quiet", "-p", "karri", "--", "dev"];
    command.extend(args.iter().map(String::as_str));
    workshop.cargo(&command)
}

/// Verifies the tree, then runs every test with the real clients.
fn test(workshop: &Workshop, args: &[String]) -> Result<()> {
    workshop.prepare()?;
    let clients = workshop.install_clients()?;
    verify::verify(workshop)?;
    // The system tests start this binary.
    workshop.cargo(&["build", "-p", "karri", "-p", "karri-bench"])?;
    let mut command = vec!["test", "--workspace", "--no-fail-fast"];
    command.extend(args.iter().map(String::as_str));
    let karri = workshop.target().join("debug/karri");
    workshop.cargo_with(&command, &[("KARRI_BIN", karri.as_os_str()), ("KARRI_TEST_CLIENTS", clients.as_os_str())])?;
    instructions(workshop, &[])
}

/// Compares what requests cost with what is recorded; the development profile is built.
fn instructions(workshop: &Workshop, args: &[String]) -> Result<()> {
    workshop.install_counting()?;
    let debug = workshop.target().join("debug");
    let mut bench = Command::new(debug.join("karri-bench"));
    bench.arg("instructions").args(args).current_dir(&workshop.root).env("KARRI_BIN", debug.join("karri"));
    run(&mut bench)
}

/// Measures a release beside its peers.
fn peers(workshop: &Workshop, args: &[String]) -> Result<()> {
    workshop.prepare()?;
    workshop.cargo(&["build", "--release", "-p", "karri", "-p", "karri-bench"])?;
    let release = workshop.target().join("release");
    let mut bench = Command::new(release.join("karri-bench"));
    bench.arg("peers").arg("--programs").arg(workshop.peers()).args(args);
    run(bench.current_dir(&workshop.root).env("KARRI_BIN", release.join("karri")))
}

fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
