//! Passwords for the console, and what they must be like.

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Argon2, Params};
use karri_iam_policy::PrincipalKind;
use karri_iam_wire::WireError;
use karri_iam_wire::iam::{ErrorCode, types as t};
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use super::{Answer, Call, answers, keys, record, users};
use crate::model::{AccountRecord, LoginProfile, PasswordPolicy};
use crate::seal::Sealed;

/// Passwords in a row that a policy can keep from being used again.
const EARLIER_MAX: usize = 24;
/// Fewest characters while the account has no policy.
const LENGTH_MIN_DEFAULT: u32 = 8;
const SYMBOLS: &str = "!@#$%^&*()_+-=[]{}|'";
const SALT_BYTES: usize = 16;
/// Memory in KiB and passes of Argon2id: OWASP's second choice, 19 MiB.
const HASH_COST: (u32, u32) = (19 * 1024, 2);
/// Passwords that are hashed at a time, over all requests: each takes that memory, and whoever may change its own could
/// ask for as many as there are threads.
static TURNS: Semaphore = Semaphore::const_new(4);

fn hasher() -> Argon2<'static> {
    let params = Params::new(HASH_COST.0, HASH_COST.1, 1, None).expect("the parameters are in Argon2's bounds");
    Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
}

fn place(user_id: &str) -> String {
    format!("password {user_id}")
}

/// The hash of a password, sealed. Hashing takes a while: it does so on a thread of its own.
async fn hash(call: &Call<'_>, user_id: &str, password: &str) -> Answer<Sealed> {
    let mut salt = [0; SALT_BYTES];
    call.store().rng().fill(&mut salt);
    let password = Zeroizing::new(password.to_owned());
    let _turn = turn().await?;
    let hashed = tokio::task::spawn_blocking(move || {
        let salt = SaltString::encode_b64(&salt).ok()?;
        Some(hasher().hash_password(password.as_bytes(), &salt).ok()?.to_string())
    });
    let text = hashed.await.ok().flatten().ok_or_else(|| WireError::from(ErrorCode::InternalFailure))?;
    Ok(call.view().sealer().seal(call.store().rng(), &place(user_id), text.as_bytes()))
}

/// Whether a password is one of those that were hashed.
async fn is_one_of(call: &Call<'_>, user_id: &str, password: &str, hashes: &[&Sealed]) -> Answer<bool> {
    let open = |hash: &&Sealed| call.view().sealer().open_text(&place(user_id), hash).ok();
    let texts: Vec<_> = hashes.iter().filter_map(open).collect();
    let password = Zeroizing::new(password.to_owned());
    let _turn = turn().await?;
    let verified = tokio::task::spawn_blocking(move || {
        let is_it = |hash: PasswordHash<'_>| hasher().verify_password(password.as_bytes(), &hash).is_ok();
        texts.iter().any(|text| PasswordHash::new(text).is_ok_and(is_it))
    });
    verified.await.map_err(|_| ErrorCode::InternalFailure.into())
}

async fn turn() -> Answer<SemaphorePermit<'static>> {
    TURNS.acquire().await.map_err(|_| ErrorCode::InternalFailure.into())
}

fn violation(what: &str) -> WireError {
    ErrorCode::PasswordPolicyViolation.with(format!("Password should {what}"))
}

/// Refuses a password that the account's policy does not allow.
fn check(account: &AccountRecord, password: &str) -> Answer<()> {
    let policy = account.password_policy.as_ref();
    let fewest = policy.map_or(LENGTH_MIN_DEFAULT, |policy| policy.length_min);
    if password.chars().count() < fewest as usize {
        return Err(violation(&format!("have a minimum length of {fewest}")));
    }
    let Some(policy) = policy else { return Ok(()) };
    let has = |holds: fn(char) -> bool| password.chars().any(holds);
    let rules = [
        (policy.symbols, has(|c| SYMBOLS.contains(c)), "have at least one symbol"),
        (policy.numbers, has(|c| c.is_ascii_digit()), "have at least one number"),
        (policy.uppercase, has(|c| c.is_ascii_uppercase()), "have at least one uppercase letter"),
        (policy.lowercase, has(|c| c.is_ascii_lowercase()), "have at least one lowercase letter"),
    ];
    match rules.into_iter().find(|(asked, holds, _)| *asked && !holds) {
        Some((_, _, what)) => Err(violation(what)),
        None => Ok(()),
    }
}

fn missing(name: &str) -> WireError {
    ErrorCode::NoSuchEntity.with(format!("Login Profile for User {name} cannot be found."))
}

fn shown(name: &str, profile: &LoginProfile) -> t::LoginProfile {
    t::LoginProfile {
        user_name: name.to_owned(),
        create_date: answers::time(profile.created),
        password_reset_required: Some(profile.reset_required),
    }
}

/// The id that a user's secrets are bound to.
fn owner_id(call: &Call<'_>, subject: &keys::Subject) -> Answer<String> {
    let account = call.account()?;
    match subject {
        Some(name) => Ok(users::find(&account, name)?.id.clone()),
        None => Ok(account.id.clone()),
    }
}

pub(super) async fn create_login_profile(
    call: &Call<'_>,
    input: t::CreateLoginProfileInput,
) -> Answer<t::CreateLoginProfileOutput> {
    let subject = keys::subject(call, input.user_name)?;
    let account = call.account()?;
    call.authorize(&keys::resource(&account, &subject))?;
    let owner = owner_id(call, &subject)?;
    let password = input.password.ok_or_else(|| ErrorCode::ValidationError.with("A password is needed"))?;
    check(record(&account)?, password.reveal())?;
    let hash = hash(call, &owner, password.reveal()).await?;
    call.change(|change| {
        let now = change.now();
        keys::edit(change, &subject, |secrets, name| {
            if secrets.login.is_some() {
                let message = format!("Login Profile for user {name} already exists.");
                return Err(ErrorCode::EntityAlreadyExists.with(message));
            }
            let profile = LoginProfile {
                hash: hash.clone(),
                earlier: Vec::new(),
                created: now,
                changed: now,
                reset_required: input.password_reset_required.unwrap_or(false),
            };
            let login_profile = shown(&name, &profile);
            secrets.login = Some(profile);
            Ok(t::CreateLoginProfileOutput { login_profile })
        })
    })
    .await
}

pub(super) async fn get_login_profile(
    call: &Call<'_>,
    input: t::GetLoginProfileInput,
) -> Answer<t::GetLoginProfileOutput> {
    let account = call.account()?;
    let subject = keys::subject(call, input.user_name)?;
    call.authorize(&keys::resource(&account, &subject))?;
    let (secrets, name) = keys::secrets(&account, &subject)?;
    let profile = secrets.login.as_ref().ok_or_else(|| missing(&name))?;
    Ok(t::GetLoginProfileOutput { login_profile: shown(&name, profile) })
}

pub(super) async fn delete_login_profile(call: &Call<'_>, input: t::DeleteLoginProfileInput) -> Answer<()> {
    let subject = keys::subject(call, input.user_name)?;
    call.authorize(&keys::resource(&*call.account()?, &subject))?;
    call.change(|change| {
        keys::edit(change, &subject, |secrets, name| secrets.login.take().map(drop).ok_or_else(|| missing(&name)))
    })
    .await
}

/// Sets another password; of `old`, when given, the present one must be.
async fn set(
    call: &Call<'_>,
    subject: &keys::Subject,
    password: &str,
    old: Option<&str>,
    reset_required: Option<bool>,
) -> Answer<()> {
    let account = call.account()?;
    let account_record = record(&account)?;
    let owner = owner_id(call, subject)?;
    let (secrets, name) = keys::secrets(&account, subject)?;
    let profile = secrets.login.as_ref().ok_or_else(|| missing(&name))?;
    if let Some(old) = old
        && !is_one_of(call, &owner, old, &[&profile.hash]).await?
    {
        return Err(ErrorCode::AccessDenied.with("The old password was incorrect."));
    }
    check(account_record, password)?;
    let kept = account_record.password_policy.as_ref().and_then(|policy| policy.reuse_prevention).unwrap_or(0) as usize;
    let earlier: Vec<_> = std::iter::once(&profile.hash).chain(&profile.earlier).take(kept).collect();
    if is_one_of(call, &owner, password, &earlier).await? {
        return Err(violation("not be one of the earlier ones"));
    }
    let hash = hash(call, &owner, password).await?;
    call.change(|change| {
        let now = change.now();
        keys::edit(change, subject, |secrets, name| {
            let profile = secrets.login.as_mut().ok_or_else(|| missing(&name))?;
            let replaced = std::mem::replace(&mut profile.hash, hash.clone());
            profile.earlier.insert(0, replaced);
            profile.earlier.truncate(EARLIER_MAX);
            profile.changed = now;
            profile.reset_required = reset_required.unwrap_or(old.is_none() && profile.reset_required);
            Ok(())
        })
    })
    .await
}

pub(super) async fn update_login_profile(call: &Call<'_>, input: t::UpdateLoginProfileInput) -> Answer<()> {
    let subject = Some(input.user_name);
    call.authorize(&keys::resource(&*call.account()?, &subject))?;
    if let Some(password) = &input.password {
        return set(call, &subject, password.reveal(), None, input.password_reset_required).await;
    }
    call.change(|change| {
        keys::edit(change, &subject, |secrets, name| {
            let profile = secrets.login.as_mut().ok_or_else(|| missing(&name))?;
            profile.reset_required = input.password_reset_required.unwrap_or(profile.reset_required);
            Ok(())
        })
    })
    .await
}

pub(super) async fn change_password(call: &Call<'_>, input: t::ChangePasswordInput) -> Answer<()> {
    if call.info.caller.kind != PrincipalKind::User {
        let message = "Only IAM Users can change their own password";
        return Err(ErrorCode::InvalidUserType.with(message));
    }
    let subject = Some(call.info.caller.name.clone());
    let account = call.account()?;
    call.authorize(&keys::resource(&account, &subject))?;
    let policy = record(&account)?.password_policy.as_ref();
    if policy.is_some_and(|policy| !policy.users_may_change) {
        return Err(ErrorCode::AccessDenied.with("Users may not change their own passwords in this account."));
    }
    set(call, &subject, input.new_password.reveal(), Some(input.old_password.reveal()), None).await
}

pub(super) async fn update_account_password_policy(
    call: &Call<'_>,
    input: t::UpdateAccountPasswordPolicyInput,
) -> Answer<()> {
    call.authorize("*")?;
    let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    let policy = PasswordPolicy {
        // AWS's default where the account has a policy that does not say.
        length_min: number(input.minimum_password_length).unwrap_or(6),
        symbols: input.require_symbols.unwrap_or(false),
        numbers: input.require_numbers.unwrap_or(false),
        uppercase: input.require_uppercase_characters.unwrap_or(false),
        lowercase: input.require_lowercase_characters.unwrap_or(false),
        users_may_change: input.allow_users_to_change_password.unwrap_or(false),
        age_days_max: number(input.max_password_age).filter(|days| *days > 0),
        reuse_prevention: number(input.password_reuse_prevention).filter(|count| *count > 0),
        hard_expiry: input.hard_expiry,
    };
    call.change(|change| {
        let mut account = (**record(change)?).clone();
        account.password_policy = Some(policy.clone());
        change.put(account);
        Ok(())
    })
    .await
}

fn no_policy(account_id: &str) -> WireError {
    let message = format!("The Password Policy with domain name {account_id} cannot be found.");
    ErrorCode::NoSuchEntity.with(message)
}

pub(super) async fn get_account_password_policy(
    call: &Call<'_>,
    _: t::GetAccountPasswordPolicyInput,
) -> Answer<t::GetAccountPasswordPolicyOutput> {
    call.authorize("*")?;
    let account = call.account()?;
    let policy = record(&account)?.password_policy.as_ref().ok_or_else(|| no_policy(&account.id))?;
    let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let password_policy = t::PasswordPolicy {
        minimum_password_length: Some(number(policy.length_min)),
        require_symbols: Some(policy.symbols),
        require_numbers: Some(policy.numbers),
        require_uppercase_characters: Some(policy.uppercase),
        require_lowercase_characters: Some(policy.lowercase),
        allow_users_to_change_password: Some(policy.users_may_change),
        expire_passwords: Some(policy.age_days_max.is_some()),
        max_password_age: policy.age_days_max.map(number),
        password_reuse_prevention: policy.reuse_prevention.map(number),
        hard_expiry: policy.hard_expiry,
    };
    Ok(t::GetAccountPasswordPolicyOutput { password_policy })
}

pub(super) async fn delete_account_password_policy(
    call: &Call<'_>,
    _: t::DeleteAccountPasswordPolicyInput,
) -> Answer<()> {
    call.authorize("*")?;
    call.change(|change| {
        let mut account = (**record(change)?).clone();
        if account.password_policy.take().is_none() {
            return Err(no_policy(&account.id));
        }
        change.put(account);
        Ok(())
    })
    .await
}
