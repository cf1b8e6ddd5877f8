//! Users.

use std::sync::Arc;

use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{Answer, Call, answers, conflict, exists, managed_policies, no_such, over_quota, record, tags};
use crate::ids;
use crate::model::{Grants, SecretsOfUser, User};
use crate::names;
use crate::state::Account;

/// Users of an account.
const USERS_MAX: usize = 5000;

pub(super) fn find<'a>(account: &'a Account, name: &str) -> Answer<&'a Arc<User>> {
    account.users.get(&names::key(name)).ok_or_else(|| no_such("user", name))
}

/// The ARN of a user, of one that is not there too.
pub(super) fn resource(account: &Account, name: &str) -> String {
    match account.users.get(&names::key(name)) {
        Some(user) => ids::arn(&account.id, "user", &user.path, &user.name),
        None => ids::arn(&account.id, "user", "/", name),
    }
}

pub(super) async fn create_user(call: &Call<'_>, input: t::CreateUserInput) -> Answer<t::CreateUserOutput> {
    let path = names::path(input.path);
    let boundary = input.permissions_boundary.as_deref().map(|arn| ("iam:PermissionsBoundary", arn));
    call.authorize_new(&call.arn("user", &path, &input.user_name), ("iam:TagUser", &input.tags), boundary)?;
    let tags = tags::checked(input.tags)?;
    let id = ids::unique(call.store().rng(), "AIDA");
    call.change(|change| {
        if change.users.contains_key(&names::key(&input.user_name)) {
            return Err(exists("User", &input.user_name));
        }
        if change.users.len() >= USERS_MAX {
            return Err(over_quota("UsersPerAccount", USERS_MAX));
        }
        if let Some(arn) = &input.permissions_boundary {
            managed_policies::require(change, arn)?;
        }
        let user = User {
            name: input.user_name.clone(),
            id: id.clone(),
            path: path.clone(),
            created: change.now(),
            tags: tags.clone(),
            grants: Grants { boundary: input.permissions_boundary.clone(), ..Grants::default() },
            groups: Vec::new(),
            secrets: SecretsOfUser::default(),
        };
        let answer = answers::user(&change.id, &user);
        change.put(user);
        Ok(t::CreateUserOutput { user: Some(answer) })
    })
    .await
}

pub(super) async fn get_user(call: &Call<'_>, input: t::GetUserInput) -> Answer<t::GetUserOutput> {
    let account = call.account()?;
    let name = match input.user_name {
        Some(name) => Some(name),
        None => call.own_user_name()?,
    };
    let Some(name) = name else {
        call.authorize(&format!("arn:aws:iam::{}:root", account.id))?;
        return Ok(t::GetUserOutput { user: answers::root_user(record(&account)?) });
    };
    call.authorize(&resource(&account, &name))?;
    Ok(t::GetUserOutput { user: answers::user(&account.id, find(&account, &name)?) })
}

pub(super) async fn update_user(call: &Call<'_>, input: t::UpdateUserInput) -> Answer<()> {
    let account = call.account()?;
    call.authorize(&resource(&account, &input.user_name))?;
    if let Some(new_name) = &input.new_user_name {
        let path = find(&account, &input.user_name).map_or("/", |user| &user.path);
        call.authorize(&call.arn("user", input.new_path.as_deref().unwrap_or(path), new_name))?;
    }
    call.change(|change| {
        let old = find(change, &input.user_name)?.clone();
        let mut new = (*old).clone();
        if let Some(name) = &input.new_user_name {
            if names::key(name) != names::key(&old.name) && change.users.contains_key(&names::key(name)) {
                return Err(exists("User", name));
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

pub(super) async fn delete_user(call: &Call<'_>, input: t::DeleteUserInput) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.user_name))?;
    call.change(|change| {
        let user = find(change, &input.user_name)?.clone();
        let secrets = &user.secrets;
        let obstacle = [
            (!user.groups.is_empty(), "remove users from group"),
            (!secrets.access_keys.is_empty(), "delete access keys"),
            (!user.grants.attached.is_empty(), "detach all policies"),
            (!user.grants.inline.is_empty(), "delete policies"),
            (secrets.login.is_some(), "delete login profile"),
            (!secrets.mfa.is_empty(), "delete MFA device"),
            (!secrets.certificates.is_empty(), "delete signing certificates"),
        ];
        if let Some((_, what)) = obstacle.iter().find(|(is_there, _)| *is_there) {
            return Err(conflict(what));
        }
        change.remove(&*user);
        Ok(())
    })
    .await
}

pub(super) async fn list_users(call: &Call<'_>, input: t::ListUsersInput) -> Answer<t::ListUsersOutput> {
    let account = call.account()?;
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    call.authorize(&call.arn("user", prefix, ""))?;
    let users = account.users.iter().filter(|(_, user)| user.path.starts_with(prefix));
    let users = users.map(|(key, user)| (key.clone(), answers::listed_user(&account.id, user)));
    let page = page(users, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListUsersOutput { users: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

pub(super) async fn put_user_permissions_boundary(
    call: &Call<'_>,
    input: t::PutUserPermissionsBoundaryInput,
) -> Answer<()> {
    let keys = [("iam:PermissionsBoundary", vec![input.permissions_boundary.clone()])];
    call.authorize_with(&resource(&*call.account()?, &input.user_name), &keys)?;
    set_boundary(call, &input.user_name, Some(&input.permissions_boundary)).await
}

pub(super) async fn delete_user_permissions_boundary(
    call: &Call<'_>,
    input: t::DeleteUserPermissionsBoundaryInput,
) -> Answer<()> {
    let account = call.account()?;
    let bound = account.users.get(&names::key(&input.user_name)).and_then(|user| user.grants.boundary.clone());
    let keys = [("iam:PermissionsBoundary", bound.into_iter().collect())];
    call.authorize_with(&resource(&account, &input.user_name), &keys)?;
    set_boundary(call, &input.user_name, None).await
}

async fn set_boundary(call: &Call<'_>, name: &str, arn: Option<&str>) -> Answer<()> {
    call.change(|change| {
        let mut user = (**find(change, name)?).clone();
        match arn {
            Some(arn) => managed_policies::require(change, arn)?,
            None if user.grants.boundary.is_none() => {
                let message = format!("The user {name} does not have a permissions boundary");
                return Err(ErrorCode::NoSuchEntity.with(message));
            }
            None => {}
        }
        user.grants.boundary = arn.map(str::to_owned);
        change.put(user);
        Ok(())
    })
    .await
}
