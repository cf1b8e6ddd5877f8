//! Roles.

use std::sync::Arc;

use karri_iam_policy::{Policy, PolicyKind, Statement};
use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{Answer, Call, answers, conflict, exists, inline, managed_policies, no_such, over_quota, tags};
use crate::change::Change;
use crate::ids;
use crate::model::{Grants, Role};
use crate::names;
use crate::state::Account;

/// Roles of an account.
pub(super) const ROLES_MAX: usize = 1000;
/// Characters of a trust policy, without white space.
const TRUST_LENGTH_MAX: usize = 4096;
const SESSION_SECONDS_DEFAULT: u32 = 3600;

pub(super) fn find<'a>(account: &'a Account, name: &str) -> Answer<&'a Arc<Role>> {
    account.roles.get(&names::key(name)).ok_or_else(|| no_such("role", name))
}

/// The ARN of a role, of one that is not there too.
pub(super) fn resource(account: &Account, name: &str) -> String {
    match account.roles.get(&names::key(name)) {
        Some(role) => ids::arn(&account.id, "role", &role.path, &role.name),
        None => ids::arn(&account.id, "role", "/", name),
    }
}

/// Refuses a trust policy that is none, is too long, or names somebody who is not there.
fn check_trust(call: &Call<'_>, document: &str) -> Answer<()> {
    let refused = |message: String| ErrorCode::MalformedPolicyDocument.with(message);
    let policy = Policy::parse(document, PolicyKind::Trust).map_err(|error| refused(error.to_string()))?;
    let mut named = policy.statements().iter().flat_map(Statement::aws_principals);
    if let Some(unknown) = named.find(|name| !call.view().principal_exists(name)) {
        return Err(refused(format!("Invalid principal in policy: \"AWS\":\"{unknown}\"")));
    }
    if inline::length(document) > TRUST_LENGTH_MAX {
        return Err(over_quota("ACLSizePerRole", TRUST_LENGTH_MAX));
    }
    Ok(())
}

pub(super) async fn create_role(call: &Call<'_>, input: t::CreateRoleInput) -> Answer<t::CreateRoleOutput> {
    let path = names::path(input.path);
    let boundary = input.permissions_boundary.as_deref().map(|arn| ("iam:PermissionsBoundary", arn));
    call.authorize_new(&call.arn("role", &path, &input.role_name), ("iam:TagRole", &input.tags), boundary)?;
    let tags = tags::checked(input.tags)?;
    check_trust(call, &input.assume_role_policy_document)?;
    let id = ids::unique(call.store().rng(), "AROA");
    let seconds = input.max_session_duration.and_then(|seconds| u32::try_from(seconds).ok());
    call.change(|change| {
        if change.roles.contains_key(&names::key(&input.role_name)) {
            return Err(exists("Role", &input.role_name));
        }
        if change.roles.len() >= ROLES_MAX {
            return Err(over_quota("RolesPerAccount", ROLES_MAX));
        }
        if let Some(arn) = &input.permissions_boundary {
            managed_policies::require(change, arn)?;
        }
        let role = Role {
            name: input.role_name.clone(),
            id: id.clone(),
            path: path.clone(),
            created: change.now(),
            tags: tags.clone(),
            grants: Grants { boundary: input.permissions_boundary.clone(), ..Grants::default() },
            trust: input.assume_role_policy_document.clone(),
            description: input.description.clone(),
            session_seconds_max: seconds.unwrap_or(SESSION_SECONDS_DEFAULT),
        };
        let answer = t::Role { role_last_used: None, ..answers::role(&change.id, &role) };
        change.put(role);
        Ok(t::CreateRoleOutput { role: answer })
    })
    .await
}

pub(super) async fn get_role(call: &Call<'_>, input: t::GetRoleInput) -> Answer<t::GetRoleOutput> {
    let account = call.account()?;
    call.authorize(&resource(&account, &input.role_name))?;
    let role = find(&account, &input.role_name)?;
    let used = call.store().last_used(vec![role.id.clone()]).await?.pop().flatten();
    let mut answer = answers::role(&account.id, role);
    answer.role_last_used = Some(t::RoleLastUsed {
        last_used_date: used.as_ref().map(|used| answers::time(used.at)),
        region: used.map(|used| used.region),
    });
    Ok(t::GetRoleOutput { role: answer })
}

/// Changes a role that is there.
async fn edit(call: &Call<'_>, name: &str, change: impl Fn(&mut Change, &mut Role) -> Answer<()>) -> Answer<()> {
    call.change(|all| {
        let mut role = (**find(all, name)?).clone();
        change(all, &mut role)?;
        all.put(role);
        Ok(())
    })
    .await
}

pub(super) async fn update_role(call: &Call<'_>, input: t::UpdateRoleInput) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.role_name))?;
    edit(call, &input.role_name, |_, role| {
        if input.description.is_some() {
            role.description.clone_from(&input.description);
        }
        if let Some(seconds) = input.max_session_duration.and_then(|seconds| u32::try_from(seconds).ok()) {
            role.session_seconds_max = seconds;
        }
        Ok(())
    })
    .await
}

pub(super) async fn update_role_description(
    call: &Call<'_>,
    input: t::UpdateRoleDescriptionInput,
) -> Answer<t::UpdateRoleDescriptionOutput> {
    call.authorize(&resource(&*call.account()?, &input.role_name))?;
    edit(call, &input.role_name, |_, role| {
        role.description = Some(input.description.clone());
        Ok(())
    })
    .await?;
    let account = call.account()?;
    let role = find(&account, &input.role_name)?;
    Ok(t::UpdateRoleDescriptionOutput { role: Some(answers::listed_role(&account.id, role)) })
}

pub(super) async fn update_assume_role_policy(call: &Call<'_>, input: t::UpdateAssumeRolePolicyInput) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.role_name))?;
    check_trust(call, &input.policy_document)?;
    edit(call, &input.role_name, |_, role| {
        role.trust.clone_from(&input.policy_document);
        Ok(())
    })
    .await
}

pub(super) async fn delete_role(call: &Call<'_>, input: t::DeleteRoleInput) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.role_name))?;
    call.change(|change| {
        let role = find(change, &input.role_name)?.clone();
        if change.profiles.values().any(|profile| profile.roles.contains(&role.name)) {
            return Err(conflict("remove roles from instance profile"));
        }
        if !role.grants.attached.is_empty() {
            return Err(conflict("detach all policies"));
        }
        if !role.grants.inline.is_empty() {
            return Err(conflict("delete policies"));
        }
        change.remove(&*role);
        Ok(())
    })
    .await
}

pub(super) async fn list_roles(call: &Call<'_>, input: t::ListRolesInput) -> Answer<t::ListRolesOutput> {
    let account = call.account()?;
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    call.authorize(&call.arn("role", prefix, ""))?;
    let roles = account.roles.iter().filter(|(_, role)| role.path.starts_with(prefix));
    let roles = roles.map(|(key, role)| (key.clone(), answers::listed_role(&account.id, role)));
    let page = page(roles, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListRolesOutput { roles: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

pub(super) async fn put_role_permissions_boundary(
    call: &Call<'_>,
    input: t::PutRolePermissionsBoundaryInput,
) -> Answer<()> {
    let keys = [("iam:PermissionsBoundary", vec![input.permissions_boundary.clone()])];
    call.authorize_with(&resource(&*call.account()?, &input.role_name), &keys)?;
    edit(call, &input.role_name, |change, role| {
        managed_policies::require(change, &input.permissions_boundary)?;
        role.grants.boundary = Some(input.permissions_boundary.clone());
        Ok(())
    })
    .await
}

pub(super) async fn delete_role_permissions_boundary(
    call: &Call<'_>,
    input: t::DeleteRolePermissionsBoundaryInput,
) -> Answer<()> {
    let account = call.account()?;
    let bound = account.roles.get(&names::key(&input.role_name)).and_then(|role| role.grants.boundary.clone());
    let keys = [("iam:PermissionsBoundary", bound.into_iter().collect())];
    call.authorize_with(&resource(&account, &input.role_name), &keys)?;
    edit(call, &input.role_name, |_, role| {
        if role.grants.boundary.take().is_none() {
            let message = format!("The role {} does not have a permissions boundary", role.name);
            return Err(ErrorCode::NoSuchEntity.with(message));
        }
        Ok(())
    })
    .await
}
