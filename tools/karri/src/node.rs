//! One node: opens its stores, joins them to the cluster and serves until it is told to stop.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use karri_iam_kms::Kms;
use karri_iam_service::{
    Api as IamApi, AuthorizationMessages, IAM_EVALUATOR, IamCredentials, IamEvaluator, ProviderSettings, Sealer,
    Sessions, Store as Identities, StoreParts as IdentityParts, Sts, View,
};
use karri_objstore_gateway::{Gateway, GatewayConfig, TlsFiles};
use karri_objstore_maintain::{Fsck, LifecycleConfig, MaintainConfig, Maintenance, OrphanVerdicts};
use karri_objstore_s3::{S3, S3Config};
use karri_objstore_service::{LifecycleDay, ObjectService, ServiceConfig};
use karri_ring_disk::{DiskPath, HostDisk};
use karri_ring_extent::{ExtentConfig, ExtentStore};
use karri_ring_meta::{MetaConfig, MetaNode};
use karri_ring_node::join::Credentials;
use karri_ring_node::membership::{Membership, MembershipConfig, MembershipParts, NodeInfo};
use karri_ring_node::{ClientConfig, LayoutSource, RepairConfig, StorageConfig, StorageNode, StorageParts};
use karri_ring_raft::{HostConfig, RaftHost};
use karri_ring_rpc::{AddressBook, Identity, Router, RpcServer, TlsTransport, Transport};
use karri_ring_types::{Clock, Rng, SystemClock, SystemRng, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::config::Config;
use crate::credentials::RootCredentials;
use crate::iam::{BucketUse, IamCommands};
use crate::identities::KnownIdentities;
use crate::marks;
use crate::open_files;
use crate::s3_keys::S3Keys;
use crate::status::{StatusService, StatusSources};

/// A certificate that ends within this time is renewed at the start.
const CERTIFICATE_RENEWED_BEFORE: Duration = Duration::from_secs(60 * 24 * 3600);
/// Least pause between two sweeps for orphans.
const ORPHAN_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How long the last writes may take when a node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// How long writing the access logs of the last requests may take before that.
const LAST_LOGS_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a node keeps what.
pub(crate) struct DataDir<'a>(pub(crate) &'a Path);

impl DataDir<'_> {
    fn on_disk(&self, name: &str) -> DiskPath {
        DiskPath::new(Arc::new(HostDisk), self.0.join(name))
    }

    pub(crate) fn credentials(&self) -> DiskPath {
        self.on_disk("node-credentials")
    }

    /// There from `karri cluster init` until the first start has made the ranges.
    pub(crate) fn bootstrap_mark(&self) -> DiskPath {
        self.on_disk("bootstrap")
    }

    pub(crate) fn addresses(&self) -> DiskPath {
        self.on_disk("addresses")
    }

    fn raft(&self) -> DiskPath {
        self.on_disk("raft")
    }

    fn metadata(&self) -> DiskPath {
        self.on_disk("metadata")
    }

    fn extents(&self) -> DiskPath {
        self.on_disk("extents")
    }
}

/// Keeps a second process from opening the same folder; released when the process ends.
pub(crate) fn lock(dir: &Path) -> Result<std::fs::File> {
    let path = dir.join("lock");
    let file = std::fs::File::create(&path).with_context(|| format!("open {}", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another process uses {}", dir.display()))?;
    Ok(file)
}

/// Runs a node until SIGTERM or SIGINT, then drains it.
pub(crate) async fn serve(config: Config) -> Result<()> {
    let shutdown = CancellationToken::new();
    let on_signal = shutdown.clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        tracing::info!("stopping");
        on_signal.cancel();
    });
    run(config, shutdown, |_| ()).await
}

/// Runs a node until `shutdown`; `ready` is told the S3 address when it is bound.
pub(crate) async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(std::net::SocketAddr),
) -> Result<()> {
    let dir = DataDir(&config.data_dir);
    let Some(mut credentials) = Credentials::read(&dir.credentials()).context("read the node's credentials")? else {
        bail!("{} is not a node's: run `karri cluster init` or `karri cluster join` first", config.data_dir.display());
    };
    let _lock = lock(&config.data_dir)?;
    open_files::raise()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    renew_certificate(&dir, &mut credentials, &*clock)?;
    let identity = credentials.identity();
    let node = identity.node;
    check_expected(&config, &identity)?;
    marks::claim(&DiskPath::host(&config.data_dir), &identity)?;
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    let router = Router::new();
    let addresses = AddressBook::new();
    let transport: Arc<dyn Transport> =
        TlsTransport::from_source(node, identity.clone(), addresses.clone(), router.clone(), source(&config))?;

    let raft = RaftHost::open(HostConfig::new(node, dir.raft()), transport.clone(), &router).await?;
    let meta_config = MetaConfig::new(node, dir.metadata());
    let meta =
        MetaNode::open(meta_config, raft.clone(), transport.clone(), &router, clock.clone(), rng.clone()).await?;
    meta.register(ObjectService::EVALUATOR, ObjectService::evaluator());
    meta.register(ObjectService::DIRECTORY, ObjectService::directory_evaluator());
    meta.register(IAM_EVALUATOR, Arc::new(IamEvaluator));
    let classes = config.storage.classes()?;
    let membership_config = MembershipConfig {
        this: NodeInfo {
            id: node,
            zone: config.zone.clone(),
            capacity_bytes: capacity(&config)?,
            rpc_address: config.rpc.advertised(),
            s3_address: config.s3.listen.to_string(),
            widths: classes.widths(),
            joined: Timestamp(0),
        },
        replicas: config.cluster.replicas,
        address_file: dir.addresses(),
    };
    let parts = MembershipParts {
        meta: meta.clone(),
        transport: transport.clone(),
        addresses,
        clock: clock.clone(),
        rng: rng.clone(),
    };
    let membership = Membership::open(membership_config, &credentials, parts, &router)?;

    let extents = dir.extents();
    let reserve_bytes = config.storage.reserve_bytes;
    let store = tokio::task::spawn_blocking(move || ExtentStore::open(ExtentConfig { dir: extents, reserve_bytes }))
        .await
        .context("open the extents")??;
    let host = Arc::downgrade(&raft);
    store.on_failed_write(Box::new(move |error| {
        if let Some(host) = host.upgrade() {
            host.fail("extents could not be written", error);
        }
    }));
    let layouts: Arc<dyn LayoutSource> = membership.clone();
    let parts = StorageParts { store, transport: transport.clone(), layouts, clock: clock.clone(), rng: rng.clone() };
    let orphan_age = Duration::from_secs(config.storage.orphan_age_seconds);
    let default = RepairConfig::default();
    let orphan_interval = default.orphan_interval.min(orphan_age.max(ORPHAN_INTERVAL_MIN));
    let scrub_chunks_per_second = config.storage.scrub_chunks_per_second;
    let repair = RepairConfig { orphan_age, orphan_interval, scrub_chunks_per_second, ..default };
    let write_memory_bytes_max = usize::try_from(config.s3.memory_bytes_max()).unwrap_or(usize::MAX);
    let client = ClientConfig { write_memory_bytes_max };
    let storage = StorageNode::new(parts, StorageConfig { client, repair }, &router);
    let cluster_key = Some(credentials.cluster_key().clone());
    let day = config.storage.lifecycle_day_seconds.map(LifecycleDay::of_seconds).unwrap_or_default();
    let part_size_bytes_min = config.s3.part_bytes_min;
    let service_config = ServiceConfig { cluster_key, classes, day, part_size_bytes_min, ..ServiceConfig::default() };
    let service = ObjectService::new(meta.client(), storage.client(), clock.clone(), rng.clone(), service_config);
    let garbage_age = Duration::from_secs(config.storage.garbage_age_seconds);
    let day = config.storage.lifecycle_day_seconds;
    let lifecycle = day.map_or_else(LifecycleConfig::default, LifecycleConfig::with_day_of_seconds);
    let maintain_config = MaintainConfig { garbage_age, lifecycle, ..MaintainConfig::default() };
    let maintenance = Maintenance::new(meta.clone(), service.clone(), clock.clone(), rng.clone(), maintain_config);
    let sources = Arc::new(StatusSources {
        membership: membership.clone(),
        meta: meta.clone(),
        storage: storage.clone(),
        raft: raft.clone(),
        maintenance: maintenance.clone(),
        clock: clock.clone(),
        clock_watch: Arc::default(),
        fsck: Fsck::new(service.clone(), storage.clone(), clock.clone()),
    });
    StatusService::register(&router, sources.clone());
    let parts = IdentityParts { client: meta.client(), clock: clock.clone(), rng: rng.clone() };
    let identities = Identities::new(parts, View::new(Sealer::new(credentials.cluster_key())));
    IamCommands::register(&router, identities.clone());

    let rpc = RpcServer::bind(config.rpc.listen, &identity, router.clone())
        .await
        .with_context(|| format!("listen on {}", config.rpc.listen))?;
    let background = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let members = membership.clone();
    let nodes = move || members.nodes().iter().map(|node| node.id).collect();
    let watch = sources.clock_watch.clone();
    tasks.spawn(watch.run(clock.clone(), transport.clone(), nodes, background.clone()));
    tasks.spawn(rpc.serve(background.clone()));
    meta.start().await?;
    bootstrap(&config, &dir, &meta, &membership, &identities).await?;
    tasks.spawn(membership.clone().run(background.clone()));
    let verdicts = Arc::new(OrphanVerdicts::new(service.clone()));
    tasks.spawn(storage.clone().run(Some(verdicts), background.clone()));
    tasks.spawn(maintenance.clone().run_lifecycle(background.clone()));
    tasks.spawn(maintenance.run(background.clone()));
    tasks.spawn(identities.clone().run(background.clone()));

    let iam = Arc::new(IamApi::new(identities.clone(), Arc::new(BucketUse(service.clone())), &*config.s3.region));
    let known = Arc::new(KnownIdentities(identities.view().clone()));
    let customer_keys_over_http = config.s3.customer_keys_over_http;
    let s3_config = S3Config { region: config.s3.region.clone(), customer_keys_over_http };
    let mut kms = Kms::new(identities.clone(), credentials.cluster_key(), &*config.s3.region);
    if let Some(milliseconds) = config.kms.day_milliseconds {
        kms = kms.with_day(Duration::from_millis(milliseconds.max(1)));
    }
    let kms = Arc::new(kms);
    tasks.spawn(kms.clone().run(background.clone()));
    let keys = Arc::new(S3Keys::new(kms.clone(), &config.s3.region));
    let s3 = Arc::new(S3::new(service, known, keys, clock.clone(), s3_config));
    let access_log_interval = Duration::from_secs(config.s3.access_log_seconds);
    let (logs, until) = (s3.clone(), background.clone());
    tasks.spawn(async move { logs.run_access_logs(access_log_interval, until).await });
    let admin = Arc::new(Admin::new(sources, identities.view().clone(), s3.clone()));
    let cluster_key = credentials.cluster_key();
    let sessions = Sessions::new(cluster_key, identities.view().clone(), clock.clone(), rng.clone());
    let messages = Arc::new(AuthorizationMessages::new(cluster_key));
    let providers = ProviderSettings { private_hosts: config.iam.oidc_private_hosts.clone() };
    let sts = Arc::new(Sts::new(identities.clone(), sessions.clone(), messages, providers, clock.clone()));
    let keys = Arc::new(IamCredentials::new(identities, sessions, &*config.s3.region));
    let gateway = Gateway::bind(gateway_config(&config), keys, s3.clone(), admin, clock, rng)
        .await
        .with_context(|| format!("listen on {}", config.s3.listen))?
        .with_form_service("iam", iam)
        .with_form_service("sts", sts)
        .with_json_service("kms", kms);
    let address = gateway.local_addr();
    tracing::info!(%node, s3 = %address, rpc = %config.rpc.listen, "serving");
    ready(address);
    gateway.serve(shutdown).await;
    // While there is still a node that can write.
    if tokio::time::timeout(LAST_LOGS_TIMEOUT, s3.deliver_access_logs()).await.is_err() {
        tracing::warn!("the last access logs were not all written in time");
    }

    background.cancel();
    let stop = async {
        while tasks.join_next().await.is_some() {}
        meta.shutdown().await;
        raft.shutdown().await;
    };
    if tokio::time::timeout(STOP_TIMEOUT, stop).await.is_err() {
        tracing::warn!("background work did not end in time");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Every node has the authority, so that it renews its own certificate when that is about to end.
fn renew_certificate(dir: &DataDir<'_>, credentials: &mut Credentials, clock: &dyn Clock) -> Result<()> {
    let end = credentials.identity().certificate().context("read the node's certificate")?.not_after;
    if end.since(clock.now()) > CERTIFICATE_RENEWED_BEFORE {
        return Ok(());
    }
    let renewed = credentials.renewed(None).context("make a new certificate")?;
    if let Err(error) = renewed.identity().check(clock.now()) {
        bail!("peers would refuse this node's certificate, and a new one too ({error}): set the clock right");
    }
    renewed.replace(&dir.credentials()).context("write the node's credentials")?;
    tracing::info!(node = %renewed.identity().node, "the node's certificate was about to end or had, and is renewed");
    *credentials = renewed;
    Ok(())
}

/// A disk of another node or cluster at this node's place is told before anything is done with it.
fn check_expected(config: &Config, identity: &Identity) -> Result<()> {
    let (node, cluster) = (identity.node.0, identity.cluster.to_string());
    let dir = config.data_dir.display();
    if let Some(expected) = config.node_id.filter(|&expected| expected != node) {
        bail!("{dir} is of node {node}, and the configuration is node {expected}'s: mount this node's own disk there");
    }
    if let Some(expected) = config.cluster.id.as_ref().filter(|expected| **expected != cluster) {
        bail!(
            "{dir} is of cluster {cluster}, and the configuration is for {expected}: mount this cluster's disk there"
        );
    }
    Ok(())
}

/// On the first start of a new cluster's first node: makes the ranges and the cluster's records.
async fn bootstrap(
    config: &Config,
    dir: &DataDir<'_>,
    meta: &MetaNode,
    membership: &Membership,
    identities: &Identities,
) -> Result<()> {
    let mark = dir.bootstrap_mark();
    if !mark.exists()? {
        return Ok(());
    }
    meta.bootstrap(config.cluster.data_ranges).await.context("make the metadata ranges")?;
    membership.initialise().await.context("make the cluster's records")?;
    let root = RootCredentials::load(&config.data_dir)?;
    identities.initialise(&root.access_key, &root.secret_key).await.context("make the first account")?;
    mark.remove().with_context(|| format!("remove {mark}"))
}

fn gateway_config(config: &Config) -> GatewayConfig {
    let mut gateway = GatewayConfig::new(config.s3.listen, config.s3.region.clone());
    gateway.base_domains.clone_from(&config.s3.base_domains);
    gateway.website_domains.clone_from(&config.s3.website_domains);
    gateway.sigv2 = config.s3.sigv2;
    gateway.limits.connections_max = config.s3.connections_max;
    gateway.limits.concurrent_requests_max = config.s3.requests_max;
    gateway.limits.memory_bytes_max = config.s3.memory_bytes_max();
    gateway.tls = match (&config.s3.tls_certificate, &config.s3.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate: certificate.clone(), key: key.clone() }),
        _ => None,
    };
    gateway
}

/// The node calls from the address that it listens on, when that is one and not all of the machine's.
fn source(config: &Config) -> Option<IpAddr> {
    Some(config.rpc.listen.ip()).filter(|ip| !ip.is_unspecified())
}

/// The configured capacity, else the size of the data folder's file system.
fn capacity(config: &Config) -> Result<u64> {
    if let Some(capacity) = config.capacity_bytes {
        return Ok(capacity);
    }
    let space = DiskPath::host(&config.data_dir).space().context("ask for the size of the file system")?;
    Ok(space.total_bytes.max(1))
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
