//! Other names of keys.

use karri_iam_service::kms_model::KmsAlias;
use karri_iam_wire::kms::{ErrorCode, types as t};

use super::paging::page;
use super::{Call, time, validation};
use crate::Answer;
use crate::access::Use;
use crate::find::Found;

/// What all aliases begin with.
const PREFIX: &str = "alias/";
/// What those of the services of the cloud begin with.
const RESERVED: &str = "alias/aws/";
/// Aliases of one key.
const ALIASES_OF_KEY_MAX: usize = 50;

fn check_name(name: &str) -> Answer<()> {
    match name.strip_prefix(PREFIX) {
        None | Some("") => Err(validation("Invalid identifier")),
        Some(_) if name.starts_with(RESERVED) => Err(ErrorCode::NotAuthorizedException.into()),
        Some(rest) if rest.contains(':') => {
            Err(ErrorCode::InvalidAliasNameException.with(format!("{name} contains invalid characters for an alias")))
        }
        Some(_) => Ok(()),
    }
}

/// Refuses whoever may not do this to both the alias and the key.
fn authorize(call: &Call<'_>, alias: &str, found: &Found, action: &str) -> Answer<()> {
    let arn = call.kms.alias_arn(call.account_id(), alias);
    call.kms.authorize_own(call.asker, &arn, &Use::of(action))?;
    call.kms.authorize(call.asker, found, &Use::of(action))
}

/// The key of the caller's own account that an alias is to name.
async fn target(call: &Call<'_>, key: &str) -> Answer<Found> {
    if key.contains(PREFIX) {
        return Err(validation("Aliases must refer to keys. Not aliases"));
    }
    let found = call.find(key).await?;
    if found.account.id != call.account_id() {
        let message = format!("Key '{}' does not exist", call.kms.arn_of(&found));
        return Err(ErrorCode::NotFoundException.with(message));
    }
    Ok(found)
}

pub(super) async fn create(call: &Call<'_>, input: t::CreateAliasInput) -> Answer<()> {
    check_name(&input.alias_name)?;
    let found = target(call, &input.target_key_id).await?;
    authorize(call, &input.alias_name, &found, "kms:CreateAlias")?;
    put(call, &found, &input.alias_name, false).await
}

pub(super) async fn update(call: &Call<'_>, input: t::UpdateAliasInput) -> Answer<()> {
    check_name(&input.alias_name)?;
    let old = call.find(&input.alias_name).await?;
    let found = target(call, &input.target_key_id).await?;
    authorize(call, &input.alias_name, &old, "kms:UpdateAlias")?;
    call.kms.authorize(call.asker, &found, &Use::of("kms:UpdateAlias"))?;
    put(call, &found, &input.alias_name, true).await
}

async fn put(call: &Call<'_>, found: &Found, name: &str, is_known: bool) -> Answer<()> {
    let arn = call.kms.alias_arn(call.account_id(), name);
    call.edit(found, |_, _, newest| call.kms.require_staying(newest)).await?;
    call.kms
        .store
        .change(call.account_id(), |change| {
            let now = change.now();
            let known = change.kms_aliases.get(name).cloned();
            let created = match (&known, is_known) {
                (Some(_), false) => {
                    let message = format!("An alias with the name {arn} already exists");
                    return Err(ErrorCode::AlreadyExistsException.with(message));
                }
                (None, true) => return Err(ErrorCode::NotFoundException.with(format!("Alias {arn} is not found."))),
                (Some(known), true) => known.created,
                (None, false) => now,
            };
            let others = change.kms_aliases.values().filter(|alias| alias.key_id == found.key.id && alias.name != name);
            if others.count() >= ALIASES_OF_KEY_MAX {
                let message = format!("A key has at most {ALIASES_OF_KEY_MAX} aliases.");
                return Err(ErrorCode::LimitExceededException.with(message));
            }
            change.put(KmsAlias { name: name.to_owned(), key_id: found.key.id.clone(), created, updated: now });
            Ok(())
        })
        .await
}

pub(super) async fn delete(call: &Call<'_>, input: t::DeleteAliasInput) -> Answer<()> {
    check_name(&input.alias_name)?;
    let found = call.find(&input.alias_name).await?;
    authorize(call, &input.alias_name, &found, "kms:DeleteAlias")?;
    let arn = call.kms.alias_arn(call.account_id(), &input.alias_name);
    call.kms
        .store
        .change(call.account_id(), |change| match change.kms_aliases.get(&input.alias_name).cloned() {
            Some(alias) => {
                change.remove(&*alias);
                Ok(())
            }
            None => Err(ErrorCode::NotFoundException.with(format!("Alias {arn} is not found."))),
        })
        .await
}

pub(super) async fn list(call: &Call<'_>, input: t::ListAliasesInput) -> Answer<t::ListAliasesOutput> {
    call.kms.authorize_own(call.asker, "*", &Use::of("kms:ListAliases"))?;
    let account = call.account()?;
    let key = match &input.key_id {
        Some(name) => Some(call.find(name).await?.key.id.clone()),
        None => None,
    };
    let aliases = account.kms_aliases.values().filter(|alias| key.as_ref().is_none_or(|key| *key == alias.key_id));
    let entry = |alias: &KmsAlias| t::AliasListEntry {
        alias_name: Some(alias.name.clone()),
        alias_arn: Some(call.kms.alias_arn(&account.id, &alias.name)),
        target_key_id: Some(alias.key_id.clone()),
        creation_date: Some(time(alias.created)),
        last_updated_date: Some(time(alias.updated)),
    };
    let page = page(aliases.map(|alias| (alias.name.clone(), entry(alias))), input.marker.as_deref(), input.limit)?;
    Ok(t::ListAliasesOutput { aliases: page.items, next_marker: page.marker, truncated: page.truncated })
}
