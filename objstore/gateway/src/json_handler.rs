//! The way of a request to a service whose requests are JSON documents: the whole body first, then the signature over
//! it; and the gateway's refusals in the words of these services.

use std::borrow::Cow;

use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use karri_ring_types::RequestId;
use sha2::{Digest, Sha256};

use crate::api::{ApiResponse, Caller};
use crate::auth::{Head, Scheme};
use crate::body::RequestBody;
use crate::error::{ApiError, ErrorCode};
use crate::flight::Flight;
use crate::form_error::not_signed;
use crate::form_handler::text_of;
use crate::handler::{Peer, Shared, access_key};
use crate::json_api::{JSON_MEDIA_TYPE, JsonRequest};
use crate::response::ResponseBody;
use crate::target::Target;

/// The header that names the operation.
const TARGET: &str = "x-amz-target";

/// The JSON services by the prefix of their targets, for requests that are not signed.
const PREFIXES: [(&str, &str); 1] = [("TrentService.", "kms")];

/// The JSON service that a request without a credential scope means.
pub(crate) fn service_by_target(head: &Parts) -> Option<&'static str> {
    let target = head.headers.get(TARGET)?.to_str().ok()?;
    PREFIXES.iter().find(|(prefix, _)| target.starts_with(prefix)).map(|(_, service)| *service)
}

/// Whether a service of this name is told errors as JSON.
pub(crate) fn speaks_json(service: &str) -> bool {
    PREFIXES.iter().any(|(_, name)| *name == service)
}

impl Shared {
    /// Verifies a request to the JSON service `name` and has it answered.
    pub(crate) async fn answer_json(
        &self,
        name: &'static str,
        (head, target): (&Parts, Target),
        body: RequestBody,
        peer: &Peer,
        flight: &mut Flight,
        request_id: RequestId,
    ) -> Result<ApiResponse, ApiError> {
        let Some(backend) = self.json_backend(name) else { return Err(ApiError::internal()) };
        if head.method != Method::POST {
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
        let Caller::Principal(caller) = verified.caller else { return Err(not_signed()) };
        let request = JsonRequest {
            request_id,
            target: text_of(&head.headers, TARGET),
            body: bytes,
            caller,
            access_key,
            remote: peer.remote,
            secure: peer.secure,
            user_agent: text_of(&head.headers, USER_AGENT.as_str()),
        };
        Ok(backend.call(request).await.into_response())
    }
}

/// A refusal of the gateway as these services tell it; code and status are those of the query services already.
pub(crate) fn refusal(code: Cow<'static, str>, status: u16, message: &str) -> ApiResponse {
    let (code, status) = match code.as_ref() {
        "InvalidClientTokenId" => ("UnrecognizedClientException".into(), 400),
        "SignatureDoesNotMatch" => ("InvalidSignatureException".into(), 400),
        "MissingAuthenticationToken" => ("MissingAuthenticationTokenException".into(), 400),
        "IncompleteSignature" => ("IncompleteSignatureException".into(), 400),
        "ExpiredToken" => ("ExpiredTokenException".into(), 400),
        "ServiceUnavailable" => ("ServiceUnavailableException".into(), 503),
        "InternalFailure" => ("KMSInternalException".into(), 500),
        _ => (code, status),
    };
    let body = serde_json::json!({ "__type": &*code, "message": message }).to_string();
    let mut response = http::Response::new(ResponseBody::full(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(JSON_MEDIA_TYPE));
    response.extensions_mut().insert(ErrorCode(code));
    response
}
