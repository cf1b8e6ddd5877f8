//! AssumeRole: the role's trust policy, and what the session takes along.

use std::sync::Arc;

use karri_iam_policy::{Context, Policies, Policy, PolicyKind, Principal, PrincipalKind, Request, Session, evaluate};
use karri_iam_wire::WireError;
use karri_iam_wire::sts::{ErrorCode, types as t};

use super::{Answer, Call, Grant, Limits, Who, credentials, limits, mfa, offer_tags, seconds, session_tags};
use crate::model::{Role, Tag};
use crate::state::Account;
use crate::{ids, names};

const DURATION_SECONDS_USUAL: u64 = 3600;
/// Longest session of a role that is taken by a role's session.
const CHAINED_SECONDS_MAX: u64 = 3600;
/// Tags of a session, those of earlier roles in the chain included.
const TAGS_MAX: usize = 50;

pub(super) async fn assume(call: &Call<'_>, input: t::AssumeRoleInput) -> Answer<t::AssumeRoleOutput> {
    let caller = call.caller()?.clone();
    let denied = || call.denied(&caller, "sts:AssumeRole", &input.role_arn, None);
    if caller.kind == PrincipalKind::AccountRoot {
        return Err(ErrorCode::AccessDenied.with("Roles may not be assumed by root accounts."));
    }
    if caller.kind == PrincipalKind::FederatedUser {
        return Err(denied());
    }
    if !input.provided_contexts.is_empty() {
        return Err(ErrorCode::InvalidParameterValue.with("ProvidedContexts are not supported."));
    }
    let (account, role) = find(call, &input.role_arn).ok_or_else(denied)?;
    let (tags, transitive) = session_tags_of(&caller, input.tags, &input.transitive_tag_keys)?;
    let source_identity = source_identity(&caller, input.source_identity)?;
    let mfa_at_seconds = mfa::verify(call, input.serial_number, input.token_code).await?;

    let mut context = call.context();
    context.set("sts:RoleSessionName", input.role_session_name.clone());
    context.set_all("sts:ExternalId", input.external_id.clone());
    context.set_all("sts:SourceIdentity", source_identity.clone());
    offer_tags(&mut context, &tags.requested, &transitive);
    let asking = with_mfa(&caller, mfa_at_seconds, call.now);
    let policies = call.store().view().policies(&caller);
    let mut actions = vec!["sts:AssumeRole"];
    actions.extend((!tags.requested.is_empty() || !tags.inherited.is_empty()).then_some("sts:TagSession"));
    actions.extend(source_identity.is_some().then_some("sts:SetSourceIdentity"));
    for action in actions {
        check_trust(call, &asking, action, (&account, &role), &policies, &context)?;
    }
    let tags = [tags.requested, tags.inherited].concat();
    let is_chained = matches!(caller.kind, PrincipalKind::AssumedRole { .. });
    let duration = duration(&role, input.duration_seconds, is_chained)?;
    let limits = limits(&account, input.policy, input.policy_arns, &tags)?;
    let session = Started {
        name: input.role_session_name,
        duration,
        mfa_at_seconds,
        tags,
        transitive,
        source_identity: source_identity.clone(),
        claims: Vec::new(),
    };
    let packed_policy_size = limits.packed_percent;
    let (credentials, user) = start(call, &account, &role, session, limits);
    Ok(t::AssumeRoleOutput {
        credentials: Some(credentials),
        assumed_role_user: Some(user),
        packed_policy_size,
        source_identity,
    })
}

/// The role of an ARN with its account.
pub(super) fn find(call: &Call<'_>, arn: &str) -> Option<(Arc<Account>, Arc<Role>)> {
    let (account_id, "role", path) = ids::parse_arn(arn)? else { return None };
    let account = call.store().view().account(account_id)?;
    let name = path.rsplit('/').next()?;
    let role = account.roles.get(&names::key(name))?.clone();
    (ids::arn(&account.id, "role", &role.path, &role.name) == arn).then_some((account, role))
}

/// Asks the role's trust policy, and the caller's own policies where it must.
pub(super) fn check_trust(
    call: &Call<'_>,
    caller: &Principal,
    action: &str,
    (account, role): (&Account, &Role),
    policies: &Policies,
    context: &Context<'_>,
) -> Answer<()> {
    let resource = ids::arn(&account.id, "role", &role.path, &role.name);
    let trust = Policy::parse(&role.trust, PolicyKind::Trust).map_err(|error| {
        tracing::error!(role = resource, %error, "a stored trust policy cannot be read");
        WireError::from(ErrorCode::InternalFailure)
    })?;
    let request = Request { principal: caller, action, resource: &resource, resource_account: &account.id, context };
    let decision = evaluate(&request, policies, Some(&trust));
    if decision.is_allowed() { Ok(()) } else { Err(call.denied(caller, action, &resource, Some(decision))) }
}

/// The caller as one who has just proved a second factor.
fn with_mfa(caller: &Principal, mfa_at_seconds: Option<u64>, now: u64) -> Principal {
    let mut caller = caller.clone();
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    if let Some(at) = mfa_at_seconds {
        let session =
            caller.session.get_or_insert_with(|| Session { issued_at_seconds: signed(now), ..Session::default() });
        session.mfa_at_seconds = Some(signed(at));
    }
    caller
}

pub(super) fn duration(role: &Role, given: Option<i32>, is_chained: bool) -> Answer<u64> {
    let duration = seconds(given, DURATION_SECONDS_USUAL);
    if is_chained && duration > CHAINED_SECONDS_MAX {
        let message =
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
        return Err(WireError::validation(message));
    }
    if duration > u64::from(role.session_seconds_max) {
        let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        return Err(WireError::validation(message));
    }
    Ok(duration)
}

struct Tags {
    requested: Vec<Tag>,
    /// Transitive ones of the session that asks.
    inherited: Vec<Tag>,
}

fn session_tags_of(caller: &Principal, given: Vec<t::Tag>, transitive: &[String]) -> Answer<(Tags, Vec<String>)> {
    let requested = session_tags(given)?;
    let same = |one: &str, other: &str| names::key(one) == names::key(other);
    if let Some(key) = transitive.iter().find(|key| !requested.iter().any(|(known, _)| same(known, key))) {
        let message = format!("The transitive tag key {key} is not among the tags of the request.");
        return Err(ErrorCode::InvalidParameterValue.with(message));
    }
    let passed_on = caller.session.as_ref().map(|session| session.transitive_tag_keys.clone()).unwrap_or_default();
    if let Some((key, _)) = requested.iter().find(|(key, _)| passed_on.iter().any(|known| same(known, key))) {
        let message = format!(
            "One of the specified transitive tag keys can't be set because it conflicts with a \
                               transitive tag key from the calling session: {key}"
        );
        return Err(ErrorCode::InvalidParameterValue.with(message));
    }
    let is_passed_on = |key: &str| passed_on.iter().any(|known| same(known, key));
    let inherited: Vec<Tag> = caller.tags.iter().filter(|(key, _)| is_passed_on(key)).cloned().collect();
    if requested.len() + inherited.len() > TAGS_MAX {
        return Err(ErrorCode::InvalidParameterValue.with(format!("A session has at most {TAGS_MAX} tags.")));
    }
    let transitive = transitive.iter().cloned().chain(passed_on).collect();
    Ok((Tags { requested, inherited }, transitive))
}

/// A source identity stays what it is for the whole chain.
fn source_identity(caller: &Principal, given: Option<String>) -> Answer<Option<String>> {
    let known = caller.session.as_ref().and_then(|session| session.source_identity.clone());
    match (known, given) {
        (Some(known), Some(given)) if known != given => {
            Err(ErrorCode::AccessDenied.with("The source identity of the calling session cannot be changed."))
        }
        (known, given) => Ok(given.or(known)),
    }
}

/// What a session of a role begins with.
pub(super) struct Started {
    pub(super) name: String,
    pub(super) duration: u64,
    pub(super) mfa_at_seconds: Option<u64>,
    pub(super) tags: Vec<Tag>,
    pub(super) transitive: Vec<String>,
    pub(super) source_identity: Option<String>,
    pub(super) claims: Vec<(String, Vec<String>)>,
}

pub(super) fn start(
    call: &Call<'_>,
    account: &Account,
    role: &Role,
    session: Started,
    limits: Limits,
) -> (t::Credentials, t::AssumedRoleUser) {
    let user = t::AssumedRoleUser {
        assumed_role_id: format!("{}:{}", role.id, session.name),
        arn: format!("arn:aws:sts::{}:assumed-role/{}/{}", account.id, role.name, session.name),
    };
    let issued = call.sts.sessions.issue(Grant {
        account_id: account.id.clone(),
        who: Who::Role { id: role.id.clone(), session: session.name },
        issued_at_seconds: call.now,
        expires_at_seconds: call.now + session.duration,
        mfa_at_seconds: session.mfa_at_seconds,
        policies: limits.policies,
        policy_arns: limits.arns,
        tags: session.tags,
        transitive_tag_keys: session.transitive,
        source_identity: session.source_identity,
        claims: session.claims,
    });
    (credentials(issued), user)
}
