//! RestoreObject. Archived objects are where the others are: a restore takes no time, and only says how long the object
//! can be read.

use http::StatusCode;
use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_wire::{Operation, parse_restore_object};

use crate::S3;
use crate::body::{document, verify_claims};
use crate::dispatch::wire_request;
use crate::error::{S3Result, invalid_argument, malformed_xml};
use crate::fault::{Subject, from_service, from_wire};
use crate::response::empty;
use crate::subresource::not_implemented;
use crate::version::{named_object, with_version};

/// Most days for which an object is restored.
const DAYS_MAX: u32 = 30_000;

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
