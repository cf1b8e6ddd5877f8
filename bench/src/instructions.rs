//! Instructions of the server per request, counted by callgrind: a figure that a busy machine hardly changes.
//!
//! The server runs under valgrind, so this takes a minute or two. What it does beside requests (heartbeats, timers) is
//! counted while it idles, after each round, and taken off; openraft's checks of itself, which only the development
//! profile has, are left out. One metadata range instead of eight keeps what is taken off small: it goes by the clock,
//! and requests take longer on a busy machine.
//! The recorded figures are in `bench/instructions.toml`.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use karri_tests_cluster::{Credentials, S3Client, eventually, karri_binary};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// PUTs or GETs that are counted together.
const REQUESTS: u64 = 200;
/// Pages of a listing that are counted together.
const PAGES: u64 = 20;
/// How often they are counted. What comes in between (a flush, a purge, a round of repair) only adds to it, so that the
/// least counts.
const ROUNDS: u64 = 7;
/// How long the idle server is counted after each round.
const IDLE: Duration = Duration::from_secs(2);
/// Functions that are not counted: openraft's checks of its own state.
const LEFT_OUT: [&str; 2] = ["validit::validate::Validate", "validate_voter_order"];
/// Objects that are put before, so that caches, tables and keys are warm.
const OBJECTS: u64 = 1200;
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
    /// Count these alone
    #[arg(long, value_enum, value_delimiter = ',', default_value = "put,get,list")]
    works: Vec<Work>,
    /// Folder that is left with the dumps, for callgrind_annotate
    #[arg(long)]
    dumps: Option<PathBuf>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Work {
    /// PUT of 4 KiB
    Put,
    /// GET of 4 KiB
    Get,
    /// A page of 1,000 keys
    List,
}

impl Work {
    const ALL: [Self; 3] = [Self::Put, Self::Get, Self::List];

    fn name(self) -> &'static str {
        match self {
            Self::Put => "PUT 4 KiB",
            Self::Get => "GET 4 KiB",
            Self::List => "LIST of 1,000",
        }
    }

    /// Requests that are counted together.
    fn requests(self) -> u64 {
        match self {
            Self::Put | Self::Get => REQUESTS,
            Self::List => PAGES,
        }
    }
}

/// Thousands of instructions per request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    put_4kib: Option<f64>,
    get_4kib: Option<f64>,
    list_1000: Option<f64>,
}

impl Counts {
    fn of(&mut self, work: Work) -> &mut Option<f64> {
        match work {
            Work::Put => &mut self.put_4kib,
            Work::Get => &mut self.get_4kib,
            Work::List => &mut self.list_1000,
        }
    }
}

/// Counts and compares.
///
/// # Errors
/// valgrind is missing, the server does not work under it, or a request costs over 5 % more than recorded.
pub(crate) fn run(options: &InstructionOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut counted = runtime.block_on(count(options))?;
    let mut recorded = Counts::default();
    if options.recorded.exists() {
        let text = fs::read_to_string(&options.recorded).with_context(|| options.recorded.display().to_string())?;
        recorded = toml::from_str(&text).with_context(|| options.recorded.display().to_string())?;
    }
    if options.record {
        for work in options.works.iter().copied() {
            *recorded.of(work) = *counted.of(work);
        }
        let text = format!(
            "# Thousands of instructions of the server per request, as `karri-bench instructions --record` counts them.\n{}",
            toml::to_string(&recorded)?
        );
        return fs::write(&options.recorded, text).with_context(|| format!("write {}", options.recorded.display()));
    }
    let mut failures = Vec::new();
    for work in Work::ALL {
        if let (Some(counted), Some(recorded)) = (*counted.of(work), *recorded.of(work))
            && let Err(failure) = compare(work.name(), counted, recorded)
        {
            failures.push(failure.to_string());
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
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

async fn count(options: &InstructionOptions) -> Result<Counts> {
    let server = Server::start().await?;
    server.client.create_bucket("counted").await?;
    // As many as a page has, and more.
    server.requests(Work::Put, 0, OBJECTS).await?;
    let mut counts = Counts::default();
    for work in options.works.iter().copied() {
        server.requests(work, OBJECTS, work.requests() / 2).await?;
        let counted = server.counted(work).await?;
        println!("{}: {counted:.1} thousand instructions", work.name());
        *counts.of(work) = Some(counted);
        if let Some(folder) = &options.dumps {
            fs::create_dir_all(folder)?;
            let dump = newest_dump(server.dir.path())?;
            fs::copy(dump, folder.join(format!("callgrind.{work:?}").to_lowercase()))?;
        }
    }
    Ok(counts)
}

impl Server {
    /// One node with one range under callgrind, not counting yet.
    async fn start() -> Result<Self> {
        let dir = TempDir::with_prefix("karri-instructions-")?;
        let credentials = Credentials { access_key: "KARRICOUNT".to_owned(), secret_key: "counted-secret".to_owned() };
        let (listen, rpc) = {
            let (listen, rpc) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
            (listen.local_addr()?, rpc.local_addr()?)
        };
        let config = dir.path().join("karri.toml");
        let text = format!(
            "data_dir = {:?}\n[s3]\nlisten = \"{listen}\"\n[rpc]\nlisten = \"{rpc}\"\nadvertise = \"{rpc}\"\n\
             [storage]\nreserve_bytes = 1048576\n[cluster]\ndata_ranges = 1\n",
            dir.path().join("data")
        );
        fs::write(&config, text)?;
        let keys =
            [("KARRI_ROOT_ACCESS_KEY", &credentials.access_key), ("KARRI_ROOT_SECRET_KEY", &credentials.secret_key)];
        let mut init = Command::new(karri_binary());
        init.args(["cluster", "init", "--config"]).arg(&config).envs(keys).stdout(Stdio::null());
        ensure!(init.status().context("start karri")?.success(), "karri cluster init failed");
        let log = fs::File::create(dir.path().join("log"))?;
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--instr-atstart=no", "--collect-systime=no"]);
        command.arg(format!("--callgrind-out-file={}", dir.path().join("count").display()));
        command.arg(readable_binary(dir.path())?).args(["server", "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).envs(keys).env("RUST_LOG", "warn");
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
    async fn requests(&self, work: Work, first: u64, count: u64) -> Result<()> {
        for number in first..first + count {
            // A PUT makes a new object; what is read is there.
            let number = if work == Work::Put { number } else { number % OBJECTS };
            let path = format!("/counted/object-{number:06}");
            let answer = match work {
                Work::Put => self.client.send("PUT", &path, &[], &[], vec![number as u8; 4096]).await?,
                Work::Get => self.client.send("GET", &path, &[], &[], Vec::new()).await?,
                Work::List => {
                    let query = [("list-type", "2"), ("max-keys", "1000")];
                    self.client.send("GET", "/counted", &query, &[], Vec::new()).await?
                }
            };
            answer.expect(200)?;
        }
        Ok(())
    }

    /// Thousands of instructions per request, in the round that had the least done beside it.
    async fn counted(&self, work: Work) -> Result<f64> {
        let requests = work.requests();
        let (mut rounds, mut idle_per_second) = (Vec::new(), f64::INFINITY);
        for round in 1..=ROUNDS {
            rounds.push(self.count(self.requests(work, OBJECTS + round * requests, requests)).await?);
            let wait = async {
                tokio::time::sleep(IDLE).await;
                Ok(())
            };
            let (idle, took) = self.count(wait).await?;
            idle_per_second = idle_per_second.min(idle / took.as_secs_f64());
        }
        let mut least = f64::INFINITY;
        for (instructions, took) in rounds {
            let per_request = |instructions: f64| instructions / requests as f64 / 1000.0;
            let beside = per_request(idle_per_second * took.as_secs_f64());
            let took = took.as_secs_f64();
            let name = work.name();
            eprintln!("{name}: {:.1}, of which {beside:.1} idle, in {took:.1} s", per_request(instructions));
            least = least.min(per_request(instructions) - beside);
        }
        Ok(least)
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
    own_costs(&fs::read_to_string(newest_dump(dir)?)?)
}

fn newest_dump(dir: &Path) -> Result<PathBuf> {
    let mut newest = None;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Dumps are numbered: count.1, count.2.
        if let Some(number) = name.strip_prefix("count.").and_then(|number| number.parse::<u32>().ok()) {
            newest = newest.max(Some(number));
        }
    }
    let number = newest.context("callgrind wrote no dump")?;
    Ok(dir.join(format!("count.{number}")))
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
