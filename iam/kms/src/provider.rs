//! What a service of the cloud asks of a key service, this one or another: to wrap keys of data and to open them again.

use async_trait::async_trait;
use karri_iam_service::kms_model::{KmsAlias, KmsKey, KmsKeyState};
use karri_iam_wire::WireError;
use karri_iam_wire::kms::ErrorCode;
use zeroize::Zeroizing;

use crate::access::{Asker, Use, policy_of_s3};
use crate::ciphertext::EncryptionContext;
use crate::{Answer, Kms};

/// The alias of the key that S3 uses where nobody names one.
const ALIAS_OF_S3: &str = "alias/aws/s3";

/// Why a key cannot be used, by what the caller must do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such key.
    #[error("{0}")]
    NotFound(String),
    /// It is disabled.
    #[error("{0}")]
    Disabled(String),
    /// It is in another state in which it may not be used, as before its deletion.
    #[error("{0}")]
    InvalidState(String),
    /// It is not for this.
    #[error("{0}")]
    InvalidUsage(String),
    /// The caller may not use it.
    #[error("{0}")]
    AccessDenied(String),
    /// What was wrapped does not open: it is damaged, or was wrapped for something else.
    #[error("what was wrapped does not open")]
    Invalid,
    /// The key service does not answer now.
    #[error("the key service does not answer")]
    Unavailable,
}

impl From<WireError> for KeyError {
    fn from(error: WireError) -> Self {
        match error.code {
            "NotFoundException" | "InvalidArnException" => Self::NotFound(error.message),
            "DisabledException" => Self::Disabled(error.message),
            "KMSInvalidStateException" => Self::InvalidState(error.message),
            "InvalidKeyUsageException" => Self::InvalidUsage(error.message),
            "AccessDeniedException" => Self::AccessDenied(error.message),
            "InvalidCiphertextException" | "IncorrectKeyException" => Self::Invalid,
            _ => Self::Unavailable,
        }
    }
}

/// A key service.
#[async_trait]
pub trait KeyProvider: Send + Sync + 'static {
    /// The ARN of a key by any of its names, or of the one that stands for none in the caller's account.
    async fn describe(&self, asker: &Asker, key: Option<&str>) -> Result<String, KeyError>;

    /// Wraps the key of some data. The caller must have `kms:GenerateDataKey`.
    async fn wrap(
        &self,
        asker: &Asker,
        key_arn: &str,
        context: &EncryptionContext,
        plain: &[u8],
    ) -> Result<Vec<u8>, KeyError>;

    /// Opens what was wrapped under the same context. The caller must have `kms:Decrypt`.
    async fn unwrap(
        &self,
        asker: &Asker,
        key_arn: &str,
        context: &EncryptionContext,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError>;
}

#[async_trait]
impl KeyProvider for Kms {
    async fn describe(&self, asker: &Asker, key: Option<&str>) -> Result<String, KeyError> {
        let account = &asker.principal.account_id;
        match key {
            None | Some(ALIAS_OF_S3) => Ok(self.key_arn(account, &self.key_of_s3(account).await?)),
            Some(name) => Ok(self.arn_of(&self.find(account, name).await?)),
        }
    }

    async fn wrap(
        &self,
        asker: &Asker,
        key_arn: &str,
        context: &EncryptionContext,
        plain: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let found = self.find(&asker.principal.account_id, key_arn).await?;
        self.authorize(asker, &found, &Use::of("kms:GenerateDataKey").with_context(context))?;
        self.require_usable(&found)?;
        Ok(self.encrypt(&found, context, plain)?)
    }

    async fn unwrap(
        &self,
        asker: &Asker,
        key_arn: &str,
        context: &EncryptionContext,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let named = self.find(&asker.principal.account_id, key_arn).await?;
        let (found, version) = self.find_version(wrapped).await?;
        if found.key.id != named.key.id {
            return Err(KeyError::Invalid);
        }
        self.authorize(asker, &found, &Use::of("kms:Decrypt").with_context(context))?;
        self.require_usable(&found)?;
        Ok(self.decrypt(&found, &version, context, wrapped)?)
    }
}

impl Kms {
    /// The key that S3 uses for an account, made when it is first needed.
    async fn key_of_s3(&self, account_id: &str) -> Answer<String> {
        let known = self.store.view().account(account_id);
        let known = known.and_then(|account| Some(account.kms_aliases.get(ALIAS_OF_S3)?.key_id.clone()));
        if let Some(id) = known {
            return Ok(id);
        }
        let id = self.new_key_id();
        let now = self.now();
        let material = self.new_material(account_id, &id, now, false);
        self.store
            .change(account_id, |change| {
                if let Some(alias) = change.kms_aliases.get(ALIAS_OF_S3) {
                    return Ok(alias.key_id.clone());
                }
                if change.record().is_none() {
                    return Err(ErrorCode::NotFoundException.with(format!("There is no account {account_id}")));
                }
                change.put(KmsKey {
                    id: id.clone(),
                    created: now,
                    description: "Default key that protects my S3 objects when no other key is defined".to_owned(),
                    state: KmsKeyState::Enabled,
                    is_aws_managed: true,
                    policy: policy_of_s3(account_id, &self.region),
                    tags: Vec::new(),
                    materials: vec![material.clone()],
                    rotation: None,
                    grants: Vec::new(),
                });
                change.put(KmsAlias { name: ALIAS_OF_S3.to_owned(), key_id: id.clone(), created: now, updated: now });
                Ok(id.clone())
            })
            .await
    }
}
