//! How each peer is started on loopback with fresh data.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Credentials, S3Client, eventually};
use tempfile::TempDir;

use crate::peers::server::{Process, Running};

/// Longest that a server may take to answer its first request.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Garage takes access keys of this form alone.
const ACCESS_KEY: &str = "GK000000000000000000000bec";
const SECRET_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Garage: `nodes` nodes in three zones with as many copies as there are nodes, at most three.
pub(super) async fn garage(program: &Path, nodes: usize, fsync: bool, folders: &[PathBuf]) -> Result<Running> {
    let dir = TempDir::with_prefix("peer-garage-")?;
    let mut ports = Ports::new();
    let mut processes = Vec::new();
    let mut endpoints = Vec::new();
    let mut configs = Vec::new();
    let mut peers = Vec::new();
    let mut object_folders = Vec::new();
    for node in 0..nodes {
        let (rpc, s3) = (ports.next()?, ports.next()?);
        let base = dir.path().join(format!("node{node}"));
        fs::create_dir_all(&base)?;
        let stored = folders.get(node).unwrap_or(&base);
        let config = base.join("garage.toml");
        let text = format!(
            "metadata_dir = {:?}\ndata_dir = {:?}\ndb_engine = \"lmdb\"\nreplication_factor = {}\n\
             metadata_fsync = {fsync}\ndata_fsync = {fsync}\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{SECRET_KEY}\"\n[s3_api]\n\
             s3_region = \"us-east-1\"\napi_bind_addr = \"127.0.0.1:{s3}\"\nroot_domain = \".s3.localhost\"\n",
            stored.join("meta"),
            stored.join("data"),
            nodes.min(3),
        );
        fs::write(&config, text)?;
        object_folders.push(stored.join("data"));
        let mut command = Command::new(program);
        command.arg("-c").arg(&config).arg("server");
        processes.push(spawn(command, &base.join("log"))?);
        endpoints.push(format!("127.0.0.1:{s3}"));
        let id = retried(program, &config, &["node", "id", "-q"]).await?;
        peers.push(id.trim().to_owned());
        configs.push(config);
    }
    let first = &configs[0];
    let mut scrub = Command::new(program);
    scrub.arg("-c").arg(first).args(["repair", "--all-nodes", "--yes", "scrub", "start"]);
    let running = Running {
        endpoints,
        credentials: credentials(),
        karri: None,
        processes,
        _dir: Some(dir),
        object_folders,
        scrub: Some(scrub),
    };
    for peer in &peers[1..] {
        retried(program, first, &["node", "connect", peer]).await?;
    }
    for (node, peer) in peers.iter().enumerate() {
        let id = peer.split('@').next().unwrap_or_default();
        retried(program, first, &["layout", "assign", id, "-z", &format!("zone{node}"), "-c", "100G"]).await?;
    }
    retried(program, first, &["layout", "apply", "--version", "1"]).await?;
    retried(program, first, &["key", "import", "--yes", "-n", "bench", ACCESS_KEY, SECRET_KEY]).await?;
    retried(program, first, &["key", "allow", "--create-bucket", "bench"]).await?;
    answers(running).await
}

/// MinIO on one drive.
pub(super) async fn minio(program: &Path) -> Result<Running> {
    let dir = TempDir::with_prefix("peer-minio-")?;
    let (s3, console) = {
        let mut ports = Ports::new();
        (ports.next()?, ports.next()?)
    };
    let mut command = Command::new(program);
    command.arg("server").arg(dir.path().join("data")).args(["--address", &format!("127.0.0.1:{s3}")]);
    command.args(["--console-address", &format!("127.0.0.1:{console}")]);
    command.env("MINIO_ROOT_USER", ACCESS_KEY).env("MINIO_ROOT_PASSWORD", SECRET_KEY);
    one(command, dir, s3).await
}

/// SeaweedFS: master, volume server, filer and S3 in one process.
pub(super) async fn seaweedfs(program: &Path) -> Result<Running> {
    let dir = TempDir::with_prefix("peer-seaweedfs-")?;
    let config = dir.path().join("s3.json");
    let text = format!(
        "{{\"identities\":[{{\"name\":\"bench\",\"credentials\":[{{\"accessKey\":\"{ACCESS_KEY}\",\
         \"secretKey\":\"{SECRET_KEY}\"}}],\"actions\":[\"Admin\",\"Read\",\"Write\",\"List\",\"Tagging\"]}}]}}"
    );
    fs::write(&config, text)?;
    let data = dir.path().join("data");
    fs::create_dir_all(&data)?;
    let mut ports = Ports::new();
    let [s3, master, volume, filer] = [ports.next()?, ports.next()?, ports.next()?, ports.next()?];
    let mut command = Command::new(program);
    command.args(["server", "-ip=127.0.0.1", "-s3", "-volume.max=100"]).arg(format!("-dir={}", data.display()));
    command.arg(format!("-s3.config={}", config.display())).arg(format!("-s3.port={s3}"));
    command.arg(format!("-master.port={master}")).arg(format!("-volume.port={volume}"));
    command.arg(format!("-filer.port={filer}"));
    one(command, dir, s3).await
}

/// RustFS on one drive.
pub(super) async fn rustfs(program: &Path) -> Result<Running> {
    let dir = TempDir::with_prefix("peer-rustfs-")?;
    let data = dir.path().join("data");
    fs::create_dir_all(&data)?;
    let s3 = Ports::new().next()?;
    let mut command = Command::new(program);
    command.args(["--address", &format!("127.0.0.1:{s3}")]).arg(&data);
    command.env("RUSTFS_ACCESS_KEY", ACCESS_KEY).env("RUSTFS_SECRET_KEY", SECRET_KEY);
    one(command, dir, s3).await
}

async fn one(command: Command, dir: TempDir, s3: u16) -> Result<Running> {
    let process = spawn(command, &dir.path().join("log"))?;
    answers(Running {
        endpoints: vec![format!("127.0.0.1:{s3}")],
        credentials: credentials(),
        karri: None,
        processes: vec![process],
        _dir: Some(dir),
        object_folders: Vec::new(),
        scrub: None,
    })
    .await
}

fn credentials() -> Credentials {
    Credentials { access_key: ACCESS_KEY.to_owned(), secret_key: SECRET_KEY.to_owned() }
}

fn spawn(mut command: Command, log: &Path) -> Result<Process> {
    let log = File::create(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
    Ok(Process { command, child })
}

/// Waits until every endpoint lists the buckets.
async fn answers(running: Running) -> Result<Running> {
    for endpoint in &running.endpoints {
        let client = S3Client::new(endpoint, running.credentials.clone());
        eventually("the server answers", START_LIMIT, || async {
            let answer = client.send("GET", "/", &[], &[], "").await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        })
        .await?;
    }
    Ok(running)
}

/// Runs Garage's own command until it succeeds: the server may not be up yet.
async fn retried(program: &Path, config: &Path, args: &[&str]) -> Result<String> {
    eventually("a garage command succeeds", START_LIMIT, || async {
        let output = Command::new(program).arg("-c").arg(config).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    })
    .await
    .with_context(|| format!("garage {}", args.join(" ")))
}

/// Free ports of loopback, below those that the system gives to outgoing connections.
struct Ports {
    next: u16,
}

impl Ports {
    const FIRST: u16 = 8_000;
    const LAST: u16 = 9_900;

    fn new() -> Self {
        let spread = u16::try_from(std::process::id() % 15).unwrap_or(0);
        Self { next: Self::FIRST + spread * 100 }
    }

    fn next(&mut self) -> Result<u16> {
        loop {
            let port = self.next;
            ensure!(port < Self::LAST, "no free port");
            self.next += 1;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
    }
}
