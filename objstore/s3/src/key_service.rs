//! What S3 asks of the key service, in the name of whoever made the request.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::USER_AGENT;
use karri_iam_policy::Principal;
use karri_objstore_gateway::ApiRequest;
use karri_objstore_service::{CallerKeys, NamedKey, NamedKeys, ServiceError};

use crate::S3;
use crate::authorize::identity;

/// Who uses a key through S3.
#[derive(Clone, Debug)]
pub struct KeyUser {
    /// Who asks.
    pub principal: Arc<Principal>,
    /// Where from.
    pub source_ip: IpAddr,
    /// Whether the request came over TLS.
    pub secure: bool,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
}

/// A key service, which decides itself who may use its keys.
#[async_trait]
pub trait KeyService: Send + Sync + 'static {
    /// The ARN of a key by any of its names, or of the account's own where none is named.
    async fn describe(&self, user: &KeyUser, key: Option<&str>) -> Result<String, ServiceError>;

    /// Wraps the key of an object.
    async fn wrap(&self, user: &KeyUser, key: &NamedKey, plain: &[u8; 32]) -> Result<Vec<u8>, ServiceError>;

    /// Opens the key of an object again.
    async fn unwrap(&self, user: &KeyUser, key: &NamedKey, wrapped: &[u8]) -> Result<[u8; 32], ServiceError>;
}

/// The keys of the service as one caller may use them.
struct KeysOfCaller {
    service: Arc<dyn KeyService>,
    user: KeyUser,
}

#[async_trait]
impl NamedKeys for KeysOfCaller {
    async fn wrap(&self, key: &NamedKey, plain: &[u8; 32]) -> Result<Vec<u8>, ServiceError> {
        self.service.wrap(&self.user, key, plain).await
    }

    async fn unwrap(&self, key: &NamedKey, wrapped: &[u8]) -> Result<[u8; 32], ServiceError> {
        self.service.unwrap(&self.user, key, wrapped).await
    }
}

/// Who uses keys in a request.
pub(crate) fn user_of(request: &ApiRequest) -> KeyUser {
    let agent = request.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    KeyUser {
        principal: identity(&request.caller),
        source_ip: request.remote,
        secure: request.secure,
        user_agent: agent.map(str::to_owned),
    }
}

/// The named keys that the caller of a request may use.
pub(crate) fn keys_of(s3: &S3, request: &ApiRequest) -> CallerKeys {
    CallerKeys::new(Arc::new(KeysOfCaller { service: s3.keys.clone(), user: user_of(request) }))
}
