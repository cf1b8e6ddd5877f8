//! `PutBucketLogging`: what a bucket may have logged where.

use std::sync::Arc;

use bytes::Bytes;
use karri_iam_policy::{
    Context, Effect, Grant as PolicyGrant, Policies, Principal, PrincipalKind, Request, evaluate_with,
};
use karri_objstore_gateway::{ApiError, ApiRequest};
use karri_objstore_service::{KEY_SIZE_BYTES_MAX, Owner, ServiceError};
use karri_objstore_wire::{parse_put_bucket_logging, types, write_get_bucket_logging};
use karri_ring_types::Timestamp;

use super::{KeyFormat, LogTarget, Source};
use crate::S3;
use crate::acl::{self, Acl, Permission};
use crate::authorize::{BucketPolicy, Identities, Rules};
use crate::config::kept;
use crate::dispatch::{bucket_of, stored_request, wire_request};
use crate::error::{S3Result, access_denied, error, invalid_argument, malformed_xml};
use crate::fault::{Subject, from_service, from_wire};

/// Who writes access logs, as policies name it.
const LOG_DELIVERY: &str = "logging.s3.amazonaws.com";
/// What the longest format puts behind a prefix: account, region, bucket, date, name.
const NAME_SIZE_BYTES_MAX: usize = 12 + 32 + 63 + 11 + 36 + 5;

/// The document to keep; `None` switches the log off.
pub(crate) async fn check(s3: &S3, request: &ApiRequest, body: &[u8]) -> S3Result<Option<Bytes>> {
    let bucket = bucket_of(request)?;
    let input = parse_put_bucket_logging(&wire_request(request), body).map_err(from_wire)?;
    let owner = s3.bucket_info(bucket).await?.owner;
    // No policy can hand this on.
    if request.caller.principal().is_none_or(|caller| caller.account_id != owner.account_id) {
        return Err(access_denied());
    }
    let Some(mut asked) = input.bucket_logging_status.logging_enabled else { return Ok(None) };
    check_form(&mut asked)?;
    let target = rules_of_target(s3, &asked.target_bucket).await?;
    let grants = acl::log_grants(&mut asked.target_grants, &*s3.identities)?;
    let target_owner = &target.settings().info().owner;
    if target_owner.account_id != owner.account_id {
        return Err(no_target("The owner for the bucket to be logged and the target bucket must be the same."));
    }
    if !grants.is_empty() && !target.has_acls() {
        return Err(acl::acl_not_supported());
    }
    acl::check_public(&target, Some(&log_acl(target_owner, &grants)))?;
    let source = Source { bucket: bucket.to_owned(), account: owner.account_id };
    let resource = format!("arn:aws:s3:::{}/{}", asked.target_bucket, asked.target_prefix);
    if !may_deliver(&target, &source, &resource, s3.clock.now()) {
        return Err(access_denied());
    }
    let output = types::GetBucketLoggingOutput { logging_enabled: Some(asked) };
    kept(write_get_bucket_logging(&output)).map(|document| Some(without_empty_grants(&document)))
}

/// AWS tells no empty list of grants, and clients compare what they read with what they wrote.
fn without_empty_grants(document: &[u8]) -> Bytes {
    const EMPTY: &str = "<TargetGrants></TargetGrants>";
    String::from_utf8_lossy(document).replace(EMPTY, "").into_bytes().into()
}

async fn rules_of_target(s3: &S3, bucket: &str) -> S3Result<Rules> {
    match s3.service.bucket_settings(bucket).await {
        Ok(settings) => Ok(Rules::of(settings)),
        Err(ServiceError::NoSuchBucket | ServiceError::InvalidBucketName) => {
            Err(no_target("The target bucket for logging does not exist"))
        }
        Err(failure) => Err(from_service(failure, Subject::bucket(bucket))),
    }
}

fn no_target(message: &str) -> ApiError {
    error("InvalidTargetBucketForLogging", 400, message)
}

fn check_form(asked: &mut types::LoggingEnabled) -> S3Result<()> {
    if asked.target_prefix.len() + NAME_SIZE_BYTES_MAX > KEY_SIZE_BYTES_MAX {
        let message = "The target prefix is too long for keys of log objects.";
        return Err(invalid_argument("TargetPrefix", &asked.target_prefix, message));
    }
    match &mut asked.target_object_key_format {
        None | Some(types::TargetObjectKeyFormat { simple_prefix: Some(_), partitioned_prefix: None }) => Ok(()),
        Some(types::TargetObjectKeyFormat { simple_prefix: None, partitioned_prefix: Some(partitioned) }) => {
            partitioned.partition_date_source.get_or_insert(types::PartitionDateSource::EventTime);
            Ok(())
        }
        Some(_) => Err(malformed_xml()),
    }
}

/// What a kept document says; `None` for one that cannot be read.
pub(super) fn compile(document: &[u8], identities: &dyn Identities) -> Option<Arc<LogTarget>> {
    let input = stored_request(|request| parse_put_bucket_logging(request, document)).ok()?;
    let mut enabled = input.bucket_logging_status.logging_enabled?;
    let partitioned = enabled.target_object_key_format.and_then(|format| format.partitioned_prefix);
    let format = match partitioned.map(|partitioned| partitioned.partition_date_source) {
        None => KeyFormat::Simple,
        Some(Some(types::PartitionDateSource::DeliveryTime)) => KeyFormat::Delivery,
        Some(_) => KeyFormat::Event,
    };
    // Of an account that is gone nobody is left to read.
    let grants = acl::log_grants(&mut enabled.target_grants, identities).unwrap_or_default();
    let document = Bytes::copy_from_slice(document);
    Some(Arc::new(LogTarget { document, bucket: enabled.target_bucket, prefix: enabled.target_prefix, format, grants }))
}

/// The list of log objects.
pub(super) fn log_acl(owner: &Owner, grants: &[acl::Grant]) -> Acl {
    let mut acl = Acl::private(owner);
    acl.grants.extend_from_slice(grants);
    acl
}

/// Whether records of `source` may be written as `resource`: the bucket's policy lets the log delivery service, which it
/// names, or its list lets the log delivery group.
pub(super) fn may_deliver(target: &Rules, source: &Source, resource: &str, now: Timestamp) -> bool {
    let info = target.settings().info();
    let policy = match target.policy() {
        Some(BucketPolicy::Unreadable) => return false,
        Some(BucketPolicy::Compiled(policy)) => Some(&**policy),
        None => None,
    };
    let by_list = target.has_acls() && target.acl.as_ref().is_some_and(|acl| acl.lets_log_delivery(Permission::Write));
    let mut context = Context::new(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    context.set("aws:SourceArn", format!("arn:aws:s3:::{}", source.bucket));
    context.set("aws:SourceAccount", source.account.clone());
    // Nothing travels: it is this node that writes.
    context.set("aws:SecureTransport", "true");
    context.set("s3:ResourceAccount", info.owner.account_id.clone());
    let principal = Principal {
        kind: PrincipalKind::Service { name: LOG_DELIVERY.to_owned() },
        unique_id: LOG_DELIVERY.to_owned(),
        ..Principal::anonymous()
    };
    let asked = Request {
        principal: &principal,
        action: "s3:PutObject",
        resource,
        resource_account: &info.owner.account_id,
        context: &context,
    };
    let grant = if by_list { PolicyGrant::Direct } else { PolicyGrant::None };
    let is_named = policy.is_some_and(|policy| {
        policy.statements().iter().any(|statement| {
            statement.effect() == Effect::Allow && statement.services().any(|name| name == LOG_DELIVERY)
        })
    });
    // What is open to everybody was not opened for logs.
    (by_list || is_named) && evaluate_with(&asked, &Policies::default(), policy, grant).is_allowed()
}
