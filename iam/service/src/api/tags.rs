//! Tags of users, roles, policies, profiles, devices, providers and certificates.

use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{Answer, Call, certificates, mfa, oidc, profiles, roles, users, wire_tags};
use crate::change::Change;
use crate::model::{InstanceProfile, ManagedPolicy, MfaDevice, OidcProvider, Role, ServerCertificate, Tag, User};
use crate::state::{Account, Entity};

/// Tags of one thing.
const TAGS_MAX: usize = 50;

/// What has tags.
pub(super) trait Tagged: Entity {
    fn tags(&self) -> &[Tag];
    fn tags_mut(&mut self) -> &mut Vec<Tag>;
}

macro_rules! tagged {
    ($($entity:ty)*) => {
        $(impl Tagged for $entity {
            fn tags(&self) -> &[Tag] {
                &self.tags
            }

            fn tags_mut(&mut self) -> &mut Vec<Tag> {
                &mut self.tags
            }
        })*
    };
}

tagged! { User Role ManagedPolicy InstanceProfile MfaDevice OidcProvider ServerCertificate }

/// Tags of a request that makes something, or adds them.
pub(super) fn checked(tags: Vec<t::Tag>) -> Answer<Vec<Tag>> {
    let mut checked: Vec<Tag> = Vec::with_capacity(tags.len());
    for tag in tags {
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            let message = "Tag keys that begin with aws: are reserved and cannot be set";
            return Err(ErrorCode::InvalidInput.with(message));
        }
        if checked.iter().any(|(key, _)| key.eq_ignore_ascii_case(&tag.key)) {
            let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(ErrorCode::InvalidInput.with(message));
        }
        checked.push((tag.key, tag.value));
    }
    if checked.len() > TAGS_MAX {
        return Err(super::over_quota("TagsPerResource", TAGS_MAX));
    }
    Ok(checked)
}

/// Condition keys of a request that brings tags.
pub(super) fn keys(tags: &[t::Tag]) -> Vec<(String, Vec<String>)> {
    let mut keys: Vec<_> =
        tags.iter().map(|tag| (format!("aws:RequestTag/{}", tag.key), vec![tag.value.clone()])).collect();
    if !tags.is_empty() {
        keys.push(("aws:TagKeys".to_owned(), tags.iter().map(|tag| tag.key.clone()).collect()));
    }
    keys
}

fn add<T: Tagged>(change: &mut Change, found: &T, tags: &[Tag]) -> Answer<()> {
    let mut entity = found.clone();
    for (key, value) in tags {
        match entity.tags_mut().iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(key)) {
            Some(known) => *known = (key.clone(), value.clone()),
            None => entity.tags_mut().push((key.clone(), value.clone())),
        }
    }
    if entity.tags().len() > TAGS_MAX {
        return Err(super::over_quota("TagsPerResource", TAGS_MAX));
    }
    change.put(entity);
    Ok(())
}

fn remove<T: Tagged>(change: &mut Change, found: &T, keys: &[String]) {
    let mut entity = found.clone();
    entity.tags_mut().retain(|(tag, _)| !keys.iter().any(|key| key.eq_ignore_ascii_case(tag)));
    change.put(entity);
}

/// The three actions on the tags of one kind: `find` looks it up by what the request names, `resource` is its ARN.
macro_rules! actions {
    ($tag:ident, $untag:ident, $list:ident, $Tag:ident, $Untag:ident, $List:ident, $Listed:ident, $name:ident, $find:path, $resource:path) => {
        pub(super) async fn $tag(call: &Call<'_>, input: t::$Tag) -> Answer<()> {
            authorize(call, &$resource(&*call.account()?, &input.$name), &keys(&input.tags))?;
            let tags = checked(input.tags)?;
            call.change(|change| {
                let found = $find(change, &input.$name)?.clone();
                add(change, &*found, &tags)
            })
            .await
        }

        pub(super) async fn $untag(call: &Call<'_>, input: t::$Untag) -> Answer<()> {
            let keys = [("aws:TagKeys".to_owned(), input.tag_keys.clone())];
            authorize(call, &$resource(&*call.account()?, &input.$name), &keys)?;
            call.change(|change| {
                let found = $find(change, &input.$name)?.clone();
                remove(change, &*found, &input.tag_keys);
                Ok(())
            })
            .await
        }

        pub(super) async fn $list(call: &Call<'_>, input: t::$List) -> Answer<t::$Listed> {
            let account = call.account()?;
            call.authorize(&$resource(&account, &input.$name))?;
            let found = $find(&account, &input.$name)?;
            let (tags, is_truncated, marker) = sorted(found.tags(), input.marker.as_deref(), input.max_items)?;
            Ok(t::$Listed { tags, is_truncated, marker })
        }
    };
}

fn authorize(call: &Call<'_>, resource: &str, keys: &[(String, Vec<String>)]) -> Answer<()> {
    let keys: Vec<_> = keys.iter().map(|(key, values)| (key.as_str(), values.clone())).collect();
    call.authorize_with(resource, &keys)
}

fn sorted(
    tags: &[Tag],
    marker: Option<&str>,
    max_items: Option<i32>,
) -> Answer<(Vec<t::Tag>, Option<bool>, Option<String>)> {
    let mut tags = wire_tags(tags);
    tags.sort_by(|left, right| left.key.cmp(&right.key));
    let page = page(tags.into_iter().map(|tag| (tag.key.clone(), tag)), marker, max_items)?;
    Ok((page.items, page.is_truncated, page.marker))
}

/// The ARN of a policy is what the request names.
fn policy_resource(_: &Account, arn: &str) -> String {
    arn.to_owned()
}

actions!(
    tag_user,
    untag_user,
    list_user_tags,
    TagUserInput,
    UntagUserInput,
    ListUserTagsInput,
    ListUserTagsOutput,
    user_name,
    users::find,
    users::resource
);
actions!(
    tag_role,
    untag_role,
    list_role_tags,
    TagRoleInput,
    UntagRoleInput,
    ListRoleTagsInput,
    ListRoleTagsOutput,
    role_name,
    roles::find,
    roles::resource
);
actions!(
    tag_policy,
    untag_policy,
    list_policy_tags,
    TagPolicyInput,
    UntagPolicyInput,
    ListPolicyTagsInput,
    ListPolicyTagsOutput,
    policy_arn,
    super::managed_policies::find,
    policy_resource
);
actions!(
    tag_instance_profile,
    untag_instance_profile,
    list_instance_profile_tags,
    TagInstanceProfileInput,
    UntagInstanceProfileInput,
    ListInstanceProfileTagsInput,
    ListInstanceProfileTagsOutput,
    instance_profile_name,
    profiles::find,
    profiles::resource
);
actions!(
    tag_mfa_device,
    untag_mfa_device,
    list_mfa_device_tags,
    TagMfaDeviceInput,
    UntagMfaDeviceInput,
    ListMfaDeviceTagsInput,
    ListMfaDeviceTagsOutput,
    serial_number,
    mfa::find,
    policy_resource
);
actions!(
    tag_open_id_connect_provider,
    untag_open_id_connect_provider,
    list_open_id_connect_provider_tags,
    TagOpenIdConnectProviderInput,
    UntagOpenIdConnectProviderInput,
    ListOpenIdConnectProviderTagsInput,
    ListOpenIdConnectProviderTagsOutput,
    open_id_connect_provider_arn,
    oidc::find,
    policy_resource
);
actions!(
    tag_server_certificate,
    untag_server_certificate,
    list_server_certificate_tags,
    TagServerCertificateInput,
    UntagServerCertificateInput,
    ListServerCertificateTagsInput,
    ListServerCertificateTagsOutput,
    server_certificate_name,
    certificates::find,
    certificates::resource
);
