//! The decision about a request.

use std::sync::Arc;

use karri_iam_policy::{
    Context, Decision, Grant, Policies, Policy, Principal, PrincipalKind, Request, evaluate, evaluate_with,
};
use karri_objstore_gateway::{ApiRequest, Caller};
use karri_objstore_service::{ObjectInfo, ObjectRef, Owner, ServiceError, VersionRef};
use karri_objstore_wire::Operation;

use super::actions::version_action;
use super::context::{existing_tags, of_request, request_tags};
use super::rules::{BucketPolicy, Rules};
use super::{action, creation_actions, extra_actions};
use crate::S3;
use crate::acl::{Acl, Permission};
use crate::dispatch::parameter;
use crate::error::{S3Result, access_denied};
use crate::fault::{Subject, from_service};
use crate::version::named_version;

/// What an action is on.
#[derive(Clone, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) version: Option<VersionRef>,
}

/// Asks for tags of the object make it necessary to read it first.
const EXISTING_TAG: &str = "s3:ExistingObjectTag/";

/// Asks for the tags that a request gives: PutObjectTagging has them in its body.
const REQUEST_TAG: &str = "s3:RequestObjectTag";

/// Everything that bears on one request but the object itself.
struct Case<'a> {
    principal: Arc<Principal>,
    policies: Arc<Policies>,
    context: Context<'a>,
    rules: Rules,
    action: &'static str,
    resource: String,
}

impl S3 {
    /// 403 unless the caller may do what `operation` needs to the resource of its URL.
    pub(crate) async fn authorize_operation(&self, operation: Operation, request: &ApiRequest) -> S3Result<()> {
        let names_version = parameter(request, "versionId").is_some();
        let action = action(operation, names_version);
        let Some(bucket) = request.bucket.as_deref() else {
            return self.authorize_account(request, action, "arn:aws:s3:::*");
        };
        match operation {
            Operation::CreateBucket => {
                let resource = format!("arn:aws:s3:::{bucket}");
                let needed = std::iter::once(action).chain(creation_actions(&request.headers));
                return needed.into_iter().try_for_each(|action| self.authorize_account(request, action, &resource));
            }
            // Each key is asked for by itself, once it is known.
            Operation::DeleteObjects => return self.authorize_batch(request, bucket).await,
            _ => {}
        }
        let version = if request.key.is_some() { named_version(request)? } else { None };
        let target = Target { bucket, key: request.key.as_deref(), version };
        let mut case = self.case(request, action, &target).await?;
        // Decided on by `authorize_tagging`, when the tags are known.
        if operation == Operation::PutObjectTagging && case.asks_for(REQUEST_TAG) {
            return Ok(());
        }
        self.decide(&mut case, &target, matches!(operation, Operation::GetObject | Operation::HeadObject)).await?;
        for action in extra_actions(operation, &request.headers) {
            case.action = action;
            case.may_write()?;
        }
        Ok(())
    }

    /// 403 unless the caller may do `action` to `target`.
    pub(crate) async fn authorize(
        &self,
        request: &ApiRequest,
        action: &'static str,
        target: &Target<'_>,
    ) -> S3Result<()> {
        let mut case = self.case(request, action, target).await?;
        self.decide(&mut case, target, false).await.map(drop)
    }

    /// 403 unless the caller may copy `source`: read it and, where its tags come along, read them and give them to what
    /// the request writes.
    pub(crate) async fn authorize_source(
        &self,
        request: &ApiRequest,
        source: &Target<'_>,
        with_tags: bool,
    ) -> S3Result<()> {
        let of_version = |action| if source.version.is_some() { version_action(action) } else { action };
        let mut case = self.case(request, of_version("s3:GetObject"), source).await?;
        let info = self.decide(&mut case, source, false).await?;
        let Some(info) = info.filter(|info| with_tags && !info.tags.is_empty()) else { return Ok(()) };
        case.action = of_version("s3:GetObjectTagging");
        allowed(case.decide_object(&info))?;
        let Some(bucket) = request.bucket.as_deref() else { return Err(access_denied()) };
        let written = Target { bucket, key: request.key.as_deref(), version: None };
        self.case(request, "s3:PutObjectTagging", &written).await?.may_write()
    }

    /// 403 unless the caller may give an object these tags; where no policy asks for them, that has been decided on.
    pub(crate) async fn authorize_tagging(&self, request: &ApiRequest, tags: &[(String, String)]) -> S3Result<()> {
        let Some(bucket) = request.bucket.as_deref() else { return Err(access_denied()) };
        let target = Target { bucket, key: request.key.as_deref(), version: named_version(request)? };
        let action = action(Operation::PutObjectTagging, target.version.is_some());
        let mut case = self.case(request, action, &target).await?;
        if !case.asks_for(REQUEST_TAG) {
            return Ok(());
        }
        request_tags(tags, &mut case.context);
        self.decide(&mut case, &target, false).await.map(drop)
    }

    /// The second look at a read whose object turned out to be another account's than the bucket: the bucket's owner
    /// has no say over that.
    pub(crate) async fn authorize_read(&self, request: &ApiRequest, info: &ObjectInfo) -> S3Result<()> {
        let (Some(bucket), Some(_)) = (request.bucket.as_deref(), &info.owner) else { return Ok(()) };
        let action = action(Operation::GetObject, parameter(request, "versionId").is_some());
        let target = Target { bucket, key: request.key.as_deref(), version: None };
        let case = self.case(request, action, &target).await?;
        allowed(case.decide_object(info))
    }

    /// Whether the caller could not change a bucket's policy any more once it is this one. The root user of the bucket's
    /// account always can.
    pub(crate) async fn policy_locks_out(&self, request: &ApiRequest, bucket: &str, policy: &Policy) -> S3Result<bool> {
        let target = Target { bucket, key: None, version: None };
        let case = self.case(request, "s3:PutBucketPolicy", &target).await?;
        if case.is_own_root() {
            return Ok(false);
        }
        let asked = Request {
            principal: &case.principal,
            action: case.action,
            resource: &case.resource,
            resource_account: &case.owner().account_id,
            context: &case.context,
        };
        Ok(!evaluate(&asked, &case.policies, Some(policy)).is_allowed())
    }

    /// What a missing object is told as: without the right to list, nobody learns that it is missing.
    pub(crate) async fn may_know_missing(&self, request: &ApiRequest, bucket: &str, key: &str) -> bool {
        let target = Target { bucket, key: None, version: None };
        let Ok(mut case) = self.case(request, "s3:ListBucket", &target).await else { return false };
        case.context.set("s3:prefix", key.to_owned());
        case.decide_bucket().is_allowed()
    }

    /// The rules of a bucket, which must exist.
    pub(crate) async fn rules(&self, bucket: &str) -> S3Result<Rules> {
        let settings = self.service.bucket_settings(bucket).await;
        settings.map(Rules::of).map_err(|failure| from_service(failure, Subject::bucket(bucket)))
    }

    /// 403 unless the caller's own policies let it do `action` to what its account has, or is to have.
    pub(crate) fn authorize_account(&self, request: &ApiRequest, action: &'static str, resource: &str) -> S3Result<()> {
        let principal = identity(&request.caller);
        let asked = Request {
            principal: &principal,
            action,
            resource,
            resource_account: &principal.account_id,
            context: &of_request(request, self.clock.now(), &self.region),
        };
        allowed(evaluate_with(&asked, &self.identities.policies(&principal), None, Grant::None))
    }

    /// A batch is read only if some key of it may be allowed: for callers from outside the bucket must have a policy
    /// or a list that lets others write.
    async fn authorize_batch(&self, request: &ApiRequest, bucket: &str) -> S3Result<()> {
        let target = Target { bucket, key: None, version: None };
        let case = self.case(request, "s3:DeleteObject", &target).await?;
        let is_own = case.principal.account_id == case.rules.settings().info().owner.account_id;
        let is_granted = case.bucket_grant(Permission::Write) != Grant::None;
        match is_own || is_granted || case.rules.policy().is_some() {
            true => Ok(()),
            false => Err(access_denied()),
        }
    }

    async fn case<'a>(
        &'a self,
        request: &'a ApiRequest,
        action: &'static str,
        target: &Target<'_>,
    ) -> S3Result<Case<'a>> {
        let principal = identity(&request.caller);
        let resource = match target.key {
            Some(key) => format!("arn:aws:s3:::{}/{key}", target.bucket),
            None => format!("arn:aws:s3:::{}", target.bucket),
        };
        let rules = self.rules(target.bucket).await?;
        if !pays(request, &principal, &rules) {
            return Err(access_denied());
        }
        let mut context = of_request(request, self.clock.now(), &self.region);
        if let Some(version) = target.version {
            context.set("s3:VersionId", version.to_string());
        }
        context.set("s3:ResourceAccount", rules.settings().info().owner.account_id.clone());
        Ok(Case { policies: self.identities.policies(&principal), principal, context, rules, action, resource })
    }

    /// `is_read_next`: the operation reads the object and calls [`S3::authorize_read`] about it. What was read of the
    /// object for the decision comes back.
    async fn decide(
        &self,
        case: &mut Case<'_>,
        target: &Target<'_>,
        is_read_next: bool,
    ) -> S3Result<Option<ObjectInfo>> {
        let (Some(key), Some(_)) = (target.key, object_permission(case.action)) else {
            return allowed(case.decide_bucket()).map(|()| None);
        };
        let asks_for_tags = case.asks_for(EXISTING_TAG);
        let early = case.decide_bucket();
        if let Decision::ExplicitDeny(_) = early
            && !asks_for_tags
        {
            return Err(access_denied());
        }
        if early.is_allowed() && !asks_for_tags && is_read_next {
            return Ok(None);
        }
        let object = ObjectRef { bucket: target.bucket.to_owned(), key: key.to_owned(), version: target.version };
        match self.service.object_info(&object).await {
            Ok(info) => {
                existing_tags(&info.tags, &mut case.context);
                allowed(case.decide_object(&info)).map(|()| Some(info))
            }
            // What is told of it is the handler's: but only to who may know.
            Err(ServiceError::NoSuchKey | ServiceError::NoSuchVersion | ServiceError::DeleteMarker { .. }) => {
                case.action = "s3:ListBucket";
                case.resource = format!("arn:aws:s3:::{}", target.bucket);
                case.context.set("s3:prefix", key.to_owned());
                allowed(case.decide_bucket()).map(|()| None)
            }
            Err(failure) => Err(from_service(failure, Subject::object(target.bucket, key))),
        }
    }
}

impl Case<'_> {
    fn owner(&self) -> &Owner {
        &self.rules.settings().info().owner
    }

    /// Whether some policy asks for a key that begins so.
    fn asks_for(&self, prefix: &str) -> bool {
        let bucket = match self.rules.policy() {
            Some(BucketPolicy::Compiled(policy)) => policy.asks_for(prefix),
            _ => false,
        };
        let session = self.principal.session.iter().flat_map(|session| &session.policies);
        let own = self.policies.identity.iter().chain(&self.policies.boundary).chain(session);
        bucket || own.into_iter().any(|policy| policy.asks_for(prefix))
    }

    fn bucket_grant(&self, needed: Permission) -> Grant {
        if !self.rules.has_acls() {
            return Grant::None;
        }
        let ignores_public = self.rules.public_access.ignore_acls;
        match &self.rules.acl {
            Some(acl) => acl.grant(&self.principal, needed, ignores_public),
            None => Acl::private(self.owner()).grant(&self.principal, needed, ignores_public),
        }
    }

    /// The decision about the bucket, or about an object as far as the bucket's owner decides.
    fn decide_bucket(&self) -> Decision {
        let grant = bucket_permission(self.action).map_or(Grant::None, |needed| self.bucket_grant(needed));
        self.evaluate(&self.owner().account_id, grant, false)
    }

    /// The decision about an object that is there.
    fn decide_object(&self, info: &ObjectInfo) -> Decision {
        let bucket_owner = self.owner();
        let owner = info.owner.as_ref().filter(|_| self.rules.has_acls()).unwrap_or(bucket_owner);
        let grant = match object_permission(self.action) {
            Some(needed) if self.rules.has_acls() && needed != Permission::FullControl => {
                let acl = Acl::kept(info.acl.as_deref(), owner);
                acl.grant(&self.principal, needed, self.rules.public_access.ignore_acls)
            }
            _ => Grant::None,
        };
        self.evaluate(&owner.account_id, grant, owner.account_id != bucket_owner.account_id)
    }

    /// What a write needs beside the write itself: the writer owns what it writes, unless the bucket's owner does.
    fn may_write(&self) -> S3Result<()> {
        let bucket_account = &self.owner().account_id;
        let is_foreign = self.rules.has_acls()
            && !self.principal.account_id.is_empty()
            && self.principal.account_id != *bucket_account;
        let account = if is_foreign { &self.principal.account_id } else { bucket_account };
        let grant = self.bucket_grant(Permission::Write);
        // Whoever may write through a list may say how what it writes is kept.
        let grant = if self.principal.is_anonymous() { grant } else { Grant::None };
        allowed(self.evaluate(account, grant, is_foreign))
    }

    /// `is_foreign`: the resource is not the bucket owner's, whose policy can then only deny.
    fn evaluate(&self, resource_account: &str, grant: Grant, is_foreign: bool) -> Decision {
        let asked = Request {
            principal: &self.principal,
            action: self.action,
            resource: &self.resource,
            resource_account,
            context: &self.context,
        };
        let policy = match self.rules.policy() {
            Some(BucketPolicy::Compiled(policy)) => Some(&**policy),
            Some(BucketPolicy::Unreadable) if !self.is_own_root() => {
                return Decision::ImplicitDeny(karri_iam_policy::PolicySource::Resource);
            }
            _ => None,
        };
        if self.is_own_root() && is_about_policy(self.action) {
            return evaluate_with(&asked, &self.policies, None, grant);
        }
        let decision = evaluate_with(&asked, &self.policies, policy, grant);
        let only_denies = is_foreign || policy.is_some_and(|policy| self.is_restricted(policy));
        match decision {
            Decision::ExplicitDeny(_) => decision,
            _ if only_denies => evaluate_with(&asked, &self.policies, None, grant),
            _ => decision,
        }
    }

    /// RestrictPublicBuckets: a public policy allows nobody from outside the account.
    fn is_restricted(&self, policy: &Policy) -> bool {
        let is_outsider = self.principal.account_id != self.owner().account_id
            && !matches!(self.principal.kind, PrincipalKind::Service { .. });
        self.rules.public_access.restrict_buckets && is_outsider && policy.is_public()
    }

    /// The root user of the bucket's account can always mend the policy that locks it out.
    fn is_own_root(&self) -> bool {
        self.principal.kind == PrincipalKind::AccountRoot && self.principal.account_id == self.owner().account_id
    }
}

/// Whether a caller from outside has said that it pays, where the bucket has callers pay.
fn pays(request: &ApiRequest, principal: &Principal, rules: &Rules) -> bool {
    let is_own = principal.account_id == rules.settings().info().owner.account_id;
    is_own || !rules.has_requesters_pay() || (!principal.is_anonymous() && says_that_it_pays(request))
}

/// Whether the caller has said so, in a header or in the form.
pub(crate) fn says_that_it_pays(request: &ApiRequest) -> bool {
    request.headers.get("x-amz-request-payer").is_some_and(|value| value == "requester")
}

fn is_about_policy(action: &str) -> bool {
    matches!(action, "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy")
}

/// The permission in a bucket's list that allows `action`.
fn bucket_permission(action: &str) -> Option<Permission> {
    Some(match action {
        "s3:ListBucket" | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads" => Permission::Read,
        "s3:PutObject" | "s3:DeleteObject" | "s3:DeleteObjectVersion" => Permission::Write,
        // AWS asks who began the upload; here who may write may also look after what it wrote.
        "s3:AbortMultipartUpload" | "s3:ListMultipartUploadParts" => Permission::Write,
        "s3:GetBucketAcl" => Permission::ReadAcp,
        "s3:PutBucketAcl" => Permission::WriteAcp,
        _ => return None,
    })
}

/// The permission in an object's list that allows `action`; [`Permission::FullControl`] for actions on an existing
/// object that no list allows.
fn object_permission(action: &str) -> Option<Permission> {
    Some(match action {
        "s3:GetObject" | "s3:GetObjectVersion" => Permission::Read,
        "s3:GetObjectAcl" | "s3:GetObjectVersionAcl" => Permission::ReadAcp,
        "s3:PutObjectAcl" | "s3:PutObjectVersionAcl" => Permission::WriteAcp,
        "s3:GetObjectAttributes"
        | "s3:GetObjectVersionAttributes"
        | "s3:GetObjectTagging"
        | "s3:GetObjectVersionTagging"
        | "s3:PutObjectTagging"
        | "s3:PutObjectVersionTagging"
        | "s3:DeleteObjectTagging"
        | "s3:DeleteObjectVersionTagging"
        | "s3:GetObjectRetention"
        | "s3:PutObjectRetention"
        | "s3:GetObjectLegalHold"
        | "s3:PutObjectLegalHold" => Permission::FullControl,
        _ => return None,
    })
}

pub(crate) fn identity(caller: &Caller) -> Arc<Principal> {
    match caller {
        Caller::Principal(principal) => principal.identity.clone(),
        Caller::Anonymous => Arc::new(Principal::anonymous()),
    }
}

fn allowed(decision: Decision) -> S3Result<()> {
    match decision {
        Decision::Allow(_) => Ok(()),
        refused => {
            tracing::debug!(?refused, "not allowed");
            Err(access_denied())
        }
    }
}
