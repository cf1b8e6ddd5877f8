//! New versions of keys.

use karri_iam_service::kms_model::{KmsMaterial, KmsRotation};
use karri_iam_wire::kms::{ErrorCode, types as t};

use super::paging::page;
use super::{Call, time};
use crate::Answer;
use crate::find::Found;

/// Days between automatic rotations where nothing is said.
const PERIOD_DAYS_DEFAULT: u32 = 365;
/// Rotations of one key that somebody may ask for.
const ON_DEMAND_MAX: usize = 25;

/// Refuses keys that the cloud rotates by itself.
fn require_customer_key(call: &Call<'_>, found: &Found) -> Answer<()> {
    if !found.key.is_aws_managed {
        return Ok(());
    }
    let message = format!("{} is managed by the cloud.", call.kms.arn_of(found));
    Err(ErrorCode::UnsupportedOperationException.with(message))
}

pub(super) async fn enable(call: &Call<'_>, input: t::EnableKeyRotationInput) -> Answer<()> {
    let found = call.find_own(&input.key_id, "kms:EnableKeyRotation").await?;
    require_customer_key(call, &found)?;
    let days = input.rotation_period_in_days.and_then(|days| u32::try_from(days).ok());
    call.edit(&found, |key, change, newest| {
        call.kms.require_usable(newest)?;
        let kept = key.rotation.map(|rotation| rotation.period_days);
        let period_days = days.or(kept).unwrap_or(PERIOD_DAYS_DEFAULT);
        if kept != Some(period_days) {
            let next = call.kms.days_after(change.now(), period_days);
            key.rotation = Some(KmsRotation { period_days, next });
        }
        Ok(())
    })
    .await
}

pub(super) async fn disable(call: &Call<'_>, input: t::DisableKeyRotationInput) -> Answer<()> {
    let found = call.find_own(&input.key_id, "kms:DisableKeyRotation").await?;
    require_customer_key(call, &found)?;
    call.edit(&found, |key, _, newest| {
        call.kms.require_usable(newest)?;
        key.rotation = None;
        Ok(())
    })
    .await
}

pub(super) async fn status(
    call: &Call<'_>,
    input: t::GetKeyRotationStatusInput,
) -> Answer<t::GetKeyRotationStatusOutput> {
    let found = call.find_for(&input.key_id, "kms:GetKeyRotationStatus").await?;
    let rotation = found.key.rotation;
    Ok(t::GetKeyRotationStatusOutput {
        key_rotation_enabled: Some(rotation.is_some()),
        key_id: Some(call.kms.arn_of(&found)),
        rotation_period_in_days: rotation.and_then(|rotation| i32::try_from(rotation.period_days).ok()),
        next_rotation_date: rotation.map(|rotation| time(rotation.next)),
        on_demand_rotation_start_date: None,
    })
}

pub(super) async fn on_demand(call: &Call<'_>, input: t::RotateKeyOnDemandInput) -> Answer<t::RotateKeyOnDemandOutput> {
    let found = call.find_own(&input.key_id, "kms:RotateKeyOnDemand").await?;
    require_customer_key(call, &found)?;
    let material = call.kms.new_material(&found.account.id, &found.key.id, call.kms.now(), true);
    call.edit(&found, |key, change, newest| {
        call.kms.require_usable(newest)?;
        if key.materials.iter().filter(|material| material.on_demand).count() >= ON_DEMAND_MAX {
            let message = format!("A key is rotated on demand at most {ON_DEMAND_MAX} times.");
            return Err(ErrorCode::LimitExceededException.with(message));
        }
        key.materials.push(KmsMaterial { since: change.now(), ..material.clone() });
        Ok(())
    })
    .await?;
    Ok(t::RotateKeyOnDemandOutput { key_id: Some(call.kms.arn_of(&found)) })
}

pub(super) async fn list(call: &Call<'_>, input: t::ListKeyRotationsInput) -> Answer<t::ListKeyRotationsOutput> {
    let found = call.find_own(&input.key_id, "kms:ListKeyRotations").await?;
    let with_first = input.include_key_material == Some(t::IncludeKeyMaterial::AllKeyMaterial);
    let last = found.key.materials.len() - 1;
    let entry = |(at, material): (usize, &KmsMaterial)| {
        let rotated = at > 0;
        let kind = if material.on_demand { "ON_DEMAND" } else { "AUTOMATIC" };
        let state = if at == last { "CURRENT" } else { "NON_CURRENT" };
        let entry = t::RotationsListEntry {
            key_id: Some(call.kms.arn_of(&found)),
            key_material_id: Some(material.id.clone()),
            key_material_state: with_first.then(|| state.to_owned()),
            rotation_date: rotated.then(|| time(material.since)),
            rotation_type: rotated.then(|| kind.to_owned()),
            ..t::RotationsListEntry::default()
        };
        (format!("{at:06}"), entry)
    };
    let skipped = usize::from(!with_first);
    let rotations = found.key.materials.iter().enumerate().skip(skipped).map(entry);
    let page = page(rotations, input.marker.as_deref(), input.limit)?;
    Ok(t::ListKeyRotationsOutput { rotations: page.items, next_marker: page.marker, truncated: page.truncated })
}
