//! The root users' access keys, made from the host: at the cluster's first start, and when they were lost.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::api::{ADMIN_ACCOUNT, create_account};
use crate::ids;
use crate::model::{AccessKey, AccountRecord, Grants, Role, SecretsOfUser, Status};
use crate::names;
use crate::store::{Store, StoreError};
use crate::view::place_of_key;

/// The name of the first account, the cloud administrator's.
pub const ADMIN_ALIAS: &str = "karri";

/// Longest session of a role that is made here.
const ROLE_SECONDS_MAX: u32 = 3600;

/// An access key with its secret. It cannot be printed.
pub struct NewKey {
    /// `AKIA...`.
    pub access_key: String,
    /// What requests are signed with.
    pub secret_key: Zeroizing<String>,
}

/// Why there are no new root keys.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The rows could not be read or changed.
    #[error("the identities cannot be read or changed")]
    Store(#[from] StoreError),
    /// There is no such account.
    #[error("there is no account with this name or id")]
    NoSuchAccount,
    /// The first account cannot be made.
    #[error("the first account cannot be made: {0}")]
    Refused(#[from] karri_iam_wire::WireError),
}

impl Store {
    fn sealed_key(&self, id: &str, secret: &str) -> AccessKey {
        let secret = self.view().sealer().seal(self.rng(), &place_of_key(id), secret.as_bytes());
        AccessKey { id: id.to_owned(), secret, status: Status::Active, created: self.clock().now() }
    }

    /// Makes the cloud administrator's account with this root key, unless it is there.
    pub async fn initialise(&self, access_key: &str, secret_key: &str) -> Result<(), RootError> {
        let key = self.sealed_key(access_key, secret_key);
        self.change_where(ADMIN_ACCOUNT, true, |change, view| {
            if change.record().is_none() {
                let root = SecretsOfUser { access_keys: vec![key.clone()], ..SecretsOfUser::default() };
                create_account(change, view, Some(ADMIN_ALIAS), None, root)?;
            }
            Ok::<_, RootError>(())
        })
        .await
    }

    /// Replaces the root user's access keys of an account, by name or id, by a new one.
    pub async fn rotate_root(&self, account: &str) -> Result<(Arc<AccountRecord>, NewKey), RootError> {
        self.refresh().await?;
        let by_id = || self.view().account(account);
        let found = self.view().account_by_alias(account).or_else(by_id).ok_or(RootError::NoSuchAccount)?;
        let (access_key, secret_key) = (ids::access_key(self.rng()), Zeroizing::new(ids::secret_key(self.rng())));
        let key = self.sealed_key(&access_key, &secret_key);
        let record = self
            .change(&found.id, |change| {
                let mut record = (**change.record().ok_or(RootError::NoSuchAccount)?).clone();
                record.root.access_keys = vec![key.clone()];
                change.put(record.clone());
                Ok::<_, RootError>(Arc::new(record))
            })
            .await?;
        Ok((record, NewKey { access_key, secret_key }))
    }

    /// Gives an account, by name or id, a role that its own identities may take, with one inline policy. A role that is
    /// there keeps all else that it has.
    pub async fn install_role(
        &self,
        account: &str,
        role: &str,
        policy: &str,
        document: &str,
    ) -> Result<String, RootError> {
        self.refresh().await?;
        let by_id = || self.view().account(account);
        let found = self.view().account_by_alias(account).or_else(by_id).ok_or(RootError::NoSuchAccount)?;
        let id = ids::unique(self.rng(), "AROA");
        let trust = format!(
            r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "arn:aws:iam::{}:root"}}, "Action": "sts:AssumeRole"}}]}}"#,
            found.id
        );
        self.change(&found.id, |change| {
            let mut installed = match change.roles.get(&names::key(role)) {
                Some(there) => (**there).clone(),
                None => Role {
                    name: role.to_owned(),
                    id: id.clone(),
                    path: "/".to_owned(),
                    created: change.now(),
                    tags: Vec::new(),
                    grants: Grants::default(),
                    trust: trust.clone(),
                    description: Some(format!("Made from the template {policy}")),
                    session_seconds_max: ROLE_SECONDS_MAX,
                },
            };
            installed.grants.inline.insert(policy.to_owned(), document.to_owned());
            let arn = ids::arn(&change.id, "role", &installed.path, &installed.name);
            change.put(installed);
            Ok::<_, RootError>(arn)
        })
        .await
    }

    /// The document of a role's inline policy, if both are there.
    pub async fn role_policy(&self, account: &str, role: &str, policy: &str) -> Result<Option<String>, RootError> {
        self.refresh().await?;
        let by_id = || self.view().account(account);
        let found = self.view().account_by_alias(account).or_else(by_id).ok_or(RootError::NoSuchAccount)?;
        let role = found.roles.get(&names::key(role));
        Ok(role.and_then(|role| role.grants.inline.get(policy)).cloned())
    }
}
