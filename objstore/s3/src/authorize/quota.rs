//! Quotas that the caller's policies set on what it writes.

use karri_iam_policy::{QuotaKey, Request, has_quotas, quota};
use karri_objstore_gateway::ApiRequest;
use karri_objstore_service::Quota;

use super::context::of_request;
use super::judge::identity;
use crate::S3;

/// Quotas of sizes are in MiB.
const MIB_BITS: u32 = 20;

impl S3 {
    /// What may be in a bucket after the caller has written to it.
    pub(crate) fn write_quota(&self, request: &ApiRequest, bucket: &str, key: &str) -> Quota {
        let of_key = |of| self.quota(request, "s3:PutObject", || format!("arn:aws:s3:::{bucket}/{key}"), of);
        let [bytes, versions] = [QuotaKey::BucketSize, QuotaKey::BucketObjectsNumber].map(of_key);
        Quota { bucket_bytes: bytes.map(|mib| mib.saturating_mul(1 << MIB_BITS)), bucket_versions: versions }
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
