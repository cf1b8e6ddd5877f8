//! Quotas that the caller's policies set on what it writes.

use karri_iam_policy::{QuotaKey, Request, has_quotas, quota};
use karri_objstore_gateway::ApiRequest;
use karri_objstore_service::{AccountQuota, Quota};

use super::context::of_request;
use super::judge::identity;
use crate::S3;

/// Quotas of sizes are in MiB.
const MIB_BITS: u32 = 20;

impl S3 {
    /// What may be in a bucket, and in all of the caller's account, after the caller has written to it.
    pub(crate) fn write_quota(&self, request: &ApiRequest, bucket: &str, key: &str) -> Quota {
        let of_key = |of| self.quota(request, "s3:PutObject", || format!("arn:aws:s3:::{bucket}/{key}"), of);
        let bytes_of = |of| of_key(of).map(|mib| mib.saturating_mul(1 << MIB_BITS));
        let account = |bytes| AccountQuota { id: identity(&request.caller).account_id.clone(), bytes };
        Quota {
            bucket_bytes: bytes_of(QuotaKey::BucketSize),
            bucket_versions: of_key(QuotaKey::BucketObjectsNumber),
            account: bytes_of(QuotaKey::BucketTotalSize).map(account),
        }
    }

    /// How many buckets the caller's account may have after it has made one.
    pub(crate) fn buckets_max(&self, request: &ApiRequest, bucket: &str) -> Option<u64> {
        self.quota(request, "s3:CreateBucket", || format!("arn:aws:s3:::{bucket}"), QuotaKey::BucketNumber)
    }

    fn quota(
        &self,
        request: &ApiRequest,
        action: &str,
        resource: impl FnOnce() -> String,
        key: QuotaKey,
    ) -> Option<u64> {
        let principal = identity(&request.caller);
        let policies = self.identities.policies(&principal);
        if !has_quotas(&principal, &policies) {
            return None;
        }
        let context = of_request(request, self.clock.now(), &self.region);
        let asked = Request {
            principal: &principal,
            action,
            resource: &resource(),
            resource_account: &principal.account_id,
            context: &context,
        };
        quota(&asked, &policies, key)
    }
}
