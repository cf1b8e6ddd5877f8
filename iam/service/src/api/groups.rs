//! Groups and who is in them.

use std::sync::Arc;

use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{Answer, Call, answers, conflict, exists, no_such, over_quota, users};
use crate::ids;
use crate::model::{Grants, Group};
use crate::names;
use crate::state::Account;

/// Groups of an account.
const GROUPS_MAX: usize = 300;
/// Groups of a user.
const GROUPS_OF_USER_MAX: usize = 10;

pub(super) fn find<'a>(account: &'a Account, name: &str) -> Answer<&'a Arc<Group>> {
    account.groups.get(&names::key(name)).ok_or_else(|| no_such("group", name))
}

/// The ARN of a group, of one that is not there too.
pub(super) fn resource(account: &Account, name: &str) -> String {
    match account.groups.get(&names::key(name)) {
        Some(group) => ids::arn(&account.id, "group", &group.path, &group.name),
        None => ids::arn(&account.id, "group", "/", name),
    }
}

pub(super) async fn create_group(call: &Call<'_>, input: t::CreateGroupInput) -> Answer<t::CreateGroupOutput> {
    let path = names::path(input.path);
    call.authorize(&call.arn("group", &path, &input.group_name))?;
    let id = ids::unique(call.store().rng(), "AGPA");
    call.change(|change| {
        if change.groups.contains_key(&names::key(&input.group_name)) {
            return Err(exists("Group", &input.group_name));
        }
        if change.groups.len() >= GROUPS_MAX {
            return Err(over_quota("GroupsPerAccount", GROUPS_MAX));
        }
        let group = Group {
            name: input.group_name.clone(),
            id: id.clone(),
            path: path.clone(),
            created: change.now(),
            grants: Grants::default(),
        };
        let answer = answers::group(&change.id, &group);
        change.put(group);
        Ok(t::CreateGroupOutput { group: answer })
    })
    .await
}

pub(super) async fn get_group(call: &Call<'_>, input: t::GetGroupInput) -> Answer<t::GetGroupOutput> {
    let account = call.account()?;
    call.authorize(&resource(&account, &input.group_name))?;
    let group = find(&account, &input.group_name)?;
    let members = account.users.iter().filter(|(_, user)| user.groups.contains(&group.id));
    let members = members.map(|(key, user)| (key.clone(), answers::listed_user(&account.id, user)));
    let page = page(members, input.marker.as_deref(), input.max_items)?;
    Ok(t::GetGroupOutput {
        group: answers::group(&account.id, group),
        users: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub(super) async fn update_group(call: &Call<'_>, input: t::UpdateGroupInput) -> Answer<()> {
    let account = call.account()?;
    call.authorize(&resource(&account, &input.group_name))?;
    if let Some(new_name) = &input.new_group_name {
        let path = find(&account, &input.group_name).map_or("/", |group| &group.path);
        call.authorize(&call.arn("group", input.new_path.as_deref().unwrap_or(path), new_name))?;
    }
    call.change(|change| {
        let old = find(change, &input.group_name)?.clone();
        let mut new = (*old).clone();
        if let Some(name) = &input.new_group_name {
            if names::key(name) != names::key(&old.name) && change.groups.contains_key(&names::key(name)) {
                return Err(exists("Group", name));
            }
            new.name.clone_from(name);
        }
        if let Some(path) = &input.new_path {
            new.path.clone_from(path);
        }
        change.replace(&*old, new);
        Ok(())
    })
    .await
}

pub(super) async fn delete_group(call: &Call<'_>, input: t::DeleteGroupInput) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.group_name))?;
    call.change(|change| {
        let group = find(change, &input.group_name)?.clone();
        if change.users.values().any(|user| user.groups.contains(&group.id)) {
            return Err(conflict("remove users from group"));
        }
        if !group.grants.attached.is_empty() {
            return Err(conflict("detach all policies"));
        }
        if !group.grants.inline.is_empty() {
            return Err(conflict("delete policies"));
        }
        change.remove(&*group);
        Ok(())
    })
    .await
}

pub(super) async fn list_groups(call: &Call<'_>, input: t::ListGroupsInput) -> Answer<t::ListGroupsOutput> {
    let account = call.account()?;
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    call.authorize(&call.arn("group", prefix, ""))?;
    let groups = account.groups.iter().filter(|(_, group)| group.path.starts_with(prefix));
    let groups = groups.map(|(key, group)| (key.clone(), answers::group(&account.id, group)));
    let page = page(groups, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListGroupsOutput { groups: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

pub(super) async fn list_groups_for_user(
    call: &Call<'_>,
    input: t::ListGroupsForUserInput,
) -> Answer<t::ListGroupsForUserOutput> {
    let account = call.account()?;
    call.authorize(&users::resource(&account, &input.user_name))?;
    let user = users::find(&account, &input.user_name)?;
    let groups = account.groups.iter().filter(|(_, group)| user.groups.contains(&group.id));
    let groups = groups.map(|(key, group)| (key.clone(), answers::group(&account.id, group)));
    let page = page(groups, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListGroupsForUserOutput { groups: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

pub(super) async fn add_user_to_group(call: &Call<'_>, input: t::AddUserToGroupInput) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.group_name))?;
    call.change(|change| {
        let group = find(change, &input.group_name)?.clone();
        let mut user = (**users::find(change, &input.user_name)?).clone();
        if user.groups.contains(&group.id) {
            return Ok(());
        }
        if user.groups.len() >= GROUPS_OF_USER_MAX {
            return Err(over_quota("GroupsPerUser", GROUPS_OF_USER_MAX));
        }
        user.groups.push(group.id.clone());
        change.put(user);
        Ok(())
    })
    .await
}

pub(super) async fn remove_user_from_group(call: &Call<'_>, input: t::RemoveUserFromGroupInput) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.group_name))?;
    call.change(|change| {
        let group = find(change, &input.group_name)?.clone();
        let mut user = (**users::find(change, &input.user_name)?).clone();
        if !user.groups.contains(&group.id) {
            let message = format!("User {} is not in group {}", input.user_name, input.group_name);
            return Err(ErrorCode::NoSuchEntity.with(message));
        }
        user.groups.retain(|id| *id != group.id);
        change.put(user);
        Ok(())
    })
    .await
}
