//! Who may do what. The gateway says who calls; an [`Authorizer`] decides, before a byte of the body is read.

use async_trait::async_trait;
use karri_objstore_gateway::Caller;
use karri_objstore_wire::Operation;

/// One question: may `caller` do `action` to this resource?
#[derive(Debug)]
pub struct Access<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The IAM action, such as `s3:GetObject`.
    pub action: &'static str,
    /// The bucket; absent for `s3:ListAllMyBuckets`.
    pub bucket: Option<&'a str>,
    /// The object, for object actions.
    pub key: Option<&'a str>,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// 403 `AccessDenied`.
    Deny,
}

/// Decides about every request, each copy source and each key of a DeleteObjects.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Decides about `access`.
    async fn authorize(&self, access: &Access<'_>) -> Decision;
}

/// Until IAM arrives: every authenticated principal of one account may do everything, nobody else anything.
#[derive(Debug)]
pub struct AccountAuthorizer {
    account_id: String,
}

impl AccountAuthorizer {
    /// Lets in the principals of `account_id`.
    pub fn new(account_id: impl Into<String>) -> Self {
        Self { account_id: account_id.into() }
    }
}

#[async_trait]
impl Authorizer for AccountAuthorizer {
    async fn authorize(&self, access: &Access<'_>) -> Decision {
        match access.caller {
            Caller::Principal(principal) if principal.account_id == self.account_id => Decision::Allow,
            Caller::Principal(_) | Caller::Anonymous => Decision::Deny,
        }
    }
}

/// The IAM action that `operation` needs on the resource in its URL.
pub(crate) fn action(operation: Operation, versioned: bool) -> &'static str {
    match versioned.then(|| version_action(operation)).flatten() {
        Some(action) => action,
        None => plain_action(operation),
    }
}

/// The actions on a version that is named.
fn version_action(operation: Operation) -> Option<&'static str> {
    Some(match operation {
        Operation::GetObject | Operation::HeadObject => "s3:GetObjectVersion",
        Operation::GetObjectAttributes => "s3:GetObjectVersionAttributes",
        Operation::DeleteObject => "s3:DeleteObjectVersion",
        Operation::GetObjectAcl => "s3:GetObjectVersionAcl",
        Operation::PutObjectAcl => "s3:PutObjectVersionAcl",
        Operation::GetObjectTagging => "s3:GetObjectVersionTagging",
        _ => return None,
    })
}

fn plain_action(operation: Operation) -> &'static str {
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
        Operation::PutBucketVersioning => "s3:PutBucketVersioning",
        Operation::PutObjectLockConfiguration => "s3:PutBucketObjectLockConfiguration",
        Operation::PutObjectRetention => "s3:PutObjectRetention",
        Operation::PutObjectLegalHold => "s3:PutObjectLegalHold",
        Operation::PutBucketLifecycleConfiguration | Operation::DeleteBucketLifecycle => "s3:PutLifecycleConfiguration",
        // An action that no policy grants: an operation without a line here is refused to all but the account's own.
        _ => "s3:Unknown",
    }
}
