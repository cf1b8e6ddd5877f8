//! What authorisation asks of whoever keeps accounts.

use std::sync::Arc;

use karri_iam_policy::{Policies, Policy, PolicyKind, Principal, PrincipalKind};

/// An account as access control lists name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Twelve digits.
    pub account_id: String,
    /// 64 hex digits.
    pub canonical_id: String,
    /// Name for people.
    pub display_name: String,
    /// The address by which a grant may name it.
    pub email: Option<String>,
}

/// Accounts and the policies of their identities, as this node sees them now. Nothing here waits.
pub trait Identities: Send + Sync + 'static {
    /// The policies that `principal` has; none for one that is gone.
    fn policies(&self, principal: &Principal) -> Arc<Policies>;

    /// The account with this canonical id.
    fn account_by_canonical_id(&self, canonical_id: &str) -> Option<Account>;

    /// The account that goes by this address.
    fn account_by_email(&self, email: &str) -> Option<Account>;

    /// Whether a principal that a bucket policy names (account id, ARN, unique id) exists. What cannot be known is
    /// taken to be there.
    fn principal_exists(&self, _principal: &str) -> bool {
        true
    }
}

/// One account whose principals may do everything, and no other: for tests, and until accounts are kept.
#[derive(Debug)]
pub struct OneAccount {
    account: Account,
    everything: Arc<Policies>,
}

impl OneAccount {
    /// The one account.
    pub fn new(account: Account) -> Self {
        let document = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
        let identity = Policy::parse(document, PolicyKind::Identity).into_iter().map(Arc::new).collect();
        Self { account, everything: Arc::new(Policies { identity, ..Policies::default() }) }
    }
}

impl Identities for OneAccount {
    fn policies(&self, principal: &Principal) -> Arc<Policies> {
        match principal.account_id == self.account.account_id && principal.kind != PrincipalKind::Anonymous {
            true => self.everything.clone(),
            false => Arc::default(),
        }
    }

    fn account_by_canonical_id(&self, canonical_id: &str) -> Option<Account> {
        Some(&self.account).filter(|account| account.canonical_id == canonical_id).cloned()
    }

    fn account_by_email(&self, email: &str) -> Option<Account> {
        let is_it = |account: &&Account| account.email.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(email));
        Some(&self.account).filter(is_it).cloned()
    }
}
