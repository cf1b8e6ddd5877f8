//! `karri iam`: what AWS has no call for, asked of the running node of this host; and what IAM asks of the rest.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use karri_iam_service::{ADMIN_ACCOUNT, AccountUse, RootError, Store};
use karri_objstore_service::ObjectService;
use karri_ring_node::join;
use karri_ring_rpc::{Caller, Handler, Method, Request, Response, Router};
use serde::{Deserialize, Serialize};

use crate::cluster;
use crate::config::Config;
use crate::credentials::RootCredentials;

/// Methods of this module.
const METHODS: std::ops::RangeInclusive<u16> = 320..=329;
const ROTATE_ROOT: Method = Method(320);
pub(crate) const INSTALL_ROLE: Method = Method(321);
pub(crate) const ROLE_POLICY: Method = Method(322);

/// New keys of a root user, on their way to the command line.
#[derive(Serialize, Deserialize)]
enum Rotated {
    Keys { account_id: String, access_key: String, secret_key: String },
    NoSuchAccount,
}

/// A role with an inline policy in an account.
#[derive(Serialize, Deserialize)]
pub(crate) struct InstallRole {
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) policy: String,
    pub(crate) document: String,
}

/// What became of it.
#[derive(Serialize, Deserialize)]
pub(crate) enum Installed {
    Role { arn: String },
    Policy { document: Option<String> },
    NoSuchAccount,
}

/// Answers the command line.
pub(crate) struct IamCommands {
    store: Arc<Store>,
}

impl IamCommands {
    pub(crate) fn register(router: &Router, store: Arc<Store>) {
        router.register(METHODS, Arc::new(Self { store }));
    }

    async fn rotate(&self, account: &str) -> Result<Rotated, String> {
        match self.store.rotate_root(account).await {
            Ok((record, key)) => {
                tracing::info!(account = record.id, "new root keys");
                let secret_key = key.secret_key.to_string();
                Ok(Rotated::Keys { account_id: record.id.clone(), access_key: key.access_key, secret_key })
            }
            Err(RootError::NoSuchAccount) => Ok(Rotated::NoSuchAccount),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl IamCommands {
    async fn role(&self, method: Method, asked: &InstallRole) -> Result<Installed, String> {
        let InstallRole { account, role, policy, document } = asked;
        let result = match method {
            INSTALL_ROLE => self.store.install_role(account, role, policy, document).await.map(|arn| {
                tracing::info!(arn, "a role was installed");
                Installed::Role { arn }
            }),
            _ => self.store.role_policy(account, role, policy).await.map(|document| Installed::Policy { document }),
        };
        match result {
            Err(RootError::NoSuchAccount) => Ok(Installed::NoSuchAccount),
            other => other.map_err(|error| error.to_string()),
        }
    }
}

#[async_trait]
impl Handler for IamCommands {
    async fn handle(&self, from: Caller, method: Method, request: Request) -> Result<Response, String> {
        if from == Caller::Unauthenticated {
            return Err("a certificate of the cluster is needed".to_owned());
        }
        let body = match method {
            ROTATE_ROOT => {
                let account: String = serde_json::from_slice(&request.head).map_err(|error| error.to_string())?;
                serde_json::to_vec(&self.rotate(&account).await?).map_err(|error| error.to_string())?
            }
            INSTALL_ROLE | ROLE_POLICY => {
                let asked: InstallRole = serde_json::from_slice(&request.head).map_err(|error| error.to_string())?;
                serde_json::to_vec(&self.role(method, &asked).await?).map_err(|error| error.to_string())?
            }
            Method(other) => return Err(format!("unknown method {other}")),
        };
        Ok(Response { head: Bytes::new(), body: body.into() })
    }
}

/// `karri iam root rotate`: replaces the root user's keys of an account and prints the new ones.
pub(crate) async fn rotate_root(config: &Config, account: Option<&str>) -> Result<()> {
    let credentials = cluster::existing(config)?;
    let address = config.rpc.advertised();
    let head = Bytes::from(serde_json::to_vec(account.unwrap_or(ADMIN_ACCOUNT))?);
    let response = join::call_running(&credentials, &address, ROTATE_ROOT, head).await;
    let response = response.with_context(|| format!("ask the node at {address}"))?;
    match serde_json::from_slice(&response.body).context("read the node's answer")? {
        Rotated::NoSuchAccount => bail!("there is no account {}", account.unwrap_or(ADMIN_ACCOUNT)),
        Rotated::Keys { account_id, access_key, secret_key } => {
            println!("access key: {access_key}\nsecret key: {secret_key}");
            if account_id == ADMIN_ACCOUNT {
                keep(&config.data_dir, RootCredentials { access_key, secret_key })?;
            }
            Ok(())
        }
    }
}

/// `karri dev` prints the keys that are kept in the first node's folder.
fn keep(data_dir: &Path, root: RootCredentials) -> Result<()> {
    if RootCredentials::is_kept(data_dir) {
        root.keep(data_dir).context("keep the new keys in the data folder")?;
    }
    Ok(())
}

/// What accounts own in the object store.
pub(crate) struct BucketUse(pub(crate) Arc<ObjectService>);

#[async_trait]
impl AccountUse for BucketUse {
    async fn owns_something(&self, account_id: &str, _: &str) -> Result<bool, String> {
        let buckets = self.0.list_buckets(account_id).await.map_err(|error| error.to_string())?;
        Ok(!buckets.is_empty())
    }
}
