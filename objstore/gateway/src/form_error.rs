//! Refusals of the gateway in the words of the services whose requests are forms.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode};

use crate::api::ApiResponse;
use crate::error::{ApiError, ErrorCode, element};
use crate::json_handler::{refusal, speaks_json};
use crate::response::ResponseBody;

/// The answer of the query protocol, or EC2's older form of it.
pub(crate) fn response(error: ApiError, service: &str, request_id: &str) -> ApiResponse {
    let (code, status, message) = spelled(error);
    if speaks_json(service) {
        return refusal(code, status, &message);
    }
    let mut xml = String::with_capacity(512);
    if service == "ec2" {
        xml.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>");
        element(&mut xml, "Code", &code);
        element(&mut xml, "Message", &message);
        xml.push_str("</Error></Errors>");
        element(&mut xml, "RequestID", request_id);
        xml.push_str("</Response>");
    } else {
        xml.push_str(match service {
            "iam" => "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error>",
            "sts" => "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>",
            _ => "<ErrorResponse><Error>",
        });
        element(&mut xml, "Type", if status < 500 { "Sender" } else { "Receiver" });
        element(&mut xml, "Code", &code);
        element(&mut xml, "Message", &message);
        xml.push_str("</Error>");
        element(&mut xml, "RequestId", request_id);
        xml.push_str("</ErrorResponse>");
    }
    let mut response = http::Response::new(ResponseBody::full(xml));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response.extensions_mut().insert(ErrorCode(code));
    response
}

/// 403 for a request that must be signed and is not.
pub(crate) fn not_signed() -> ApiError {
    ApiError::new("MissingAuthenticationToken", 403, "Request is missing Authentication Token")
}

/// An error of the S3 front door as these services have it.
fn spelled(error: ApiError) -> (Cow<'static, str>, u16, String) {
    let extra = |name: &str| {
        let found = error.extra.iter().find(|(given, _)| *given == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    match error.code.as_ref() {
        "InvalidAccessKeyId" | "InvalidToken" => {
            ("InvalidClientTokenId".into(), 403, "The security token included in the request is invalid.".to_owned())
        }
        "ExpiredToken" => {
            ("ExpiredToken".into(), 403, "The security token included in the request is expired".to_owned())
        }
        "SignatureDoesNotMatch" if extra("SignatureProvided").is_empty() => (error.code, 403, error.message),
        "SignatureDoesNotMatch" => {
            let message = "The request signature we calculated does not match the signature you provided. Check your \
                           AWS Secret Access Key and signing method. Consult the service documentation for details.";
            ("SignatureDoesNotMatch".into(), 403, message.to_owned())
        }
        "RequestTimeTooSkewed" => {
            let (given, now) = (extra("RequestTime"), extra("ServerTime"));
            let message = format!("Signature expired or not yet current: {given} is more than 15 min. from {now}");
            ("SignatureDoesNotMatch".into(), 403, message)
        }
        "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError" if !extra("Region").is_empty() => {
            ("SignatureDoesNotMatch".into(), 403, "Credential should be scoped to a valid region.".to_owned())
        }
        "InvalidURI" => ("MalformedQueryString".into(), 404, "The query string contains a syntax error.".to_owned()),
        "AccessDenied" if !extra("Expires").is_empty() => ("RequestExpired".into(), 400, error.message),
        "AccessDenied" if !extra("HeadersNotSigned").is_empty() => {
            let message = format!("{}: {}", error.message, extra("HeadersNotSigned"));
            ("SignatureDoesNotMatch".into(), 403, message)
        }
        "AccessDenied"
        | "AuthorizationHeaderMalformed"
        | "AuthorizationQueryParametersError"
        | "InvalidArgument"
        | "InvalidRequest" => ("IncompleteSignature".into(), 400, error.message),
        "SlowDown" => ("ServiceUnavailable".into(), 503, error.message),
        "InternalError" => ("InternalFailure".into(), 500, error.message),
        "EntityTooLarge" => ("RequestEntityTooLarge".into(), 413, error.message),
        _ => (error.code, error.status, error.message),
    }
}
