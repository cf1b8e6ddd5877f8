//! Names in access logs: of the objects that hold them, and of what a request did.

use karri_objstore_wire::Operation;
use karri_ring_types::Timestamp;
use sha2::{Digest, Sha256};

use super::{Batch, KeyFormat};
use crate::encoding::civil;

const SECONDS_PER_DAY: u64 = 86_400;

/// The day of a moment, since 1970.
pub(super) fn day(time: Timestamp) -> u64 {
    time.as_secs() / SECONDS_PER_DAY
}

/// The key of the object of `batch`, written at `now` in a cluster of `region`.
pub(super) fn object_key(batch: &Batch, now: Timestamp, region: &str) -> String {
    let target = &batch.target;
    let prefix = &target.prefix;
    let (days, rest) = match batch.day {
        Some(day) => (day, 0),
        None => (day(now), now.as_secs() % SECONDS_PER_DAY),
    };
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let name = format!("{year:04}-{month:02}-{day:02}-{hour:02}-{minute:02}-{second:02}-{}", unique(batch));
    match target.format {
        KeyFormat::Simple => format!("{prefix}{name}"),
        KeyFormat::Delivery | KeyFormat::Event => {
            let source = &batch.source;
            format!("{prefix}{}/{region}/{}/{year:04}/{month:02}/{day:02}/{name}", source.account, source.bucket)
        }
    }
}

/// Sixteen hex digits that no other object has: a request is the first one of at most one batch of a bucket.
fn unique(batch: &Batch) -> String {
    let digest = Sha256::new()
        .chain_update(batch.source.bucket.as_bytes())
        .chain_update([0])
        .chain_update(batch.request_id.as_bytes())
        .finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02X}")).collect()
}

/// What a request was about, as the last part of an operation's name has it.
pub(super) fn resource(operation: Operation, has_key: bool) -> &'static str {
    use Operation as O;
    match operation {
        O::ListObjectVersions => "BUCKETVERSIONS",
        O::GetBucketLocation => "LOCATION",
        O::ListMultipartUploads | O::CreateMultipartUpload => "UPLOADS",
        O::CompleteMultipartUpload | O::AbortMultipartUpload | O::ListParts => "UPLOAD",
        O::UploadPart | O::UploadPartCopy => "PART",
        O::DeleteObjects => "MULTI_OBJECT_DELETE",
        O::GetBucketVersioning | O::PutBucketVersioning => "VERSIONING",
        O::GetBucketAcl | O::PutBucketAcl | O::GetObjectAcl | O::PutObjectAcl => "ACL",
        O::GetBucketPolicy | O::PutBucketPolicy | O::DeleteBucketPolicy => "BUCKETPOLICY",
        O::GetBucketPolicyStatus => "POLICY_STATUS",
        O::GetBucketCors | O::PutBucketCors | O::DeleteBucketCors => "CORS",
        O::GetBucketTagging | O::PutBucketTagging | O::DeleteBucketTagging => "TAGGING",
        O::GetObjectTagging | O::PutObjectTagging | O::DeleteObjectTagging => "OBJECT_TAGGING",
        O::GetBucketLifecycleConfiguration | O::PutBucketLifecycleConfiguration | O::DeleteBucketLifecycle => {
            "LIFECYCLE"
        }
        O::GetBucketEncryption | O::PutBucketEncryption | O::DeleteBucketEncryption => "ENCRYPTION",
        O::GetBucketLogging | O::PutBucketLogging => "LOGGING_STATUS",
        O::GetBucketWebsite | O::PutBucketWebsite | O::DeleteBucketWebsite => "WEBSITE",
        O::GetBucketNotificationConfiguration | O::PutBucketNotificationConfiguration => "NOTIFICATION",
        O::GetBucketRequestPayment | O::PutBucketRequestPayment => "REQUEST_PAYMENT",
        O::GetBucketAccelerateConfiguration | O::PutBucketAccelerateConfiguration => "ACCELERATE",
        O::GetBucketReplication => "REPLICATION",
        O::GetBucketOwnershipControls | O::PutBucketOwnershipControls | O::DeleteBucketOwnershipControls => {
            "OWNERSHIP_CONTROLS"
        }
        O::GetPublicAccessBlock | O::PutPublicAccessBlock | O::DeletePublicAccessBlock => "PUBLIC_ACCESS_BLOCK",
        O::GetObjectLockConfiguration | O::PutObjectLockConfiguration => "OBJECT_LOCK_CONFIGURATION",
        O::GetObjectRetention | O::PutObjectRetention => "OBJECT_LOCK_RETENTION",
        O::GetObjectLegalHold | O::PutObjectLegalHold => "OBJECT_LOCK_LEGALHOLD",
        O::GetBucketAbac | O::PutBucketAbac => "ABAC",
        O::GetObjectAttributes => "OBJECT_ATTRIBUTES",
        O::RestoreObject => "RESTORE",
        _ if has_key => "OBJECT",
        _ => "BUCKET",
    }
}
