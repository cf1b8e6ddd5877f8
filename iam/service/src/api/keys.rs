//! Access keys.

use karri_iam_wire::iam::{ErrorCode, types as t};

use super::paging::page;
use super::{Answer, Call, answers, over_quota, record, users};
use crate::change::Change;
use crate::ids;
use crate::model::{AccessKey, SecretsOfUser, Status};
use crate::state::Account;
use crate::view::{Holder, place_of_key};

/// Access keys of a user.
const KEYS_MAX: usize = 2;

/// The user whose secrets are meant, by name; `None`: the root user.
pub(super) type Subject = Option<String>;

/// Whom a request means: the user that it names, else the caller.
pub(super) fn subject(call: &Call<'_>, name: Option<String>) -> Answer<Subject> {
    match name {
        Some(name) => Ok(Some(name)),
        None => call.own_user_name(),
    }
}

pub(super) fn resource(account: &Account, subject: &Subject) -> String {
    match subject {
        Some(name) => users::resource(account, name),
        None => format!("arn:aws:iam::{}:root", account.id),
    }
}

/// The secrets of a user, and its name.
pub(super) fn secrets<'a>(account: &'a Account, subject: &Subject) -> Answer<(&'a SecretsOfUser, String)> {
    match subject {
        Some(name) => users::find(account, name).map(|user| (&user.secrets, user.name.clone())),
        None => record(account).map(|record| (&record.root, answers::root_user(record).user_name)),
    }
}

/// Changes the secrets of a user.
pub(super) fn edit<T>(
    change: &mut Change,
    subject: &Subject,
    edit: impl FnOnce(&mut SecretsOfUser, String) -> Answer<T>,
) -> Answer<T> {
    match subject {
        Some(name) => {
            let mut user = (**users::find(change, name)?).clone();
            let name = user.name.clone();
            let answer = edit(&mut user.secrets, name)?;
            change.put(user);
            Ok(answer)
        }
        None => {
            let mut account = (**record(change)?).clone();
            let name = answers::root_user(&account).user_name;
            let answer = edit(&mut account.root, name)?;
            change.put(account);
            Ok(answer)
        }
    }
}

fn missing(id: &str) -> karri_iam_wire::WireError {
    ErrorCode::NoSuchEntity.with(format!("The Access Key with id {id} cannot be found."))
}

pub(super) async fn create_access_key(
    call: &Call<'_>,
    input: t::CreateAccessKeyInput,
) -> Answer<t::CreateAccessKeyOutput> {
    let subject = subject(call, input.user_name)?;
    call.authorize(&resource(&*call.account()?, &subject))?;
    let rng = call.store().rng();
    let (id, secret) = (ids::access_key(rng), zeroize::Zeroizing::new(ids::secret_key(rng)));
    let sealed = call.view().sealer().seal(rng, &place_of_key(&id), secret.as_bytes());
    call.change(|change| {
        let now = change.now();
        edit(change, &subject, |secrets, user_name| {
            if secrets.access_keys.len() >= KEYS_MAX {
                return Err(over_quota("AccessKeysPerUser", KEYS_MAX));
            }
            let key = AccessKey { id: id.clone(), secret: sealed.clone(), status: Status::Active, created: now };
            secrets.access_keys.push(key);
            let access_key = t::AccessKey {
                user_name,
                access_key_id: id.clone(),
                status: t::StatusType::Active,
                secret_access_key: secret.to_string().into(),
                create_date: Some(answers::time(now)),
            };
            Ok(t::CreateAccessKeyOutput { access_key })
        })
    })
    .await
}

/// The status that a request asks for.
pub(super) fn status(asked: t::StatusType) -> Answer<Status> {
    match asked {
        t::StatusType::Active => Ok(Status::Active),
        t::StatusType::Inactive => Ok(Status::Inactive),
        other => Err(ErrorCode::ValidationError.with(format!("The status {} cannot be set", other.as_str()))),
    }
}

pub(super) async fn update_access_key(call: &Call<'_>, input: t::UpdateAccessKeyInput) -> Answer<()> {
    let subject = subject(call, input.user_name)?;
    call.authorize(&resource(&*call.account()?, &subject))?;
    let status = status(input.status)?;
    call.change(|change| {
        edit(change, &subject, |secrets, _| {
            let key = secrets.access_keys.iter_mut().find(|key| key.id == input.access_key_id);
            key.ok_or_else(|| missing(&input.access_key_id))?.status = status;
            Ok(())
        })
    })
    .await
}

pub(super) async fn delete_access_key(call: &Call<'_>, input: t::DeleteAccessKeyInput) -> Answer<()> {
    let subject = subject(call, input.user_name)?;
    call.authorize(&resource(&*call.account()?, &subject))?;
    call.change(|change| {
        edit(change, &subject, |secrets, _| {
            let before = secrets.access_keys.len();
            secrets.access_keys.retain(|key| key.id != input.access_key_id);
            if secrets.access_keys.len() == before { Err(missing(&input.access_key_id)) } else { Ok(()) }
        })
    })
    .await
}

pub(super) async fn list_access_keys(
    call: &Call<'_>,
    input: t::ListAccessKeysInput,
) -> Answer<t::ListAccessKeysOutput> {
    let account = call.account()?;
    let subject = subject(call, input.user_name)?;
    call.authorize(&resource(&account, &subject))?;
    let (secrets, name) = secrets(&account, &subject)?;
    let mut keys: Vec<_> = secrets.access_keys.iter().collect();
    keys.sort_by(|left, right| left.id.cmp(&right.id));
    let keys = keys.into_iter().map(|key| {
        let metadata = t::AccessKeyMetadata {
            user_name: Some(name.clone()),
            access_key_id: Some(key.id.clone()),
            status: Some(answers::status(key.status)),
            create_date: Some(answers::time(key.created)),
        };
        (key.id.clone(), metadata)
    });
    let page = page(keys, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListAccessKeysOutput {
        access_key_metadata: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub(super) async fn get_access_key_last_used(
    call: &Call<'_>,
    input: t::GetAccessKeyLastUsedInput,
) -> Answer<t::GetAccessKeyLastUsedOutput> {
    let key = call.view().access_key(&input.access_key_id);
    let key = key.filter(|key| key.account.id == call.account_id());
    let resource = match key.as_ref().map(|key| &key.holder) {
        Some(Holder::User(user)) => call.arn("user", &user.path, &user.name),
        _ => "*".to_owned(),
    };
    call.authorize(&resource)?;
    let key = key.ok_or_else(|| missing(&input.access_key_id))?;
    let used = call.store().last_used(vec![key.id.clone()]).await?.pop().flatten();
    let not_available = || "N/A".to_owned();
    let last_used = t::AccessKeyLastUsed {
        last_used_date: used.as_ref().map(|used| answers::time(used.at)),
        service_name: used.as_ref().map_or_else(not_available, |used| used.service.clone()),
        region: used.map_or_else(not_available, |used| used.region),
    };
    let user_name = match &key.holder {
        Holder::User(user) => user.name.clone(),
        Holder::Root(record) => answers::root_user(record).user_name,
    };
    Ok(t::GetAccessKeyLastUsedOutput { user_name: Some(user_name), access_key_last_used: Some(last_used) })
}

/// SSH keys of a user, of which there are none: no service here takes them. Whoever deletes a user with all that is its
/// own asks for them.
pub(super) async fn list_ssh_public_keys(
    call: &Call<'_>,
    input: t::ListSshPublicKeysInput,
) -> Answer<t::ListSshPublicKeysOutput> {
    nothing_of(call, input.user_name)?;
    let is_truncated = Some(false);
    Ok(t::ListSshPublicKeysOutput { is_truncated, ..t::ListSshPublicKeysOutput::default() })
}

/// Credentials of a user for single services, of which there are none either.
pub(super) async fn list_service_specific_credentials(
    call: &Call<'_>,
    input: t::ListServiceSpecificCredentialsInput,
) -> Answer<t::ListServiceSpecificCredentialsOutput> {
    if input.all_users == Some(true) {
        call.authorize("*")?;
    } else {
        nothing_of(call, input.user_name)?;
    }
    let is_truncated = Some(false);
    Ok(t::ListServiceSpecificCredentialsOutput { is_truncated, ..t::ListServiceSpecificCredentialsOutput::default() })
}

/// Authorises a list of what no user has; the user must be there.
fn nothing_of(call: &Call<'_>, user_name: Option<String>) -> Answer<()> {
    let account = call.account()?;
    let subject = subject(call, user_name)?;
    call.authorize(&resource(&account, &subject))?;
    secrets(&account, &subject).map(drop)
}
