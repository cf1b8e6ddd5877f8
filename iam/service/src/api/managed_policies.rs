//! Managed policies and their versions.

use std::sync::Arc;

use karri_iam_policy::PolicyKind;
use karri_iam_wire::WireError;
use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{Answer, Call, answers, inline, over_quota, tags};
use crate::ids;
use crate::managed;
use crate::model::{ManagedPolicy, PolicyVersion};
use crate::names;
use crate::state::Account;

/// Customer-managed policies of an account.
const POLICIES_MAX: usize = 1500;
/// Versions of a policy.
const VERSIONS_MAX: usize = 5;
/// Characters of a version, without white space.
const LENGTH_MAX: usize = 6144;

fn missing(arn: &str) -> WireError {
    ErrorCode::NoSuchEntity.with(format!("Policy {arn} was not found."))
}

/// The account's own policy with this ARN.
pub(super) fn find<'a>(account: &'a Account, arn: &str) -> Answer<&'a Arc<ManagedPolicy>> {
    if managed::by_arn(arn).is_some() {
        let message = "The policy is managed by the cloud and cannot be changed.";
        return Err(ErrorCode::AccessDenied.with(message));
    }
    let name = ids::parse_arn(arn).and_then(|(_, _, path)| path.rsplit('/').next()).ok_or_else(|| invalid_arn(arn))?;
    let found = account.policies.get(&names::key(name));
    found.filter(|policy| answers::policy_arn(&account.id, policy) == arn).ok_or_else(|| missing(arn))
}

fn invalid_arn(arn: &str) -> WireError {
    ErrorCode::InvalidInput.with(format!("ARN {arn} is not valid."))
}

/// Refuses an ARN of which there is no policy, of the account or of all clouds.
pub(super) fn require(account: &Account, arn: &str) -> Answer<()> {
    if managed::by_arn(arn).is_some() {
        return Ok(());
    }
    match ids::parse_arn(arn) {
        Some((_, "policy", _)) => {}
        _ => return Err(invalid_arn(arn)),
    }
    find(account, arn)
        .map(drop)
        .map_err(|_| ErrorCode::NoSuchEntity.with(format!("Policy {arn} does not exist or is not attachable.")))
}

fn check(document: &str) -> Answer<()> {
    inline::check(document, PolicyKind::Identity)?;
    if inline::length(document) > LENGTH_MAX {
        return Err(over_quota("PolicySize", LENGTH_MAX));
    }
    Ok(())
}

pub(super) async fn create_policy(call: &Call<'_>, input: t::CreatePolicyInput) -> Answer<t::CreatePolicyOutput> {
    let path = names::path(input.path);
    let resource = call.arn("policy", &path, &input.policy_name);
    call.authorize_new(&resource, ("iam:TagPolicy", &input.tags), None)?;
    check(&input.policy_document)?;
    let tags = tags::checked(input.tags)?;
    let id = ids::unique(call.store().rng(), "ANPA");
    call.change(|change| {
        if change.policies.contains_key(&names::key(&input.policy_name)) {
            let message =
                format!("A policy called {} already exists. Duplicate names are not allowed.", input.policy_name);
            return Err(ErrorCode::EntityAlreadyExists.with(message));
        }
        if change.policies.len() >= POLICIES_MAX {
            return Err(over_quota("PoliciesPerAccount", POLICIES_MAX));
        }
        let now = change.now();
        let policy = ManagedPolicy {
            name: input.policy_name.clone(),
            id: id.clone(),
            path: path.clone(),
            description: input.description.clone(),
            created: now,
            updated: now,
            tags: tags.clone(),
            versions: vec![PolicyVersion { number: 1, document: input.policy_document.clone(), created: now }],
            default_version: 1,
            next_version: 2,
        };
        let answer = answers::policy(change, &policy);
        change.put(policy);
        Ok(t::CreatePolicyOutput { policy: Some(answer) })
    })
    .await
}

pub(super) async fn get_policy(call: &Call<'_>, input: t::GetPolicyInput) -> Answer<t::GetPolicyOutput> {
    let account = call.account()?;
    call.authorize(&input.policy_arn)?;
    let policy = match managed::by_arn(&input.policy_arn) {
        Some(policy) => answers::built_in(&account, policy),
        None => answers::policy(&account, find(&account, &input.policy_arn)?),
    };
    Ok(t::GetPolicyOutput { policy: Some(policy) })
}

pub(super) async fn delete_policy(call: &Call<'_>, input: t::DeletePolicyInput) -> Answer<()> {
    call.authorize(&input.policy_arn)?;
    call.change(|change| {
        let policy = find(change, &input.policy_arn)?.clone();
        if answers::uses(change, &input.policy_arn) != (0, 0) {
            return Err(ErrorCode::DeleteConflict.with("Cannot delete a policy attached to entities."));
        }
        if policy.versions.len() > 1 {
            let message = "This policy has more than one version. Before you delete a policy, you must delete the \
                           policy's versions. The default version is deleted with the policy.";
            return Err(ErrorCode::DeleteConflict.with(message));
        }
        change.remove(&*policy);
        Ok(())
    })
    .await
}

pub(super) async fn list_policies(call: &Call<'_>, input: t::ListPoliciesInput) -> Answer<t::ListPoliciesOutput> {
    let account = call.account()?;
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    call.authorize(&call.arn("policy", prefix, ""))?;
    let scope = input.scope.unwrap_or(t::PolicyScopeType::All);
    let mut policies: Vec<(String, t::Policy)> = Vec::new();
    if scope != t::PolicyScopeType::Aws {
        let own = account.policies.iter().filter(|(_, policy)| policy.path.starts_with(prefix));
        policies.extend(own.map(|(key, policy)| (key.clone(), answers::policy(&account, policy))));
    }
    if scope != t::PolicyScopeType::Local && "/".starts_with(prefix) {
        let all = managed::ALL.iter();
        policies.extend(all.map(|policy| (names::key(policy.name) + " aws", answers::built_in(&account, policy))));
    }
    let attached = |policy: &t::Policy| policy.attachment_count > Some(0);
    let bounding = |policy: &t::Policy| policy.permissions_boundary_usage_count > Some(0);
    policies.retain(|(_, policy)| {
        let is_wanted = match input.policy_usage_filter {
            Some(t::PolicyUsageType::PermissionsPolicy) => attached(policy),
            Some(t::PolicyUsageType::PermissionsBoundary) => bounding(policy),
            None => true,
        };
        is_wanted && (input.only_attached != Some(true) || attached(policy) || bounding(policy))
    });
    policies.sort_by(|(left, _), (right, _)| left.cmp(right));
    let policies = policies.into_iter().map(|(key, policy)| {
        // AWS leaves them out of lists.
        (key, t::Policy { description: None, tags: Vec::new(), ..policy })
    });
    let page = page(policies, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListPoliciesOutput { policies: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

/// `3` of `v3`.
fn number(version_id: &str) -> Option<u32> {
    version_id.strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn no_version(arn: &str, version_id: &str) -> WireError {
    ErrorCode::NoSuchEntity.with(format!("Policy {arn} version {version_id} does not exist or is not attachable."))
}

pub(super) async fn create_policy_version(
    call: &Call<'_>,
    input: t::CreatePolicyVersionInput,
) -> Answer<t::CreatePolicyVersionOutput> {
    call.authorize(&input.policy_arn)?;
    check(&input.policy_document)?;
    call.change(|change| {
        let mut policy = (**find(change, &input.policy_arn)?).clone();
        if policy.versions.len() >= VERSIONS_MAX {
            let message = "A managed policy can have up to 5 versions. Before you create a new version, you must delete \
                           an existing version.";
            return Err(ErrorCode::LimitExceeded.with(message));
        }
        let number = policy.next_version;
        let version = PolicyVersion { number, document: input.policy_document.clone(), created: change.now() };
        policy.versions.push(version.clone());
        policy.next_version += 1;
        policy.updated = change.now();
        if input.set_as_default == Some(true) {
            policy.default_version = number;
        }
        let answer = answers::version(&version, policy.default_version, false);
        change.put(policy);
        Ok(t::CreatePolicyVersionOutput { policy_version: Some(answer) })
    })
    .await
}

fn built_in_version(policy: &managed::BuiltIn) -> PolicyVersion {
    PolicyVersion { number: 1, document: policy.document.to_owned(), created: managed::CREATED }
}

pub(super) async fn get_policy_version(
    call: &Call<'_>,
    input: t::GetPolicyVersionInput,
) -> Answer<t::GetPolicyVersionOutput> {
    let account = call.account()?;
    call.authorize(&input.policy_arn)?;
    let wanted = number(&input.version_id);
    let missing = || no_version(&input.policy_arn, &input.version_id);
    let version = match managed::by_arn(&input.policy_arn) {
        Some(policy) if wanted == Some(1) => answers::version(&built_in_version(policy), 1, true),
        Some(_) => return Err(missing()),
        None => {
            let policy = find(&account, &input.policy_arn)?;
            let version = policy.versions.iter().find(|version| Some(version.number) == wanted).ok_or_else(missing)?;
            answers::version(version, policy.default_version, true)
        }
    };
    Ok(t::GetPolicyVersionOutput { policy_version: Some(version) })
}

pub(super) async fn list_policy_versions(
    call: &Call<'_>,
    input: t::ListPolicyVersionsInput,
) -> Answer<t::ListPolicyVersionsOutput> {
    let account = call.account()?;
    call.authorize(&input.policy_arn)?;
    let (versions, default) = match managed::by_arn(&input.policy_arn) {
        Some(policy) => (vec![built_in_version(policy)], 1),
        None => {
            let policy = find(&account, &input.policy_arn)?;
            (policy.versions.clone(), policy.default_version)
        }
    };
    // The newest first.
    let versions = versions.iter().rev();
    let versions = versions
        .map(|version| (format!("{:010}", u32::MAX - version.number), answers::version(version, default, false)));
    let page = page(versions, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListPolicyVersionsOutput { versions: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

pub(super) async fn set_default_policy_version(call: &Call<'_>, input: t::SetDefaultPolicyVersionInput) -> Answer<()> {
    call.authorize(&input.policy_arn)?;
    call.change(|change| {
        let mut policy = (**find(change, &input.policy_arn)?).clone();
        let wanted = number(&input.version_id).filter(|number| policy.versions.iter().any(|v| v.number == *number));
        policy.default_version = wanted.ok_or_else(|| no_version(&input.policy_arn, &input.version_id))?;
        policy.updated = change.now();
        change.put(policy);
        Ok(())
    })
    .await
}

pub(super) async fn delete_policy_version(call: &Call<'_>, input: t::DeletePolicyVersionInput) -> Answer<()> {
    call.authorize(&input.policy_arn)?;
    call.change(|change| {
        let mut policy = (**find(change, &input.policy_arn)?).clone();
        let wanted = number(&input.version_id).filter(|number| policy.versions.iter().any(|v| v.number == *number));
        let number = wanted.ok_or_else(|| no_version(&input.policy_arn, &input.version_id))?;
        if number == policy.default_version {
            return Err(ErrorCode::DeleteConflict.with("Cannot delete the default version of a policy."));
        }
        policy.versions.retain(|version| version.number != number);
        policy.updated = change.now();
        change.put(policy);
        Ok(())
    })
    .await
}

pub(super) async fn list_entities_for_policy(
    call: &Call<'_>,
    input: t::ListEntitiesForPolicyInput,
) -> Answer<t::ListEntitiesForPolicyOutput> {
    let account = call.account()?;
    call.authorize(&input.policy_arn)?;
    if managed::by_arn(&input.policy_arn).is_none() {
        find(&account, &input.policy_arn)?;
    }
    let arn = &input.policy_arn;
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let uses = |grants: &crate::model::Grants, path: &str| {
        let attached = grants.attached.contains(arn);
        let bounded = grants.boundary.as_ref() == Some(arn);
        let is_wanted = match input.policy_usage_filter {
            Some(t::PolicyUsageType::PermissionsPolicy) => attached,
            Some(t::PolicyUsageType::PermissionsBoundary) => bounded,
            None => attached || bounded,
        };
        is_wanted && path.starts_with(prefix)
    };
    let wants = |kind: t::EntityType| input.entity_filter.is_none_or(|filter| filter == kind);
    let mut found = Vec::new();
    if wants(t::EntityType::Group) {
        let groups = account.groups.iter().filter(|(_, group)| uses(&group.grants, &group.path));
        found.extend(groups.map(|(key, group)| (format!("1{key}"), group.name.clone(), group.id.clone())));
    }
    if wants(t::EntityType::User) {
        let users = account.users.iter().filter(|(_, user)| uses(&user.grants, &user.path));
        found.extend(users.map(|(key, user)| (format!("2{key}"), user.name.clone(), user.id.clone())));
    }
    if wants(t::EntityType::Role) {
        let roles = account.roles.iter().filter(|(_, role)| uses(&role.grants, &role.path));
        found.extend(roles.map(|(key, role)| (format!("3{key}"), role.name.clone(), role.id.clone())));
    }
    let found = found.into_iter().map(|(key, name, id)| (key.clone(), (key, name, id)));
    let page = page(found, input.marker.as_deref(), input.max_items)?;
    let mut answer = t::ListEntitiesForPolicyOutput {
        is_truncated: page.is_truncated,
        marker: page.marker,
        ..t::ListEntitiesForPolicyOutput::default()
    };
    for (key, name, id) in page.items {
        let (name, id) = (Some(name), Some(id));
        match key.as_bytes()[0] {
            b'1' => answer.policy_groups.push(t::PolicyGroup { group_name: name, group_id: id }),
            b'2' => answer.policy_users.push(t::PolicyUser { user_name: name, user_id: id }),
            _ => answer.policy_roles.push(t::PolicyRole { role_name: name, role_id: id }),
        }
    }
    Ok(answer)
}
