//! `karri cluster init`, `token` and `join`.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use karri_ring_node::join::{self, Credentials};
use karri_ring_types::{ClusterId, SystemClock, SystemRng, Timestamp};

use crate::config::Config;
use crate::credentials::RootCredentials;
use crate::node::{self, DataDir};

fn prepare(config: &Config) -> Result<DataDir<'_>> {
    std::fs::create_dir_all(&config.data_dir).with_context(|| format!("make {}", config.data_dir.display()))?;
    let dir = DataDir(&config.data_dir);
    ensure!(!dir.credentials().exists()?, "{} is a node's already", config.data_dir.display());
    Ok(dir)
}

/// Makes the identity of a new cluster's first node; its first start makes the rest.
pub(crate) fn init(config: &Config) -> Result<()> {
    let root = create(config)?;
    println!("access key: {}\nsecret key: {}", root.access_key, root.secret_key);
    eprintln!("the cluster is ready to start: karri server --config ...");
    Ok(())
}

/// As [`init`], without a word.
pub(crate) fn create(config: &Config) -> Result<RootCredentials> {
    let dir = prepare(config)?;
    let root = RootCredentials::load_or_create(&config.data_dir)?;
    let cluster = ClusterId::generate(&SystemClock::default(), &SystemRng);
    dir.bootstrap_mark().replace(b"").context("write the mark of a new cluster")?;
    Credentials::first(cluster, &SystemRng)?.create(&dir.credentials()).context("write the node's credentials")?;
    Ok(root)
}

/// Prints a join token of the running node.
pub(crate) async fn token(config: &Config, ttl_seconds: u64) -> Result<()> {
    println!("{}", request_token(config, ttl_seconds).await?);
    Ok(())
}

/// Asks the running node of `config` for a join token.
pub(crate) async fn request_token(config: &Config, ttl_seconds: u64) -> Result<String> {
    let credentials = existing(config)?;
    let ttl = Duration::from_secs(ttl_seconds);
    let token = join::request_token(&credentials, &config.rpc.advertised(), ttl, None).await;
    token.context("ask the running node for a token")
}

/// Joins the cluster that made `token`.
pub(crate) async fn join(config: &Config, token: &str) -> Result<()> {
    let dir = prepare(config)?;
    let credentials = join::join(token, &SystemRng).await.context("join the cluster")?;
    credentials.create(&dir.credentials()).context("write the node's credentials")?;
    eprintln!("node {} may start: karri server --config ...", credentials.identity().node);
    Ok(())
}

/// Gives a stopped node a new key and certificate of the cluster's authority.
pub(crate) fn renew_certificate(config: &Config, end_seconds: Option<u64>) -> Result<()> {
    let end = end_seconds.map(|seconds| Timestamp(seconds.saturating_mul(1000)));
    let _lock = node::lock(&config.data_dir)?;
    let renewed = existing(config)?.renewed(end).context("make a certificate")?;
    renewed.replace(&DataDir(&config.data_dir).credentials()).context("write the node's credentials")?;
    eprintln!("node {} has a new certificate", renewed.identity().node);
    Ok(())
}

/// The credentials of a node that has been made.
pub(crate) fn existing(config: &Config) -> Result<Credentials> {
    match Credentials::read(&DataDir(&config.data_dir).credentials())? {
        Some(credentials) => Ok(credentials),
        None => bail!("{} is not a node's", config.data_dir.display()),
    }
}
