//! What keys are for.

use karri_iam_wire::Sensitive;
use karri_iam_wire::kms::{ErrorCode, types as t};
use zeroize::Zeroizing;

use super::{Call, unless_dry, validation};
use crate::Answer;
use crate::access::Use;
use crate::ciphertext::{EncryptionContext, KeyVersion};
use crate::find::Found;

/// Bytes of names and values of an encryption context.
const CONTEXT_BYTES_MAX: usize = 8192;
/// Most bytes that GenerateRandom gives.
const RANDOM_BYTES_MAX: i32 = 1024;
const ALGORITHM: t::EncryptionAlgorithmSpec = t::EncryptionAlgorithmSpec::SymmetricDefault;

fn check_context(context: &EncryptionContext) -> Answer<()> {
    let bytes: usize = context.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > CONTEXT_BYTES_MAX {
        return Err(validation(format!("The encryption context is longer than {CONTEXT_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check_algorithm(asked: Option<t::EncryptionAlgorithmSpec>) -> Answer<()> {
    match asked {
        None | Some(ALGORITHM) => Ok(()),
        Some(other) => {
            let message = format!("Algorithm {} is not supported for key spec SYMMETRIC_DEFAULT.", other.as_str());
            Err(ErrorCode::InvalidKeyUsageException.with(message))
        }
    }
}

fn refuse_recipient(recipient: Option<&t::RecipientInfo>) -> Answer<()> {
    match recipient {
        None => Ok(()),
        Some(_) => Err(ErrorCode::UnsupportedOperationException.with("Recipient is not supported.")),
    }
}

fn refuse_modifiers(modifiers: &[t::DryRunModifierType]) -> Answer<()> {
    match modifiers {
        [] => Ok(()),
        _ => Err(ErrorCode::UnsupportedOperationException.with("DryRunModifiers is not supported.")),
    }
}

fn newest(found: &Found) -> Option<String> {
    found.key.materials.last().map(|material| material.id.clone())
}

pub(super) async fn encrypt(call: &Call<'_>, input: t::EncryptInput) -> Answer<t::EncryptOutput> {
    check_algorithm(input.encryption_algorithm)?;
    check_context(&input.encryption_context)?;
    let found = call.find(&input.key_id).await?;
    call.kms.authorize(call.asker, &found, &Use::of("kms:Encrypt").with_context(&input.encryption_context))?;
    call.kms.require_usable(&found)?;
    unless_dry(input.dry_run)?;
    let plain = Zeroizing::new(input.plaintext.into_inner());
    Ok(t::EncryptOutput {
        ciphertext_blob: Some(call.kms.encrypt(&found, &input.encryption_context, &plain)?),
        key_id: Some(call.kms.arn_of(&found)),
        encryption_algorithm: Some(ALGORITHM),
    })
}

/// The key of a ciphertext, if it is the one that the caller names and the caller may do this with it.
async fn source(
    call: &Call<'_>,
    ciphertext: &[u8],
    named: Option<&str>,
    wanted: &Use<'_>,
) -> Answer<(Found, KeyVersion)> {
    let (found, version) = call.kms.find_version(ciphertext).await?;
    if let Some(named) = named
        && call.find(named).await?.key.id != found.key.id
    {
        return Err(ErrorCode::IncorrectKeyException.into());
    }
    call.kms.authorize(call.asker, &found, wanted)?;
    call.kms.require_usable(&found)?;
    Ok((found, version))
}

pub(super) async fn decrypt(call: &Call<'_>, input: t::DecryptInput) -> Answer<t::DecryptOutput> {
    check_algorithm(input.encryption_algorithm)?;
    refuse_recipient(input.recipient.as_ref())?;
    refuse_modifiers(&input.dry_run_modifiers)?;
    let context = &input.encryption_context;
    check_context(context)?;
    let ciphertext = input.ciphertext_blob.ok_or_else(|| validation("CiphertextBlob is required"))?;
    let wanted = Use::of("kms:Decrypt").with_context(context);
    let (found, version) = source(call, &ciphertext, input.key_id.as_deref(), &wanted).await?;
    let plain = call.kms.decrypt(&found, &version, context, &ciphertext)?;
    unless_dry(input.dry_run)?;
    Ok(t::DecryptOutput {
        key_id: Some(call.kms.arn_of(&found)),
        plaintext: Some(Sensitive::new(plain.to_vec())),
        encryption_algorithm: Some(ALGORITHM),
        ciphertext_for_recipient: None,
        key_material_id: Some(version.version_id),
    })
}

pub(super) async fn re_encrypt(call: &Call<'_>, input: t::ReEncryptInput) -> Answer<t::ReEncryptOutput> {
    check_algorithm(input.source_encryption_algorithm)?;
    check_algorithm(input.destination_encryption_algorithm)?;
    refuse_modifiers(&input.dry_run_modifiers)?;
    let (from, to) = (&input.source_encryption_context, &input.destination_encryption_context);
    check_context(from)?;
    check_context(to)?;
    let ciphertext = input.ciphertext_blob.ok_or_else(|| validation("CiphertextBlob is required"))?;
    let destination = call.find(&input.destination_key_id).await?;
    let same = KeyVersion::of(&ciphertext).is_some_and(|version| version.key_id == destination.key.id);
    let same = vec![same.to_string()];
    let wanted = Use::of("kms:ReEncryptFrom").with_context(from).with("kms:ReEncryptOnSameKey", same.clone());
    let (found, version) = source(call, &ciphertext, input.source_key_id.as_deref(), &wanted).await?;
    let wanted = Use::of("kms:ReEncryptTo").with_context(to).with("kms:ReEncryptOnSameKey", same);
    call.kms.authorize(call.asker, &destination, &wanted)?;
    call.kms.require_usable(&destination)?;
    let plain = call.kms.decrypt(&found, &version, from, &ciphertext)?;
    unless_dry(input.dry_run)?;
    Ok(t::ReEncryptOutput {
        ciphertext_blob: Some(call.kms.encrypt(&destination, to, &plain)?),
        source_key_id: Some(call.kms.arn_of(&found)),
        key_id: Some(call.kms.arn_of(&destination)),
        source_encryption_algorithm: Some(ALGORITHM),
        destination_encryption_algorithm: Some(ALGORITHM),
        source_key_material_id: Some(version.version_id),
        destination_key_material_id: newest(&destination),
    })
}

/// A new data key: its key, itself, and it encrypted.
struct DataKey {
    found: Found,
    plain: Zeroizing<Vec<u8>>,
    ciphertext: Vec<u8>,
}

async fn data_key(
    call: &Call<'_>,
    action: &str,
    (key_id, context): (&str, &EncryptionContext),
    (spec, bytes): (Option<t::DataKeySpec>, Option<i32>),
    dry_run: Option<bool>,
) -> Answer<DataKey> {
    check_context(context)?;
    let length = match (spec, bytes) {
        (Some(t::DataKeySpec::Aes256), None) => 32,
        (Some(t::DataKeySpec::Aes128), None) => 16,
        (None, Some(bytes)) => usize::try_from(bytes).unwrap_or(0),
        (None, None) => return Err(validation("Please specify either number of bytes or key spec.")),
        (Some(_), Some(_)) => return Err(validation("Please specify either number of bytes or key spec.")),
    };
    let found = call.find(key_id).await?;
    call.kms.authorize(call.asker, &found, &Use::of(action).with_context(context))?;
    call.kms.require_usable(&found)?;
    unless_dry(dry_run)?;
    let mut plain = Zeroizing::new(vec![0; length]);
    call.kms.store.rng().fill(&mut plain);
    let ciphertext = call.kms.encrypt(&found, context, &plain)?;
    Ok(DataKey { found, plain, ciphertext })
}

pub(super) async fn generate_data_key(
    call: &Call<'_>,
    input: t::GenerateDataKeyInput,
) -> Answer<t::GenerateDataKeyOutput> {
    refuse_recipient(input.recipient.as_ref())?;
    let asked = (input.key_spec, input.number_of_bytes);
    let of = (input.key_id.as_str(), input.encryption_context.as_slice());
    let made = data_key(call, "kms:GenerateDataKey", of, asked, input.dry_run).await?;
    Ok(t::GenerateDataKeyOutput {
        ciphertext_blob: Some(made.ciphertext),
        plaintext: Some(Sensitive::new(made.plain.to_vec())),
        key_id: Some(call.kms.arn_of(&made.found)),
        ciphertext_for_recipient: None,
        key_material_id: newest(&made.found),
    })
}

pub(super) async fn generate_data_key_without_plaintext(
    call: &Call<'_>,
    input: t::GenerateDataKeyWithoutPlaintextInput,
) -> Answer<t::GenerateDataKeyWithoutPlaintextOutput> {
    let asked = (input.key_spec, input.number_of_bytes);
    let of = (input.key_id.as_str(), input.encryption_context.as_slice());
    let made = data_key(call, "kms:GenerateDataKeyWithoutPlaintext", of, asked, input.dry_run).await?;
    Ok(t::GenerateDataKeyWithoutPlaintextOutput {
        ciphertext_blob: Some(made.ciphertext),
        key_id: Some(call.kms.arn_of(&made.found)),
        key_material_id: newest(&made.found),
    })
}

pub(super) async fn generate_random(call: &Call<'_>, input: t::GenerateRandomInput) -> Answer<t::GenerateRandomOutput> {
    refuse_recipient(input.recipient.as_ref())?;
    if input.custom_key_store_id.is_some() {
        return Err(ErrorCode::UnsupportedOperationException.with("Custom key stores are not supported."));
    }
    call.kms.authorize_own(call.asker, "*", &Use::of("kms:GenerateRandom"))?;
    let length = input.number_of_bytes.ok_or_else(|| validation("Please specify the number of bytes."))?;
    let mut plain = vec![0; usize::try_from(length.min(RANDOM_BYTES_MAX)).unwrap_or(0)];
    call.kms.store.rng().fill(&mut plain);
    Ok(t::GenerateRandomOutput { plaintext: Some(Sensitive::new(plain)), ciphertext_for_recipient: None })
}
