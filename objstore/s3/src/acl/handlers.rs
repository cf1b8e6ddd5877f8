//! Reading and writing lists of buckets and objects.

use bytes::Bytes;
use http::StatusCode;
use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::{BucketConfigKind, ObjectInfo, Owner};
use karri_objstore_wire::{
    Operation, parse_put_bucket_acl, parse_put_object_acl, types, write_get_bucket_acl, write_get_object_acl,
};

use super::Acl;
use super::read::{Asked, asked_by_headers, document as read_document, wire_grants};
use super::write::{acl_not_supported, check_public};
use crate::S3;
use crate::authorize::Rules;
use crate::body::{document, verify_claims};
use crate::convert::wire_owner;
use crate::dispatch::{bucket_of, wire_request};
use crate::error::{S3Result, error};
use crate::fault::{Subject, from_service, from_wire};
use crate::response::{empty, wire};
use crate::version::{named_object, tell_version, with_version};

/// GetBucketAcl and GetObjectAcl.
pub(crate) async fn get_acl(s3: &S3, operation: Operation, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let rules = s3.rules(bucket).await?;
    let bucket_owner = &rules.settings().info().owner;
    if operation == Operation::GetBucketAcl {
        let acl = match &rules.acl {
            Some(acl) if rules.has_acls() => (**acl).clone(),
            _ => Acl::private(bucket_owner),
        };
        let grants = wire_grants(&acl, &*s3.identities, &[bucket_owner]);
        let output = types::GetBucketAclOutput { owner: Some(wire_owner(bucket_owner)), grants };
        return Ok(wire(write_get_bucket_acl(&output)));
    }
    let info = object_info(s3, request).await?;
    let owner = object_owner(&rules, &info);
    let acl = match rules.has_acls() {
        true => Acl::kept(info.acl.as_deref(), owner),
        false => Acl::private(owner),
    };
    let grants = wire_grants(&acl, &*s3.identities, &[owner, bucket_owner]);
    let output = types::GetObjectAclOutput { owner: Some(wire_owner(owner)), grants, ..Default::default() };
    let mut response = wire(write_get_object_acl(&output));
    tell_version(response.headers_mut(), info.version);
    Ok(response)
}

/// PutBucketAcl and PutObjectAcl.
pub(crate) async fn put_acl(s3: &S3, operation: Operation, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let asked = asked_by_headers(&request.headers, &*s3.identities)?;
    let body = document(request, operation).await?;
    verify_claims(request, &body)?;
    let bucket = bucket_of(request)?.to_owned();
    let rules = s3.rules(&bucket).await?;
    let bucket_owner = &rules.settings().info().owner;
    let policy = match operation {
        Operation::PutObjectAcl => {
            parse_put_object_acl(&wire_request(request), &body).map_err(from_wire)?.access_control_policy
        }
        _ => parse_put_bucket_acl(&wire_request(request), &body).map_err(from_wire)?.access_control_policy,
    };
    if operation == Operation::PutBucketAcl {
        let acl = asked_acl(s3, &rules, &asked, policy.as_ref(), bucket_owner)?;
        if rules.has_acls() {
            put_bucket(s3, &bucket, acl).await?;
        }
        return Ok(empty(StatusCode::OK));
    }
    let info = object_info(s3, request).await?;
    let owner = object_owner(&rules, &info);
    let acl = asked_acl(s3, &rules, &asked, policy.as_ref(), owner)?;
    let version = match rules.has_acls() {
        true => {
            let set = s3.service.set_acl(&named_object(request)?, acl.map(|acl| acl.encode())).await;
            let subject = Subject::object(&bucket, request.key.as_deref().unwrap_or_default());
            set.map_err(|failure| with_version(from_service(failure, subject), request))?
        }
        false => info.version,
    };
    let mut response = empty(StatusCode::OK);
    tell_version(response.headers_mut(), version);
    Ok(response)
}

/// Keeps the list of a bucket; `None` is the default.
async fn put_bucket(s3: &S3, bucket: &str, acl: Option<Acl>) -> S3Result<()> {
    let kind = BucketConfigKind::Acl;
    let kept = match acl {
        Some(acl) => s3.service.put_bucket_config(bucket, kind, Bytes::from(acl.encode())).await,
        None => s3.service.delete_bucket_config(bucket, kind).await,
    };
    kept.map_err(|failure| from_service(failure, Subject::bucket(bucket)))
}

/// The list that headers or document ask for; `None` is the default.
fn asked_acl(
    s3: &S3,
    rules: &Rules,
    asked: &Asked,
    policy: Option<&types::AccessControlPolicy>,
    owner: &Owner,
) -> S3Result<Option<Acl>> {
    let acl = match (asked, policy) {
        (Asked::Nothing, None) => {
            let message = "Your request was missing a required header";
            return Err(error("MissingSecurityHeader", 400, message));
        }
        (Asked::Nothing, Some(policy)) => Some(read_document(policy, owner, &*s3.identities)?),
        (_, Some(_)) => return Err(error("UnexpectedContent", 400, "This request does not support content")),
        (asked, None) => asked.acl(owner, &rules.settings().info().owner),
    };
    if !rules.has_acls() {
        // Clients that read a list and write it back after a copy count on this.
        let is_document = *asked == Asked::Nothing && acl.as_ref().is_some_and(|acl| *acl == Acl::private(owner));
        let is_default = is_document || asked.holds_without_acls() && *asked != Asked::Nothing;
        return if is_default { Ok(None) } else { Err(acl_not_supported()) };
    }
    check_public(rules, acl.as_ref())?;
    Ok(acl)
}

async fn object_info(s3: &S3, request: &ApiRequest) -> S3Result<ObjectInfo> {
    let info = s3.service.object_info(&named_object(request)?).await;
    let subject = Subject::object(bucket_of(request)?, request.key.as_deref().unwrap_or_default());
    info.map_err(|failure| with_version(from_service(failure, subject), request))
}

fn object_owner<'a>(rules: &'a Rules, info: &'a ObjectInfo) -> &'a Owner {
    info.owner.as_ref().filter(|_| rules.has_acls()).unwrap_or(&rules.settings().info().owner)
}
