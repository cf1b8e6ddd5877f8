//! What policies may ask of the thing that a request names: its tags, and the boundary of a user or role.

use karri_iam_policy::Context;

use crate::model::{Grants, Tag};
use crate::names;
use crate::state::Account;
use crate::{ids, managed};

/// Actions that are told the boundary of the user or role that they are about (Service Authorization Reference,
/// `iam:PermissionsBoundary`). Those that set one say themselves which.
const BOUNDED_ACTIONS: [&str; 8] = [
    "iam:AttachRolePolicy",
    "iam:AttachUserPolicy",
    "iam:DeleteRolePolicy",
    "iam:DeleteUserPolicy",
    "iam:DetachRolePolicy",
    "iam:DetachUserPolicy",
    "iam:PutRolePolicy",
    "iam:PutUserPolicy",
];

/// Sets the keys about `resource`, an ARN, for `action`.
pub(super) fn describe(account: &Account, action: &str, resource: &str, context: &mut Context<'_>) {
    let Some((tags, grants)) = find(account, resource) else { return };
    for (key, value) in tags {
        // AWS has both names for users and roles, and the first for all else.
        context.set(format!("aws:ResourceTag/{key}"), value.clone());
        if grants.is_some() {
            context.set(format!("iam:ResourceTag/{key}"), value.clone());
        }
    }
    let boundary = grants.and_then(|grants| grants.boundary.as_ref());
    if let Some(boundary) = boundary.filter(|_| BOUNDED_ACTIONS.contains(&action)) {
        context.set("iam:PermissionsBoundary", boundary.clone());
    }
}

/// Tags of the thing with this ARN and, of a user or role, what it may do.
fn find<'a>(account: &'a Account, arn: &str) -> Option<(&'a [Tag], Option<&'a Grants>)> {
    let (account_id, kind, path) = ids::parse_arn(arn)?;
    if account_id != account.id || managed::by_arn(arn).is_some() {
        return None;
    }
    let name = names::key(path.rsplit('/').next()?);
    let is_it = |path: &str, name: &str| ids::arn(&account.id, kind, path, name) == arn;
    match kind {
        "user" => {
            let user = account.users.get(&name).filter(|user| is_it(&user.path, &user.name))?;
            Some((&user.tags, Some(&user.grants)))
        }
        "role" => {
            let role = account.roles.get(&name).filter(|role| is_it(&role.path, &role.name))?;
            Some((&role.tags, Some(&role.grants)))
        }
        "policy" => {
            let policy = account.policies.get(&name).filter(|policy| is_it(&policy.path, &policy.name))?;
            Some((&policy.tags, None))
        }
        "instance-profile" => {
            let profile = account.profiles.get(&name).filter(|profile| is_it(&profile.path, &profile.name))?;
            Some((&profile.tags, None))
        }
        "server-certificate" => {
            let found = account.certificates.get(&name).filter(|found| is_it(&found.path, &found.name))?;
            Some((&found.tags, None))
        }
        "mfa" => {
            let device = account.devices.get(&names::key(path)).filter(|device| is_it(&device.path, &device.name))?;
            Some((&device.tags, None))
        }
        "oidc-provider" => Some((&account.providers.get(path.strip_prefix('/')?)?.tags, None)),
        _ => None,
    }
}
