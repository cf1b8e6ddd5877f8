//! RenameObject. AWS offers it in directory buckets; here it is in every bucket that has never kept versions.

use http::StatusCode;
use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::RenameRequest;
use percent_encoding::percent_decode_str;

use crate::S3;
use crate::authorize::Target;
use crate::conditions::{read_conditions, rename_conditions};
use crate::dispatch::object_of;
use crate::error::{S3Result, invalid_argument, invalid_request};
use crate::fault::{Subject, from_service};
use crate::headers::{owned, text};
use crate::names::check_key;
use crate::response::empty;

const SOURCE: &str = "x-amz-rename-source";

/// RenameObject.
pub(crate) async fn rename_object(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    let source = source(request)?;
    check_key(&source)?;
    if key.ends_with('/') || source.ends_with('/') {
        return Err(invalid_request("Objects whose names end with a slash are not renamed."));
    }
    // Whoever renames reads the object, and takes it away from its name.
    let target = Target { bucket, key: Some(&source), version: None };
    for action in ["s3:GetObject", "s3:DeleteObject"] {
        s3.authorize(request, action, &target).await?;
    }
    let asked = RenameRequest {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        source_conditions: rename_conditions(&request.headers)?,
        conditions: read_conditions(&request.headers)?,
        token: owned(&request.headers, "x-amz-client-token")?,
        source_key: source.clone(),
    };
    let renamed = s3.service.rename_object(asked).await;
    renamed.map_err(|failure| from_service(failure, Subject::object(bucket, &source)))?;
    Ok(empty(StatusCode::OK))
}

/// The key that the object has: percent-encoded, perhaps behind a slash.
fn source(request: &ApiRequest) -> S3Result<String> {
    let given = text(&request.headers, SOURCE)?.unwrap_or_default();
    let decoded = percent_decode_str(given).decode_utf8().ok();
    let key = decoded.as_deref().map(|key| key.strip_prefix('/').unwrap_or(key));
    match key.filter(|key| !key.is_empty() && !key.contains('\0')) {
        Some(key) => Ok(key.to_owned()),
        None => Err(invalid_argument(SOURCE, given, "The rename source must be the URL-encoded key of an object.")),
    }
}
