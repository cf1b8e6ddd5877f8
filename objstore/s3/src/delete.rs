//! DeleteObject and DeleteObjects.

use http::{HeaderName, HeaderValue, StatusCode};
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_service::{Conditions, DeleteItem, DeleteRequest, EtagCondition};
use karri_objstore_wire::{Operation, parse_delete_objects, types, write_delete_objects};
use karri_ring_types::Timestamp;

use crate::S3;
use crate::body::checked_document;
use crate::conditions::delete_conditions;
use crate::dispatch::{bucket_of, object_of, parameter, wire_request};
use crate::error::{S3Result, error, malformed_xml};
use crate::fault::{Subject, from_service, from_wire};
use crate::get::check_version;
use crate::names::check_key;
use crate::response::{empty, unquoted, wire};

/// Most keys of one DeleteObjects.
const KEYS_PER_BATCH_MAX: usize = 1000;

/// DeleteObject. What is not there is deleted already.
pub(crate) async fn delete_object(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    let version = parameter(request, "versionId");
    let absent = is_absent_version(check_version(version, key))?;
    if absent {
        s3.bucket_info(bucket).await?;
    } else {
        let (conditions, if_size, if_last_modified) = delete_conditions(&request.headers)?;
        let asked = DeleteRequest {
            conditions,
            if_size,
            if_last_modified,
            version: None,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        };
        let deleted = s3.service.delete_object(asked).await;
        deleted.map_err(|failure| from_service(failure, Subject::object(bucket, key)))?;
    }
    let mut response = empty(StatusCode::NO_CONTENT);
    if let Some(version) = version.and_then(|version| HeaderValue::from_str(version).ok()) {
        response.headers_mut().insert(HeaderName::from_static("x-amz-version-id"), version);
    }
    Ok(response)
}

/// Whether a version is well-formed but cannot exist, which a delete does not mind.
fn is_absent_version(checked: S3Result<()>) -> S3Result<bool> {
    match checked {
        Ok(()) => Ok(false),
        Err(failure) if failure.code == "NoSuchVersion" => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// DeleteObjects.
pub(crate) async fn delete_objects(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let body = checked_document(request, Operation::DeleteObjects).await?;
    if body.is_empty() {
        return Err(error("MissingRequestBodyError", 400, "Request Body is empty"));
    }
    let input = parse_delete_objects(&wire_request(request), &body).map_err(from_wire)?;
    let asked = input.delete;
    if asked.objects.is_empty() || asked.objects.len() > KEYS_PER_BATCH_MAX {
        return Err(malformed_xml());
    }
    let quiet = asked.quiet.unwrap_or(false);
    let bucket = bucket_of(request)?;
    s3.bucket_info(bucket).await?;
    let mut outcomes: Vec<Option<ApiError>> = Vec::with_capacity(asked.objects.len());
    let mut items = Vec::new();
    for object in &asked.objects {
        match admit(s3, request, bucket, object).await {
            Ok(Some(item)) => {
                items.push((outcomes.len(), item));
                outcomes.push(None);
            }
            Ok(None) => outcomes.push(None),
            Err(failure) => outcomes.push(Some(failure)),
        }
    }
    let (places, items): (Vec<usize>, Vec<DeleteItem>) = items.into_iter().unzip();
    let deleted = s3.service.delete_objects(bucket, items).await;
    let deleted = deleted.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    for (place, outcome) in places.into_iter().zip(deleted) {
        let key = &asked.objects[place].key;
        outcomes[place] = match outcome {
            Ok(()) => None,
            Err(failure) => Some(from_service(failure, Subject::object(bucket, key))),
        };
    }
    Ok(wire(write_delete_objects(&report(asked.objects, outcomes, quiet))))
}

/// One key of the batch: allowed and well-formed, or `None` when it names a version that cannot exist.
async fn admit(
    s3: &S3,
    request: &ApiRequest,
    bucket: &str,
    object: &types::ObjectIdentifier,
) -> S3Result<Option<DeleteItem>> {
    if object.key.is_empty() {
        return Err(error("UserKeyMustBeSpecified", 400, "User key must have a length greater than 0."));
    }
    check_key(&object.key)?;
    s3.authorize(&request.caller, "s3:DeleteObject", Some(bucket), Some(&object.key)).await?;
    if is_absent_version(check_version(object.version_id.as_deref(), &object.key))? {
        return Ok(None);
    }
    let if_match = object.etag.as_deref().map(|etag| match etag {
        "*" => EtagCondition::Any,
        etag => EtagCondition::OneOf(vec![unquoted(etag).to_owned()]),
    });
    let if_last_modified = object.last_modified_time.map(|time| Timestamp(u64::try_from(time.millis()).unwrap_or(0)));
    Ok(Some(DeleteItem {
        key: object.key.clone(),
        version: None,
        conditions: Conditions { if_match, ..Conditions::default() },
        if_size: object.size.map(|size| u64::try_from(size).unwrap_or(u64::MAX)),
        if_last_modified,
    }))
}

fn report(
    objects: Vec<types::ObjectIdentifier>,
    outcomes: Vec<Option<ApiError>>,
    quiet: bool,
) -> types::DeleteObjectsOutput {
    let mut output = types::DeleteObjectsOutput::default();
    for (object, outcome) in objects.into_iter().zip(outcomes) {
        match outcome {
            None if quiet => {}
            None => output.deleted.push(types::DeletedObject {
                key: Some(object.key),
                version_id: object.version_id,
                ..Default::default()
            }),
            Some(failure) => output.errors.push(types::Error {
                key: Some(object.key),
                version_id: object.version_id,
                code: Some(failure.code.into_owned()),
                message: Some(failure.message),
            }),
        }
    }
    output
}
