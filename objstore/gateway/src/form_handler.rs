//! The way of a request to a service whose requests are forms: the whole body first, then the signature over it.

use http::header::{CONTENT_TYPE, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method};
use karri_ring_types::RequestId;
use sha2::{Digest, Sha256};

use crate::api::{ApiResponse, AuthKind, Caller};
use crate::auth::{Head, Scheme, strip_parameters};
use crate::body::RequestBody;
use crate::error::ApiError;
use crate::flight::Flight;
use crate::form_api::FormRequest;
use crate::form_error::not_signed;
use crate::handler::{Peer, Shared, access_key};
use crate::target::{Target, parse_query};

/// The service of requests that are not signed.
pub(crate) const UNSIGNED_SERVICE: &str = "sts";
/// What may be asked for without a signature: these bring another proof of who asks.
const UNSIGNED_ACTIONS: [&str; 2] = ["AssumeRoleWithWebIdentity", "AssumeRoleWithSAML"];
const FORM: &str = "application/x-www-form-urlencoded";

/// A request of a form service by its looks, which decide where no credential scope does. None of S3's is like it.
pub(crate) fn looks_like_form(head: &Parts, target: &Target) -> bool {
    if target.virtual_host || head.uri.path() != "/" {
        return false;
    }
    let posts_form = || {
        let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM))
    };
    target.parameter("Action").is_some() || (head.method == Method::POST && posts_form())
}

impl Shared {
    /// Verifies a request to the form service `name` and has it answered.
    pub(crate) async fn answer_form(
        &self,
        name: &'static str,
        (head, mut target): (&Parts, Target),
        body: RequestBody,
        peer: &Peer,
        flight: &mut Flight,
        request_id: RequestId,
    ) -> Result<ApiResponse, ApiError> {
        let Some(backend) = self.form_backend(name) else { return Err(ApiError::internal()) };
        if head.method != Method::GET && head.method != Method::POST {
            let message = "The specified method is not allowed against this resource.";
            return Err(ApiError::new("MethodNotAllowed", 405, message));
        }
        let bytes = body.collect(self.config.limits.query_body_bytes_max).await?;
        let hash = hex::encode(Sha256::digest(&bytes));
        let signed = Head { method: &head.method, target: &target, headers: &head.headers };
        let scheme = self.authenticator.scheme(&signed)?;
        if let Scheme::V2(_) = scheme {
            return Err(ApiError::invalid_request("Signature Version 2 is not supported by this service."));
        }
        let now = self.clock.now().as_secs();
        let verified = self.authenticator.verify(&scheme, &signed, self.credentials.as_ref(), now, Some(&hash)).await?;
        let access_key = access_key(&scheme).map(str::to_owned);
        flight.signed_with(access_key.as_deref())?;
        strip_parameters(&mut target.query, verified.kind);
        let mut parameters = target.query;
        let text = std::str::from_utf8(&bytes).map_err(|_| ApiError::invalid_uri())?;
        parameters.extend(parse_query(text.trim_ascii_end())?);
        check_unsigned(&verified.caller, &parameters)?;
        let request = FormRequest {
            request_id,
            service: name,
            parameters,
            caller: verified.caller,
            auth: verified.kind,
            access_key,
            remote: peer.remote,
            secure: peer.secure,
            region: self.config.region.clone(),
            host: target.host,
            user_agent: text_of(&head.headers, USER_AGENT.as_str()),
            referer: text_of(&head.headers, REFERER.as_str()),
        };
        debug_assert!(request.auth != AuthKind::HeaderV2 && request.auth != AuthKind::PresignedV2);
        Ok(backend.call(request).await.into_response())
    }
}

fn check_unsigned(caller: &Caller, parameters: &[(String, String)]) -> Result<(), ApiError> {
    if *caller != Caller::Anonymous {
        return Ok(());
    }
    let action = parameters.iter().find(|(name, _)| name == "Action").map(|(_, value)| value.as_str());
    match action {
        Some(action) if UNSIGNED_ACTIONS.contains(&action) => Ok(()),
        _ => Err(not_signed()),
    }
}

pub(crate) fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
