//! Which IAM actions an operation needs.

use http::HeaderMap;
use karri_objstore_wire::Operation;

/// The action that `operation` needs on the resource in its URL; a named version has actions of its own.
pub(crate) fn action(operation: Operation, names_version: bool) -> &'static str {
    let action = current_action(operation);
    if names_version { version_action(action) } else { action }
}

/// The action on a named version that `action` is on the current one.
pub(crate) fn version_action(action: &'static str) -> &'static str {
    match action {
        "s3:GetObject" => "s3:GetObjectVersion",
        "s3:GetObjectAttributes" => "s3:GetObjectVersionAttributes",
        "s3:GetObjectAcl" => "s3:GetObjectVersionAcl",
        "s3:PutObjectAcl" => "s3:PutObjectVersionAcl",
        "s3:GetObjectTagging" => "s3:GetObjectVersionTagging",
        "s3:PutObjectTagging" => "s3:PutObjectVersionTagging",
        "s3:DeleteObjectTagging" => "s3:DeleteObjectVersionTagging",
        "s3:DeleteObject" => "s3:DeleteObjectVersion",
        other => other,
    }
}

/// What a write of an object needs beside `s3:PutObject`, for what its headers ask.
pub(crate) fn extra_actions(operation: Operation, headers: &HeaderMap) -> impl Iterator<Item = &'static str> {
    let is_write = matches!(operation, Operation::PutObject | Operation::CopyObject | Operation::CreateMultipartUpload);
    let has = |name: &str| headers.contains_key(name);
    let asks_for_acl = headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-"))
        || headers.get("x-amz-acl").is_some_and(|value| value != "private");
    let needed = [
        (has("x-amz-tagging"), "s3:PutObjectTagging"),
        (asks_for_acl, "s3:PutObjectAcl"),
        (has("x-amz-object-lock-mode") || has("x-amz-object-lock-retain-until-date"), "s3:PutObjectRetention"),
        (has("x-amz-object-lock-legal-hold"), "s3:PutObjectLegalHold"),
    ];
    needed.into_iter().filter_map(move |(is_asked, action)| (is_write && is_asked).then_some(action))
}

/// What the creation of a bucket needs beside `s3:CreateBucket`, for what its headers ask.
pub(crate) fn creation_actions(headers: &HeaderMap) -> impl Iterator<Item = &'static str> {
    let asks_for_acl = headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-"))
        || headers.get("x-amz-acl").is_some_and(|value| value != "private");
    let locks = headers
        .get("x-amz-bucket-object-lock-enabled")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    let needed = [
        (asks_for_acl, "s3:PutBucketAcl"),
        (headers.contains_key("x-amz-object-ownership"), "s3:PutBucketOwnershipControls"),
        (locks, "s3:PutBucketObjectLockConfiguration"),
        (locks, "s3:PutBucketVersioning"),
    ];
    needed.into_iter().filter_map(|(is_asked, action)| is_asked.then_some(action))
}

fn current_action(operation: Operation) -> &'static str {
    match operation {
        Operation::ListBuckets => "s3:ListAllMyBuckets",
        Operation::CreateBucket => "s3:CreateBucket",
        Operation::DeleteBucket => "s3:DeleteBucket",
        Operation::HeadBucket | Operation::ListObjects | Operation::ListObjectsV2 => "s3:ListBucket",
        Operation::ListObjectVersions => "s3:ListBucketVersions",
        Operation::ListMultipartUploads => "s3:ListBucketMultipartUploads",
        Operation::GetObject | Operation::HeadObject => "s3:GetObject",
        Operation::GetObjectAttributes => "s3:GetObjectAttributes",
        Operation::PutObject
        | Operation::CopyObject
        | Operation::RenameObject
        | Operation::CreateMultipartUpload
        | Operation::UploadPart
        | Operation::UploadPartCopy
        | Operation::CompleteMultipartUpload => "s3:PutObject",
        // Each key is asked for by itself as well.
        Operation::DeleteObject | Operation::DeleteObjects => "s3:DeleteObject",
        Operation::AbortMultipartUpload => "s3:AbortMultipartUpload",
        Operation::ListParts => "s3:ListMultipartUploadParts",
        other => subresource_action(other),
    }
}

fn subresource_action(operation: Operation) -> &'static str {
    match operation {
        Operation::GetBucketLocation => "s3:GetBucketLocation",
        Operation::GetBucketPolicy => "s3:GetBucketPolicy",
        Operation::PutBucketPolicy => "s3:PutBucketPolicy",
        Operation::DeleteBucketPolicy => "s3:DeleteBucketPolicy",
        Operation::GetBucketPolicyStatus => "s3:GetBucketPolicyStatus",
        Operation::GetBucketAcl => "s3:GetBucketAcl",
        Operation::GetBucketCors => "s3:GetBucketCORS",
        Operation::GetBucketVersioning => "s3:GetBucketVersioning",
        Operation::GetBucketTagging => "s3:GetBucketTagging",
        Operation::GetBucketLifecycleConfiguration => "s3:GetLifecycleConfiguration",
        Operation::GetBucketEncryption => "s3:GetEncryptionConfiguration",
        Operation::GetObjectLockConfiguration => "s3:GetBucketObjectLockConfiguration",
        Operation::GetPublicAccessBlock => "s3:GetBucketPublicAccessBlock",
        Operation::GetBucketOwnershipControls => "s3:GetBucketOwnershipControls",
        Operation::GetBucketWebsite => "s3:GetBucketWebsite",
        Operation::GetBucketReplication => "s3:GetReplicationConfiguration",
        Operation::GetBucketLogging => "s3:GetBucketLogging",
        Operation::GetBucketNotificationConfiguration => "s3:GetBucketNotification",
        Operation::GetBucketRequestPayment => "s3:GetBucketRequestPayment",
        Operation::GetBucketAccelerateConfiguration => "s3:GetAccelerateConfiguration",
        // AWS has no action of its own for most deletes of a configuration: who may put it may delete it.
        Operation::PutBucketCors | Operation::DeleteBucketCors => "s3:PutBucketCORS",
        Operation::PutBucketTagging | Operation::DeleteBucketTagging => "s3:PutBucketTagging",
        Operation::PutBucketWebsite => "s3:PutBucketWebsite",
        Operation::DeleteBucketWebsite => "s3:DeleteBucketWebsite",
        Operation::PutBucketEncryption | Operation::DeleteBucketEncryption => "s3:PutEncryptionConfiguration",
        Operation::PutBucketOwnershipControls | Operation::DeleteBucketOwnershipControls => {
            "s3:PutBucketOwnershipControls"
        }
        Operation::PutPublicAccessBlock | Operation::DeletePublicAccessBlock => "s3:PutBucketPublicAccessBlock",
        Operation::PutBucketLogging => "s3:PutBucketLogging",
        Operation::PutBucketNotificationConfiguration => "s3:PutBucketNotification",
        Operation::PutBucketRequestPayment => "s3:PutBucketRequestPayment",
        Operation::PutBucketAccelerateConfiguration => "s3:PutAccelerateConfiguration",
        Operation::GetBucketAbac => "s3:GetBucketAbac",
        Operation::PutBucketAbac => "s3:PutBucketAbac",
        Operation::PutObjectTagging => "s3:PutObjectTagging",
        Operation::DeleteObjectTagging => "s3:DeleteObjectTagging",
        Operation::PutBucketAcl => "s3:PutBucketAcl",
        Operation::PutObjectAcl => "s3:PutObjectAcl",
        Operation::GetObjectAcl => "s3:GetObjectAcl",
        Operation::GetObjectTagging => "s3:GetObjectTagging",
        Operation::GetObjectRetention => "s3:GetObjectRetention",
        Operation::GetObjectLegalHold => "s3:GetObjectLegalHold",
        Operation::PutObjectRetention => "s3:PutObjectRetention",
        Operation::RestoreObject => "s3:RestoreObject",
        Operation::PutObjectLegalHold => "s3:PutObjectLegalHold",
        Operation::PutObjectLockConfiguration => "s3:PutBucketObjectLockConfiguration",
        Operation::PutBucketVersioning => "s3:PutBucketVersioning",
        Operation::PutBucketLifecycleConfiguration | Operation::DeleteBucketLifecycle => "s3:PutLifecycleConfiguration",
        // An action that no policy grants: an operation without a line here is refused to all but the account's own.
        _ => "s3:Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_an_action() {
        for operation in Operation::ALL {
            assert_ne!(action(*operation, false), "s3:Unknown", "{operation:?}");
        }
    }

    #[test]
    fn versions_and_headers_have_actions_of_their_own() {
        assert_eq!(action(Operation::HeadObject, true), "s3:GetObjectVersion");
        assert_eq!(action(Operation::GetObjectAcl, true), "s3:GetObjectVersionAcl");
        assert_eq!(action(Operation::PutObject, true), "s3:PutObject");
        let headers = [("x-amz-tagging", "a=b"), ("x-amz-acl", "public-read"), ("x-amz-object-lock-legal-hold", "ON")];
        let headers = headers.map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")));
        let headers = HeaderMap::from_iter(headers);
        let extra: Vec<_> = extra_actions(Operation::PutObject, &headers).collect();
        assert_eq!(extra, ["s3:PutObjectTagging", "s3:PutObjectAcl", "s3:PutObjectLegalHold"]);
        assert_eq!(extra_actions(Operation::GetObject, &headers).count(), 0);
    }
}
