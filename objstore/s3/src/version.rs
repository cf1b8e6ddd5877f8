//! Versions as requests name them and answers tell them.

use http::header::{HeaderMap, HeaderName};
use karri_objstore_gateway::{ApiError, ApiRequest};
use karri_objstore_service::{ObjectRef, VersionRef};
use karri_ring_types::VersionId;

use crate::dispatch::{object_of, parameter};
use crate::error::{S3Result, invalid_argument, invalid_version_id};
use crate::response::set;

pub(crate) const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");
pub(crate) const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");

/// Characters of a version id.
const LENGTH: usize = 32;

/// What no version is called.
const NOBODY: VersionRef = VersionRef::Id(VersionId(0));

/// Reads a version id. One that could be one, and is none of ours, names a version that is not there.
pub(crate) fn parse_version(text: &str) -> S3Result<VersionRef> {
    match text.parse() {
        Ok(version) => Ok(version),
        Err(_) if text.is_empty() => Err(invalid_argument("versionId", "", "Version id cannot be the empty string")),
        Err(_) if text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Ok(NOBODY),
        Err(_) => Err(invalid_version_id(text)),
    }
}

/// The version that a request names.
pub(crate) fn named_version(request: &ApiRequest) -> S3Result<Option<VersionRef>> {
    parameter(request, "versionId").map(parse_version).transpose()
}

/// The object, or version of it, that a request names.
pub(crate) fn named_object(request: &ApiRequest) -> S3Result<ObjectRef> {
    let (bucket, key) = object_of(request)?;
    Ok(ObjectRef { bucket: bucket.to_owned(), key: key.to_owned(), version: named_version(request)? })
}

/// Tells which version it was.
pub(crate) fn tell_version(headers: &mut HeaderMap, version: Option<VersionRef>) {
    if let Some(version) = version {
        set(headers, VERSION_ID, &version.to_string());
    }
}

/// The version of a write, as its answer tells it: a null version is not told.
pub(crate) fn new_version(version: Option<VersionRef>) -> Option<VersionRef> {
    version.filter(|version| *version != VersionRef::Null)
}

/// Tells which version was written.
pub(crate) fn tell_new_version(headers: &mut HeaderMap, version: Option<VersionRef>) {
    tell_version(headers, new_version(version));
}

/// Adds the version id that was asked for to the error of a version that is not there.
pub(crate) fn with_version(mut failure: ApiError, request: &ApiRequest) -> ApiError {
    if failure.code == "NoSuchVersion"
        && let Some(version) = parameter(request, "versionId")
    {
        failure.extra.push(("VersionId", version.to_owned()));
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_ids_are_opaque_but_have_a_form() {
        assert_eq!(parse_version("null").expect("null"), VersionRef::Null);
        assert_eq!(parse_version(&"0a".repeat(16)).expect("ours").to_string(), "0a".repeat(16));
        assert_eq!(parse_version(&"zZ".repeat(16)).expect("could be"), NOBODY);
        assert_eq!(parse_version("").expect_err("empty").code, "InvalidArgument");
        assert_eq!(parse_version("abc").expect_err("short").code, "InvalidArgument");
    }
}
