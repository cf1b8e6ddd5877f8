//! What is in an account: counts, and everything about authorisation.

use karri_iam_wire::iam::types as t;

use super::paging::page;
use super::{Answer, Call, answers, record, wire_tags};
use crate::managed;
use crate::model::{Grants, Group, ManagedPolicy, Role, User};
use crate::state::Account;

pub(super) async fn get_account_summary(
    call: &Call<'_>,
    _: t::GetAccountSummaryInput,
) -> Answer<t::GetAccountSummaryOutput> {
    call.authorize("*")?;
    let account = call.account()?;
    let record = record(&account)?;
    let versions: usize = account.policies.values().map(|policy| policy.versions.len()).sum();
    let assigned = account.devices.values().filter(|device| device.owner.is_some()).count();
    let counts = [
        ("Users", account.users.len()),
        ("UsersQuota", 5000),
        ("Groups", account.groups.len()),
        ("GroupsQuota", 300),
        ("Roles", account.roles.len()),
        ("RolesQuota", 1000),
        ("Policies", account.policies.len()),
        ("PoliciesQuota", 1500),
        ("PolicyVersionsInUse", versions),
        ("PolicyVersionsInUseQuota", 10_000),
        ("VersionsPerPolicyQuota", 5),
        ("PolicySizeQuota", 6144),
        ("InstanceProfiles", account.profiles.len()),
        ("InstanceProfilesQuota", 1000),
        ("ServerCertificates", account.certificates.len()),
        ("ServerCertificatesQuota", 20),
        ("SigningCertificatesPerUserQuota", 2),
        ("AccessKeysPerUserQuota", 2),
        ("AttachedPoliciesPerUserQuota", 20),
        ("AttachedPoliciesPerGroupQuota", 20),
        ("AttachedPoliciesPerRoleQuota", 20),
        ("GroupsPerUserQuota", 10),
        ("UserPolicySizeQuota", 2048),
        ("GroupPolicySizeQuota", 5120),
        ("RolePolicySizeQuota", 10_240),
        ("AssumeRolePolicySizeQuota", 4096),
        ("Providers", account.providers.len()),
        ("MFADevices", account.devices.len()),
        ("MFADevicesInUse", assigned),
        ("AccountMFAEnabled", usize::from(!record.root.mfa.is_empty())),
        ("AccountAccessKeysPresent", usize::from(!record.root.access_keys.is_empty())),
        ("AccountPasswordPresent", usize::from(record.root.login.is_some())),
        ("AccountSigningCertificatesPresent", usize::from(!record.root.certificates.is_empty())),
        ("GlobalEndpointTokenVersion", 2),
    ];
    let summary_map = counts.iter().map(|(name, number)| ((*name).to_owned(), answers::count(*number))).collect();
    Ok(t::GetAccountSummaryOutput { summary_map })
}

/// One entity of the account.
enum Detail {
    User(t::UserDetail),
    Group(t::GroupDetail),
    Role(t::RoleDetail),
    Policy(t::ManagedPolicyDetail),
}

fn inline(grants: &Grants) -> Vec<t::PolicyDetail> {
    let detail = |(name, document): (&String, &String)| t::PolicyDetail {
        policy_name: Some(name.clone()),
        policy_document: Some(answers::document(document)),
    };
    grants.inline.iter().map(detail).collect()
}

fn attached(grants: &Grants) -> Vec<t::AttachedPolicy> {
    grants.attached.iter().map(|arn| answers::attached(arn)).collect()
}

fn user(account: &Account, user: &User) -> t::UserDetail {
    let shown = answers::user(&account.id, user);
    let groups = user.groups.iter().filter_map(|id| account.group_by_id(id));
    t::UserDetail {
        path: Some(shown.path),
        user_name: Some(shown.user_name),
        user_id: Some(shown.user_id),
        arn: Some(shown.arn),
        create_date: Some(shown.create_date),
        user_policy_list: inline(&user.grants),
        group_list: groups.map(|group| group.name.clone()).collect(),
        attached_managed_policies: attached(&user.grants),
        permissions_boundary: shown.permissions_boundary,
        tags: wire_tags(&user.tags),
    }
}

fn group(account: &Account, group: &Group) -> t::GroupDetail {
    let shown = answers::group(&account.id, group);
    t::GroupDetail {
        path: Some(shown.path),
        group_name: Some(shown.group_name),
        group_id: Some(shown.group_id),
        arn: Some(shown.arn),
        create_date: Some(shown.create_date),
        group_policy_list: inline(&group.grants),
        attached_managed_policies: attached(&group.grants),
    }
}

fn role(account: &Account, role: &Role) -> t::RoleDetail {
    let shown = answers::role(&account.id, role);
    let profiles = account.profiles.values().filter(|profile| profile.roles.contains(&role.name));
    t::RoleDetail {
        path: Some(shown.path),
        role_name: Some(shown.role_name),
        role_id: Some(shown.role_id),
        arn: Some(shown.arn),
        create_date: Some(shown.create_date),
        assume_role_policy_document: shown.assume_role_policy_document,
        instance_profile_list: profiles.map(|profile| answers::profile(account, profile)).collect(),
        role_policy_list: inline(&role.grants),
        attached_managed_policies: attached(&role.grants),
        permissions_boundary: shown.permissions_boundary,
        tags: shown.tags,
        role_last_used: shown.role_last_used,
    }
}

fn detail(shown: t::Policy, versions: Vec<t::PolicyVersion>) -> t::ManagedPolicyDetail {
    t::ManagedPolicyDetail {
        policy_name: shown.policy_name,
        policy_id: shown.policy_id,
        arn: shown.arn,
        path: shown.path,
        default_version_id: shown.default_version_id,
        attachment_count: shown.attachment_count,
        permissions_boundary_usage_count: shown.permissions_boundary_usage_count,
        is_attachable: shown.is_attachable,
        description: shown.description,
        create_date: shown.create_date,
        update_date: shown.update_date,
        policy_version_list: versions,
    }
}

fn policy(account: &Account, policy: &ManagedPolicy) -> t::ManagedPolicyDetail {
    let versions = policy.versions.iter().rev();
    let versions = versions.map(|version| answers::version(version, policy.default_version, true)).collect();
    detail(answers::policy(account, policy), versions)
}

fn built_in(account: &Account, policy: &managed::BuiltIn) -> t::ManagedPolicyDetail {
    let version = t::PolicyVersion {
        document: Some(answers::document(policy.document)),
        version_id: Some("v1".to_owned()),
        is_default_version: Some(true),
        create_date: Some(answers::time(managed::CREATED)),
    };
    detail(answers::built_in(account, policy), vec![version])
}

pub(super) async fn get_account_authorization_details(
    call: &Call<'_>,
    input: t::GetAccountAuthorizationDetailsInput,
) -> Answer<t::GetAccountAuthorizationDetailsOutput> {
    call.authorize("*")?;
    let account = call.account()?;
    let wants = |kind: t::EntityType| input.filter.is_empty() || input.filter.contains(&kind);
    let mut all: Vec<(String, Detail)> = Vec::new();
    if wants(t::EntityType::User) {
        let users = account.users.iter();
        all.extend(users.map(|(key, found)| (format!("1{key}"), Detail::User(user(&account, found)))));
    }
    if wants(t::EntityType::Group) {
        let groups = account.groups.iter();
        all.extend(groups.map(|(key, found)| (format!("2{key}"), Detail::Group(group(&account, found)))));
    }
    if wants(t::EntityType::Role) {
        let roles = account.roles.iter();
        all.extend(roles.map(|(key, found)| (format!("3{key}"), Detail::Role(role(&account, found)))));
    }
    if wants(t::EntityType::LocalManagedPolicy) {
        let policies = account.policies.iter();
        all.extend(policies.map(|(key, found)| (format!("4{key}"), Detail::Policy(policy(&account, found)))));
    }
    if wants(t::EntityType::AWSManagedPolicy) {
        // Of AWS's policies only those that are in use.
        let used = managed::ALL.iter().filter(|policy| answers::uses(&account, &policy.arn()) != (0, 0));
        all.extend(used.map(|found| (format!("5{}", found.name), Detail::Policy(built_in(&account, found)))));
    }
    let page = page(all, input.marker.as_deref(), input.max_items)?;
    let mut answer = t::GetAccountAuthorizationDetailsOutput {
        is_truncated: page.is_truncated,
        marker: page.marker,
        ..t::GetAccountAuthorizationDetailsOutput::default()
    };
    for detail in page.items {
        match detail {
            Detail::User(detail) => answer.user_detail_list.push(detail),
            Detail::Group(detail) => answer.group_detail_list.push(detail),
            Detail::Role(detail) => answer.role_detail_list.push(detail),
            Detail::Policy(detail) => answer.policies.push(detail),
        }
    }
    Ok(answer)
}
