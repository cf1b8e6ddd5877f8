//! IAM's view of accounts and policies, as the authorisation of S3 asks for it.

use std::sync::Arc;

use karri_iam_policy::{Arn, Policies, Principal};
use karri_iam_service::{Account as IamAccount, View};
use karri_objstore_s3::{Account, Identities};

/// Digits of an account id.
const ACCOUNT_ID_LENGTH: usize = 12;

/// The view that this node keeps.
pub(crate) struct KnownIdentities(pub(crate) Arc<View>);

impl KnownIdentities {
    /// Whether the user or role of an ARN, or the role of its session, is there.
    fn entity_exists(&self, arn: &Arn) -> bool {
        // Accounts by name come from Eucalyptus; whom such an ARN names is not known here, and it names nobody.
        if arn.account_id.len() != ACCOUNT_ID_LENGTH || arn.account_id.bytes().any(|byte| !byte.is_ascii_digit()) {
            return true;
        }
        let Some(account) = self.0.account(&arn.account_id) else { return false };
        let Some((kind, path)) = arn.resource_kind() else { return true };
        let last = path.rsplit('/').next().unwrap_or(path).to_lowercase();
        match kind {
            "user" => account.users.contains_key(&last),
            "role" => account.roles.contains_key(&last),
            "assumed-role" => account.roles.contains_key(&path.split('/').next().unwrap_or(path).to_lowercase()),
            _ => true,
        }
    }
}

impl Identities for KnownIdentities {
    fn policies(&self, principal: &Principal) -> Arc<Policies> {
        self.0.policies(principal)
    }

    fn account_by_canonical_id(&self, canonical_id: &str) -> Option<Account> {
        self.0.account_by_canonical_id(canonical_id).and_then(|account| told(&account))
    }

    fn account_by_email(&self, email: &str) -> Option<Account> {
        self.0.account_by_email(email).and_then(|account| told(&account))
    }

    fn principal_exists(&self, principal: &str) -> bool {
        match principal.parse::<Arn>() {
            Ok(arn) => self.entity_exists(&arn),
            Err(_) if principal.bytes().all(|byte| byte.is_ascii_digit()) => self.0.account(principal).is_some(),
            // A unique id is kept by AWS for a principal that is gone; it names nobody then.
            Err(_) => true,
        }
    }
}

fn told(account: &IamAccount) -> Option<Account> {
    let record = account.record()?;
    Some(Account {
        account_id: record.id.clone(),
        canonical_id: record.canonical_id.clone(),
        display_name: record.alias.clone().unwrap_or_else(|| record.id.clone()),
        email: record.email.clone(),
    })
}
