//! Virtual MFA devices.

use std::sync::Arc;

use karri_iam_wire::WireError;
use karri_iam_wire::iam::{ErrorCode, types as t};
use zeroize::Zeroizing;

use super::keys::{self, Subject};
use super::paging::page;
use super::{Answer, Call, answers, conflict, over_quota, tags, users, wire_tags};
use crate::change::Change;
use crate::ids;
use crate::model::{MfaDevice, MfaOwner};
use crate::names;
use crate::state::Account;
use crate::totp;

/// Devices of a user.
const DEVICES_OF_USER_MAX: usize = 8;
/// Devices of an account.
const DEVICES_MAX: usize = 10_000;

fn missing(serial: &str) -> WireError {
    ErrorCode::NoSuchEntity.with(format!("VirtualMFADevice with serial number {serial} doesn't exist."))
}

pub(crate) fn find<'a>(account: &'a Account, serial: &str) -> Answer<&'a Arc<MfaDevice>> {
    let found = match ids::parse_arn(serial) {
        Some((account_id, "mfa", path)) if account_id == account.id => account.devices.get(&names::key(path)),
        _ => None,
    };
    // What was authorised is the ARN as it was given: it must not be another's in other letters.
    found.filter(|device| self::serial(account, device) == serial).ok_or_else(|| missing(serial))
}

fn serial(account: &Account, device: &MfaDevice) -> String {
    ids::arn(&account.id, "mfa", &device.path, &device.name)
}

fn place(account_id: &str, device: &str) -> String {
    format!("mfa seed {account_id} {device}")
}

pub(super) async fn create_virtual_mfa_device(
    call: &Call<'_>,
    input: t::CreateVirtualMfaDeviceInput,
) -> Answer<t::CreateVirtualMfaDeviceOutput> {
    let path = names::path(input.path);
    let resource = call.arn("mfa", &path, &input.virtual_mfa_device_name);
    call.authorize_new(&resource, ("iam:TagMFADevice", &input.tags), None)?;
    let tags = tags::checked(input.tags)?;
    let rng = call.store().rng();
    let mut seed = Zeroizing::new([0; totp::SEED_BYTES]);
    rng.fill(&mut *seed);
    let key = names::key(&format!("{path}{}", input.virtual_mfa_device_name));
    let sealed = call.view().sealer().seal(rng, &place(call.account_id(), &key), &*seed);
    let base32 = totp::base32(&*seed);
    call.change(|change| {
        if change.devices.contains_key(&key) {
            let message = "MFADevice entity at the same path and name already exists.";
            return Err(ErrorCode::EntityAlreadyExists.with(message));
        }
        if change.devices.len() >= DEVICES_MAX {
            return Err(over_quota("MFADevicesInUse", DEVICES_MAX));
        }
        let device = MfaDevice {
            name: input.virtual_mfa_device_name.clone(),
            path: path.clone(),
            created: change.now(),
            tags: tags.clone(),
            seed: sealed.clone(),
            owner: None,
            enabled: None,
            drift_steps: 0,
            last_step: 0,
        };
        let virtual_mfa_device = t::VirtualMfaDevice {
            serial_number: serial(change, &device),
            base32_string_seed: Some(base32.clone().into_bytes().into()),
            tags: wire_tags(&device.tags),
            ..t::VirtualMfaDevice::default()
        };
        change.put(device);
        Ok(t::CreateVirtualMfaDeviceOutput { virtual_mfa_device })
    })
    .await
}

pub(super) async fn delete_virtual_mfa_device(call: &Call<'_>, input: t::DeleteVirtualMfaDeviceInput) -> Answer<()> {
    call.authorize(&input.serial_number)?;
    call.change(|change| {
        let device = find(change, &input.serial_number)?.clone();
        if device.owner.is_some() {
            return Err(conflict("deactivate the MFA device"));
        }
        change.remove(&*device);
        Ok(())
    })
    .await
}

/// The subject of a request's user name; the root user is named by its account or alias.
fn subject_named(call: &Call<'_>, name: &str) -> Answer<Subject> {
    let account = call.account()?;
    let root = super::record(&account)?;
    if account.users.contains_key(&names::key(name)) {
        return Ok(Some(name.to_owned()));
    }
    let is_root = name == root.id || name == "root" || root.alias.as_deref() == Some(name);
    Ok(if is_root { None } else { Some(name.to_owned()) })
}

/// Under which codes are counted: whoever tries another's device counts for itself.
pub(crate) fn attempt_key(account_id: &str, owner: &MfaOwner, serial: &str) -> String {
    match owner {
        MfaOwner::Root => format!("{account_id} root {serial}"),
        MfaOwner::User(id) => format!("{account_id} {id} {serial}"),
    }
}

fn owner_of(account: &Account, subject: &Subject) -> Answer<MfaOwner> {
    match subject {
        Some(name) => Ok(MfaOwner::User(users::find(account, name)?.id.clone())),
        None => Ok(MfaOwner::Root),
    }
}

fn wrong_code() -> WireError {
    ErrorCode::InvalidAuthenticationCode.with("Authentication code for device is not valid.")
}

/// Checks two codes in a row of a device, and notes its clock.
fn synchronise(call: &Call<'_>, change: &Change, device: &mut MfaDevice, codes: [&str; 2]) -> Answer<()> {
    let seed = open_seed(call.view(), &change.id, device)?;
    let (step, drift) = totp::match_two(&seed, change.now(), codes[0], codes[1]).ok_or_else(wrong_code)?;
    if step <= device.last_step {
        return Err(wrong_code());
    }
    device.drift_steps = drift;
    device.last_step = step;
    Ok(())
}

pub(super) async fn enable_mfa_device(call: &Call<'_>, input: t::EnableMfaDeviceInput) -> Answer<()> {
    let subject = subject_named(call, &input.user_name)?;
    call.authorize(&keys::resource(&*call.account()?, &subject))?;
    call.change(|change| {
        let owner = owner_of(change, &subject)?;
        let mut device = (**find(change, &input.serial_number)?).clone();
        if device.owner.is_some() {
            return Err(ErrorCode::EntityAlreadyExists.with("MFA Device is already in use."));
        }
        synchronise(call, change, &mut device, [&input.authentication_code1, &input.authentication_code2])?;
        device.owner = Some(owner);
        device.enabled = Some(change.now());
        let (now, serial) = (change.now(), serial(change, &device));
        keys::edit(change, &subject, |secrets, _| {
            if secrets.mfa.len() >= DEVICES_OF_USER_MAX {
                return Err(over_quota("MFADevicesPerUser", DEVICES_OF_USER_MAX));
            }
            secrets.mfa.push((serial, now));
            Ok(())
        })?;
        change.put(device);
        Ok(())
    })
    .await
}

pub(super) async fn resync_mfa_device(call: &Call<'_>, input: t::ResyncMfaDeviceInput) -> Answer<()> {
    let subject = subject_named(call, &input.user_name)?;
    call.authorize(&keys::resource(&*call.account()?, &subject))?;
    call.change(|change| {
        let owner = owner_of(change, &subject)?;
        let mut device = (**find(change, &input.serial_number)?).clone();
        if device.owner.as_ref() != Some(&owner) {
            return Err(missing(&input.serial_number));
        }
        synchronise(call, change, &mut device, [&input.authentication_code1, &input.authentication_code2])?;
        change.put(device);
        Ok(())
    })
    .await
}

pub(super) async fn deactivate_mfa_device(call: &Call<'_>, input: t::DeactivateMfaDeviceInput) -> Answer<()> {
    let subject = match &input.user_name {
        Some(name) => subject_named(call, name)?,
        None => keys::subject(call, None)?,
    };
    call.authorize(&keys::resource(&*call.account()?, &subject))?;
    call.change(|change| {
        let owner = owner_of(change, &subject)?;
        let mut device = (**find(change, &input.serial_number)?).clone();
        if device.owner.as_ref() != Some(&owner) {
            return Err(missing(&input.serial_number));
        }
        let serial = serial(change, &device);
        device.owner = None;
        device.enabled = None;
        keys::edit(change, &subject, |secrets, _| {
            secrets.mfa.retain(|(known, _)| *known != serial);
            Ok(())
        })?;
        change.put(device);
        Ok(())
    })
    .await
}

pub(super) async fn list_mfa_devices(
    call: &Call<'_>,
    input: t::ListMfaDevicesInput,
) -> Answer<t::ListMfaDevicesOutput> {
    let account = call.account()?;
    let subject = keys::subject(call, input.user_name)?;
    call.authorize(&keys::resource(&account, &subject))?;
    let (secrets, name) = keys::secrets(&account, &subject)?;
    let mut devices = secrets.mfa.clone();
    devices.sort();
    let devices = devices.into_iter().map(|(serial_number, enabled)| {
        let enable_date = answers::time(enabled);
        (serial_number.clone(), t::MfaDevice { user_name: name.clone(), serial_number, enable_date })
    });
    let page = page(devices, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListMfaDevicesOutput { mfa_devices: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

fn owner(account: &Account, device: &MfaDevice) -> Option<t::User> {
    match device.owner.as_ref()? {
        MfaOwner::Root => account.record().map(|record| answers::root_user(record)),
        MfaOwner::User(id) => account.user_by_id(id).map(|user| answers::listed_user(&account.id, user)),
    }
}

pub(super) async fn get_mfa_device(call: &Call<'_>, input: t::GetMfaDeviceInput) -> Answer<t::GetMfaDeviceOutput> {
    let account = call.account()?;
    call.authorize(&input.serial_number)?;
    let device = find(&account, &input.serial_number)?;
    Ok(t::GetMfaDeviceOutput {
        user_name: owner(&account, device).map(|user| user.user_name),
        serial_number: serial(&account, device),
        enable_date: device.enabled.map(answers::time),
        certifications: Vec::new(),
    })
}

pub(super) async fn list_virtual_mfa_devices(
    call: &Call<'_>,
    input: t::ListVirtualMfaDevicesInput,
) -> Answer<t::ListVirtualMfaDevicesOutput> {
    call.authorize("*")?;
    let account = call.account()?;
    let is_wanted = |device: &MfaDevice| match input.assignment_status {
        Some(t::AssignmentStatusType::Assigned) => device.owner.is_some(),
        Some(t::AssignmentStatusType::Unassigned) => device.owner.is_none(),
        _ => true,
    };
    let devices = account.devices.iter().filter(|(_, device)| is_wanted(device)).map(|(key, device)| {
        let shown = t::VirtualMfaDevice {
            serial_number: serial(&account, device),
            user: owner(&account, device),
            enable_date: device.enabled.map(answers::time),
            tags: wire_tags(&device.tags),
            ..t::VirtualMfaDevice::default()
        };
        (key.clone(), shown)
    });
    let page = page(devices, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListVirtualMfaDevicesOutput {
        virtual_mfa_devices: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

impl crate::store::Store {
    /// Whether `code` is shown now by an enabled MFA device of a user (`None`: the root user). A code is taken once.
    pub async fn verify_mfa(
        &self,
        account_id: &str,
        user_name: Option<&str>,
        serial_number: &str,
        code: &str,
    ) -> Result<bool, WireError> {
        let subject = user_name.map(str::to_owned);
        let account =
            self.view().account(account_id).ok_or_else(|| WireError::from(ErrorCode::InvalidClientTokenId))?;
        let tried = attempt_key(account_id, &owner_of(&account, &subject)?, serial_number);
        if !self.attempts().begin(&tried, self.clock().monotonic()) {
            return Ok(false);
        }
        let changed = self.change(account_id, |change| {
            let owner = owner_of(change, &subject)?;
            let Ok(device) = find(change, serial_number) else { return Ok(false) };
            let mut device = (**device).clone();
            if device.owner.as_ref() != Some(&owner) {
                return Ok(false);
            }
            let seed = open_seed(self.view(), &change.id, &device)?;
            match totp::match_one(&seed, change.now(), device.drift_steps, device.last_step, code) {
                Some(step) => {
                    device.last_step = step;
                    change.put(device);
                    Ok(true)
                }
                None => Ok::<_, WireError>(false),
            }
        });
        let is_right = changed.await?;
        if is_right {
            self.attempts().was_right(&tried);
        }
        Ok(is_right)
    }
}

pub(crate) fn open_seed(view: &crate::view::View, account_id: &str, device: &MfaDevice) -> Answer<Zeroizing<Vec<u8>>> {
    let place = place(account_id, &names::key(&format!("{}{}", device.path, device.name)));
    view.sealer().open(&place, &device.seed).map_err(|_| ErrorCode::InternalFailure.into())
}
