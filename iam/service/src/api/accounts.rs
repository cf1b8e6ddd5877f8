//! Accounts, by the cloud's administrator; their aliases; what is in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use karri_iam_wire::WireError;
use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{ADMIN_ACCOUNT, Answer, Call, answers, record};
use crate::change::Change;
use crate::ids;
use crate::model::{AccountRecord, SecretsOfUser};
use crate::state::Account;
use crate::view::View;

/// Accounts of the cloud.
const ACCOUNTS_MAX: usize = 10_000;

fn shown(record: &AccountRecord) -> t::Account {
    t::Account {
        account_name: record.alias.clone().unwrap_or_else(|| record.id.clone()),
        account_id: record.id.clone(),
        canonical_id: record.canonical_id.clone(),
        arn: format!("arn:aws:iam::{}:root", record.id),
        email: record.email.clone(),
        create_date: answers::time(record.created),
    }
}

fn taken(name: &str) -> WireError {
    ErrorCode::EntityAlreadyExists.with(format!("The account alias {name} already exists."))
}

/// Makes an account in an empty place.
pub(crate) fn create(
    change: &mut Change,
    view: &View,
    name: Option<&str>,
    email: Option<&str>,
    root: SecretsOfUser,
) -> Answer<Arc<AccountRecord>> {
    if let Some(name) = name.filter(|name| view.account_by_alias(name).is_some()) {
        return Err(taken(name));
    }
    if let Some(email) = email.filter(|email| view.account_by_email(email).is_some()) {
        let message = format!("An account with the e-mail address {email} already exists.");
        return Err(ErrorCode::EntityAlreadyExists.with(message));
    }
    let record = AccountRecord {
        id: change.id.clone(),
        canonical_id: ids::canonical(&change.id),
        alias: name.map(str::to_owned),
        email: email.map(str::to_owned),
        created: change.now(),
        root,
        password_policy: None,
        policies: BTreeMap::new(),
        report: None,
    };
    change.put(record.clone());
    Ok(Arc::new(record))
}

pub(super) async fn create_account(call: &Call<'_>, input: t::CreateAccountInput) -> Answer<t::CreateAccountOutput> {
    call.require_administrator()?;
    call.authorize(&call.arn("account", "/", &input.account_name))?;
    if call.view().accounts().len() >= ACCOUNTS_MAX {
        return Err(super::over_quota("Accounts", ACCOUNTS_MAX));
    }
    let id = unused_id(call);
    let record = call
        .store()
        .change_where(&id, true, |change, view| {
            if change.record().is_some() {
                // Ours, had an answer been lost; ids are random.
                return Err(taken(&input.account_name));
            }
            create(change, view, Some(&input.account_name), input.email.as_deref(), SecretsOfUser::default())
        })
        .await?;
    Ok(t::CreateAccountOutput { account: shown(&record) })
}

fn unused_id(call: &Call<'_>) -> String {
    loop {
        let id = ids::account(call.store().rng());
        if call.view().account(&id).is_none() {
            return id;
        }
    }
}

pub(super) async fn list_accounts(call: &Call<'_>, input: t::ListAccountsInput) -> Answer<t::ListAccountsOutput> {
    call.require_administrator()?;
    call.authorize("*")?;
    let accounts = call.view().accounts();
    let accounts = accounts.iter().filter_map(|account| Some((account.id.clone(), shown(account.record()?))));
    let page = page(accounts, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListAccountsOutput { accounts: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

fn is_empty(account: &Account) -> bool {
    account.users.is_empty()
        && account.groups.is_empty()
        && account.roles.is_empty()
        && account.policies.is_empty()
        && account.profiles.is_empty()
        && account.certificates.is_empty()
        && account.providers.is_empty()
        && account.devices.is_empty()
        && account.kms_keys.is_empty()
}

/// The account of this name or number.
pub(super) fn find(call: &Call<'_>, name: &str) -> Answer<Arc<Account>> {
    let found = call.view().account_by_alias(name).or_else(|| call.view().account(name));
    found.ok_or_else(|| ErrorCode::NoSuchEntity.with(format!("The account with name {name} cannot be found.")))
}

pub(super) async fn delete_account(call: &Call<'_>, input: t::DeleteAccountInput) -> Answer<()> {
    call.require_administrator()?;
    call.authorize(&call.arn("account", "/", &input.account_name))?;
    let account = find(call, &input.account_name)?;
    if account.id == ADMIN_ACCOUNT {
        return Err(ErrorCode::DeleteConflict.with("The account of the cloud's administrator cannot be deleted."));
    }
    let canonical_id = &record(&account)?.canonical_id;
    match call.api.usage.owns_something(&account.id, canonical_id).await {
        Ok(false) => {}
        Ok(true) => return Err(ErrorCode::DeleteConflict.with("The account still owns buckets.")),
        Err(error) => {
            tracing::warn!(error, "cannot tell what an account owns");
            return Err(ErrorCode::ServiceUnavailable.into());
        }
    }
    call.store()
        .change_where(&account.id, true, |change, _| {
            if input.recursive != Some(true) && !is_empty(change) {
                return Err(ErrorCode::DeleteConflict.with("The account is not empty."));
            }
            change.remove_all();
            Ok(())
        })
        .await
}

pub(super) async fn create_account_alias(call: &Call<'_>, input: t::CreateAccountAliasInput) -> Answer<()> {
    call.authorize("*")?;
    call.store()
        .change_where(call.account_id(), true, |change, view| {
            let other = view.account_by_alias(&input.account_alias);
            if other.is_some_and(|other| other.id != change.id) {
                return Err(taken(&input.account_alias));
            }
            let mut account = (**record(change)?).clone();
            account.alias = Some(input.account_alias.clone());
            change.put(account);
            Ok(())
        })
        .await
}

pub(super) async fn delete_account_alias(call: &Call<'_>, input: t::DeleteAccountAliasInput) -> Answer<()> {
    call.authorize("*")?;
    call.store()
        .change_where(call.account_id(), true, |change, _| {
            let mut account = (**record(change)?).clone();
            if account.alias.as_deref() != Some(&*input.account_alias) {
                let message = format!("The account alias {} cannot be found.", input.account_alias);
                return Err(ErrorCode::NoSuchEntity.with(message));
            }
            account.alias = None;
            change.put(account);
            Ok(())
        })
        .await
}

pub(super) async fn list_account_aliases(
    call: &Call<'_>,
    input: t::ListAccountAliasesInput,
) -> Answer<t::ListAccountAliasesOutput> {
    call.authorize("*")?;
    let account = call.account()?;
    let aliases = record(&account)?.alias.iter().map(|alias| (alias.clone(), alias.clone()));
    let page = page(aliases, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListAccountAliasesOutput {
        account_aliases: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}
