//! Keys by the names that requests have for them, and the secrets of their versions.

use std::sync::Arc;

use karri_iam_service::Account;
use karri_iam_service::kms_model::{KmsKey, KmsKeyState, KmsMaterial};
use karri_iam_wire::kms::ErrorCode;
use karri_ring_types::Timestamp;
use zeroize::Zeroizing;

use crate::ciphertext::{EncryptionContext, KeyVersion, SECRET_BYTES, VERSION_BYTES, decrypt, encrypt};
use crate::{Answer, Kms};

/// A key, and whose it is.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) account: Arc<Account>,
    pub(crate) key: Arc<KmsKey>,
    /// The alias by which the request named it.
    pub(crate) alias: Option<String>,
}

/// What a request names a key by.
enum Name<'a> {
    Id(&'a str),
    Alias(&'a str),
}

/// Whether a text is a key's id.
fn is_id(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| {
            if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) }
        })
}

impl Kms {
    /// The account and the name in what a request calls a key.
    fn parse<'a>(&self, own: &'a str, text: &'a str) -> Answer<(&'a str, Name<'a>)> {
        let invalid = || ErrorCode::NotFoundException.with(format!("Invalid keyId '{text}'"));
        let (account, resource) = match text.strip_prefix("arn:") {
            None => (own, text),
            Some(rest) => {
                let parts: Vec<&str> = rest.splitn(5, ':').collect();
                let [_, "kms", region, account, resource] = parts[..] else {
                    return Err(ErrorCode::InvalidArnException.with(format!("Invalid arn {text}")));
                };
                if region != self.region {
                    return Err(ErrorCode::NotFoundException.with(format!("Invalid arn {region}")));
                }
                match resource.strip_prefix("key/") {
                    Some(id) => return Ok((account, Name::Id(id))),
                    None if resource.starts_with("alias/") => (account, resource),
                    None => return Err(ErrorCode::InvalidArnException.with(format!("Invalid arn {text}"))),
                }
            }
        };
        if resource.starts_with("alias/") {
            Ok((account, Name::Alias(resource)))
        } else if is_id(resource) {
            Ok((account, Name::Id(resource)))
        } else {
            Err(invalid())
        }
    }

    fn look_up(&self, account_id: &str, name: &Name<'_>) -> Option<Found> {
        let account = self.store.view().account(account_id)?;
        let (id, alias) = match name {
            Name::Id(id) => ((*id).to_owned(), None),
            Name::Alias(alias) => (account.kms_aliases.get(*alias)?.key_id.clone(), Some((*alias).to_owned())),
        };
        let key = account.kms_keys.get(&id)?.clone();
        Some(Found { account, key, alias })
    }

    /// The key that a request of an account names: by id, by ARN, by alias, or by the alias's ARN.
    pub(crate) async fn find(&self, own_account: &str, text: &str) -> Answer<Found> {
        let (account, name) = self.parse(own_account, text)?;
        if let Some(found) = self.look_up(account, &name) {
            return Ok(found);
        }
        // It may have been made through another node a moment ago.
        self.store.refresh().await?;
        self.look_up(account, &name).ok_or_else(|| {
            ErrorCode::NotFoundException.with(match name {
                Name::Id(id) => format!("Key '{}' does not exist", self.key_arn(account, id)),
                Name::Alias(alias) => format!("Alias {} is not found.", self.alias_arn(account, alias)),
            })
        })
    }

    /// The key of a ciphertext and the version that encrypted it.
    pub(crate) async fn find_version(&self, ciphertext: &[u8]) -> Answer<(Found, KeyVersion)> {
        let version = KeyVersion::of(ciphertext).ok_or(ErrorCode::InvalidCiphertextException)?;
        let find = || {
            let found = self.look_up(&version.account_id, &Name::Id(&version.key_id))?;
            found.key.materials.iter().any(|material| material.id == version.version_id).then_some(found)
        };
        if let Some(found) = find() {
            return Ok((found, version));
        }
        self.store.refresh().await?;
        let message = "The ciphertext refers to a customer master key that does not exist, does not exist in this region, \
                       or you are not allowed to access.";
        let found = find().ok_or_else(|| ErrorCode::AccessDeniedException.with(message))?;
        Ok((found, version))
    }

    /// Refuses keys that may not be used now.
    pub(crate) fn require_usable(&self, found: &Found) -> Answer<()> {
        let arn = self.arn_of(found);
        match found.key.state {
            KmsKeyState::Enabled => Ok(()),
            KmsKeyState::Disabled => Err(ErrorCode::DisabledException.with(format!("{arn} is disabled."))),
            KmsKeyState::PendingDeletion { .. } => Err(self.pending_deletion(found)),
        }
    }

    /// Refuses keys that are to be deleted.
    pub(crate) fn require_staying(&self, found: &Found) -> Answer<()> {
        match found.key.state {
            KmsKeyState::PendingDeletion { .. } => Err(self.pending_deletion(found)),
            _ => Ok(()),
        }
    }

    fn pending_deletion(&self, found: &Found) -> karri_iam_wire::WireError {
        ErrorCode::KMSInvalidStateException.with(format!("{} is pending deletion.", self.arn_of(found)))
    }

    pub(crate) fn arn_of(&self, found: &Found) -> String {
        self.key_arn(&found.account.id, &found.key.id)
    }

    /// A new version of a key.
    pub(crate) fn new_material(
        &self,
        account_id: &str,
        key_id: &str,
        since: Timestamp,
        on_demand: bool,
    ) -> KmsMaterial {
        let rng = self.store.rng();
        let (mut id, mut secret) = ([0; VERSION_BYTES], Zeroizing::new([0; SECRET_BYTES]));
        rng.fill(&mut id);
        rng.fill(&mut *secret);
        let id = hex::encode(id);
        let secret = self.sealer.seal(rng, &place(account_id, key_id, &id), &*secret);
        KmsMaterial { id, secret, since, on_demand }
    }

    /// Encrypts with the newest version.
    pub(crate) fn encrypt(&self, found: &Found, context: &EncryptionContext, plain: &[u8]) -> Answer<Vec<u8>> {
        let material = found.key.materials.last().ok_or(ErrorCode::KMSInternalException)?;
        let secret = self.secret(found, material)?;
        let version = KeyVersion {
            account_id: found.account.id.clone(),
            key_id: found.key.id.clone(),
            version_id: material.id.clone(),
        };
        encrypt(self.store.rng(), &version, &secret, context, plain)
            .ok_or_else(|| ErrorCode::KMSInternalException.into())
    }

    /// Decrypts with the version that encrypted.
    pub(crate) fn decrypt(
        &self,
        found: &Found,
        version: &KeyVersion,
        context: &EncryptionContext,
        ciphertext: &[u8],
    ) -> Answer<Zeroizing<Vec<u8>>> {
        let material = found.key.materials.iter().find(|material| material.id == version.version_id);
        let secret = self.secret(found, material.ok_or(ErrorCode::InvalidCiphertextException)?)?;
        decrypt(&secret, context, ciphertext).ok_or_else(|| ErrorCode::InvalidCiphertextException.into())
    }

    fn secret(&self, found: &Found, material: &KmsMaterial) -> Answer<Zeroizing<[u8; SECRET_BYTES]>> {
        let place = place(&found.account.id, &found.key.id, &material.id);
        let opened = self.sealer.open(&place, &material.secret).ok();
        let secret = opened.and_then(|bytes| <[u8; SECRET_BYTES]>::try_from(bytes.as_slice()).ok());
        secret.map(Zeroizing::new).ok_or_else(|| {
            tracing::error!(key = found.key.id, "a version of a key cannot be opened");
            ErrorCode::KMSInternalException.into()
        })
    }
}

/// What a version's secret is sealed for.
fn place(account_id: &str, key_id: &str, version_id: &str) -> String {
    format!("kms key {account_id}/{key_id}/{version_id}")
}
