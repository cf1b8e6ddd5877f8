//! Inline policies of users, groups and roles, and the managed policies that are attached to them.

use karri_iam_policy::{Policy, PolicyKind};
use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{Answer, Call, answers, groups, managed_policies, over_quota, roles, users};
use crate::model::{Grants, Group, Role, User};
use crate::state::Entity;

/// Managed policies that one identity may have attached.
const ATTACHED_MAX: usize = 20;

/// What has policies.
pub(super) trait Grantee: Entity {
    /// As refusals call it.
    const WORD: &'static str;
    /// Name of the quota of attached policies.
    const QUOTA: &'static str;
    /// Characters of all its inline policies together, without white space.
    const INLINE_LENGTH_MAX: usize;

    fn grants(&self) -> &Grants;
    fn grants_mut(&mut self) -> &mut Grants;
}

macro_rules! grantees {
    ($($entity:ty, $word:literal, $quota:literal, $length:literal;)*) => {
        $(impl Grantee for $entity {
            const WORD: &'static str = $word;
            const QUOTA: &'static str = $quota;
            const INLINE_LENGTH_MAX: usize = $length;

            fn grants(&self) -> &Grants {
                &self.grants
            }

            fn grants_mut(&mut self) -> &mut Grants {
                &mut self.grants
            }
        })*
    };
}

grantees! {
    User, "user", "PoliciesPerUser", 2048;
    Group, "group", "PoliciesPerGroup", 5120;
    Role, "role", "PoliciesPerRole", 10240;
}

/// Characters that count towards quotas.
pub(super) fn length(document: &str) -> usize {
    document.chars().filter(|character| !character.is_whitespace()).count()
}

/// Refuses a document that is no policy of its kind.
pub(super) fn check(document: &str, kind: PolicyKind) -> Answer<()> {
    match Policy::parse(document, kind) {
        Ok(_) => Ok(()),
        Err(error) => Err(ErrorCode::MalformedPolicyDocument.with(error.to_string())),
    }
}

fn no_such_policy<T: Grantee>(name: &str) -> karri_iam_wire::WireError {
    ErrorCode::NoSuchEntity.with(format!("The {} policy with name {name} cannot be found.", T::WORD))
}

/// Gives an identity an inline policy, within its quota.
pub(super) fn put<T: Grantee>(entity: &mut T, name: &str, document: &str) -> Answer<()> {
    entity.grants_mut().inline.insert(name.to_owned(), document.to_owned());
    let total: usize = entity.grants().inline.values().map(|document| length(document)).sum();
    if total > T::INLINE_LENGTH_MAX {
        let message =
            format!("Maximum policy size of {} bytes exceeded for {} {}", T::INLINE_LENGTH_MAX, T::WORD, entity.key());
        return Err(ErrorCode::LimitExceeded.with(message));
    }
    Ok(())
}

fn attach<T: Grantee>(entity: &mut T, arn: &str) -> Answer<()> {
    let attached = &mut entity.grants_mut().attached;
    if attached.iter().any(|known| known == arn) {
        return Ok(());
    }
    if attached.len() >= ATTACHED_MAX {
        return Err(over_quota(T::QUOTA, ATTACHED_MAX));
    }
    attached.push(arn.to_owned());
    Ok(())
}

fn detach<T: Grantee>(entity: &mut T, arn: &str) -> Answer<()> {
    let attached = &mut entity.grants_mut().attached;
    let before = attached.len();
    attached.retain(|known| known != arn);
    if attached.len() == before {
        return Err(ErrorCode::NoSuchEntity.with(format!("Policy {arn} was not found.")));
    }
    Ok(())
}

fn attached_page(
    grants: &Grants,
    prefix: Option<&str>,
    marker: Option<&str>,
    max_items: Option<i32>,
) -> Answer<super::paging::Page<t::AttachedPolicy>> {
    let prefix = prefix.unwrap_or("/");
    let in_path = |arn: &&String| match crate::ids::parse_arn(arn) {
        Some((_, _, path)) => path.starts_with(prefix),
        None => false,
    };
    let mut arns: Vec<_> = grants.attached.iter().filter(in_path).collect();
    arns.sort();
    page(arns.into_iter().map(|arn| (arn.clone(), answers::attached(arn))), marker, max_items)
}

/// The seven actions on the policies of one kind of identity.
macro_rules! actions {
    (
        $name:ident, $find:path, $resource:path,
        $put:ident($Put:ident), $get:ident($Get:ident, $Got:ident), $delete:ident($Delete:ident),
        $list:ident($List:ident, $Listed:ident), $attach:ident($Attach:ident), $detach:ident($Detach:ident),
        $list_attached:ident($ListAttached:ident, $ListedAttached:ident), $Entity:ty
    ) => {
        pub(super) async fn $put(call: &Call<'_>, input: t::$Put) -> Answer<()> {
            call.authorize(&$resource(&*call.account()?, &input.$name))?;
            $find(&*call.account()?, &input.$name)?;
            check(&input.policy_document, PolicyKind::Identity)?;
            call.change(|change| {
                let mut entity = (**$find(change, &input.$name)?).clone();
                put(&mut entity, &input.policy_name, &input.policy_document)?;
                change.put(entity);
                Ok(())
            })
            .await
        }

        pub(super) async fn $get(call: &Call<'_>, input: t::$Get) -> Answer<t::$Got> {
            let account = call.account()?;
            call.authorize(&$resource(&account, &input.$name))?;
            let entity = $find(&account, &input.$name)?;
            let document = entity.grants().inline.get(&input.policy_name);
            let document = document.ok_or_else(|| no_such_policy::<$Entity>(&input.policy_name))?;
            Ok(t::$Got {
                $name: entity.name.clone(),
                policy_name: input.policy_name,
                policy_document: answers::document(document),
            })
        }

        pub(super) async fn $delete(call: &Call<'_>, input: t::$Delete) -> Answer<()> {
            call.authorize(&$resource(&*call.account()?, &input.$name))?;
            call.change(|change| {
                let mut entity = (**$find(change, &input.$name)?).clone();
                if entity.grants_mut().inline.remove(&input.policy_name).is_none() {
                    return Err(no_such_policy::<$Entity>(&input.policy_name));
                }
                change.put(entity);
                Ok(())
            })
            .await
        }

        pub(super) async fn $list(call: &Call<'_>, input: t::$List) -> Answer<t::$Listed> {
            let account = call.account()?;
            call.authorize(&$resource(&account, &input.$name))?;
            let names = $find(&account, &input.$name)?.grants().inline.keys();
            let names = names.map(|name| (name.clone(), name.clone()));
            let page = page(names, input.marker.as_deref(), input.max_items)?;
            Ok(t::$Listed { policy_names: page.items, is_truncated: page.is_truncated, marker: page.marker })
        }

        pub(super) async fn $attach(call: &Call<'_>, input: t::$Attach) -> Answer<()> {
            let keys = [("iam:PolicyARN", vec![input.policy_arn.clone()])];
            call.authorize_with(&$resource(&*call.account()?, &input.$name), &keys)?;
            call.change(|change| {
                let mut entity = (**$find(change, &input.$name)?).clone();
                managed_policies::require(change, &input.policy_arn)?;
                attach(&mut entity, &input.policy_arn)?;
                change.put(entity);
                Ok(())
            })
            .await
        }

        pub(super) async fn $detach(call: &Call<'_>, input: t::$Detach) -> Answer<()> {
            let keys = [("iam:PolicyARN", vec![input.policy_arn.clone()])];
            call.authorize_with(&$resource(&*call.account()?, &input.$name), &keys)?;
            call.change(|change| {
                let mut entity = (**$find(change, &input.$name)?).clone();
                detach(&mut entity, &input.policy_arn)?;
                change.put(entity);
                Ok(())
            })
            .await
        }

        pub(super) async fn $list_attached(call: &Call<'_>, input: t::$ListAttached) -> Answer<t::$ListedAttached> {
            let account = call.account()?;
            call.authorize(&$resource(&account, &input.$name))?;
            let grants = $find(&account, &input.$name)?.grants();
            let page = attached_page(grants, input.path_prefix.as_deref(), input.marker.as_deref(), input.max_items)?;
            Ok(t::$ListedAttached {
                attached_policies: page.items,
                is_truncated: page.is_truncated,
                marker: page.marker,
            })
        }
    };
}

actions!(
    user_name,
    users::find,
    users::resource,
    put_user_policy(PutUserPolicyInput),
    get_user_policy(GetUserPolicyInput, GetUserPolicyOutput),
    delete_user_policy(DeleteUserPolicyInput),
    list_user_policies(ListUserPoliciesInput, ListUserPoliciesOutput),
    attach_user_policy(AttachUserPolicyInput),
    detach_user_policy(DetachUserPolicyInput),
    list_attached_user_policies(ListAttachedUserPoliciesInput, ListAttachedUserPoliciesOutput),
    User
);
actions!(
    group_name,
    groups::find,
    groups::resource,
    put_group_policy(PutGroupPolicyInput),
    get_group_policy(GetGroupPolicyInput, GetGroupPolicyOutput),
    delete_group_policy(DeleteGroupPolicyInput),
    list_group_policies(ListGroupPoliciesInput, ListGroupPoliciesOutput),
    attach_group_policy(AttachGroupPolicyInput),
    detach_group_policy(DetachGroupPolicyInput),
    list_attached_group_policies(ListAttachedGroupPoliciesInput, ListAttachedGroupPoliciesOutput),
    Group
);
actions!(
    role_name,
    roles::find,
    roles::resource,
    put_role_policy(PutRolePolicyInput),
    get_role_policy(GetRolePolicyInput, GetRolePolicyOutput),
    delete_role_policy(DeleteRolePolicyInput),
    list_role_policies(ListRolePoliciesInput, ListRolePoliciesOutput),
    attach_role_policy(AttachRolePolicyInput),
    detach_role_policy(DetachRolePolicyInput),
    list_attached_role_policies(ListAttachedRolePoliciesInput, ListAttachedRolePoliciesOutput),
    Role
);
