//! PutBucketAcl and PutObjectAcl. Ownership is enforced, so an ACL may only say what holds anyway: the owner has full
//! control. Clients that read an ACL and write it back after a copy count on that.

use http::StatusCode;
use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::Owner;
use karri_objstore_wire::{Operation, parse_put_bucket_acl, parse_put_object_acl, types};

use crate::S3;
use crate::body::{document, verify_claims};
use crate::dispatch::{bucket_of, wire_request};
use crate::error::{S3Result, error};
use crate::fault::{Subject, from_service, from_wire};
use crate::headers::{acl_not_supported, refuse_acl};
use crate::response::empty;
use crate::version::named_object;

/// PutBucketAcl and PutObjectAcl.
pub(crate) async fn put_acl(s3: &S3, operation: Operation, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    refuse_acl(&request.headers)?;
    let body = document(request, operation).await?;
    verify_claims(request, &body)?;
    let bucket = bucket_of(request)?;
    let info = s3.bucket_info(bucket).await?;
    let policy = match operation {
        Operation::PutObjectAcl => {
            check_object(s3, request, bucket).await?;
            parse_put_object_acl(&wire_request(request), &body).map_err(from_wire)?.access_control_policy
        }
        _ => parse_put_bucket_acl(&wire_request(request), &body).map_err(from_wire)?.access_control_policy,
    };
    match policy {
        Some(policy) if !says_what_holds(&policy, &info.owner) => Err(acl_not_supported()),
        None if !request.headers.contains_key("x-amz-acl") => {
            let message = "Your request was missing a required header";
            Err(error("MissingSecurityHeader", 400, message))
        }
        _ => Ok(empty(StatusCode::OK)),
    }
}

async fn check_object(s3: &S3, request: &ApiRequest, bucket: &str) -> S3Result<()> {
    let key = request.key.as_deref().unwrap_or_default();
    let info = s3.service.object_info(&named_object(request)?).await;
    info.map(|_| ()).map_err(|failure| from_service(failure, Subject::object(bucket, key)))
}

fn says_what_holds(policy: &types::AccessControlPolicy, owner: &Owner) -> bool {
    let is_owner = |grant: &types::Grant| {
        let grantee = grant.grantee.as_ref().and_then(|grantee| grantee.id.as_deref());
        grantee == Some(owner.user_id.as_str()) && grant.permission == Some(types::Permission::FullControl)
    };
    !policy.grants.is_empty() && policy.grants.iter().all(is_owner)
}
