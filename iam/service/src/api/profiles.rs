//! Instance profiles.

use std::sync::Arc;

use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{Answer, Call, answers, conflict, exists, over_quota, roles, tags};
use crate::ids;
use crate::model::InstanceProfile;
use crate::names;
use crate::state::Account;

/// Instance profiles of an account.
const PROFILES_MAX: usize = 1000;

pub(super) fn find<'a>(account: &'a Account, name: &str) -> Answer<&'a Arc<InstanceProfile>> {
    let missing = || ErrorCode::NoSuchEntity.with(format!("Instance Profile {name} cannot be found."));
    account.profiles.get(&names::key(name)).ok_or_else(missing)
}

/// The ARN of a profile, of one that is not there too.
pub(super) fn resource(account: &Account, name: &str) -> String {
    match account.profiles.get(&names::key(name)) {
        Some(profile) => ids::arn(&account.id, "instance-profile", &profile.path, &profile.name),
        None => ids::arn(&account.id, "instance-profile", "/", name),
    }
}

pub(super) async fn create_instance_profile(
    call: &Call<'_>,
    input: t::CreateInstanceProfileInput,
) -> Answer<t::CreateInstanceProfileOutput> {
    let path = names::path(input.path);
    let resource = call.arn("instance-profile", &path, &input.instance_profile_name);
    call.authorize_new(&resource, ("iam:TagInstanceProfile", &input.tags), None)?;
    let tags = tags::checked(input.tags)?;
    let id = ids::unique(call.store().rng(), "AIPA");
    call.change(|change| {
        if change.profiles.contains_key(&names::key(&input.instance_profile_name)) {
            return Err(exists("Instance Profile", &input.instance_profile_name));
        }
        if change.profiles.len() >= PROFILES_MAX {
            return Err(over_quota("InstanceProfilesPerAccount", PROFILES_MAX));
        }
        let profile = InstanceProfile {
            name: input.instance_profile_name.clone(),
            id: id.clone(),
            path: path.clone(),
            created: change.now(),
            tags: tags.clone(),
            roles: Vec::new(),
        };
        let answer = answers::profile(change, &profile);
        change.put(profile);
        Ok(t::CreateInstanceProfileOutput { instance_profile: answer })
    })
    .await
}

pub(super) async fn get_instance_profile(
    call: &Call<'_>,
    input: t::GetInstanceProfileInput,
) -> Answer<t::GetInstanceProfileOutput> {
    let account = call.account()?;
    call.authorize(&resource(&account, &input.instance_profile_name))?;
    let profile = find(&account, &input.instance_profile_name)?;
    Ok(t::GetInstanceProfileOutput { instance_profile: answers::profile(&account, profile) })
}

pub(super) async fn delete_instance_profile(call: &Call<'_>, input: t::DeleteInstanceProfileInput) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.instance_profile_name))?;
    call.change(|change| {
        let profile = find(change, &input.instance_profile_name)?.clone();
        if !profile.roles.is_empty() {
            return Err(conflict("remove roles from instance profile"));
        }
        change.remove(&*profile);
        Ok(())
    })
    .await
}

pub(super) async fn list_instance_profiles(
    call: &Call<'_>,
    input: t::ListInstanceProfilesInput,
) -> Answer<t::ListInstanceProfilesOutput> {
    let account = call.account()?;
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    call.authorize(&call.arn("instance-profile", prefix, ""))?;
    let profiles = account.profiles.iter().filter(|(_, profile)| profile.path.starts_with(prefix));
    let profiles = profiles.map(|(key, profile)| (key.clone(), answers::profile(&account, profile)));
    let page = page(profiles, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListInstanceProfilesOutput {
        instance_profiles: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub(super) async fn list_instance_profiles_for_role(
    call: &Call<'_>,
    input: t::ListInstanceProfilesForRoleInput,
) -> Answer<t::ListInstanceProfilesForRoleOutput> {
    let account = call.account()?;
    call.authorize(&roles::resource(&account, &input.role_name))?;
    let role = roles::find(&account, &input.role_name)?;
    let profiles = account.profiles.iter().filter(|(_, profile)| profile.roles.contains(&role.name));
    let profiles = profiles.map(|(key, profile)| (key.clone(), answers::profile(&account, profile)));
    let page = page(profiles, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListInstanceProfilesForRoleOutput {
        instance_profiles: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub(super) async fn add_role_to_instance_profile(
    call: &Call<'_>,
    input: t::AddRoleToInstanceProfileInput,
) -> Answer<()> {
    let account = call.account()?;
    call.authorize(&resource(&account, &input.instance_profile_name))?;
    call.authorize_also("iam:PassRole", &roles::resource(&account, &input.role_name))?;
    call.change(|change| {
        let role = roles::find(change, &input.role_name)?.name.clone();
        let mut profile = (**find(change, &input.instance_profile_name)?).clone();
        if !profile.roles.is_empty() {
            return Err(over_quota("InstanceSessionsPerInstanceProfile", 1));
        }
        profile.roles.push(role);
        change.put(profile);
        Ok(())
    })
    .await
}

pub(super) async fn remove_role_from_instance_profile(
    call: &Call<'_>,
    input: t::RemoveRoleFromInstanceProfileInput,
) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.instance_profile_name))?;
    call.change(|change| {
        let role = roles::find(change, &input.role_name)?.name.clone();
        let mut profile = (**find(change, &input.instance_profile_name)?).clone();
        if !profile.roles.contains(&role) {
            let message = format!("The role {role} is not in instance profile {}", profile.name);
            return Err(ErrorCode::NoSuchEntity.with(message));
        }
        profile.roles.retain(|name| *name != role);
        change.put(profile);
        Ok(())
    })
    .await
}
