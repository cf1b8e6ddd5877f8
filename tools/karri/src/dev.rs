//! `karri dev`: a cluster on this machine, in one process or in one per node.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::cluster;
use crate::config::{Config, LogConfig};
use crate::credentials::RootCredentials;
use crate::logging;
use crate::node::{self, DataDir, wait_for_signal};

/// Distance of a node's RPC port from its S3 port.
const RPC_PORT_DISTANCE: u16 = 400;
/// How long a node may take until it admits others.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a child may take to drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// Settings that go into the nodes' configuration files.
pub(crate) struct Extra {
    pub(crate) lifecycle_day_seconds: Option<u64>,
    pub(crate) oidc_private_hosts: Vec<String>,
}

/// Runs until Ctrl-C.
pub(crate) async fn run(data: &Path, listen: SocketAddr, nodes: u16, extra: &Extra) -> Result<()> {
    let quiet = LogConfig { filter: "warn".to_owned(), json: false };
    logging::start(&quiet);
    std::fs::create_dir_all(data).with_context(|| format!("make {}", data.display()))?;
    let data = data.canonicalize()?;
    let configs = (0..nodes).map(|index| configuration(&data, listen, index, extra)).collect::<Result<Vec<_>>>()?;
    let (_, first) = &configs[0];
    if !DataDir(&first.data_dir).credentials().exists()? {
        cluster::create(first)?;
    }
    let root = RootCredentials::load(&first.data_dir)?;
    if nodes == 1 {
        let shutdown = CancellationToken::new();
        let on_signal = shutdown.clone();
        tokio::spawn(async move {
            wait_for_signal().await;
            on_signal.cancel();
            say("stopping");
        });
        return node::run(first.clone(), shutdown, |address| greet(&root, &[address], &data)).await;
    }
    run_children(&configs, &root, &data).await
}

/// A node's configuration, written to a file that `karri server` and `karri cluster` take.
fn configuration(data: &Path, listen: SocketAddr, index: u16, extra: &Extra) -> Result<(PathBuf, Config)> {
    let hosts = &extra.oidc_private_hosts;
    let day =
        extra.lifecycle_day_seconds.map_or_else(String::new, |seconds| format!("lifecycle_day_seconds = {seconds}\n"));
    let port = listen.port().checked_add(index).context("the ports end at 65535")?;
    let rpc_port = port.checked_add(RPC_PORT_DISTANCE).context("the ports end at 65535")?;
    let (s3, rpc) = (SocketAddr::new(listen.ip(), port), SocketAddr::new(listen.ip(), rpc_port));
    let name = format!("node{}", index + 1);
    let text = format!(
        "# Written by `karri dev`.\ndata_dir = {:?}\nzone = {name:?}\n[s3]\nlisten = \"{s3}\"\nwebsite_domains = [\"web.localhost\"]\nsigv2 = true\ncustomer_keys_over_http = true\n[rpc]\nlisten = \"{rpc}\"\n\
         [iam]\noidc_private_hosts = {hosts:?}\n[storage]\nreserve_bytes = 268435456\n{day}[log]\nfilter = \"warn\"\n",
        data.join(&name)
    );
    let path = data.join(format!("{name}.toml"));
    std::fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
    std::fs::create_dir_all(data.join(&name))?;
    Ok((path, Config::parse(&text)?))
}

async fn run_children(configs: &[(PathBuf, Config)], root: &RootCredentials, data: &Path) -> Result<()> {
    let mut children = Vec::new();
    for (index, (path, config)) in configs.iter().enumerate() {
        if !DataDir(&config.data_dir).credentials().exists()? {
            let token = wait_for_token(&configs[0].1).await?;
            cluster::join(config, &token).await.with_context(|| format!("add node {}", index + 1))?;
        }
        children.push(spawn(path)?);
    }
    let addresses: Vec<SocketAddr> = configs.iter().map(|(_, config)| config.s3.listen).collect();
    greet(root, &addresses, data);
    wait_for_signal().await;
    say("stopping");
    for child in &children {
        if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            // A child that has ended already needs no signal.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    let mut clean = true;
    for child in &mut children {
        let ended = tokio::time::timeout(STOP_TIMEOUT, child.wait()).await;
        clean &= matches!(ended, Ok(Ok(_)));
    }
    ensure!(clean, "a node did not stop in time");
    Ok(())
}

fn spawn(config: &Path) -> Result<Child> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command.arg("server").arg("--config").arg(config).stdin(Stdio::null()).kill_on_drop(true);
    // Ctrl-C at the terminal reaches this process alone, which then stops the nodes in order.
    command.process_group(0);
    command.spawn().context("start a node")
}

/// The first node makes the tokens, as soon as it is up.
async fn wait_for_token(first: &Config) -> Result<String> {
    let end = tokio::time::Instant::now() + START_TIMEOUT;
    loop {
        match cluster::request_token(first, 600).await {
            Ok(token) => return Ok(token),
            Err(error) if tokio::time::Instant::now() >= end => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// What a newcomer needs to begin.
fn greet(root: &RootCredentials, addresses: &[SocketAddr], data: &Path) {
    let endpoint = addresses[0];
    let all = addresses.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>().join("  ");
    let RootCredentials { access_key, secret_key } = root;
    say(&format!(
        "Karri serves S3 on {all}\ndata: {}\n\n\
         export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} AWS_DEFAULT_REGION=us-east-1 \
         AWS_ENDPOINT_URL=http://{endpoint}\n\
         aws s3 mb s3://photos\n\
         rclone lsd :s3,provider=Other,env_auth=true,endpoint=http://{endpoint}:\n\
         s3cmd --access_key=$AWS_ACCESS_KEY_ID --secret_key=$AWS_SECRET_ACCESS_KEY --host={endpoint} \
         --host-bucket={endpoint} --no-ssl ls\n\
         curl http://{endpoint}/-/ready\n\nCtrl-C stops it.",
        data.display()
    ));
}

/// Prints a line; that nobody reads it (a closed pipe) is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
