//! The actions of KMS: from the typed input, over authorisation and the account's rows, to the typed output.

mod aliases;
mod crypto;
mod grants;
mod keys;
mod paging;
mod policies;
mod rotation;
mod tags;

use std::sync::Arc;

use karri_iam_service::kms_model::KmsKey;
use karri_iam_service::{Account, Change};
use karri_iam_wire::kms::{self, ErrorCode, Operation, types as t};
use karri_iam_wire::{Document, Timestamp, WireError};

use crate::access::Use;
use crate::find::Found;
use crate::{Answer, Asker, Kms};

/// One call while it is answered.
struct Call<'a> {
    kms: &'a Kms,
    asker: &'a Asker,
}

macro_rules! handlers {
    ($($operation:ident: $module:ident::$handler:ident, $parse:ident, $write:ident $(, $output:ident)?;)*) => {
        impl Kms {
            pub(crate) async fn handle(
                &self,
                operation: Operation,
                asker: &Asker,
                document: &Document,
            ) -> Answer<Vec<u8>> {
                let call = &Call { kms: self, asker };
                match operation {
                    $(Operation::$operation => {
                        let input = kms::$parse(document)?;
                        let answer = $module::$handler(call, input).await?;
                        Ok(handlers!(@write $write, answer $(, $output)?))
                    })*
                }
            }
        }
    };
    (@write $write:ident, $answer:ident) => { kms::$write(&$answer) };
    (@write $write:ident, $answer:ident, $output:ident) => {{
        let () = $answer;
        kms::$write(&t::$output {})
    }};
}

handlers! {
    CancelKeyDeletion: keys::cancel_deletion, parse_cancel_key_deletion, write_cancel_key_deletion;
    CreateAlias: aliases::create, parse_create_alias, write_create_alias, CreateAliasOutput;
    CreateGrant: grants::create, parse_create_grant, write_create_grant;
    CreateKey: keys::create, parse_create_key, write_create_key;
    Decrypt: crypto::decrypt, parse_decrypt, write_decrypt;
    DeleteAlias: aliases::delete, parse_delete_alias, write_delete_alias, DeleteAliasOutput;
    DescribeKey: keys::describe, parse_describe_key, write_describe_key;
    DisableKey: keys::disable, parse_disable_key, write_disable_key, DisableKeyOutput;
    DisableKeyRotation: rotation::disable, parse_disable_key_rotation, write_disable_key_rotation, DisableKeyRotationOutput;
    EnableKey: keys::enable, parse_enable_key, write_enable_key, EnableKeyOutput;
    EnableKeyRotation: rotation::enable, parse_enable_key_rotation, write_enable_key_rotation, EnableKeyRotationOutput;
    Encrypt: crypto::encrypt, parse_encrypt, write_encrypt;
    GenerateDataKey: crypto::generate_data_key, parse_generate_data_key, write_generate_data_key;
    GenerateDataKeyWithoutPlaintext: crypto::generate_data_key_without_plaintext, parse_generate_data_key_without_plaintext, write_generate_data_key_without_plaintext;
    GenerateRandom: crypto::generate_random, parse_generate_random, write_generate_random;
    GetKeyPolicy: policies::get, parse_get_key_policy, write_get_key_policy;
    GetKeyRotationStatus: rotation::status, parse_get_key_rotation_status, write_get_key_rotation_status;
    ListAliases: aliases::list, parse_list_aliases, write_list_aliases;
    ListGrants: grants::list, parse_list_grants, write_list_grants;
    ListKeyPolicies: policies::list, parse_list_key_policies, write_list_key_policies;
    ListKeyRotations: rotation::list, parse_list_key_rotations, write_list_key_rotations;
    ListKeys: keys::list, parse_list_keys, write_list_keys;
    ListResourceTags: tags::list, parse_list_resource_tags, write_list_resource_tags;
    ListRetirableGrants: grants::list_retirable, parse_list_retirable_grants, write_list_retirable_grants;
    PutKeyPolicy: policies::put, parse_put_key_policy, write_put_key_policy, PutKeyPolicyOutput;
    ReEncrypt: crypto::re_encrypt, parse_re_encrypt, write_re_encrypt;
    RetireGrant: grants::retire, parse_retire_grant, write_retire_grant, RetireGrantOutput;
    RevokeGrant: grants::revoke, parse_revoke_grant, write_revoke_grant, RevokeGrantOutput;
    RotateKeyOnDemand: rotation::on_demand, parse_rotate_key_on_demand, write_rotate_key_on_demand;
    ScheduleKeyDeletion: keys::schedule_deletion, parse_schedule_key_deletion, write_schedule_key_deletion;
    TagResource: tags::tag, parse_tag_resource, write_tag_resource, TagResourceOutput;
    UntagResource: tags::untag, parse_untag_resource, write_untag_resource, UntagResourceOutput;
    UpdateAlias: aliases::update, parse_update_alias, write_update_alias, UpdateAliasOutput;
    UpdateKeyDescription: keys::update_description, parse_update_key_description, write_update_key_description, UpdateKeyDescriptionOutput;
}

impl Call<'_> {
    fn account_id(&self) -> &str {
        &self.asker.principal.account_id
    }

    /// The caller's account as it is known now.
    fn account(&self) -> Answer<Arc<Account>> {
        let account = self.kms.store.view().account(self.account_id());
        account.ok_or_else(|| ErrorCode::AccessDeniedException.into())
    }

    async fn find(&self, key: &str) -> Answer<Found> {
        self.kms.find(self.account_id(), key).await
    }

    /// The key that an operation names, if the caller may do this to it.
    async fn find_for(&self, key: &str, action: &str) -> Answer<Found> {
        let found = self.find(key).await?;
        self.kms.authorize(self.asker, &found, &Use::of(action))?;
        Ok(found)
    }

    /// As [`Call::find_for`], of operations that no other account's principals may do.
    async fn find_own(&self, key: &str, action: &str) -> Answer<Found> {
        let found = self.find_for(key, action).await?;
        if found.account.id != self.account_id() {
            let arn = self.kms.arn_of(&found);
            return Err(crate::access::denied(self.asker, action, &arn, None));
        }
        Ok(found)
    }

    /// Decides on a change of a key, on the newest that is known of it.
    async fn edit<T>(&self, found: &Found, decide: impl Fn(&mut KmsKey, &Change, &Found) -> Answer<T>) -> Answer<T> {
        let arn = self.kms.arn_of(found);
        self.kms
            .store
            .change(&found.account.id, |change| {
                let known = change.kms_keys.get(&found.key.id).cloned();
                let known =
                    known.ok_or_else(|| ErrorCode::NotFoundException.with(format!("Key '{arn}' does not exist")))?;
                let mut key = (*known).clone();
                let newest = Found { account: found.account.clone(), key: known.clone(), alias: None };
                let decided = decide(&mut key, change, &newest)?;
                if key != *known {
                    change.put(key);
                }
                Ok(decided)
            })
            .await
    }
}

fn time(at: karri_ring_types::Timestamp) -> Timestamp {
    Timestamp::from_millis(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}

fn validation(message: impl Into<String>) -> WireError {
    ErrorCode::ValidationException.with(message)
}

/// Ends a call that was to be tried only.
fn unless_dry(dry_run: Option<bool>) -> Answer<()> {
    if dry_run == Some(true) { Err(ErrorCode::DryRunOperationException.into()) } else { Ok(()) }
}
