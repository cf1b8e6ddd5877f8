//! What policies would decide, without doing it.

use std::sync::Arc;

use karri_iam_policy::{
    Cause, Context, Decision, Policies, Policy, PolicyKind, PolicySource, Principal, PrincipalKind, Reason, Request,
    evaluate,
};
use karri_iam_wire::WireError;
use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{Answer, Call, answers, groups, record, roles, users};
use crate::ids;
use crate::model::Grants;
use crate::state::Account;
use crate::view::principal_of_user;

/// Pairs of actions and resources of one request.
const RESULTS_MAX: usize = 10_000;

/// A policy with the name by which results speak of it.
struct Named {
    id: String,
    kind: &'static str,
    policy: Arc<Policy>,
}

/// What is asked.
struct Simulation {
    identity: Vec<Named>,
    boundary: Vec<Named>,
    resource: Option<Named>,
    resource_account: String,
    principal: Principal,
    entries: Vec<t::ContextEntry>,
}

fn parse(text: &str, kind: PolicyKind, id: String, word: &'static str) -> Answer<Named> {
    match Policy::parse(text, kind) {
        Ok(policy) => Ok(Named { id, kind: word, policy: Arc::new(policy) }),
        Err(error) => Err(ErrorCode::InvalidInput.with(format!("The policy {id} is not valid: {error}"))),
    }
}

fn inputs(texts: &[String], prefix: &str) -> Answer<Vec<Named>> {
    let numbered = texts.iter().enumerate();
    numbered
        .map(|(index, text)| parse(text, PolicyKind::Identity, format!("{prefix}.{}", index + 1), "IAM Policy"))
        .collect()
}

/// Policies of an identity, by name.
fn of_grants(call: &Call<'_>, account: &Account, grants: &Grants, word: &'static str) -> Answer<Vec<Named>> {
    let mut all = Vec::new();
    for (name, document) in &grants.inline {
        all.push(parse(document, PolicyKind::Identity, name.clone(), word)?);
    }
    for arn in &grants.attached {
        all.extend(managed(call, account, arn)?);
    }
    Ok(all)
}

fn managed(call: &Call<'_>, account: &Account, arn: &str) -> Answer<Option<Named>> {
    let document = call.view().managed_policy(account, arn);
    document.map(|document| parse(&document, PolicyKind::Identity, arn.to_owned(), "IAM Policy")).transpose()
}

/// An identity's policies, the bound on them, and itself as policies see it.
struct Source {
    identity: Vec<Named>,
    boundary: Option<Named>,
    principal: Principal,
}

fn source(call: &Call<'_>, arn: &str) -> Answer<Source> {
    let account = call.account()?;
    let record = record(&account)?;
    let invalid = || {
        ErrorCode::InvalidInput.with(format!("Invalid Entity Arn: {arn} does not clearly define entity type and name."))
    };
    let (account_id, kind, path) = ids::parse_arn(arn).ok_or_else(invalid)?;
    let name = path.rsplit('/').next().unwrap_or_default();
    if account_id != account.id {
        return Err(ErrorCode::NoSuchEntity.with(format!("The entity {arn} cannot be found.")));
    }
    let (grants, principal, word) = match kind {
        "user" => {
            let user = users::find(&account, name)?;
            (&user.grants, principal_of_user(record, user), "user")
        }
        "group" => {
            let group = groups::find(&account, name)?;
            let mut principal = Principal::account_root(account.id.clone(), record.canonical_id.clone());
            principal.kind = PrincipalKind::User;
            (&group.grants, principal, "group")
        }
        "role" => {
            let role = roles::find(&account, name)?;
            let mut principal = Principal::account_root(account.id.clone(), record.canonical_id.clone());
            let (role_id, role_name) = (role.id.clone(), role.name.clone());
            principal.kind = PrincipalKind::AssumedRole { role_arn: arn.to_owned(), role_id, role_name };
            principal.tags.clone_from(&role.tags);
            (&role.grants, principal, "role")
        }
        _ => return Err(invalid()),
    };
    // What was authorised is the ARN as it was given.
    let known = match kind {
        "user" => users::resource(&account, name),
        "group" => groups::resource(&account, name),
        _ => roles::resource(&account, name),
    };
    if known != arn {
        return Err(ErrorCode::NoSuchEntity.with(format!("The entity {arn} cannot be found.")));
    }
    let mut identity = of_grants(call, &account, grants, word)?;
    if kind == "user" {
        for id in &users::find(&account, name)?.groups {
            if let Some(group) = account.group_by_id(id) {
                identity.extend(of_grants(call, &account, &group.grants, "group")?);
            }
        }
    }
    let boundary = match &grants.boundary {
        Some(arn) => managed(call, &account, arn)?,
        None => None,
    };
    Ok(Source { identity, boundary, principal })
}

/// The caller that a custom simulation speaks of.
fn caller(call: &Call<'_>, arn: Option<&str>) -> Principal {
    let mut principal = Principal::account_root(call.account_id(), call.info.caller.canonical_id.clone());
    principal.kind = PrincipalKind::User;
    principal.unique_id = "AIDASIMULATED".to_owned();
    principal.arn = arn.map_or_else(|| call.arn("user", "/", "simulated"), str::to_owned);
    principal.name = principal.arn.rsplit('/').next().unwrap_or_default().to_owned();
    principal
}

fn position((line, column): (usize, usize)) -> Option<t::Position> {
    Some(t::Position { line: Some(answers::count(line)), column: Some(answers::count(column)) })
}

impl Simulation {
    fn decide(&self, action: &str, resource: &str, now_seconds: i64) -> t::EvaluationResult {
        let mut context = Context::new(now_seconds);
        for entry in &self.entries {
            if let Some(name) = &entry.context_key_name {
                context.simulate_all(name.as_str(), entry.context_key_values.iter().map(String::as_str));
            }
        }
        let boundary = self.boundary.first();
        let policies = Policies {
            identity: self.identity.iter().map(|named| named.policy.clone()).collect(),
            boundary: boundary.map(|named| named.policy.clone()),
            account: Vec::new(),
        };
        let resource_account = &*self.resource_account;
        let request = Request { principal: &self.principal, action, resource, resource_account, context: &context };
        let decision = evaluate(&request, &policies, self.resource.as_ref().map(|named| &*named.policy));
        let (word, cause) = match decision {
            Decision::Allow(Reason::Statement(cause)) => ("allowed", Some(cause)),
            Decision::Allow(_) => ("allowed", None),
            Decision::ExplicitDeny(cause) => ("explicitDeny", Some(cause)),
            Decision::ImplicitDeny(_) => ("implicitDeny", None),
        };
        let bounded = boundary.map(|_| t::PermissionsBoundaryDecisionDetail {
            allowed_by_permissions_boundary: Some(decision != Decision::ImplicitDeny(PolicySource::Boundary)),
        });
        t::EvaluationResult {
            eval_action_name: action.to_owned(),
            eval_resource_name: Some(resource.to_owned()),
            eval_decision: word.to_owned(),
            matched_statements: cause.and_then(|cause| self.statement(cause)).into_iter().collect(),
            missing_context_values: self.missing(&context),
            permissions_boundary_decision_detail: bounded,
            ..t::EvaluationResult::default()
        }
    }

    fn statement(&self, cause: Cause) -> Option<t::Statement> {
        let named = match cause.source {
            PolicySource::Identity => self.identity.get(cause.policy)?,
            PolicySource::Boundary => self.boundary.first()?,
            PolicySource::Resource => self.resource.as_ref()?,
            PolicySource::Session => return None,
        };
        let span = named.policy.statements().get(cause.statement)?.span();
        Some(t::Statement {
            source_policy_id: Some(named.id.clone()),
            source_policy_type: Some(named.kind.to_owned()),
            start_position: position(span.start),
            end_position: position(span.end),
        })
    }

    /// Keys that conditions ask for and the request does not give.
    fn missing(&self, context: &Context<'_>) -> Vec<String> {
        let policies = self.identity.iter().chain(&self.boundary).chain(&self.resource);
        let mut keys: Vec<String> =
            policies.flat_map(|named| named.policy.condition_keys().map(str::to_owned).collect::<Vec<_>>()).collect();
        keys.sort_by_key(|key| key.to_ascii_lowercase());
        keys.dedup_by(|left, right| left.eq_ignore_ascii_case(right));
        keys.retain(|key| context.get(key).is_none() && !is_of_principal(key));
        keys
    }

    fn run(
        &self,
        actions: &[String],
        resources: &[String],
        now_seconds: i64,
    ) -> Answer<Vec<(String, t::EvaluationResult)>> {
        let everything = ["*".to_owned()];
        let resources = if resources.is_empty() { &everything[..] } else { resources };
        if actions.len().saturating_mul(resources.len()) > RESULTS_MAX {
            return Err(ErrorCode::InvalidInput.with("Too many actions and resources at once."));
        }
        let pairs = actions.iter().flat_map(|action| resources.iter().map(move |resource| (action, resource)));
        let results = pairs
            .enumerate()
            .map(|(index, (action, resource))| (format!("{index:06}"), self.decide(action, resource, now_seconds)));
        Ok(results.collect())
    }
}

/// Keys that the simulated caller itself fills.
fn is_of_principal(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["aws:username", "aws:userid", "aws:principal", "aws:currenttime", "aws:epochtime"]
        .iter()
        .any(|own| key.starts_with(own))
}

fn now_seconds(call: &Call<'_>) -> i64 {
    i64::try_from(call.store().clock().now().as_secs()).unwrap_or(i64::MAX)
}

fn resource_policy(text: Option<&String>) -> Answer<Option<Named>> {
    text.map(|text| parse(text, PolicyKind::Resource, "ResourcePolicy".to_owned(), "Resource Policy")).transpose()
}

fn resource_account(call: &Call<'_>, owner: Option<&str>) -> String {
    // Given as `arn:aws:iam::<account>:root` or as the id.
    let owner = owner.map(|owner| ids_of_owner(owner).unwrap_or(owner));
    owner.unwrap_or(call.account_id()).to_owned()
}

fn ids_of_owner(owner: &str) -> Option<&str> {
    owner.strip_prefix("arn:aws:iam::")?.split(':').next()
}

pub(super) async fn simulate_custom_policy(
    call: &Call<'_>,
    input: t::SimulateCustomPolicyInput,
) -> Answer<t::SimulateCustomPolicyOutput> {
    call.authorize("*")?;
    let simulation = Simulation {
        identity: inputs(&input.policy_input_list, "PolicyInputList")?,
        boundary: inputs(&input.permissions_boundary_policy_input_list, "PermissionsBoundaryPolicyInputList")?,
        resource: resource_policy(input.resource_policy.as_ref())?,
        resource_account: resource_account(call, input.resource_owner.as_deref()),
        principal: caller(call, input.caller_arn.as_deref()),
        entries: input.context_entries,
    };
    let results = simulation.run(&input.action_names, &input.resource_arns, now_seconds(call))?;
    let page = page(results, input.marker.as_deref(), input.max_items)?;
    Ok(t::SimulateCustomPolicyOutput {
        evaluation_results: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub(super) async fn simulate_principal_policy(
    call: &Call<'_>,
    input: t::SimulatePrincipalPolicyInput,
) -> Answer<t::SimulatePrincipalPolicyOutput> {
    call.authorize(&input.policy_source_arn)?;
    let mut source = source(call, &input.policy_source_arn)?;
    source.identity.extend(inputs(&input.policy_input_list, "PolicyInputList")?);
    let given = inputs(&input.permissions_boundary_policy_input_list, "PermissionsBoundaryPolicyInputList")?;
    let boundary = if given.is_empty() { source.boundary.into_iter().collect() } else { given };
    let simulation = Simulation {
        identity: source.identity,
        boundary,
        resource: resource_policy(input.resource_policy.as_ref())?,
        resource_account: resource_account(call, input.resource_owner.as_deref()),
        principal: source.principal,
        entries: input.context_entries,
    };
    let results = simulation.run(&input.action_names, &input.resource_arns, now_seconds(call))?;
    let page = page(results, input.marker.as_deref(), input.max_items)?;
    Ok(t::SimulatePrincipalPolicyOutput {
        evaluation_results: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

fn key_names(policies: &[Named]) -> Vec<String> {
    let mut keys: Vec<String> =
        policies.iter().flat_map(|named| named.policy.condition_keys().map(str::to_owned)).collect();
    keys.sort();
    keys.dedup();
    keys
}

pub(super) async fn get_context_keys_for_custom_policy(
    call: &Call<'_>,
    input: t::GetContextKeysForCustomPolicyInput,
) -> Result<t::GetContextKeysForCustomPolicyOutput, WireError> {
    call.authorize("*")?;
    let policies = inputs(&input.policy_input_list, "PolicyInputList")?;
    Ok(t::GetContextKeysForCustomPolicyOutput { context_key_names: key_names(&policies) })
}

pub(super) async fn get_context_keys_for_principal_policy(
    call: &Call<'_>,
    input: t::GetContextKeysForPrincipalPolicyInput,
) -> Result<t::GetContextKeysForPrincipalPolicyOutput, WireError> {
    call.authorize(&input.policy_source_arn)?;
    let mut policies = source(call, &input.policy_source_arn)?.identity;
    policies.extend(inputs(&input.policy_input_list, "PolicyInputList")?);
    Ok(t::GetContextKeysForPrincipalPolicyOutput { context_key_names: key_names(&policies) })
}
