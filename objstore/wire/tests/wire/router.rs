//! Every operation is found by its own request, and nothing that S3 knows is taken for a neighbour.

use std::collections::BTreeSet;

use karri_objstore_wire::{Operation, RouteError, route};

use crate::support::Sample;

/// Each operation of the allow-list with a request for it.
const REQUESTS: &[(&str, &str, Operation)] = &[
    ("GET", "/", Operation::ListBuckets),
    ("PUT", "/b", Operation::CreateBucket),
    ("HEAD", "/b", Operation::HeadBucket),
    ("DELETE", "/b", Operation::DeleteBucket),
    ("GET", "/b?location", Operation::GetBucketLocation),
    ("PUT", "/b/k", Operation::PutObject),
    ("GET", "/b/k", Operation::GetObject),
    ("HEAD", "/b/k", Operation::HeadObject),
    ("DELETE", "/b/k", Operation::DeleteObject),
    ("POST", "/b?delete", Operation::DeleteObjects),
    ("PUT", "/b/k?x-amz-copy-source=b/other", Operation::CopyObject),
    ("GET", "/b/k?attributes", Operation::GetObjectAttributes),
    ("GET", "/b", Operation::ListObjects),
    ("GET", "/b?list-type=2", Operation::ListObjectsV2),
    ("GET", "/b?versions", Operation::ListObjectVersions),
    ("POST", "/b/k?uploads", Operation::CreateMultipartUpload),
    ("PUT", "/b/k?partNumber=1&uploadId=u", Operation::UploadPart),
    ("PUT", "/b/k?partNumber=1&uploadId=u&x-amz-copy-source=b/other", Operation::UploadPartCopy),
    ("POST", "/b/k?uploadId=u", Operation::CompleteMultipartUpload),
    ("DELETE", "/b/k?uploadId=u", Operation::AbortMultipartUpload),
    ("GET", "/b/k?uploadId=u", Operation::ListParts),
    ("GET", "/b?uploads", Operation::ListMultipartUploads),
    ("GET", "/b?policy", Operation::GetBucketPolicy),
    ("GET", "/b?policyStatus", Operation::GetBucketPolicyStatus),
    ("GET", "/b?acl", Operation::GetBucketAcl),
    ("GET", "/b/k?acl", Operation::GetObjectAcl),
    ("GET", "/b?cors", Operation::GetBucketCors),
    ("GET", "/b?versioning", Operation::GetBucketVersioning),
    ("GET", "/b?tagging", Operation::GetBucketTagging),
    ("GET", "/b/k?tagging", Operation::GetObjectTagging),
    ("GET", "/b?lifecycle", Operation::GetBucketLifecycleConfiguration),
    ("GET", "/b?encryption", Operation::GetBucketEncryption),
    ("GET", "/b?object-lock", Operation::GetObjectLockConfiguration),
    ("GET", "/b?publicAccessBlock", Operation::GetPublicAccessBlock),
    ("GET", "/b?ownershipControls", Operation::GetBucketOwnershipControls),
    ("GET", "/b?logging", Operation::GetBucketLogging),
    ("GET", "/b?website", Operation::GetBucketWebsite),
    ("GET", "/b?notification", Operation::GetBucketNotificationConfiguration),
    ("GET", "/b?requestPayment", Operation::GetBucketRequestPayment),
    ("GET", "/b?accelerate", Operation::GetBucketAccelerateConfiguration),
    ("GET", "/b?replication", Operation::GetBucketReplication),
    ("GET", "/b/k?legal-hold", Operation::GetObjectLegalHold),
    ("GET", "/b/k?retention", Operation::GetObjectRetention),
    ("PUT", "/b?acl", Operation::PutBucketAcl),
    ("PUT", "/b/k?acl", Operation::PutObjectAcl),
    ("PUT", "/b?policy", Operation::PutBucketPolicy),
    ("DELETE", "/b?policy", Operation::DeleteBucketPolicy),
    ("PUT", "/b?cors", Operation::PutBucketCors),
    ("DELETE", "/b?cors", Operation::DeleteBucketCors),
    ("PUT", "/b?tagging", Operation::PutBucketTagging),
    ("DELETE", "/b?tagging", Operation::DeleteBucketTagging),
    ("PUT", "/b/k?tagging", Operation::PutObjectTagging),
    ("DELETE", "/b/k?tagging", Operation::DeleteObjectTagging),
    ("PUT", "/b?website", Operation::PutBucketWebsite),
    ("DELETE", "/b?website", Operation::DeleteBucketWebsite),
    ("PUT", "/b?encryption", Operation::PutBucketEncryption),
    ("DELETE", "/b?encryption", Operation::DeleteBucketEncryption),
    ("PUT", "/b?lifecycle", Operation::PutBucketLifecycleConfiguration),
    ("DELETE", "/b?lifecycle", Operation::DeleteBucketLifecycle),
    ("PUT", "/b?ownershipControls", Operation::PutBucketOwnershipControls),
    ("DELETE", "/b?ownershipControls", Operation::DeleteBucketOwnershipControls),
    ("PUT", "/b?publicAccessBlock", Operation::PutPublicAccessBlock),
    ("DELETE", "/b?publicAccessBlock", Operation::DeletePublicAccessBlock),
    ("GET", "/b?abac", Operation::GetBucketAbac),
    ("PUT", "/b?abac", Operation::PutBucketAbac),
    ("PUT", "/b?accelerate", Operation::PutBucketAccelerateConfiguration),
    ("PUT", "/b?logging", Operation::PutBucketLogging),
    ("PUT", "/b?notification", Operation::PutBucketNotificationConfiguration),
    ("PUT", "/b?requestPayment", Operation::PutBucketRequestPayment),
    ("PUT", "/b?versioning", Operation::PutBucketVersioning),
    ("PUT", "/b?object-lock", Operation::PutObjectLockConfiguration),
    ("PUT", "/b/k?legal-hold", Operation::PutObjectLegalHold),
    ("PUT", "/b/k?retention", Operation::PutObjectRetention),
    ("PUT", "/b/k?renameObject", Operation::RenameObject),
    ("POST", "/b/k?restore", Operation::RestoreObject),
];

/// Every sub-resource that S3 has.
const SUB_RESOURCES: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploads",
    "versioning",
    "versions",
    "website",
    "tomorrow",
];

const METHODS: &[&str] = &["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"];

fn routed(method: &str, target: &str) -> Result<Operation, RouteError> {
    route(&Sample::new(method, target).wire())
}

#[test]
fn each_operation_has_its_request() {
    for (method, target, operation) in REQUESTS {
        assert_eq!(routed(method, target), Ok(*operation), "{method} {target}");
    }
    let covered: BTreeSet<_> = REQUESTS.iter().map(|(_, _, operation)| *operation).collect();
    assert_eq!(covered, Operation::ALL.iter().copied().collect());
}

#[test]
fn no_other_method_reaches_an_operation() {
    for (_, target, _) in REQUESTS {
        for method in METHODS {
            let expected = REQUESTS.iter().find(|(known, path, _)| known == method && path == target);
            // A copy source is a header of PUT; elsewhere it says nothing.
            if let (Ok(found), false) = (routed(method, target), target.contains("x-amz-copy-source")) {
                assert_eq!(Some(found), expected.map(|(_, _, operation)| *operation), "{method} {target}");
            }
        }
    }
}

#[test]
fn a_sub_resource_is_never_a_neighbour() {
    for path in ["/", "/b", "/b/k"] {
        for method in METHODS {
            let plain = routed(method, path);
            for name in SUB_RESOURCES {
                // S3 ignores unknown parameters of object reads; browsers send such against caches.
                let ignored = *name == "tomorrow" && path == "/b/k" && matches!(*method, "GET" | "HEAD");
                for target in [format!("{path}?{name}"), format!("{path}?{name}="), format!("{path}?prefix=p&{name}")] {
                    let found = routed(method, &target);
                    if ignored {
                        assert_eq!(found, plain, "{method} {target}");
                    } else if let Ok(operation) = found {
                        let own = format!("{path}?{name}");
                        let known = REQUESTS.iter().find(|(verb, path, _)| verb == method && *path == own);
                        assert_eq!(known.map(|row| row.2), Some(operation), "{method} {target}");
                    }
                }
            }
        }
    }
}

#[test]
fn two_sub_resources_are_no_operation() {
    for path in ["/b", "/b/k"] {
        for method in METHODS {
            for one in SUB_RESOURCES {
                for other in SUB_RESOURCES.iter().filter(|other| *other != one && **other != "tomorrow") {
                    if *one != "tomorrow" {
                        let target = format!("{path}?{one}&{other}");
                        assert!(routed(method, &target).is_err(), "{method} {target}");
                    }
                }
            }
        }
    }
}

#[test]
fn refusals_have_their_kind() {
    let cases = [
        ("DELETE", "/b?notification", RouteError::NotImplemented),
        ("PUT", "/b?replication", RouteError::NotImplemented),
        ("DELETE", "/b?versioning", RouteError::NotImplemented),
        ("PUT", "/b?tomorrow", RouteError::NotImplemented),
        ("GET", "/b?analytics&id=1", RouteError::NotImplemented),
        ("GET", "/b?list-type=1", RouteError::NotImplemented),
        ("GET", "/b?list-type=2&list-type=1", RouteError::NotImplemented),
        ("PUT", "/b/k?partNumber=1", RouteError::NotImplemented),
        ("PUT", "/b/k?uploadId=u", RouteError::NotImplemented),
        ("HEAD", "/b/k?uploadId=u", RouteError::NotImplemented),
        ("POST", "/b/k?select&select-type=2", RouteError::NotImplemented),
        ("POST", "/b", RouteError::NotImplemented),
        ("POST", "/b/k", RouteError::MethodNotAllowed),
        ("DELETE", "/", RouteError::MethodNotAllowed),
        ("PUT", "/", RouteError::MethodNotAllowed),
        ("PATCH", "/b/k", RouteError::MethodNotAllowed),
        ("PUT", "/b/k?versionId=v", RouteError::VersionIdNotAccepted),
        ("DELETE", "/b?versionId=v", RouteError::VersionIdNotAccepted),
        ("DELETE", "/b/k?uploadId=u&versionId=v", RouteError::VersionIdNotAccepted),
    ];
    for (method, target, error) in cases {
        assert_eq!(routed(method, target), Err(error), "{method} {target}");
    }
}

#[test]
fn what_is_not_of_s3_is_ignored() {
    let cases = [
        ("GET", "/b/k?x-id=GetObject", Operation::GetObject),
        ("GET", "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=s&versionId=v", Operation::GetObject),
        ("GET", "/b/k?response-content-type=text/plain&partNumber=3", Operation::GetObject),
        ("GET", "/b/k?AWSAccessKeyId=a&Signature=s&Expires=1", Operation::GetObject),
        ("GET", "/b/k?1700000000", Operation::GetObject),
        ("PUT", "/b?x-id=CreateBucket", Operation::CreateBucket),
        ("DELETE", "/b/k?versionId=v", Operation::DeleteObject),
        ("GET", "/b?id=7&prefix=p", Operation::ListObjects),
        ("GET", "/b?list-type=2&prefix&fetch-owner=true", Operation::ListObjectsV2),
        ("GET", "/b/k?acl&versionId=v", Operation::GetObjectAcl),
    ];
    for (method, target, operation) in cases {
        assert_eq!(routed(method, target), Ok(operation), "{method} {target}");
    }
}

#[test]
fn a_copy_source_makes_a_copy() {
    let copy = Sample::new("PUT", "/b/k").header("x-amz-copy-source", "b/other");
    assert_eq!(route(&copy.wire()), Ok(Operation::CopyObject));
    let part = Sample::new("PUT", "/b/k?uploadId=u&partNumber=2").header("x-amz-copy-source", "b/other");
    assert_eq!(route(&part.wire()), Ok(Operation::UploadPartCopy));
    assert_eq!(routed("PUT", "/b/k?X-Amz-Copy-Source=b/other"), Ok(Operation::CopyObject));
}
