//! Who holds credentials, whose a key is, and why a request was refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use karri_iam_wire::WireError;
use karri_iam_wire::sts::{ErrorCode, types as t};
use karri_ring_types::{ClusterKey, Rng};

use super::{Answer, Call};
use crate::ids;
use crate::seal::{Sealed, Sealer};

const PURPOSE: &str = "karri 2026 sts: authorization messages";

/// Details of refusals that go out sealed: who may decode them is told what the caller was not.
#[derive(Debug)]
pub struct AuthorizationMessages {
    sealer: Sealer,
}

impl AuthorizationMessages {
    /// Messages that every node of the cluster can decode.
    pub fn new(key: &ClusterKey) -> Self {
        Self { sealer: Sealer::for_purpose(key, PURPOSE) }
    }

    /// The encoded form of `message`, a JSON document, for the account whose policies it is about.
    pub fn encode(&self, rng: &dyn Rng, account_id: &str, message: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.sealer.seal(rng, account_id, message.as_bytes()).as_bytes())
    }

    /// The message of an encoded form for this account.
    pub fn decode(&self, account_id: &str, encoded: &str) -> Option<String> {
        let sealed = Sealed::from_bytes(URL_SAFE_NO_PAD.decode(encoded).ok()?);
        self.sealer.open_text(account_id, &sealed).ok().map(|text| text.to_string())
    }
}

pub(super) fn caller_identity(call: &Call<'_>) -> Answer<t::GetCallerIdentityOutput> {
    let caller = call.caller()?;
    Ok(t::GetCallerIdentityOutput {
        user_id: Some(caller.unique_id.clone()),
        account: Some(caller.account_id.clone()),
        arn: Some(caller.arn.clone()),
    })
}

pub(super) fn access_key_info(call: &Call<'_>, input: t::GetAccessKeyInfoInput) -> Answer<t::GetAccessKeyInfoOutput> {
    call.require_no_user_session("GetAccessKeyInfo")?;
    call.authorize("sts:GetAccessKeyInfo", "*", &call.context())?;
    let view = call.store().view();
    let id = &input.access_key_id;
    let temporary = ids::account_of_temporary_key(id).filter(|account| view.account(account).is_some());
    let account = temporary.or_else(|| view.access_key(id).map(|key| key.account.id.clone()));
    let account = account.ok_or_else(|| WireError::validation(format!("The access key {id} is not of this cloud.")))?;
    Ok(t::GetAccessKeyInfoOutput { account: Some(account) })
}

pub(super) fn decode_message(
    call: &Call<'_>,
    input: t::DecodeAuthorizationMessageInput,
) -> Answer<t::DecodeAuthorizationMessageOutput> {
    call.require_no_user_session("DecodeAuthorizationMessage")?;
    call.authorize("sts:DecodeAuthorizationMessage", "*", &call.context())?;
    let account_id = &call.caller()?.account_id;
    let decoded = call.sts.messages.decode(account_id, &input.encoded_message);
    let decoded = decoded.ok_or_else(|| {
        let message = "The message could not be decoded: it is not one of this account.";
        ErrorCode::InvalidAuthorizationMessageException.with(message)
    })?;
    Ok(t::DecodeAuthorizationMessageOutput { decoded_message: Some(decoded) })
}
