//! Grants: the right of a principal to some operations with a key.

use karri_iam_policy::Principal;
use karri_iam_service::kms_model::{KmsConstraint, KmsGrant, KmsKey};
use karri_iam_wire::kms::{ErrorCode, types as t};

use super::paging::page;
use super::{Call, time, unless_dry, validation};
use crate::Answer;
use crate::access::{Use, denied};
use crate::find::Found;

/// Grants of one key.
const GRANTS_MAX: usize = 1000;

/// What symmetric keys can do.
const OPERATIONS: &[t::GrantOperation] = &[
    t::GrantOperation::Decrypt,
    t::GrantOperation::Encrypt,
    t::GrantOperation::GenerateDataKey,
    t::GrantOperation::GenerateDataKeyWithoutPlaintext,
    t::GrantOperation::ReEncryptFrom,
    t::GrantOperation::ReEncryptTo,
    t::GrantOperation::CreateGrant,
    t::GrantOperation::RetireGrant,
    t::GrantOperation::DescribeKey,
];

fn constraint(given: Option<t::GrantConstraints>) -> Answer<Option<KmsConstraint>> {
    let Some(given) = given else { return Ok(None) };
    match (given.encryption_context_subset, given.encryption_context_equals) {
        (subset, equals) if !subset.is_empty() && !equals.is_empty() => {
            Err(validation("Only one of EncryptionContextSubset and EncryptionContextEquals may be given"))
        }
        (subset, _) if !subset.is_empty() => Ok(Some(KmsConstraint::Subset(subset))),
        (_, equals) if !equals.is_empty() => Ok(Some(KmsConstraint::Equals(equals))),
        _ => Ok(None),
    }
}

/// Refuses what names nobody that a grant can be to.
fn check_principal(principal: &str) -> Answer<()> {
    let is_account = principal.len() == 12 && principal.bytes().all(|byte| byte.is_ascii_digit());
    if is_account || principal.starts_with("arn:aws:iam::") || principal.starts_with("arn:aws:sts::") {
        return Ok(());
    }
    Err(ErrorCode::InvalidArnException.with(format!("ARN {principal} is not valid")))
}

pub(super) async fn create(call: &Call<'_>, input: t::CreateGrantInput) -> Answer<t::CreateGrantOutput> {
    let found = call.find(&input.key_id).await?;
    check_principal(&input.grantee_principal)?;
    input.retiring_principal.as_deref().map_or(Ok(()), check_principal)?;
    if input.operations.is_empty() {
        return Err(validation("Operations must not be empty"));
    }
    if let Some(other) = input.operations.iter().find(|operation| !OPERATIONS.contains(operation)) {
        return Err(validation(format!("Grant operation {} is not for keys of this kind", other.as_str())));
    }
    let operations: Vec<String> = input.operations.iter().map(|operation| operation.as_str().to_owned()).collect();
    let constraint = constraint(input.constraints)?;
    let mut wanted = Use::of("kms:CreateGrant")
        .with("kms:GranteePrincipal", vec![input.grantee_principal.clone()])
        .with("kms:GrantOperations", operations.clone())
        .with("kms:GrantIsForAWSResource", vec!["false".to_owned()]);
    if let Some(retiring) = &input.retiring_principal {
        wanted = wanted.with("kms:RetiringPrincipal", vec![retiring.clone()]);
    }
    if let Some(constraint) = &constraint {
        let kind = match constraint {
            KmsConstraint::Subset(_) => "EncryptionContextSubset",
            KmsConstraint::Equals(_) => "EncryptionContextEquals",
        };
        wanted = wanted.with("kms:GrantConstraintType", vec![kind.to_owned()]);
    }
    call.kms.authorize(call.asker, &found, &wanted)?;
    call.kms.require_usable(&found)?;
    unless_dry(input.dry_run)?;
    let mut id = [0; 32];
    call.kms.store.rng().fill(&mut id);
    let grant = KmsGrant {
        id: hex::encode(id),
        name: input.name,
        created: call.kms.now(),
        grantee: input.grantee_principal,
        retiring: input.retiring_principal,
        issuing_account: call.account_id().to_owned(),
        operations,
        constraint,
    };
    let id = call
        .edit(&found, |key, _, newest| {
            call.kms.require_usable(newest)?;
            // The same again, by name, is the same grant.
            let is_same = |known: &&KmsGrant| {
                let again = KmsGrant { id: known.id.clone(), created: known.created, ..grant.clone() };
                grant.name.is_some() && **known == again
            };
            if let Some(known) = key.grants.iter().find(is_same) {
                return Ok(known.id.clone());
            }
            if key.grants.len() >= GRANTS_MAX {
                let message = format!("A key has at most {GRANTS_MAX} grants.");
                return Err(ErrorCode::LimitExceededException.with(message));
            }
            key.grants.push(grant.clone());
            Ok(grant.id.clone())
        })
        .await?;
    // Grants are in force at once: the token is only for clients that want one.
    Ok(t::CreateGrantOutput { grant_token: Some(token(&found, &id)), grant_id: Some(id) })
}

/// `account/key/grant`, for RetireGrant.
fn token(found: &Found, grant_id: &str) -> String {
    format!("{}/{}/{grant_id}", found.account.id, found.key.id)
}

fn entry(call: &Call<'_>, account_id: &str, key: &KmsKey, grant: &KmsGrant) -> t::GrantListEntry {
    let mut constraints = t::GrantConstraints::default();
    match &grant.constraint {
        None => {}
        Some(KmsConstraint::Subset(pairs)) => constraints.encryption_context_subset.clone_from(pairs),
        Some(KmsConstraint::Equals(pairs)) => constraints.encryption_context_equals.clone_from(pairs),
    }
    t::GrantListEntry {
        key_id: Some(call.kms.key_arn(account_id, &key.id)),
        grant_id: Some(grant.id.clone()),
        name: grant.name.clone(),
        creation_date: Some(time(grant.created)),
        grantee_principal: Some(grant.grantee.clone()),
        retiring_principal: grant.retiring.clone(),
        issuing_account: Some(format!("arn:aws:iam::{}:root", grant.issuing_account)),
        operations: grant.operations.iter().filter_map(|name| name.parse().ok()).collect(),
        constraints: grant.constraint.is_some().then_some(constraints),
    }
}

pub(super) async fn list(call: &Call<'_>, input: t::ListGrantsInput) -> Answer<t::ListGrantsOutput> {
    let found = call.find_for(&input.key_id, "kms:ListGrants").await?;
    let wanted = |grant: &&KmsGrant| {
        input.grant_id.as_ref().is_none_or(|id| *id == grant.id)
            && input.grantee_principal.as_ref().is_none_or(|grantee| *grantee == grant.grantee)
    };
    let mut grants: Vec<&KmsGrant> = found.key.grants.iter().filter(wanted).collect();
    grants.sort_by(|left, right| left.id.cmp(&right.id));
    let grants = grants.into_iter().map(|grant| (grant.id.clone(), entry(call, &found.account.id, &found.key, grant)));
    let page = page(grants, input.marker.as_deref(), input.limit)?;
    Ok(t::ListGrantsOutput { grants: page.items, next_marker: page.marker, truncated: page.truncated })
}

pub(super) async fn list_retirable(
    call: &Call<'_>,
    input: t::ListRetirableGrantsInput,
) -> Answer<t::ListRetirableGrantsOutput> {
    call.kms.authorize_own(call.asker, "*", &Use::of("kms:ListRetirableGrants"))?;
    let account = call.account()?;
    let all = account.kms_keys.values().flat_map(|key| key.grants.iter().map(move |grant| (key, grant)));
    let mut grants: Vec<_> = all
        .filter(|(_, grant)| grant.retiring.as_ref() == Some(&input.retiring_principal))
        .map(|(key, grant)| (grant.id.clone(), entry(call, &account.id, key, grant)))
        .collect();
    grants.sort_by(|left, right| left.0.cmp(&right.0));
    let page = page(grants, input.marker.as_deref(), input.limit)?;
    Ok(t::ListRetirableGrantsOutput { grants: page.items, next_marker: page.marker, truncated: page.truncated })
}

pub(super) async fn revoke(call: &Call<'_>, input: t::RevokeGrantInput) -> Answer<()> {
    let found = call.find_for(&input.key_id, "kms:RevokeGrant").await?;
    unless_dry(input.dry_run)?;
    remove(call, &found, &input.grant_id).await
}

async fn remove(call: &Call<'_>, found: &Found, grant_id: &str) -> Answer<()> {
    call.edit(found, |key, _, _| {
        let before = key.grants.len();
        key.grants.retain(|grant| grant.id != grant_id);
        if key.grants.len() == before {
            return Err(ErrorCode::NotFoundException.with(format!("Grant ID {grant_id} not found")));
        }
        Ok(())
    })
    .await
}

/// Whether a grant names the principal, itself or by its role.
fn is_named(named: &str, principal: &Principal) -> bool {
    named == principal.arn || named == principal.principal_arn()
}

pub(super) async fn retire(call: &Call<'_>, input: t::RetireGrantInput) -> Answer<()> {
    let (key_id, grant_id) = match (&input.grant_token, &input.key_id, &input.grant_id) {
        (Some(token), _, _) => {
            let parts: Vec<&str> = token.split('/').collect();
            let [account, key, grant] = parts[..] else { return Err(ErrorCode::InvalidGrantTokenException.into()) };
            (call.kms.key_arn(account, key), grant.to_owned())
        }
        (None, Some(key), Some(grant)) => (key.clone(), grant.clone()),
        _ => return Err(validation("Either a grant token or a key and a grant must be given")),
    };
    let found = call.find(&key_id).await?;
    let grant = found.key.grants.iter().find(|grant| grant.id == grant_id);
    let grant = grant.ok_or_else(|| ErrorCode::NotFoundException.with(format!("Grant ID {grant_id} not found")))?;
    let principal = &call.asker.principal;
    let may = grant.retiring.as_deref().is_some_and(|named| is_named(named, principal))
        || (is_named(&grant.grantee, principal) && grant.operations.iter().any(|name| name == "RetireGrant"));
    if !may && call.kms.authorize(call.asker, &found, &Use::of("kms:RetireGrant")).is_err() {
        return Err(denied(call.asker, "kms:RetireGrant", &call.kms.arn_of(&found), None));
    }
    unless_dry(input.dry_run)?;
    remove(call, &found, &grant_id).await
}
