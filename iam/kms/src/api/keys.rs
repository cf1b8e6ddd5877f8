//! Keys themselves.

use karri_iam_policy::{Policy, PolicyKind};
use karri_iam_service::kms_model::{KmsKey, KmsKeyState};
use karri_iam_wire::kms::{ErrorCode, types as t};

use super::paging::page;
use super::{Call, policies, tags, time, validation};
use crate::access::{Use, default_policy};
use crate::ciphertext::uuid;
use crate::find::Found;
use crate::{Answer, Kms};

/// Keys of one account.
const KEYS_MAX: usize = 10_000;
/// Days before a key is deleted: the fewest, the most, and where nothing is said.
const WINDOW_DAYS: (u32, u32, u32) = (7, 30, 30);

impl Kms {
    /// A new UUID (version 4).
    pub(crate) fn new_key_id(&self) -> String {
        let mut bytes = self.store.rng().next_u128().to_be_bytes();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        uuid(bytes)
    }
}

fn metadata(call: &Call<'_>, found: &Found) -> t::KeyMetadata {
    let key = &found.key;
    let (state, deletion) = match key.state {
        KmsKeyState::Enabled => ("Enabled", None),
        KmsKeyState::Disabled => ("Disabled", None),
        KmsKeyState::PendingDeletion { at, .. } => ("PendingDeletion", Some(time(at))),
    };
    t::KeyMetadata {
        aws_account_id: Some(found.account.id.clone()),
        key_id: key.id.clone(),
        arn: Some(call.kms.arn_of(found)),
        creation_date: Some(time(key.created)),
        enabled: Some(key.state == KmsKeyState::Enabled),
        description: Some(key.description.clone()),
        key_usage: Some(t::KeyUsageType::EncryptDecrypt),
        key_state: Some(state.to_owned()),
        deletion_date: deletion,
        origin: Some(t::OriginType::AwsKms),
        key_manager: Some(if key.is_aws_managed { "AWS" } else { "CUSTOMER" }.to_owned()),
        customer_master_key_spec: Some(t::CustomerMasterKeySpec::SymmetricDefault),
        key_spec: Some(t::KeySpec::SymmetricDefault),
        encryption_algorithms: vec![t::EncryptionAlgorithmSpec::SymmetricDefault],
        multi_region: Some(false),
        current_key_material_id: key.materials.last().map(|material| material.id.clone()),
        ..t::KeyMetadata::default()
    }
}

/// Refuses kinds of keys that there are none of here.
fn check_kind(input: &t::CreateKeyInput) -> Answer<()> {
    if input.key_spec.is_some() && input.customer_master_key_spec.is_some() {
        return Err(validation(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.",
        ));
    }
    let spec = input.key_spec.map(t::KeySpec::as_str);
    let spec = spec.or(input.customer_master_key_spec.map(t::CustomerMasterKeySpec::as_str));
    let usage = input.key_usage.unwrap_or(t::KeyUsageType::EncryptDecrypt);
    let unsupported = |what: String| Err(ErrorCode::UnsupportedOperationException.with(what));
    match spec.unwrap_or("SYMMETRIC_DEFAULT") {
        "SYMMETRIC_DEFAULT" if usage == t::KeyUsageType::EncryptDecrypt => {}
        "SYMMETRIC_DEFAULT" => {
            return Err(validation(format!(
                "The KeyUsage {} is not compatible with KeySpec SYMMETRIC_DEFAULT",
                usage.as_str()
            )));
        }
        other => return unsupported(format!("KeySpec {other} is not supported.")),
    }
    match input.origin {
        None | Some(t::OriginType::AwsKms) => {}
        Some(origin) => return unsupported(format!("Origin {} is not supported.", origin.as_str())),
    }
    if input.custom_key_store_id.is_some() || input.xks_key_id.is_some() {
        return unsupported("Custom key stores are not supported.".to_owned());
    }
    if input.multi_region == Some(true) {
        return unsupported("Multi-Region keys are not supported.".to_owned());
    }
    Ok(())
}

pub(super) async fn create(call: &Call<'_>, input: t::CreateKeyInput) -> Answer<t::CreateKeyOutput> {
    check_kind(&input)?;
    let tags = tags::checked(&[], input.tags)?;
    let mut wanted = Use::of("kms:CreateKey")
        .with("kms:KeySpec", vec!["SYMMETRIC_DEFAULT".to_owned()])
        .with("kms:KeyUsage", vec!["ENCRYPT_DECRYPT".to_owned()])
        .with("kms:KeyOrigin", vec!["AWS_KMS".to_owned()]);
    wanted = tags::with_request_tags(wanted, &tags);
    call.kms.authorize_own(call.asker, "*", &wanted)?;
    if !tags.is_empty() {
        let also = tags::with_request_tags(Use::of("kms:TagResource"), &tags);
        call.kms.authorize_own(call.asker, &call.kms.key_arn(call.account_id(), "*"), &also)?;
    }
    let now = call.kms.now();
    let id = call.kms.new_key_id();
    let account = call.account()?;
    let key = KmsKey {
        created: now,
        description: input.description.unwrap_or_default(),
        state: KmsKeyState::Enabled,
        is_aws_managed: false,
        policy: input.policy.unwrap_or_else(|| default_policy(&account.id)),
        tags,
        materials: vec![call.kms.new_material(&account.id, &id, now, false)],
        rotation: None,
        grants: Vec::new(),
        id,
    };
    let found = Found { account, key: key.clone().into(), alias: None };
    policies::check(call, &found, &key.policy, input.bypass_policy_lockout_safety_check)?;
    call.kms
        .store
        .change(call.account_id(), |change| {
            if change.kms_keys.len() >= KEYS_MAX {
                return Err(ErrorCode::LimitExceededException.with(format!("An account has at most {KEYS_MAX} keys.")));
            }
            change.put(key.clone());
            Ok(())
        })
        .await?;
    Ok(t::CreateKeyOutput { key_metadata: Some(metadata(call, &found)) })
}

pub(super) async fn describe(call: &Call<'_>, input: t::DescribeKeyInput) -> Answer<t::DescribeKeyOutput> {
    let found = call.find_for(&input.key_id, "kms:DescribeKey").await?;
    Ok(t::DescribeKeyOutput { key_metadata: Some(metadata(call, &found)) })
}

pub(super) async fn list(call: &Call<'_>, input: t::ListKeysInput) -> Answer<t::ListKeysOutput> {
    call.kms.authorize_own(call.asker, "*", &Use::of("kms:ListKeys"))?;
    let account = call.account()?;
    let entry =
        |id: &String| t::KeyListEntry { key_id: Some(id.clone()), key_arn: Some(call.kms.key_arn(&account.id, id)) };
    let keys = account.kms_keys.keys().map(|id| (id.clone(), entry(id)));
    let page = page(keys, input.marker.as_deref(), input.limit)?;
    Ok(t::ListKeysOutput { keys: page.items, next_marker: page.marker, truncated: page.truncated })
}

pub(super) async fn enable(call: &Call<'_>, input: t::EnableKeyInput) -> Answer<()> {
    set_state(call, &input.key_id, "kms:EnableKey", KmsKeyState::Enabled).await
}

pub(super) async fn disable(call: &Call<'_>, input: t::DisableKeyInput) -> Answer<()> {
    set_state(call, &input.key_id, "kms:DisableKey", KmsKeyState::Disabled).await
}

async fn set_state(call: &Call<'_>, key_id: &str, action: &str, state: KmsKeyState) -> Answer<()> {
    let found = call.find_own(key_id, action).await?;
    call.edit(&found, |key, _, newest| {
        call.kms.require_staying(newest)?;
        key.state = state;
        Ok(())
    })
    .await
}

pub(super) async fn schedule_deletion(
    call: &Call<'_>,
    input: t::ScheduleKeyDeletionInput,
) -> Answer<t::ScheduleKeyDeletionOutput> {
    let (least, most, usual) = WINDOW_DAYS;
    let days = input.pending_window_in_days.map_or(Some(usual), |days| u32::try_from(days).ok());
    let days = days.filter(|days| (least..=most).contains(days));
    let days = days.ok_or_else(|| validation(format!("PendingWindowInDays must be between {least} and {most}")))?;
    let found = call.find(&input.key_id).await?;
    let wanted =
        Use::of("kms:ScheduleKeyDeletion").with("kms:ScheduleKeyDeletionPendingWindowInDays", vec![days.to_string()]);
    call.kms.authorize(call.asker, &found, &wanted)?;
    let at = call
        .edit(&found, |key, change, newest| {
            call.kms.require_staying(newest)?;
            let at = call.kms.days_after(change.now(), days);
            key.state = KmsKeyState::PendingDeletion { at, window_days: days };
            Ok(at)
        })
        .await?;
    Ok(t::ScheduleKeyDeletionOutput {
        key_id: Some(call.kms.arn_of(&found)),
        deletion_date: Some(time(at)),
        key_state: Some("PendingDeletion".to_owned()),
        pending_window_in_days: i32::try_from(days).ok(),
    })
}

pub(super) async fn cancel_deletion(
    call: &Call<'_>,
    input: t::CancelKeyDeletionInput,
) -> Answer<t::CancelKeyDeletionOutput> {
    let found = call.find_own(&input.key_id, "kms:CancelKeyDeletion").await?;
    let arn = call.kms.arn_of(&found);
    call.edit(&found, |key, _, _| match key.state {
        KmsKeyState::PendingDeletion { .. } => {
            key.state = KmsKeyState::Disabled;
            Ok(())
        }
        _ => Err(ErrorCode::KMSInvalidStateException.with(format!("{arn} is not pending deletion."))),
    })
    .await?;
    Ok(t::CancelKeyDeletionOutput { key_id: Some(arn.clone()) })
}

pub(super) async fn update_description(call: &Call<'_>, input: t::UpdateKeyDescriptionInput) -> Answer<()> {
    let found = call.find_own(&input.key_id, "kms:UpdateKeyDescription").await?;
    call.edit(&found, |key, _, newest| {
        call.kms.require_staying(newest)?;
        key.description.clone_from(&input.description);
        Ok(())
    })
    .await
}

/// A policy that was checked when it was stored.
pub(super) fn parse_policy(text: &str) -> Answer<Policy> {
    Policy::parse(text, PolicyKind::Key)
        .map_err(|error| ErrorCode::MalformedPolicyDocumentException.with(error.to_string()))
}
