//! Bucket and object sub-resources that clients read and nobody can configure yet: each answers as AWS does for a
//! bucket on which it was never set.

use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_service::Owner;
use karri_objstore_wire::Operation;

use crate::S3;
use crate::dispatch::bucket_of;
use crate::error::{S3Result, error, error_with};
use crate::fault::{Subject, from_service};
use crate::response::{escape_xml, xml};
use crate::version::{named_object, with_version};

/// What a sub-resource answers.
enum Answer {
    /// An error.
    Refused(ApiError),
    /// The owner's FULL_CONTROL.
    Acl,
}

/// The answer of `operation` on an existing bucket (or object); `None` when it is no such sub-resource.
fn answer(operation: Operation, bucket: &str) -> Option<Answer> {
    if let Some((code, message)) = not_configured(operation) {
        return Some(Answer::Refused(error_with(code, 404, message, [("BucketName", bucket.to_owned())])));
    }
    Some(match operation {
        Operation::GetBucketAcl | Operation::GetObjectAcl => Answer::Acl,
        _ => return None,
    })
}

fn not_configured(operation: Operation) -> Option<(&'static str, &'static str)> {
    Some(match operation {
        Operation::GetBucketReplication => {
            ("ReplicationConfigurationNotFoundError", "The replication configuration was not found")
        }
        _ => return None,
    })
}

/// Answers a read of a sub-resource. The bucket must exist, and the object where one is named.
pub(crate) async fn read(s3: &S3, operation: Operation, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let Some(answer) = answer(operation, bucket) else { return Err(not_implemented()) };
    let info = s3.bucket_info(bucket).await?;
    if let Some(key) = request.key.as_deref() {
        let info = s3.service.object_info(&named_object(request)?).await;
        info.map_err(|failure| with_version(from_service(failure, Subject::object(bucket, key)), request))?;
    }
    match answer {
        Answer::Refused(failure) => Err(failure),
        Answer::Acl => Ok(xml(owner_acl(&info.owner))),
    }
}

/// The one grant that there is.
fn owner_acl(owner: &Owner) -> String {
    let (id, name) = (escape_xml(&owner.user_id), escape_xml(&owner.display_name));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Owner><ID>{id}</ID><DisplayName>{name}</DisplayName></Owner><AccessControlList><Grant>\
         <Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">\
         <ID>{id}</ID><DisplayName>{name}</DisplayName></Grantee><Permission>FULL_CONTROL</Permission>\
         </Grant></AccessControlList></AccessControlPolicy>"
    )
}

/// 501 for an operation of the API that Karri does not have.
pub(crate) fn not_implemented() -> ApiError {
    error("NotImplemented", 501, "A header you provided implies functionality that is not implemented")
}
