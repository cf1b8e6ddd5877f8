//! IAM's view of accounts and policies, as the authorisation of S3 asks for it.

use std::sync::Arc;

use karri_iam_policy::{Policies, Principal};
use karri_iam_service::{Account as IamAccount, View};
use karri_objstore_s3::{Account, Identities};

/// The view that this node keeps.
pub(crate) struct KnownIdentities(pub(crate) Arc<View>);

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
        self.0.principal_exists(principal)
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
