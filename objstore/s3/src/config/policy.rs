//! The bucket policy: kept as it was sent.

use bytes::Bytes;
use karri_iam_policy::{Policy, PolicyKind, Statement};
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_service::{BucketConfigKind, BucketSettings};
use karri_objstore_wire::{parse_put_public_access_block, types, write_get_bucket_policy_status};

use crate::S3;
use crate::authorize::Identities;
use crate::dispatch::{bucket_of, stored_request};
use crate::error::{S3Result, access_denied, error};
use crate::fault::{Subject, from_service};
use crate::response::wire;

const RESOURCE_PREFIX: &str = "arn:aws:s3:::";

/// The policy to keep.
pub(super) async fn check(s3: &S3, request: &ApiRequest, body: &[u8]) -> S3Result<Bytes> {
    let bucket = bucket_of(request)?;
    if body.len() > BucketConfigKind::Policy.size_bytes_max() {
        return Err(malformed("Normalized policy document exceeds the maximum allowed size of 20480 bytes"));
    }
    let json = "Policies must be valid JSON and the first byte must be '{'";
    let text = std::str::from_utf8(body).map_err(|_| malformed(json))?;
    let policy = Policy::parse(text, PolicyKind::Resource).map_err(|refused| malformed(&refused.to_string()))?;
    if !policy.statements().iter().all(|statement| is_about(statement, bucket)) {
        return Err(malformed("Policy has invalid resource"));
    }
    check_principals(&policy, &*s3.identities)?;
    if !says_to_lock_out(request) && s3.policy_locks_out(request, bucket, &policy).await? {
        let message = "The new policy does not let you change it again. To remove your own access, confirm it by \
                       x-amz-confirm-remove-self-bucket-access: true.";
        return Err(error("AccessDenied", 403, message));
    }
    if policy.is_public() {
        let settings = s3.service.bucket_settings(bucket).await;
        let settings = settings.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
        if blocks_public_policies(&settings) {
            return Err(access_denied());
        }
    }
    Ok(Bytes::copy_from_slice(body))
}

fn says_to_lock_out(request: &ApiRequest) -> bool {
    let said = request.headers.get("x-amz-confirm-remove-self-bucket-access");
    said.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// A principal that is not there would come alive when somebody makes one of its name.
fn check_principals(policy: &Policy, identities: &dyn Identities) -> S3Result<()> {
    for statement in policy.statements() {
        let unknown = statement.aws_principals().find(|name| !identities.principal_exists(name));
        let stranger = || statement.canonical_users().find(|id| identities.account_by_canonical_id(id).is_none());
        if let Some(name) = unknown.or_else(stranger) {
            return Err(malformed(&format!("Invalid principal in policy: {name}")));
        }
    }
    Ok(())
}

/// Whether a statement speaks of nothing but this bucket and its objects.
fn is_about(statement: &Statement, bucket: &str) -> bool {
    statement.resources().all(|resource| {
        let Some(name) = resource.strip_prefix(RESOURCE_PREFIX) else { return resource == "*" };
        let pattern = name.split('/').next().unwrap_or_default();
        covers(pattern.as_bytes(), bucket.as_bytes())
    })
}

/// Whether a pattern with `*` and `?` fits. It goes back to the last star only, so that a pattern of stars costs no
/// more than another.
fn covers(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[read] => (at, read) = (at + 1, read + 1),
            _ => {
                let Some((from, upto)) = star else { return false };
                star = Some((from, upto + 1));
                (at, read) = (from + 1, upto + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

fn blocks_public_policies(settings: &BucketSettings) -> bool {
    settings.document(BucketConfigKind::PublicAccessBlock).is_some_and(|document| {
        let input = stored_request(|request| parse_put_public_access_block(request, &document));
        // What cannot be read must not open a bucket.
        input.map_or(true, |input| input.public_access_block_configuration.block_public_policy == Some(true))
    })
}

fn malformed(message: &str) -> ApiError {
    error("MalformedPolicy", 400, message)
}

/// GetBucketPolicyStatus: whether the policy or the list opens the bucket to everybody.
pub(super) async fn status(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let is_public = s3.rules(bucket).await?.is_public();
    let policy_status = Some(types::PolicyStatus { is_public: Some(is_public) });
    Ok(wire(write_get_bucket_policy_status(&types::GetBucketPolicyStatusOutput { policy_status })))
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn patterns_of_names() {
        for (pattern, expected) in [
            ("photos", true),
            ("*", true),
            ("ph*s", true),
            ("p?otos", true),
            ("photo", false),
            ("*x", false),
            ("", false),
        ] {
            assert_eq!(covers(pattern.as_bytes(), b"photos"), expected, "{pattern}");
        }
    }
}
