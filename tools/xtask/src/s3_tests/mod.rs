//! `cargo xtask s3-tests`: runs a checkout of ceph/s3-tests against a cluster and holds what passes.
//!
//! The suite is run, never copied; `tests/s3-tests/README.md` says how and has the figures.

mod lists;
mod report;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::lists::Lists;
use self::report::Report;
use self::server::{Provider, Server};
use crate::setup::{Workshop, run};

const USAGE: &str = "\
usage: cargo xtask s3-tests --checkout DIR [options]

  --checkout DIR  a checkout of ceph/s3-tests
  --nodes N       nodes of the cluster (1)
  --workers N     processes that run cases, each with users of its own (6)
  --port N        the cluster's first port (9800)
  --files A,B     files of the suite (test_s3.py,test_headers.py,test_iam.py,test_sts.py)
  --cases FILE    only the cases that FILE names, a line each: with tests/s3-tests/passing.txt those that must pass
  -k EXPR         only cases that match, as pytest has it
  --update        add cases that pass to tests/s3-tests/passing.txt";
const FILES: [&str; 4] = ["test_s3.py", "test_headers.py", "test_iam.py", "test_sts.py"];
/// Files whose cases have users of another kind, and buckets with fixed names: each file is run by one worker.
const IAM_FILES: [&str; 2] = ["test_iam.py", "test_sts.py"];
/// Longer than the slowest case, which waits for lifecycle rules.
const CASE_SECONDS: u32 = 300;

struct Options {
    checkout: PathBuf,
    nodes: u16,
    workers: u16,
    port: u16,
    files: Vec<String>,
    cases: Option<Vec<String>>,
    expression: Option<String>,
    update: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self {
            checkout: PathBuf::new(),
            nodes: 1,
            workers: 6,
            port: 9800,
            files: FILES.map(str::to_owned).into(),
            cases: None,
            expression: None,
            update: false,
        };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let mut value = || args.next().with_context(|| format!("{name} needs a value\n{USAGE}"));
            match name.as_str() {
                "--checkout" => options.checkout = PathBuf::from(value()?),
                "--nodes" => options.nodes = value()?.parse().context("--nodes")?,
                "--workers" => options.workers = value()?.parse().context("--workers")?,
                "--port" => options.port = value()?.parse().context("--port")?,
                "--files" => options.files = value()?.split(',').map(str::to_owned).collect(),
                "--cases" => options.cases = Some(lists::lines(Path::new(value()?))?),
                "-k" => options.expression = Some(value()?.clone()),
                "--update" => options.update = true,
                _ => bail!("{USAGE}"),
            }
        }
        ensure!(options.checkout.join("s3tests/functional").is_dir(), "--checkout must name the suite\n{USAGE}");
        ensure!(options.workers > 0 && options.nodes > 0, "{USAGE}");
        Ok(options)
    }
}

/// Runs the suite; fails when a case of the list of passing ones fails.
pub(crate) fn s3_tests(workshop: &Workshop, args: &[String]) -> Result<()> {
    let options = Options::parse(args)?;
    let ours = workshop.root.join("tests/s3-tests");
    let lists = Lists::load(&ours)?;
    let python = workshop.install_python("s3-tests", &ours.join("requirements.txt"))?;
    let karri = match std::env::var_os("KARRI_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            workshop.prepare()?;
            workshop.cargo(&["build", "-p", "karri"])?;
            workshop.target().join("debug/karri")
        }
    };
    let folder = std::env::temp_dir().join(format!("karri-s3-tests-{}", options.port));
    if folder.exists() {
        fs::remove_dir_all(&folder).context("remove what the last run left")?;
    }
    fs::create_dir_all(&folder)?;
    let suite = Suite { options: &options, karri: &karri, ours: &ours, python: &python, folder: &folder };
    let provider = Provider::start(&python.join("bin/python"), &ours.join("provider.py"), &folder)?;
    let server = Server::start(&karri, &folder, options.port, options.nodes, &provider)?;
    suite.configure(&server)?;
    let mut report = Report::default();
    for kind in [Kind::S3, Kind::Iam] {
        report.add(suite.run(kind, &lists)?);
    }
    ensure!(!report.is_empty(), "no case was run");
    server.stop()?;
    lists.conclude(&report, options.update)?;
    println!("\nlogs and reports: {}", folder.display());
    Ok(())
}

/// What the suite's files are about: they have configurations of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3,
    Iam,
}

impl Kind {
    fn of(file: &str) -> Self {
        if IAM_FILES.contains(&file) { Self::Iam } else { Self::S3 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Iam => "iam",
        }
    }
}

/// One set-up of the suite.
struct Suite<'a> {
    options: &'a Options,
    karri: &'a Path,
    ours: &'a Path,
    python: &'a Path,
    folder: &'a Path,
}

impl Suite<'_> {
    /// Makes the users and the suite's configuration files.
    fn configure(&self, server: &Server) -> Result<()> {
        let mut prepare = Command::new(self.python.join("bin/python"));
        prepare.arg(self.ours.join("prepare.py")).arg(server.endpoints().join(","));
        prepare.arg(&server.access_key).arg(&server.secret_key);
        prepare.arg(self.options.workers.to_string()).arg(self.folder);
        prepare.arg(self.karri).arg(self.folder.join("data/node1.toml"));
        run(&mut prepare).context("make the suite's users")
    }

    /// Runs the files of a kind that were asked for.
    fn run(&self, kind: Kind, lists: &Lists) -> Result<Report> {
        let files: Vec<&str> =
            self.options.files.iter().map(String::as_str).filter(|file| Kind::of(file) == kind).collect();
        if files.is_empty() {
            return Ok(Report::default());
        }
        // Whole files, or those of the named cases that are in one of them.
        let named = self.options.cases.as_ref().map(|cases| {
            cases
                .iter()
                .map(String::as_str)
                .filter(|case| case.split_once("::").is_some_and(|(file, _)| files.contains(&file)))
                .collect::<Vec<_>>()
        });
        let asked = named.unwrap_or(files);
        if asked.is_empty() {
            return Ok(Report::default());
        }
        let workers = self.options.workers;
        let mut report = self.pass(kind, kind.name(), workers, &asked)?;
        // A case that failed beside others gets a second try alone: what disturbed it is said, not hidden.
        let again = lists.regressions(&report);
        if !again.is_empty() {
            println!("xtask: {} listed cases failed; they run once more, alone", again.len());
            let second = self.pass(kind, &format!("{}-again", kind.name()), 1, &again)?;
            report.add(second);
        }
        Ok(report)
    }

    /// Runs cases or files and returns what came of them.
    fn pass(&self, kind: Kind, name: &str, workers: u16, cases: &[&str]) -> Result<Report> {
        let report = self.folder.join(format!("{name}.tsv"));
        let mut pytest = Command::new(self.python.join("bin/python"));
        pytest.current_dir(&self.options.checkout).env("PYTHONPATH", self.ours);
        // The suite's folder is left as it was.
        pytest.env("PYTHONPYCACHEPREFIX", self.python.join("pycache")).args(["-m", "pytest", "-p", "no:cacheprovider"]);
        pytest.args(["-p", "karri_report", "-q", "--no-header", "--tb=short", "-W", "ignore", "-o", "addopts="]);
        pytest.arg("--karri-excluded").arg(self.ours.join("excluded.txt"));
        let (configurations, distribution) = match kind {
            Kind::S3 => (self.folder.to_owned(), "worksteal"),
            Kind::Iam => (self.folder.join("iam"), "loadfile"),
        };
        pytest.args(["-p", if kind == Kind::Iam { "karri_names" } else { "karri_accounts" }]);
        pytest.arg("--karri-report").arg(&report).arg("--karri-configurations").arg(configurations);
        pytest.arg(format!("--timeout={CASE_SECONDS}"));
        pytest.arg(format!("--junitxml={}", self.folder.join(format!("{name}.xml")).display()));
        if workers > 1 {
            pytest.args(["-n", &workers.to_string(), "--dist", distribution]);
        }
        pytest.args(cases.iter().map(|case| format!("s3tests/functional/{case}")));
        if let Some(expression) = &self.options.expression {
            pytest.args(["-k", expression]);
        }
        let log = fs::File::create(self.folder.join(format!("{name}.log")))?;
        println!("xtask: running {name} with {workers} workers; its log is {}/{name}.log", self.folder.display());
        let status = pytest.stdout(log.try_clone()?).stderr(log).status().context("start pytest")?;
        let found = Report::load(&report)?;
        // An expression may well fit no case of one kind.
        let is_narrow = self.options.expression.is_some();
        ensure!(
            is_narrow || !found.is_empty(),
            "pytest ran no case ({status}); see {name}.log in {}",
            self.folder.display()
        );
        Ok(found)
    }
}
