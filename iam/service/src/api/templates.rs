//! Roles for delegation that are shipped: listed, shown, compared and installed into the caller's account.

use karri_iam_templates::{Parameter, ParameterKind, Template, TemplateError, all, differences};
use karri_iam_wire::WireError;
use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::roles::ROLES_MAX;
use super::{Answer, Call, answers, inline, over_quota, roles};
use crate::change::Change;
use crate::ids;
use crate::model::{Grants, Role};
use crate::names;

/// Longest session of a role that is made from a template.
const SESSION_SECONDS_MAX: u32 = 3600;

fn find(name: &str) -> Answer<Template> {
    let missing = || ErrorCode::NoSuchEntity.with(format!("The role template with name {name} cannot be found."));
    karri_iam_templates::find(name).ok_or_else(missing)
}

fn render(template: &Template, values: &[t::TemplateParameterValue]) -> Answer<String> {
    let pairs: Vec<_> = values.iter().map(|given| (&*given.parameter_name, &*given.parameter_value)).collect();
    let twice = pairs.iter().enumerate().find(|(at, (name, _))| pairs[..*at].iter().any(|(known, _)| known == name));
    if let Some((_, (name, _))) = twice {
        return Err(ErrorCode::InvalidInput.with(format!("The parameter {name} is given more than once.")));
    }
    template.render(&pairs).map_err(|error| match error {
        TemplateError::Policy(_) => WireError::from(ErrorCode::InternalFailure),
        error => ErrorCode::InvalidInput.with(error.to_string()),
    })
}

fn shown(template: &Template) -> t::RoleTemplate {
    let parameter = |(name, parameter): (&String, &Parameter)| t::RoleTemplateParameter {
        parameter_name: name.clone(),
        description: parameter.description.clone(),
        kind: match parameter.kind {
            ParameterKind::Bucket => "bucket".to_owned(),
            ParameterKind::Prefix => "prefix".to_owned(),
        },
        default_value: parameter.default.clone(),
    };
    t::RoleTemplate {
        template_name: template.name.clone(),
        description: template.description.clone(),
        parameters: template.parameters.iter().map(parameter).collect(),
    }
}

pub(super) async fn list_role_templates(
    call: &Call<'_>,
    input: t::ListRoleTemplatesInput,
) -> Answer<t::ListRoleTemplatesOutput> {
    call.authorize("*")?;
    let templates = all().into_iter().map(|template| (names::key(&template.name), shown(&template)));
    let mut templates: Vec<_> = templates.collect();
    templates.sort_by(|(left, _), (right, _)| left.cmp(right));
    let page = page(templates, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListRoleTemplatesOutput { role_templates: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

pub(super) async fn get_role_template(
    call: &Call<'_>,
    input: t::GetRoleTemplateInput,
) -> Answer<t::GetRoleTemplateOutput> {
    call.authorize("*")?;
    let template = find(&input.template_name)?;
    let policy_document = answers::document(&render(&template, &input.parameters)?);
    Ok(t::GetRoleTemplateOutput { role_template: shown(&template), policy_document })
}

pub(super) async fn compare_role_template(
    call: &Call<'_>,
    input: t::CompareRoleTemplateInput,
) -> Answer<t::CompareRoleTemplateOutput> {
    let account = call.account()?;
    let role_name = input.role_name.as_deref().unwrap_or(&input.template_name);
    let resource = roles::resource(&account, role_name);
    call.authorize(&resource)?;
    // It shows the role's policy.
    call.authorize_also("iam:GetRolePolicy", &resource)?;
    let template = find(&input.template_name)?;
    let shipped = render(&template, &input.parameters)?;
    let role = account.roles.get(&names::key(role_name));
    let there = role.and_then(|role| role.grants.inline.get(&template.name));
    let lines = there.map(|there| differences(there, &shipped)).unwrap_or_default();
    Ok(t::CompareRoleTemplateOutput {
        is_installed: there.is_some(),
        is_current: there.is_some() && lines.is_empty(),
        differences: lines,
    })
}

pub(super) async fn install_role_template(
    call: &Call<'_>,
    input: t::InstallRoleTemplateInput,
) -> Answer<t::InstallRoleTemplateOutput> {
    let account = call.account()?;
    let role_name = input.role_name.as_deref().unwrap_or(&input.template_name);
    let resource = roles::resource(&account, role_name);
    call.authorize(&resource)?;
    // Nobody gets a role or a policy by this that it could not make by itself.
    if !account.roles.contains_key(&names::key(role_name)) {
        call.authorize_also("iam:CreateRole", &resource)?;
    }
    call.authorize_also("iam:PutRolePolicy", &resource)?;
    let template = find(&input.template_name)?;
    let document = render(&template, &input.parameters)?;
    let role_name = input.role_name.as_deref().unwrap_or(&template.name);
    let id = ids::unique(call.store().rng(), "AROA");
    call.change(|change| {
        let role = install(change, &id, role_name, (&template.name, &document))?;
        Ok(t::InstallRoleTemplateOutput { role: answers::role(&change.id, &role) })
    })
    .await
}

/// Gives the account a role that its own identities may take, with one inline policy. A role that is there keeps all
/// else that it has. `id` is that of a new role.
pub(crate) fn install(
    change: &mut Change,
    id: &str,
    role_name: &str,
    (policy, document): (&str, &str),
) -> Answer<Role> {
    let mut role = match change.roles.get(&names::key(role_name)) {
        Some(there) => (**there).clone(),
        None if change.roles.len() >= ROLES_MAX => return Err(over_quota("RolesPerAccount", ROLES_MAX)),
        None => Role {
            name: role_name.to_owned(),
            id: id.to_owned(),
            path: "/".to_owned(),
            created: change.now(),
            tags: Vec::new(),
            grants: Grants::default(),
            trust: format!(
                r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "arn:aws:iam::{}:root"}}, "Action": "sts:AssumeRole"}}]}}"#,
                change.id
            ),
            description: Some(format!("Made from the template {policy}")),
            session_seconds_max: SESSION_SECONDS_MAX,
        },
    };
    inline::put(&mut role, policy, document)?;
    change.put(role.clone());
    Ok(role)
}
