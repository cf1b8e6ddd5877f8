//! A second factor that a call brings with it.

use karri_iam_policy::PrincipalKind;
use karri_iam_wire::WireError;
use karri_iam_wire::sts::ErrorCode;

use super::{Answer, Call};
use crate::api::mfa::{attempt_key, find, open_seed};
use crate::model::MfaOwner;
use crate::totp;

fn failed() -> WireError {
    ErrorCode::AccessDenied.with("MultiFactorAuthentication failed with invalid MFA one time pass code. ")
}

/// When the caller proved its second factor: now, if it brings one; a wrong one is refused, and none is taken twice.
pub(super) async fn verify(call: &Call<'_>, serial: Option<String>, code: Option<String>) -> Answer<Option<u64>> {
    let (serial, code) = match (serial, code) {
        (None, None) => return Ok(None),
        (Some(serial), Some(code)) => (serial, code),
        _ => return Err(WireError::validation("SerialNumber and TokenCode must be given together.")),
    };
    let caller = call.caller()?;
    let owner = match &caller.kind {
        PrincipalKind::AccountRoot => MfaOwner::Root,
        PrincipalKind::User => MfaOwner::User(caller.unique_id.clone()),
        _ => return Err(failed()),
    };
    let tried = attempt_key(&caller.account_id, &owner, &serial);
    if !call.store().attempts().begin(&tried, call.store().clock().monotonic()) {
        return Err(failed());
    }
    call.store()
        .change(&caller.account_id, |change| {
            let mut device = (**find(change, &serial).map_err(|_| failed())?).clone();
            if device.owner.as_ref() != Some(&owner) {
                return Err(failed());
            }
            let seed = open_seed(call.store().view(), &change.id, &device)?;
            let step = totp::match_one(&seed, change.now(), device.drift_steps, device.last_step, &code);
            device.last_step = step.ok_or_else(failed)?;
            change.put(device);
            Ok::<_, WireError>(())
        })
        .await?;
    call.store().attempts().was_right(&tried);
    Ok(Some(call.now))
}
