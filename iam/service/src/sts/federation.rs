//! Sessions of users and of federated users.

use karri_iam_policy::PrincipalKind;
use karri_iam_wire::sts::{ErrorCode, types as t};

use super::{Answer, Call, Grant, Who, credentials, limits, mfa, offer_tags, seconds, session_tags};

const DURATION_SECONDS_USUAL: u64 = 43_200;
/// Longest session of a root user.
const ROOT_SECONDS_MAX: u64 = 3600;

pub(super) async fn session_token(call: &Call<'_>, input: t::GetSessionTokenInput) -> Answer<t::GetSessionTokenOutput> {
    call.require_no_session("GetSessionToken")?;
    let caller = call.caller()?;
    let who = match &caller.kind {
        PrincipalKind::AccountRoot => Who::Root,
        _ => Who::User(caller.unique_id.clone()),
    };
    let mut duration = seconds(input.duration_seconds, DURATION_SECONDS_USUAL);
    if who == Who::Root {
        duration = duration.min(ROOT_SECONDS_MAX);
    }
    let mfa_at_seconds = mfa::verify(call, input.serial_number, input.token_code).await?;
    let issued = call.sts.sessions.issue(Grant {
        account_id: caller.account_id.clone(),
        who,
        issued_at_seconds: call.now,
        expires_at_seconds: call.now + duration,
        mfa_at_seconds,
        policies: Vec::new(),
        policy_arns: Vec::new(),
        tags: Vec::new(),
        transitive_tag_keys: Vec::new(),
        source_identity: None,
        claims: Vec::new(),
    });
    Ok(t::GetSessionTokenOutput { credentials: Some(credentials(issued)) })
}

pub(super) fn federation_token(
    call: &Call<'_>,
    input: t::GetFederationTokenInput,
) -> Answer<t::GetFederationTokenOutput> {
    call.require_no_session("GetFederationToken")?;
    let caller = call.caller()?;
    let account = call.account(&caller.account_id)?;
    let arn = format!("arn:aws:sts::{}:federated-user/{}", account.id, input.name);
    let tags = session_tags(input.tags)?;
    let mut context = call.context();
    offer_tags(&mut context, &tags, &[]);
    call.authorize("sts:GetFederationToken", &arn, &context)?;
    if !tags.is_empty() {
        call.authorize("sts:TagSession", &arn, &context)?;
    }
    let by = match &caller.kind {
        PrincipalKind::AccountRoot => None,
        PrincipalKind::User => Some(caller.unique_id.clone()),
        _ => return Err(ErrorCode::AccessDenied.with("Only users may call GetFederationToken")),
    };
    let mut duration = seconds(input.duration_seconds, DURATION_SECONDS_USUAL);
    if by.is_none() {
        duration = duration.min(ROOT_SECONDS_MAX);
    }
    let limits = limits(&account, input.policy, input.policy_arns, &tags)?;
    let federated_user = t::FederatedUser { federated_user_id: format!("{}:{}", account.id, input.name), arn };
    let issued = call.sts.sessions.issue(Grant {
        account_id: account.id.clone(),
        who: Who::Federated { name: input.name, by },
        issued_at_seconds: call.now,
        expires_at_seconds: call.now + duration,
        mfa_at_seconds: None,
        policies: limits.policies,
        policy_arns: limits.arns,
        tags,
        transitive_tag_keys: Vec::new(),
        source_identity: None,
        claims: Vec::new(),
    });
    Ok(t::GetFederationTokenOutput {
        credentials: Some(credentials(issued)),
        federated_user: Some(federated_user),
        packed_policy_size: limits.packed_percent,
    })
}
