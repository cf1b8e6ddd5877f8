//! AssumeRoleWithWebIdentity: a token of a registered OpenID Connect provider stands for a signature.

use std::sync::Arc;

use karri_iam_policy::{Context, Policies, Principal, PrincipalKind, Session};
use karri_iam_wire::WireError;
use karri_iam_wire::sts::{ErrorCode, types as t};
use serde_json::Value;

use super::jwt::{Token, texts};
use super::role::{self, Started};
use super::{Answer, Call, limits, offer_tags, session_tags};
use crate::model::{OidcProvider, Tag};
use crate::state::Account;

const ACTION: &str = "sts:AssumeRoleWithWebIdentity";
/// How far a provider's clock may be ahead of ours.
const SKEW_SECONDS: i64 = 60;
const TAGS_CLAIM: &str = "https://aws.amazon.com/tags";
const SOURCE_IDENTITY_CLAIM: &str = "https://aws.amazon.com/source_identity";
const SOURCE_IDENTITY_LENGTH_MAX: usize = 64;
const TAGS_MAX: usize = 50;

fn not_authorized() -> WireError {
    ErrorCode::AccessDenied.with(format!("Not authorized to perform {ACTION}"))
}

fn invalid(message: impl Into<String>) -> WireError {
    ErrorCode::InvalidIdentityToken.with(message)
}

pub(super) async fn assume(
    call: &Call<'_>,
    input: t::AssumeRoleWithWebIdentityInput,
) -> Answer<t::AssumeRoleWithWebIdentityOutput> {
    if input.provider_id.is_some() {
        return Err(
            ErrorCode::InvalidParameterValue.with("ProviderId is for OAuth 2.0 providers, which are not served.")
        );
    }
    let (account, role) = role::find(call, &input.role_arn).ok_or_else(not_authorized)?;
    let text = input.web_identity_token.reveal();
    let token = Token::parse(text).ok_or_else(|| {
        invalid(
            "The ID Token provided is not a valid JWT. (You may see this \
        error if you sent an Access Token)",
        )
    })?;
    let (provider, issuer) = provider_of(call, &account, &token)?;
    let audience = audience(&provider, &token)?;
    let keys = call.sts.providers.keys(&issuer, &provider.thumbprints, &token).await.map_err(|error| {
        tracing::info!(issuer, error = &error as &dyn std::error::Error, "an identity provider's keys cannot be had");
        invalid(
            "Couldn't retrieve verification key from your identity provider,  please reference \
                 AssumeRoleWithWebIdentity documentation for requirements",
        )
    })?;
    if !keys.verifies(&token) {
        return Err(invalid("Provided token could not be verified: its signature is not one of the provider's keys."));
    }
    check_time(call, &token)?;
    let subject = token.text("sub").ok_or_else(|| invalid("Missing a required claim: sub"))?.to_owned();
    let name = provider.host_and_path.clone();
    let claims = claims(&account, &name, &token, &audience);
    let (tags, transitive) = tags(&token)?;
    let source_identity = source_identity(&token)?;

    let mut context = call.context();
    context.set("sts:RoleSessionName", input.role_session_name.clone());
    context.set_all("sts:SourceIdentity", source_identity.clone());
    offer_tags(&mut context, &tags, &transitive);
    check_trust(call, (&account, &role), &claims, &context, !tags.is_empty(), source_identity.is_some())?;
    let duration = role::duration(&role, input.duration_seconds, false)?;
    let limits = limits(&account, input.policy, input.policy_arns, &tags)?;
    let session = Started {
        name: input.role_session_name,
        duration,
        mfa_at_seconds: None,
        tags,
        transitive,
        source_identity: source_identity.clone(),
        claims,
    };
    let packed_policy_size = limits.packed_percent;
    let (credentials, user) = role::start(call, &account, &role, session, limits);
    Ok(t::AssumeRoleWithWebIdentityOutput {
        credentials: Some(credentials),
        subject_from_web_identity_token: Some(subject),
        assumed_role_user: Some(user),
        packed_policy_size,
        provider: Some(arn(&account, &name)),
        audience: Some(audience),
        source_identity,
    })
}

fn arn(account: &Account, host_and_path: &str) -> String {
    format!("arn:aws:iam::{}:oidc-provider/{host_and_path}", account.id)
}

/// The registered provider of the token's issuer, and the issuer.
fn provider_of(call: &Call<'_>, account: &Account, token: &Token<'_>) -> Answer<(Arc<OidcProvider>, String)> {
    let issuer = token.text("iss").ok_or_else(|| invalid("Missing a required claim: iss"))?;
    let name = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let found = account.providers.get(name).or_else(|| account.providers.get(name.trim_end_matches('/')));
    let found = found.filter(|_| call.sts.providers.is_allowed(issuer));
    let found =
        found.ok_or_else(|| invalid(format!("No OpenIDConnect provider found in your account for {issuer}")))?;
    Ok((found.clone(), issuer.to_owned()))
}

/// The audience that the provider was registered with: `azp` where the token has one.
fn audience(provider: &OidcProvider, token: &Token<'_>) -> Answer<String> {
    let given = match token.text("azp") {
        Some(party) => vec![party.to_owned()],
        None => token.texts("aud"),
    };
    // A provider may name itself as the party and the client as the audience: either must be registered.
    let mut candidates = given.into_iter().chain(token.texts("aud"));
    let found = candidates.find(|audience| provider.client_ids.contains(audience));
    found.ok_or_else(|| invalid("Incorrect token audience"))
}

fn check_time(call: &Call<'_>, token: &Token<'_>) -> Answer<()> {
    let now = i64::try_from(call.now).unwrap_or(i64::MAX);
    let expires = token.seconds("exp").ok_or_else(|| invalid("Missing a required claim: exp"))?;
    if now >= expires {
        let message =
            format!("Token expired: current date/time {now} must be before the expiration date/time {expires}");
        return Err(ErrorCode::ExpiredTokenException.with(message));
    }
    for claim in ["iat", "nbf"] {
        if token.seconds(claim).is_some_and(|at| at > now.saturating_add(SKEW_SECONDS)) {
            return Err(invalid(format!("Token is not valid yet: {claim} is in the future")));
        }
    }
    if token.seconds("iat").is_none() {
        return Err(invalid("Missing a required claim: iat"));
    }
    Ok(())
}

/// Condition keys of the token: `host/path:sub` and its like.
fn claims(account: &Account, name: &str, token: &Token<'_>, audience: &str) -> Vec<(String, Vec<String>)> {
    let mut claims = vec![("aws:FederatedProvider".to_owned(), vec![arn(account, name)])];
    let mut add = |key: &str, values: Vec<String>| {
        if !values.is_empty() {
            claims.push((format!("{name}:{key}"), values));
        }
    };
    add("aud", vec![audience.to_owned()]);
    add("oaud", token.texts("aud"));
    for claim in ["sub", "azp", "amr", "email", "iss"] {
        add(claim, token.texts(claim));
    }
    let app = token.texts("app_id");
    add("app_id", if app.is_empty() { vec![audience.to_owned()] } else { app });
    claims
}

/// Tags that the provider vouches for: `{"principal_tags": {"key": ["value"]}, "transitive_tag_keys": ["key"]}`.
fn tags(token: &Token<'_>) -> Answer<(Vec<Tag>, Vec<String>)> {
    let Some(claim) = token.claims.get(TAGS_CLAIM) else { return Ok((Vec::new(), Vec::new())) };
    let rejected = || invalid(format!("The claim {TAGS_CLAIM} is not of the form that it must have"));
    let mut given = Vec::new();
    if let Some(tags) = claim.get("principal_tags") {
        for (key, value) in tags.as_object().ok_or_else(rejected)? {
            let value = texts(value).into_iter().next().ok_or_else(rejected)?;
            given.push(t::Tag { key: key.clone(), value });
        }
    }
    if given.len() > TAGS_MAX
        || given.iter().any(|tag| tag.key.is_empty() || tag.key.len() > 128 || tag.value.len() > 256)
    {
        return Err(rejected());
    }
    let transitive = claim.get("transitive_tag_keys").map(texts).unwrap_or_default();
    if transitive.iter().any(|key| !given.iter().any(|tag| tag.key == *key)) {
        return Err(rejected());
    }
    Ok((session_tags(given)?, transitive))
}

fn source_identity(token: &Token<'_>) -> Answer<Option<String>> {
    match token.claims.get(SOURCE_IDENTITY_CLAIM) {
        None => Ok(None),
        Some(Value::String(text)) if (2..=SOURCE_IDENTITY_LENGTH_MAX).contains(&text.len()) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(format!("The claim {SOURCE_IDENTITY_CLAIM} is not of the form that it must have"))),
    }
}

fn check_trust(
    call: &Call<'_>,
    (account, role): (&Account, &crate::model::Role),
    claims: &[(String, Vec<String>)],
    context: &Context<'_>,
    has_tags: bool,
    has_source_identity: bool,
) -> Answer<()> {
    let provider = claims.first().and_then(|(_, values)| values.first()).cloned().unwrap_or_default();
    let caller = Principal {
        kind: PrincipalKind::WebIdentity { provider },
        session: Some(Session { claims: claims.to_vec(), ..Session::default() }),
        ..Principal::anonymous()
    };
    let mut actions = vec![ACTION];
    actions.extend(has_tags.then_some("sts:TagSession"));
    actions.extend(has_source_identity.then_some("sts:SetSourceIdentity"));
    for action in actions {
        let checked = role::check_trust(call, &caller, action, (account, role), &Policies::default(), context);
        checked.map_err(|error| if error.status == 403 { not_authorized() } else { error })?;
    }
    Ok(())
}
