//! Object lock: of buckets, and retention and legal hold of versions.

use http::StatusCode;
use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_service::{
    BucketLock, DefaultRetention, LockMode, ObjectInfo, Retention, RetentionPeriod, ServiceError,
};
use karri_objstore_wire::{
    Operation, parse_put_object_legal_hold, parse_put_object_lock_configuration, parse_put_object_retention, types,
    write_get_object_legal_hold, write_get_object_lock_configuration, write_get_object_retention,
};
use karri_ring_types::Timestamp;

use crate::S3;
use crate::body::{document, verify_claims};
use crate::convert::{integer, timestamp};
use crate::dispatch::{bucket_of, object_of, wire_request};
use crate::error::{S3Result, error, error_with, invalid_argument, malformed_xml};
use crate::fault::{Subject, from_service, from_wire};
use crate::lock::{asked_bypass, whole_second};
use crate::response::{empty, wire};
use crate::subresource::not_implemented;
use crate::version::{named_object, with_version};

/// Longest default retention.
const DAYS_MAX: u32 = 36_500;
const YEARS_MAX: u32 = 100;

/// GetObjectLockConfiguration.
pub(crate) async fn get_configuration(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let state = s3.service.bucket_state(bucket).await;
    let state = state.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    let Some(lock) = state.lock else {
        let message = "Object Lock configuration does not exist for this bucket";
        let extra = [("BucketName", bucket.to_owned())];
        return Err(error_with("ObjectLockConfigurationNotFoundError", 404, message, extra));
    };
    let configuration = types::ObjectLockConfiguration {
        object_lock_enabled: Some(types::ObjectLockEnabled::Enabled),
        rule: lock.default.map(wire_rule),
    };
    Ok(wire(write_get_object_lock_configuration(&types::GetObjectLockConfigurationOutput {
        object_lock_configuration: Some(configuration),
    })))
}

fn wire_rule(default: DefaultRetention) -> types::ObjectLockRule {
    let (days, years) = match default.period {
        RetentionPeriod::Days(days) => (Some(integer(days)), None),
        RetentionPeriod::Years(years) => (None, Some(integer(years))),
    };
    let mode = Some(wire_mode(default.mode));
    let retention = types::DefaultRetention { mode, days, years, ..Default::default() };
    types::ObjectLockRule { default_retention: Some(retention) }
}

fn wire_mode(mode: LockMode) -> types::ObjectLockRetentionMode {
    match mode {
        LockMode::Governance => types::ObjectLockRetentionMode::Governance,
        LockMode::Compliance => types::ObjectLockRetentionMode::Compliance,
    }
}

fn mode(wire: types::ObjectLockRetentionMode) -> LockMode {
    match wire {
        types::ObjectLockRetentionMode::Governance => LockMode::Governance,
        types::ObjectLockRetentionMode::Compliance => LockMode::Compliance,
    }
}

/// PutObjectLockConfiguration.
pub(crate) async fn put_configuration(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let body = document(request, Operation::PutObjectLockConfiguration).await?;
    verify_claims(request, &body)?;
    let input = parse_put_object_lock_configuration(&wire_request(request), &body).map_err(from_wire)?;
    let asked = input.object_lock_configuration.ok_or_else(malformed_xml)?;
    if asked.object_lock_enabled.is_none() {
        return Err(malformed_xml());
    }
    let default = match asked.rule {
        None => None,
        Some(rule) => Some(default_retention(&rule.default_retention.ok_or_else(malformed_xml)?)?),
    };
    let bucket = bucket_of(request)?;
    let done = s3.service.set_bucket_lock(bucket, BucketLock { default }).await;
    done.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    Ok(empty(StatusCode::OK))
}

fn default_retention(asked: &types::DefaultRetention) -> S3Result<DefaultRetention> {
    if asked.default_event_hold.is_some() {
        return Err(not_implemented());
    }
    let mode = mode(asked.mode.ok_or_else(malformed_xml)?);
    let (period, value, max) = match (asked.days, asked.years) {
        (Some(days), None) => (RetentionPeriod::Days(days.unsigned_abs()), days, DAYS_MAX),
        (None, Some(years)) => (RetentionPeriod::Years(years.unsigned_abs()), years, YEARS_MAX),
        _ => return Err(malformed_xml()),
    };
    let invalid = |message: &'static str| error("InvalidRetentionPeriod", 400, message);
    match u32::try_from(value) {
        Ok(0) | Err(_) => Err(invalid("Default retention period must be a positive integer value.")),
        Ok(value) if value > max => Err(invalid("Default retention period is too large.")),
        Ok(_) => Ok(DefaultRetention { mode, period }),
    }
}

/// GetObjectRetention.
pub(crate) async fn get_retention(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let info = lockable(s3, request).await?;
    let retention = info.lock.retention.ok_or_else(not_locked)?;
    let retention = types::ObjectLockRetention {
        mode: Some(wire_mode(retention.mode)),
        retain_until_date: Some(timestamp(retention.until)),
        ..Default::default()
    };
    Ok(wire(write_get_object_retention(&types::GetObjectRetentionOutput { retention: Some(retention) })))
}

/// GetObjectLegalHold.
pub(crate) async fn get_legal_hold(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let info = lockable(s3, request).await?;
    let status = match info.lock.legal_hold.ok_or_else(not_locked)? {
        true => types::ObjectLockLegalHoldStatus::On,
        false => types::ObjectLockLegalHoldStatus::Off,
    };
    let hold = types::ObjectLockLegalHold { status: Some(status) };
    Ok(wire(write_get_object_legal_hold(&types::GetObjectLegalHoldOutput { legal_hold: Some(hold) })))
}

/// What is known of the version, in a bucket that has object lock.
async fn lockable(s3: &S3, request: &ApiRequest) -> S3Result<ObjectInfo> {
    let info = s3.service.object_info(&named_object(request)?).await.map_err(|failure| fault(failure, request))?;
    match info.bucket_has_lock {
        true => Ok(info),
        false => Err(fault(ServiceError::NoObjectLock, request)),
    }
}

fn fault(failure: ServiceError, request: &ApiRequest) -> ApiError {
    match object_of(request) {
        Ok((bucket, key)) => with_version(from_service(failure, Subject::object(bucket, key)), request),
        Err(internal) => internal,
    }
}

fn not_locked() -> ApiError {
    let message = "The specified object does not have a ObjectLock configuration";
    error("NoSuchObjectLockConfiguration", 404, message)
}

/// PutObjectRetention. An empty document takes the retention off.
pub(crate) async fn put_retention(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let body = document(request, Operation::PutObjectRetention).await?;
    verify_claims(request, &body)?;
    let input = parse_put_object_retention(&wire_request(request), &body).map_err(from_wire)?;
    let asked = input.retention.ok_or_else(malformed_xml)?;
    // Locks until an event, which S3 got later.
    if asked.event_hold.is_some() || asked.event_hold_duration.is_some() {
        return Err(not_implemented());
    }
    let retention = match (asked.mode, asked.retain_until_date) {
        (None, None) => None,
        (Some(wire), Some(until)) => {
            let until = u64::try_from(until.millis()).map(Timestamp);
            let past = |_| invalid_argument("RetainUntilDate", "", "The retain until date must be in the future!");
            Some(Retention { mode: mode(wire), until: whole_second(until.map_err(past)?) })
        }
        _ => return Err(malformed_xml()),
    };
    let object = named_object(request)?;
    let bypass = asked_bypass(s3, request, &object.bucket, Some(&object.key)).await?;
    let done = s3.service.set_retention(&object, retention, bypass).await;
    done.map_err(|failure| fault(failure, request))?;
    Ok(empty(StatusCode::OK))
}

/// PutObjectLegalHold.
pub(crate) async fn put_legal_hold(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let body = document(request, Operation::PutObjectLegalHold).await?;
    verify_claims(request, &body)?;
    let input = parse_put_object_legal_hold(&wire_request(request), &body).map_err(from_wire)?;
    let on = match input.legal_hold.and_then(|hold| hold.status) {
        Some(types::ObjectLockLegalHoldStatus::On) => true,
        Some(types::ObjectLockLegalHoldStatus::Off) => false,
        None => return Err(malformed_xml()),
    };
    let done = s3.service.set_legal_hold(&named_object(request)?, on).await;
    done.map_err(|failure| fault(failure, request))?;
    Ok(empty(StatusCode::OK))
}
