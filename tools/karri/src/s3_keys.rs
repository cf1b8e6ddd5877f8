//! The key service as S3 asks for it.

use std::sync::Arc;

use async_trait::async_trait;
use karri_iam_kms::{Asker, KeyError, KeyProvider};
use karri_objstore_s3::{KeyService, KeyUser};
use karri_objstore_service::{KeyFault, NamedKey, ServiceError};

/// Keys of this cluster's key service, or of one elsewhere, used through S3.
pub(crate) struct S3Keys {
    provider: Arc<dyn KeyProvider>,
    /// What `kms:ViaService` says of such a use.
    via: String,
}

impl S3Keys {
    pub(crate) fn new(provider: Arc<dyn KeyProvider>, region: &str) -> Self {
        Self { provider, via: format!("s3.{region}.amazonaws.com") }
    }

    fn asker(&self, user: &KeyUser) -> Asker {
        Asker {
            principal: user.principal.clone(),
            source_ip: user.source_ip,
            secure: user.secure,
            user_agent: user.user_agent.clone(),
            via_service: Some(self.via.clone()),
        }
    }
}

fn told(error: KeyError) -> ServiceError {
    ServiceError::Key(match error {
        KeyError::NotFound(message) => KeyFault::NotFound(message),
        KeyError::Disabled(message) => KeyFault::Disabled(message),
        KeyError::InvalidState(message) => KeyFault::InvalidState(message),
        KeyError::InvalidUsage(message) => KeyFault::InvalidUsage(message),
        KeyError::AccessDenied(message) => KeyFault::AccessDenied(message),
        KeyError::Invalid => return ServiceError::Internal("the key of an object does not open".to_owned()),
        KeyError::Unavailable => return ServiceError::Unavailable,
    })
}

#[async_trait]
impl KeyService for S3Keys {
    async fn describe(&self, user: &KeyUser, key: Option<&str>) -> Result<String, ServiceError> {
        self.provider.describe(&self.asker(user), key).await.map_err(told)
    }

    async fn wrap(&self, user: &KeyUser, key: &NamedKey, plain: &[u8; 32]) -> Result<Vec<u8>, ServiceError> {
        self.provider.wrap(&self.asker(user), &key.key_id, &key.context, plain).await.map_err(told)
    }

    async fn unwrap(&self, user: &KeyUser, key: &NamedKey, wrapped: &[u8]) -> Result<[u8; 32], ServiceError> {
        let opened = self.provider.unwrap(&self.asker(user), &key.key_id, &key.context, wrapped).await.map_err(told)?;
        let wrong = |_| ServiceError::Internal("what the key service opened is no key".to_owned());
        <[u8; 32]>::try_from(opened.as_slice()).map_err(wrong)
    }
}
