//! DeleteObject and DeleteObjects.

use http::StatusCode;
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_service::{Conditions, DeleteItem, DeleteOutcome, DeleteRequest, EtagCondition};
use karri_objstore_wire::{Operation, parse_delete_objects, types, write_delete_objects};
use karri_ring_types::Timestamp;

use crate::S3;
use crate::acl;
use crate::authorize::Target;
use crate::body::checked_document;
use crate::conditions::delete_conditions;
use crate::dispatch::{bucket_of, object_of, parameter, wire_request};
use crate::error::{S3Result, error, malformed_xml};
use crate::fault::{Subject, from_service, from_wire};
use crate::lock::asked_bypass;
use crate::names::check_key;
use crate::response::{empty, set, unquoted, wire};
use crate::version::{DELETE_MARKER, VERSION_ID, named_version, parse_version, tell_version};

/// Most keys of one DeleteObjects.
const KEYS_PER_BATCH_MAX: usize = 1000;

/// DeleteObject. What is not there is deleted already.
pub(crate) async fn delete_object(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    let version = named_version(request)?;
    let (conditions, if_size, if_last_modified) = delete_conditions(&request.headers)?;
    let bypass_governance = asked_bypass(s3, request, bucket, Some(key)).await?;
    let item = DeleteItem {
        key: key.to_owned(),
        version,
        conditions,
        if_size,
        if_last_modified,
        bypass_governance,
        owner: acl::writer(&s3.rules(bucket).await?, &request.caller),
    };
    let deleted = s3.service.delete_object(DeleteRequest { bucket: bucket.to_owned(), item }).await;
    let deleted = deleted.map_err(|failure| from_service(failure, Subject::object(bucket, key)))?;
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    match parameter(request, "versionId") {
        Some(asked) => set(headers, VERSION_ID, asked),
        None => tell_version(headers, deleted.version),
    }
    if deleted.delete_marker {
        set(headers, DELETE_MARKER, "true");
    }
    Ok(response)
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
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(asked.objects.len());
    let mut items = Vec::new();
    for object in &asked.objects {
        match admit(s3, request, bucket, object).await {
            Ok(item) => {
                items.push((outcomes.len(), item));
                outcomes.push(Ok(DeleteOutcome::default()));
            }
            Err(failure) => outcomes.push(Err(failure)),
        }
    }
    let (places, items): (Vec<usize>, Vec<DeleteItem>) = items.into_iter().unzip();
    let deleted = s3.service.delete_objects(bucket, items).await;
    let deleted = deleted.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    for (place, outcome) in places.into_iter().zip(deleted) {
        let key = &asked.objects[place].key;
        outcomes[place] = outcome.map_err(|failure| from_service(failure, Subject::object(bucket, key)));
    }
    Ok(wire(write_delete_objects(&report(asked.objects, outcomes, quiet))))
}

/// One key of the batch, allowed and well-formed.
async fn admit(s3: &S3, request: &ApiRequest, bucket: &str, object: &types::ObjectIdentifier) -> S3Result<DeleteItem> {
    if object.key.is_empty() {
        return Err(error("UserKeyMustBeSpecified", 400, "User key must have a length greater than 0."));
    }
    check_key(&object.key)?;
    let version = object.version_id.as_deref().filter(|version| !version.is_empty());
    let version = version.map(parse_version).transpose()?;
    let action = if version.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
    let target = Target { bucket, key: Some(&object.key), version };
    s3.authorize(request, action, &target).await?;
    let if_match = object.etag.as_deref().map(|etag| match etag {
        "*" => EtagCondition::Any,
        etag => EtagCondition::OneOf(vec![unquoted(etag).to_owned()]),
    });
    let if_last_modified = object.last_modified_time.map(|time| Timestamp(u64::try_from(time.millis()).unwrap_or(0)));
    Ok(DeleteItem {
        key: object.key.clone(),
        version,
        conditions: Conditions { if_match, ..Conditions::default() },
        if_size: object.size.map(|size| u64::try_from(size).unwrap_or(u64::MAX)),
        if_last_modified,
        bypass_governance: asked_bypass(s3, request, bucket, Some(&object.key)).await?,
        owner: acl::writer(&s3.rules(bucket).await?, &request.caller),
    })
}

/// What became of one key.
type Outcome = Result<DeleteOutcome, ApiError>;

fn report(objects: Vec<types::ObjectIdentifier>, outcomes: Vec<Outcome>, quiet: bool) -> types::DeleteObjectsOutput {
    let mut output = types::DeleteObjectsOutput::default();
    for (object, outcome) in objects.into_iter().zip(outcomes) {
        match outcome {
            Ok(_) if quiet => {}
            Ok(outcome) => {
                let marker = outcome.version.filter(|_| outcome.delete_marker).map(|version| version.to_string());
                output.deleted.push(types::DeletedObject {
                    key: Some(object.key),
                    version_id: object.version_id.filter(|version| !version.is_empty()),
                    delete_marker: outcome.delete_marker.then_some(true),
                    delete_marker_version_id: marker,
                });
            }
            Err(failure) => output.errors.push(types::Error {
                key: Some(object.key),
                version_id: object.version_id,
                code: Some(failure.code.into_owned()),
                message: Some(failure.message),
            }),
        }
    }
    output
}
