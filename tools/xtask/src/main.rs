//! Karri's chores. `cargo xtask dev` runs Karri, `cargo xtask test` passes the tests, `cargo xtask verify`
//! checks the tree and changes nothing, `cargo xtask fix` mends what can be mended.

mod edges;
mod fuzz;
mod s3_tests;
mod setup;
mod verify;

use anyhow::{Result, bail};

use crate::setup::Workshop;

const USAGE: &str = "\
usage: cargo xtask <command>

  dev [args]     install what is missing, build, and run `karri dev [args]`
  s3-tests       run a checkout of ceph/s3-tests against Karri; fails when a case of the list fails
  fuzz           run a fuzz target: fuzz <target> [--seconds N]; without a target, list them
  test           install what is missing (test clients too), run `verify` and every test
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
        "fuzz" => fuzz::fuzz(&workshop, &rest),
        "test" => test(&workshop, &rest),
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
    let mut run = vec!["run", "--quiet", "-p", "karri", "--", "dev"];
    run.extend(args.iter().map(String::as_str));
    workshop.cargo(&run)
}

/// Verifies the tree, then runs every test with the real clients.
fn test(workshop: &Workshop, args: &[String]) -> Result<()> {
    workshop.prepare()?;
    let clients = workshop.install_clients()?;
    verify::verify(workshop)?;
    // The system tests start this binary.
    workshop.cargo(&["build", "-p", "karri", "-p", "karri-bench"])?;
    let mut run = vec!["test", "--workspace", "--no-fail-fast"];
    run.extend(args.iter().map(String::as_str));
    let karri = workshop.target().join("debug/karri");
    workshop.cargo_with(&run, &[("KARRI_BIN", karri.as_os_str()), ("KARRI_TEST_CLIENTS", clients.as_os_str())])
}

fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
