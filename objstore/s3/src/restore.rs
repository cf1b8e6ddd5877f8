//! RestoreObject, and what listings tell of it. Archived objects are where the others are: a restore takes no time, and
//! only says how long the object can be read.

use futures::StreamExt as _;
use http::StatusCode;
use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::{ObjectRef, VersionRef, is_archive};
use karri_objstore_wire::{Operation, parse_restore_object, types};

use crate::S3;
use crate::body::{document, verify_claims};
use crate::convert::timestamp;
use crate::dispatch::wire_request;
use crate::error::{S3Result, invalid_argument, malformed_xml};
use crate::fault::{Subject, from_service, from_wire};
use crate::headers::text;
use crate::response::empty;
use crate::subresource::not_implemented;
use crate::version::{named_object, with_version};

/// Most days for which an object is restored.
const DAYS_MAX: u32 = 30_000;

/// What a listing tells beside what it always tells.
const OPTIONAL: &str = "x-amz-optional-object-attributes";
/// Objects of one page that are looked up at a time.
const LOOKUPS_IN_FLIGHT_MAX: usize = 16;

/// RestoreObject: 202 for an object that could not be read before, 200 for one whose time is changed.
pub(crate) async fn restore_object(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let body = document(request, Operation::RestoreObject).await?;
    verify_claims(request, &body)?;
    let input = parse_restore_object(&wire_request(request), &body).map_err(from_wire)?;
    let asked = input.restore_request.ok_or_else(malformed_xml)?;
    if asked.type_.is_some() || asked.select_parameters.is_some() || asked.output_location.is_some() {
        return Err(not_implemented());
    }
    let days = asked.days.ok_or_else(malformed_xml)?;
    let days = match u32::try_from(days) {
        Ok(days @ 1..=DAYS_MAX) => days,
        _ => return Err(invalid_argument("Days", &days.to_string(), "restoration days should be at least 1")),
    };
    let object = named_object(request)?;
    let restored = s3.service.restore(&object, days).await;
    let readable = restored.map_err(|failure| {
        with_version(from_service(failure, Subject::object(&object.bucket, &object.key)), request)
    })?;
    Ok(empty(if readable { StatusCode::OK } else { StatusCode::ACCEPTED }))
}

/// The archived objects of a page, for a request that asks what was restored: the rows of a listing do not have it, so
/// each of them is looked up. `entries` are keys, storage classes and versions.
pub(crate) fn archived<'a>(
    request: &ApiRequest,
    bucket: &str,
    entries: impl Iterator<Item = (&'a str, &'a str, Option<VersionRef>)>,
) -> S3Result<Vec<Option<ObjectRef>>> {
    let asked = text(&request.headers, OPTIONAL)?.unwrap_or_default();
    let names: Vec<&str> = asked.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(unknown) = names.into_iter().find(|name| *name != "RestoreStatus") {
        return Err(invalid_argument(OPTIONAL, unknown, "Invalid attribute name specified"));
    }
    let object = |(key, class, version): (&str, &str, Option<VersionRef>)| {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        is_archive(class).then_some(ObjectRef { bucket, key, version })
    };
    Ok(entries.map(object).collect())
}

/// Until when these objects can be read.
pub(crate) async fn statuses(s3: &S3, objects: Vec<Option<ObjectRef>>) -> Vec<Option<types::RestoreStatus>> {
    let lookups: Vec<_> = objects.into_iter().map(|object| status_of(s3, object)).collect();
    futures::stream::iter(lookups).buffered(LOOKUPS_IN_FLIGHT_MAX).collect().await
}

async fn status_of(s3: &S3, object: Option<ObjectRef>) -> Option<types::RestoreStatus> {
    // What has gone since it was listed was not restored.
    let until = s3.service.object_info(&object?).await.ok()?.restored_until?;
    Some(types::RestoreStatus { is_restore_in_progress: Some(false), restore_expiry_date: Some(timestamp(until)) })
}
