//! Who sent a request: Signature Version 4 and 2, in headers and in the query.

mod canonical;
mod claim;
mod crypto;
mod derived;
pub(crate) mod payload;
mod time;
mod v2;
mod v4;

use http::Method;
use http::header::HeaderMap;

use crate::api::{AuthKind, Caller, Credential, CredentialRefusal, Credentials};
use crate::error::ApiError;
use crate::target::Target;

use self::claim::{ALGORITHM, ALGORITHM_ECDSA, Claim};
use self::crypto::Scope;
pub(crate) use self::crypto::{KeyCache, SIGNATURE_LENGTH, SignatureHex, SigningKey};
use self::payload::{CONTENT_SHA256, Payload};
pub(crate) use self::v4::signature_mismatch;

/// Query parameters that belong to a signature and not to the operation.
const SIGNATURE_PARAMETERS_V4: [&str; 8] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "X-Amz-Content-Sha256",
];
const SIGNATURE_PARAMETERS_V2: [&str; 4] = ["AWSAccessKeyId", "Expires", "Signature", "x-amz-security-token"];

/// The head of a request, which signatures are about.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a Target,
    pub(crate) headers: &'a HeaderMap,
}

/// A verified signature, which those of chunks continue.
pub(crate) struct Seed {
    pub(crate) key: SigningKey,
    pub(crate) signature: SignatureHex,
    pub(crate) timestamp: String,
    pub(crate) scope: String,
}

/// How a request claims to be signed.
#[derive(Debug)]
pub(crate) enum Scheme<'a> {
    Anonymous,
    V4(Claim<'a>),
    V2(v2::Claim<'a>),
}

/// Who sent a request, and how its body is to be verified.
pub(crate) struct Authenticated {
    pub(crate) caller: Caller,
    pub(crate) kind: AuthKind,
    pub(crate) payload: Payload,
    pub(crate) seed: Option<Seed>,
    /// When it was signed, seconds since 1970: of version 4, where the signature itself covers it.
    pub(crate) signed_at: Option<u64>,
}

/// Checks signatures.
pub(crate) struct Authenticator {
    region: String,
    sigv2: bool,
    keys: KeyCache,
}

impl Authenticator {
    pub(crate) fn new(region: String, sigv2: bool) -> Self {
        Self { region, sigv2, keys: KeyCache::new() }
    }

    /// Finds the one scheme that a request uses.
    pub(crate) fn scheme<'a>(&self, head: &Head<'a>) -> Result<Scheme<'a>, ApiError> {
        // A browser asks before it sends what is signed.
        if head.method == Method::OPTIONS {
            return Ok(Scheme::Anonymous);
        }
        let authorization = claim::authorization(head.headers)?;
        let has = |name: &str| head.target.parameter(name).is_some();
        let query_v4 = has("X-Amz-Algorithm") || has("X-Amz-Signature") || has("X-Amz-Credential");
        let query_v2 = has("AWSAccessKeyId") || has("Signature");
        if [authorization.is_some(), query_v4, query_v2].into_iter().filter(|given| *given).count() > 1 {
            let message = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query \
                           string parameter or the Authorization header should be specified";
            let value = authorization.and_then(|text| text.split(' ').next()).unwrap_or_default();
            return Err(ApiError::invalid_argument("Authorization", value, message));
        }
        if query_v4 {
            return claim::from_query(head.target, head.headers).map(Scheme::V4);
        }
        if query_v2 {
            self.allow_v2()?;
            return v2::from_query(head).map(Scheme::V2);
        }
        let Some(authorization) = authorization else { return Ok(Scheme::Anonymous) };
        match authorization.split(' ').next().unwrap_or_default() {
            ALGORITHM => claim::from_header(authorization, head.headers).map(Scheme::V4),
            ALGORITHM_ECDSA => Err(ApiError::header_not_implemented("Authorization")),
            "AWS" => {
                self.allow_v2()?;
                v2::from_header(authorization).map(Scheme::V2)
            }
            other => Err(ApiError::invalid_argument("Authorization", other, "Unsupported Authorization Type")),
        }
    }

    pub(crate) fn allow_v2(&self) -> Result<(), ApiError> {
        if self.sigv2 {
            return Ok(());
        }
        Err(ApiError::invalid_request(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ))
    }

    /// Verifies what `scheme` claims. `hash` is that of the body, where it was read before.
    pub(crate) async fn verify(
        &self,
        scheme: &Scheme<'_>,
        head: &Head<'_>,
        credentials: &dyn Credentials,
        now: u64,
        hash: Option<&str>,
    ) -> Result<Authenticated, ApiError> {
        match scheme {
            Scheme::Anonymous => {
                let payload = match claim::single(head.headers, CONTENT_SHA256)? {
                    Some(value) => Payload::parse(value)?,
                    None => Payload::Unsigned,
                };
                let (caller, kind) = (Caller::Anonymous, AuthKind::Anonymous);
                Ok(Authenticated { caller, kind, payload, seed: None, signed_at: None })
            }
            Scheme::V4(claim) => self.verify_v4(claim, head, credentials, now, hash).await,
            Scheme::V2(claim) => self.verify_v2(claim, head, credentials, now).await,
        }
    }

    /// 400 or 501 when the signature is for another region or for a service that is not served.
    pub(crate) fn check_scope(&self, claim: &Claim<'_>, served: &[&'static str]) -> Result<(), ApiError> {
        let service = claim.scope.service;
        if service != "s3" && !served.contains(&service) {
            if KNOWN_SERVICES.contains(&service) {
                let message = format!("The service {service} is not implemented");
                return Err(ApiError::new("NotImplemented", 501, message));
            }
            return Err(v4::unknown_service(claim));
        }
        // Global services are signed for us-east-1 wherever they are, or for the region that the client was given.
        if GLOBAL_SERVICES.contains(&service) && claim.scope.region == GLOBAL_REGION {
            return Ok(());
        }
        v4::check_region(claim, &self.region)
    }

    async fn verify_v4(
        &self,
        claim: &Claim<'_>,
        head: &Head<'_>,
        credentials: &dyn Credentials,
        now: u64,
        hash: Option<&str>,
    ) -> Result<Authenticated, ApiError> {
        let text = hash.or(claim.payload).ok_or_else(|| {
            let message = "Missing required header for this request: x-amz-content-sha256";
            ApiError::invalid_request(message)
        })?;
        let payload = Payload::parse(text)?;
        v4::check_signed_headers(claim, head)?;
        v4::check_time(claim, now)?;
        let credential = lookup(credentials, claim.scope.access_key, claim.token).await?;
        let seed = v4::verify(claim, head, text, &credential, &self.keys)?;
        let kind = if claim.expires.is_some() { AuthKind::PresignedV4 } else { AuthKind::HeaderV4 };
        let caller = Caller::Principal(credential.principal);
        Ok(Authenticated { caller, kind, payload, seed: Some(seed), signed_at: Some(claim.signed_at) })
    }

    async fn verify_v2(
        &self,
        claim: &v2::Claim<'_>,
        head: &Head<'_>,
        credentials: &dyn Credentials,
        now: u64,
    ) -> Result<Authenticated, ApiError> {
        v2::check_parameters(claim, head)?;
        v2::check_time(claim, head.headers, now)?;
        let token = v2::token(head)?;
        let credential = lookup(credentials, claim.access_key, token).await?;
        v2::verify(claim, head, &credential)?;
        let payload = match claim::single(head.headers, CONTENT_SHA256)? {
            Some(value) => Payload::parse(value)?,
            None => Payload::Unsigned,
        };
        let kind = if claim.presigned() { AuthKind::PresignedV2 } else { AuthKind::HeaderV2 };
        let caller = Caller::Principal(credential.principal);
        Ok(Authenticated { caller, kind, payload, seed: None, signed_at: None })
    }
}

/// The scope of a form's signature.
pub(crate) struct FormScope<'a>(Scope<'a>);

impl<'a> FormScope<'a> {
    /// Reads the fields `x-amz-credential` and `x-amz-date`. Until when the form is good, its policy says.
    pub(crate) fn parse(authenticator: &Authenticator, credential: &'a str, date: &str) -> Result<Self, ApiError> {
        let invalid = |detail: &str| {
            let message = format!("Error parsing the X-Amz-Credential parameter; {detail}");
            ApiError::invalid_argument("X-Amz-Credential", credential, message)
        };
        let form = "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".";
        let scope = Scope::parse(credential).ok_or_else(|| invalid(form))?;
        if scope.service != "s3" || scope.region != authenticator.region {
            let detail = format!("expecting service 's3' in region '{}'", authenticator.region);
            return Err(invalid(&detail).with("Region", authenticator.region.clone()));
        }
        if time::parse_basic(date).is_none() || date.get(..8) != Some(scope.date) {
            return Err(invalid("the date is not the same as X-Amz-Date"));
        }
        Ok(Self(scope))
    }

    pub(crate) fn access_key(&self) -> &'a str {
        self.0.access_key
    }

    pub(crate) fn sign(&self, authenticator: &Authenticator, credential: &Credential, policy: &[u8]) -> SignatureHex {
        authenticator.keys.get(&credential.secret_key, &self.0).sign(&[policy])
    }
}

/// Services of the AWS API that this port will serve one day.
const KNOWN_SERVICES: [&str; 6] = ["iam", "sts", "ec2", "ebs", "monitoring", "elasticloadbalancing"];
const GLOBAL_SERVICES: [&str; 2] = ["iam", "sts"];
/// The region of their signatures.
const GLOBAL_REGION: &str = "us-east-1";

/// Finds the credential of a key, or says as S3 does why there is none.
pub(crate) async fn lookup(
    credentials: &dyn Credentials,
    access_key: &str,
    session_token: Option<&str>,
) -> Result<Credential, ApiError> {
    credentials.lookup(access_key, session_token).await.map_err(|refusal| match refusal {
        CredentialRefusal::UnknownKey => {
            let message = "The AWS Access Key Id you provided does not exist in our records.";
            ApiError::new("InvalidAccessKeyId", 403, message).with("AWSAccessKeyId", access_key)
        }
        CredentialRefusal::InvalidToken => {
            ApiError::new("InvalidToken", 400, "The provided token is malformed or otherwise invalid.")
        }
        CredentialRefusal::ExpiredToken => ApiError::new("ExpiredToken", 400, "The provided token has expired."),
        CredentialRefusal::Unavailable => ApiError::slow_down(),
    })
}

/// Takes the parameters of the signature out of a verified request's query.
pub(crate) fn strip_parameters(query: &mut Vec<(String, String)>, kind: AuthKind) {
    match kind {
        AuthKind::PresignedV4 => query.retain(|(name, _)| !SIGNATURE_PARAMETERS_V4.contains(&name.as_str())),
        AuthKind::PresignedV2 => query.retain(|(name, _)| !SIGNATURE_PARAMETERS_V2.contains(&name.as_str())),
        AuthKind::Anonymous | AuthKind::HeaderV4 | AuthKind::HeaderV2 | AuthKind::PostForm => {}
    }
}

#[cfg(test)]
mod tests;
