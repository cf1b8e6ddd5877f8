//! The root users' access keys, made from the host: at the cluster's first start, and when they were lost.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::api::{ADMIN_ACCOUNT, create_account, install_template};
use crate::ids;
use crate::model::{AccessKey, AccountRecord, SecretsOfUser, Status};
use crate::names;
use crate::store::{Store, StoreError};
use crate::view::place_of_key;

/// The name of the first account, the cloud administrator's.
pub const ADMIN_ALIAS: &str = "karri";

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
    /// What is asked for cannot be made.
    #[error("refused: {0}")]
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
        self.change(&found.id, |change| {
            let installed = install_template(change, &id, role, (policy, document))?;
            Ok::<_, RootError>(ids::arn(&change.id, "role", &installed.path, &installed.name))
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
