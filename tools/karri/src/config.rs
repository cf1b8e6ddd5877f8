//! The configuration file of a node: typed TOML; an unknown key is an error that names file, line and key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use karri_objstore_gateway::Limits as GatewayLimits;
use karri_objstore_service::{PART_SIZE_BYTES_MIN, StorageClasses};
use karri_ring_types::Redundancy;
use serde::Deserialize;

/// A node's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder of everything the node keeps.
    pub(crate) data_dir: PathBuf,
    #[serde(default = "default_zone")]
    pub(crate) zone: String,
    #[serde(default)]
    pub(crate) capacity_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) node_id: Option<u64>,
    pub(crate) s3: S3Config,
    pub(crate) rpc: RpcConfig,
    #[serde(default)]
    pub(crate) cluster: ClusterConfig,
    #[serde(default)]
    pub(crate) iam: IamConfig,
    #[serde(default)]
    pub(crate) kms: KmsConfig,
    #[serde(default)]
    pub(crate) storage: StorageConfig,
    #[serde(default)]
    pub(crate) log: LogConfig,
}

/// The service port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3Config {
    pub(crate) listen: SocketAddr,
    #[serde(default = "default_region")]
    pub(crate) region: String,
    #[serde(default)]
    pub(crate) base_domains: Vec<String>,
    #[serde(default)]
    pub(crate) website_domains: Vec<String>,
    #[serde(default)]
    pub(crate) tls_certificate: Option<PathBuf>,
    #[serde(default)]
    pub(crate) tls_key: Option<PathBuf>,
    #[serde(default)]
    pub(crate) sigv2: bool,
    #[serde(default)]
    pub(crate) customer_keys_over_http: bool,
    #[serde(default = "default_part_bytes")]
    pub(crate) part_bytes_min: u64,
    #[serde(default = "default_access_log_seconds")]
    pub(crate) access_log_seconds: u64,
    #[serde(default = "default_connections")]
    pub(crate) connections_max: usize,
    #[serde(default = "default_requests")]
    pub(crate) requests_max: usize,
    #[serde(default)]
    memory_bytes_max: Option<u64>,
}

impl S3Config {
    /// Memory for bodies in work.
    pub(crate) fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max.unwrap_or_else(|| {
            let part = memory_bytes().map(|bytes| bytes / MEMORY_PART_FOR_BODIES);
            part.unwrap_or_default().max(MEMORY_BYTES_USUAL)
        })
    }
}

/// Of the machine's memory, the part that bodies may take where nothing is configured; and what they may take at least.
const MEMORY_PART_FOR_BODIES: u64 = 4;
const MEMORY_BYTES_USUAL: u64 = 256 << 20;
/// With less, two large objects could not be read at the same time.
const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// The machine's memory, or what the control group has of it.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

/// The node-to-node port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RpcConfig {
    pub(crate) listen: SocketAddr,
    #[serde(default)]
    pub(crate) advertise: Option<String>,
}

impl RpcConfig {
    /// The address under which the other nodes find this one.
    pub(crate) fn advertised(&self) -> String {
        self.advertise.clone().unwrap_or_else(|| self.listen.to_string())
    }
}

/// What `karri cluster init` fixes for the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClusterConfig {
    pub(crate) replicas: u8,
    pub(crate) data_ranges: u16,
    pub(crate) id: Option<String>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self { replicas: 3, data_ranges: 8, id: None }
    }
}

/// Limits of the disk.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StorageConfig {
    pub(crate) reserve_bytes: u64,
    pub(crate) scrub_chunks_per_second: u32,
    pub(crate) garbage_age_seconds: u64,
    pub(crate) lifecycle_day_seconds: Option<u64>,
    pub(crate) orphan_age_seconds: u64,
    /// Redundancy schemes of storage classes, as text.
    classes: BTreeMap<String, String>,
}

impl Default for StorageConfig {
    fn default() -> Self {
        let classes = BTreeMap::new();
        Self {
            reserve_bytes: 1 << 30,
            scrub_chunks_per_second: 4,
            garbage_age_seconds: 60,
            lifecycle_day_seconds: None,
            orphan_age_seconds: 24 * 3600,
            classes,
        }
    }
}

impl StorageConfig {
    /// How the bytes of storage classes are kept.
    pub(crate) fn classes(&self) -> Result<StorageClasses> {
        let parse = |(class, scheme): (&String, &String)| {
            let scheme = scheme.parse::<Redundancy>().with_context(|| format!("[storage.classes] {class}"))?;
            Ok((class.clone(), scheme))
        };
        let classes = self.classes.iter().map(parse).collect::<Result<BTreeMap<_, _>>>()?;
        StorageClasses::new(classes).context("[storage.classes]")
    }
}

/// Accounts and sessions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IamConfig {
    pub(crate) oidc_private_hosts: Vec<String>,
}

/// The key service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KmsConfig {
    pub(crate) day_milliseconds: Option<u64>,
}

/// What is logged and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    pub(crate) filter: String,
    pub(crate) json: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info,openraft=warn".to_owned(), json: false }
    }
}

fn default_zone() -> String {
    "default".to_owned()
}

fn default_part_bytes() -> u64 {
    PART_SIZE_BYTES_MIN
}

fn default_access_log_seconds() -> u64 {
    60
}

fn default_connections() -> usize {
    GatewayLimits::default().connections_max
}

fn default_requests() -> usize {
    GatewayLimits::default().concurrent_requests_max
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

impl Config {
    /// Reads and checks a configuration file.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))
    }

    /// Parses the file's text; the error shows line, column and key.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)?;
        anyhow::ensure!(
            config.s3.tls_certificate.is_some() == config.s3.tls_key.is_some(),
            "[s3] tls_certificate and tls_key are set together or not at all"
        );
        anyhow::ensure!((1..=7).contains(&config.cluster.replicas), "[cluster] replicas must be 1 to 7");
        anyhow::ensure!((1..=256).contains(&config.cluster.data_ranges), "[cluster] data_ranges must be 1 to 256");
        anyhow::ensure!(config.s3.connections_max > 0, "[s3] connections_max must be at least 1");
        anyhow::ensure!(config.s3.requests_max > 0, "[s3] requests_max must be at least 1");
        anyhow::ensure!(
            config.s3.memory_bytes_max() >= MEMORY_BYTES_MIN,
            "[s3] memory_bytes_max must be at least {MEMORY_BYTES_MIN}"
        );
        anyhow::ensure!(config.s3.access_log_seconds > 0, "[s3] access_log_seconds must be at least 1");
        config.storage.classes().map_err(|error| anyhow!("{error:#}"))?;
        anyhow::ensure!(!config.zone.is_empty(), "zone must not be empty");
        Ok(config)
    }
}

/// Key, type, default and meaning of every setting, in the order of the file.
const SETTINGS: &[(&str, &str, &str, &str)] = &[
    ("data_dir", "path", "required", "Folder of everything the node keeps."),
    ("zone", "text", "\"default\"", "Failure domain. Copies go to as many zones as there are."),
    ("capacity_bytes", "integer", "size of the file system", "Weight of the node in the ring."),
    ("node_id", "integer", "none", "With it, a data folder of another node is refused."),
    ("s3.listen", "address", "required", "Where S3 clients connect, and `/-/live`, `/-/ready`, `/-/metrics` are."),
    ("s3.region", "text", "\"us-east-1\"", "The region that clients sign for."),
    ("s3.base_domains", "list of text", "[]", "Domains under which buckets are addressed as hosts."),
    (
        "s3.website_domains",
        "list of text",
        "[]",
        "Domains of websites: `<bucket>.<domain>` shows the website of a bucket, and a domain of the list that of the \
         bucket called so.",
    ),
    ("s3.tls_certificate", "path", "none", "PEM chain; with it the service port speaks TLS. Reloaded when it changes."),
    ("s3.tls_key", "path", "none", "PEM key of the certificate."),
    (
        "s3.customer_keys_over_http",
        "boolean",
        "false",
        "Take clients' own encryption keys (SSE-C) without TLS too, where others may read them.",
    ),
    (
        "s3.part_bytes_min",
        "integer",
        "5242880",
        "Least bytes of each part of an upload but the last. AWS's is the default; a smaller one is for tests. The same on \
         every node.",
    ),
    (
        "s3.access_log_seconds",
        "integer",
        "60",
        "How often access logs of buckets are written. A node that is killed loses what it gathered since.",
    ),
    (
        "s3.connections_max",
        "integer",
        "8192",
        "Open connections of clients; more wait. An address that has 4/5 of them gets no more.",
    ),
    (
        "s3.requests_max",
        "integer",
        "2048",
        "Requests in work; more are answered 503 `SlowDown`, and so is a client (an access key; an address where nobody \
         signed) that has 4/5 of them.",
    ),
    (
        "s3.memory_bytes_max",
        "integer",
        "a quarter of the memory",
        "Memory for bodies in work: as much again may wait to be acknowledged by disks. Requests that would take more are \
         answered 503 `SlowDown`; it is shared as `requests_max` is. At least 67108864.",
    ),
    ("s3.sigv2", "boolean", "false", "Accept AWS Signature Version 2."),
    ("rpc.listen", "address", "required", "Where the other nodes connect (mTLS)."),
    ("rpc.advertise", "host:port", "rpc.listen", "The address by which the other nodes reach this one."),
    (
        "cluster.replicas",
        "1 to 7",
        "3",
        "Copies of each extent, as far as there are nodes. Read by `karri cluster init`.",
    ),
    ("cluster.data_ranges", "1 to 256", "8", "Metadata ranges made at the start. Read by `karri cluster init`."),
    ("cluster.id", "text", "none", "With it, a data folder of another cluster is refused. `karri doctor` shows it."),
    (
        "iam.oidc_private_hosts",
        "list of text",
        "[]",
        "Hosts (`name` or `name:port`) of OpenID Connect providers that may have private addresses or be asked without \
         TLS. Any other provider must be public and speak TLS.",
    ),
    (
        "kms.day_milliseconds",
        "integer",
        "86400000",
        "How long a day of the key service is, of rotation periods and waiting times before deletion. For tests only.",
    ),
    (
        "storage.reserve_bytes",
        "integer",
        "1073741824",
        "Free space at which the node refuses writes and keeps serving reads.",
    ),
    (
        "storage.scrub_chunks_per_second",
        "integer",
        "4",
        "Chunks (of 1 MiB) that are read and checked each second while nothing is asked of them; 0 turns it off.",
    ),
    ("storage.garbage_age_seconds", "integer", "60", "How long deleted data is left to readers that have begun."),
    (
        "storage.lifecycle_day_seconds",
        "integer",
        "a day that ends at midnight",
        "How long a day of lifecycle rules and of restores is. For tests of rules only.",
    ),
    (
        "storage.orphan_age_seconds",
        "integer",
        "86400",
        "Age from which it is asked whether an extent is still wanted; only a committed verdict deletes one.",
    ),
    (
        "storage.classes",
        "table of text",
        "{}",
        "Redundancy scheme of each storage class, as in `STANDARD_IA = \"rs:4+2\"`; see below. The same on every node.",
    ),
    ("log.filter", "text", "\"info,openraft=warn\"", "Levels by target, as in `info,access=warn`."),
    ("log.json", "boolean", "false", "One JSON object a line."),
];

/// What the table of storage classes means.
const CLASSES_REFERENCE: &str = "
## Storage classes

`[storage.classes]` says how the bytes of objects of a class are kept. A class that is not in it is kept as `replicate`. The
classes are STANDARD, REDUCED_REDUNDANCY, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER, DEEP_ARCHIVE and GLACIER_IR;
a node does not start with another name or with a scheme that is not one of these:

| scheme | bytes stored per byte | readable without | a write waits for |
|---|---|---|---|
| `replicate` | `cluster.replicas` | all nodes but one | a majority of the copies |
| `replicate:N` (N from 1 to 7) | N | N - 1 nodes | a majority of the N copies |
| `rs:K+M` (Reed-Solomon; K from 2 to 16, M from 1 to 8 and at most K) | (K + M) / K | M nodes | K + M/2 shards, rounded up |

So `REDUCED_REDUNDANCY = \"replicate:2\"` stores two copies, and `STANDARD_IA = \"rs:4+2\"` one and a half bytes per byte, on
six nodes of which any two may be lost.

- `replicate:N` on fewer than N nodes keeps as many copies as there are nodes.
- `rs:K+M` needs K + M nodes and, where there are several zones, no more than M shards in any of them; it is written
  while K + M/2 of a partition's nodes (rounded up) answer. Otherwise what is written is kept as `replicate`, and counted in
  `karri_extents_schemes_not_held`; it stays so.
- Objects up to 32 KiB are in the metadata whatever their class, and extents below 1 MiB, the short end of an object among
  them, are kept as `replicate` where the class says `rs`.
- A copy to another class, onto itself too, and a transition by a lifecycle rule write the bytes anew where the schemes differ.
  The parts of an object are moved one after the other; a transition that is cut off goes on where it was.
- A change of the table is for what is written from then on. Every extent says how it is kept, so nodes whose tables
  differ for a while do no harm, and a scheme that was taken out of the table can still be read and repaired.
";

/// The reference page of the configuration file, as Markdown.
pub(crate) fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\nGenerated by `karri config-reference`. A node reads one TOML file; an unknown key is an error.\n\n\
         | key | value | default | meaning |\n|---|---|---|---|\n",
    );
    for (key, kind, default, meaning) in SETTINGS {
        page.push_str(&format!("| `{key}` | {kind} | {default} | {meaning} |\n"));
    }
    page.push_str(CLASSES_REFERENCE);
    page.push_str(
        "\n`KARRI_ROOT_ACCESS_KEY` and `KARRI_ROOT_SECRET_KEY` in the environment set the first root user's keys when a cluster is made; without them \
         `karri cluster init` makes a pair, keeps it in the data folder with mode 0600 and prints it.\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "data_dir = \"/d\"\n[s3]\nlisten = \"127.0.0.1:9000\"\n[rpc]\nlisten = \"127.0.0.1:9400\"\n";

    #[test]
    fn the_smallest_file_has_defaults() {
        let config = Config::parse(SMALLEST).unwrap();
        assert_eq!(config.cluster.replicas, 3);
        assert_eq!(config.rpc.advertised(), "127.0.0.1:9400");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = Config::parse(&SMALLEST.replace("[rpc]", "portt = 1\n[rpc]")).unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("portt"), "{error}");
    }

    #[test]
    fn classes_and_schemes_that_are_none_are_refused_by_name() {
        let with = |line: &str| Config::parse(&format!("{SMALLEST}[storage.classes]\n{line}\n"));
        let classes =
            with("STANDARD_IA = \"rs:4+2\"\nREDUCED_REDUNDANCY = \"replicate:2\"").unwrap().storage.classes().unwrap();
        assert_eq!(classes.widths(), [2, 6]);
        assert_eq!(classes.redundancy(None), Redundancy::Cluster);
        for (line, told) in
            [("COLD = \"rs:4+2\"", "COLD"), ("GLACIER = \"rs:1+1\"", "GLACIER"), ("GLACIER = \"raid\"", "raid")]
        {
            let error = with(line).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("[storage.classes]"), "{error}");
        }
    }

    #[test]
    fn the_reference_page_is_current() {
        let page = include_str!("../../../docs/reference/configuration.md");
        assert_eq!(page, reference(), "run: karri config-reference > docs/reference/configuration.md");
    }

    #[test]
    fn every_setting_of_the_reference_is_accepted() {
        for (key, ..) in SETTINGS {
            let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
            let probe =
                format!("{}\n{name} = {{ }}\n", if table.is_empty() { String::new() } else { format!("[{table}]") });
            let error = toml::from_str::<Config>(&probe).unwrap_err().to_string();
            assert!(!error.contains("unknown field"), "{key}: {error}");
        }
    }
}
