//! The cluster under test: `karri dev` with ports and a data folder of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How often it is asked whether it has started or stopped, and how many times at most.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const START_POLLS_MAX: u32 = 600;
const STOP_POLLS_MAX: u32 = 300;

pub(super) struct Server {
    process: Child,
    ports: Vec<u16>,
    pub(super) access_key: String,
    pub(super) secret_key: String,
}

/// The suite counts days of lifecycle rules as so many seconds.
const LIFECYCLE_DAY_SECONDS: &str = "10";

impl Server {
    /// Starts the cluster and waits until each node is ready. Its log is `karri.log` in the folder.
    pub(super) fn start(karri: &Path, folder: &Path, port: u16, nodes: u16, provider: &Provider) -> Result<Self> {
        let (access_key, secret_key) = ("KARRIS3TESTSROOT".to_owned(), "root-secret-of-the-s3-tests".to_owned());
        let log = fs::File::create(folder.join("karri.log"))?;
        let mut command = Command::new(karri);
        command.arg("dev").arg("--data").arg(folder.join("data"));
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--nodes", &nodes.to_string()]);
        command.args(["--lifecycle-day-seconds", LIFECYCLE_DAY_SECONDS, "--oidc-private-host", &provider.host]);
        command.env("KARRI_ROOT_ACCESS_KEY", &access_key).env("KARRI_ROOT_SECRET_KEY", &secret_key);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().with_context(|| format!("start {}", karri.display()))?;
        let mut server = Self { process, ports: (port..port + nodes).collect(), access_key, secret_key };
        server.wait_ready().with_context(|| format!("its log is {}/karri.log", folder.display()))?;
        Ok(server)
    }

    pub(super) fn endpoints(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let mut polls = 0;
        for &port in &self.ports {
            while !is_ready(port) {
                if let Some(status) = self.process.try_wait()? {
                    bail!("karri ended with {status}");
                }
                polls += 1;
                ensure!(polls < START_POLLS_MAX, "port {port} does not get ready");
                sleep(POLL_INTERVAL);
            }
        }
        Ok(())
    }

    /// Asks the cluster to stop and waits until it has.
    pub(super) fn stop(mut self) -> Result<()> {
        self.terminate();
        for _ in 0..STOP_POLLS_MAX {
            if self.process.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(POLL_INTERVAL);
        }
        bail!("karri does not stop")
    }

    /// SIGTERM, so that `karri dev` stops the processes of its nodes.
    fn terminate(&self) {
        // A process that has ended needs no signal.
        let _ = Command::new("kill").arg(self.process.id().to_string()).stderr(Stdio::null()).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.terminate();
            let _ = self.process.wait();
        }
    }
}

/// `provider.py`: the identity provider whose tokens the suite's cases have.
pub(super) struct Provider {
    process: Child,
    host: String,
}

impl Provider {
    /// Starts it; it has written `provider.json` into the folder.
    pub(super) fn start(python: &Path, script: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(script).arg(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("start {}", script.display()))?;
        let output = process.stdout.take().context("the provider's output")?;
        let mut provider = Self { process, host: String::new() };
        BufReader::new(output).read_line(&mut provider.host)?;
        provider.host.truncate(provider.host.trim_end().len());
        ensure!(!provider.host.is_empty(), "the identity provider did not start");
        Ok(provider)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // It keeps nothing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
