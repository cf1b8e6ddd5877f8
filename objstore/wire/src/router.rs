//! Which operation a request asks for. The table is generated from the whole service model, so that a request for
//! anything that S3 knows and Karri does not serve is refused by name and never taken for a neighbour.

use http::Method;

use crate::error::WireError;
use crate::generated::routes::{DECIDING_HEADER, VERSION, WEAK, rules, selector};
use crate::generated::{ErrorCode, Operation};
use crate::request::{Fields, WireRequest};

/// What a request's path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `/`
    Service,
    /// `/bucket`
    Bucket,
    /// `/bucket/key`
    Object,
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// The operation takes none.
    None,
    /// A document that the parser reads, up to this many bytes.
    Document {
        /// The longest document that is accepted.
        limit_bytes: usize,
    },
    /// A stream that the wire layer does not see.
    Stream,
}

/// Why a request is no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// S3 knows it, or may know it one day; Karri does not.
    #[error("the operation is not implemented")]
    NotImplemented,
    /// Nothing in S3 has this method on such a path.
    #[error("the method is not allowed")]
    MethodNotAllowed,
    /// A version id on an operation that has no versions.
    #[error("the operation takes no version id")]
    VersionIdNotAccepted,
}

impl From<RouteError> for WireError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NotImplemented => WireError::with_message(
                ErrorCode::NotImplemented,
                "A header or query parameter you provided implies functionality that is not implemented",
            ),
            RouteError::MethodNotAllowed => WireError::new(ErrorCode::MethodNotAllowed),
            RouteError::VersionIdNotAccepted => {
                WireError::argument("versionId", "", "This operation does not accept a version-id.")
            }
        }
    }
}

/// How a query parameter takes part in routing.
pub(crate) enum Selector {
    /// It chooses between operations.
    Bit(u64),
    /// It would choose, but not by this value.
    Refused,
    /// An operation's ordinary parameter.
    Parameter,
    /// Nothing that S3 knows.
    Unknown,
}

/// One operation of the service model.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `None` where it is not served.
    pub(crate) operation: Option<Operation>,
    /// Selectors that must be there.
    pub(crate) required: u64,
    /// Selectors that may be there.
    pub(crate) accepted: u64,
    /// Whether the deciding header must be there, or must not.
    pub(crate) header: Option<bool>,
}

impl Rule {
    fn takes(&self, selectors: u64, header: bool) -> bool {
        selectors & self.required == self.required
            && selectors & !(self.required | self.accepted | WEAK) == 0
            && self.header.is_none_or(|wanted| wanted == header)
    }
}

/// The operation that the request asks for.
///
/// Method, path and the known sub-resources of the query decide, and between copies and uploads the copy source.
/// Parameters that S3 does not know are ignored when they have a value or are an object read's; a bare one
/// elsewhere may be a sub-resource of tomorrow and is refused.
pub fn route(request: &WireRequest<'_>) -> Result<Operation, RouteError> {
    let kind = request.kind();
    let rules = rules(kind, request.method.as_str());
    if rules.is_empty() {
        return Err(RouteError::MethodNotAllowed);
    }
    let tolerant = kind == KeyKind::Object && matches!(*request.method, Method::GET | Method::HEAD);
    let mut selectors = 0;
    for (name, value) in request.query {
        match selector(name, value) {
            Selector::Bit(bit) => selectors |= bit,
            Selector::Refused => return Err(RouteError::NotImplemented),
            Selector::Unknown if value.is_empty() && !tolerant && !is_extension(name) => {
                return Err(RouteError::NotImplemented);
            }
            Selector::Parameter | Selector::Unknown => {}
        }
    }
    let header = Fields::new(request).has_header(DECIDING_HEADER);
    if let Some(rule) = rules.iter().find(|rule| rule.takes(selectors, header)) {
        return rule.operation.ok_or(RouteError::NotImplemented);
    }
    if selectors & VERSION != 0 && rules.iter().any(|rule| rule.takes(selectors & !VERSION, header)) {
        return Err(RouteError::VersionIdNotAccepted);
    }
    // A plain POST on a bucket is the form upload, which the model lacks; one on a key is nothing at all.
    if selectors == 0 && kind == KeyKind::Object {
        Err(RouteError::MethodNotAllowed)
    } else {
        Err(RouteError::NotImplemented)
    }
}

/// `x-id`, `x-amz-*` and the like: the SDKs' own, never a sub-resource.
fn is_extension(name: &str) -> bool {
    name.is_empty() || name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))
}
