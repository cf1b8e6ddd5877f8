//! Instructions of the server per request, counted by callgrind: a figure that a busy machine hardly changes.
//!
//! The server runs under valgrind, so this takes a minute. What it does beside requests (heartbeats, timers) is counted
//! while it idles and taken off; openraft's checks of itself, which only the development profile has, are left out.
//! The recorded figures are in `bench/instructions.toml`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use karri_tests_cluster::{Credentials, S3Client, eventually, karri_binary};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// Requests of each kind that are counted together.
const REQUESTS: u64 = 300;
/// How often they are counted; the median counts.
const ROUNDS: u64 = 5;
/// How long the idle server is counted.
const IDLE: Duration = Duration::from_secs(8);
/// Functions that are not counted: openraft's checks of its own state.
const LEFT_OUT: [&str; 2] = ["validit::validate::Validate", "validate_voter_order"];
/// Requests before, so that caches, tables and keys are warm.
const WARM_UP: u64 = 100;
/// Longest that the server may take to start under valgrind.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Growth that fails the check.
const GROWTH_MAX: f64 = 0.05;

/// Settings of a count.
#[derive(Args, Clone, Debug)]
pub(crate) struct InstructionOptions {
    /// The recorded figures
    #[arg(long, default_value = "bench/instructions.toml")]
    recorded: PathBuf,
    /// Write what is counted into that file instead of comparing
    #[arg(long)]
    record: bool,
}

/// Thousands of instructions per request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    put_4kib: f64,
    get_4kib: f64,
}

/// Counts and compares.
///
/// # Errors
/// valgrind is missing, the server does not work under it, or a request costs over 5 % more than recorded.
pub(crate) fn run(options: &InstructionOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counted = runtime.block_on(count())?;
    println!("thousand instructions per request: PUT 4 KiB {:.1}, GET 4 KiB {:.1}", counted.put_4kib, counted.get_4kib);
    if options.record {
        let text = format!(
            "# Thousands of instructions of the server per request, as `karri-bench instructions --record` counts them.\n{}",
            toml::to_string(&counted)?
        );
        return fs::write(&options.recorded, text).with_context(|| format!("write {}", options.recorded.display()));
    }
    let text = fs::read_to_string(&options.recorded).with_context(|| options.recorded.display().to_string())?;
    let recorded: Counts = toml::from_str(&text).with_context(|| options.recorded.display().to_string())?;
    compare("PUT 4 KiB", counted.put_4kib, recorded.put_4kib)?;
    compare("GET 4 KiB", counted.get_4kib, recorded.get_4kib)
}

fn compare(name: &str, counted: f64, recorded: f64) -> Result<()> {
    let growth = counted / recorded - 1.0;
    println!("{name}: {:+.1} % against the recorded {recorded:.1}", growth * 100.0);
    ensure!(
        growth <= GROWTH_MAX,
        "{name} costs {:.1} % more instructions than recorded; mend it, or record the new figure on purpose with \
         `karri-bench instructions --record`",
        growth * 100.0
    );
    Ok(())
}

struct Server {
    process: Child,
    dir: TempDir,
    client: S3Client,
}

async fn count() -> Result<Counts> {
    let server = Server::start().await?;
    server.client.create_bucket("counted").await?;
    server.requests("PUT", 0, WARM_UP).await?;
    server.requests("GET", 0, WARM_UP).await?;
    let idle = server.idle().await?;
    let put = server.counted("PUT", idle).await?;
    let get = server.counted("GET", idle).await?;
    Ok(Counts { put_4kib: put, get_4kib: get })
}

impl Server {
    /// `karri dev` with one node under callgrind, not counting yet.
    async fn start() -> Result<Self> {
        let dir = TempDir::with_prefix("karri-instructions-")?;
        let credentials = Credentials { access_key: "KARRICOUNT".to_owned(), secret_key: "counted-secret".to_owned() };
        let listen = {
            let free = std::net::TcpListener::bind("127.0.0.1:0")?;
            free.local_addr()?
        };
        let log = fs::File::create(dir.path().join("log"))?;
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--instr-atstart=no", "--collect-systime=no"]);
        command.arg(format!("--callgrind-out-file={}", dir.path().join("count").display()));
        command.arg(readable_binary(dir.path())?).arg("dev").arg("--data").arg(dir.path().join("data"));
        command.args(["--listen", &listen.to_string()]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.env("KARRI_ROOT_ACCESS_KEY", &credentials.access_key);
        command.env("KARRI_ROOT_SECRET_KEY", &credentials.secret_key).env("RUST_LOG", "warn");
        let process = command.spawn().context("start valgrind (Debian: apt-get install valgrind)")?;
        let server = Self { process, dir, client: S3Client::new(&listen.to_string(), credentials) };
        let ready = eventually("the server answers under valgrind", START_LIMIT, || async {
            let answer = server.client.send("GET", "/", &[], &[], "").await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        });
        if let Err(error) = ready.await {
            let log = fs::read_to_string(server.dir.path().join("log")).unwrap_or_default();
            bail!("{error}; its log:\n{log}");
        }
        Ok(server)
    }

    /// Sends so many requests from number `first` on, one after the other: how many share a commit must not depend on
    /// the machine.
    async fn requests(&self, method: &'static str, first: u64, count: u64) -> Result<()> {
        for number in first..first + count {
            let body = if method == "PUT" { vec![number as u8; 4096] } else { Vec::new() };
            let path = format!("/counted/object-{number:06}");
            self.client.send(method, &path, &[], &[], body).await?.expect(200)?;
        }
        Ok(())
    }

    /// Thousands of instructions per request, in the median of the rounds. `idle`: as [`Server::idle`] says.
    async fn counted(&self, method: &'static str, idle: f64) -> Result<f64> {
        let mut rounds = Vec::new();
        for round in 1..=ROUNDS {
            let (instructions, took) = self.count(self.requests(method, round * REQUESTS, REQUESTS)).await?;
            rounds.push((instructions - idle * took.as_secs_f64()) / REQUESTS as f64 / 1000.0);
        }
        rounds.sort_by(f64::total_cmp);
        Ok(rounds[rounds.len() / 2])
    }

    /// Instructions per second without requests.
    async fn idle(&self) -> Result<f64> {
        let wait = async {
            tokio::time::sleep(IDLE).await;
            Ok(())
        };
        let (instructions, took) = self.count(wait).await?;
        Ok(instructions / took.as_secs_f64())
    }

    /// What the server does during `work`, and how long that took.
    async fn count(&self, work: impl Future<Output = Result<()>>) -> Result<(f64, Duration)> {
        self.control(&["-z"])?;
        self.control(&["-i", "on"])?;
        let start = tokio::time::Instant::now();
        work.await?;
        let took = start.elapsed();
        self.control(&["-i", "off"])?;
        self.control(&["-d"])?;
        Ok((total(self.dir.path())? as f64, took))
    }

    fn control(&self, args: &[&str]) -> Result<()> {
        let output = Command::new("callgrind_control").args(args).arg(self.process.id().to_string()).output();
        let output = output.context("run callgrind_control")?;
        ensure!(output.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// Instructions in the newest dump.
fn total(dir: &Path) -> Result<u64> {
    let mut newest = None;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Dumps are numbered: count.1, count.2.
        if let Some(number) = name.strip_prefix("count.").and_then(|number| number.parse::<u32>().ok()) {
            newest = newest.max(Some(number));
        }
    }
    let number = newest.context("callgrind wrote no dump")?;
    own_costs(&fs::read_to_string(dir.join(format!("count.{number}")))?)
}

/// The server without the line tables that valgrind 3.19 cannot read; its symbols stay.
fn readable_binary(dir: &Path) -> Result<PathBuf> {
    let copy = dir.join("karri");
    let status = Command::new("objcopy").arg("--strip-debug").arg(karri_binary()).arg(&copy).status();
    ensure!(status.context("start objcopy (Debian: apt-get install binutils)")?.success(), "objcopy failed");
    Ok(copy)
}

/// Sum of the functions' own costs in a dump, without those that are left out.
///
/// Format: <https://valgrind.org/docs/manual/cl-format.html>. A name stands at its number's first use only; the line
/// after `calls=` is what the callee cost, which is counted where the callee stands.
fn own_costs(dump: &str) -> Result<u64> {
    let mut names: HashMap<&str, bool> = HashMap::new();
    let (mut counts, mut callee, mut sum) = (false, false, 0);
    for line in dump.lines() {
        if let Some((kind, name)) = line.split_once("fn=(").filter(|(kind, _)| matches!(*kind, "" | "c")) {
            let (number, name) = name.split_once(')').context("a function without a number")?;
            if !name.is_empty() {
                names.insert(number, !LEFT_OUT.iter().any(|left_out| name.contains(left_out)));
            }
            if kind.is_empty() {
                counts = *names.get(number).context("a function without a name")?;
            }
        } else if line.starts_with("calls=") {
            callee = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '*'))
            && !std::mem::take(&mut callee)
            && counts
        {
            let cost = line.split_whitespace().nth(1).context("a line without a cost")?;
            sum += cost.parse::<u64>().context("a cost that is no number")?;
        }
    }
    ensure!(sum > 0, "a dump without costs");
    Ok(sum)
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::own_costs;

    #[test]
    fn counts_each_function_once_and_not_what_is_left_out() {
        let dump = "events: Ir\nfn=(1) serve\n0 100\ncfn=(2) read\ncalls=1 0\n0 40\n+1 5\n\nfn=(2)\n0 40\n\n\
                    fn=(3) <State as validit::validate::Validate>::validate\n0 1000\n\ntotals: 1145\n";
        assert_eq!(own_costs(dump).unwrap(), 145);
    }
}
