//! Owner and list of what a request writes.

use karri_objstore_gateway::{ApiError, ApiRequest, Caller};
use karri_objstore_service::Owner;

use super::{Acl, asked_by_headers};
use crate::S3;
use crate::authorize::{Ownership, Rules};
use crate::convert::owner_of;
use crate::error::{S3Result, access_denied, error};

/// Whose a new object is and who may read it: both absent where the bucket's owner has it to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewAccess {
    pub(crate) owner: Option<Owner>,
    pub(crate) acl: Option<Vec<u8>>,
}

/// What a write into `bucket` makes, by its headers and the bucket's ownership.
pub(crate) async fn new_object(s3: &S3, request: &ApiRequest, bucket: &str) -> S3Result<NewAccess> {
    let asked = asked_by_headers(&request.headers, &*s3.identities)?;
    let rules = s3.rules(bucket).await?;
    let bucket_owner = &rules.settings().info().owner;
    if !rules.has_acls() {
        return if asked.holds_without_acls() { Ok(NewAccess::default()) } else { Err(acl_not_supported()) };
    }
    let is_given_away = rules.ownership == Ownership::BucketOwnerPreferred && asked.gives_bucket_owner_full_control();
    let writer = writer(&rules, &request.caller).filter(|_| !is_given_away);
    let acl = asked.acl(writer.as_ref().unwrap_or(bucket_owner), bucket_owner);
    check_public(&rules, acl.as_ref())?;
    Ok(NewAccess { acl: acl.map(|acl| acl.encode()), owner: writer })
}

/// Who owns what `caller` writes, when that is not the bucket's owner. What nobody signed is the bucket owner's: there
/// is nobody else who could ever manage it.
pub(crate) fn writer(rules: &Rules, caller: &Caller) -> Option<Owner> {
    let bucket_account = &rules.settings().info().owner.account_id;
    let writer = caller.principal().filter(|writer| rules.has_acls() && writer.account_id != *bucket_account);
    writer.map(owner_of)
}

/// BlockPublicAcls: a list that opens something to groups is refused.
pub(crate) fn check_public(rules: &Rules, acl: Option<&Acl>) -> S3Result<()> {
    match rules.public_access.block_acls && acl.is_some_and(Acl::is_public) {
        true => Err(access_denied()),
        false => Ok(()),
    }
}

pub(crate) fn acl_not_supported() -> ApiError {
    error("AccessControlListNotSupported", 400, "The bucket does not allow ACLs")
}
