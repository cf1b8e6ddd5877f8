//! Starting, killing and asking `karri` processes.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::client::S3Client;
use crate::links::{Links, node_ip};
use crate::sign::Credentials;
use crate::tls::{self, TlsFiles};
use crate::wait::eventually;

/// Ports of S3 and of the other nodes at a site of its own.
const SITE_PORTS: (u16, u16) = (9000, 9400);
/// How long a node may take from its start to its first ready answer.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// The program under test: `KARRI_BIN`, else `karri` beside the test's own target folder.
pub fn karri_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("KARRI_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("the test's own path");
    test.ancestors().nth(2).expect("target/debug/deps/test").join("karri")
}

/// Where a node runs.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its address, with the usual ports.
    pub ip: IpAddr,
    /// What its program is started by, as `ip netns exec one`; it must replace itself by the program.
    pub command: Vec<String>,
    /// Its data folder.
    pub data_dir: PathBuf,
}

/// What a cluster of processes is started with.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// Lines added to the `[s3]` table of each node's configuration file.
    pub s3_configuration: String,
    /// Lines added to the `[storage]` table.
    pub storage_configuration: String,
    /// Lines of the `[storage.classes]` table.
    pub storage_classes: String,
    /// Whether S3 is spoken over TLS, with a certificate of an authority of the test's own.
    pub tls: bool,
    /// Whether links between nodes can be cut.
    pub with_links: bool,
    /// Folders for the nodes' data instead of ones in a temporary folder.
    pub data_dirs: Vec<PathBuf>,
    /// Where the nodes run, instead of all on loopback.
    pub sites: Vec<Site>,
    /// Variables of the nodes' environment.
    pub environment: Vec<(String, String)>,
}

struct Node {
    config: PathBuf,
    data_dir: PathBuf,
    log: PathBuf,
    s3: SocketAddr,
    process: Option<Child>,
}

/// Real `karri server` processes that form one cluster.
pub struct Cluster {
    dir: TempDir,
    nodes: Vec<Node>,
    options: ClusterOptions,
    credentials: Credentials,
    links: Links,
    tls: Option<TlsFiles>,
}

impl Cluster {
    /// Starts a cluster of `count` nodes and waits until each is ready and in the layout.
    pub async fn start(count: usize) -> Result<Self> {
        Self::start_with(count, ClusterOptions::default()).await
    }

    /// As [`Cluster::start`], with options.
    pub async fn start_with(count: usize, options: ClusterOptions) -> Result<Self> {
        let dir = TempDir::with_prefix("karri-cluster-").context("make a temporary folder")?;
        let credentials = Credentials {
            access_key: "KARRITESTROOT".to_owned(),
            secret_key: "test-secret-of-the-root-user".to_owned(),
        };
        let tls = options.tls.then(|| TlsFiles::make(dir.path())).transpose()?;
        let mut cluster = Self { dir, nodes: Vec::new(), options, credentials, links: Links::new(), tls };
        for _ in 0..count {
            cluster.add().await?;
        }
        cluster.wait_members(count).await?;
        Ok(cluster)
    }

    /// Adds one node: the first initialises the cluster, each later one joins with a token.
    pub async fn add(&mut self) -> Result<usize> {
        let index = self.nodes.len();
        let node = self.prepare(index).await?;
        let config = node.config.clone();
        if index == 0 {
            self.karri_at(0, &["cluster", "init", "--config", path_text(&config)?])?;
        } else {
            let seed = self.nodes[0].config.clone();
            let token = self.karri_at(0, &["cluster", "token", "--config", path_text(&seed)?])?;
            self.karri_at(index, &["cluster", "join", "--config", path_text(&config)?, "--token", token.trim()])?;
        }
        self.nodes.push(node);
        self.restart(index).await?;
        Ok(index)
    }

    async fn prepare(&self, index: usize) -> Result<Node> {
        let name = format!("node{}", index + 1);
        let given = self.options.sites.get(index).map(|site| &site.data_dir).or(self.options.data_dirs.get(index));
        let data_dir = given.cloned().unwrap_or_else(|| self.dir.path().join(&name));
        let (s3, mut rpc) = match self.options.sites.get(index) {
            Some(site) => (SocketAddr::new(site.ip, SITE_PORTS.0), SocketAddr::new(site.ip, SITE_PORTS.1)),
            None => (free_address()?, free_address()?),
        };
        let mut advertise = rpc;
        if self.options.with_links {
            rpc.set_ip(node_ip(index));
            advertise = self.links.start_proxy(index, free_address()?, rpc).await?;
        }
        // Sites have small disks.
        let reserve_bytes = if self.options.sites.is_empty() { 256 << 20 } else { 64 << 20 };
        let config = self.dir.path().join(format!("{name}.toml"));
        let tls = self.tls.as_ref().map(TlsFiles::configuration).unwrap_or_default();
        let text = format!(
            "data_dir = {data_dir:?}\n[s3]\nlisten = \"{s3}\"\n{tls}{}\n[rpc]\nlisten = \"{rpc}\"\nadvertise = \"{advertise}\"\n\
             [storage]\nreserve_bytes = {reserve_bytes}\ngarbage_age_seconds = 1\nlifecycle_day_seconds = 4\n{}\n\
             [storage.classes]\n{}\n",
            self.options.s3_configuration, self.options.storage_configuration, self.options.storage_classes
        );
        fs::write(&config, text).context("write a node's configuration")?;
        Ok(Node { config, data_dir, log: self.dir.path().join(format!("{name}.log")), s3, process: None })
    }

    /// Runs a `karri` command to its end and returns what it printed.
    pub fn karri(&self, args: &[&str]) -> Result<String> {
        self.karri_at(0, args)
    }

    /// As [`Cluster::karri`], where a node runs.
    pub fn karri_at(&self, index: usize, args: &[&str]) -> Result<String> {
        let output = self.command(index).args(args).output().context("run karri")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "karri {} failed: {errors}", args.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, index: usize) -> Command {
        let mut command = match self.options.sites.get(index).map(|site| &site.command[..]) {
            Some([program, args @ ..]) => {
                let mut command = Command::new(program);
                command.args(args).arg(karri_binary());
                command
            }
            _ => Command::new(karri_binary()),
        };
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        command.env("KARRI_ROOT_ACCESS_KEY", &self.credentials.access_key);
        command.env("KARRI_ROOT_SECRET_KEY", &self.credentials.secret_key);
        command
    }

    /// Kills a node with SIGKILL, as a power cut would.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        let mut process = self.nodes[index].process.take().context("the node is not running")?;
        process.kill().context("kill")?;
        process.wait().context("wait for a killed node")?;
        Ok(())
    }

    /// Kills every node that runs, at once.
    pub fn kill_all(&mut self) -> Result<()> {
        let mut killed = Vec::new();
        for node in &mut self.nodes {
            if let Some(mut process) = node.process.take() {
                process.kill().context("kill")?;
                killed.push(process);
            }
        }
        for mut process in killed {
            process.wait().context("wait for a killed node")?;
        }
        Ok(())
    }

    /// Whether a node's process has ended by itself. It is then as killed.
    pub fn has_ended(&mut self, index: usize) -> Result<bool> {
        let node = &mut self.nodes[index];
        let ended = match &mut node.process {
            Some(process) => process.try_wait().context("look after a node")?.is_some(),
            None => true,
        };
        if ended {
            node.process = None;
        }
        Ok(ended)
    }

    /// Starts a node that is not running.
    pub fn start_node(&mut self, index: usize) -> Result<()> {
        self.spawn(index)
    }

    /// Starts a node that is not running and waits until it is ready.
    pub async fn restart(&mut self, index: usize) -> Result<()> {
        self.spawn(index)?;
        self.wait_ready(index).await
    }

    /// Starts every node that is not running, then waits for each.
    pub async fn restart_all(&mut self) -> Result<()> {
        let stopped: Vec<usize> = (0..self.nodes.len()).filter(|&index| self.nodes[index].process.is_none()).collect();
        for &index in &stopped {
            self.spawn(index)?;
        }
        for index in stopped {
            self.wait_ready(index).await?;
        }
        Ok(())
    }

    fn spawn(&mut self, index: usize) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.nodes[index].log)?;
        let mut command = self.command(index);
        command.arg("server").arg("--config").arg(&self.nodes[index].config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.nodes[index].process = Some(command.spawn().context("start karri server")?);
        Ok(())
    }

    /// Sends a signal such as `libc::SIGSTOP`.
    pub fn signal(&self, index: usize, signal: &str) -> Result<()> {
        let pid = self.pid(index)?;
        let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status()?;
        ensure!(status.success(), "kill -{signal} {pid} failed");
        Ok(())
    }

    /// Asks a node to stop and waits until it has; fails if it does not end with success.
    pub async fn stop(&mut self, index: usize) -> Result<()> {
        self.signal(index, "TERM")?;
        let mut process = self.nodes[index].process.take().context("the node is not running")?;
        let status = tokio::task::spawn_blocking(move || process.wait()).await??;
        ensure!(status.success(), "karri server ended with {status}");
        Ok(())
    }

    /// Cuts a node off from all others; clients reach it still. The cluster must be made `with_links`.
    pub fn isolate(&self, index: usize) -> Result<()> {
        ensure!(self.options.with_links, "the cluster's links cannot be cut");
        for other in (0..self.nodes.len()).filter(|&other| other != index) {
            self.links.cut(index, other);
        }
        Ok(())
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.links.heal();
    }

    /// Waits until a node answers `/-/ready` with 200.
    pub async fn wait_ready(&mut self, index: usize) -> Result<()> {
        let client = self.client(index);
        let ready = eventually("a node is ready", READY_LIMIT, || async {
            let answer = client.send_raw("GET", "/-/ready", &[], bytes::Bytes::new()).await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        });
        if let Err(error) = ready.await {
            bail!("{error}; the end of its log:\n{}", self.log_tail(index));
        }
        Ok(())
    }

    /// Waits until the layout and the voters name `count` nodes.
    pub async fn wait_members(&self, count: usize) -> Result<()> {
        let limit = Duration::from_secs(60);
        let seen = eventually("every node is a member", limit, || async {
            let status = self.status(0).ok()?;
            let nodes = status["nodes"].as_array()?.iter().filter(|node| node["in_layout"] == true).count();
            let voters = count.min(3);
            let ranges = status["ranges"].as_array()?;
            let placed = ranges.iter().all(|range| range["voters"].as_array().is_some_and(|v| v.len() >= voters));
            (nodes == count && !ranges.is_empty() && placed).then_some(())
        });
        seen.await.with_context(|| format!("status: {:?}\nlog: {}", self.status(0), self.log_tail(0)))
    }

    /// `karri cluster status --json` as node `index` answers it.
    pub fn status(&self, index: usize) -> Result<serde_json::Value> {
        let config = path_text(&self.nodes[index].config)?;
        let text = self.karri_at(index, &["cluster", "status", "--json", "--config", config])?;
        serde_json::from_str(&text).context("status is JSON")
    }

    /// Waits until no extent lacks a copy.
    pub async fn wait_full_replicas(&self, index: usize, limit: Duration) -> Result<()> {
        let seen = eventually("every extent has all its copies", limit, || async {
            let status = self.status(index).ok()?;
            (status["extents"]["under_replicated"] == 0 && status["extents"]["unknown"] == 0).then_some(())
        });
        seen.await.with_context(|| format!("status: {:?}", self.status(index)))
    }

    /// `karri fsck --json` by way of a node, whatever it finds.
    pub fn fsck(&self, index: usize, args: &[&str]) -> Result<serde_json::Value> {
        let config = path_text(&self.nodes[index].config)?;
        let mut command = self.command(index);
        let output = command.args(["fsck", "--json", "--config", config]).args(args).output().context("run karri")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(matches!(output.status.code(), Some(0 | 1)), "karri fsck did not finish: {errors}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).context("the report is JSON")?;
        let clean = report["faults"].as_array().is_some_and(Vec::is_empty);
        ensure!(clean == output.status.success(), "its status says something else than its report {report:#}");
        Ok(report)
    }

    /// Recounts every reference and looks for every copy (I7): all must agree.
    pub fn expect_consistent(&self, index: usize) -> Result<()> {
        let report = self.fsck(index, &[])?;
        ensure!(report["faults"].as_array().is_some_and(Vec::is_empty), "fsck: {report:#}");
        Ok(())
    }

    /// The process id of a running node.
    pub fn pid(&self, index: usize) -> Result<u32> {
        Ok(self.nodes[index].process.as_ref().context("the node is not running")?.id())
    }

    /// Nodes, running or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True before the first node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A client of one node.
    pub fn client(&self, index: usize) -> S3Client {
        let (host, credentials) = (self.host(index), self.credentials.clone());
        match &self.tls {
            None => S3Client::new(&host, credentials),
            Some(files) => {
                let trust = tls::trusting(&files.authority).expect("the authority that this test made");
                S3Client::over_tls(&host, credentials, trust)
            }
        }
    }

    /// The certificate of the authority that clients are to trust, when S3 is spoken over TLS.
    pub fn authority(&self) -> Option<&Path> {
        self.tls.as_ref().map(|files| files.authority.as_path())
    }

    /// "127.0.0.1:PORT" of a node's S3 service.
    pub fn host(&self, index: usize) -> String {
        self.nodes[index].s3.to_string()
    }

    /// The root user's keys.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// A node's configuration file.
    pub fn config(&self, index: usize) -> &Path {
        &self.nodes[index].config
    }

    /// A node's data folder.
    pub fn data_dir(&self, index: usize) -> &Path {
        &self.nodes[index].data_dir
    }

    /// A node's log so far.
    pub fn log(&self, index: usize) -> String {
        fs::read(&self.nodes[index].log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_tail(&self, index: usize) -> String {
        let log = self.log(index);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Failure to end what has ended already is of no interest.
        let _ = self.kill_all();
        if std::thread::panicking() {
            for index in 0..self.nodes.len() {
                eprintln!("--- end of the log of node {}:\n{}", index + 1, self.log_tail(index));
            }
        }
    }
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// An address on loopback that nobody listens on now and that the system gives to no outgoing connection: below the
/// range of ephemeral ports, and in another stretch for each process.
fn free_address() -> Result<SocketAddr> {
    const FIRST: u16 = 10_000;
    const STRETCHES: u16 = 220;
    const STRETCH: u16 = 100;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let stretch = u16::try_from(std::process::id() % u32::from(STRETCHES)).context("below 220")?;
    for _ in 0..STRETCH {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % STRETCH;
        let address = SocketAddr::from(([127, 0, 0, 1], FIRST + stretch * STRETCH + number));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port")
}
