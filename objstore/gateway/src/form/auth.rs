//! Who signed a form: its signature is over the policy, by Signature Version 4 or 2.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::missing_field;
use super::policy::FormPolicy;
use crate::api::{Caller, Credential, Credentials};
use crate::auth::{Authenticator, FormScope, lookup, signature_mismatch};
use crate::error::ApiError;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Who signed, and what they allow.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) caller: Caller,
    pub(super) access_key: Option<String>,
    /// `None`: nobody signed, so that only what anybody may do is done.
    pub(super) policy: Option<FormPolicy>,
}

/// Verifies the signature among the fields, if there is one.
pub(super) async fn signer(
    authenticator: &Authenticator,
    credentials: &dyn Credentials,
    fields: &[(String, String)],
) -> Result<Signer, ApiError> {
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let v4 = ["x-amz-signature", "x-amz-credential", "x-amz-algorithm"].iter().any(|name| field(name).is_some());
    let v2 = field("awsaccesskeyid").is_some() || field("signature").is_some();
    let policy = match (field("policy"), v4 || v2) {
        (None, false) => return Ok(Signer { caller: Caller::Anonymous, access_key: None, policy: None }),
        (None, true) => return Err(missing_field("policy")),
        (Some(policy), _) => policy,
    };
    let must = |name: &'static str| field(name).ok_or_else(|| missing_field(name));
    let token = field("x-amz-security-token");
    let credential = if v2 && !v4 {
        authenticator.allow_v2()?;
        let (access_key, signature) = (must("awsaccesskeyid")?, must("signature")?);
        let credential = lookup(credentials, access_key, token).await?;
        verify_v2(&credential, access_key, policy, signature)?;
        (access_key, credential)
    } else {
        let (algorithm, signature) = (must("x-amz-algorithm")?, must("x-amz-signature")?);
        if algorithm != ALGORITHM {
            let message = "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"";
            return Err(ApiError::invalid_argument("X-Amz-Algorithm", algorithm, message));
        }
        let scope = FormScope::parse(authenticator, must("x-amz-credential")?, must("x-amz-date")?)?;
        let credential = lookup(credentials, scope.access_key(), token).await?;
        let expected = scope.sign(authenticator, &credential, policy.as_bytes());
        if !bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
            return Err(signature_mismatch(scope.access_key(), policy, signature));
        }
        (scope.access_key(), credential)
    };
    let (access_key, credential) = credential;
    let policy = FormPolicy::parse(policy)?;
    Ok(Signer {
        caller: Caller::Principal(credential.principal),
        access_key: Some(access_key.to_owned()),
        policy: Some(policy),
    })
}

fn verify_v2(credential: &Credential, access_key: &str, policy: &str, signature: &str) -> Result<(), ApiError> {
    let key = credential.secret_key.reveal().as_bytes();
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(policy.as_bytes());
    let expected = STANDARD.encode(mac.finalize().into_bytes());
    match bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
        true => Ok(()),
        false => Err(signature_mismatch(access_key, policy, signature)),
    }
}
