//! Quotas in Eucalyptus's manner: statements with the effect `Limit`, whose numbers stand under quota keys.

use crate::evaluate::{Policies, Request};
use crate::facts::Facts;
use crate::policy::Policy;
use crate::principal::Principal;

/// What a quota counts. Sizes are in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaKey {
    /// `s3:quota-bucketnumber`: buckets of the account.
    BucketNumber,
    /// `s3:quota-bucketsize`: size of the versions in one bucket.
    BucketSize,
    /// `s3:quota-buckettotalsize`: size of the versions in all buckets of the account.
    BucketTotalSize,
    /// `s3:quota-bucketobjectsnumber` (Eucalyptus's code has it `s3:quota-bucketobjectnumber`): versions in one bucket.
    BucketObjectsNumber,
}

impl QuotaKey {
    /// Reads a condition key; they are compared without regard to case.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        Some(match key.to_ascii_lowercase().as_str() {
            "s3:quota-bucketnumber" => Self::BucketNumber,
            "s3:quota-bucketsize" => Self::BucketSize,
            "s3:quota-buckettotalsize" => Self::BucketTotalSize,
            "s3:quota-bucketobjectsnumber" | "s3:quota-bucketobjectnumber" => Self::BucketObjectsNumber,
            _ => return None,
        })
    }
}

/// The lowest number that the caller's own policies allow of `key` for `request`; `None`: there is no quota.
///
/// Identity policies, the boundary, session policies and the policies of the caller's account count. The root user of an
/// account has no policies of its own, but those of the account.
///
/// ```
/// use std::sync::Arc;
/// use karri_iam_policy::{Context, Policies, Policy, PolicyKind, Principal, QuotaKey, Request, quota};
///
/// let document = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Limit", "Action": "s3:CreateBucket",
///     "Resource": "*", "Condition": {"NumericLessThanEquals": {"s3:quota-bucketnumber": "10"}}}}"#;
/// let identity = vec![Arc::new(Policy::parse(document, PolicyKind::Identity)?)];
/// let policies = Policies { identity, ..Policies::default() };
/// let request = Request {
///     principal: &Principal::account_root("123456789012", ""),
///     action: "s3:CreateBucket",
///     resource: "arn:aws:s3:::site",
///     resource_account: "123456789012",
///     context: &Context::new(1_700_000_000),
/// };
/// assert_eq!(quota(&request, &policies, QuotaKey::BucketNumber), Some(10));
/// assert_eq!(quota(&request, &policies, QuotaKey::BucketSize), None);
/// # Ok::<(), karri_iam_policy::PolicyError>(())
/// ```
pub fn quota(request: &Request<'_>, identity: &Policies, key: QuotaKey) -> Option<u64> {
    let facts = Facts { request };
    let statements =
        all(request.principal, identity).filter(|policy| policy.has_limits).flat_map(|policy| &policy.statements);
    let of_key = statements.flat_map(|statement| statement.limits.iter().map(move |limit| (statement, limit)));
    let limits = of_key.filter(|(statement, (of, _))| *of == key && statement.applies(&facts));
    limits.map(|(_, (_, limit))| *limit).min()
}

/// Whether any policy of the caller has a quota at all: all that a request pays whose caller has none.
pub fn has_quotas(principal: &Principal, identity: &Policies) -> bool {
    all(principal, identity).any(|policy| policy.has_limits)
}

fn all<'a>(principal: &'a Principal, identity: &'a Policies) -> impl Iterator<Item = &'a Policy> {
    let session = principal.session.iter().flat_map(|session| &session.policies);
    identity.identity.iter().chain(&identity.boundary).chain(&identity.account).chain(session).map(|policy| &**policy)
}
