//! The gateway's credentials: permanent keys from the view, temporary ones from their session tokens.

use std::sync::Arc;

use async_trait::async_trait;
use karri_objstore_gateway::{Credential, CredentialRefusal, Credentials, Principal, Secret};

use crate::model::{AccountRecord, Status};
use crate::store::Store;
use crate::sts::{KEY_PREFIX, Sessions};

/// What a key's use is noted as, unless a service says more.
const SERVICE_DEFAULT: &str = "s3";

/// Access keys of this cluster.
pub struct IamCredentials {
    store: Arc<Store>,
    sessions: Arc<Sessions>,
    region: String,
}

impl IamCredentials {
    /// Keys that `store` knows, and those of sessions; the use of the former is noted for `region`.
    pub fn new(store: Arc<Store>, sessions: Arc<Sessions>, region: impl Into<String>) -> Self {
        Self { store, sessions, region: region.into() }
    }
}

#[async_trait]
impl Credentials for IamCredentials {
    async fn lookup(&self, access_key: &str, session_token: Option<&str>) -> Result<Credential, CredentialRefusal> {
        let view = self.store.view();
        if !view.is_loaded() {
            return Err(CredentialRefusal::Unavailable);
        }
        if access_key.starts_with(KEY_PREFIX) {
            return self.sessions.open(access_key, session_token.ok_or(CredentialRefusal::UnknownKey)?);
        }
        let key = view.access_key(access_key).filter(|key| key.status == Status::Active);
        let key = key.ok_or(CredentialRefusal::UnknownKey)?;
        if session_token.is_some() {
            return Err(CredentialRefusal::InvalidToken);
        }
        self.store.note_use(access_key, SERVICE_DEFAULT, &self.region);
        let secret = Secret::new(key.secret.as_str());
        Ok(Credential::new(secret, gateway_principal(&key.account, key.principal.clone())))
    }
}

/// An identity as the gateway and S3 have it.
pub(crate) fn gateway_principal(record: &AccountRecord, identity: Arc<karri_iam_policy::Principal>) -> Principal {
    Principal {
        account_id: record.id.clone(),
        user_id: record.canonical_id.clone(),
        arn: identity.arn.clone(),
        display_name: record.alias.clone().unwrap_or_else(|| record.id.clone()),
        identity,
    }
}
