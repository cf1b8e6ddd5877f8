//! OpenID Connect providers.

use std::sync::Arc;

use karri_iam_wire::WireError;
use karri_iam_wire::iam::{ErrorCode, types as t};

use super::{Answer, Call, answers, over_quota, tags, wire_tags};
use crate::change::Change;
use crate::model::OidcProvider;
use crate::state::Account;

const PROVIDERS_MAX: usize = 100;
const CLIENT_IDS_MAX: usize = 100;
const THUMBPRINTS_MAX: usize = 5;
const THUMBPRINT_LENGTH: usize = 40;

fn arn(account_id: &str, provider: &str) -> String {
    format!("arn:aws:iam::{account_id}:oidc-provider/{provider}")
}

fn missing(arn: &str) -> WireError {
    ErrorCode::NoSuchEntity.with(format!("OpenIDConnect Provider not found for arn {arn}"))
}

/// The provider with this ARN.
pub(crate) fn find<'a>(account: &'a Account, wanted: &str) -> Answer<&'a Arc<OidcProvider>> {
    let prefix = arn(&account.id, "");
    let name = wanted.strip_prefix(&prefix).ok_or_else(|| missing(wanted))?;
    account.providers.get(name).ok_or_else(|| missing(wanted))
}

/// `https://host/path` without its scheme and a slash at the end.
fn host_and_path(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://")?.trim_end_matches('/');
    let host = rest.split('/').next()?;
    let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b));
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\\\"<>".contains(&byte));
    (is_host && is_plain).then(|| rest.to_owned())
}

fn check_lists(client_ids: &[String], thumbprints: &[String]) -> Answer<()> {
    if client_ids.len() > CLIENT_IDS_MAX {
        return Err(over_quota("ClientIdsPerOpenIdConnectProvider", CLIENT_IDS_MAX));
    }
    if thumbprints.len() > THUMBPRINTS_MAX {
        return Err(
            ErrorCode::InvalidInput.with(format!("Thumbprint list must contain fewer than {THUMBPRINTS_MAX} entries."))
        );
    }
    // AWS's own examples are not hexadecimal: what is none matches no certificate.
    let is_long = |text: &String| text.len() == THUMBPRINT_LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if !thumbprints.iter().all(is_long) {
        return Err(ErrorCode::InvalidInput.with("Thumbprint is not of a valid format"));
    }
    Ok(())
}

pub(super) async fn create_open_id_connect_provider(
    call: &Call<'_>,
    input: t::CreateOpenIdConnectProviderInput,
) -> Answer<t::CreateOpenIdConnectProviderOutput> {
    let name = host_and_path(&input.url);
    let arn = arn(call.account_id(), name.as_deref().unwrap_or(""));
    call.authorize_new(&arn, ("iam:TagOpenIDConnectProvider", &input.tags), None)?;
    let name = name.ok_or_else(|| ErrorCode::ValidationError.with("Invalid Open ID Connect Provider URL"))?;
    check_lists(&input.client_id_list, &input.thumbprint_list)?;
    let tags = tags::checked(input.tags)?;
    call.change(|change| {
        if change.providers.contains_key(&name) {
            let message = "Provider with url already exists.";
            return Err(ErrorCode::EntityAlreadyExists.with(message));
        }
        if change.providers.len() >= PROVIDERS_MAX {
            return Err(over_quota("OpenIdConnectProvidersPerAccount", PROVIDERS_MAX));
        }
        let provider = OidcProvider {
            host_and_path: name.clone(),
            client_ids: input.client_id_list.clone(),
            thumbprints: input.thumbprint_list.clone(),
            created: change.now(),
            tags: tags.clone(),
        };
        let tags = wire_tags(&provider.tags);
        change.put(provider);
        Ok(t::CreateOpenIdConnectProviderOutput { open_id_connect_provider_arn: Some(arn.clone()), tags })
    })
    .await
}

pub(super) async fn get_open_id_connect_provider(
    call: &Call<'_>,
    input: t::GetOpenIdConnectProviderInput,
) -> Answer<t::GetOpenIdConnectProviderOutput> {
    call.authorize(&input.open_id_connect_provider_arn)?;
    let account = call.account()?;
    let provider = find(&account, &input.open_id_connect_provider_arn)?;
    Ok(t::GetOpenIdConnectProviderOutput {
        url: Some(provider.host_and_path.clone()),
        client_id_list: provider.client_ids.clone(),
        thumbprint_list: provider.thumbprints.clone(),
        create_date: Some(answers::time(provider.created)),
        tags: wire_tags(&provider.tags),
    })
}

pub(super) async fn list_open_id_connect_providers(
    call: &Call<'_>,
    _: t::ListOpenIdConnectProvidersInput,
) -> Answer<t::ListOpenIdConnectProvidersOutput> {
    call.authorize("*")?;
    let account = call.account()?;
    let entry = |name: &String| t::OpenIdConnectProviderListEntry { arn: Some(arn(&account.id, name)) };
    let open_id_connect_provider_list = account.providers.keys().map(entry).collect();
    Ok(t::ListOpenIdConnectProvidersOutput { open_id_connect_provider_list })
}

pub(super) async fn delete_open_id_connect_provider(
    call: &Call<'_>,
    input: t::DeleteOpenIdConnectProviderInput,
) -> Answer<()> {
    call.authorize(&input.open_id_connect_provider_arn)?;
    call.change(|change| {
        let provider = find(change, &input.open_id_connect_provider_arn)?.clone();
        change.remove(&*provider);
        Ok(())
    })
    .await
}

async fn edit(call: &Call<'_>, arn: &str, edit: impl Fn(&mut OidcProvider) -> Answer<()>) -> Answer<()> {
    call.authorize(arn)?;
    call.change(|change: &mut Change| {
        let mut provider = (**find(change, arn)?).clone();
        edit(&mut provider)?;
        change.put(provider);
        Ok(())
    })
    .await
}

pub(super) async fn add_client_id_to_open_id_connect_provider(
    call: &Call<'_>,
    input: t::AddClientIdToOpenIdConnectProviderInput,
) -> Answer<()> {
    edit(call, &input.open_id_connect_provider_arn, |provider| {
        if !provider.client_ids.contains(&input.client_id) {
            provider.client_ids.push(input.client_id.clone());
        }
        check_lists(&provider.client_ids, &[])
    })
    .await
}

pub(super) async fn remove_client_id_from_open_id_connect_provider(
    call: &Call<'_>,
    input: t::RemoveClientIdFromOpenIdConnectProviderInput,
) -> Answer<()> {
    edit(call, &input.open_id_connect_provider_arn, |provider| {
        provider.client_ids.retain(|id| *id != input.client_id);
        Ok(())
    })
    .await
}

pub(super) async fn update_open_id_connect_provider_thumbprint(
    call: &Call<'_>,
    input: t::UpdateOpenIdConnectProviderThumbprintInput,
) -> Answer<()> {
    edit(call, &input.open_id_connect_provider_arn, |provider| {
        check_lists(&[], &input.thumbprint_list)?;
        provider.thumbprints = input.thumbprint_list.clone();
        Ok(())
    })
    .await
}
