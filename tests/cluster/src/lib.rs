//! A harness that starts real `karri` processes on loopback and breaks them on purpose.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let mut cluster = karri_tests_cluster::Cluster::start(3).await?;
//! let s3 = cluster.client(0);
//! s3.create_bucket("photos").await?;
//! cluster.kill(2)?;
//! s3.put("photos", "cat", "meow").await?;
//! cluster.restart(2).await?;
//! # Ok(()) }
//! ```
//!
//! The binary is the one that `KARRI_BIN` names, as `cargo xtask test` sets it.

mod client;
mod links;
mod process;
mod sign;
mod tls;
mod versions;
mod wait;

pub use client::{Answer, S3Client};
pub use process::{Cluster, ClusterOptions, Site, karri_binary};
pub use sign::{Credentials, SignedRequest, sign_request};
pub use versions::ListedVersion;
pub use wait::{Seed, eventually, test_bytes};
