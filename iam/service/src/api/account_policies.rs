//! Policies of whole accounts, by the cloud's administrator, as Eucalyptus has them: quotas that bind everybody in an
//! account, its root user too.

use karri_iam_policy::{Policy, PolicyKind};
use karri_iam_wire::WireError;
use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{Answer, Call, accounts, answers, inline, record};

/// Characters of all policies of an account together, without white space.
const LENGTH_MAX: usize = 10_240;

fn no_such_policy(name: &str) -> WireError {
    ErrorCode::NoSuchEntity.with(format!("The account policy with name {name} cannot be found."))
}

/// The account that the cloud's administrator names.
fn account(call: &Call<'_>, name: &str) -> Answer<std::sync::Arc<crate::state::Account>> {
    call.require_administrator()?;
    call.authorize(&call.arn("account", "/", name))?;
    accounts::find(call, name)
}

/// What an account may do is not for its own policies to say: they only limit how much.
fn check(document: &str) -> Answer<()> {
    inline::check(document, PolicyKind::Identity)?;
    match Policy::parse(document, PolicyKind::Identity) {
        Ok(policy) if policy.only_sets_quotas() => Ok(()),
        _ => Err(ErrorCode::MalformedPolicyDocument
            .with("The policy of an account sets quotas: each of its statements has the effect Limit.")),
    }
}

pub(super) async fn put_account_policy(call: &Call<'_>, input: t::PutAccountPolicyInput) -> Answer<()> {
    let account = account(call, &input.account_name)?;
    check(&input.policy_document)?;
    call.store()
        .change_where(&account.id, true, |change, _| {
            let mut account = (**record(change)?).clone();
            account.policies.insert(input.policy_name.clone(), input.policy_document.clone());
            if account.policies.values().map(|document| inline::length(document)).sum::<usize>() > LENGTH_MAX {
                let message =
                    format!("Maximum policy size of {LENGTH_MAX} bytes exceeded for account {}", input.account_name);
                return Err(ErrorCode::LimitExceeded.with(message));
            }
            change.put(account);
            Ok(())
        })
        .await
}

pub(super) async fn get_account_policy(
    call: &Call<'_>,
    input: t::GetAccountPolicyInput,
) -> Answer<t::GetAccountPolicyOutput> {
    let account = account(call, &input.account_name)?;
    let document = record(&account)?.policies.get(&input.policy_name);
    let document = document.ok_or_else(|| no_such_policy(&input.policy_name))?;
    Ok(t::GetAccountPolicyOutput {
        account_name: input.account_name,
        policy_name: input.policy_name,
        policy_document: answers::document(document),
    })
}

pub(super) async fn delete_account_policy(call: &Call<'_>, input: t::DeleteAccountPolicyInput) -> Answer<()> {
    let account = account(call, &input.account_name)?;
    call.store()
        .change_where(&account.id, true, |change, _| {
            let mut account = (**record(change)?).clone();
            if account.policies.remove(&input.policy_name).is_none() {
                return Err(no_such_policy(&input.policy_name));
            }
            change.put(account);
            Ok(())
        })
        .await
}

pub(super) async fn list_account_policies(
    call: &Call<'_>,
    input: t::ListAccountPoliciesInput,
) -> Answer<t::ListAccountPoliciesOutput> {
    let account = account(call, &input.account_name)?;
    let names = record(&account)?.policies.keys().map(|name| (name.clone(), name.clone()));
    let page = page(names, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListAccountPoliciesOutput { policy_names: page.items, is_truncated: page.is_truncated, marker: page.marker })
}
