//! Policies of keys.

use karri_iam_wire::kms::{ErrorCode, types as t};

use super::keys::parse_policy;
use super::{Call, paging};
use crate::Answer;
use crate::access::Use;
use crate::find::Found;

/// The only name that a key's policy has.
const NAME: &str = "default";
/// Bytes of a policy.
const POLICY_BYTES_MAX: usize = 32 << 10;

/// Refuses a policy that cannot be read, or by which the caller could not change it again.
pub(super) fn check(call: &Call<'_>, found: &Found, text: &str, bypass: Option<bool>) -> Answer<()> {
    if text.len() > POLICY_BYTES_MAX {
        let message = format!("The policy is longer than {POLICY_BYTES_MAX} bytes.");
        return Err(ErrorCode::LimitExceededException.with(message));
    }
    let policy = parse_policy(text)?;
    if bypass == Some(true) {
        return Ok(());
    }
    let allowed = call.kms.authorize_by(call.asker, found, &Use::of("kms:PutKeyPolicy"), &policy);
    allowed.map_err(|_| {
        ErrorCode::MalformedPolicyDocumentException
            .with("The new key policy will not allow you to update the key policy in the future.")
    })
}

fn check_name(name: Option<&str>) -> Answer<()> {
    match name {
        None | Some(NAME) => Ok(()),
        Some(_) => Err(ErrorCode::NotFoundException.with("No such policy exists")),
    }
}

pub(super) async fn get(call: &Call<'_>, input: t::GetKeyPolicyInput) -> Answer<t::GetKeyPolicyOutput> {
    let found = call.find_own(&input.key_id, "kms:GetKeyPolicy").await?;
    check_name(input.policy_name.as_deref())?;
    Ok(t::GetKeyPolicyOutput { policy: Some(found.key.policy.clone()), policy_name: Some(NAME.to_owned()) })
}

pub(super) async fn put(call: &Call<'_>, input: t::PutKeyPolicyInput) -> Answer<()> {
    let found = call.find(&input.key_id).await?;
    let bypass = input.bypass_policy_lockout_safety_check;
    let wanted = Use::of("kms:PutKeyPolicy")
        .with("kms:BypassPolicyLockoutSafetyCheck", vec![(bypass == Some(true)).to_string()]);
    call.kms.authorize(call.asker, &found, &wanted)?;
    check_name(input.policy_name.as_deref())?;
    check(call, &found, &input.policy, bypass)?;
    call.edit(&found, |key, _, _| {
        key.policy.clone_from(&input.policy);
        Ok(())
    })
    .await
}

pub(super) async fn list(call: &Call<'_>, input: t::ListKeyPoliciesInput) -> Answer<t::ListKeyPoliciesOutput> {
    call.find_own(&input.key_id, "kms:ListKeyPolicies").await?;
    let names = [(NAME.to_owned(), NAME.to_owned())];
    let page = paging::page(names, input.marker.as_deref(), input.limit)?;
    Ok(t::ListKeyPoliciesOutput { policy_names: page.items, next_marker: page.marker, truncated: page.truncated })
}
