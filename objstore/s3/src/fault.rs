//! The table from [`ServiceError`] to the errors of AWS, in its words.

use http::header::{ALLOW, LAST_MODIFIED, RETRY_AFTER};
use karri_objstore_gateway::ApiError;
use karri_objstore_service::{KeyFault, PART_SIZE_BYTES_MIN, ServiceError, UPLOAD_SIZE_BYTES_MAX, VersionRef};
use karri_objstore_wire::WireError;
use karri_ring_types::Timestamp;

use crate::checksum::{checksum_mismatch, digest_mismatch};
use crate::encoding::http_date;
use crate::error::{error, error_with, internal, invalid_request};
use crate::response::set;
use crate::version::{DELETE_MARKER, tell_version};

/// Seconds after which a client that knows nothing better should try again.
const RETRY_AFTER_SECONDS: &str = "1";

/// What an error is about: its names go into the error's elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    bucket: &'a str,
    key: &'a str,
    upload_id: &'a str,
}

impl<'a> Subject<'a> {
    pub(crate) fn bucket(bucket: &'a str) -> Self {
        Self { bucket, key: "", upload_id: "" }
    }

    pub(crate) fn object(bucket: &'a str, key: &'a str) -> Self {
        Self { bucket, key, upload_id: "" }
    }

    pub(crate) fn upload(bucket: &'a str, key: &'a str, upload_id: &'a str) -> Self {
        Self { bucket, key, upload_id }
    }
}

/// The error that the wire layer found.
pub(crate) fn from_wire(failure: WireError) -> ApiError {
    let mut told = error(failure.code.as_str(), failure.code.status(), failure.message);
    told.extra = failure.extra;
    told
}

/// The AWS error for `failure`.
pub(crate) fn from_service(failure: ServiceError, subject: Subject<'_>) -> ApiError {
    match failure {
        ServiceError::NoSuchBucket
        | ServiceError::BucketAlreadyOwnedByYou
        | ServiceError::BucketAlreadyExists
        | ServiceError::BucketNotEmpty
        | ServiceError::InvalidBucketName => bucket_fault(&failure, subject),
        ServiceError::NoSuchKey => {
            let extra = [("Key", subject.key.to_owned())];
            error_with("NoSuchKey", 404, "The specified key does not exist.", extra)
        }
        ServiceError::NoSuchVersion => {
            let extra = [("Key", subject.key.to_owned())];
            error_with("NoSuchVersion", 404, "The specified version does not exist.", extra)
        }
        ServiceError::DeleteMarker { version, last_modified, named } => {
            delete_marker(version, last_modified, named, subject)
        }
        ServiceError::Archived { class } => error_with(
            "InvalidObjectState",
            403,
            "The operation is not valid for the object's storage class",
            [("StorageClass", class)],
        ),
        ServiceError::Locked => error("AccessDenied", 403, "Access Denied because object protected by object lock."),
        ServiceError::NoObjectLock => invalid_request("Bucket is missing Object Lock Configuration"),
        ServiceError::RetentionPassed => error("InvalidArgument", 400, "The retain until date must be in the future!"),
        ServiceError::LockNeedsVersioning => {
            let message = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration";
            error("InvalidBucketState", 409, message)
        }
        ServiceError::Key(fault) => key_fault(fault),
        ServiceError::VersionsKept => {
            error("NotImplemented", 501, "Objects are not renamed in buckets that keep versions, or have kept them.")
        }
        ServiceError::OtherRange => error(
            "NotImplemented",
            501,
            "The two names are kept in different places and cannot be changed in one step. Copy the object and delete it.",
        ),
        ServiceError::NoSuchUpload
        | ServiceError::InvalidPart { .. }
        | ServiceError::InvalidPartOrder
        | ServiceError::EntityTooSmall { .. } => upload_fault(failure, subject),
        ServiceError::PreconditionFailed { condition } => error_with(
            "PreconditionFailed",
            412,
            "At least one of the pre-conditions you specified did not hold",
            [("Condition", condition.to_owned())],
        ),
        ServiceError::ConditionalRequestConflict => error(
            "ConditionalRequestConflict",
            409,
            "The conditional request cannot succeed due to a conflicting operation against this resource.",
        ),
        ServiceError::KeyTooLong => error("KeyTooLongError", 400, "Your key is too long"),
        ServiceError::NotModified { .. } => error("NotModified", 304, "Not Modified"),
        other => content_fault(other),
    }
}

/// What there is of an object behind a delete marker: nothing, unless the marker itself was asked for.
fn delete_marker(version: Option<VersionRef>, last_modified: Timestamp, named: bool, subject: Subject<'_>) -> ApiError {
    let mut told = match named {
        true => {
            let message = "The specified method is not allowed against this resource.";
            let mut told = error_with("MethodNotAllowed", 405, message, [("ResourceType", "DeleteMarker".to_owned())]);
            set(&mut told.headers, ALLOW, "DELETE");
            set(&mut told.headers, LAST_MODIFIED, &http_date(last_modified));
            told
        }
        false => from_service(ServiceError::NoSuchKey, subject),
    };
    set(&mut told.headers, DELETE_MARKER, "true");
    tell_version(&mut told.headers, version);
    told
}

fn bucket_fault(failure: &ServiceError, subject: Subject<'_>) -> ApiError {
    let (code, status, message) = match failure {
        ServiceError::BucketAlreadyOwnedByYou => (
            "BucketAlreadyOwnedByYou",
            409,
            "Your previous request to create the named bucket succeeded and you already own it.",
        ),
        ServiceError::BucketAlreadyExists => (
            "BucketAlreadyExists",
            409,
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. \
             Please select a different name and try again.",
        ),
        ServiceError::InvalidBucketName => ("InvalidBucketName", 400, "The specified bucket is not valid."),
        ServiceError::BucketNotEmpty => ("BucketNotEmpty", 409, "The bucket you tried to delete is not empty"),
        _ => ("NoSuchBucket", 404, "The specified bucket does not exist"),
    };
    error_with(code, status, message, [("BucketName", subject.bucket.to_owned())])
}

fn key_fault(fault: KeyFault) -> ApiError {
    match fault {
        KeyFault::NotFound(message) => error("KMS.NotFoundException", 400, message),
        KeyFault::Disabled(message) => error("KMS.DisabledException", 400, message),
        KeyFault::InvalidState(message) => error("KMS.KMSInvalidStateException", 400, message),
        KeyFault::InvalidUsage(message) => error("KMS.InvalidKeyUsageException", 400, message),
        KeyFault::AccessDenied(message) => error("AccessDenied", 403, message),
    }
}

fn upload_fault(failure: ServiceError, subject: Subject<'_>) -> ApiError {
    let upload_id = ("UploadId", subject.upload_id.to_owned());
    match failure {
        ServiceError::InvalidPart { part_number, etag } => error_with(
            "InvalidPart",
            400,
            "One or more of the specified parts could not be found.  The part may not have been uploaded, or the \
             specified entity tag may not match the part's entity tag.",
            [upload_id, ("PartNumber", part_number.to_string()), ("ETag", etag)],
        ),
        ServiceError::InvalidPartOrder => error_with(
            "InvalidPartOrder",
            400,
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
            [upload_id],
        ),
        ServiceError::EntityTooSmall { size, part_number, etag } => error_with(
            "EntityTooSmall",
            400,
            "Your proposed upload is smaller than the minimum allowed size",
            [
                ("ProposedSize", size.to_string()),
                ("MinSizeAllowed", PART_SIZE_BYTES_MIN.to_string()),
                ("PartNumber", part_number.to_string()),
                ("ETag", etag),
            ],
        ),
        _ => error_with(
            "NoSuchUpload",
            404,
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted \
             or completed.",
            [upload_id],
        ),
    }
}

fn content_fault(failure: ServiceError) -> ApiError {
    match failure {
        ServiceError::EntityTooLarge => {
            let limit = UPLOAD_SIZE_BYTES_MAX.to_string();
            let message = "Your proposed upload exceeds the maximum allowed size";
            error_with("EntityTooLarge", 400, message, [("MaxSizeAllowed", limit)])
        }
        ServiceError::InvalidRange { size } => error_with(
            "InvalidRange",
            416,
            "The requested range is not satisfiable",
            [("ActualObjectSize", size.to_string())],
        ),
        ServiceError::InvalidPartNumber { parts_count } => error_with(
            "InvalidPart",
            400,
            "The requested partnumber is not satisfiable",
            [("ActualPartCount", parts_count.to_string())],
        ),
        ServiceError::BadDigest { expected, calculated } => digest_mismatch(expected, calculated),
        ServiceError::ChecksumMismatch { algorithm } => checksum_mismatch(algorithm),
        ServiceError::InvalidRequest(message) => invalid_request(message),
        ServiceError::DiskFull => retry_later(error(
            "InsufficientStorage",
            507,
            "The storage is full and refuses writes until there is room again.",
        )),
        ServiceError::QuotaExceeded => {
            error("QuotaExceeded", 403, "The request would exceed a quota of your account or user.")
        }
        ServiceError::SlowDown => retry_later(error("SlowDown", 503, "Please reduce your request rate.")),
        ServiceError::Unavailable => {
            retry_later(error("ServiceUnavailable", 503, "Service is unable to handle request."))
        }
        ServiceError::Source(_) => error("IncompleteBody", 400, "The request body terminated unexpectedly"),
        failure => {
            tracing::error!(error = %failure, "object service failed");
            internal()
        }
    }
}

fn retry_later(mut error: ApiError) -> ApiError {
    set(&mut error.headers, RETRY_AFTER, RETRY_AFTER_SECONDS);
    error
}

#[cfg(test)]
mod tests {
    use karri_objstore_service::{ChecksumAlgorithm, SourceError};
    use karri_ring_types::Timestamp;

    use super::*;

    fn every_failure() -> Vec<ServiceError> {
        vec![
            ServiceError::NoSuchBucket,
            ServiceError::InvalidBucketName,
            ServiceError::BucketAlreadyOwnedByYou,
            ServiceError::BucketAlreadyExists,
            ServiceError::BucketNotEmpty,
            ServiceError::NoSuchKey,
            ServiceError::NoSuchVersion,
            ServiceError::DeleteMarker { version: Some(VersionRef::Null), last_modified: Timestamp(0), named: true },
            ServiceError::DeleteMarker { version: Some(VersionRef::Null), last_modified: Timestamp(0), named: false },
            ServiceError::Archived { class: "GLACIER".into() },
            ServiceError::Locked,
            ServiceError::NoObjectLock,
            ServiceError::RetentionPassed,
            ServiceError::LockNeedsVersioning,
            ServiceError::VersionsKept,
            ServiceError::OtherRange,
            ServiceError::NoSuchUpload,
            ServiceError::KeyTooLong,
            ServiceError::InvalidPart { part_number: 3, etag: "e".into() },
            ServiceError::InvalidPartOrder,
            ServiceError::InvalidPartNumber { parts_count: 2 },
            ServiceError::EntityTooSmall { size: 5, part_number: 1, etag: "e".into() },
            ServiceError::EntityTooLarge,
            ServiceError::PreconditionFailed { condition: "If-Match" },
            ServiceError::NotModified { etag: "e".into(), last_modified: Timestamp(0) },
            ServiceError::ConditionalRequestConflict,
            ServiceError::InvalidRange { size: 9 },
            ServiceError::BadDigest { expected: "a".into(), calculated: "b".into() },
            ServiceError::ChecksumMismatch { algorithm: ChecksumAlgorithm::Crc32c },
            ServiceError::InvalidRequest("Why.".into()),
            ServiceError::Key(KeyFault::NotFound("No key.".into())),
            ServiceError::Key(KeyFault::Disabled("Off.".into())),
            ServiceError::Key(KeyFault::InvalidState("Dying.".into())),
            ServiceError::Key(KeyFault::InvalidUsage("Not so.".into())),
            ServiceError::Key(KeyFault::AccessDenied("Not you.".into())),
            ServiceError::Source(SourceError::new("secret")),
            ServiceError::QuotaExceeded,
            ServiceError::SlowDown,
            ServiceError::Unavailable,
            ServiceError::DiskFull,
            ServiceError::Internal("secret".into()),
        ]
    }

    /// Codes, statuses and words are what clients match: a change here is one that they see.
    #[test]
    fn the_table_is_the_golden_one() {
        let mut table = String::new();
        for failure in every_failure() {
            let error = from_service(failure, Subject::upload("bucket", "key", "upload"));
            table.push_str(&format!("{} {}: {}", error.status, error.code, error.message));
            for (name, value) in &error.extra {
                table.push_str(&format!(" | {name}={value}"));
            }
            for (name, value) in error.headers.iter() {
                table.push_str(&format!(" | {name}: {}", value.to_str().expect("text")));
            }
            table.push('\n');
        }
        assert!(!table.contains("secret"), "internal text reached a client");
        assert_eq!(table, include_str!("../golden/errors.txt"), "now:\n{table}");
    }
}
