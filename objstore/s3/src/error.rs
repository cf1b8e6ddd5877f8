//! AWS errors: constructors for what the handlers find, and the table from [`ServiceError`].

use karri_objstore_gateway::ApiError;

/// What every handler returns.
pub(crate) type S3Result<T> = Result<T, ApiError>;

/// An error without further elements.
pub(crate) fn error(code: &'static str, status: u16, message: impl Into<String>) -> ApiError {
    ApiError::new(code, status, message)
}

/// An error with elements after the message, in order.
pub(crate) fn error_with<const N: usize>(
    code: &'static str,
    status: u16,
    message: impl Into<String>,
    extra: [(&'static str, String); N],
) -> ApiError {
    let mut error = ApiError::new(code, status, message);
    error.extra = extra.into();
    error
}

pub(crate) fn invalid_argument(name: &str, value: &str, message: impl Into<String>) -> ApiError {
    ApiError::invalid_argument(name, value, message)
}

pub(crate) fn invalid_request(message: impl Into<String>) -> ApiError {
    ApiError::invalid_request(message)
}

pub(crate) fn header_not_implemented(header: &str) -> ApiError {
    ApiError::header_not_implemented(header)
}

pub(crate) fn malformed_xml() -> ApiError {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    error("MalformedXML", 400, message)
}

pub(crate) fn access_denied() -> ApiError {
    ApiError::access_denied("Access Denied")
}

pub(crate) fn invalid_version_id(value: &str) -> ApiError {
    invalid_argument("versionId", value, "Invalid version id specified")
}

pub(crate) fn internal() -> ApiError {
    ApiError::internal()
}
