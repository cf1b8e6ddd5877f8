//! Object lock in headers: what a write asks for, what a read tells, who may bypass.

use http::header::{HeaderMap, HeaderName};
use karri_objstore_gateway::ApiRequest;
use karri_objstore_service::{LockMode, ObjectLock, Retention};
use karri_ring_types::Timestamp;

use crate::S3;
use crate::authorize::Target;
use crate::convert::timestamp;
use crate::error::{S3Result, invalid_argument};
use crate::headers::text;
use crate::response::set;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const HOLD: &str = "x-amz-object-lock-legal-hold";
const BYPASS: &str = "x-amz-bypass-governance-retention";

/// The lock that a write asks for.
pub(crate) fn asked_lock(headers: &HeaderMap) -> S3Result<ObjectLock> {
    let legal_hold = match text(headers, HOLD)? {
        None => None,
        Some("ON") => Some(true),
        Some("OFF") => Some(false),
        Some(other) => return Err(invalid_argument(HOLD, other, "Legal Hold must be either of 'ON' or 'OFF'")),
    };
    let retention = match (text(headers, MODE)?, text(headers, UNTIL)?) {
        (None, None) => None,
        (Some(mode), Some(until)) => Some(Retention { mode: parse_mode(mode)?, until: parse_until(until)? }),
        (mode, _) => {
            let missing = if mode.is_some() { UNTIL } else { MODE };
            let message = format!("{UNTIL} and {MODE} must both be supplied");
            return Err(invalid_argument(missing, "", message));
        }
    };
    Ok(ObjectLock { retention, legal_hold })
}

fn parse_mode(text: &str) -> S3Result<LockMode> {
    match text {
        "GOVERNANCE" => Ok(LockMode::Governance),
        "COMPLIANCE" => Ok(LockMode::Compliance),
        other => Err(invalid_argument(MODE, other, "Unknown wormMode directive.")),
    }
}

fn parse_until(text: &str) -> S3Result<Timestamp> {
    let parsed = karri_objstore_wire::Timestamp::parse_iso8601(text);
    let millis = parsed.and_then(|time| u64::try_from(time.millis()).ok());
    let message = "The retain until date must be provided in ISO 8601 format";
    millis.map(Timestamp).map(whole_second).ok_or_else(|| invalid_argument(UNTIL, text, message))
}

/// Times are told in whole seconds, so a version is kept until a whole one: who waits for that time has waited enough.
pub(crate) fn whole_second(until: Timestamp) -> Timestamp {
    Timestamp(until.as_millis().div_ceil(1000).saturating_mul(1000))
}

/// Mode as headers and documents have it.
pub(crate) fn mode_name(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Governance => "GOVERNANCE",
        LockMode::Compliance => "COMPLIANCE",
    }
}

/// Tells the lock of a version.
pub(crate) fn describe_lock(headers: &mut HeaderMap, lock: &ObjectLock) {
    if let Some(retention) = lock.retention {
        set(headers, HeaderName::from_static(MODE), mode_name(retention.mode));
        set(headers, HeaderName::from_static(UNTIL), &timestamp(retention.until).iso8601());
    }
    if let Some(on) = lock.legal_hold {
        set(headers, HeaderName::from_static(HOLD), if on { "ON" } else { "OFF" });
    }
}

/// Whether a request asks to bypass governance locks; who asks must be allowed to.
pub(crate) async fn asked_bypass(s3: &S3, request: &ApiRequest, bucket: &str, key: Option<&str>) -> S3Result<bool> {
    let asked = text(&request.headers, BYPASS)?.is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if asked {
        let target = Target { bucket, key, version: None };
        s3.authorize(request, "s3:BypassGovernanceRetention", &target).await?;
    }
    Ok(asked)
}
