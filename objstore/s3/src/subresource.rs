//! Bucket and object sub-resources that clients read and nobody can configure yet: each answers as AWS does for a
//! bucket on which it was never set.

use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_wire::Operation;

use crate::S3;
use crate::dispatch::bucket_of;
use crate::error::{S3Result, error, error_with};

fn not_configured(operation: Operation) -> Option<(&'static str, &'static str)> {
    Some(match operation {
        Operation::GetBucketReplication => {
            ("ReplicationConfigurationNotFoundError", "The replication configuration was not found")
        }
        _ => return None,
    })
}

/// Answers a read of a sub-resource. The bucket must exist.
pub(crate) async fn read(s3: &S3, operation: Operation, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let Some((code, message)) = not_configured(operation) else { return Err(not_implemented()) };
    s3.bucket_info(bucket).await?;
    Err(error_with(code, 404, message, [("BucketName", bucket.to_owned())]))
}

/// 501 for an operation of the API that Karri does not have.
pub(crate) fn not_implemented() -> ApiError {
    error("NotImplemented", 501, "A header you provided implies functionality that is not implemented")
}
