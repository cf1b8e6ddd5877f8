//! Records as answers show them.

use karri_iam_wire::Timestamp as WireTime;
use karri_iam_wire::iam::types as t;
use karri_ring_types::Timestamp;

use super::wire_tags;
use crate::ids;
use crate::managed::{self, BuiltIn};
use crate::model::{AccountRecord, Grants, Group, InstanceProfile, ManagedPolicy, PolicyVersion, Role, Status, User};
use crate::state::Account;

pub(super) fn time(at: Timestamp) -> WireTime {
    WireTime::from_millis(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}

/// A count for an answer.
pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A policy document as answers carry it: percent-encoded.
pub(super) fn document(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

pub(super) fn status(status: Status) -> t::StatusType {
    match status {
        Status::Active => t::StatusType::Active,
        Status::Inactive => t::StatusType::Inactive,
    }
}

pub(super) fn boundary(grants: &Grants) -> Option<t::AttachedPermissionsBoundary> {
    grants.boundary.as_ref().map(|arn| t::AttachedPermissionsBoundary {
        permissions_boundary_type: Some("Policy".to_owned()),
        permissions_boundary_arn: Some(arn.clone()),
    })
}

pub(super) fn user(account_id: &str, user: &User) -> t::User {
    t::User {
        path: user.path.clone(),
        user_name: user.name.clone(),
        user_id: user.id.clone(),
        arn: ids::arn(account_id, "user", &user.path, &user.name),
        create_date: time(user.created),
        permissions_boundary: boundary(&user.grants),
        tags: wire_tags(&user.tags),
        ..t::User::default()
    }
}

/// A user in a list: without tags and boundary, as AWS has it.
pub(super) fn listed_user(account_id: &str, listed: &User) -> t::User {
    t::User { permissions_boundary: None, tags: Vec::new(), ..user(account_id, listed) }
}

pub(super) fn root_user(record: &AccountRecord) -> t::User {
    t::User {
        path: "/".to_owned(),
        user_name: record.alias.clone().unwrap_or_else(|| "root".to_owned()),
        user_id: record.id.clone(),
        arn: format!("arn:aws:iam::{}:root", record.id),
        create_date: time(record.created),
        ..t::User::default()
    }
}

pub(super) fn group(account_id: &str, group: &Group) -> t::Group {
    t::Group {
        path: group.path.clone(),
        group_name: group.name.clone(),
        group_id: group.id.clone(),
        arn: ids::arn(account_id, "group", &group.path, &group.name),
        create_date: time(group.created),
    }
}

pub(super) fn role(account_id: &str, role: &Role) -> t::Role {
    t::Role {
        path: role.path.clone(),
        role_name: role.name.clone(),
        role_id: role.id.clone(),
        arn: ids::arn(account_id, "role", &role.path, &role.name),
        create_date: time(role.created),
        assume_role_policy_document: Some(document(&role.trust)),
        description: role.description.clone(),
        max_session_duration: i32::try_from(role.session_seconds_max).ok(),
        permissions_boundary: boundary(&role.grants),
        tags: wire_tags(&role.tags),
        role_last_used: Some(t::RoleLastUsed::default()),
    }
}

/// A role in a list.
pub(super) fn listed_role(account_id: &str, listed: &Role) -> t::Role {
    t::Role { permissions_boundary: None, tags: Vec::new(), role_last_used: None, ..role(account_id, listed) }
}

pub(super) fn profile(account: &Account, profile: &InstanceProfile) -> t::InstanceProfile {
    let roles = profile.roles.iter().filter_map(|name| account.roles.get(&crate::names::key(name)));
    t::InstanceProfile {
        path: profile.path.clone(),
        instance_profile_name: profile.name.clone(),
        instance_profile_id: profile.id.clone(),
        arn: ids::arn(&account.id, "instance-profile", &profile.path, &profile.name),
        create_date: time(profile.created),
        roles: roles.map(|found| listed_role(&account.id, found)).collect(),
        tags: wire_tags(&profile.tags),
    }
}

/// How many identities have a policy attached, and how many are bounded by it.
pub(super) fn uses(account: &Account, arn: &str) -> (usize, usize) {
    let users = account.users.values().map(|user| &user.grants);
    let groups = account.groups.values().map(|group| &group.grants);
    let roles = account.roles.values().map(|role| &role.grants);
    users.chain(groups).chain(roles).fold((0, 0), |(attached, bounded), grants| {
        let is_attached = usize::from(grants.attached.iter().any(|attached| attached == arn));
        (attached + is_attached, bounded + usize::from(grants.boundary.as_deref() == Some(arn)))
    })
}

pub(super) fn policy_arn(account_id: &str, policy: &ManagedPolicy) -> String {
    ids::arn(account_id, "policy", &policy.path, &policy.name)
}

pub(super) fn policy(account: &Account, policy: &ManagedPolicy) -> t::Policy {
    let arn = policy_arn(&account.id, policy);
    let (attached, bounded) = uses(account, &arn);
    t::Policy {
        policy_name: Some(policy.name.clone()),
        policy_id: Some(policy.id.clone()),
        arn: Some(arn),
        path: Some(policy.path.clone()),
        default_version_id: Some(format!("v{}", policy.default_version)),
        attachment_count: Some(count(attached)),
        permissions_boundary_usage_count: Some(count(bounded)),
        is_attachable: Some(true),
        description: policy.description.clone(),
        create_date: Some(time(policy.created)),
        update_date: Some(time(policy.updated)),
        tags: wire_tags(&policy.tags),
    }
}

/// A policy that comes with Karri.
pub(super) fn built_in(account: &Account, policy: &BuiltIn) -> t::Policy {
    let (attached, bounded) = uses(account, &policy.arn());
    t::Policy {
        policy_name: Some(policy.name.to_owned()),
        policy_id: Some(policy.id.to_owned()),
        arn: Some(policy.arn()),
        path: Some("/".to_owned()),
        default_version_id: Some("v1".to_owned()),
        attachment_count: Some(count(attached)),
        permissions_boundary_usage_count: Some(count(bounded)),
        is_attachable: Some(true),
        description: Some(policy.description.to_owned()),
        create_date: Some(time(managed::CREATED)),
        update_date: Some(time(managed::CREATED)),
        tags: Vec::new(),
    }
}

pub(super) fn version(version: &PolicyVersion, default: u32, with_document: bool) -> t::PolicyVersion {
    t::PolicyVersion {
        document: with_document.then(|| document(&version.document)),
        version_id: Some(format!("v{}", version.number)),
        is_default_version: Some(version.number == default),
        create_date: Some(time(version.created)),
    }
}

pub(super) fn attached(arn: &str) -> t::AttachedPolicy {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    t::AttachedPolicy { policy_name: Some(name.to_owned()), policy_arn: Some(arn.to_owned()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn documents_are_encoded_as_clients_decode_them() {
        assert_eq!(super::document(r#"{"a": "b/*+é"}"#), "%7B%22a%22%3A%20%22b%2F%2A%2B%C3%A9%22%7D");
    }
}
